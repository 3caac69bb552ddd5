//! The connections of one shard: who has something to be read, who is late.
//!
//! For: serving each connection its share in turn; timers of all connections in one wheel.
//! Not here: accepting (`accept.rs`), sending and losing (`outgoing.rs`).
//! Invariants: a turn serves a bounded number of connections a bounded number of octets each, so
//! one peer cannot starve another; every connection in the table has a timer.

use super::accept::Door;
use super::connection::{Arrival, Connection, Late, Progress, State};
use super::inbox::Taken;
use super::outbox::Sender;
use super::{Mark, Place, SLOTS_MAX, StreamSettings};
use mio::event::Event;
use mio::{Events, Poll, Token};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use strowger_sip::buffer::{Buffer, Pool};
use strowger_sip::limits::Limits;
use strowger_sip::module::MetricNote;
use strowger_sip::module::notes::Kind;
use strowger_sip::shard::ShardId;
use strowger_sip::time::Instant;
use strowger_sip::transaction::Slab;
use strowger_sip::transport::{ConnectionId, Flow, ListenerId};
use strowger_sip::wheel::Wheel;

/// Octets read from one connection in one turn: some twenty requests. A guess.
const READ_BYTES: usize = 16_384;
/// Events taken from the kernel with one system call. A guess.
const EVENTS: usize = 256;
/// Turns after which a busy shard asks for events though it has not slept. As the batches of UDP, a
/// guess between a system call too many and a connection kept waiting.
const LOOK_EVERY: u64 = 4;
/// Begun messages that all connections of a shard hold together; beyond, a connection that holds
/// more than [`READ_BYTES`] is closed. A guess: 64 of the longest messages.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Octets waiting for a peer beyond which nothing more is read from it. A guess: the answers to
/// what one turn reads fit beside it into `tcp_conn_wq_max`.
const BACK_PRESSURE_BYTES: usize = 64 << 10;

macro_rules! stream_counters {
    ($($(#[doc = $help:literal])* $name:ident: $kind:ident),* $(,)?) => {
        /// What the connections of one shard count.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StreamCounters {
            $($(#[doc = $help])* pub $name: u64,)*
        }

        impl StreamCounters {
            /// What each of them means: the words that stand with it here.
            pub const NOTES: &'static [MetricNote] = &[$(MetricNote {
                name: concat!("tcp_", stringify!($name)),
                kind: Kind::$kind,
                help: concat!($($help),*),
            }),*];

            /// Calls `each` with every count and its name.
            pub fn each(&self, each: &mut impl FnMut(&'static str, u64)) {
                $(each(concat!("tcp_", stringify!($name)), self.$name);)*
            }
        }

        impl fmt::Display for StreamCounters {
            /// `tcp_name=value` for each, a blank before it.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, concat!(" tcp_", stringify!($name), "={}"), self.$name)?;)*
                Ok(())
            }
        }
    };
}

stream_counters! {
    /// Messages received.
    received: Counter,
    /// Messages that the kernel took for sending.
    sent: Counter,
    /// Connections that peers opened.
    accepted: Counter,
    /// Connections opened to peers, established or not.
    opened: Counter,
    /// Connections that have ended, for whatever reason.
    closed: Counter,
    /// Connections of peers refused for a bound: all, or those of one source.
    refused: Counter,
    /// Connections that were not established.
    connect_failed: Counter,
    /// Connections closed because they had been idle.
    idle: Counter,
    /// Connections closed because the peer did not finish a message, or sent none.
    slow: Counter,
    /// Connections closed because the peer took nothing.
    blocked: Counter,
    /// Streams that could not be cut into messages.
    broken: Counter,
    /// Octets that were put into queues.
    queued_bytes: Counter,
    /// Messages that could not be sent.
    unsent: Counter,
    /// Messages written to a connection that ended before its peer was heard again; whoever sent
    /// them is told, and is often past it: the answer came over another connection.
    doubtful: Counter,
    /// Messages sent another way because their connection was lost.
    redirected: Counter,
    /// Times that a message had to wait for room in the lane to its home shard.
    stalled: Counter,
    /// Connections alive.
    connections: Gauge,
}

