//! The loop of one shard: receive, find the home, let the engine decide, carry out, sleep.
//!
//! For: driving one engine with one set of sockets and one end of the mesh.
//! Not here: what a message means (the engine), starting and stopping shards (`node.rs`, `control.rs`).
//! Invariants: `now` is read once a turn; nothing is awaited but the bell, the alarm and the executor;
//! everything sent for a datagram is sent by its home shard.

use crate::bell::Bell;
use crate::clock::Clock;
use crate::counters::{Counters, Summary};
use crate::engine::ShardEngine;
use crate::mesh::{Mesh, Posted};
use crate::udp::{DatagramEngine, Received};
use crate::udp::ready::Readiness;
use glommio::timer::Timer;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use strowger_sip::actions::Actions;
use strowger_sip::engine::Input;
use strowger_sip::message::scan_call_id;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::Instant;
use strowger_sip::transport::{Flow, ListenerId};

/// Parcels handled in one turn, so that the sockets get theirs. A guess.
const PARCELS_PER_TURN: usize = 8;
/// Messages that an engine may address to its own shard in one turn. A guess.
const OWN_MESSAGES_MAX: usize = 4096;
/// How soon a parcel that found its lane full is tried again when nothing else happens.
const LANE_RETRY: Duration = Duration::from_millis(1);
/// Sleep of an engine without a deadline. Any long time.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// What control asks of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Take no new calls.
    Drain,
    /// Tell how things are.
    Report,
    /// End, and tell how things were.
    Stop,
}

/// What a shard tells control.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To `Report`.
    Report(Summary),
    /// To `Stop`.
    Ended(Summary),
}

/// One listener's socket while the shard sleeps.
struct Line {
    // Set by the watcher when there may be something to receive.
    ready: Cell<bool>,
    // Rung by the loop when it found nothing: the watcher waits again.
    drained: Bell,
}

/// Everything that one shard owns.
pub(crate) struct Shard<E: ShardEngine, U> {
    pub(crate) id: ShardId,
    pub(crate) core: Option<usize>,
    pub(crate) map: ShardMap,
    pub(crate) clock: Clock,
    pub(crate) engine: E,
    pub(crate) udp: U,
    pub(crate) listeners: u16,
    pub(crate) mesh: Mesh<E::Peer>,
    pub(crate) bell: Rc<Bell>,
    pub(crate) commands: flume::Receiver<Command>,
    pub(crate) answers: flume::Sender<Answer>,
}

impl<E: ShardEngine, U: DatagramEngine> Shard<E, U> {
    /// Runs until told to stop; calls `ready` once it is listening.
    pub(crate) async fn run(self, ready: impl FnOnce()) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut watchers = Vec::new();
        for listener in (0..self.listeners).map(ListenerId) {
            let line = Rc::new(Line { ready: Cell::new(true), drained: Bell::default() });
            let watch = watch(self.udp.readiness(listener)?, Rc::clone(&line), Rc::clone(&self.bell));
            watchers.push(glommio::spawn_local(watch));
            lines.push((listener, line));
        }
        let inbox = Rc::new(Cell::new(VecDeque::new()));
        let obey = listen(self.commands.clone(), Rc::clone(&inbox), Rc::clone(&self.bell));
        watchers.push(glommio::spawn_local(obey));
        let mut turn = Turn {
            shard: self,
            lines,
            out: Actions::default(),
            own: VecDeque::new(),
            counters: Counters::default(),
        };
        ready();
        let mut alarm = None;
        loop {
            let now = turn.shard.clock.now();
            let mut pace = turn.take(now);
            for command in inbox.take() {
                if turn.obey(now, command) == Fate::Over {
                    return Ok(());
                }
            }
            pace = pace.or(turn.tell_others());
            match pace {
                Pace::Busy => glommio::yield_if_needed().await,
                Pace::Done => {
                    turn.counters.rests += 1;
                    let deadline = turn.wake_at(now);
                    rest(&turn.shard.bell, &mut alarm, now, deadline).await;
                }
            }
        }
    }
}

/// Tells the loop when a socket may have something; then waits until it was drained.
async fn watch(readiness: Readiness, line: Rc<Line>, bell: Rc<Bell>) {
    loop {
        line.drained.wait().await;
        readiness.wait().await;
        line.ready.set(true);
        bell.ring();
    }
}

/// Brings commands to the loop.
async fn listen(
    commands: flume::Receiver<Command>,
    inbox: Rc<Cell<VecDeque<Command>>>,
    bell: Rc<Bell>,
) {
    while let Ok(command) = commands.recv_async().await {
        let mut queue = inbox.take();
        queue.push_back(command);
        inbox.set(queue);
        bell.ring();
    }
}

