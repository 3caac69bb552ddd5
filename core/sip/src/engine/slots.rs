//! What a shard keeps of a request between two messages: slots of its tables.
//!
//! For: the server transaction towards the caller, one client transaction a branch, and the routing
//! context between them (the response context of RFC 3261 §16.7).
//! Invariants: a context lives until the final response is sent and no routing waits; what lingers
//! after that is a key, a flow and the machine's own answer.

use super::incoming::Incoming;
use super::plan::{Plan, Target};
use crate::message::{MethodKind, StatusCode};
use crate::proxy::breadth::Breadth;
use crate::time::{Duration, Instant};
use crate::transaction::{
    ClientInvite, ClientNonInvite, Id, ServerInvite, ServerNonInvite, TransactionKey,
};
use crate::transport::Flow;
use crate::wheel::TimerId;
use smallvec::SmallVec;
use std::rc::Rc;

/// Marks ids of server transactions.
#[derive(Debug)]
pub enum ServerMark {}
/// Marks ids of client transactions.
#[derive(Debug)]
pub enum ClientMark {}
/// Marks ids of routing contexts.
#[derive(Debug)]
pub enum ContextMark {}

/// A server transaction of this shard.
pub type ServerId = Id<ServerMark>;
/// A client transaction of this shard.
pub type ClientId = Id<ClientMark>;
/// A request being routed on this shard.
pub type ContextId = Id<ContextMark>;

/// What a timer of the shard's wheel belongs to.
#[derive(Clone, Copy, Debug)]
pub enum TimerKey<T> {
    /// A server transaction's earliest timer.
    Server(ServerId),
    /// A client transaction's earliest timer, timer C included.
    Client(ClientId),
    /// A request other than INVITE has waited long enough for a 100; its lifetime goes on.
    Trying(ContextId),
    /// The longest that a routing may last.
    Lifetime(ContextId),
    /// A routing's own pause.
    Pause(ContextId),
    /// A module's.
    Module(T),
}

/// The machine of a server transaction.
#[derive(Debug)]
pub(crate) enum ServerMachine {
    Invite(ServerInvite),
    NonInvite(ServerNonInvite),
}

/// A server transaction.
#[derive(Debug)]
pub(crate) struct ServerSlot<A> {
    pub(crate) key: TransactionKey,
    /// Where responses go (RFC 3261 §18.2.2, RFC 3581).
    pub(crate) reply_flow: Flow,
    pub(crate) machine: ServerMachine,
    pub(crate) timer: Option<TimerId>,
    pub(crate) context: Option<ContextId>,
    /// The To tag of responses made here.
    pub(crate) tag: u64,
    /// For a CANCEL, the transaction whose tag its answer carries (RFC 3261 §9.2).
    pub(crate) tag_of: Option<(ServerId, u64)>,
    pub(crate) attached: A,
}

/// The machine of a client transaction.
#[derive(Debug)]
pub(crate) enum ClientMachine {
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
}

/// Whose client transaction it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<T> {
    /// One branch of a relayed request.
    Branch { server: ServerId, context: ContextId, index: u8 },
    /// A CANCEL that this node sent for a branch; its answer is absorbed.
    Cancel,
    /// A copy for which nobody answers (`t_replicate`); only its failover matters.
    Replica { context: ContextId, index: u8 },
    /// A module's own request.
    Module(T),
}

/// How far the cancelling of a branch is (RFC 3261 §9.1: no CANCEL before a provisional response).
#[derive(Debug)]
pub(crate) enum Cancelling {
    No,
    /// As soon as a provisional response comes, for this reason.
    Wanted(Box<[u8]>),
    /// The CANCEL has a client transaction of its own.
    Sent(ClientId),
}

/// A client transaction.
#[derive(Debug)]
pub(crate) struct ClientSlot<T> {
    /// The unguessable part of the branch parameter.
    pub(crate) cookie: u64,
    pub(crate) method: MethodKind,
    pub(crate) machine: ClientMachine,
    pub(crate) timer: Option<TimerId>,
    /// RFC 3261 §16.6 step 11; runs from the first provisional response of an INVITE.
    pub(crate) timer_c: Option<Instant>,
    /// How long timer C lasts for this branch.
    pub(crate) ringing: Duration,
    /// The highest provisional status so far.
    pub(crate) heard: StatusCode,
    pub(crate) cancelling: Cancelling,
    pub(crate) owner: Owner<T>,
}

/// One branch of a request.
#[derive(Debug)]
pub(crate) struct BranchSlot {
    pub(crate) state: BranchState,
    pub(crate) target: Target,
    /// Where else the target can be reached, the next one last (RFC 3263 §4.3).
    pub(crate) alternatives: SmallVec<[Flow; 2]>,
    /// The flow over UDP that TCP is tried instead of, since the request is long (§18.1.1).
    pub(crate) instead_of: Option<Flow>,
    /// What it may be forked into further on.
    pub(crate) breadth: Breadth,
    /// Its responses do not count (`t_replicate`).
    pub(crate) replica: bool,
}

/// What is known of one branch.
#[derive(Debug)]
pub(crate) enum BranchState {
    /// The target's name is being looked up.
    Resolving,
    /// No final response yet.
    Pending(ClientId),
    /// Ended with a response from downstream, kept until one is chosen.
    Answered(StatusCode, Rc<Incoming>),
    /// Ended without one: timeout, unreachable, cancelled. The status stands for it.
    Failed(StatusCode),
    /// Of an earlier round; it has no say any more.
    Superseded,
}

/// How a relay ended, for a routing that awaits it.
#[derive(Debug)]
pub enum Relayed {
    /// A 2xx went upstream.
    Answered(StatusCode),
    /// Every branch failed; the best response is this one (`None`: made here).
    Failed(StatusCode, Option<Rc<Incoming>>),
}

/// Who wants to know how a relay ends.
#[derive(Debug)]
pub(crate) enum Watch {
    /// Nobody: the best response goes upstream by itself.
    Nobody,
    /// A routing awaits it.
    Routing,
    /// It has ended, and the routing has not looked yet.
    Ended(Relayed),
}

/// A request while it is routed: the response context of RFC 3261 §16.7.
pub(crate) struct Context {
    pub(crate) request: Rc<Incoming>,
    /// `None` for what is forwarded without a transaction, an ACK to a 2xx.
    pub(crate) server: Option<ServerId>,
    pub(crate) task: Option<usize>,
    pub(crate) plan: Box<Plan>,
    pub(crate) branches: SmallVec<[BranchSlot; 2]>,
    /// How many of them are of rounds before the last one.
    pub(crate) round: u8,
    pub(crate) watch: Watch,
    pub(crate) cancelled: bool,
    pub(crate) final_sent: bool,
    pub(crate) opened: Instant,
    pub(crate) lifetime: Option<TimerId>,
    pub(crate) pause: Option<TimerId>,
    /// `None` when only this node may answer (Max-Forwards was 0).
    pub(crate) max_forwards: Option<u32>,
    pub(crate) loop_digest: u64,
}

impl Context {
    /// Whether a branch waits for the addresses of its target.
    pub(crate) fn is_resolving(&self) -> bool {
        self.branches.iter().any(|branch| matches!(branch.state, BranchState::Resolving))
    }

    /// Whether no branch can still answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.branches.iter().all(|branch| match branch.state {
            BranchState::Resolving | BranchState::Pending(_) => branch.replica,
            BranchState::Answered(..) | BranchState::Failed(_) | BranchState::Superseded => true,
        })
    }
}
