//! Modules: compiled-in parts that see every message of a shard.
//!
//! For: `registrar`, `dialog`, `uac`, `pua` and their kin. A module is a plain struct, one instance
//! a shard, that owns its slice of the module's state and gets called at fixed moments. A routing
//! names its modules as a tuple of types; calls are dispatched statically, there is no registry.
//! Not here: the tuple's machinery (`list.rs`), what a hook may do (`host.rs`).
//! Invariants: hooks never block; what takes time is asked of another shard, of storage or of a
//! timer, and its answer comes back through another hook.

pub mod configured;
pub mod event;
pub mod host;
pub mod list;
pub mod notes;

pub use configured::{Configured, ConfiguredModules, NodeFacts};
pub use event::{Ears, Event};
pub use host::{Host, Reach};
pub use list::{Cons, Either, Has, Modules, Never, Nil, Succ, Zero};
pub use notes::{CommandNote, MetricNote, Notes};

use crate::engine::incoming::Incoming;
use crate::engine::slots::{ContextId, ServerId};
use crate::message::{Edits, Message, StatusCode};
use crate::routing::Reply;
use crate::shard::ShardId;
use crate::transport::{ConnectionId, Flow};
use notes::EachReading;
use std::cell::Cell;

/// A module: one instance on each shard.
///
/// Hooks have empty defaults; a module writes the ones it needs. `host` is the module's view of its
/// shard: the time, what to send, its timers, its peers on other shards.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    note = "a module is a type with `impl Module`: `Registrar`, `Dialog`, or one of your own"
)]
pub trait Module: Sized + 'static {
    /// The module's name in configuration, commands and metrics.
    const NAME: &'static str;
    /// Whether it wants to hear other modules' events; see [`Module::event`].
    const LISTENS: bool = false;
    /// What each of its counts means; `/metrics` shows one without a note as untyped.
    const METRICS: &'static [MetricNote] = &[];
    /// Its commands; parameters of one without a note have no names.
    const COMMANDS: &'static [CommandNote] = &[];
    /// Keys of its section that can change while it runs, `*` for all; see [`Module::renew`].
    const LIVE: &'static [&'static str] = &[];
    /// What the module hangs on a transaction, for example the id of a dialog; freed with it.
    type Attached: Default + 'static;
    /// What its instances on different shards tell each other.
    type Peer: Send + 'static;
    /// Names one of its own timers; keep it small, for example a generation-checked slot id.
    type Timer: Copy + 'static;
    /// Names one of its own requests when the answer comes.
    type Token: Copy + 'static;
    /// A row of its tables, going to storage and coming from it.
    type Row: Send + 'static;

    /// The shard starts: called once, before anything else, for timers that run without traffic.
    fn start(&mut self, host: &mut impl Host<Self>) {
        let _ = host;
    }

    /// The shard ends after this call; what is to be stored is stored here.
    fn stop(&mut self, host: &mut impl Host<Self>) {
        let _ = host;
    }

    /// A new request, admitted (RFC 3261 §16.3) and not yet routed. Retransmissions do not come
    /// here.
    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        let _ = (host, request);
        Verdict::Continue
    }

    /// A request is about to be forwarded on one branch; `edits` apply to this branch only.
    fn forward(
        &mut self,
        host: &mut impl Host<Self>,
        request: &Arrived<'_>,
        outgoing: &mut Outgoing<'_>,
    ) {
        let _ = (host, request, outgoing);
    }

    /// A response is about to be sent upstream, relayed or made here; this is the moment at which
    /// the state of a call changes. `edits` apply to the response.
    fn response(
        &mut self,
        host: &mut impl Host<Self>,
        response: &Departing<'_>,
        edits: &mut Edits,
    ) {
        let _ = (host, response, edits);
    }

    /// A server transaction has ended and its slot is about to be freed.
    fn transaction_end(&mut self, host: &mut impl Host<Self>, attached: Self::Attached) {
        let _ = (host, attached);
    }

    /// A timer armed through [`Host::arm`] has come due.
    fn timer(&mut self, host: &mut impl Host<Self>, timer: Self::Timer) {
        let _ = (host, timer);
    }

    /// A connection that a peer had opened, and that this shard owned, has ended.
    fn closed(&mut self, host: &mut impl Host<Self>, connection: ConnectionId) {
        let _ = (host, connection);
    }

    /// A message from the same module on another shard (or on this one).
    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: Self::Peer) {
        let _ = (host, from, message);
    }

    /// A request sent through [`Host::originate`] was answered, provisionally or finally.
    fn answered(&mut self, host: &mut impl Host<Self>, token: Self::Token, answer: Heard<'_>) {
        let _ = (host, token, answer);
    }

    /// A row comes from storage: at start, or as the answer to a question.
    fn row(&mut self, host: &mut impl Host<Self>, row: Self::Row) {
        let _ = (host, row);
    }

    /// Says which events it wants to hear, if it listens: every one, unless it says otherwise.
    /// Asked once, before the shard starts.
    fn hears(&self, ears: &mut Ears) {
        ears.hear_everything();
    }

    /// Another module of this shard (or this one) tells something, by [`Host::publish`]; only asked
    /// of modules that listen.
    fn event(&mut self, host: &mut impl Host<Self>, event: &Event) {
        let _ = (host, event);
    }

    /// A command of the control plane, for example `dlg.list`; `None` when the name is not ours.
    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        let _ = (host, command);
        None
    }

    /// Shows each of the module's counts with its name, which begins with the module's own.
    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let _ = each;
    }

    /// Shows what has labels, and durations, each with a name of [`Module::METRICS`]. There are few
    /// labels, and what they may say is bounded by the configuration.
    fn readings(&self, each: &mut EachReading<'_>) {
        let _ = each;
    }

    /// Takes over the settings of [`Module::LIVE`] from an instance that was made of a changed
    /// configuration and never ran.
    fn renew(&mut self, host: &mut impl Host<Self>, fresh: Self) {
        let _ = (host, fresh);
    }

    /// How many objects the module keeps alive because of traffic; a drained shard has none.
    fn live(&self) -> usize {
        0
    }
}

