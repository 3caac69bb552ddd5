//! Drives one machine in its unit tests: time in, messages and reports out.
//!
//! For: tests that read like the protocol (`at(ms(500)).sends("INVITE")`), and for trying every
//! short sequence of inputs on a machine.
//! Not here: whole calls through the engine (`tests/flows/`).

use super::timer::{TimerSettings, Timers};
use super::{Failure, Fate, Report, Step};
use crate::actions::Sends;
use crate::buffer::{Kept, Pool};
use crate::entropy::Entropy;
use crate::time::{Duration, Instant, secs};
use crate::transport::{Flow, ListenerId, Transport};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

/// What the four machines have in common.
pub(super) trait Machine {
    fn deadline(&self) -> Option<Instant>;
    fn expire(&mut self, step: &mut Step<'_>) -> Report;
    fn recycle(self, pool: &mut Pool);
}

#[derive(Debug, PartialEq)]
enum Event {
    Sent(String),
    Reported(Failure),
    Terminated,
}

/// One machine with its surroundings. Its events are read in order; each must be read in time.
pub(super) struct Rig<M> {
    machine: Option<M>,
    pub(super) transport: Transport,
    timers: Timers,
    now: Instant,
    out: Sends,
    pool: Pool,
    whole: usize,
    events: VecDeque<(Instant, Event)>,
}

/// The flow that everything in these tests uses.
pub(super) fn flow(transport: Transport) -> Flow {
    let remote = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 20), 5060));
    Flow { transport, ..Flow::udp(ListenerId(0), remote) }
}

/// Writes a message that is just this text.
pub(super) fn text(text: &str) -> impl FnOnce(&mut Vec<u8>) {
    move |out| out.extend_from_slice(text.as_bytes())
}

