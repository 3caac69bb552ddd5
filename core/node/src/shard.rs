//! The loop of one shard: receive, find the home, let the engine decide, carry out, sleep.
//!
//! For: driving one engine with one set of sockets and one end of the mesh.
//! Not here: what a message means (the engine), starting and stopping shards (`node.rs`,
//! `control.rs`).
//! Orders of control are obeyed in `shard/obey.rs`, sleeping is in `shard/sleep.rs`.
//! Invariants: `now` is read once a turn; nothing is awaited but the bell, the alarm and the
//! executor; everything sent for a datagram is sent by its home shard.

mod obey;
mod sleep;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::command::{Answer, Command};
use crate::counters::{Counters, Spent};
use crate::doorbell::{Chime, Doorbell};
use crate::engine::ShardEngine;
use crate::mesh::{Mesh, Posted};
use crate::resolve::{Asker, Heard};
use crate::rest::{Line, rest, watch};
use crate::storage::{More, Outlet};
use crate::stream::{self, Arrival, Sender, Streams, Taken};
use crate::tap::{Tap, Way};
use crate::udp::DatagramEngine;
use crate::udp::ready::Readiness;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use strowger_sip::actions::{Actions, Origin, Sends};
use strowger_sip::engine::Input;
use strowger_sip::histogram::Histogram;
use strowger_sip::message::scan_call_id;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::Instant;
use strowger_sip::transport::{ConnectionId, Flow, ListenerId, Transport};

/// Parcels handled in one turn, so that the sockets get theirs. A guess.
const PARCELS_PER_TURN: usize = 8;
/// Connections read in one turn, for the same reason. A guess: as many as datagrams in a batch.
const CONNECTIONS_PER_TURN: usize = 32;
/// Messages that an engine may address to its own shard in one turn. A guess.
const OWN_MESSAGES_MAX: usize = 4096;
/// Rounds of sending that one call makes, while what cannot be sent makes the engine send something
/// else. The rest is sent with the next call.
const SEND_ROUNDS_MAX: usize = 4;
/// How soon a parcel that found its lane full is tried again when nothing else happens.
const LANE_RETRY: Duration = Duration::from_millis(1);
/// How long to wait in a plain system call before sleeping through the executor, which takes ten of
/// them. Measured on two shards at 5,000 and 20,000 datagrams/s: half the CPU time. A guess for the
/// length: longer gains little, for who gets less than a thousand datagrams a second has time to
/// spare.
const NAP_MAX: Duration = Duration::from_millis(1);
/// The longest sleep. glommio 0.9 can fall asleep with a task that is ready (see `mesh.rs`), if the
/// machine freezes at the wrong moment: this is half of T1, so that a repeated request is not lost
/// too.
const IDLE_MAX: Duration = Duration::from_millis(250);

/// Everything that one shard owns.
pub(crate) struct Shard<E: ShardEngine, U> {
    pub(crate) id: ShardId,
    pub(crate) core: Option<usize>,
    pub(crate) map: ShardMap,
    pub(crate) clock: Clock,
    pub(crate) engine: E,
    pub(crate) udp: U,
    pub(crate) listeners: Vec<ListenerId>,
    pub(crate) streams: Option<Streams>,
    pub(crate) mesh: Mesh<E::Peer>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) chime: Chime,
    pub(crate) names: Asker,
    pub(crate) storage: Outlet<E::Row>,
    pub(crate) answers: mpsc::Sender<Answer>,
    /// Where each listener is.
    pub(crate) local: Vec<SocketAddr>,
    /// Makes an engine of the configuration that is in force.
    pub(crate) again: Box<dyn Fn() -> E>,
}

