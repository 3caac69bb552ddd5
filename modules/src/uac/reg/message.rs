//! REGISTER requests and what their 200 says: RFC 3261 §10.2.
//!
//! For: writing one, and finding our own contact among those that a registrar returns.
//! Not here: when it is sent (`attempt.rs`).

use super::machine::{Ids, Machine};
use std::sync::Arc;
use strowger_sip::message::{Contacts, HeaderName, Message, Uri};
use strowger_sip::time::{Duration, secs};

/// Writes a REGISTER but for its Via.
pub(super) fn write(
    machine: &Machine,
    ids: &Ids,
    contact: &str,
    proof: Option<&(&'static str, Vec<u8>)>,
) -> Vec<u8> {
    let (config, expires) = (&machine.config, machine.requested());
    let (domain, account) = (&config.r_domain, config.remote_uri());
    let Ids { call_id, tag, cseq } = ids;
    let text = format!(
        "REGISTER sip:{domain} SIP/2.0\r\n\
         To: <{account}>\r\n\
         From: <{account}>;tag={tag}\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\n\
         Max-Forwards: 70\r\n\
         Contact: <{contact}>\r\n\
         Expires: {expires}\r\n"
    );
    let mut bytes = text.into_bytes();
    if let Some((name, value)) = proof {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    bytes
}

/// What a registrar has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// Our contact, for so long.
    For(Duration),
    /// Our contact is not bound.
    Nothing,
}

/// Reads a 2xx: our contact by its URI, or else by its user or its parameter `line`.
pub(super) fn granted(machine: &Machine, contact: &str, message: Message<'_>) -> Granted {
    let Ok(Contacts::List(list)) = message.contacts() else { return Granted::Nothing };
    let uuid = machine.config.l_uuid.as_bytes();
    let own = Uri::parse(contact.as_bytes()).ok();
    let mut found = None;
    for one in list.flatten() {
        let Ok(uri) = one.uri() else { continue };
        let same = own.as_ref().is_some_and(|own| own.is_equivalent(&uri));
        let by_line = uri.params.value(b"line") == Some(uuid);
        let by_user = machine.config.contact_user.is_empty() && uri.user == Some(uuid);
        if same || ((by_line || by_user) && found.is_none()) {
            found = Some(one.expires());
        }
        if same {
            break;
        }
    }
    let Some(expires) = found else { return Granted::Nothing };
    let seconds =
        expires.or_else(|| message.expires().ok().flatten()).unwrap_or_else(|| machine.requested());
    if seconds == 0 { Granted::Nothing } else { Granted::For(secs(u64::from(seconds))) }
}

/// Retry-After in seconds; a comment or parameters may follow (§20.33).
pub(super) fn retry_after(message: Message<'_>) -> Option<Duration> {
    let value = message.header(HeaderName::RetryAfter)?.value;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let seconds: u64 = str::from_utf8(value.get(..digits)?).ok()?.parse().ok()?;
    Some(secs(seconds))
}

/// Longest Service-Route that is kept. A guess.
const SERVICE_ROUTE_BYTES_MAX: usize = 1024;

/// The way of later requests (RFC 3608), as one line.
pub(super) fn service_route(message: Message<'_>) -> Option<Arc<str>> {
    let mut line = String::new();
    for route in message.name_addrs(HeaderName::ServiceRoute).flatten() {
        if !line.is_empty() {
            line.push_str(", ");
        }
        line.push_str(std::str::from_utf8(route.raw).ok()?);
    }
    let usable = !line.is_empty() && line.len() <= SERVICE_ROUTE_BYTES_MAX;
    usable.then(|| line.into())
}

/// `nextnonce` of Authentication-Info (RFC 7616 §3.5).
pub(super) fn next_nonce(message: Message<'_>) -> Option<&[u8]> {
    let names = [HeaderName::AuthenticationInfo, HeaderName::ProxyAuthenticationInfo];
    let fields = names.into_iter().filter_map(|name| message.header(name));
    for field in fields {
        for part in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let Some((name, value)) = part.split_at_checked(10) else { continue };
            let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            if name.eq_ignore_ascii_case(b"nextnonce=")
                && let Some(value) = value.filter(|value| !value.is_empty() && value.len() <= 512)
            {
                return Some(value);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::registration::{Fields, tests::fields};
    use super::*;
    use std::rc::Rc;
    use strowger_sip::date::UnixTime;
    use strowger_sip::limits::Limits;
    use strowger_sip::message::Head;

    fn read<T>(lines: &str, read: impl FnOnce(Message<'_>) -> T) -> T {
        let text = format!("SIP/2.0 200 OK\r\n{lines}\r\n");
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a message");
        read(head.message(text.as_bytes()))
    }

    fn of(fields: Fields, lines: &str) -> Granted {
        let config = Rc::new(fields.check().expect("a record"));
        let contact = config.contact("192.0.2.1:5060");
        let machine = Machine::new(config, UnixTime::from_secs(0));
        read(lines, |message| granted(&machine, &contact, message))
    }

    #[test]
    fn our_contact_is_found_among_others() {
        let lines = "Contact: <sip:x@192.0.2.9>;expires=9, <sip:u1@192.0.2.8>;expires=7\r\n\
                     Contact: <sip:u1@192.0.2.1:5060>;expires=60\r\n";
        assert_eq!(of(fields(), lines), Granted::For(secs(60)));
        let lines = "Contact: <sip:u1@10.0.0.1:9>\r\nExpires: 50\r\n";
        assert_eq!(of(fields(), lines), Granted::For(secs(50)));
        assert_eq!(of(fields(), "Contact: <sip:u1@10.0.0.1:9>\r\n"), Granted::For(secs(360)));
        assert_eq!(of(fields(), "Contact: <sip:u2@10.0.0.1:9>\r\n"), Granted::Nothing);
        assert_eq!(of(fields(), "Contact: *\r\n"), Granted::Nothing);
        assert_eq!(of(fields(), ""), Granted::Nothing);
        // uac.md (h) A19.
        let line = "Contact: <sip:trunkA@127.0.0.1:5060;line=u1>;expires=60\r\n";
        let with = Fields { contact_user: "trunkA".into(), ..fields() };
        assert_eq!(of(with, line), Granted::For(secs(60)));
    }

    #[test]
    fn waits_nonces_and_routes_are_read() {
        assert_eq!(read("Retry-After: 20;duration=3\r\n", retry_after), Some(secs(20)));
        assert_eq!(read("Retry-After: soon\r\n", retry_after), None);
        let line = "Authentication-Info: qop=auth, nextnonce=\"abc\"\r\n";
        assert_eq!(read(line, |m| next_nonce(m).map(<[u8]>::to_vec)).as_deref(), Some(&b"abc"[..]));
        let lines = "Service-Route: <sip:p1;lr>, <sip:p2;lr>\r\nService-Route: <sip:p3;lr>\r\n";
        let route = read(lines, service_route);
        assert_eq!(route.as_deref(), Some("<sip:p1;lr>, <sip:p2;lr>, <sip:p3;lr>"));
    }
}
