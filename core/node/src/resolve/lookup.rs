//! What the procedure asks of name servers, and what they may answer.
//!
//! For: keeping RFC 3263 (`procedure.rs`) apart from the library that speaks DNS (`servers.rs`).
//! Invariants: "there is none" and "nobody answered" are different answers.

use std::net::IpAddr;
use std::time::Duration;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A NAPTR record, as far as RFC 3263 §4.1 uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naptr {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) flags: Vec<u8>,
    pub(super) services: Vec<u8>,
    pub(super) replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// The name of a host; `None` for ".", which says that the service is not offered.
    pub(super) target: Option<String>,
}

/// How one look-up ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// These, one at least, for so long.
    Found(Vec<T>, Duration),
    /// The name, or the kind of record, does not exist.
    Nothing,
    /// No answer, or none that can be used.
    Failed,
}

/// Whoever can look names up. Aliases (CNAME) have been followed in what it answers.
pub(super) trait Lookup {
    async fn naptr(&self, name: &str) -> Answer<Naptr>;
    async fn srv(&self, name: &str) -> Answer<Srv>;
    async fn addresses(&self, name: &str, family: Family) -> Answer<IpAddr>;
}
