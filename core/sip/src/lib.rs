//! The pure half of Strowger: bytes become meaning, meaning becomes actions.
//!
//! For: messages, transactions, proxy rules, the engine of one shard, and the traits by which
//! routing and modules are compiled in. Everything is a function of (state, input, now, entropy).
//! Not here: clocks, sockets, files, threads, logs: those are the edge's (`core/node`).
#![forbid(unsafe_code)]

pub mod actions;
pub mod buffer;
pub mod date;
pub mod engine;
pub mod entropy;
pub mod histogram;
pub mod json;
pub mod limits;
pub mod lists;
pub mod message;
pub mod metrics;
pub mod module;
mod proxy;
pub use proxy::{blocklist, held, resolver, rules};
#[cfg(any(test, feature = "rig"))]
pub mod rig;
pub mod routing;
pub mod settings;
pub mod shard;
pub mod storage;
pub mod table;
pub mod time;
pub mod transaction;
pub mod transport;
pub mod wheel;
