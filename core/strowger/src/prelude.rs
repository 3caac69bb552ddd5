//! Everything that a routing's author needs: `use strowger::prelude::*;`.

pub use strowger_modules::uac::{Uac, UacRequest};
pub use strowger_sip::message::{MethodKind, StatusCode};
pub use strowger_sip::module::{Host, Module, Modules};
pub use strowger_sip::routing::{Answer, Failed, Outcome, Reply, Request, Routing};
pub use strowger_sip::settings::Section;
pub use strowger_sip::time::{Duration, ms, secs};
