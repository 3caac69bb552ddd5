//! Strowger's modules: one folder each, compiled into a routing as a tuple of types.
//!
//! For: registrar, location, digest and their kin; pure like the engine that calls them.
//! Not here: clocks, sockets, files, threads, logs (`core/node`); rules of the proxy (`core/sip`).
#![forbid(unsafe_code)]

pub mod ask;
pub mod auth;
#[cfg(test)]
pub(crate) mod bench;
pub mod dialog;
pub mod dispatcher;
mod elsewhere;
mod keyed;
pub mod location;
pub mod nathelper;
pub mod path;
pub mod permissions;
pub mod pike;
pub mod prelude;
pub mod pua;
pub mod pua_dialoginfo;
pub mod pua_reginfo;
pub mod pua_usrloc;
pub mod registrar;
pub mod uac;

pub use strowger_sip::json;
