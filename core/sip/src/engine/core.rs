//! A shard's tables and tools, everything but its modules and its routing.
//!
//! For: the pieces that engine, proxy rules and module hosts all work with. Modules are beside it
//! (`State`), so that a hook can hold its module and the core at once.
//! Not here: decisions (`receive.rs`, `proxy/`).

use super::incoming::{Incoming, IncomingPool};
use super::order::CallOrder;
use super::plan::Plan;
use super::slots::{
    BranchState, Cancelling, ClientId, ClientMachine, ClientMark, ClientSlot, Context, ContextId,
    ContextMark, Owner, Relayed, ServerId, ServerMachine, ServerMark, ServerSlot, TimerKey, Watch,
};
use super::{Settings, Wake};
use crate::actions::{Actions, Origin};
use crate::buffer::{Kept, Pool};
use crate::entropy::Entropy;
use crate::message::{Edits, Head, MethodKind, StatusCode};
use crate::metrics::{Messages, Metrics};
use crate::module::host::NotSent;
use crate::module::list::Types;
use crate::module::{Ears, Event};
use crate::proxy::blocklist::Blocklist;
use crate::proxy::branch::{Branch, Digest};
use crate::proxy::held::Holds;
use crate::proxy::identity::Identity;
use crate::proxy::overload::Overload;
use crate::proxy::resolver::Resolver;
use crate::proxy::switch::Refusals;
use crate::routing::Reply;
use crate::shard::{ShardId, ShardMap};
use crate::time::Instant;
use crate::transaction::{ClientInvite, ClientNonInvite, KeyedMap, Slab, Timers};
use crate::transport::{Flow, Listeners};
use crate::wheel::Wheel;
use std::collections::VecDeque;
use std::rc::Rc;

/// A list of modules and the core they work on.
pub(crate) struct State<L: Types> {
    pub(crate) core: Core<L>,
    pub(crate) modules: L,
}

/// Keys of keyed hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    /// The same on every shard of the node: loop digests, stateless branches, stateless To tags.
    pub(crate) node: (u64, u64),
    /// This shard's own: transaction keys.
    pub(crate) shard: (u64, u64),
}

/// Why a client transaction was not started.
pub(crate) enum NotStarted {
    /// The table is full.
    Full,
    /// The request is too long.
    TooLong,
}

/// A shard's tables and tools. Opaque outside this crate; modules see it as their `Host`.
pub struct Core<S: Types> {
    pub(crate) now: Instant,
    pub(crate) shard: ShardId,
    pub(crate) map: ShardMap,
    pub(crate) listeners: Listeners,
    pub(crate) identity: Rc<Identity>,
    pub(crate) settings: Settings,
    pub(crate) secrets: Secrets,
    pub(crate) entropy: Entropy,
    pub(crate) out: Actions<S::Peer, S::Row>,
    /// Messages of a module to itself on this shard, delivered at the end of the call.
    pub(crate) inbox: VecDeque<S::Peer>,
    /// What modules tell the others of this shard, delivered at the end of the call.
    pub(crate) events: VecDeque<Event>,
    /// Which of them anybody hears.
    pub(crate) ears: Ears,
    /// Modules' answers, sent at the end of the call.
    pub(crate) replies: VecDeque<(ServerId, Reply)>,
    /// Responses that modules keep from going upstream.
    pub(crate) holds: Holds,
    /// Orders about calls of this shard, carried out at the end of the call.
    pub(crate) orders: VecDeque<CallOrder>,
    pub(crate) pool: Pool,
    pub(crate) incomings: IncomingPool,
    /// Names of next hops; a branch waits as (context, index).
    pub(crate) resolver: Resolver<(ContextId, u8)>,
    pub(crate) refusals: Refusals,
    pub(crate) blocklist: Blocklist,
    pub(crate) overload: Overload,
    pub(crate) wheel: Wheel<TimerKey<S::Timer>>,
    /// How many of the wheel's timers are modules'.
    pub(crate) module_timers: usize,
    pub(crate) servers: Slab<ServerSlot<S::Attached>, ServerMark>,
    pub(crate) server_index: KeyedMap<ServerMark>,
    pub(crate) clients: Slab<ClientSlot<S::Token>, ClientMark>,
    pub(crate) contexts: Slab<Context, ContextMark>,
    /// Routings that may go on.
    pub(crate) woken: VecDeque<Wake>,
    /// The routing whose turn it is.
    pub(crate) running: Option<ContextId>,
    pub(crate) draining: bool,
    pub(crate) metrics: Metrics,
    pub(crate) messages: Messages,
    /// Scratch, reused from message to message.
    pub(crate) scratch: Scratch,
}

/// Buffers that a call of the engine borrows and gives back.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The message being read.
    pub(crate) head: Head,
    /// The INVITE that an ACK or CANCEL is built from.
    pub(crate) sent_head: Head,
    pub(crate) reply_edits: Edits,
    pub(crate) via: Vec<u8>,
    /// Boxed, like the plans: they change hands with every request that is sent.
    pub(crate) forwarding: Option<Box<Forwarding>>,
    #[expect(clippy::vec_box, reason = "a plan changes hands, and is large")]
    pub(crate) plans: Vec<Box<Plan>>,
}

