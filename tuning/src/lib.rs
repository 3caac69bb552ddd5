//! `strowger tune`: reads what the host is like, says what it should be like, and makes it so.
//!
//! For: each knob with value found, value wanted, why and what it is worth; applying and undoing.
//! Not here: what the proxy itself sets (`core/node`); settings that last over a boot
//! (`sysctl.d`, `nic.sh`, `cpus.sh` beside this folder, whose values are read from there).
//! Invariants: `check` writes nothing; `apply` writes what was found into the undo file first.

mod change;
mod command;
mod cpus;
mod finding;
mod host;
mod knobs;

pub use command::{Task, run};
pub use host::Host;
pub use knobs::Plan;
