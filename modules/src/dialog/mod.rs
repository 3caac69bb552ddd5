//! Dialogs: calls as this node sees them, from the INVITE to the last BYE (Kamailio's `dialog`).
//!
//! For: counting and limiting calls, lifetimes with a BYE to both ends, variables, keep-alives,
//! requests of our own within a call, listings, storage; one start and one end event a call.
//! Not here: transactions and proxying (`core/sip`), HTTP (`core/node`), dialog-info (`pua`).
//! Invariants: a dialog lives on the shard at which its Call-ID is at home, and nowhere else; a
//! membership is counted by the shard that its profile and value are at home at. Gauges are counted
//! from the records. Every state has a deadline.

mod bridge;
mod bridge_course;
mod command;
mod cookie;
mod create;
mod draft;
mod end;
mod event;
mod forward;
mod keepalive;
mod limits;
mod link;
mod listing;
mod local;
mod matching;
mod measure;
mod names;
mod notes;
mod profile;
mod promise;
mod record;
mod refer;
mod reply;
mod request;
mod reserve;
mod row;
mod session;
mod settings;
mod state;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod texts;
mod timer;
mod typed;
mod within;

pub use bridge::{BridgeMark, BridgeMode, BridgeRules};
pub use cookie::Key;
pub use create::NotManaged;
pub use end::Terminated;
pub use event::{DialogEvent, DialogEventKind, Facts, LegFacts};
pub use link::Letter;
pub use names::{DIALOG, DIALOG_VARS, Tables};
pub use profile::{Group, Peer, RemoteMark};
pub use record::{Cause, Side};
pub use request::{DialogOf, DialogRequest, Property, Snapshot};
pub use reserve::{Reserved, Sized};
pub use row::{Row, Terms};
pub use settings::{
    CALLER_PROFILE, Database, DbMode, Extra2xx, KeepAlive, MatchMode, SessionTimer, Settings,
    WhenRefused,
};
pub use state::{Incident, State, Step, step};
pub use table::DialogId;
pub use typed::Profile;

use crate::ask::{AskId, Asks};
use bridge::{BridgeId, Bridges, Party};
use cookie::Cookies;
use record::{Flags, Record};
use std::rc::Rc;
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::message::{Edits, MethodKind};
use strowger_sip::module::notes::EachReading;
use strowger_sip::module::{
    Arrived, Command, CommandNote, Configured, Departing, Fault, Heard, Host, MetricNote, Module,
    NodeFacts, Outgoing, Verdict,
};
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::time::Instant;
use strowger_sip::transaction::{Id, Slab};
use table::{Ids, Table};
use texts::Pairs;

/// The module: one instance a shard.
pub struct Dialog {
    settings: Rc<Settings>,
    cookies: Rc<Cookies>,
    table: Table,
    profiles: profile::Counts,
    links: link::Links,
    asks: Asks<reserve::Answer>,
    bridges: Bridges,
    promises: Slab<promise::Promise, promise::PromiseMark>,
    store: store::Store,
    counters: Counters,
    measures: measure::Measures,
    /// Whether a number was ever shifted: only then an ACK is looked at when it is forwarded.
    has_shifts: bool,
    /// Drafts that are free.
    #[expect(clippy::vec_box, reason = "a transaction takes the box, not what is in it")]
    drafts: Vec<Box<Draft>>,
    /// Where local requests are written.
    scratch: Vec<u8>,
}

/// What only grows.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    processed: u64,
    expired: u64,
    failed: u64,
    bogus: u64,
    unmatched: u64,
    incomplete: u64,
    refused: u64,
    early_timeouts: u64,
    unsent: u64,
    overdue: u64,
    rows_refused: u64,
    rows_too_long: u64,
    unpromised: u64,
    not_durable: u64,
    ended: [u64; Cause::ALL.len()],
}

