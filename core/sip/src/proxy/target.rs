//! From a URI to a flow: transport, address and the listener to send from.
//!
//! For: RFC 3261 §16.6 step 7 for URIs that name an address. A host name needs the resolver.
//! Not here: choosing the URI (`forward.rs`).

use super::identity::Identity;
use super::rules::ErrorMap;
use crate::message::{Host, Scheme, StatusCode, Uri};
use crate::transport::{Flow, Transport};
use std::net::{IpAddr, SocketAddr};

/// Why a URI cannot be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// It cannot be read, or is no SIP URI.
    Unusable,
    /// Its host is a name that has no address.
    Unresolved,
    /// Its host is a name, and no name server told its addresses.
    Unanswered,
    /// No listener has this transport and address family.
    NoListener,
}

impl Unreachable {
    /// The status that stands for the branch.
    pub(crate) fn status(self, map: ErrorMap) -> StatusCode {
        match self {
            Unreachable::Unusable => map.pick(StatusCode::BAD_REQUEST, 479),
            Unreachable::Unresolved => map.pick(StatusCode::NOT_FOUND, 478),
            // It may well exist: the caller should try again, not give up (RFC 3261 §21.5.4).
            Unreachable::Unanswered => map.pick(StatusCode::SERVICE_UNAVAILABLE, 478),
            Unreachable::NoListener => map.pick(StatusCode::SERVICE_UNAVAILABLE, 480),
        }
    }
}

/// The flow that leads to a URI; `received` is where the request came in.
pub(crate) fn flow_to(
    uri: &[u8],
    identity: &Identity,
    received: Flow,
) -> Result<Flow, Unreachable> {
    let uri = Uri::parse(uri).map_err(|_| Unreachable::Unusable)?;
    let transport = match uri.scheme {
        Scheme::Sip => match uri.transport() {
            None => Transport::Udp,
            Some(name) => Transport::from_name(name.as_bytes()).ok_or(Unreachable::NoListener)?,
        },
        Scheme::Sips => Transport::Tls,
        Scheme::Tel | Scheme::Tels | Scheme::Urn | Scheme::Other(_) => {
            return Err(Unreachable::Unusable);
        }
    };
    // `maddr` overrides the host (§19.1.1).
    let host = uri.maddr().unwrap_or(uri.host);
    let address = match host {
        Host::V4(address) => IpAddr::V4(address),
        Host::V6(address) => IpAddr::V6(address),
        Host::Name(_) => return Err(Unreachable::Unresolved),
    };
    let port = uri.port.filter(|&port| port != 0).unwrap_or(transport.default_port());
    let remote = SocketAddr::new(address, port);
    let listener = identity
        .listener_for(transport, remote, received.listener)
        .ok_or(Unreachable::NoListener)?;
    Ok(Flow { transport, listener, remote, connection: None })
}
