//! `permissions`: who may send what, by address and by pattern.
//!
//! For: `request.permissions().allow_source_address(group)` and its kin (base.md §17).
//! Not here: digest (`auth/`), rates (`pike/`).
//! Invariants: each shard has lists of its own, built from the same rows; a list that is in use
//! never changes, a reload replaces it as a whole between two requests.

pub mod address;
mod command;
pub mod prefix;
mod request;
pub mod settings;
pub mod trusted;

pub use address::{Address, Allowed, Group, MatchMode};
pub use prefix::{Prefix, PrefixTable};
pub use request::{PermissionsOf, PermissionsRequest};
pub use settings::Settings;
pub use trusted::Trusted;

use address::AddressList;
use strowger_sip::module::{Command, Configured, Fault, Host, Module, Never, NodeFacts};
use strowger_sip::settings::Section;
use strowger_sip::storage::{Note, Order, Place, RowFault, Rows, Table};
use strowger_sip::time::Instant;
use trusted::TrustedList;

/// What storage, or whoever reads the configuration again, tells the module, and what it asks.
#[derive(Clone, Debug)]
pub enum Row {
    /// To storage: the address list is wanted again, on this shard.
    AddressesWanted,
    /// To storage: the trusted list is wanted again, on this shard.
    TrustedWanted,
    /// From storage: the whole address list.
    Addresses(Vec<Address>),
    /// From storage: the whole trusted list.
    Trusted(Vec<Trusted>),
}

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
    settings: Settings,
    addresses: AddressList,
    trusted: TrustedList,
    last_reload: Option<Instant>,
    counters: Counters,
}

impl Permissions {
    /// Takes the settings' lists into use.
    pub fn new(mut settings: Settings) -> Permissions {
        let addresses = AddressList::new(&settings.addresses, settings.match_mode);
        let trusted = TrustedList::new(&settings.trusted);
        settings.addresses = Vec::new();
        settings.trusted = Vec::new();
        let counters = Counters::default();
        Permissions { settings, addresses, trusted, last_reload: None, counters }
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
}

/// The lists are handed over whole, in memory; no table holds them.
impl Rows for Row {
    fn tables(_: Place, _: &mut dyn FnMut(Place, &'static Table)) {}
    fn into_order(self) -> Option<(Place, Order)> {
        None
    }
    fn from_note(_: Place, _: Note) -> Result<Option<Self>, RowFault> {
        Ok(None)
    }
}

impl Module for Permissions {
    const NAME: &'static str = "permissions";
    type Attached = ();
    type Peer = Never;
    type Timer = Never;
    type Token = Never;
    type Row = Row;

    fn row(&mut self, _: &mut impl Host<Self>, row: Row) {
        match row {
            Row::Addresses(list) => {
                self.addresses = AddressList::new(&list, self.settings.match_mode);
                self.counters.reloads += 1;
            }
            Row::Trusted(list) => {
                self.trusted = TrustedList::new(&list);
                self.counters.reloads += 1;
            }
            Row::AddressesWanted | Row::TrustedWanted => {}
        }
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        command::answer(self, host, command)
    }

    fn counters(&self, each: &mut dyn FnMut(&'static str, u64)) {
        each("permissions_allowed", self.counters.allowed);
        each("permissions_refused", self.counters.refused);
        each("permissions_reloads", self.counters.reloads);
    }
}

#[cfg(test)]
mod tests;
