//! Whether an agent sits behind an address translator: what Kamailio's `nat_uac_test(19)` asks.
//!
//! For: the stock routing's `nat` key.
//! Not here: what follows from it (`registrar`, `usrloc`).

use std::net::{IpAddr, SocketAddr};
use strowger_modules::nathelper;
use strowger_sip::message::{Contacts, Host, Message, TransportName};

/// The port that a Via without one means, over UDP and TCP.
const DEFAULT_PORT: u16 = 5060;

/// Whether a request came from elsewhere than its sender wrote into Via, or names a Contact that
/// nobody out here can reach. A request that came through other proxies says nothing of its sender.
pub(crate) fn is_behind_nat(message: Message<'_>, source: SocketAddr) -> bool {
    if message.vias().nth(1).is_some() {
        return false;
    }
    let written = message.top_via().ok().map(|via| {
        let port = via.port.unwrap_or(DEFAULT_PORT);
        // Over a stream the source port is one of the connection's own.
        let is_datagram = via.transport == TransportName::Udp;
        via.host.ip() != Some(source.ip()) || (is_datagram && port != source.port())
    });
    written.unwrap_or(false) || (names_private_contact(message) && !is_private(source.ip()))
}

fn names_private_contact(message: Message<'_>) -> bool {
    let Ok(Contacts::List(list)) = message.contacts() else { return false };
    let mut uris = list.filter_map(Result::ok);
    uris.any(|contact| {
        let host = contact.uri().ok().map(|uri| uri.host);
        host.as_ref().and_then(Host::ip).is_some_and(is_private)
    })
}

/// What `nathelper` calls so (RFC 1918 and RFC 6598), and RFC 4193: nobody translates these, but
/// nobody out here reaches them either.
fn is_private(address: IpAddr) -> bool {
    nathelper::is_private(address)
        || matches!(address, IpAddr::V6(address) if address.is_unique_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::limits::Limits;
    use strowger_sip::message::Head;

    fn is_behind(via: &str, contact: &str, source: &str) -> bool {
        let text = format!(
            "REGISTER sip:h SIP/2.0\r\nVia: {via};branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:a@h>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <{contact}>\r\n\r\n"
        );
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a message");
        let message = head.message(text.as_bytes());
        is_behind_nat(message, source.parse().expect("an address"))
    }

    #[test]
    fn what_is_written_is_compared_with_where_it_came_from() {
        let udp = "SIP/2.0/UDP 203.0.113.7";
        let contact = "sip:a@203.0.113.7";
        assert!(!is_behind(udp, contact, "203.0.113.7:5060"));
        assert!(is_behind(udp, contact, "203.0.113.7:40000"));
        assert!(is_behind("SIP/2.0/UDP 10.0.0.5", contact, "203.0.113.7:5060"));
        assert!(is_behind(udp, "sip:a@100.64.0.1", "203.0.113.7:5060"));
        assert!(!is_behind("SIP/2.0/UDP 10.0.0.5", "sip:a@10.0.0.5", "10.0.0.5:5060"));
        assert!(!is_behind("SIP/2.0/TCP 203.0.113.7", contact, "203.0.113.7:40000"));
        let edge = "SIP/2.0/UDP 192.0.2.9, SIP/2.0/UDP 10.0.0.5";
        assert!(!is_behind(edge, "sip:a@10.0.0.5", "192.0.2.9:5060"));
    }
}
