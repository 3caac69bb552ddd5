//! Challenges: WWW-Authenticate and Proxy-Authenticate (RFC 7616 §3.3, RFC 8760 §2).
//!
//! For: one header an algorithm, the strongest first.
//! Not here: which nonce (`nonce.rs`), when (`check.rs`).

use super::algorithm::Algorithm;
use strowger_sip::message::HeaderName;
use strowger_sip::routing::Reply;

/// Who challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenger {
    /// A registrar or another user agent server: 401.
    Www,
    /// A proxy: 407.
    Proxy,
}

impl Challenger {
    /// The header that answers its challenges.
    pub const fn credentials_header(self) -> HeaderName {
        match self {
            Challenger::Www => HeaderName::Authorization,
            Challenger::Proxy => HeaderName::ProxyAuthorization,
        }
    }

    const fn status(self) -> u16 {
        match self {
            Challenger::Www => 401,
            Challenger::Proxy => 407,
        }
    }
}

/// What the agent is told of the nonce that it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// Nothing: the proof was wrong, or there was none.
    NotStale,
    /// It was too old or used up: the same password with a new nonce will do.
    Stale,
}

/// What a challenge says.
pub(crate) struct Offer<'o> {
    /// The name of the header.
    pub(crate) header: &'o str,
    pub(crate) realm: &'o str,
    pub(crate) nonce: &'o str,
    pub(crate) qop: &'o [&'static str],
    pub(crate) algorithms: &'o [Algorithm],
    pub(crate) staleness: Staleness,
}

/// The response that challenges.
pub(crate) fn write(challenger: Challenger, offer: &Offer<'_>) -> Reply {
    let mut reply = Reply::new(challenger.status());
    for algorithm in offer.algorithms {
        reply = reply.header(offer.header, &value(*algorithm, offer));
    }
    reply
}

fn value(algorithm: Algorithm, offer: &Offer<'_>) -> String {
    let realm: String =
        offer.realm.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
    let mut value = format!("Digest realm=\"{realm}\", nonce=\"{}\"", offer.nonce);
    if !offer.qop.is_empty() {
        value.push_str(&format!(", qop=\"{}\"", offer.qop.join(",")));
    }
    value.push_str(&format!(", algorithm={algorithm}"));
    match offer.staleness {
        Staleness::Stale => value.push_str(", stale=true"),
        Staleness::NotStale => {}
    }
    value
}
