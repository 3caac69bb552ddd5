//! The registrar: RFC 3261 §10 as methods on requests.
//!
//! For: `request.save(who).await`, `request.lookup().await` and their kin.
//! Not here: the table of contacts (`location/`), who somebody is (`auth/`).
//! Invariants: a REGISTER changes all that it wants or nothing.

mod expiry;
mod fault;
mod gruu;
mod lookup;
mod notes;
mod read;
mod reply;
#[cfg(test)]
pub(crate) mod rig;
mod save;
mod settings;
#[cfg(test)]
mod tests;

pub use fault::{NotSaved, SaveFault};
pub use lookup::{ForkingTo, Found, LookingUp, Match, NotFound, Registered};
pub use save::{Registrant, SaveKind, SaveOptions, Saved, Saving, Trusted};
pub use settings::{MinExpiresMode, OutboundMode, PathMode, Settings};

pub(crate) use gruu::GruuKeys;
use std::rc::Rc;
use strowger_sip::module::{Configured, Host, MetricNote, Module, NodeFacts};
use strowger_sip::settings::Section;

/// An event at start: what others must know to make keys of addresses as this module does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFacts {
    /// See [`Settings::case_sensitive`].
    pub case_sensitive: bool,
    /// See [`Settings::realm_prefix`].
    pub realm_prefix: String,
    /// See [`Settings::gruu_enabled`].
    pub gruu_enabled: bool,
}

/// The registrar's instance on one shard.
#[derive(Debug)]
pub struct Registrar {
    settings: Rc<Settings>,
    gruu: Rc<GruuKeys>,
    accepted: u64,
    rejected: u64,
}

impl Registrar {
    /// A registrar. `secret` is the same on all shards, and over restarts if temporary GRUUs are to
    /// outlive them.
    pub fn new(settings: Settings, secret: &[u8]) -> Registrar {
        Registrar {
            settings: Rc::new(settings),
            gruu: Rc::new(GruuKeys::new(secret)),
            accepted: 0,
            rejected: 0,
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many REGISTERs were carried out and how many refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.accepted, self.rejected)
    }

    fn count(&mut self, accepted: bool) {
        if accepted { self.accepted += 1 } else { self.rejected += 1 }
    }
}

impl Module for Registrar {
    const NAME: &'static str = "registrar";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const LIVE: &'static [&'static str] = &["*"];
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn renew(&mut self, host: &mut impl Host<Self>, fresh: Registrar) {
        self.settings = fresh.settings;
        self.start(host);
    }

    fn start(&mut self, host: &mut impl Host<Self>) {
        let Settings { case_sensitive, ref realm_prefix, gruu_enabled, .. } = *self.settings;
        let realm_prefix = realm_prefix.clone();
        host.publish(AddressFacts { case_sensitive, realm_prefix, gruu_enabled });
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let settings = &self.settings;
        each("registrar_accepted_regs", self.accepted);
        each("registrar_rejected_regs", self.rejected);
        each("registrar_max_expires", u64::from(settings.max_expires));
        each("registrar_max_contacts", settings.max_contacts as u64);
        each("registrar_default_expire", u64::from(settings.default_expires));
        each("registrar_default_expires_range", u64::from(settings.default_expires_range));
        each("registrar_expires_range", u64::from(settings.expires_range));
    }
}

impl Configured for Registrar {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> Registrar {
        Registrar::new(Settings::from_config(section), node.lasting_secret)
    }
}
