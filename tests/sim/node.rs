//! The simulated node: four shards behind one address, as the edge would drive them.
//!
//! For: handing a datagram to its home shard, timers, the running hash of all that the node does.
//! Not here: the network (`network.rs`), what to expect (`judge.rs`).
//! Invariants: the node's whole behaviour enters the hash, in order.

use crate::mail::Mail;
use crate::policy::{self, Ledger, Policy};
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use strowger_sip::engine::{ActionsOf, Census, Engine, Input, Settings, Setup};
use strowger_sip::entropy::Entropy;
use strowger_sip::message::scan_call_id;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::Instant;
use strowger_sip::transport::{Flow, Listener, ListenerId, Listeners, Transport};

/// How many shards the node has.
pub(crate) const SHARDS: u16 = 4;

/// The node's address.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5060))
}

/// A message that a shard sent.
pub(crate) struct Sent {
    pub(crate) shard: ShardId,
    pub(crate) to: SocketAddr,
    pub(crate) mail: Rc<Mail>,
}

/// Four shards.
pub(crate) struct Node {
    shards: Vec<Engine<Policy>>,
    pub(crate) map: ShardMap,
    entropy: Entropy,
    out: ActionsOf<Policy>,
    hash: DefaultHasher,
    /// What was sent since it was last taken.
    pub(crate) sent: Vec<Sent>,
}

impl Node {
    /// A node that replays from this stream.
    pub(crate) fn new(mut entropy: Entropy) -> Node {
        let listeners = Listeners::new(vec![Listener {
            transport: Transport::Udp,
            bound: address(),
            advertised: address().ip().to_string(),
        }]);
        let map = ShardMap::new(SHARDS, entropy.keys());
        let shards = (0..SHARDS).map(|shard| {
            Engine::new(Setup {
                shard: ShardId(shard),
                map,
                listeners: listeners.clone(),
                seed: entropy.keys(),
                settings: Settings { transactions_reserved: 16, ..Settings::default() },
                routing: Policy,
                modules: (Ledger::default(), policy::dialogs()),
            })
        });
        let shards = shards.collect();
        let (out, hash) = (ActionsOf::<Policy>::default(), DefaultHasher::new());
        Node { shards, map, entropy, out, hash, sent: Vec::new() }
    }

    /// A datagram reaches one socket or another: the shard that received it, and its home.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> (ShardId, ShardId) {
        let received = self.entropy.below(u64::from(SHARDS));
        let received = ShardId(u16::try_from(received).unwrap_or(0));
        (received, scan_call_id(bytes).map_or(received, |call_id| self.map.home(call_id)))
    }

    /// Its home shard takes a datagram.
    pub(crate) fn handle(&mut self, now: Instant, home: ShardId, from: SocketAddr, bytes: &[u8]) {
        let flow = Flow::udp(ListenerId(0), from);
        let engine = &mut self.shards[usize::from(home.0)];
        engine.handle(now, Input::Datagram { flow, bytes }, &mut self.out);
        self.gather(now, home);
    }

    /// When the next timer is due, and on which shard.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, ShardId)> {
        let due = |(shard, engine): (u16, &Engine<Policy>)| {
            engine.next_deadline().map(|at| (at, ShardId(shard)))
        };
        (0..SHARDS).zip(&self.shards).filter_map(due).min()
    }

    /// Fires what is due on a shard.
    pub(crate) fn expire(&mut self, now: Instant, shard: ShardId) {
        self.shards[usize::from(shard.0)].expire(now, &mut self.out);
        self.gather(now, shard);
    }

    fn gather(&mut self, now: Instant, shard: ShardId) {
        self.hash.write_u64(now.as_micros());
        self.hash.write_u16(shard.0);
        for (flow, bytes) in self.out.sends.iter() {
            self.hash.write(flow.remote.to_string().as_bytes());
            self.hash.write(bytes);
            let mail = Rc::new(Mail::new(bytes.to_vec()));
            self.sent.push(Sent { shard, to: flow.remote, mail });
        }
        self.out.clear();
    }

    /// A hash of all that the node has done.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.hash.finish()
    }

    /// A count of all shards together.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut sum = 0;
        for shard in &self.shards {
            shard.each_metric(&mut |known, value| {
                if known.starts_with(name) {
                    sum += value;
                }
            });
        }
        sum
    }

    /// What is alive on each shard.
    pub(crate) fn census(&self) -> Vec<Census> {
        self.shards.iter().map(Engine::census).collect()
    }
}
