//! Events of contacts, published to the modules of the shard that owns the address.
//!
//! For: `pua_reginfo`, `pua_usrloc` and whoever else follows registrations:
//! `event.of::<ContactEvent>()` in [`strowger_sip::module::Module::event`].
//! Invariants: delivered in the order of the changes; made only when some module listens.

use super::aor::Aor;
use super::contact::Contact;
use super::peer::{Answer, Operation};
use std::rc::Rc;

/// What happened to a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactEventKind {
    /// A new binding.
    Insert,
    /// It was refreshed or changed.
    Update,
    /// It was removed by a request, a command, or for want of a keep-alive.
    Delete,
    /// Its time was over.
    Expire,
    /// Storage has brought it at start.
    Load,
}

/// Something happened to a contact.
#[derive(Clone, Debug)]
pub struct ContactEvent {
    /// What.
    pub kind: ContactEventKind,
    /// Whose contact.
    pub aor: Aor,
    /// The contact, as it is after an insertion or update, as it was before a removal.
    pub contact: Contact,
    /// An update that has changed nothing but its time.
    pub only_time: bool,
    /// All contacts of the address after the change.
    pub bindings: Rc<[Contact]>,
    /// The change asks not to be published (`reginfo_disable_publish`).
    pub quiet: bool,
    /// The change asks for presence to be published (`pua_set_publish`).
    pub presence: bool,
}

/// To the location: a module of this shard wants something of an address that is at home here.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The module.
    pub by: &'static str,
    /// Stands in the [`Replied`] to it.
    pub number: u64,
    /// What it wants.
    pub operation: Operation,
}

/// From the location: what became of it.
#[derive(Clone, Debug)]
pub struct Replied {
    /// Which module has asked.
    pub to: &'static str,
    /// The number of its question.
    pub number: u64,
    /// The answer.
    pub answer: Answer,
}

/// From the location at start: what others must know of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFacts {
    /// Its name.
    pub table: String,
    /// Whether the domain is part of an address's key.
    pub use_domain: bool,
}