/// Sleeps until the bell rings or the deadline comes. The timer is kept from rest to rest: deadlines mostly
/// move away, so that it is cheaper to wake once too early than to set it anew each time.
async fn rest(bell: &Bell, alarm: &mut Option<(Instant, Timer)>, now: Instant, deadline: Instant) {
    if alarm.as_ref().is_none_or(|(at, _)| *at > deadline || *at <= now) {
        *alarm = Some((deadline, Timer::new(deadline - now)));
    }
    let mut ring = pin!(bell.wait());
    poll_fn(|context| {
        let rung = ring.as_mut().poll(context).is_ready();
        let late = match alarm {
            Some((_, timer)) => pin!(timer).poll(context).is_ready(),
            None => false,
        };
        if rung || late { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
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
    out: Actions<E::Peer>,
    // Messages of this shard's engine to itself.
    own: VecDeque<E::Peer>,
    counters: Counters,
}

impl<E: ShardEngine, U: DatagramEngine> Turn<E, U> {
    /// Takes in what waits, and sends what follows from it.
    fn take(&mut self, now: Instant) -> Pace {
        self.counters.turns += 1;
        let mut pace = Pace::Done;
        for n in 0..self.lines.len() {
            pace = pace.or(self.receive(now, n));
            self.send();
        }
        for _ in 0..PARCELS_PER_TURN {
            let Pace::Busy = self.receive_parcel(now) else { break };
            pace = Pace::Busy;
            self.send();
        }
        for _ in 0..self.own.len() {
            if let Some(message) = self.own.pop_front() {
                let input = Input::Peer { from: self.shard.id, message };
                self.shard.engine.handle(now, input, &mut self.out);
            }
        }
        if self.shard.engine.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.shard.engine.expire(now, &mut self.out);
        }
        self.send();
        pace
    }

    fn receive(&mut self, now: Instant, n: usize) -> Pace {
        let Some((listener, line)) = self.lines.get(n) else { return Pace::Done };
        if !line.ready.get() {
            return Pace::Done;
        }
        let Turn { shard, out, counters, .. } = self;
        let Shard { id, map, engine, udp, mesh, .. } = shard;
        let received = udp.receive(*listener, |remote, bytes| {
            let flow = Flow::udp(*listener, remote);
            // Without a Call-ID every shard is as good as another: the engine counts and drops it.
            match scan_call_id(bytes).map(|call_id| map.home(call_id)) {
                Some(home) if home != *id => match mesh.post_datagram(home, flow, bytes) {
                    Posted::Taken => counters.handed_over += 1,
                    Posted::Shed => counters.shed += 1,
                },
                Some(_) | None => engine.handle(now, Input::Datagram { flow, bytes }, out),
            }
        });
        counters.received += count(received.datagrams);
        counters.truncated += count(received.truncated);
        counters.receive_failed += count(received.failed);
        if received == Received::default() {
            line.ready.set(false);
            line.drained.ring();
            return Pace::Done;
        }
        Pace::Busy
    }

    fn receive_parcel(&mut self, now: Instant) -> Pace {
        let Turn { shard, out, counters, .. } = self;
        let Some((from, mut parcel)) = shard.mesh.next_arrival() else { return Pace::Done };
        counters.taken_over += count(parcel.datagrams.len());
        counters.peers_received += count(parcel.peers.len());
        for (flow, bytes) in parcel.datagrams.iter() {
            shard.engine.handle(now, Input::Datagram { flow: *flow, bytes }, out);
        }
        for message in parcel.peers.drain(..) {
            shard.engine.handle(now, Input::Peer { from, message }, out);
        }
        shard.mesh.give_back(from, parcel);
        Pace::Busy
    }

    /// Puts on the wire what the engine wants there.
    fn send(&mut self) {
        let Turn { shard, out, counters, .. } = self;
        if out.sends.is_empty() {
            return;
        }
        let sent = shard.udp.send(&out.sends);
        counters.sent += count(sent.datagrams);
        counters.send_failed += count(sent.failed);
        counters.send_blocked += count(sent.blocked);
        counters.send_unroutable += count(sent.unroutable);
        out.sends.clear();
    }

    /// Gives other shards, and this one, what the engine has for them.
    fn tell_others(&mut self) -> Pace {
        let Turn { shard, out, own, counters, .. } = self;
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
        shard.mesh.flush();
        if own.is_empty() { Pace::Done } else { Pace::Busy }
    }

    /// When to wake at the latest.
    fn wake_at(&self, now: Instant) -> Instant {
        let longest = if self.shard.mesh.is_flushed() { IDLE_MAX } else { LANE_RETRY };
        let deadline = self.shard.engine.next_deadline().unwrap_or(Instant::NEVER);
        deadline.min(now + longest)
    }

    fn obey(&mut self, now: Instant, command: Command) -> Fate {
        match command {
            Command::Drain => {
                self.shard.engine.handle(now, Input::Drain, &mut self.out);
                self.send();
                Fate::Alive
            }
            Command::Report => {
                let _ = self.shard.answers.send(Answer::Report(self.summary()));
                Fate::Alive
            }
            Command::Stop => {
                self.send();
                self.tell_others();
                let _ = self.shard.answers.send(Answer::Ended(self.summary()));
                Fate::Over
            }
        }
    }

    fn summary(&self) -> Summary {
        let mut metrics = Vec::new();
        self.shard.engine.each_metric(&mut |name, value| metrics.push((name, value)));
        let counters = Counters { kernel_drops: self.shard.udp.kernel_drops(), ..self.counters };
        let census = self.shard.engine.census();
        Summary { shard: self.shard.id, core: self.shard.core, counters, census, metrics }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