impl Cause {
    const ALL: [Cause; 9] = [
        Cause::CallerBye,
        Cause::CalleeBye,
        Cause::Timeout,
        Cause::Admin,
        Cause::Script,
        Cause::KeepAlive,
        Cause::NoAck,
        Cause::SessionExpired,
        Cause::Extra,
    ];
}

/// What a transaction is to its dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    /// It has none.
    #[default]
    None,
    /// The initial INVITE.
    Invite,
    /// The same, on its second way through this node.
    Spiral,
    /// A request within the dialog, from this side.
    Within(Side),
}

/// What this module hangs on a transaction.
#[derive(Debug, Default)]
pub struct Attached {
    dialog: Option<DialogId>,
    role: Role,
    method: Option<MethodKind>,
    /// The number of the request as it was received.
    cseq: u32,
    /// What was added to the sender's numbers when it came.
    shift: u32,
    /// What is added to the next branch's number beside that.
    raised: u32,
    /// The session timer that was put into its response.
    session: Option<u32>,
    /// Whether a final response went upstream.
    answered: bool,
    /// `Created` is still to be told.
    untold: bool,
    draft: Option<Box<Draft>>,
}

/// What a routing has said of a dialog that does not exist yet.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    flags: Flags,
    script_flags: u32,
    lifetime_seconds: Option<u32>,
    timeout_route: String,
    pairs: Pairs,
}

/// This module's timers.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// A dialog has something to do.
    Dialog(DialogId),
    /// The next hop of a BYE is looked up once more.
    Bye(DialogId, Side, u8),
    /// A question was not answered.
    Ask(AskId),
    /// Storage has not said whether an answer's rows are durable.
    Promise(promise::PromiseId),
    /// Changed dialogs are written.
    Flush,
    /// A call that this node sets up has taken long enough.
    Bridge(BridgeId),
    /// A remote membership ends.
    Remote(Id<profile::RemoteMark>),
    /// A walk through all dialogs goes on.
    Walk,
    /// What other shards have said is acknowledged, what they have not heard is said again.
    Links,
}

/// Which request of our own was answered.
#[derive(Clone, Copy, Debug)]
pub enum Token {
    /// A BYE to this side.
    Bye(DialogId, Side),
    /// A keep-alive.
    KeepAlive(DialogId, Side),
    /// A REFER to this side.
    Refer(DialogId, Side),
    /// Some request of a routing.
    Within(DialogId),
    /// A message of a call that this node sets up.
    Bridge(BridgeId, Party),
}

impl Dialog {
    /// A module with these settings. `secret` is the node's, for signing cookies.
    pub fn new(settings: Settings, secret: &[u8]) -> Dialog {
        let key = settings.cookie_secret.as_deref().map_or(secret, str::as_bytes);
        let digest = crate::keyed::hmac(key, &[b"dialog cookie"]);
        let signature = digest.first_chunk::<16>().copied().filter(|_| settings.signed_cookies);
        let cookies = Cookies { name: settings.cookie_name.clone(), secret: signature };
        Dialog {
            profiles: profile::Counts::new((0, 0)),
            cookies: Rc::new(cookies),
            table: Table::new(0, settings.most, (0, 0), 0),
            links: link::Links::default(),
            asks: Asks::default(),
            bridges: Bridges::default(),
            promises: Slab::new(0, limits::PROMISES_MAX),
            store: store::Store::default(),
            counters: Counters::default(),
            measures: measure::Measures::default(),
            has_shifts: false,
            drafts: Vec::new(),
            scratch: Vec::new(),
            settings: Rc::new(settings),
        }
    }

    fn ids(&self, host: &impl Host<Dialog>) -> Ids {
        Ids {
            start: self.settings.id_start,
            step: self.settings.id_step,
            shard: host.shard().0,
            shards: host.map().count(),
        }
    }

    /// Tells whoever listens.
    fn tell(&self, host: &mut impl Host<Dialog>, id: DialogId, kind: DialogEventKind) {
        if host.is_heard_of::<DialogEvent>()
            && let Some(record) = self.table.get(id)
        {
            host.publish(DialogEvent { kind, dialog: Arc::new(record.facts()) });
        }
    }