impl<E: ShardEngine, U: DatagramEngine> Shard<E, U> {
    /// Runs until told to stop, beginning with `out`; calls `ready` once it is listening.
    pub(crate) async fn run(
        self,
        out: Actions<E::Peer, E::Row>,
        ready: impl FnOnce(),
    ) -> io::Result<()> {
        let (bell, mut lines, mut watchers) = (Rc::new(Bell::default()), Vec::new(), Vec::new());
        let mut watched = |readiness: Readiness| {
            let line = Line::new();
            let watcher = watch(readiness, Rc::clone(&line), Rc::clone(&bell));
            watchers.push(glommio::spawn_local(watcher));
            line
        };
        for listener in &self.listeners {
            lines.push((*listener, watched(self.udp.readiness(*listener)?)));
        }
        let door = watched(Readiness::of_unix(&self.chime)?);
        let tap = Tap::new(self.local.clone());
        let mut turn = Turn {
            shard: self,
            lines,
            door,
            out,
            unsent: Vec::new(),
            own: VecDeque::new(),
            counters: Counters::default(),
            waited: Histogram::default(),
            spent: Spent::default(),
            tap,
        };
        ready();
        let mut alarm = None;
        let (mut stage, mut last, mut worked) = (Stage::Awake, turn.shard.clock.now(), Pace::Done);
        loop {
            let now = turn.shard.clock.now();
            turn.account(worked, now.since(last));
            last = now;
            let pace = turn.take(now).or(turn.tell_others(now));
            match turn.obey(now) {
                Fate::Alive => {}
                Fate::Over => return Ok(()),
            }
            worked = match stage {
                Stage::Awake => Pace::Busy,
                // It waits in this turn, unless there is something to do.
                Stage::Drowsy | Stage::Tired => pace,
            };
            stage = match (pace, stage) {
                (Pace::Busy, _) => turn.wake_up(),
                (Pace::Done, Stage::Awake) => turn.fall_asleep(),
                (Pace::Done, Stage::Drowsy) => turn.nap(now, NAP_MAX),
                (Pace::Done, Stage::Tired) if turn.shard.streams.is_some() => turn.sleep(now),
                (Pace::Done, Stage::Tired) => {
                    let deadline = turn.lie_down(now);
                    rest(&bell, &mut alarm, now, deadline).await;
                    turn.wake_up()
                }
            };
            if stage == Stage::Awake {
                glommio::yield_if_needed().await;
            }
        }
    }
}

impl<E: ShardEngine, U> Shard<E, U> {
    /// Gives each message for a stream to the shard that owns its connection; one without a
    /// connection is this shard's own.
    fn send_streams(
        &mut self,
        now: Instant,
        sends: &Sends,
        (unsent, counters): (&mut Vec<Origin>, &mut Counters),
    ) {
        for (origin, flow, bytes) in sends.iter_with_origin() {
            let owner = flow.connection.map(stream::owner).filter(|owner| *owner != self.id);
            match (flow.transport, owner, &mut self.streams) {
                (Transport::Udp, _, _) => {}
                (Transport::Tcp, Some(owner), Some(_)) => {
                    if self.mesh.post_send(owner, (origin, *flow), bytes) == Posted::Shed {
                        counters.shed += 1;
                        unsent.push(origin);
                    }
                }
                (Transport::Tcp, None, Some(streams)) => {
                    streams.send(now, Sender { shard: self.id, origin }, flow, bytes);
                }
                (Transport::Tcp, _, None)
                | (Transport::Tls | Transport::Ws | Transport::Wss, _, _) => {
                    counters.send_unroutable += 1;
                    unsent.push(origin);
                }
            }
        }
    }

    fn next_closed(&mut self) -> Option<ConnectionId> {
        self.streams.as_mut().and_then(Streams::next_closed)
    }

    /// Has connections written to, and gathers what they could not carry.
    fn flush_streams(
        &mut self,
        now: Instant,
        (unsent, counters): (&mut Vec<Origin>, &mut Counters),
    ) {
        let Some(streams) = &mut self.streams else { return };
        streams.flush(now);
        while let Some(Sender { shard, origin }) = streams.next_unsent() {
            if shard == self.id {
                unsent.push(origin);
            } else if self.mesh.post_unsent(shard, origin) == Posted::Shed {
                counters.shed += 1;
            }
        }
    }
}

/// How far a shard that finds nothing to do has come on its way to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Others need not ring.
    Awake,
    /// Others ring from here on; one more look finds what they sent before.
    Drowsy,
    /// A nap found nothing either: time to sleep.
    Tired,
}

/// Whether the shard goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Alive,
    Over,
}

/// Whether something is likely to wait for the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Busy,
    Done,
}

impl Pace {
    const fn or(self, other: Pace) -> Pace {
        match (self, other) {
            (Pace::Done, Pace::Done) => Pace::Done,
            (Pace::Busy, _) | (_, Pace::Busy) => Pace::Busy,
        }
    }
}

