//! `uac`: what a proxy does as a client (Kamailio's `uac`).
//!
//! For: other names and URIs in From and To of what passes, undone for the other side; answers to
//! challenges of next hops; requests of a routing's own; registrations at other registrars, and
//! the calls that come in by them.
//! Not here: challenging others (`auth/`), tracking calls (`dialog/`), transactions (`core/sip`).
//! Invariants: a registration belongs to the shard that the keyed hash of its `l_uuid` names, which
//! alone registers it and tells the others how it is; secrets leave this module as proofs alone.

mod address;
mod answer;
mod by_dialog;
mod challenge;
mod cookie;
mod notes;
mod own_request;
mod proof;
pub mod reg;
mod request;
mod rewrite;
mod secret;
mod send;
mod settings;
#[cfg(test)]
mod tests;

pub use answer::NotAuthorized;
pub(crate) use challenge::{choose, read as read_challenges};
pub use own_request::{OwnRequest, TellWhen};
pub(crate) use proof::{Said, Session, cnonce};
pub use reg::{
    Attribute, REGISTRATIONS_MAX, RegEvent, RegState, Registration, RequestBy, Row, Trunk, UACREG,
};
pub use request::{NotReplaced, UacOf, UacRequest};
pub use secret::{Credential, Secret};
pub use send::{Completed, ReplyEvent};
pub use settings::{CookieForm, RegSettings, RestoreMode, Settings};

use crate::ask::{AskId, Asks};
use answer::Answering;
use cookie::Sealer;
use proof::Counts;
use reg::{RegId, Registrations, Word};
use rewrite::Rewriting;
use send::{Errand, ErrandId, ErrandMark, Parcel};
use std::rc::Rc;
use strowger_sip::lists::List;
use strowger_sip::message::Edits;
use strowger_sip::module::{
    Arrived, Command, CommandNote, Configured, Departing, Fault, Heard, Host, MetricNote, Module,
    NodeFacts, Outgoing,
};
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::transaction::Slab;

/// Counters of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Challenges of next hops that were answered for a caller.
    pub challenges_answered: u64,
    /// Headers that a routing has replaced.
    pub replaced: u64,
    /// Requests of a routing's own, and those that had no final response.
    pub requests_sent: u64,
    /// See `requests_sent`.
    pub requests_failed: u64,
    /// REGISTER requests sent.
    pub registers_sent: u64,
    /// Those that were answered with 2xx.
    pub reg_successes: u64,
    /// Attempts that failed for any reason.
    pub reg_failures: u64,
    /// Attempts whose credentials were refused.
    pub reg_auth_failures: u64,
    /// Attempts without a final response.
    pub reg_timeouts: u64,
    /// REGISTER requests that went on to another address of a name.
    pub reg_failovers: u64,
    /// Rows of table `uacreg` that cannot be used.
    pub reg_rows_refused: u64,
    /// Sockets that are no listeners of this node.
    pub sockets_unknown: u64,
    /// Milliseconds that successful attempts have taken, all together.
    pub reg_latency_ms: u64,
}

/// The module: one instance a shard.
#[derive(Debug)]
pub struct Uac {
    settings: Rc<Settings>,
    sealer: Sealer,
    secret: [u8; 32],
    counts: Counts,
    registrations: Registrations,
    errands: Slab<Errand, ErrandMark>,
    asks: Asks<Completed>,
    counters: Counters,
}

/// What this module hangs on a transaction: nothing, for most.
#[derive(Debug, Default)]
pub struct Attached(Option<Box<Call>>);

/// What it does with one request.
#[derive(Debug, Default)]
struct Call {
    rewriting: Rewriting,
    answering: Option<Answering>,
    /// Whoever is called through a registration is called with its credentials.
    credential: Option<Credential>,
    /// How much this request's number is shifted because of an earlier one.
    shift: u32,
    /// The number as it was received, where another one went out.
    received: Option<u32>,
}

impl Attached {
    fn call(&mut self) -> &mut Call {
        self.0.get_or_insert_default()
    }

    fn rewriting(&mut self) -> &mut Rewriting {
        &mut self.call().rewriting
    }

    fn rewriting_if_any(&self) -> Option<&Rewriting> {
        self.0.as_deref().map(|call| &call.rewriting)
    }
}

/// What shards tell each other.
#[derive(Clone, Debug)]
pub enum Peer {
    /// To the shard at which its Call-ID is at home: send this.
    Errand(Box<Parcel>),
    /// Back: how it ended.
    Done(AskId, Completed),
    /// About a registration.
    Registration(Word),
}

/// The module's timers.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// A registration has something to do.
    Registration(RegId),
    /// A request of a routing's own has something to do.
    Errand(ErrandId),
    /// A question was not answered.
    Ask(AskId),
}

/// Names a request of this module.
#[derive(Clone, Copy, Debug)]
pub enum Token {
    /// A REGISTER, and which of its record's.
    Registration(RegId, u32),
    /// A routing's, and which attempt.
    Errand(ErrandId, u32),
}

