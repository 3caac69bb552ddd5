//! Events of contacts, published to the modules of the shard that owns the address.
//!
//! For: `pua_reginfo`, `pua_usrloc` and whoever else follows registrations:
//! `event.of::<ContactEvent>()` in [`strowger_sip::module::Module::event`].
//! Invariants: delivered in the order of the changes; made only when some module listens.

use super::aor::Aor;
use super::contact::Contact;
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
    /// All contacts of the address after the change.
    pub bindings: Rc<[Contact]>,
    /// The change asks not to be published (`reginfo_disable_publish`).
    pub quiet: bool,
}
