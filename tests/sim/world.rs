//! One run: the node, the parties, the network between them, and a clock that jumps.
//!
//! For: carrying every message to whoever it is for, in the order of virtual time.
//! Not here: what is right (`judge.rs`), what parties do (`agent.rs`).
//! Invariants: everything is drawn from one seed; of two events at one moment the earlier planned
//! one comes first, and a message comes before a timer.

use crate::adversary::{self, Knowledge};
use crate::agent::Agent;
use crate::cast::{self, Call};
use crate::habits::{once_in, span};
use crate::judge::{Fault, Judge};
use crate::mail::Mail;
use crate::network::Network;
use crate::node::{self, Node};
use crate::policy::DIALOGS_OUTLIVE;
use crate::trace::{Fate, Trace};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::rc::Rc;
use strowger_sip::engine::Census;
use strowger_sip::entropy::Entropy;
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant, ms, secs};

/// Calls of one run.
const CALLS: u16 = 40;
/// Datagrams of the adversary in one run.
const INJECTIONS: u32 = 150;
/// The longest that anything stays on the node without a further message: a routing's lifetime, the
/// wait for the effect of its CANCELs, and 64*T1.
const UNANSWERED: Duration = secs(180 + 30 + 32);
/// The grain of the node's timers, twice: one may arm another.
const TICK: Duration = ms(2);
/// No run has so many events; a party and the node that answer each other for ever do.
const EVENTS_MAX: u64 = 400_000;

enum Event {
    Mail {
        from: SocketAddr,
        to: SocketAddr,
        mail: Rc<Mail>,
    },
    /// A message on its way from the shard that received it to its home.
    Handover {
        home: ShardId,
        from: SocketAddr,
        mail: Rc<Mail>,
    },
    Wake(usize),
    /// The adversary's turn.
    Inject,
    /// The node's machine stands still.
    Freeze(Duration),
}

/// A planned event; the earliest planned one comes first among equals.
struct Planned {
    at: Instant,
    number: u64,
    event: Event,
}

