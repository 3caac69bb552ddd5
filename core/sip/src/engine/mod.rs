//! The engine of one shard: a function of (state, input, now, entropy).
//!
//! For: the few entry points through which the edge, the rig, flows and fuzzers drive a shard.
//! Not here: rules (`proxy/`), machines (`transaction/`), policy (`routing/`, modules).
//! Invariants: after every call no routing is left that could go on; the same inputs and seed give
//! the same actions, byte for byte.

mod command;
pub(crate) mod core;
mod expire;
pub mod incoming;
pub(crate) mod key;
pub(crate) mod order;
pub(crate) mod plan;
mod receive;
mod renew;
pub mod slots;

pub use order::{CallChange, CallOrder};

use self::core::{Core, State};
use crate::actions::{Actions, Origin};
use crate::limits::{Limits, UDP_MTU};
use crate::message::ParseError;
use crate::metrics::{Messages, Metrics};
use crate::module::list::{Hooks, ModuleList, Types};
use crate::module::notes::EachReading;
use crate::module::{Command, Event, Fault, MetricNote, Modules, Notes};
use crate::proxy::blocklist::BlocklistRules;
use crate::proxy::cancel::Why;
use crate::proxy::rules::{OverloadRules, Rules};
use crate::proxy::{attempt, forward, response};
use crate::resolver::{Question, Resolution};
use crate::routing::desk::Desk;
use crate::routing::task::{Decided, Start, Tasks};
use crate::routing::{Answer, ListOf, Policy, Reply, Routing};
use crate::shard::{ShardId, ShardMap};
use crate::time::{Duration, Instant, secs};
use crate::transaction::Timers;
use crate::transport::{ConnectionId, Flow, Interfaces, Listeners, Transport};
use slots::{ContextId, ServerId, Watch};
use std::rc::Rc;
use std::task::Poll;

/// Transactions up to which every call of the engine ends with a look at all tables, in builds for
/// tests: more than any test of the engine has, few enough for a node under load.
const CHECKED_MAX: usize = 256;

/// What the modules of a routing tell their instances on other shards.
pub type PeerOf<R> = <ListOf<R> as Types>::Peer;
/// What the modules of a routing store.
pub type RowOf<R> = <ListOf<R> as Types>::Row;
/// What happens to a shard of this routing.
pub type InputOf<'a, R> = Input<'a, PeerOf<R>, RowOf<R>>;
/// What a shard of this routing wants done.
pub type ActionsOf<R> = Actions<PeerOf<R>, RowOf<R>>;

/// What happens to a shard. `P` and `W` are what its modules tell each other and store.
pub enum Input<'a, P, W> {
    /// A datagram, or a whole message of a stream, whose Call-ID is at home here.
    Datagram {
        /// Where it came from, and to which listener.
        flow: Flow,
        /// Its bytes, lent for the length of the call.
        bytes: &'a [u8],
    },
    /// A stream that cannot be cut into messages any more. The edge closes the connection once the
    /// answer, if there can be one, has gone out.
    Broken {
        /// The connection.
        flow: Flow,
        /// The head of the message that is wrong, as far as it arrived.
        head: &'a [u8],
        /// What is wrong with it.
        error: ParseError,
    },
    /// A message from a module's instance on another shard.
    Peer {
        /// Who sent it.
        from: ShardId,
        /// What it says.
        message: P,
    },
    /// A message that this shard wanted sent could not be.
    Unsent(Origin),
    /// A connection that a peer had opened has ended.
    Closed(ConnectionId),
    /// The answer to a question about a name.
    Resolved(Question, Resolution),
    /// A row from storage.
    Row(W),
    /// How long what comes next has waited since it arrived: once for each batch of messages.
    Waited(Duration),
    /// Refuse new calls from here on; what runs may finish.
    Drain,
    /// The shard ends after this call.
    Stop,
}

