//! One TCP connection: its socket, what has come in, what goes out, and how long it may live.
//!
//! For: reading and writing without waiting; every bound of one connection that is a time.
//! Not here: the table of connections, opening and accepting (`streams.rs`, `accept.rs`).
//! Invariants: whatever the peer does or leaves undone, a connection has a deadline.

use super::StreamSettings;
use super::inbox::{Cut, Found, Inbox, Taken};
use super::outbox::{Outbox, Sender};
use mio::net::TcpStream;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use strowger_sip::actions::Origin;
use strowger_sip::buffer::Pool;
use strowger_sip::limits::Limits;
use strowger_sip::message::ParseError;
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant, secs};
use strowger_sip::transport::Flow;
use strowger_sip::wheel::TimerId;

/// How long a connection that is to be closed waits for the peer to take the last words. A guess: a
/// few round trips; whoever needs more has been told as well as can be.
const LAST_WORDS: Duration = secs(2);
/// How long a connection is kept at most because somebody wants it. A guess: agents register again
/// several times a day.
const KEPT_MAX: Duration = secs(86_400);
/// How much of what still comes in is thrown away meanwhile. A guess.
const DISCARD_MAX: usize = 1 << 20;

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The peer has not answered yet.
    Connecting {
        /// When it is given up.
        until: Instant,
    },
    /// Both ways.
    Open,
    /// The peer has ended its side; answers still go out.
    Ended,
    /// The last words are on their way, nothing that comes in counts.
    Closing {
        /// When it is closed in any case.
        until: Instant,
        /// Octets that may still come in.
        patience: usize,
    },
}

/// What reading found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be more.
    More,
    /// Nothing more for the moment.
    Empty,
    /// A message found no room: the rest waits.
    Stalled,
    /// The peer has ended its side.
    End,
    /// The stream is broken; what could be answered was.
    Broken,
    /// The connection is gone.
    Gone,
}

/// Why a connection's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// It was not established.
    Connect,
    /// The peer took nothing of what waits.
    Send,
    /// A begun message was not finished, or none ever came.
    Message,
    /// Nothing happened for long, or the last words have had their time.
    Idle,
}

