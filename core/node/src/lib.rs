//! The edge of Strowger: what an engine that only decides needs to meet the world.
//!
//! For: pinned shards, sockets, the mesh between shards, the clock, configuration files, signals.
//! Not here: SIP. Everything that decides is in `core/sip`, behind [`engine::ShardEngine`].
//! Invariants: `unsafe` stays within `udp/`; nothing remote is awaited on a shard.
#![deny(unsafe_code)]

mod bell;
mod clock;
mod command;
pub mod config;
pub mod control;
mod cores;
pub mod counters;
mod doorbell;
pub mod engine;
pub mod http;
pub mod interfaces;
pub mod kernel;
pub mod lists;
pub mod log;
mod mesh;
pub mod node;
pub mod notify;
pub mod reload;
mod resolve;
mod rest;
pub mod secret;
pub mod settings;
mod shard;
pub mod storage;
mod stream;
mod tap;
mod trace;
#[allow(unsafe_code)] // the one place for it: `udp/mod.rs` says why
mod udp;

pub use mesh::MeshSettings;
pub use resolve::settings::DnsSettings;
pub use stream::{StreamCounters, StreamSettings};
pub use udp::UdpSettings;
pub use udp::socket::BindError;
