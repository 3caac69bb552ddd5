//! What a module may do during a hook: its view of the shard.
//!
//! For: time, entropy, sending, timers, messages to its peers, waking a routing that waits.
//! Not here: when hooks are called (`engine/`, `proxy/`).

use super::list::{Has, Types};
use super::{Event, Module};
use crate::engine::CallOrder;
use crate::engine::core::Core;
use crate::engine::slots::{ContextId, ServerId, TimerKey};
use crate::entropy::Entropy;
use crate::message::{Host as MessageHost, Uri};
use crate::proxy::held::HeldId;
use crate::proxy::resolver::{Known, Place, Question, order};
use crate::proxy::target;
use crate::routing::Reply;
use crate::shard::{ShardId, ShardMap};
use crate::time::{Duration, Instant};
use crate::transport::{ConnectionId, Flow, Lifespan, ListenerId, Listeners};
use crate::wheel::TimerId;
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A module's view of its shard.
pub trait Host<M: Module> {
    /// The time of this call.
    fn now(&self) -> Instant;
    /// The same time as a date: how long after 1970-01-01T00:00:00Z.
    fn unix_time(&self) -> Duration;
    /// Whether the node takes no new calls because it is about to stop; what a module starts by
    /// itself, such as probes, should stop too.
    fn is_draining(&self) -> bool;
    /// This shard.
    fn shard(&self) -> ShardId;
    /// Who owns which key.
    fn map(&self) -> ShardMap;
    /// The node's listening addresses.
    fn listeners(&self) -> &Listeners;
    /// The flow that leads to a URI, sent from this listener where it fits and from the first that
    /// fits otherwise; `None` when the URI names no address that can be reached from here.
    fn flow_to(&self, uri: &[u8], from: Option<ListenerId>) -> Option<Flow>;
    /// The same for names too: what DNS has said of it, or that it is being asked.
    fn reach(&mut self, uri: &[u8], from: Option<ListenerId>) -> Reach;
    /// The same with every flow that leads there, in the order in which they are to be tried (RFC
    /// 3263 §4.3); none at all when it is nowhere, `None` while DNS is being asked.
    fn flows_to(&mut self, uri: &[u8], from: Option<ListenerId>) -> Option<SmallVec<[Flow; 2]>>;
    /// Whether a URI names this node: a listening or advertised address or an alias.
    fn is_ours(&self, uri: &Uri<'_>) -> bool;
    /// The shard's stream of random numbers.
    fn entropy(&mut self) -> &mut Entropy;
    /// Sends a message that belongs to no transaction.
    fn send(&mut self, flow: Flow, bytes: &[u8]);
    /// Says how long a connection is to live; one that is gone already is none of anybody's.
    fn set_lifespan(&mut self, connection: ConnectionId, lifespan: Lifespan);
    /// Tells the same module on a shard something; also on this one, where it arrives after this
    /// call.
    fn tell(&mut self, shard: ShardId, message: M::Peer);
    /// Arms a timer; it calls [`Module::timer`] once.
    fn arm(&mut self, deadline: Instant, timer: M::Timer) -> TimerId;
    /// Disarms it; `false` when it has fired or was cancelled before.
    fn cancel(&mut self, timer: TimerId) -> bool;
    /// Lets the routing of this request look again at what it waits for.
    fn wake(&mut self, context: ContextId);
    /// Hands a row to storage.
    fn store(&mut self, row: M::Row);
    /// Tells every module of this shard that listens ([`Module::LISTENS`]) something, after this
    /// call.
    fn publish<E: 'static>(&mut self, event: E);
    /// Whether any module listens: what nobody hears need not be made.
    fn is_heard(&self) -> bool;
    /// Whether any module wants to hear events of this type ([`Module::hears`]).
    fn is_heard_of<E: 'static>(&self) -> bool;
    /// What this module hung on a transaction, while that lives.
    fn attached(&mut self, transaction: ServerId) -> Option<&mut M::Attached>;
    /// Answers a request in its server transaction, after this call; for a request that the module
    /// took over ([`super::Verdict::Taken`]) or ends early. A second final answer is ignored.
    fn reply(&mut self, transaction: ServerId, reply: Reply);
    /// Keeps the response that the hook [`Module::response`] shows from going upstream, edits of
    /// all modules included; only a 2xx to INVITE that came from downstream. `None` when it cannot
    /// be held. Whoever holds one ends that, by a timer if need be: it has none of its own.
    fn hold(&mut self, transaction: ServerId) -> Option<HeldId>;
    /// Sends a response that was held; `false` when its transaction has gone. Not within the hook
    /// that held it.
    fn release(&mut self, held: HeldId) -> bool;
    /// Answers with this in the place of a response that was held, after this call. Where another
    /// 2xx has gone upstream, nothing does.
    fn refuse(&mut self, held: HeldId, reply: Reply);
    /// Drops a response that was held, a copy of one that is.
    fn discard(&mut self, held: HeldId);
    /// Cancels or answers what is being routed of a call of this shard, after this call.
    fn order(&mut self, order: CallOrder);
    /// Sends a request of our own in a client transaction of this shard. `bytes` is complete but
    /// for the top Via, which is written here. Answers come to [`Module::answered`] with this
    /// token, the last of them final; an error means that there will be none.
    fn originate(&mut self, flow: Flow, bytes: &[u8], token: M::Token) -> Result<(), NotSent>;
}

/// Where a URI leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Over this flow.
    Over(Flow),
    /// It has no address, or none that can be reached from here.
    Nowhere,
    /// DNS is being asked, or does not answer; ask again in a while.
    Unknown,
}

