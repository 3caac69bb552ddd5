//! What users of Strowger depend on: a routing, [`main`], and a proxy runs.
//!
//! For: the prelude, starting from a command line and a configuration file, the stock routing.
//! Not here: what a message means (`strowger_sip`), sockets and cores (`strowger_node`).
//!
//! ```no_run
//! use strowger::prelude::*;
//!
//! struct ToTrunk { trunk: String }
//!
//! impl Routing for ToTrunk {
//!     type Modules = ();
//!
//!     async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
//!         if let Some(within) = request.loose_route()? {
//!             return Ok(within.relay().into());
//!         }
//!         request.record_route();
//!         Ok(request.relay_by(&self.trunk).into())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     strowger::main(|section| ToTrunk { trunk: section.string_or("trunk", "sip:192.0.2.20") })
//! }
//! ```

mod arguments;
mod db;
mod manual;
mod nat;
mod new;
pub mod prelude;
mod remote;
mod start;
pub mod stock;
pub mod testing;
mod tm;
mod tune;

pub use arguments::{Action, Arguments};
pub use db::DbTask;
pub use new::NewCrate;
pub use start::{EXIT_CONFIGURATION, EXIT_SYSTEM, main, start};
/// The modules, for what the prelude leaves out.
pub use strowger_modules as modules;
/// Messages, engine and settings, for what the prelude leaves out.
pub use strowger_sip as sip;