/// What a request hook decides.
#[must_use]
#[derive(Debug)]
pub enum Verdict {
    /// On to the next module, and then to the routing.
    Continue,
    /// Answer now; neither later modules nor the routing see the request.
    Reply(Reply),
    /// The module has taken the request over and answers it later by its server transaction.
    Taken,
    /// Send nothing and forget the request: for floods and attacks.
    Drop,
}

/// A request as a hook sees it.
#[derive(Clone, Copy)]
pub struct Arrived<'a> {
    /// The message, its socket pair and what admission found.
    pub incoming: &'a Incoming,
    /// The routing of this request.
    pub context: ContextId,
    /// Its server transaction; an ACK to a 2xx has none.
    pub transaction: Option<ServerId>,
}

/// A request on its way out, on one branch.
pub struct Outgoing<'a> {
    /// The Request-URI of this branch.
    pub request_uri: &'a [u8],
    /// Where it is going.
    pub flow: Flow,
    /// Parameters for the Record-Route entry of this node, each as `;name=value`.
    pub record_route_params: &'a mut Vec<u8>,
    /// Header and body edits for this branch.
    pub edits: &'a mut Edits,
}

/// A response on its way upstream.
#[derive(Clone, Copy)]
pub struct Departing<'a> {
    /// Its status.
    pub status: StatusCode,
    /// The response as received; `None` when it is made here.
    pub message: Option<Message<'a>>,
    /// The socket pair it came over; `None` when it is made here.
    pub flow: Option<Flow>,
    /// The server transaction it answers.
    pub transaction: ServerId,
    /// The request being answered, while it is still kept.
    pub request: Option<&'a Incoming>,
    /// Set to keep a relayed provisional response from going upstream; final ones go always.
    pub suppress: &'a Cell<bool>,
}

/// What came back for a request of our own.
#[derive(Clone, Copy)]
pub enum Heard<'a> {
    /// A response; final when its status is.
    Response(Message<'a>),
    /// No final response in time (RFC 3261 §17.1.2.2), to be treated as 408.
    Timeout,
    /// It could not be sent, to be treated as 503 (RFC 3261 §8.1.3.1).
    Transport,
}

/// A command of the control plane, asked of every shard or of one.
#[derive(Clone, Debug)]
pub struct Command {
    /// `group.name`, for example `dlg.list`.
    pub name: String,
    /// Arguments in order; a named argument is put in its place by the control plane.
    pub arguments: Vec<String>,
}

/// A command's refusal: Kamailio's fault numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// 400, 404, 500 ...
    pub code: u16,
    /// One sentence for the operator.
    pub message: String,
}

impl Fault {
    /// Not a refusal: the answer takes a while, and [`Fault::message`] is the ticket by which the
    /// same command, with `@ticket` before it, is asked for it again.
    pub const LATER: u16 = 102;
}

#[cfg(test)]
mod tests;