/// Why a request of our own was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The table of client transactions is full.
    Full,
    /// The bytes are not a request with the mandatory headers.
    Malformed,
}

/// The host of the module at place `N` of the list `S`.
pub struct HostAt<'c, S: Types, M, N> {
    core: &'c mut Core<S>,
    place: PhantomData<(M, N)>,
}

impl<'c, S: Types, M, N> HostAt<'c, S, M, N> {
    pub(crate) fn new(core: &'c mut Core<S>) -> Self {
        HostAt { core, place: PhantomData }
    }
}

impl<S: Has<M, N>, M: Module, N> Host<M> for HostAt<'_, S, M, N> {
    fn now(&self) -> Instant {
        self.core.now
    }
    fn unix_time(&self) -> Duration {
        self.core.settings.unix_start + self.core.now.since(Instant::START)
    }
    fn is_draining(&self) -> bool {
        self.core.draining
    }
    fn shard(&self) -> ShardId {
        self.core.shard
    }
    fn map(&self) -> ShardMap {
        self.core.map
    }
    fn listeners(&self) -> &Listeners {
        &self.core.listeners
    }
    fn flow_to(&self, uri: &[u8], from: Option<ListenerId>) -> Option<Flow> {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let received = Flow::udp(from.unwrap_or_default(), nowhere);
        target::flow_to(uri, &self.core.identity, received).ok()
    }
    fn reach(&mut self, uri: &[u8], from: Option<ListenerId>) -> Reach {
        match self.flows_to(uri, from).map(|flows| flows.first().copied()) {
            Some(Some(flow)) => Reach::Over(flow),
            Some(None) => Reach::Nowhere,
            None => Reach::Unknown,
        }
    }
    fn flows_to(&mut self, uri: &[u8], from: Option<ListenerId>) -> Option<SmallVec<[Flow; 2]>> {
        if let Some(flow) = self.flow_to(uri, from) {
            return Some(SmallVec::from_slice(&[flow]));
        }
        let Some(uri) = Uri::parse(uri).ok().filter(|uri| uri.scheme.is_sip()) else {
            return Some(SmallVec::new());
        };
        let named = matches!(uri.maddr().unwrap_or(uri.host), MessageHost::Name(_));
        if !named {
            return Some(SmallVec::new());
        }
        let question = Question::of(&uri);
        let core = &mut *self.core;
        let places = match core.resolver.look(&question, core.now) {
            Known::Places(places) => places,
            Known::Nothing => return Some(SmallVec::new()),
            Known::Failed => return None,
            Known::Unasked => {
                if core.resolver.prompt(&question) {
                    core.out.questions.push(question);
                }
                return None;
            }
        };
        let flow = |place: &Place| {
            let (transport, remote) = (place.transport, place.address);
            let from = from.unwrap_or_default();
            let listener = core.identity.listener_for(transport, remote, from)?;
            Some(Flow { transport, listener, remote, connection: None })
        };
        Some(order(&places, &mut core.entropy).iter().filter_map(flow).collect())
    }
    fn is_ours(&self, uri: &Uri<'_>) -> bool {
        self.core.identity.is_ours(uri)
    }
    fn entropy(&mut self) -> &mut Entropy {
        &mut self.core.entropy
    }
    fn send(&mut self, flow: Flow, bytes: &[u8]) {
        self.core.out.sends.send(flow, bytes);
    }
    fn set_lifespan(&mut self, connection: ConnectionId, lifespan: Lifespan) {
        self.core.out.lifespans.push((connection, lifespan));
    }
    fn tell(&mut self, shard: ShardId, message: M::Peer) {
        self.core.tell(shard, S::peer(message));
    }
    fn arm(&mut self, deadline: Instant, timer: M::Timer) -> TimerId {
        self.core.module_timers += 1;
        self.core.wheel.arm(deadline, TimerKey::Module(S::timer(timer)))
    }
    fn cancel(&mut self, timer: TimerId) -> bool {
        let cancelled = self.core.wheel.cancel(timer);
        self.core.module_timers -= usize::from(cancelled);
        cancelled
    }
    fn wake(&mut self, context: ContextId) {
        self.core.wake(context);
    }
    fn store(&mut self, row: M::Row) {
        self.core.out.rows.push(S::row(row));
    }
    fn publish<E: 'static>(&mut self, event: E) {
        if self.is_heard_of::<E>() {
            self.core.events.push_back(Event::new(event));
        }
    }
    fn is_heard(&self) -> bool {
        S::LISTENS
    }
    fn is_heard_of<E: 'static>(&self) -> bool {
        S::LISTENS && self.core.ears.is_open_to::<E>()
    }
    fn attached(&mut self, transaction: ServerId) -> Option<&mut M::Attached> {
        self.core.servers.get_mut(transaction).map(|slot| S::attached(&mut slot.attached))
    }
    fn reply(&mut self, transaction: ServerId, reply: Reply) {
        self.core.replies.push_back((transaction, reply));
    }
    fn hold(&mut self, transaction: ServerId) -> Option<HeldId> {
        self.core.hold(transaction)
    }
    fn release(&mut self, held: HeldId) -> bool {
        self.core.release_held(held)
    }
    fn refuse(&mut self, held: HeldId, reply: Reply) {
        self.core.refuse_held(held, reply);
    }
    fn discard(&mut self, held: HeldId) {
        self.core.discard_held(held);
    }
    fn order(&mut self, order: CallOrder) {
        self.core.orders.push_back(order);
    }
    fn originate(&mut self, flow: Flow, bytes: &[u8], token: M::Token) -> Result<(), NotSent> {
        self.core.originate(flow, bytes, S::token(token))
    }
}