/// Settings of the engine, checked by whoever made them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The transactions' timers.
    pub timers: Timers,
    /// Bounds of one message that came in a datagram.
    pub limits: Limits,
    /// Bounds of one message that came over a stream.
    pub stream_limits: Limits,
    /// Hosts by which this node is known beside its listeners: `example.com`, `example.com:5070`.
    pub aliases: Vec<String>,
    /// What leads where, to choose the listener that sends by it (`mhomed`); `None`: the one that
    /// received, where it fits.
    pub interfaces: Option<Interfaces>,
    /// Transactions for which memory is reserved at start.
    pub transactions_reserved: usize,
    /// Most server transactions, and as many client transactions; beyond, new requests get 503.
    pub transactions_max: usize,
    /// The longest that the routing of an INVITE may last (`max_inv_lifetime`).
    pub max_inv_lifetime: Duration,
    /// The same for other requests (`max_noninv_lifetime`).
    pub max_noninv_lifetime: Duration,
    /// What may be decided one way or the other.
    pub rules: Rules,
    /// When and what to refuse while messages wait too long.
    pub overload: OverloadRules,
    /// How destinations that fail are left out; `None` for not at all (`use_dst_blocklist`).
    pub blocklist: Option<BlocklistRules>,
    /// Unix time at [`Instant::START`], for what is stored or told to others as a date.
    pub unix_start: Duration,
    /// The longest request that goes over UDP while TCP can be tried (`udp_mtu`, §18.1.1).
    pub udp_mtu: Option<usize>,
    /// What a caller is told to wait when the node drains, in seconds.
    pub drain_retry_after_seconds: u32,
}

impl Default for Settings {
    /// Kamailio's `tm` values where they exist; a million transactions; 10 s of Retry-After.
    fn default() -> Settings {
        Settings {
            timers: Timers::default(),
            limits: Limits::DATAGRAM,
            stream_limits: Limits::STREAM,
            aliases: Vec::new(),
            interfaces: None,
            transactions_reserved: 1024,
            transactions_max: 1 << 20,
            max_inv_lifetime: secs(180),
            max_noninv_lifetime: secs(32),
            rules: Rules::default(),
            overload: OverloadRules::default(),
            blocklist: None,
            unix_start: Duration::ZERO,
            udp_mtu: Some(UDP_MTU),
            drain_retry_after_seconds: 10,
        }
    }
}

impl Settings {
    /// What a message that came over this transport may hold.
    pub(crate) fn limits_of(&self, transport: Transport) -> &Limits {
        if transport.is_reliable() { &self.stream_limits } else { &self.limits }
    }

    pub(crate) fn lifetime(&self, invite: bool) -> Duration {
        if invite { self.max_inv_lifetime } else { self.max_noninv_lifetime }
    }
}

/// What a shard is made from.
pub struct Setup<R: Routing> {
    /// Which shard it is.
    pub shard: ShardId,
    /// Who owns which key; the same on all shards of the node.
    pub map: ShardMap,
    /// The node's listening addresses.
    pub listeners: Listeners,
    /// Randomness: another one for each shard and start, or a fixed one to replay a run.
    pub seed: (u64, u64),
    /// Settings.
    pub settings: Settings,
    /// The routing.
    pub routing: R,
    /// Its modules.
    pub modules: R::Modules,
}

/// A routing that can go on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wake {
    Start(ContextId),
    Resume(ContextId),
    /// Drop the routing; its request is over.
    Stop(usize),
}

/// Live objects of a shard, counted from its tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Server transactions, lingering ones included.
    pub server_transactions: usize,
    /// Client transactions, lingering ones included.
    pub client_transactions: usize,
    /// Requests being routed.
    pub contexts: usize,
    /// Routings that wait.
    pub waiting_routings: usize,
    /// Armed timers; not those of modules, which may run without traffic (a probe, a sweep).
    pub timers: usize,
    /// Objects that modules keep because of traffic.
    pub module_objects: usize,
}

impl Census {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        *self == Census::default()
    }
}

/// One shard.
pub struct Engine<R: Routing> {
    desk: Rc<Desk<ListOf<R>>>,
    tasks: Tasks<R>,
    routing: Rc<R>,
    started: bool,
}

impl<R: Routing> Engine<R> {
    /// A shard with empty tables.
    pub fn new(setup: Setup<R>) -> Engine<R> {
        let Setup { shard, map, listeners, seed, settings, routing, modules } = setup;
        let routing = Rc::new(routing);
        let core = Core::new((shard, map), listeners, settings, seed);
        let modules = modules.with(Policy::new(Rc::clone(&routing)));
        let state = Box::new(State { core, modules });
        Engine { desk: Rc::new(Desk::new(state)), tasks: Tasks::new(), routing, started: false }
    }

