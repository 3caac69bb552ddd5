//! One shard on the bench: its engine, its clock, and what it sent.
//!
//! For: driving the engine's entry points by hand, in virtual time.
//! Not here: who the messages are for and what is expected of them (`flow/`).
//! Invariants: the clock goes forward only; a timer fires at its deadline and not later.

use crate::actions::Origin;
use crate::engine::{ActionsOf, Census, Engine, Input, InputOf, PeerOf, RowOf, Settings, Setup};
use crate::metrics::Metrics;
use crate::module::{Command, Fault};
use crate::resolver::Question;
use crate::routing::Routing;
use crate::shard::{ShardId, ShardMap};
use crate::time::{Duration, Instant};
use crate::transport::{ConnectionId, Flow, Lifespan, Listener, ListenerId, Listeners, Transport};
use std::net::SocketAddr;

/// How often timers may fire without the clock moving on before the bench calls it a loop. A guess
/// beyond anything real: one call of the engine fires all that is due.
const STUCK: u32 = 1000;

/// A message that the shard sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// From which listener, and to whom.
    pub flow: Flow,
    /// What.
    pub bytes: Vec<u8>,
    /// Who wants to know when it could not be sent.
    pub origin: Origin,
}

/// A shard with a virtual clock.
pub struct Bench<R: Routing> {
    engine: Engine<R>,
    listeners: Listeners,
    now: Instant,
    out: ActionsOf<R>,
    sent: Vec<Sent>,
    peers: Vec<(ShardId, PeerOf<R>)>,
    rows: Vec<RowOf<R>>,
    questions: Vec<Question>,
    lifespans: Vec<(ConnectionId, Lifespan)>,
}

impl<R: Routing> Bench<R> {
    /// A shard at the start of its time, made as the edge makes one.
    pub fn new(setup: Setup<R>) -> Bench<R> {
        let listeners = setup.listeners.clone();
        Bench::of(Engine::new(setup), listeners, Instant::START)
    }

    /// An engine that has not run yet, at this time: what the start of a process finds, or its
    /// restart after a while.
    pub fn of(engine: Engine<R>, listeners: Listeners, now: Instant) -> Bench<R> {
        Bench {
            engine,
            listeners,
            now,
            out: ActionsOf::<R>::default(),
            sent: Vec::new(),
            peers: Vec::new(),
            rows: Vec::new(),
            questions: Vec::new(),
            lifespans: Vec::new(),
        }
    }

    /// The only shard of a node, with a fixed seed, listening at these UDP addresses.
    ///
    /// # Panics
    /// When an address is none.
    pub fn alone(listen: &[&str], settings: Settings, routing: R, modules: R::Modules) -> Bench<R> {
        let listeners = listen.iter().map(|text| udp_listener(text)).collect();
        Bench::new(Setup {
            shard: ShardId(0),
            map: ShardMap::new(1, (1, 2)),
            listeners: Listeners::new(listeners),
            seed: (3, 4),
            settings,
            routing,
            modules,
        })
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The node's listening addresses.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The shard itself.
    pub fn engine(&self) -> &Engine<R> {
        &self.engine
    }

    /// A datagram arrives at a listener.
    pub fn receive(&mut self, listener: ListenerId, from: SocketAddr, bytes: &[u8]) {
        self.input(Input::Datagram { flow: Flow::udp(listener, from), bytes });
    }

    /// Anything happens to the shard.
    pub fn input(&mut self, input: InputOf<'_, R>) {
        self.engine.handle(self.now, input, &mut self.out);
        self.gather();
    }

    /// A command of the control plane.
    pub fn command(&mut self, command: &Command) -> Option<Result<String, Fault>> {
        let answer = self.engine.command(self.now, command, &mut self.out);
        self.gather();
        answer
    }

    /// A changed configuration: the shard takes over from one that was made of it and never ran.
    pub fn renew(&mut self, fresh: Setup<R>) {
        self.engine.renew(self.now, Engine::new(fresh), &mut self.out);
        self.gather();
    }

    /// Lets time pass; what is due on the way fires at its own deadline.
    pub fn advance(&mut self, span: Duration) {
        self.advance_to(self.now + span);
    }

    /// The same up to a moment, which is not in the past.
    pub fn advance_to(&mut self, moment: Instant) {
        while self.step(moment) {}
        self.now = self.now.max(moment);
    }

    /// Goes to the next deadline and fires what is due, if that is not later than `limit`. `false`
    /// when it is: the clock has not moved then.
    ///
    /// # Panics
    /// When the engine is due again and again without its time moving on.
    pub fn step(&mut self, limit: Instant) -> bool {
        for _ in 0..STUCK {
            let Some(due) = self.engine.next_deadline().filter(|due| *due <= limit) else {
                return false;
            };
            let progress = due > self.now;
            self.now = self.now.max(due);
            self.engine.expire(self.now, &mut self.out);
            self.gather();
            if progress {
                return true;
            }
        }
        panic!("expiring brings no progress at {:?}", self.now);
    }

    /// Takes what was sent since the last call, in order.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// Takes what modules told other shards since the last call.
    pub fn take_peers(&mut self) -> Vec<(ShardId, PeerOf<R>)> {
        std::mem::take(&mut self.peers)
    }

    /// Takes what modules stored since the last call.
    pub fn take_rows(&mut self) -> Vec<RowOf<R>> {
        std::mem::take(&mut self.rows)
    }

    /// Takes the names that the shard wants looked up since the last call.
    pub fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    /// Takes how long connections are to live, as said since the last call.
    pub fn take_lifespans(&mut self) -> Vec<(ConnectionId, Lifespan)> {
        std::mem::take(&mut self.lifespans)
    }

    /// What is alive.
    pub fn census(&self) -> Census {
        self.engine.census()
    }

    /// The counters.
    pub fn metrics(&self) -> Metrics {
        self.engine.metrics()
    }

    /// One counter by its name, the modules' too; `None` when there is none of this name.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let mut found = None;
        self.engine.each_metric(&mut |each, value| {
            if each == name {
                found = Some(value);
            }
        });
        found
    }