/// Texts of a request that is forwarded.
#[derive(Default)]
pub(crate) struct Forwarding {
    pub(crate) edits: Edits,
    pub(crate) via: Vec<u8>,
    pub(crate) params: Vec<u8>,
    pub(crate) record_route: [Vec<u8>; 2],
}

impl<S: Types> Core<S> {
    pub(crate) fn new(
        (shard, map): (ShardId, ShardMap),
        listeners: Listeners,
        settings: Settings,
        seed: (u64, u64),
    ) -> Core<S> {
        let mut entropy = Entropy::new(seed);
        let secrets = Secrets { node: map.secret(), shard: entropy.keys() };
        let resolver = Resolver::new(entropy.keys());
        let refusals = Refusals::new(entropy.keys());
        let blocklist = Blocklist::new(entropy.keys());
        let identity = Identity::new(&listeners, &settings.aliases);
        let identity = Rc::new(identity.with_interfaces(settings.interfaces.clone()));
        let (reserved, most) = (settings.transactions_reserved, settings.transactions_max);
        Core {
            now: Instant::START,
            shard,
            map,
            listeners,
            identity,
            secrets,
            entropy,
            out: Actions::default(),
            inbox: VecDeque::new(),
            events: VecDeque::new(),
            ears: Ears::default(),
            replies: VecDeque::new(),
            holds: Holds::default(),
            orders: VecDeque::new(),
            pool: Pool::default(),
            incomings: IncomingPool::default(),
            resolver,
            refusals,
            blocklist,
            overload: Overload::default(),
            wheel: Wheel::with_capacity(2 * reserved),
            module_timers: 0,
            servers: Slab::new(reserved, most),
            server_index: KeyedMap::with_capacity(reserved),
            clients: Slab::new(reserved, most),
            contexts: Slab::new(reserved.min(1024), most),
            woken: VecDeque::new(),
            running: None,
            draining: false,
            metrics: Metrics::default(),
            messages: Messages::default(),
            scratch: Scratch::default(),
            settings,
        }
    }

    /// Tells a module on a shard something.
    pub(crate) fn tell(&mut self, shard: ShardId, message: S::Peer) {
        if shard == self.shard {
            self.inbox.push_back(message);
        } else {
            self.out.peers.push((shard, message));
        }
    }

    /// Lets a routing look again at what it waits for.
    pub(crate) fn wake(&mut self, context: ContextId) {
        // A routing that wakes itself while it looks would never come to rest.
        if self.running != Some(context) {
            self.woken.push_back(Wake::Resume(context));
        }
    }

    /// A keyed digest, the same on all shards.
    pub(crate) fn digest(&self) -> Digest {
        Digest::new(self.secrets.node)
    }

    /// Arms a server transaction's earliest timer in place of the one that was armed.
    pub(crate) fn rearm_server(&mut self, id: ServerId) {
        let Some(slot) = self.servers.get_mut(id) else { return };
        let deadline = match &slot.machine {
            ServerMachine::Invite(machine) => machine.deadline(),
            ServerMachine::NonInvite(machine) => machine.deadline(),
        };
        if let Some(timer) = slot.timer.take() {
            self.wheel.cancel(timer);
        }
        slot.timer = deadline.map(|at| self.wheel.arm(at, TimerKey::Server(id)));
    }

    /// Arms a client transaction's earliest timer, timer C included.
    pub(crate) fn rearm_client(&mut self, id: ClientId) {
        let Some(slot) = self.clients.get_mut(id) else { return };
        let own = match &slot.machine {
            ClientMachine::Invite(machine) => machine.deadline(),
            ClientMachine::NonInvite(machine) => machine.deadline(),
        };
        let deadline = match (own, slot.timer_c) {
            (Some(own), Some(timer_c)) => Some(own.min(timer_c)),
            (own, timer_c) => own.or(timer_c),
        };
        if let Some(timer) = slot.timer.take() {
            self.wheel.cancel(timer);
        }
        slot.timer = deadline.map(|at| self.wheel.arm(at, TimerKey::Client(id)));
    }

    /// Frees a client transaction's slot.
    pub(crate) fn free_client(&mut self, id: ClientId) {
        let Some(slot) = self.clients.remove(id) else { return };
        if let Some(timer) = slot.timer {
            self.wheel.cancel(timer);
        }
        match slot.machine {
            ClientMachine::Invite(machine) => machine.recycle(&mut self.pool),
            ClientMachine::NonInvite(machine) => machine.recycle(&mut self.pool),
        }
    }

    /// Starts a client transaction: `write` appends the request, given the branch to put into its
    /// top Via. `None` when the table is full.
    pub(crate) fn start_client(
        &mut self,
        to: (Flow, MethodKind),
        owner: Owner<S::Token>,
        loop_digest: u64,
        timers: &Timers,
        write: impl FnOnce(&mut Vec<u8>, &Branch),
    ) -> Option<ClientId> {
        self.start_client_within(usize::MAX, to, owner, loop_digest, timers, write).ok()
    }

