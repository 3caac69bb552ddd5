//! Strowger's load generator: open loop, thread per core, honest about itself.
//!
//! For: proving what a SIP proxy can carry, and that it was the proxy that was measured.
//! Not here: the proxy (`core/`), comparing proxies (`benches/`).
//! Invariants: calls begin at times fixed before the run, and latency is counted from them, so that
//! a slow system cannot slow its own test down; a run in which the generator was late, lost
//! messages or had no time left is marked invalid, in words.
//!
//! ```sh
//! strowger-load call --target 127.0.0.1:5060 --answer 127.0.0.1:5080 \
//!     --rate 2000 --duration 60s --hold 5s --html run.html
//! ```
//!
//! makes 2000 calls a second through a proxy at port 5060 that relays them to port 5080, where the
//! same process takes them. `register`, `options` and `publish` ask; `scenario FILE` follows a
//! scenario in SIPp's XML; `search` finds the highest rate without a failure; `compare` sets two
//! runs side by side. Everything that parties say is a scenario, the built-in ones too:
//! `--print-scenario` shows them.
//!
//! ```text
//!  control thread          workers, one a core, nothing shared
//!  run, measure     <---   schedule: when calls begin
//!  sample, report          net: sockets, batches     desk: calls, timers, scenarios
//! ```
#![forbid(unsafe_code)]

mod command;
mod desk;
mod measure;
mod net;
mod report;
mod run;
mod sample;
mod scenario;
mod schedule;
mod search;
mod worker;

pub use command::main;
