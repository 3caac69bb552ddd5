//! What a simulated party keeps of a dialog: RFC 3261 §12.
//!
//! For: building requests within it, recognising those that arrive.
//! Not here: transactions (`agent.rs`).

use crate::mail::Reading;
use std::net::{IpAddr, SocketAddr};

/// One side's view of a dialog.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// From of our requests.
    pub(crate) local: String,
    /// To of our requests.
    pub(crate) remote: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
    /// Request-URI of our requests.
    pub(crate) target: String,
    pub(crate) routes: Vec<String>,
    pub(crate) cseq: u32,
    /// BYE was sent or received.
    pub(crate) is_over: bool,
}

impl Dialog {
    /// The dialog that a 2xx made, for the caller (§12.1.2).
    pub(crate) fn of_caller(answer: &Reading) -> Dialog {
        Dialog {
            call_id: answer.call_id.clone(),
            local: answer.from.clone(),
            remote: answer.to.clone(),
            local_tag: answer.from_tag.clone(),
            remote_tag: answer.to_tag.clone(),
            target: uri_of(&answer.contact),
            routes: answer.record_routes.iter().rev().cloned().collect(),
            cseq: answer.cseq,
            is_over: false,
        }
    }

    /// The dialog that our 2xx with this tag made, for the callee (§12.1.1).
    pub(crate) fn of_callee(invite: &Reading, tag: &str) -> Dialog {
        Dialog {
            call_id: invite.call_id.clone(),
            local: format!("{};tag={tag}", invite.to),
            remote: invite.from.clone(),
            local_tag: tag.to_owned(),
            remote_tag: invite.from_tag.clone(),
            target: uri_of(&invite.contact),
            routes: invite.record_routes.clone(),
            cseq: 0,
            is_over: false,
        }
    }

    /// Where our requests go: to the first route, else to the other side. `None` when that is no
    /// address.
    pub(crate) fn next_hop(&self) -> Option<SocketAddr> {
        address_of(self.routes.first().unwrap_or(&self.target))
    }
}

/// The URI without brackets and header parameters.
fn uri_of(value: &str) -> String {
    let inner = value.split_once('<').map_or(value, |(_, rest)| rest);
    inner.split_once('>').map_or(inner, |(uri, _)| uri).to_owned()
}

/// The address that a URI names, bracketed or not.
pub(crate) fn address_of(value: &str) -> Option<SocketAddr> {
    let uri = uri_of(value);
    let rest = uri.strip_prefix("sip:")?;
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    let host = host.split([';', '?']).next()?;
    let port_left_out = || host.parse::<IpAddr>().map(|address| SocketAddr::new(address, 5060));
    host.parse().or_else(|_| port_left_out()).ok()
}