/// The connections of one shard.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(super) shard: ShardId,
    pub(super) settings: StreamSettings,
    pub(super) limits: Limits,
    pub(super) poll: Poll,
    events: Option<Events>,
    // There may be events.
    look: bool,
    turns: u64,
    pub(super) doors: Vec<Door>,
    // Where connections are opened from, those of doors that are shut too.
    pub(super) homes: Vec<(ListenerId, SocketAddr)>,
    pub(super) table: Slab<Connection, Mark>,
    /// Connections over which a peer can be reached.
    pub(super) by_remote: HashMap<(ListenerId, SocketAddr), Place>,
    /// How many connections each source has opened.
    pub(super) sources: HashMap<IpAddr, usize>,
    ready: VecDeque<Place>,
    stalled: VecDeque<Place>,
    pub(super) dirty: VecDeque<Place>,
    wheel: Wheel<Place>,
    pub(super) pool: Pool,
    scratch: Box<[u8]>,
    /// Octets in all inboxes.
    pub(super) held: usize,
    /// Octets in all outboxes.
    pub(super) waiting: usize,
    pub(super) unsent: Vec<Sender>,
    /// Connections that peers had opened and that have ended: no more than there were.
    pub(super) closed: Vec<ConnectionId>,
    pub(super) redirects: VecDeque<(Sender, Flow, Buffer)>,
    pub(super) counters: StreamCounters,
}

impl Streams {
    /// Over the listening sockets of one shard out of `shards`.
    pub(crate) fn new(
        (shard, shards): (ShardId, u16),
        doors: Vec<(ListenerId, socket2::Socket)>,
        settings: StreamSettings,
    ) -> io::Result<Streams> {
        let share = settings.connections_max.div_ceil(usize::from(shards.max(1)));
        let limits = Limits { message_bytes_max: settings.message_bytes_max, ..Limits::STREAM };
        let mut streams = Streams {
            shard,
            settings,
            limits,
            poll: Poll::new()?,
            events: Some(Events::with_capacity(EVENTS)),
            look: true,
            turns: 0,
            doors: Vec::with_capacity(doors.len()),
            homes: Vec::with_capacity(doors.len()),
            table: Slab::new(0, share.min(SLOTS_MAX)),
            by_remote: HashMap::new(),
            sources: HashMap::new(),
            ready: VecDeque::new(),
            stalled: VecDeque::new(),
            dirty: VecDeque::new(),
            wheel: Wheel::default(),
            pool: Pool::default(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            held: 0,
            waiting: 0,
            unsent: Vec::new(),
            closed: Vec::new(),
            redirects: VecDeque::new(),
            counters: StreamCounters::default(),
        };
        doors.into_iter().try_for_each(|(listener, socket)| streams.add_door(listener, socket))?;
        Ok(streams)
    }

    /// Becomes readable when there is something to do.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Something came while the shard slept.
    pub(crate) fn wake(&mut self) {
        self.look = true;
    }

    /// Whether there is more to do at once.
    pub(crate) fn is_busy(&self) -> bool {
        self.look || !self.ready.is_empty() || self.doors.iter().any(Door::is_ready)
    }

    /// When [`Streams::turn`] has something to do next, if nothing comes.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let doors = self.doors.iter().filter_map(Door::opens_at).min();
        match (self.wheel.next_deadline(), doors) {
            (Some(wheel), Some(door)) => Some(wheel.min(door)),
            (wheel, door) => wheel.or(door),
        }
    }

    /// What was counted; connections are counted from the table.
    pub(crate) fn counters(&self) -> StreamCounters {
        let connections = u64::try_from(self.table.len()).unwrap_or(u64::MAX);
        StreamCounters { connections, ..self.counters }
    }

    /// Takes no connections from here on.
    pub(crate) fn stop_accepting(&mut self) {
        self.doors.clear();
    }