    /// The same for a request that is sent only if it is not longer than this, which shows when it
    /// is written.
    pub(crate) fn start_client_within(
        &mut self,
        bytes_max: usize,
        (flow, method): (Flow, MethodKind),
        owner: Owner<S::Token>,
        loop_digest: u64,
        timers: &Timers,
        write: impl FnOnce(&mut Vec<u8>, &Branch),
    ) -> Result<ClientId, NotStarted> {
        let cookie = self.entropy.next_u64();
        let Core { clients, out, pool, now, .. } = self;
        let client = clients.next_id().ok_or(NotStarted::Full)?;
        let branch = Branch::Stateful { client, loop_digest, cookie };
        let origin = Origin::Client(client.as_u64());
        out.sends.send_from(origin, flow, |bytes| write(bytes, &branch));
        let written = out.sends.last().unwrap_or(&[]);
        if written.len() > bytes_max {
            out.sends.retract();
            return Err(NotStarted::TooLong);
        }
        let sent = Kept { flow, bytes: pool.copy(written) };
        let machine = if method == MethodKind::Invite {
            ClientMachine::Invite(ClientInvite::start(*now, timers, sent))
        } else {
            ClientMachine::NonInvite(ClientNonInvite::start(*now, timers, sent))
        };
        let cancelling = Cancelling::No;
        let ringing = timers.timer_c();
        let (timer, timer_c) = (None, None);
        let heard = StatusCode::TRYING;
        let slot = ClientSlot {
            cookie,
            method,
            machine,
            timer,
            timer_c,
            ringing,
            heard,
            cancelling,
            owner,
        };
        let id = clients.insert(slot).map_err(|_| NotStarted::Full)?;
        debug_assert_eq!(id, client, "the next id is the one that is given out");
        self.metrics.requests_sent += 1;
        self.rearm_client(id);
        Ok(id)
    }

    /// Sends a module's own request; see [`crate::module::Host::originate`].
    pub(crate) fn originate(
        &mut self,
        flow: Flow,
        bytes: &[u8],
        token: S::Token,
    ) -> Result<(), NotSent> {
        let mut head = std::mem::take(&mut self.scratch.head);
        let parsed = head.parse(bytes, &self.settings.limits);
        let method = head.message(bytes).method().map(|method| method.kind());
        let line = memchr::memchr(b'\n', bytes).map(|end| end + 1);
        self.scratch.head = head;
        let (Ok(()), Some(method), Some(line)) = (parsed, method, line) else {
            return Err(NotSent::Malformed);
        };
        let Some((first, rest)) = bytes.split_at_checked(line) else {
            return Err(NotSent::Malformed);
        };
        let mut via = std::mem::take(&mut self.scratch.via);
        let identity = Rc::clone(&self.identity);
        let timers = self.settings.timers;
        let sent =
            self.start_client((flow, method), Owner::Module(token), 0, &timers, |out, branch| {
                out.extend_from_slice(first);
                via.clear();
                identity.write_via(flow, branch, &mut via);
                out.extend_from_slice(b"Via: ");
                out.extend_from_slice(&via);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(rest);
            });
        self.scratch.via = via;
        sent.map(|_| ()).ok_or(NotSent::Full)
    }

    /// Opens a routing context. `None` when the table is full; the request is handed back to the
    /// pool.
    pub(crate) fn open_context(
        &mut self,
        request: Rc<Incoming>,
        server: Option<ServerId>,
        (max_forwards, loop_digest): (Option<u32>, u64),
    ) -> Option<ContextId> {
        let plan = self.scratch.plans.pop().unwrap_or_default();
        let context = Context {
            request,
            server,
            task: None,
            plan,
            branches: smallvec::SmallVec::new(),
            round: 0,
            watch: Watch::Nobody,
            cancelled: false,
            final_sent: false,
            opened: self.now,
            lifetime: None,
            pause: None,
            max_forwards,
            loop_digest,
        };
        match self.contexts.insert(context) {
            Ok(id) => Some(id),
            Err(full) => {
                self.recycle_context(full.0);
                None
            }
        }
    }

    /// Frees a context whose work is done.
    pub(crate) fn close_context(&mut self, id: ContextId) {
        let Some(context) = self.contexts.remove(id) else { return };
        debug_assert!(context.task.is_none(), "a routing still runs in a closed context");
        for timer in [context.lifetime, context.pause].into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        if let Some(slot) = context.server.and_then(|server| self.servers.get_mut(server)) {
            slot.context = None;
        }
        self.recycle_context(context);
    }

    fn recycle_context(&mut self, context: Context) {
        let Context { request, mut plan, branches, watch, .. } = context;
        self.incomings.put(request);
        for branch in branches {
            match branch.state {
                BranchState::Answered(_, response) => self.incomings.put(response),
                BranchState::Resolving
                | BranchState::Pending(_)
                | BranchState::Failed(_)
                | BranchState::Superseded => {}
            }
        }
        if let Watch::Ended(Relayed::Failed(_, Some(response))) = watch {
            self.incomings.put(response);
        }
        plan.clear();
        self.scratch.plans.push(plan);
    }
}