    /// Takes one input and adds to `out` what is to be done.
    pub fn handle(&mut self, now: Instant, input: InputOf<'_, R>, out: &mut ActionsOf<R>) {
        self.run(now, out, |state| match input {
            Input::Datagram { flow, bytes } => receive::datagram(state, flow, bytes),
            Input::Broken { flow, head, error } => receive::broken(state, flow, head, &error),
            Input::Peer { from, message } => {
                state.modules.peer(&mut state.core, from, message);
            }
            Input::Unsent(origin) => expire::unsent(state, origin),
            Input::Resolved(question, resolution) => {
                attempt::resolved(state, question, resolution);
            }
            Input::Row(row) => state.modules.row(&mut state.core, row),
            Input::Waited(delay) => {
                let Core { overload, settings, now, .. } = &mut state.core;
                overload.note(*now, delay, &settings.overload);
            }
            Input::Closed(connection) => state.modules.closed(&mut state.core, connection),
            Input::Drain => state.core.draining = true,
            Input::Stop => state.modules.stop(&mut state.core),
        });
    }

    /// Fires every timer that has come due.
    pub fn expire(&mut self, now: Instant, out: &mut ActionsOf<R>) {
        self.run(now, out, expire::due);
    }

    /// When [`Engine::expire`] is to be called; `None` while no timer runs. A shard that has not
    /// run yet wants to at once, so that its modules start without traffic.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.started {
            return Some(Instant::START);
        }
        self.desk.with(|state| state.core.wheel.next_deadline())
    }

    /// Asks the modules a command of the control plane; `None` when none knows it.
    pub fn command(
        &mut self,
        now: Instant,
        command: &Command,
        out: &mut ActionsOf<R>,
    ) -> Option<Result<String, Fault>> {
        let mut answer = None;
        self.run(now, out, |state| {
            answer = state.modules.command(&mut state.core, command);
            answer = answer.take().or_else(|| command::answer(state, command));
        });
        answer
    }

    /// Counts what is alive.
    pub fn census(&self) -> Census {
        self.desk.with(|state| Census {
            server_transactions: state.core.servers.len(),
            client_transactions: state.core.clients.len(),
            contexts: state.core.contexts.len(),
            waiting_routings: self.tasks.waiting(),
            timers: state.core.wheel.len() - state.core.module_timers,
            module_objects: state.modules.live(),
        })
    }

    /// The shard's counters.
    pub fn metrics(&self) -> Metrics {
        self.desk.with(|state| state.core.metrics.clone())
    }

    /// What came in, by method and status.
    pub fn messages(&self) -> Messages {
        self.desk.with(|state| state.core.messages.clone())
    }

    /// Shows every count of the shard, its modules' too.
    pub fn each_metric(&self, each: &mut dyn FnMut(&'static str, u64)) {
        self.metrics().each(&mut *each);
        let delay = self.desk.with(|state| state.core.overload.delay());
        each("queueing_delay_micros", u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
        self.desk.with(|state| state.modules.metrics(each));
    }

    /// Shows what has labels, and durations.
    pub fn readings(&self, each: &mut EachReading<'_>) {
        self.desk.with(|state| {
            command::memory(state, each);
            state.modules.readings(each);
        });
    }

    /// What its counts and commands mean.
    pub fn notes() -> Notes {
        let mut notes = Notes::default();
        notes.metrics.extend(Metrics::NOTES);
        notes.metrics.extend(command::METRICS);
        notes.commands.extend(command::COMMANDS);
        let delay = "How long the last messages waited in a queue before they were handled.";
        notes.metrics.push(MetricNote::gauge("queueing_delay_micros", delay));
        <ListOf<R> as Types>::describe(&mut notes);
        notes
    }

    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        self.desk.with(|state| state.core.draining)
    }

    fn run(
        &mut self,
        now: Instant,
        out: &mut ActionsOf<R>,
        work: impl FnOnce(&mut State<ListOf<R>>),
    ) {
        let mut state = self.desk.take();
        debug_assert!(now >= state.core.now, "time runs backwards");
        state.core.now = now;
        std::mem::swap(&mut state.core.out, out);
        if !std::mem::replace(&mut self.started, true) {
            state.modules.hears(&mut state.core.ears);
            state.modules.start(&mut state.core);
        }
        work(&mut state);
        self.desk.put(state);
        self.settle();
        let mut state = self.desk.take();
        std::mem::swap(&mut state.core.out, out);
        // Linear in the tables: only the rig pays for it, and only while they are small, for a
        // binary that is built together with the tests has the rig's features.
        let checked = cfg!(feature = "rig") && state.core.servers.len() <= CHECKED_MAX;
        debug_assert!(!checked || state.consistent(), "tables contradict");
        self.desk.put(state);
    }

    /// Lets routings run, sends modules' answers and delivers their messages to themselves, until
    /// nothing more happens.
    fn settle(&mut self) {
        while let Some(next) = self.desk.with(next_step) {
            match next {
                Next::Wake(Wake::Start(context)) => self.start(context),
                Next::Wake(Wake::Resume(context)) => self.resume(context),
                Next::Wake(Wake::Stop(task)) => self.tasks.stop(task),
                Next::Reply(server, reply) => self.desk.with(|state| state.reply(server, &reply)),
                Next::Order(order) => self.desk.with(|state| order::carry_out(state, &order)),
                Next::Event(event) => {
                    self.desk.with(|state| state.modules.event(&mut state.core, &event));
                }
                Next::Message(message) => self.desk.with(|state| {
                    let own = state.core.shard;
                    state.modules.peer(&mut state.core, own, message);
                }),
            }
        }
    }

    fn start(&mut self, context: ContextId) {
        let incoming = self.desk.with(|state| {
            let kept = state.core.contexts.get(context)?;
            let wanted = kept.task.is_none() && !kept.final_sent;
            wanted.then(|| Rc::clone(&kept.request))
        });
        let Some(incoming) = incoming else {
            return self.desk.with(|state| state.finish(context));
        };
        let (routing, desk) = (Rc::clone(&self.routing), Rc::clone(&self.desk));
        let task = self.tasks.start(Start { routing, desk, context, incoming });
        self.desk.with(|state| {
            if let Some(kept) = state.core.contexts.get_mut(context) {
                kept.task = Some(task);
            }
        });
        self.resume(context);
    }

    fn resume(&mut self, context: ContextId) {
        let task = self.desk.with(|state| {
            let task = state.core.contexts.get(context)?.task;
            state.core.running = task.map(|_| context);
            task
        });
        let Some(task) = task else { return };
        let polled = self.tasks.poll(task);
        self.desk.with(|state| state.core.running = None);
        if let Poll::Ready(decided) = polled {
            self.desk.with(|state| {
                if let Some(kept) = state.core.contexts.get_mut(context) {
                    kept.task = None;
                }
                decide(state, context, decided);
            });
        }
    }
}