/// The shard with what its loop keeps from turn to turn.
struct Turn<E: ShardEngine, U> {
    shard: Shard<E, U>,
    lines: Vec<(ListenerId, Rc<Line>)>,
    door: Rc<Line>,
    out: Actions<E::Peer, E::Row>,
    // Scratch of `send`.
    unsent: Vec<Origin>,
    // Messages of this shard's engine to itself.
    own: VecDeque<E::Peer>,
    counters: Counters,
    // How long batches waited, at each.
    waited: Histogram,
    spent: Spent,
    tap: Tap,
}

impl<E: ShardEngine, U: DatagramEngine> Turn<E, U> {
    /// A turn without waiting, or with it, took this long.
    fn account(&mut self, pace: Pace, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        match pace {
            Pace::Busy => self.spent.busy += micros,
            Pace::Done => self.spent.idle += micros,
        }
    }

    /// Takes in what waits, and sends what follows from it.
    fn take(&mut self, now: Instant) -> Pace {
        self.counters.turns += 1;
        let mut pace = Pace::Done;
        for n in 0..self.lines.len() {
            pace = pace.or(self.receive(now, n));
            self.send(now);
        }
        pace = pace.or(self.receive_streams(now));
        for _ in 0..PARCELS_PER_TURN {
            let Pace::Busy = self.receive_parcel(now) else { break };
            pace = Pace::Busy;
            self.send(now);
        }
        for _ in 0..self.own.len() {
            if let Some(message) = self.own.pop_front() {
                let input = Input::Peer { from: self.shard.id, message };
                self.shard.engine.handle(now, input, &mut self.out);
            }
        }
        let Turn { shard, out, counters, .. } = self;
        if shard.names.hear(now, &mut shard.engine, out, counters) == Heard::Some {
            pace = Pace::Busy;
        }
        if shard.storage.hear(now, &mut shard.engine, out, counters) == More::Perhaps {
            pace = Pace::Busy;
        }
        if self.shard.engine.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.shard.engine.expire(now, &mut self.out);
        }
        let Turn { shard, out, counters, .. } = self;
        shard.names.ask_all(now, &mut shard.engine, out, counters);
        self.send(now);
        pace
    }

    fn receive(&mut self, now: Instant, n: usize) -> Pace {
        let Some((listener, line)) = self.lines.get(n) else { return Pace::Done };
        if !line.look.get() {
            return Pace::Done;
        }
        let Turn { shard, out, counters, waited: delays, tap, .. } = self;
        let Shard { id, map, engine, udp, mesh, .. } = shard;
        let mut told = false;
        let received = udp.receive(*listener, |waited, remote, bytes| {
            let flow = Flow::udp(*listener, remote);
            // Without a Call-ID every shard is as good as another: the engine counts and drops it.
            match scan_call_id(bytes).map(|call_id| map.home(call_id)) {
                Some(home) if home != *id => {
                    match mesh.post_datagram(home, Some((now, waited)), flow, bytes) {
                        Posted::Taken => counters.handed_over += 1,
                        Posted::Shed => counters.shed += 1,
                    }
                }
                Some(_) | None => {
                    if !std::mem::replace(&mut told, true) {
                        delays.note(waited);
                        engine.handle(now, Input::Waited(waited), out);
                    }
                    tap.see(now, Way::In, &flow, bytes);
                    engine.handle(now, Input::Datagram { flow, bytes }, out);
                }
            }
        });
        counters.received += count(received.datagrams);
        counters.truncated += count(received.truncated);
        counters.receive_failed += count(received.failed);
        if received.more {
            return Pace::Busy;
        }
        // A short batch emptied the socket; what came since is found before the shard sleeps.
        line.look.set(false);
        Pace::Done
    }

    /// Lets connections have their turn. A message that finds no room on its way to its home stays
    /// with its connection, for nobody sends it again.
    fn receive_streams(&mut self, now: Instant) -> Pace {
        let Some(streams) = &mut self.shard.streams else { return Pace::Done };
        streams.turn(now);
        for _ in 0..CONNECTIONS_PER_TURN {
            let Turn { shard, out, counters, tap, .. } = self;
            let Shard { id, map, engine, mesh, streams: Some(streams), .. } = shard else { break };
            let served = streams.serve(now, |flow, arrival| match arrival {
                Arrival::Message(bytes) => {
                    match scan_call_id(bytes).map(|call_id| map.home(call_id)) {
                        Some(home) if home != *id => {
                            let Posted::Taken = mesh.post_datagram(home, None, *flow, bytes) else {
                                return Taken::NoRoom;
                            };
                            counters.handed_over += 1;
                        }
                        Some(_) | None => {
                            tap.see(now, Way::In, flow, bytes);
                            engine.handle(now, Input::Datagram { flow: *flow, bytes }, out);
                        }
                    }
                    Taken::Yes
                }
                Arrival::Broken(head, error) => {
                    engine.handle(now, Input::Broken { flow: *flow, head, error }, out);
                    Taken::Yes
                }
            });
            if !served {
                break;
            }
            self.send(now);
        }
        self.send(now);
        let busy = self.shard.streams.as_ref().is_some_and(Streams::is_busy);
        if busy { Pace::Busy } else { Pace::Done }
    }

    fn receive_parcel(&mut self, now: Instant) -> Pace {
        let Turn { shard, out, counters, waited: delays, tap, .. } = self;
        let Some((from, mut parcel)) = shard.mesh.next_arrival() else { return Pace::Done };
        counters.taken_over += count(parcel.datagrams.len());
        counters.peers_received += count(parcel.peers.len());
        if let Some((posted, waited)) = parcel.oldest {
            let waited = waited + now.since(posted);
            delays.note(waited);
            shard.engine.handle(now, Input::Waited(waited), out);
        }
        for (flow, bytes) in parcel.datagrams.iter() {
            tap.see(now, Way::In, flow, bytes);
            shard.engine.handle(now, Input::Datagram { flow: *flow, bytes }, out);
        }
        for (origin, flow, bytes) in parcel.sends.iter_with_origin() {
            if let Some(streams) = &mut shard.streams {
                streams.send(now, Sender { shard: from, origin }, flow, bytes);
            }
        }
        for (connection, lifespan) in parcel.lifespans.drain(..) {
            shard.streams.iter_mut().for_each(|own| own.set_lifespan(now, connection, lifespan));
        }
        for origin in parcel.unsent.drain(..) {
            shard.engine.handle(now, Input::Unsent(origin), out);
        }
        for message in parcel.peers.drain(..) {
            shard.engine.handle(now, Input::Peer { from, message }, out);
        }
        shard.mesh.give_back(from, parcel);
        Pace::Busy
    }

    /// Puts on the wire what the engine wants there, and tells it what could not be sent.
    fn send(&mut self, now: Instant) {
        for _ in 0..SEND_ROUNDS_MAX {
            let Turn { shard, out, unsent, counters, tap, .. } = self;
            if !out.sends.is_empty() {
                if tap.is_on() {
                    let all = out.sends.iter_with_origin();
                    all.for_each(|(_, flow, bytes)| tap.see(now, Way::Out, flow, bytes));
                }
                let sent = shard.udp.send(&out.sends, |origin| unsent.push(origin));
                counters.sent += count(sent.datagrams);
                counters.send_failed += count(sent.failed);
                counters.send_blocked += count(sent.blocked);
                counters.send_unroutable += count(sent.unroutable);
                shard.send_streams(now, &out.sends, (unsent, counters));
                out.sends.clear();
            }
            shard.flush_streams(now, (unsent, counters));
            while let Some(connection) = shard.next_closed() {
                shard.engine.handle(now, Input::Closed(connection), out);
            }
            if unsent.is_empty() && out.sends.is_empty() {
                return;
            }
            for origin in unsent.drain(..).filter(|origin| *origin != Origin::Nobody) {
                shard.engine.handle(now, Input::Unsent(origin), out);
            }
        }
    }

    /// Gives other shards, and this one, what the engine has for them.
    fn tell_others(&mut self, now: Instant) -> Pace {
        let Turn { shard, out, own, counters, .. } = self;
        for (connection, lifespan) in out.lifespans.drain(..) {
            let owner = stream::owner(connection);
            if owner == shard.id {
                let streams = shard.streams.iter_mut();
                streams.for_each(|own| own.set_lifespan(now, connection, lifespan));
            } else if shard.mesh.post_lifespan(owner, (connection, lifespan)) == Posted::Shed {
                counters.shed += 1;
            }
        }
        for (to, message) in out.peers.drain(..) {
            if to == shard.id && own.len() < OWN_MESSAGES_MAX {
                own.push_back(message);
                continue;
            }
            match shard.mesh.post_peer(to, message) {
                Posted::Taken => counters.peers_sent += 1,
                Posted::Shed => counters.peers_shed += 1,
            }
        }
        let refused = shard.storage.give_all(&mut out.rows, counters);
        shard.mesh.flush();
        if own.is_empty() && refused == More::No { Pace::Done } else { Pace::Busy }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