    /// Looks who has something, accepts, ends who is late.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.turns += 1;
        self.ready.append(&mut self.stalled);
        if self.look || self.turns.is_multiple_of(LOOK_EVERY) {
            self.gather();
        }
        self.accept(now);
        self.expire(now);
        self.flush(now);
    }

    fn gather(&mut self) {
        let Some(mut events) = self.events.take() else { return };
        // Interrupted or not, what did not come is found by the next look.
        let polled = self.poll.poll(&mut events, Some(Duration::ZERO));
        let count = events.iter().count();
        self.look = count == EVENTS || polled.is_err();
        for event in &events {
            match self.doors.iter_mut().find(|door| door.token() == event.token()) {
                Some(door) => door.knock(),
                None => self.stir(event),
            }
        }
        self.events = Some(events);
    }

    /// Something happened to a connection.
    fn stir(&mut self, event: &Event) {
        let Some(place) = place_of(event.token()) else { return };
        let Some(connection) = self.table.get_mut(place) else { return };
        if let State::Connecting { .. } = connection.state {
            return self.connecting(place, event.is_error());
        }
        let broke = event.is_error() || event.is_write_closed();
        if broke && connection.state != State::Open {
            // Nothing is left to be read, and what was written since its end may not have arrived.
            return self.lose(place);
        }
        connection.hung_up |= broke || event.is_read_closed();
        if event.is_readable() || connection.hung_up {
            self.queue(place);
        }
        if event.is_writable() || broke {
            self.soil(place);
        }
    }

    /// Has a connection read, after those that wait already.
    pub(super) fn queue(&mut self, place: Place) {
        if let Some(connection) = self.table.get_mut(place)
            && connection.state != State::Ended
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.ready.push_back(place);
        }
    }

    /// Reads one connection, the next in turn, and lends what is whole to `each`. `false` when none
    /// is left.
    pub(crate) fn serve(
        &mut self,
        now: Instant,
        each: impl FnMut(&Flow, Arrival<'_>) -> Taken,
    ) -> bool {
        let Some(place) = self.ready.pop_front() else { return false };
        let Some(connection) = self.table.get_mut(place) else { return true };
        connection.queued = false;
        if connection.outbox.waiting() > BACK_PRESSURE_BYTES {
            connection.held_back = true;
            return true;
        }
        let (held, waiting) = (connection.inbox.len(), connection.outbox.held());
        let mut messages = 0;
        let mut each = each;
        let counted = |flow: &Flow, arrival: Arrival<'_>| {
            let taken = each(flow, arrival);
            messages += u64::from(taken == Taken::Yes);
            taken
        };
        let limits = (&self.limits, now);
        let progress = connection.read(&mut self.scratch, limits, &mut self.pool, counted);
        self.held = self.held + connection.inbox.len() - held;
        self.waiting = self.waiting + connection.outbox.held() - waiting;
        let overfull = self.held > HELD_BYTES_MAX && connection.inbox.len() > READ_BYTES;
        let pongs = connection.outbox.waiting() > 0;
        self.counters.received += messages;
        if overfull {
            self.counters.refused += 1;
            self.close(place);
            return true;
        }
        if pongs {
            self.soil(place);
        }
        self.went(place, progress, now);
        self.rearm(place);
        true
    }

    /// Goes on with a connection after reading.
    fn went(&mut self, place: Place, progress: Progress, now: Instant) {
        let Some(connection) = self.table.get_mut(place) else { return };
        match progress {
            Progress::More => self.queue(place),
            Progress::Empty => {}
            Progress::Stalled => {
                connection.queued = true;
                self.counters.stalled += 1;
                self.stalled.push_back(place);
            }
            Progress::End => self.ended(place, now),
            Progress::Broken => {
                connection.close(now);
                self.counters.broken += 1;
                self.forget_remote(place);
                self.queue(place);
                self.soil(place);
            }
            Progress::Gone => self.lose(place),
        }
    }

    /// Ends the connections whose time is over.
    fn expire(&mut self, now: Instant) {
        while let Some(place) = self.wheel.pop_due(now) {
            let Some(connection) = self.table.get_mut(place) else { continue };
            connection.timer = None;
            let (deadline, late) = connection.deadline(&self.settings);
            if deadline > now {
                self.rearm(place);
                continue;
            }
            match late {
                Late::Connect => {
                    self.counters.connect_failed += 1;
                    self.lose(place);
                }
                Late::Send => {
                    self.counters.blocked += 1;
                    self.lose(place);
                }
                Late::Message => {
                    self.counters.slow += 1;
                    self.lose(place);
                }
                Late::Idle => {
                    self.counters.idle += u64::from(connection.state == State::Open);
                    self.close(place);
                }
            }
        }
    }

    /// Arms a connection's timer, unless one runs that fires early enough: activity moves deadlines
    /// away all the time, and looking again costs less than arming anew.
    pub(super) fn rearm(&mut self, place: Place) {
        let Some(connection) = self.table.get_mut(place) else { return };
        let (deadline, _) = connection.deadline(&self.settings);
        match connection.timer {
            Some((_, at)) if at <= deadline => return,
            Some((timer, _)) => {
                self.wheel.cancel(timer);
            }
            None => {}
        }
        connection.timer = Some((self.wheel.arm(deadline, place), deadline));
    }

    /// Disarms the timer of a connection that has left the table.
    pub(super) fn disarm(&mut self, connection: &Connection) {
        if let Some((timer, _)) = connection.timer {
            self.wheel.cancel(timer);
        }
    }
}

/// The token of a connection: its place, the generation too, so that late news of one that is gone
/// reaches nobody.
pub(super) fn token(place: Place) -> Token {
    Token(usize::try_from(place.as_u64()).unwrap_or(usize::MAX))
}

fn place_of(token: Token) -> Option<Place> {
    u64::try_from(token.0).ok().map(Place::from_u64)
}
