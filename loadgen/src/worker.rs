//! One thread: its sockets, its desk and its share of the calls.
//!
//! For: `run.rs`, which starts one for each core.
//! Not here: what messages mean (`desk/`).
//! Invariants: shares nothing with other workers but the plan, which nobody changes, and two flags;
//! what it has counted goes to the control thread once a second.

use crate::desk::call::Role;
use crate::desk::tally::{self, Counters, Times};
use crate::desk::{Desk, Parties, Place, Run};
use crate::net::{Means, Net, NetError, Traffic, Wanted};
use crate::schedule::{Plan, Turns};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use strowger_sip::message::Head;
use strowger_sip::time::{Duration, Instant, ms, secs};

/// How often counts are reported.
pub(crate) const INTERVAL: Duration = secs(1);
/// Longest sleep: how late a flag is seen.
const NAP_MAX: Duration = ms(50);
/// Calls begun before messages have their turn.
const BURST: usize = 64;

/// What a worker is told once.
pub(crate) struct Assignment<'p> {
    pub(crate) parties: &'p Parties,
    pub(crate) plan: &'p Plan,
    pub(crate) flags: &'p Flags,
    /// Its addresses, each with the role that uses it.
    pub(crate) wanted: Vec<(Role, Wanted)>,
    pub(crate) offload: bool,
    pub(crate) core: Option<usize>,
    pub(crate) run: Identity,
}

/// What tells a worker from others, and its run from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) worker: u64,
    pub(crate) workers: u64,
    pub(crate) id: u32,
    pub(crate) seed: (u64, u64),
    pub(crate) began: u64,
}

/// What the control thread tells all workers.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// Begin no more calls.
    pub(crate) wind_down: AtomicBool,
    /// Leave.
    pub(crate) stop: AtomicBool,
}

/// What a worker tells.
pub(crate) enum Word {
    /// Its sockets are open, at these addresses; its kernel names of them.
    Opened {
        worker: usize,
        addresses: Vec<SocketAddr>,
        inodes: Vec<u64>,
    },
    Failed(NetError),
    Counted(Box<Snapshot>),
}

/// A worker's counts at the end of an interval.
pub(crate) struct Snapshot {
    pub(crate) worker: usize,
    /// Intervals since the start.
    pub(crate) second: u64,
    /// Since the start.
    pub(crate) counters: Counters,
    pub(crate) traffic: Traffic,
    pub(crate) cpu: Duration,
    /// Of this interval.
    pub(crate) recent: Vec<Times>,
    /// With the last words only.
    pub(crate) whole: Option<Whole>,
    /// Under way, by role.
    pub(crate) active: [usize; 2],
    /// Whether it has begun all of its calls.
    pub(crate) all_begun: bool,
    /// Whether a scenario wants the run to stop.
    pub(crate) stop_asked: bool,
    /// Whether the interval is over.
    pub(crate) closes: bool,
}

/// The times of a worker's whole run.
pub(crate) struct Whole {
    pub(crate) timings: Vec<Times>,
    pub(crate) lateness: Times,
}

struct Worker<'p> {
    desk: Desk<'p>,
    net: Net,
    turns: Turns<'p>,
    flags: &'p Flags,
    epoch: std::time::Instant,
    number: usize,
    told: Sender<Word>,
    second: u64,
    /// What was told last: callers are done, and callees too.
    idle_told: (bool, bool),
    head: Head,
}

/// The body of the thread: opens sockets, waits for the start, works until told to stop.
pub(crate) fn work(
    assignment: Assignment<'_>,
    told: Sender<Word>,
    start: Receiver<std::time::Instant>,
) {
    if let Some(core) = assignment.core {
        pin(core);
    }
    // Sleeps of a fraction of a millisecond should end in time.
    let _ = nix::sys::prctl::set_timerslack(1);
    let number = usize::try_from(assignment.run.worker).unwrap_or(0);
    let wanted: Vec<Wanted> = assignment.wanted.iter().map(|(_, wanted)| *wanted).collect();
    let net = match Net::open(&wanted, assignment.offload) {
        Ok(net) => net,
        Err(error) => return drop(told.send(Word::Failed(error))),
    };
    let places: Vec<Place> = (0u16..)
        .zip(&assignment.wanted)
        .map(|(place, (role, wanted))| place_of(*role, wanted, net.address(place)))
        .collect();
    let addresses = (0u16..).zip(&places).filter_map(|(place, _)| net.address(place)).collect();
    let opened = Word::Opened { worker: number, addresses, inodes: net.inodes() };
    if told.send(opened).is_err() {
        return;
    }
    // The control thread gives up when another worker could not open its sockets.
    let Ok(epoch) = start.recv() else { return };
    let Identity { worker, workers, id, seed, began } = assignment.run;
    let run = Run {
        id,
        pid: std::process::id(),
        nonce: seed.0,
        dynamic_ids: Cell::new(worker + 1),
        began,
        worker,
        workers,
    };
    Worker {
        desk: Desk::new(assignment.parties, places, run, seed),
        net,
        turns: Turns::new(assignment.plan, worker, workers),
        flags: assignment.flags,
        epoch,
        number,
        told,
        second: 0,
        idle_told: (false, false),
        head: Head::default(),
    }
    .run();
}