/// What came in over a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// The head of a message after which the stream cannot be cut any more.
    Broken(&'a [u8], ParseError),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Its own flow, itself included.
    pub(super) flow: Flow,
    pub(super) state: State,
    /// Whether the peer opened it.
    pub(super) accepted: bool,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) timer: Option<(TimerId, Instant)>,
    /// It is in the queue of those to be read.
    pub(super) queued: bool,
    /// It is in the queue of those to be written to.
    pub(super) dirty: bool,
    /// It is not read until the peer takes what waits for it.
    pub(super) held_back: bool,
    /// The system has told that the peer ended its side, or that the connection broke.
    pub(super) hung_up: bool,
    /// What the inbox holds is more than the beginning of a message.
    stalled: bool,
    /// Requests that came in and whose final responses did not go out this way.
    owed: u32,
    /// Whether anything ever came in.
    spoken: bool,
    /// When something last came in or went out.
    active: Instant,
    /// Until when it is kept, however idle it is.
    kept: Instant,
    /// Since when the peer has taken nothing of what waits.
    blocked: Instant,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        flow: Flow,
        (state, accepted): (State, bool),
        now: Instant,
    ) -> Connection {
        Connection {
            stream,
            flow,
            state,
            accepted,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            timer: None,
            queued: false,
            dirty: false,
            held_back: false,
            hung_up: false,
            stalled: false,
            owed: 0,
            spoken: false,
            active: now,
            kept: now,
            blocked: now,
        }
    }

    /// Reads once, and offers what is whole to `each`.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        (limits, now): (&Limits, Instant),
        pool: &mut Pool,
        mut each: impl FnMut(&Flow, Arrival<'_>) -> Taken,
    ) -> Progress {
        if let State::Closing { .. } = self.state {
            return self.discard(scratch);
        }
        if self.stalled {
            match self.cut(&[], (limits, now), pool, &mut each) {
                Cut::All => {}
                Cut::Stalled => return Progress::Stalled,
                Cut::Broken => return Progress::Broken,
            }
        }
        match self.stream.read(scratch) {
            Ok(0) => Progress::End,
            Ok(length) => {
                self.active = now;
                self.spoken = true;
                self.outbox.heard();
                let fresh = scratch.get(..length).unwrap_or(&[]);
                match self.cut(fresh, (limits, now), pool, &mut each) {
                    Cut::Stalled => Progress::Stalled,
                    Cut::Broken => Progress::Broken,
                    // A short read has emptied the socket, unless its end is to be read too.
                    Cut::All if length < scratch.len() && !self.hung_up => Progress::Empty,
                    Cut::All => Progress::More,
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Progress::Empty,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Progress::More,
            Err(_) => Progress::Gone,
        }
    }

    fn cut(
        &mut self,
        fresh: &[u8],
        (limits, now): (&Limits, Instant),
        pool: &mut Pool,
        each: &mut impl FnMut(&Flow, Arrival<'_>) -> Taken,
    ) -> Cut {
        let (mut pings, flow, owed) = (0, &self.flow, &mut self.owed);
        let cut = self.inbox.cut(fresh, (limits, now), pool, |found| match found {
            Found::Ping => {
                pings += 1;
                Taken::Yes
            }
            Found::Message(bytes) => {
                let taken = each(flow, Arrival::Message(bytes));
                if taken == Taken::Yes && wants_answer(bytes) {
                    *owed = owed.saturating_add(1);
                }
                taken
            }
            Found::Broken(head, error) => each(flow, Arrival::Broken(head, error)),
        });
        self.stalled = cut == Cut::Stalled;
        if pings > 0 {
            // RFC 5626 §4.4.1: one CRLF for each pair.
            let nobody = Sender { shard: ShardId::default(), origin: Origin::Nobody };
            self.push(&b"\r\n".repeat(pings), (nobody, None), now, pool);
        }
        cut
    }

    fn discard(&mut self, scratch: &mut [u8]) -> Progress {
        let State::Closing { patience, .. } = &mut self.state else { return Progress::Gone };
        match self.stream.read(scratch) {
            Ok(length) if length > 0 && length <= *patience => {
                *patience -= length;
                Progress::More
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Progress::Empty,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Progress::More,
            Ok(_) | Err(_) => Progress::Gone,
        }
    }

    /// Puts a message into the queue.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        from: (Sender, Option<Flow>),
        now: Instant,
        pool: &mut Pool,
    ) {
        if self.outbox.waiting() == 0 {
            self.blocked = now;
        }
        if is_final_response(bytes) {
            self.owed = self.owed.saturating_sub(1);
        }
        self.outbox.push(bytes, from, pool);
    }

    /// Writes what the peer takes. Returns how many messages have left.
    pub(super) fn write(&mut self, now: Instant, pool: &mut Pool) -> io::Result<usize> {
        let mut left = 0;
        while !self.outbox.unwritten().is_empty() {
            match self.stream.write(self.outbox.unwritten()) {
                Ok(0) => return Ok(left),
                Ok(octets) => {
                    left += self.outbox.advance(octets, pool);
                    (self.active, self.blocked) = (now, now);
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(left),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        if let State::Closing { .. } = self.state {
            // An error means that the peer is gone already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(left)
    }

    /// The peer has ended its side. Whoever asked something before and ended only that side still
    /// gets the answer here.
    pub(super) fn end(&mut self, now: Instant) {
        self.state = State::Ended;
        self.active = now;
        self.outbox.keep();
    }

    /// Whether a connection whose peer has ended its side has nothing left to say.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Ended && self.owed == 0 && self.outbox.held() == 0
    }

    /// It is not idle before then.
    pub(super) fn keep(&mut self, until: Instant, now: Instant) {
        self.kept = self.kept.max(until.min(now + KEPT_MAX));
    }

    /// Nothing more is read; what is queued still goes out.
    pub(super) fn close(&mut self, now: Instant) {
        self.state = State::Closing { until: now + LAST_WORDS, patience: DISCARD_MAX };
    }

    /// Whether a new message may be sent to the peer this way.
    pub(super) fn is_usable(&self) -> bool {
        match self.state {
            State::Connecting { .. } | State::Open => true,
            State::Ended | State::Closing { .. } => false,
        }
    }

    /// When its time is over if nothing happens, and why.
    pub(super) fn deadline(&self, settings: &StreamSettings) -> (Instant, Late) {
        match self.state {
            State::Connecting { until } => return (until, Late::Connect),
            State::Closing { until, .. } => return (until, Late::Idle),
            State::Ended if self.owed == 0 && self.outbox.waiting() == 0 => {
                return (self.active + LAST_WORDS, Late::Idle);
            }
            State::Open | State::Ended => {}
        }
        let idle = self.active + settings.lifetime;
        let idle = if self.state == State::Open { idle.max(self.kept) } else { idle };
        let mut first = (idle, Late::Idle);
        let mut or = |at: Instant, late| {
            if at < first.0 {
                first = (at, late);
            }
        };
        if self.outbox.waiting() > 0 {
            or(self.blocked + settings.send_timeout, Late::Send);
        }
        if let Some(since) = self.inbox.since().filter(|_| !self.stalled && !self.held_back) {
            or(since + settings.message_timeout, Late::Message);
        }
        if self.accepted && !self.spoken {
            or(self.active + settings.data_timeout, Late::Message);
        }
        first
    }
}

/// Whether a message that came in is a request that gets a final response.
fn wants_answer(message: &[u8]) -> bool {
    !message.starts_with(b"SIP/") && !message.starts_with(b"ACK ")
}

/// Whether a message that goes out is a final response.
fn is_final_response(message: &[u8]) -> bool {
    message.starts_with(b"SIP/2.0 ") && message.get(8).is_some_and(|class| *class > b'1')
}