impl<M: Machine> Rig<M> {
    /// A machine over this transport, with RFC 3261's timers.
    pub(super) fn new(
        transport: Transport,
        start: impl FnOnce(&mut Step<'_>, Flow) -> M,
    ) -> Rig<M> {
        let settings = TimerSettings::rfc(TimerSettings::default().t1, secs(4), secs(5));
        Rig::with(settings, transport, start)
    }

    pub(super) fn with(
        settings: TimerSettings,
        transport: Transport,
        start: impl FnOnce(&mut Step<'_>, Flow) -> M,
    ) -> Rig<M> {
        let mut pool = Pool::default();
        let buffers: Vec<_> = (0..4).map(|_| pool.take(1)).collect();
        buffers.into_iter().for_each(|buffer| pool.put(buffer));
        let mut rig = Rig {
            machine: None,
            transport,
            timers: settings.check().unwrap(),
            now: Instant::START,
            out: Sends::default(),
            whole: pool.retained_bytes(),
            pool,
            events: VecDeque::new(),
        };
        rig.machine = Some(start(&mut rig.step().1, flow(transport)));
        rig
    }

    fn step(&mut self) -> (Option<&mut M>, Step<'_>) {
        let Rig { machine, now, timers, out, pool, .. } = self;
        (machine.as_mut(), Step { now: *now, timers, out, pool })
    }

    /// Gives the machine an input and returns its answer.
    pub(super) fn input<R>(&mut self, give: impl FnOnce(&mut M, &mut Step<'_>) -> R) -> R {
        let (machine, mut step) = self.step();
        let answer = give(machine.expect("the machine has ended"), &mut step);
        let sent: Vec<_> = self.out.iter().map(|(_, bytes)| bytes.to_vec()).collect();
        self.out.clear();
        for bytes in sent {
            let text = String::from_utf8(bytes).unwrap();
            self.events.push_back((self.now, Event::Sent(text)));
        }
        answer
    }

    /// The same for an input that is answered with a report.
    pub(super) fn reported(&mut self, give: impl FnOnce(&mut M, &mut Step<'_>) -> Report) {
        let report = self.input(give);
        if let Some(failure) = report.failure {
            self.events.push_back((self.now, Event::Reported(failure)));
        }
        match report.fate {
            Fate::Alive => (),
            Fate::Terminated => {
                self.events.push_back((self.now, Event::Terminated));
                self.end();
            }
        }
    }

    /// Recycles the machine; nothing that it took from the pool may be missing.
    pub(super) fn end(&mut self) {
        if let Some(machine) = self.machine.take() {
            machine.recycle(&mut self.pool);
        }
        assert_eq!(self.pool.retained_bytes(), self.whole, "a buffer was lost");
    }

    /// Runs the machine's timers up to this time after its start.
    fn run_to(&mut self, target: Instant) {
        while let Some(deadline) = self.machine.as_ref().and_then(M::deadline)
            && deadline <= target
        {
            self.now = self.now.max(deadline);
            self.reported(M::expire);
            let next = self.machine.as_ref().and_then(M::deadline);
            assert!(next.is_none_or(|next| next > self.now), "expiring brought no progress");
        }
        self.now = self.now.max(target);
    }

    /// Passes time; whatever happens on the way is unexpected.
    pub(super) fn at(&mut self, time: Duration) -> &mut Self {
        self.quiet();
        self.run_to(Instant::START + time);
        if let Some((when, event)) = self.events.front() {
            assert_eq!(*when, self.now, "{event:?} was not expected");
        }
        self
    }

    /// Passes time; messages that are sent on the way are ignored.
    pub(super) fn skip_to(&mut self, time: Duration) -> &mut Self {
        self.quiet();
        self.run_to(Instant::START + time);
        let now = self.now;
        self.events.retain(|(when, event)| *when == now || !matches!(event, Event::Sent(_)));
        self
    }

    fn next(&mut self, expected: Event) -> &mut Self {
        let event = self.events.pop_front().map(|(when, event)| {
            assert_eq!(when, self.now, "{event:?}");
            event
        });
        assert_eq!(event, Some(expected), "at {:?}", self.now);
        self
    }

    pub(super) fn sends(&mut self, text: &str) -> &mut Self {
        self.next(Event::Sent(text.to_owned()))
    }

    pub(super) fn reports(&mut self, failure: Failure) -> &mut Self {
        self.next(Event::Reported(failure))
    }

    pub(super) fn terminates(&mut self) -> &mut Self {
        self.next(Event::Terminated);
        assert!(self.machine.is_none());
        self.quiet()
    }

    /// Nothing more happened, and the machine may have gone on.
    pub(super) fn quiet(&mut self) -> &mut Self {
        assert!(self.events.is_empty(), "not expected: {:?}", self.events);
        self
    }
}

/// One input to a machine; those without a fate answer that it goes on.
pub(super) type Input<M> = fn(&mut M, &mut Step<'_>) -> Report;

/// Gives every sequence of four inputs to a new machine (so every input meets every state), each
/// followed by nothing, by the next deadline, or by hours. It must neither panic nor lose a buffer.
pub(super) fn endures_every_sequence<M: Machine>(
    start: impl Fn(&mut Step<'_>, Flow) -> M,
    inputs: &[Input<M>],
) {
    for (transport, late) in [(Transport::Udp, 5), (Transport::Udp, 0), (Transport::Tcp, 5)] {
        let settings = TimerSettings { late: secs(late), ..TimerSettings::default() };
        let count = inputs.len() * 3;
        for sequence in 0..count.pow(4) {
            let mut rig = Rig::with(settings, transport, &start);
            let mut rest = sequence;
            for _ in 0..4 {
                rig.try_input(inputs[rest % inputs.len()], rest / inputs.len() % 3);
                rest /= count;
            }
            rig.end();
        }
    }
}

/// Drives machines with long random sequences of inputs and spans.
pub(super) fn endures_random_inputs<M: Machine>(
    start: impl Fn(&mut Step<'_>, Flow) -> M,
    inputs: &[Input<M>],
) {
    for seed in 0..500 {
        let mut entropy = Entropy::new((seed, 17));
        let mut below = |bound: usize| usize::try_from(entropy.below(bound as u64)).unwrap();
        let transport = if below(2) == 0 { Transport::Udp } else { Transport::Tls };
        let mut rig = Rig::with(TimerSettings::default(), transport, &start);
        for _ in 0..100 {
            rig.try_input(inputs[below(inputs.len())], 0);
            rig.run_to(rig.now + Duration::from_micros(1 << below(25)));
        }
        rig.end();
    }
}

impl<M: Machine> Rig<M> {
    fn try_input(&mut self, input: Input<M>, pause: usize) {
        if self.machine.is_none() {
            return;
        }
        self.reported(input);
        let deadline = self.machine.as_ref().and_then(M::deadline);
        match pause {
            0 => (),
            1 => self.run_to(deadline.unwrap_or(self.now)),
            2.. => self.run_to(self.now + secs(7200)),
        }
        self.events.clear();
    }
}

/// A request that was sent, kept for its retransmissions.
pub(super) fn kept(text: &str, step: &mut Step<'_>, flow: Flow) -> Kept {
    Kept { flow, bytes: step.pool.copy(text.as_bytes()) }
}