fn place_of(role: Role, wanted: &Wanted, address: Option<SocketAddr>) -> Place {
    let address = address.unwrap_or(wanted.address);
    let ip = match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    let transport = match wanted.means {
        Means::Udp => "UDP",
        Means::Dial(_) | Means::Listen => "TCP",
    };
    Place { role, ip, port: address.port(), transport }
}

/// A thread that cannot be pinned works all the same.
fn pin(core: usize) {
    let mut cores = CpuSet::new();
    if cores.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &cores);
    }
}

impl Worker<'_> {
    fn run(&mut self) {
        loop {
            let now = self.now();
            if self.flags.stop.load(Ordering::Relaxed) {
                self.desk.give_up(now);
                self.net.flush(&mut self.desk.out);
                return self.tell(false, true);
            }
            self.hear(now);
            let now = self.now();
            self.desk.expire(now);
            self.begin(now);
            self.net.flush(&mut self.desk.out);
            self.tell_in_time(now);
            let longest = self.longest_nap();
            self.net.wait(longest);
        }
    }

    fn now(&self) -> Instant {
        let micros = self.epoch.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Takes what has arrived and answers it.
    fn hear(&mut self, now: Instant) {
        let (desk, head) = (&mut self.desk, &mut self.head);
        if self.net.receive(|door, from, bytes| desk.hear(head, now, door, from, bytes)) {
            self.net.flush(&mut self.desk.out);
        }
    }

    /// Begins the calls that are due.
    fn begin(&mut self, now: Instant) {
        if self.flags.wind_down.load(Ordering::Relaxed) {
            self.turns.stop();
            self.desk.closed = true;
        }
        for _ in 0..BURST {
            let Some((number, due)) = self.turns.take_due(now) else { return };
            self.desk.begin(number, due, now);
        }
    }

    fn longest_nap(&self) -> Duration {
        let now = self.now();
        let next = [self.turns.next(), self.desk.next_deadline(), Some(self.next_telling())];
        let next = next.into_iter().flatten().min().unwrap_or(Instant::NEVER);
        next.since(now).min(NAP_MAX)
    }

    fn next_telling(&self) -> Instant {
        Instant::START + INTERVAL * u32::try_from(self.second + 1).unwrap_or(u32::MAX)
    }

    /// Reports once a second, and at once when there is nothing left to do.
    fn tell_in_time(&mut self, now: Instant) {
        while now >= self.next_telling() {
            self.tell(true, false);
            self.second += 1;
        }
        let begun = self.turns.next().is_none() && self.desk.active(Role::Caller) == 0;
        let idle = (begun, begun && self.desk.active(Role::Callee) == 0);
        if idle != self.idle_told {
            self.idle_told = idle;
            self.tell(false, false);
        }
    }

    fn tell(&mut self, closes: bool, last: bool) {
        let fresh = self.desk.recent.iter().map(|_| tally::no_short_times()).collect();
        let recent = std::mem::replace(&mut self.desk.recent, fresh);
        // The whole run's times are told once, at its end.
        let whole = last.then(|| Whole {
            timings: std::mem::take(&mut self.desk.timings),
            lateness: std::mem::replace(&mut self.desk.lateness, tally::no_times()),
        });
        let snapshot = Snapshot {
            worker: self.number,
            second: self.second,
            counters: self.desk.counters.clone(),
            traffic: self.net.traffic,
            cpu: cpu_time(),
            recent,
            whole,
            active: [self.desk.active(Role::Caller), self.desk.active(Role::Callee)],
            all_begun: self.turns.next().is_none(),
            stop_asked: self.desk.stop_asked,
            closes,
        };
        // Nobody listens when the run is over.
        let _ = self.told.send(Word::Counted(Box::new(snapshot)));
    }
}

/// Time that this thread has spent on a processor.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
