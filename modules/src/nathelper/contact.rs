//! Contacts that say where a message came from.
//!
//! For: the contacts of a message with the source's address, an alias, or `received`.
//! Invariants: URIs that are no SIP URIs stay.

use super::alias::{alias_of, host_of};
use std::net::SocketAddr;
use strowger_sip::message::{ChangedContact, ChangedField, Message, Uri, UriBuilder};
use strowger_sip::transport::{Flow, Transport};

/// When a contact gets an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasWhen {
    /// When it names another address, port or transport than the source (`add_contact_alias`).
    Different,
    /// Always (`set_contact_alias`).
    Always,
}

/// Where `received` is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedParam {
    /// Behind the URI: a parameter of the header (flag 0).
    Header,
    /// In the URI (flag 1).
    Uri,
}

/// Every contact with the address and the port of the source.
pub(super) fn fixed(message: Message<'_>, source: SocketAddr) -> Vec<ChangedField> {
    changed(message, |uri| {
        let here = UriBuilder::from(uri).host(&host_of(source.ip())).port(source.port());
        // `maddr` would lead past the new host (§19.1.1).
        Some((here.no_param("maddr"), String::new()))
    })
}

/// Every contact with an alias.
pub(super) fn aliased(message: Message<'_>, source: Flow, when: AliasWhen) -> Vec<ChangedField> {
    let alias = alias_of(source);
    changed(message, |uri| {
        let wanted = match when {
            AliasWhen::Always => true,
            AliasWhen::Different => !names(uri, source),
        };
        wanted.then(|| (UriBuilder::from(uri).param("alias", Some(&alias)), String::new()))
    })
}

/// Every contact with `received`.
pub(super) fn received(
    message: Message<'_>,
    source: Flow,
    place: ReceivedParam,
) -> Vec<ChangedField> {
    let from = source_uri(source);
    changed(message, |uri| {
        let uri = UriBuilder::from(uri);
        Some(match place {
            ReceivedParam::Header => (uri, format!(";received=\"{from}\"")),
            ReceivedParam::Uri => (uri.param("received", Some(&from)), String::new()),
        })
    })
}

/// A URI of the source.
pub(crate) fn source_uri(source: Flow) -> String {
    let (host, port) = (host_of(source.remote.ip()), source.remote.port());
    match source.transport {
        Transport::Udp => format!("sip:{host}:{port}"),
        other @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
            format!("sip:{host}:{port};transport={other}")
        }
    }
}

/// Whether a URI names this very source.
fn names(uri: &Uri<'_>, source: Flow) -> bool {
    let transport = match uri.transport() {
        Some(name) => Transport::from_name(name.as_bytes()),
        None if uri.scheme.as_bytes() == b"sips" => Some(Transport::Tls),
        None => Some(Transport::Udp),
    };
    let ip = uri.host.ip().map(|ip| ip.to_canonical());
    ip == Some(source.remote.ip().to_canonical())
        && uri.port.unwrap_or(source.transport.default_port()) == source.remote.port()
        && transport == Some(source.transport)
}

fn changed(
    message: Message<'_>,
    mut change: impl FnMut(&Uri<'_>) -> Option<(UriBuilder, String)>,
) -> Vec<ChangedField> {
    message.changed_contacts(|_, uri| {
        let (uri, more) = if uri.scheme.is_sip() { change(uri) } else { None }?;
        Some(ChangedContact { uri: uri.to_string(), more })
    })
}