impl Planned {
    fn order(&self) -> Reverse<(Instant, u64)> {
        Reverse((self.at, self.number))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// One run.
pub(crate) struct World {
    now: Instant,
    node: Node,
    network: Network,
    entropy: Entropy,
    knowledge: Knowledge,
    agents: Vec<Agent>,
    by_address: BTreeMap<SocketAddr, usize>,
    /// The caller of each call, and what it may hear.
    expected: Vec<(usize, Vec<u16>)>,
    plan: BinaryHeap<Planned>,
    planned: u64,
    frozen_until: Instant,
    /// For how long the node has stood still altogether.
    frozen: Duration,
    judge: Judge,
    pub(crate) trace: Trace,
    /// What the adversary has seen.
    seen: Vec<Rc<Mail>>,
    last_arrival: Instant,
    /// When the node's last timer fired.
    last_timer: Instant,
    pub(crate) datagrams: u64,
    pub(crate) handed_over: u64,
}

impl World {
    /// Draws a run from its seed.
    pub(crate) fn new(seed: u64, knowledge: Knowledge) -> World {
        let mut entropy = Entropy::new((seed, 0x5157_0a6e));
        let is_calm = cast::is_calm(&mut entropy) && knowledge == Knowledge::Absent;
        let node = Node::new(Entropy::new(entropy.keys()));
        let network = Network::new(Entropy::new(entropy.keys()), is_calm);
        let frozen = if is_calm { secs(0) } else { secs(64) };
        let judge = Judge::new(node.map, knowledge, secs(180) + frozen);
        let mut world = World {
            now: Instant::START,
            node,
            network,
            entropy,
            knowledge,
            agents: Vec::new(),
            by_address: BTreeMap::new(),
            expected: Vec::new(),
            plan: BinaryHeap::new(),
            planned: 0,
            frozen_until: Instant::START,
            frozen: secs(0),
            judge,
            trace: Trace::default(),
            seen: Vec::new(),
            last_arrival: Instant::START,
            last_timer: Instant::START,
            datagrams: 0,
            handed_over: 0,
        };
        for number in 0..CALLS {
            world.draw_call(number, is_calm);
        }
        if !is_calm {
            world.draw_trouble();
        }
        world
    }

    fn draw_call(&mut self, number: u16, is_calm: bool) {
        let call = Call::draw(number, &mut self.entropy);
        if let Some(expected) = call.expected.filter(|_| is_calm) {
            self.expected.push((self.agents.len(), expected));
        }
        self.schedule(call.starts, Event::Wake(self.agents.len()));
        for agent in std::iter::once(call.caller).chain(call.callees) {
            self.by_address.insert(agent.address, self.agents.len());
            self.agents.push(agent);
        }
    }

    fn draw_trouble(&mut self) {
        for _ in 0..self.entropy.below(4) {
            let at = Instant::START + span(&mut self.entropy, secs(0), secs(120));
            let rare = once_in(&mut self.entropy, 6);
            let longest = if rare { secs(60) } else { secs(1) };
            let length = span(&mut self.entropy, ms(10), longest);
            self.schedule(at, Event::Freeze(length));
        }
        if self.knowledge != Knowledge::Absent {
            for _ in 0..INJECTIONS {
                let at = Instant::START + span(&mut self.entropy, secs(1), secs(90));
                self.schedule(at, Event::Inject);
            }
        }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.planned += 1;
        self.plan.push(Planned { at, number: self.planned, event });
    }

    /// Runs to the end, or to the first fault.
    pub(crate) fn run(&mut self) -> Result<u64, Fault> {
        for _ in 0..EVENTS_MAX {
            let is_over = self.step();
            if let Some(fault) = self.judge.faults.first() {
                return Err(fault.clone());
            }
            if is_over {
                self.end();
                let fault = self.judge.faults.first();
                return fault.map_or(Ok(self.node.fingerprint()), |fault| Err(fault.clone()));
            }
        }
        Err(Fault { call_id: self.trace.last_call(), what: "the run does not end".into() })
    }

    /// The next event, or the next timer of the node; whether nothing is left.
    fn step(&mut self) -> bool {
        let due = self.node.next_deadline();
        // What waits at the sockets comes first, handed over or not: else a copy from before the
        // freeze would outlive the transaction that knows it.
        let thawed = self.frozen_until + if self.frozen.is_zero() { ms(0) } else { ms(1) };
        let due = due.map(|(at, shard)| (at.max(thawed), shard));
        let planned = self.plan.peek().map(|planned| planned.at);
        match (due, planned) {
            (None, None) => return true,
            (Some((at, shard)), planned) if planned.is_none_or(|planned| at < planned) => {
                self.now = self.now.max(at);
                self.last_timer = self.now;
                self.node.expire(self.now, shard);
                self.carry_out();
            }
            (_, _) => {
                if let Some(planned) = self.plan.pop() {
                    self.now = self.now.max(planned.at);
                    self.happen(planned.event);
                }
            }
        }
        false
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Mail { from, to, mail } if to == node::address() => {
                if self.now < self.frozen_until {
                    return self.schedule(self.frozen_until, Event::Mail { from, to, mail });
                }
                self.receive(from, mail);
            }
            Event::Mail { from, to, mail } => {
                let Some(&agent) = self.by_address.get(&to) else { return };
                self.trace.add(self.now, (from, to), Fate::Arrived, &mail);
                self.agents[agent].receive(self.now, from, &mail);
                self.act(agent);
            }
            Event::Handover { home, from, mail } => {
                if self.now < self.frozen_until {
                    return self.schedule(self.frozen_until, Event::Handover { home, from, mail });
                }
                self.handle(home, from, &mail);
            }
            Event::Wake(agent) => {
                self.agents[agent].expire(self.now);
                self.act(agent);
            }
            Event::Inject => self.inject(),
            Event::Freeze(length) => {
                self.frozen_until = self.frozen_until.max(self.now + length);
                self.frozen += length;
            }
        }
    }

    /// What an agent has decided leaves it.
    fn act(&mut self, agent: usize) {
        let from = self.agents[agent].address;
        for (to, mail) in std::mem::take(&mut self.agents[agent].out) {
            self.send(from, to, mail);
        }
        if let Some(complaint) = self.agents[agent].complaints.pop()
            && self.knowledge == Knowledge::Absent
        {
            let what = format!("{from} complains: {complaint}");
            self.judge.faults.push(Fault { call_id: self.trace.last_call(), what });
        }
        if let Some(at) = self.agents[agent].next_deadline() {
            self.schedule(at, Event::Wake(agent));
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, mail: Rc<Mail>) {
        let arrivals = self.network.carry(self.now);
        let fate = Fate::Sent { copies: arrivals.len() };
        self.trace.add(self.now, (from, to), fate, &mail);
        if self.knowledge != Knowledge::Absent && !mail.hostile {
            self.seen.push(Rc::clone(&mail));
        }
        for at in arrivals {
            self.schedule(at, Event::Mail { from, to, mail: Rc::clone(&mail) });
        }
    }

    /// A datagram reaches a socket of the node.
    fn receive(&mut self, from: SocketAddr, mail: Rc<Mail>) {
        self.datagrams += 1;
        let (received, home) = self.node.receive(&mail.bytes);
        if received == home {
            return self.handle(home, from, &mail);
        }
        self.handed_over += 1;
        self.trace.add(self.now, (from, node::address()), Fate::Received(received), &mail);
        let at = self.now + Duration::from_micros(self.entropy.below(500));
        self.schedule(at, Event::Handover { home, from, mail });
    }

    fn handle(&mut self, home: ShardId, from: SocketAddr, mail: &Rc<Mail>) {
        self.last_arrival = self.now;
        self.trace.add(self.now, (from, node::address()), Fate::Handled(home), mail);
        self.judge.arrives(self.now, from, mail);
        self.node.handle(self.now, home, from, &mail.bytes);
        self.carry_out();
    }

    /// What the node has sent goes on its way; its tables hold no more than they must.
    fn carry_out(&mut self) {
        for sent in std::mem::take(&mut self.node.sent) {
            self.judge.departs(self.now, sent.shard, sent.to, &sent.mail);
            self.send(node::address(), sent.to, sent.mail);
        }
        self.judge.settled(self.now);
        self.judge.compare(&total(&self.node.census()), self.datagrams);
    }

    fn inject(&mut self) {
        let count = self.seen.len() as u64;
        let place = usize::try_from(self.entropy.below(count)).unwrap_or(0);
        let Some(seen) = self.seen.get(place).cloned() else { return };
        let mail = Rc::new(adversary::forge(&mut self.entropy, &seen, self.knowledge));
        let from = match self.knowledge {
            Knowledge::OnPath => {
                let agent = self.entropy.below(self.agents.len() as u64);
                self.agents[usize::try_from(agent).unwrap_or(0)].address
            }
            Knowledge::Absent | Knowledge::Blind => adversary::address(),
        };
        self.schedule(self.now, Event::Mail { from, to: node::address(), mail });
    }

    /// Nothing is under way any more.
    fn end(&mut self) {
        let expires = match self.knowledge {
            Knowledge::Absent => self.judge.state_expires(),
            Knowledge::Blind | Knowledge::OnPath => self.last_arrival + UNANSWERED,
        };
        let bound = expires + DIALOGS_OUTLIVE + self.frozen + TICK;
        let fault = |what: String| Fault { call_id: String::new(), what };
        if self.last_timer > bound {
            let what = format!("state until {:?}, not beyond {bound:?}", self.last_timer);
            self.judge.faults.push(fault(what));
        }
        let left = total(&self.node.census());
        if !left.is_empty() {
            self.judge.faults.push(fault(format!("left behind: {left:?}")));
        }
        let count = |name| self.node.metric(name);
        let (begun, failed) = (count("dialog_processed"), count("dialog_failed"));
        let (ended, up) = (count("dialog_ended"), count("dialog_active") + count("dialog_early"));
        if begun != failed + ended || up > 0 || count("dialog_overdue") > 0 {
            let what = format!("{begun} dialogs, {failed} failed, {ended} ended, {up} are left");
            self.judge.faults.push(fault(what));
        }
        self.judge.end();
        for (caller, expected) in &self.expected {
            let outcome = self.agents[*caller].outcome;
            if !outcome.is_some_and(|status| expected.contains(&status)) {
                let what = format!("{outcome:?} came of it on a calm day, not {expected:?}");
                let call_id = self.agents[*caller].call_id();
                self.judge.faults.push(Fault { call_id, what });
            }
        }
    }
}

/// The node's census over all shards.
fn total(shards: &[Census]) -> Census {
    shards.iter().fold(Census::default(), |sum, shard| Census {
        server_transactions: sum.server_transactions + shard.server_transactions,
        client_transactions: sum.client_transactions + shard.client_transactions,
        contexts: sum.contexts + shard.contexts,
        waiting_routings: sum.waiting_routings + shard.waiting_routings,
        timers: sum.timers + shard.timers,
        module_objects: sum.module_objects + shard.module_objects,
    })
}
