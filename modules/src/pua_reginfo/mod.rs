//! Registrations told to other servers, and theirs taken in (Kamailio's `pua_reginfo`): RFC 3680.
//!
//! For: registrars in step; `reginfo_subscribe`, and `reginfo_handle_notify` as an event: NOTIFYs
//! of this module's own subscriptions are taken in without a routing's help, and what became of
//! each is told as [`Imported`]. `reginfo_disable_publish` is
//! [`crate::registrar::SaveOptions::unpublished`].
//! Not here: PUBLISH and SUBSCRIBE (`pua`), documents (`pua/bodies`), contacts (`location`).
//! Invariants: what was imported is never published; an import never touches what was registered
//! here; a NOTIFY outside of a subscription of this module changes nothing.

mod command;
mod document;
mod echo;
mod import;
mod notes;
mod publish;
mod request;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod watch;

pub use publish::RecordMark;
pub use request::Following;
pub use settings::Settings;
pub use watch::JobMark;

use crate::location::Aor;
use crate::location::{AorRules, ContactEvent, Replied, TableFacts};
use crate::pua::{Notified, Report, Source, Wanted};
use crate::registrar::AddressFacts;
use document::Pen;
use echo::Echoes;
use import::{QUESTIONS_MAX, Question, QuestionMark};
use publish::Publishing;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use strowger_sip::date::{Epoch, UnixTime};
use strowger_sip::module::{
    Command, CommandNote, Configured, Ears, Event, Fault, Host, MetricNote, Module, NodeFacts,
};
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant};
use strowger_sip::transaction::{Id, Slab};
use watch::{Job, Part, Watch};

/// Most documents that are being taken in on one shard. A guess: each waits for other shards and
/// for storage, a tenth of a second at worst.
const JOBS_MAX: usize = 16_384;

/// What became of a NOTIFY (`reginfo_handle_notify`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// 1: taken in, and somebody it tells of has a contact.
    Registered,
    /// 2: taken in, or nothing to take in, and nobody has.
    NoneLeft,
    /// -1: not taken in, or not all of it.
    Invalid,
}

impl Handled {
    /// The number that stands for it.
    pub const fn code(self) -> i32 {
        match self {
            Handled::Registered => 1,
            Handled::NoneLeft => 2,
            Handled::Invalid => -1,
        }
    }
}

/// An event: a NOTIFY of a subscription of this module was handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Whom the subscription is to.
    pub presentity: String,
    /// What became of it.
    pub handled: Handled,
}

/// Why nobody is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFollowed {
    /// It is no SIP URI.
    Unreadable,
    /// This node has no `server_address`, to which NOTIFYs would come.
    NoAddress,
}

impl fmt::Display for NotFollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotFollowed::Unreadable => "not a SIP URI",
            NotFollowed::NoAddress => "[pua_reginfo] has no server_address",
        })
    }
}

impl std::error::Error for NotFollowed {}

/// What only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    published: u64,
    unpublished: u64,
    imported_contacts: u64,
    removed_contacts: u64,
    rejected_notifies: u64,
    ignored_notifies: u64,
    gaps: u64,
    echoes: u64,
    refused_imports: u64,
}

/// What shards tell each other.
#[derive(Debug)]
pub enum Peer {
    /// To the owner of a URI: follow it.
    Follow {
        /// Whom.
        uri: String,
        /// How long.
        wanted: Wanted,
    },
    /// To the owner of a URI: have everything told again.
    Renew {
        /// Of whom.
        uri: String,
    },
    /// To the owner of an address: take this in.
    Import {
        /// The asker's.
        job: Id<JobMark>,
        /// What.
        part: Box<Told>,
    },
    /// Back to the asker.
    Imported {
        /// Its own.
        job: Id<JobMark>,
        /// What became of it.
        outcome: Outcome,
    },
}

/// What a document tells of one address.
#[derive(Debug)]
pub struct Told(Part);

/// What became of one address's part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken in.
    Done {
        /// Whether the address has a contact now.
        active: bool,
        /// How many contacts were made or changed.
        updated: usize,
        /// How many were removed.
        removed: usize,
    },
    /// It was not.
    Refused,
}

/// This module's timers.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Something is to be said of an address.
    Publish(Id<RecordMark>),
    /// The next address of those that storage has brought.
    Loaded,
    /// The subscriptions of the configuration begin.
    Follow,
}

/// The module: one instance a shard.
#[derive(Debug)]
pub struct PuaReginfo {
    settings: Rc<Settings>,
    pen: Pen,
    epoch: Epoch,
    rules: AorRules,
    /// The location table's name.
    table: String,
    publishing: Publishing,
    echoes: Echoes,
    /// Addresses that storage has brought and that are still to be published.
    loaded: VecDeque<Aor>,
    /// Who is wanted, and until when, by URIs of this shard.
    wishes: BTreeMap<String, Option<Instant>>,
    /// What subscriptions have told, on their shard.
    watches: BTreeMap<String, Watch>,
    jobs: Slab<Job, JobMark>,
    questions: Slab<Question, QuestionMark>,
    counters: Counters,
}