    fn gather(&mut self) {
        let Bench { out, sent, peers, rows, questions, lifespans, now, .. } = self;
        let at = *now;
        sent.extend(out.sends.iter_with_origin().map(|(origin, flow, bytes)| Sent {
            at,
            flow: *flow,
            bytes: bytes.to_vec(),
            origin,
        }));
        peers.append(&mut out.peers);
        rows.append(&mut out.rows);
        questions.append(&mut out.questions);
        lifespans.append(&mut out.lifespans);
        out.clear();
    }
}

/// A UDP listener at this address; it advertises the address, without the port where that is 5060.
///
/// # Panics
/// When the text is no address.
pub fn udp_listener(address: &str) -> Listener {
    let bound: SocketAddr = address.parse().unwrap_or_else(|_| panic!("{address} is no address"));
    let transport = Transport::Udp;
    let advertised = if bound.port() == transport.default_port() {
        match bound {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        }
    } else {
        bound.to_string()
    };
    Listener { transport, bound, advertised }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Answer, Reply, Request};
    use crate::time::{ms, secs};

    struct ToTarget;

    impl Routing for ToTarget {
        type Modules = ();

        async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
            Ok(request.relay_to_target().into())
        }
    }

    const INVITE: &str = "INVITE sip:bob@192.0.2.20 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\r\n\
        From: <sip:alice@192.0.2.10>;tag=1\r\n\
        To: <sip:bob@192.0.2.20>\r\n\
        Call-ID: 1\r\n\
        CSeq: 1 INVITE\r\n\
        Content-Length: 0\r\n\r\n";

    fn ring_nobody() -> Vec<Sent> {
        let mut bench = Bench::alone(&["192.0.2.1:5060"], Settings::default(), ToTarget, ());
        let from = "192.0.2.10:5060".parse().unwrap();
        bench.receive(ListenerId(0), from, INVITE.as_bytes());
        bench.advance(secs(120));
        assert!(bench.census().is_empty(), "{:?}", bench.census());
        assert_eq!(bench.metric("requests_received"), Some(1));
        assert_eq!(bench.metric("no such counter"), None);
        bench.take_sent()
    }

    #[test]
    fn timers_fire_at_their_deadlines() {
        let sent = ring_nobody();
        let invites = sent.iter().filter(|sent| sent.bytes.starts_with(b"INVITE"));
        let times: Vec<Duration> =
            invites.take(4).map(|sent| sent.at.since(Instant::START)).collect();
        assert_eq!(times, [ms(0), ms(500), ms(1500), ms(3500)]);
    }

    #[test]
    fn a_run_replays_byte_for_byte() {
        assert_eq!(ring_nobody(), ring_nobody());
    }
}
