//! `permissions`: who may send what, by address and by pattern.
//!
//! For: `request.permissions().allow_source_address(group)` and its kin (base.md §17).
//! Not here: digest (`auth/`), rates (`pike/`).
//! Invariants: each shard has lists of its own, built from the same rows; a list that is in use
//! never changes, a reload replaces it as a whole between two requests.

pub mod address;
mod command;
mod notes;
pub mod prefix;
mod request;
pub mod row;
pub mod rules;
pub mod settings;
pub mod trusted;

pub use address::{Address, Allowed, Group, MatchMode};
pub use prefix::{Prefix, PrefixTable};
pub use request::{PermissionsOf, PermissionsRequest};
pub use row::Row;
pub use rules::{Permit, Rule, RuleSet};
pub use settings::Settings;
pub use trusted::Trusted;

use address::AddressList;
use rules::Rules;
use strowger_sip::lists::List;
use strowger_sip::module::{
    Command, CommandNote, Configured, Fault, Host, MetricNote, Module, Never, NodeFacts,
};
use strowger_sip::settings::Section;
use strowger_sip::time::Instant;
use trusted::TrustedList;

/// Counters of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions that an address was found for.
    pub allowed: u64,
    /// Questions that nothing was found for.
    pub refused: u64,
    /// Lists that were replaced.
    pub reloads: u64,
}

/// The module.
#[derive(Debug)]
pub struct Permissions {
    /// Its lists are those of the configuration, which every reload keeps.
    settings: Settings,
    addresses: AddressList,
    trusted: TrustedList,
    rules: Rules,
    /// What files and tables hold beside the configuration.
    listed: (Vec<Address>, Vec<Trusted>),
    /// By list.
    last_reloads: [Option<Instant>; 3],
    counters: Counters,
}

impl Permissions {
    /// Takes the settings' lists into use.
    pub fn new(settings: Settings) -> Permissions {
        let addresses = AddressList::new(&settings.addresses, settings.match_mode);
        let trusted = TrustedList::new(&settings.trusted);
        let (rules, counters) = (Rules::new(&[]), Counters::default());
        let last_reloads = [None; 3];
        let listed = (Vec::new(), Vec::new());
        Permissions { settings, addresses, trusted, rules, listed, last_reloads, counters }
    }

    fn list_addresses(&mut self) {
        let all = [self.settings.addresses.as_slice(), &self.listed.0].concat();
        self.addresses = AddressList::new(&all, self.settings.match_mode);
    }

    fn list_trusted(&mut self) {
        let all = [self.settings.trusted.as_slice(), &self.listed.1].concat();
        self.trusted = TrustedList::new(&all);
    }

    fn counted(&mut self, found: Option<Allowed>) -> Option<Allowed> {
        if found.is_some() {
            self.counters.allowed += 1;
        } else {
            self.counters.refused += 1;
        }
        found
    }
}

impl Configured for Permissions {
    fn configured(section: &mut Section<'_>, _: &NodeFacts<'_>) -> Permissions {
        Permissions::new(Settings::from_section(section))
    }
    fn lists(section: &mut Section<'_>) -> Vec<List> {
        row::lists(section)
    }
}

impl Module for Permissions {
    const NAME: &'static str = "permissions";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    const LIVE: &'static [&'static str] = &["address", "trusted"];
    type Attached = ();
    type Peer = Never;
    type Timer = Never;
    type Token = Never;
    type Row = Row;

    fn row(&mut self, _: &mut impl Host<Self>, row: Row) {
        match row {
            Row::Addresses(list) => {
                self.listed.0 = list;
                self.list_addresses();
            }
            Row::Trusted(list) => {
                self.listed.1 = list;
                self.list_trusted();
            }
            Row::Rules(sets) => self.rules = Rules::new(&sets),
            Row::AddressesWanted | Row::TrustedWanted | Row::RulesWanted => return,
        }
        self.counters.reloads += 1;
    }

    fn renew(&mut self, _: &mut impl Host<Self>, fresh: Permissions) {
        self.settings.addresses = fresh.settings.addresses;
        self.settings.trusted = fresh.settings.trusted;
        self.list_addresses();
        self.list_trusted();
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        command::answer(self, host, command)
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        each("permissions_allowed", self.counters.allowed);
        each("permissions_refused", self.counters.refused);
        each("permissions_reloads", self.counters.reloads);
    }
}

#[cfg(test)]
mod tests;