impl PuaReginfo {
    /// A module with these settings. `node` tells this node from others, `secret` is the node's;
    /// `epoch` is the location's.
    pub fn new(settings: Settings, node: &str, secret: &[u8], epoch: Epoch) -> PuaReginfo {
        let address = settings.server_address.as_deref().unwrap_or_default();
        let name = format!("{node} {address}");
        let domain = settings.default_domain.as_deref().unwrap_or_default();
        PuaReginfo {
            pen: Pen::new(secret, &name, domain, settings.contact_params),
            epoch,
            rules: AorRules::default(),
            table: "location".to_owned(),
            publishing: Publishing::new((0, 0)),
            echoes: Echoes::default(),
            loaded: VecDeque::new(),
            wishes: BTreeMap::new(),
            watches: BTreeMap::new(),
            jobs: Slab::new(0, JOBS_MAX),
            questions: Slab::new(0, QUESTIONS_MAX),
            counters: Counters::default(),
            settings: Rc::new(settings),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn today(&self, host: &impl Host<Self>) -> UnixTime {
        self.epoch.date(host.now())
    }

    /// Storage has brought a contact of an address.
    fn loaded(&mut self, host: &mut impl Host<Self>, aor: &Aor) {
        let wanted = self.settings.publish_reginfo && self.settings.publish_on_start > 0;
        if !wanted || self.loaded.back() == Some(aor) || self.loaded.len() >= publish::RECORDS_MAX {
            return;
        }
        if self.loaded.is_empty() {
            self.arm_loaded(host);
        }
        self.loaded.push_back(aor.clone());
    }

    fn arm_loaded(&mut self, host: &mut impl Host<Self>) {
        let rate = u64::from(self.settings.publish_on_start.max(1));
        let pause = 1_000_000 * u64::from(host.map().count()) / rate;
        host.arm(host.now() + Duration::from_micros(pause), Timer::Loaded);
    }

    fn publish_loaded(&mut self, host: &mut impl Host<Self>) {
        let Some(aor) = self.loaded.pop_front() else { return };
        if !self.ask_and_publish(host, aor) {
            self.counters.unpublished += 1;
        }
        if !self.loaded.is_empty() {
            self.arm_loaded(host);
        }
    }
}

impl Module for PuaReginfo {
    const NAME: &'static str = "pua_reginfo";
    const LISTENS: bool = true;
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    type Attached = ();
    type Peer = Peer;
    type Timer = Timer;
    type Token = ();
    type Row = ();

    fn start(&mut self, host: &mut impl Host<Self>) {
        self.publishing = Publishing::new(host.entropy().keys());
        self.echoes = Echoes::new(host.entropy().keys());
        self.start_following(host);
    }

    fn hears(&self, ears: &mut Ears) {
        // Without an address there is nobody whom it follows, and nothing comes back.
        if self.settings.publish_reginfo || self.settings.server_address.is_some() {
            ears.hear::<ContactEvent>();
            ears.hear::<Replied>();
            ears.hear::<Rc<Notified>>();
            ears.hear::<Report>();
            ears.hear::<TableFacts>();
            ears.hear::<AddressFacts>();
        }
    }

    fn event(&mut self, host: &mut impl Host<Self>, event: &Event) {
        if let Some(changed) = event.of::<ContactEvent>() {
            self.contact_changed(host, changed);
        } else if let Some(replied) = event.of::<Replied>() {
            self.replied(host, replied);
        } else if let Some(notified) = event.of::<Rc<Notified>>() {
            if notified.subscription.source == Source::ReginfoSubscribe {
                self.notified(host, notified);
            }
        } else if let Some(report) = event.of::<Report>() {
            if report.source == Source::ReginfoPublish {
                self.reported(host, report);
            }
        } else if let Some(facts) = event.of::<TableFacts>() {
            self.table.clone_from(&facts.table);
            self.rules.use_domain = facts.use_domain;
        } else if let Some(facts) = event.of::<AddressFacts>() {
            self.rules.case_sensitive = facts.case_sensitive;
            self.rules.realm_prefix.clone_from(&facts.realm_prefix);
            self.pen.gruu_enabled = facts.gruu_enabled;
        }
    }

    fn timer(&mut self, host: &mut impl Host<Self>, timer: Timer) {
        match timer {
            Timer::Publish(record) => self.publish_due(host, record),
            Timer::Loaded => self.publish_loaded(host),
            Timer::Follow => self.follow_configured(host),
        }
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: Peer) {
        match message {
            Peer::Follow { uri, wanted } => self.followed(host, uri, wanted),
            Peer::Renew { uri } => self.renew(host, &uri),
            Peer::Import { job, part } => self.import(host, (from, job), part.0),
            Peer::Imported { job, outcome } => self.imported(host, job, outcome),
        }
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        self.answer_command(host, command)
    }

    fn live(&self) -> usize {
        self.jobs.len() + self.questions.len()
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let counters = &self.counters;
        counters.publishing(each);
        each("pua_reginfo_waiting", self.publishing.len() as u64);
        each("pua_reginfo_followed", self.watches.len() as u64);
        each("pua_reginfo_imported_contacts", counters.imported_contacts);
        each("pua_reginfo_removed_contacts", counters.removed_contacts);
        each("pua_reginfo_rejected_notifies", counters.rejected_notifies);
        each("pua_reginfo_ignored_notifies", counters.ignored_notifies);
        each("pua_reginfo_gaps", counters.gaps);
        each("pua_reginfo_echoes", counters.echoes);
        each("pua_reginfo_refused_imports", counters.refused_imports);
    }
}

impl Configured for PuaReginfo {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> PuaReginfo {
        let settings = Settings::from_config(section);
        PuaReginfo::new(settings, node.name, node.lasting_secret, node.epoch)
    }
}