impl Uac {
    /// A module with these settings. `secret` is the node's, the same over restarts.
    pub fn new(settings: Settings, secret: &[u8]) -> Uac {
        Uac {
            sealer: Sealer::of(&settings, secret),
            secret: crate::keyed::hmac(secret, &[b"uac"]),
            counts: Counts::default(),
            registrations: Registrations::new(&settings.reg),
            errands: Slab::new(0, send::ERRANDS_MAX),
            asks: Asks::default(),
            counters: Counters::default(),
            settings: Rc::new(settings),
        }
    }

    /// What it was set up with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

impl Configured for Uac {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> Uac {
        Uac::new(Settings::from_section(section), node.lasting_secret)
    }
    fn lists(_: &mut Section<'_>) -> Vec<List> {
        reg::lists()
    }
}

impl Module for Uac {
    const NAME: &'static str = "uac";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    const LIVE: &'static [&'static str] = &settings::LIVE;
    type Attached = Attached;
    type Peer = Peer;
    type Timer = Timer;
    type Token = Token;
    type Row = Row;

    fn start(&mut self, host: &mut impl Host<Self>) {
        self.start_registrations(host);
    }

    fn forward(
        &mut self,
        host: &mut impl Host<Self>,
        request: &Arrived<'_>,
        outgoing: &mut Outgoing<'_>,
    ) {
        let message = request.incoming.message();
        let own = self.settings.own_entry(message, |uri| host.is_ours(uri));
        let shift = own.as_ref().map_or(0, |own| self.shift_of(message, own));
        if let Some(own) = &own {
            self.follow(host, (message, request.transaction), own, outgoing);
        }
        if shift > 0 {
            answer::shift_number(message, shift, outgoing.edits);
        }
        let Some(transaction) = request.transaction else { return };
        let taken = host.attached(transaction).and_then(|attached| attached.0.take());
        let mut call = match taken {
            Some(call) => call,
            None if shift > 0 => Box::default(),
            None => return,
        };
        call.shift = shift;
        self.replace(host, (message, &call.rewriting), outgoing);
        if shift > 0 || call.answering.is_some() {
            call.received = message.cseq().ok().map(|cseq| cseq.number);
        }
        self.prove(request, &mut call, outgoing);
        if let Some(attached) = host.attached(transaction) {
            attached.0 = Some(call);
        }
    }

    fn response(
        &mut self,
        host: &mut impl Host<Self>,
        response: &Departing<'_>,
        edits: &mut Edits,
    ) {
        let Some(attached) = host.attached(response.transaction) else { return };
        Uac::show(attached, response, edits);
        let received = attached.0.as_ref().and_then(|call| call.received);
        if let (Some(received), Some(message)) = (received, response.message) {
            answer::restore_number(message, received, edits);
        }
    }

    fn timer(&mut self, host: &mut impl Host<Self>, timer: Timer) {
        match timer {
            Timer::Registration(id) => self.registration_due(host, id),
            Timer::Errand(id) => self.errand_due(host, id),
            Timer::Ask(ask) => self.asks.expire(host, ask),
        }
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: Peer) {
        match message {
            Peer::Errand(parcel) => self.errand(host, *parcel, from),
            Peer::Done(ask, completed) => self.asks.answer(host, ask, completed),
            Peer::Registration(word) => self.registration_word(host, word),
        }
    }

    fn answered(&mut self, host: &mut impl Host<Self>, token: Token, answer: Heard<'_>) {
        match token {
            Token::Registration(id, attempt) => {
                self.registration_answered(host, (id, attempt), answer);
            }
            Token::Errand(id, attempt) => self.errand_answered(host, (id, attempt), answer),
        }
    }

    fn row(&mut self, host: &mut impl Host<Self>, row: Row) {
        match row {
            Row::Registrations(list, faults) => self.registrations_read(host, list, faults),
            // This goes to the edge, it never comes from there.
            Row::Wanted => {}
        }
    }

    fn renew(&mut self, host: &mut impl Host<Self>, fresh: Uac) {
        let before = Rc::clone(&self.settings);
        self.settings = Rc::new(before.renewed(&fresh.settings));
        self.renew_registrations(host, &before.reg.registrations);
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        reg::command(self, host, command)
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        self.registrations.metrics(each);
        let counters = &self.counters;
        each("uac_challenges_answered", counters.challenges_answered);
        each("uac_replaced", counters.replaced);
        each("uac_requests_sent", counters.requests_sent);
        each("uac_requests_failed", counters.requests_failed);
        each("uac_registers_sent", counters.registers_sent);
        each("uac_reg_successes", counters.reg_successes);
        each("uac_reg_failures", counters.reg_failures);
        each("uac_reg_auth_failures", counters.reg_auth_failures);
        each("uac_reg_timeouts", counters.reg_timeouts);
        each("uac_reg_failovers", counters.reg_failovers);
        each("uac_reg_rows_refused", counters.reg_rows_refused);
        each("uac_sockets_unknown", counters.sockets_unknown);
        each("uac_reg_latency_ms", counters.reg_latency_ms);
    }

    fn live(&self) -> usize {
        self.asks.len() + self.errands.len()
    }
}
