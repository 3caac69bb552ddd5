//! The test rig: one shard with a virtual clock and no sockets.
//!
//! For: unit tests of routings, flow scripts (`flow/`), the simulation and the fuzzers: bytes go in
//! at an address, what the shard sends is read back, hours pass in no time.
//! Not here: several shards and a network between them (`tests/sim`), what a call should look like.
//! Invariants: timers fire in order, each at its own deadline; the same setup and the same steps
//! give the same messages, byte for byte.

mod bench;
pub mod flow;
mod load;

pub use bench::{Bench, Sent, udp_listener};
pub use load::{Load, MESSAGES_PER_CALL};
