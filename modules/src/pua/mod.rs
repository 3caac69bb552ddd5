//! Presence user agent: publishes states of resources and follows others' (Kamailio's `pua`).
//!
//! For: modules and routings that only say "this resource has this state, for so long" or "follow
//! that resource"; entity tags, dialogs, refreshes, recovery, storage and order are kept here.
//! Not here: the documents (`bodies/`), who says what (`pua_reginfo`, `pua_usrloc`,
//! `pua_dialoginfo`).

mod api;
pub mod bodies;
mod package;
mod source;

pub use api::{
    Answered, Dialog, Ended, Kind, Known, Mode, Notified, Publication, Refused, Report,
    SendPublish, SendSubscribe, Standing, Subscription, Taken, Wanted,
};
pub use package::{
    BodyFault, Document, EventId, NotAdded, PACKAGES_MAX, Package, Packages, Process, Processed,
};
pub use source::Source;
