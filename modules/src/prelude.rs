//! What a routing's author needs of engine and modules, by one line.
//!
//! For: `strowger::prelude`, which is this and nothing else.
//! Not here: names that two modules share (`Settings`, `Row`, `Algorithm` of digest): those are
//! written in full.

pub use crate::auth::{Auth, Authenticated, Authenticating, Challenger};
pub use crate::dialog::{Dialog, DialogRequest, Profile, Reserved};
pub use crate::dispatcher::{Algorithm, Dispatcher, DispatcherRequest, NoDestination};
pub use crate::location::Location;
pub use crate::nathelper::{AliasWhen, Nat, NatRequest, NatTests};
pub use crate::path::{PathEntry, PathRequest};
pub use crate::permissions::{Permissions, PermissionsRequest};
pub use crate::pike::Pike;
pub use crate::pua::Pua;
pub use crate::registrar::{ForkingTo, LookingUp, Registrar, SaveOptions, Saving, Trusted};
pub use crate::uac::{OwnRequest, RequestBy, Uac, UacRequest};
pub use strowger_sip::message::{MethodKind, StatusCode, Uri};
pub use strowger_sip::module::{ConfiguredModules, Event, Host, Module, Modules};
pub use strowger_sip::routing::{
    Answer, Attempt, Branch, Failed, Outcome, Progress, Relay, Reply, Request, Response, Routing,
    Within,
};
pub use strowger_sip::settings::Section;
pub use strowger_sip::time::{Duration, ms, secs};