/// What is still to be done before a call of the engine ends.
enum Next<P> {
    Wake(Wake),
    Reply(ServerId, Reply),
    Order(CallOrder),
    Event(Event),
    Message(P),
}

fn next_step<L: ModuleList>(state: &mut State<L>) -> Option<Next<L::Peer>> {
    state.answer_refused();
    let core = &mut state.core;
    if let Some(wake) = core.woken.pop_front() {
        return Some(Next::Wake(wake));
    }
    if let Some((server, reply)) = core.replies.pop_front() {
        return Some(Next::Reply(server, reply));
    }
    if let Some(order) = core.orders.pop_front() {
        return Some(Next::Order(order));
    }
    if let Some(event) = core.events.pop_front() {
        return Some(Next::Event(event));
    }
    core.inbox.pop_front().map(Next::Message)
}

/// Carries out what a routing decided.
fn decide<L: ModuleList>(state: &mut State<L>, id: ContextId, decided: Decided) {
    let Some(context) = state.core.contexts.get(id) else { return };
    if context.final_sent {
        return state.finish(id);
    }
    match decided {
        Ok(Answer::Relay(_)) => {
            forward::relay(state, id, Watch::Nobody);
            state.finish(id);
        }
        Ok(Answer::Reply(reply)) | Err(reply) => {
            state.cancel_pending(id, Why::Status(reply.status()));
            state.answer(id, &reply);
        }
        Ok(Answer::Stateless(reply)) => {
            let request = Rc::clone(&context.request);
            if context.server.is_some() {
                state.reply_stateless(&request, &reply);
            }
            state.abandon(id);
        }
        Ok(Answer::Done) if context.server.is_none() => state.finish(id),
        Ok(Answer::Done) => response::conclude(state, id),
        Ok(Answer::Drop) => state.abandon(id),
    }
}

#[cfg(test)]
mod tests;
