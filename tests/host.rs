//! What surrounds the program on a host: `strowger tune`, the configuration of the package, the
//! guide for those who come from Kamailio.
//!
//! For: holding files that people read against what the program does.
//! Not here: the package itself, installed in a root of its own (`tuning/package/test.sh`).

#[path = "host/configuration.rs"]
mod configuration;
#[path = "host/guide.rs"]
mod guide;
#[path = "host/namespace.rs"]
mod namespace;