    fn draft(&mut self) -> Box<Draft> {
        self.drafts.pop().unwrap_or_default()
    }

    fn free_draft(&mut self, mut draft: Box<Draft>) {
        let Draft { flags, script_flags, lifetime_seconds, timeout_route, pairs } = &mut *draft;
        (*flags, *script_flags, *lifetime_seconds) = (Flags::default(), 0, None);
        timeout_route.clear();
        *pairs = Pairs::in_memory(std::mem::take(pairs).into_memory());
        if self.drafts.len() < limits::RETAINED_MAX {
            self.drafts.push(draft);
        }
    }

    /// How many dialogs this shard has, by state and in all.
    pub fn count(&self, state: Option<State>) -> usize {
        state.map_or(self.table.len(), |state| self.table.in_state(state))
    }

    /// Bytes that this shard's dialogs take.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

/// The date of this call.
fn today(host: &impl Host<Dialog>) -> UnixTime {
    UnixTime::from_secs(host.unix_time().as_secs())
}

/// The instant of a date that may be past.
fn instant_of(host: &impl Host<Dialog>, date: UnixTime) -> Instant {
    host.now() + date.since(today(host))
}

impl Module for Dialog {
    const NAME: &'static str = "dialog";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    type Attached = Attached;
    type Peer = Letter;
    type Timer = Timer;
    type Token = Token;
    type Row = Row;

    fn start(&mut self, host: &mut impl Host<Self>) {
        let secret = host.entropy().keys();
        // Random, so that a new dialog seldom has the name of one from before a restart.
        let first = host.entropy().below(3 * u64::from(self.settings.slots));
        let first = if self.settings.id_step > 1 { 0 } else { u32::try_from(first).unwrap_or(0) };
        self.table = Table::new(self.settings.reserved, self.settings.most, secret, first);
        self.profiles = profile::Counts::new(host.entropy().keys());
        self.start_store(host);
    }

    fn stop(&mut self, host: &mut impl Host<Self>) {
        self.write_at_stop(host);
    }

    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        if self.bridge_asked(host, request) || self.refer_progress(host, request) {
            return Verdict::Taken;
        }
        if !self.settings.scripted {
            self.meet(host, request);
        }
        Verdict::Continue
    }

    fn forward(
        &mut self,
        host: &mut impl Host<Self>,
        request: &Arrived<'_>,
        outgoing: &mut Outgoing<'_>,
    ) {
        self.on_forward(host, request, outgoing);
    }

    fn response(
        &mut self,
        host: &mut impl Host<Self>,
        response: &Departing<'_>,
        edits: &mut Edits,
    ) {
        self.on_response(host, response, edits);
    }

    fn transaction_end(&mut self, host: &mut impl Host<Self>, attached: Attached) {
        self.on_transaction_end(host, attached);
    }

    fn timer(&mut self, host: &mut impl Host<Self>, timer: Timer) {
        match timer {
            Timer::Dialog(id) => self.on_deadline(host, id),
            Timer::Bye(id, side, attempt) => self.send_bye(host, id, side, attempt),
            Timer::Ask(ask) => self.asks.expire(host, ask),
            Timer::Promise(id) => self.storage_is_silent(host, id),
            Timer::Flush => self.flush(host),
            Timer::Bridge(id) => self.bridge_is_late(host, id),
            Timer::Remote(id) => self.remote_ended(id),
            Timer::Walk => self.walk_on(host),
            Timer::Links => self.tend_links(host),
        }
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, letter: Letter) {
        self.on_letter(host, from, letter);
    }

    fn answered(&mut self, host: &mut impl Host<Self>, token: Token, answer: Heard<'_>) {
        match token {
            Token::Bye(id, side) => self.bye_answered(host, id, side, answer),
            Token::KeepAlive(id, side) => self.keep_alive_answered(host, id, side, answer),
            Token::Refer(id, side) => self.refer_answered(host, id, side, answer),
            Token::Within(id) => self.local_answered(host, id, answer),
            Token::Bridge(id, party) => self.bridge_answered(host, (id, party), answer),
        }
    }

