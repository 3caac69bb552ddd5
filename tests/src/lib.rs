//! The harness of the end-to-end tests: the real binary, real sockets on loopback, real SIPp.
//!
//! For: building and starting `strowger`, driving SIPp, sending raw datagrams, reading summaries.
//! Not here: what is expected of the proxy; that is in the test files beside `src/`.
//! Invariants: every process is stopped by its own pid, every port is found free, every folder
//! that a test made is removed when the test ends.

pub mod binary;
pub mod crowd;
pub mod database;
pub mod datagram;
pub mod folder;
pub mod kamailio;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod sipp;
pub mod stream;
