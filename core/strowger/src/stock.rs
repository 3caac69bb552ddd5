//! The stock routing: what the `strowger` binary does, set up by TOML alone.
//!
//! For: a proxy that runs without a line of Rust: everything goes to one next hop, or to where it
//! is addressed; calls stay on this node's path.
//! Not here: reading files and command lines (`start.rs`).

use strowger_sip::message::{Host, MethodKind, Scheme, Uri};
use strowger_sip::routing::{Answer, Relay, Reply, Request, Routing};
use strowger_sip::settings::Section;

/// Methods that this node answers for itself (RFC 3261 §20.5).
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, \
                     NOTIFY, MESSAGE, PUBLISH, REGISTER";

/// The stock routing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    next_hop: Option<String>,
}

impl Stock {
    /// Reads `[routing]`: `next_hop`, a SIP URI that names an address; without it requests go to
    /// their Request-URI.
    pub fn from_config(section: &mut Section<'_>) -> Stock {
        Stock { next_hop: section.parsed("next_hop", next_hop) }
    }

    fn onward<'r, 'a>(&self, request: &'r mut Request<'a, Stock>) -> Relay<'r, 'a, Stock> {
        match &self.next_hop {
            Some(next_hop) => request.relay_by(next_hop),
            None => request.relay_to_target(),
        }
    }
}

/// Checks a next hop; the error says what is allowed.
pub fn next_hop(text: &str) -> Result<String, String> {
    let allowed = || "a SIP URI with an address, such as \"sip:192.0.2.20:5060\"".to_owned();
    let uri = Uri::parse(text.as_bytes()).map_err(|_| allowed())?;
    match (uri.scheme, uri.host) {
        (Scheme::Sip, Host::V4(_) | Host::V6(_)) => Ok(text.to_owned()),
        (_, Host::V4(_) | Host::V6(_) | Host::Name(_)) => Err(allowed()),
    }
}

impl Routing for Stock {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let follows_a_route = match request.loose_route()? {
            Some(within) if within.is_in_dialog() => return Ok(within.relay().into()),
            Some(within) => within.has_more(),
            None => false,
        };
        if forms_dialog(request.method()) {
            request.record_route();
        }
        if request.is_for_this_node() && !follows_a_route {
            let user = request.target().is_some_and(|uri| uri.user.is_some());
            if request.method() == MethodKind::Options && !user {
                return Err(Reply::new(200).header("Allow", ALLOW).header("Accept", "*/*"));
            }
            // Sent on to where it is addressed, it would come back here.
            if request.is_within_dialog() || !user || self.next_hop.is_none() {
                return Err(Reply::not_found());
            }
        }
        if request.is_within_dialog() || follows_a_route {
            return Ok(request.relay_to_target().into());
        }
        Ok(self.onward(&mut request).into())
    }
}

/// Whether requests of this method create dialogs, so that this node wants to stay in their path.
fn forms_dialog(method: MethodKind) -> bool {
    matches!(method, MethodKind::Invite | MethodKind::Subscribe | MethodKind::Refer)
}

#[cfg(test)]
mod tests {
    use super::next_hop;

    #[test]
    fn a_next_hop_is_an_address() {
        assert!(next_hop("sip:192.0.2.20").is_ok());
        assert!(next_hop("sip:[2001:db8::1]:5070;transport=udp").is_ok());
        for wrong in ["192.0.2.20", "tel:+123", "sip:example.com", "sips:192.0.2.20", ""] {
            assert!(next_hop(wrong).is_err(), "{wrong}");
        }
    }
}