    fn row(&mut self, host: &mut impl Host<Self>, row: Row) {
        self.on_row(host, row);
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        self.answer_command(host, command)
    }

    fn live(&self) -> usize {
        // Calls that are up go on without traffic; all others wait for some.
        let up = self.table.in_state(State::ConfirmedNa) + self.table.in_state(State::Confirmed);
        self.asks.len() + self.bridges.len() + self.promises.len() + self.table.len() - up
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        if self.settings.stats {
            self.each_statistic(each);
        }
    }

    fn readings(&self, each: &mut EachReading<'_>) {
        if self.settings.stats {
            self.each_reading(each);
        }
    }
}

impl Dialog {
    /// The gauges are counted from the table, whatever has happened before.
    fn each_statistic(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let active =
            self.table.in_state(State::ConfirmedNa) + self.table.in_state(State::Confirmed);
        each("dialog_active_dialogs", active as u64);
        each("dialog_early_dialogs", self.table.in_state(State::Early) as u64);
        each("dialog_processed_dialogs", self.counters.processed);
        each("dialog_expired_dialogs", self.counters.expired);
        each("dialog_failed_dialogs", self.counters.failed);
        for (cause, count) in Cause::ALL.into_iter().zip(self.counters.ended) {
            each(cause.counter(), count);
        }
        each("dialog_bogus_events", self.counters.bogus);
        each("dialog_unmatched_requests", self.counters.unmatched);
        each("dialog_incomplete_answers", self.counters.incomplete);
        each("dialog_limits_reached", self.counters.refused);
        each("dialog_early_timeouts", self.counters.early_timeouts);
        each("dialog_unsent_requests", self.counters.unsent);
        each("dialog_overdue_dialogs", self.counters.overdue);
        each("dialog_rows_refused", self.counters.rows_refused);
        each("dialog_rows_too_long", self.counters.rows_too_long);
        each("dialog_answers_held", self.promises.len() as u64);
        each("dialog_answers_not_promised", self.counters.unpromised);
        each("dialog_answers_not_durable", self.counters.not_durable);
    }
}

impl Cause {
    const fn counter(self) -> &'static str {
        match self {
            Cause::CallerBye => "dialog_ended_caller_bye",
            Cause::CalleeBye => "dialog_ended_callee_bye",
            Cause::Timeout => "dialog_ended_timeout",
            Cause::Admin => "dialog_ended_admin",
            Cause::Script => "dialog_ended_script",
            Cause::KeepAlive => "dialog_ended_keepalive",
            Cause::NoAck => "dialog_ended_noack",
            Cause::SessionExpired => "dialog_ended_session_expired",
            Cause::Extra => "dialog_ended_extra_answer",
        }
    }
}

impl Configured for Dialog {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> Dialog {
        let settings = Settings::from_config(section);
        if settings.database.mode != DbMode::None && !node.has_storage {
            let mut database = section.section("database");
            database.problem("db_mode", "there is no storage", "0, or [storage] url");
        }
        Dialog::new(settings, node.lasting_secret)
    }
}

/// The dialog that a transaction belongs to.
fn dialog_of(host: &mut impl Host<Dialog>, transaction: Option<ServerId>) -> Option<DialogId> {
    host.attached(transaction?)?.dialog
}

/// Who sends to whom in a record, as Kamailio numbers directions: 1 downstream, 2 upstream.
fn direction(from: Side) -> u8 {
    match from {
        Side::Caller => 1,
        Side::Callee => 2,
    }
}

impl Record {
    /// How much longer it may last, if its lifetime runs.
    fn left(&self, now: Instant) -> Option<std::time::Duration> {
        self.deadline.map(|deadline| deadline.since(now))
    }
}
