//! What the hashing algorithms hash of a request.
//!
//! For: Call-ID, URIs in a form that does not depend on how they are spelled, the user of
//! credentials.
//! Not here: what a hash leads to (`select.rs`).

use super::algorithm::Algorithm;
use super::select::hash;
use smallvec::SmallVec;
use strowger_sip::message::{HeaderName, Message, Uri};

/// What an algorithm hashes of a request; `None` when it has none of it.
pub(super) fn hash_of(
    message: Message<'_>,
    algorithm: Algorithm,
    user_only: bool,
    key: Option<u64>,
) -> Option<u64> {
    match algorithm {
        Algorithm::CallIdHash => message.call_id().ok().map(|call_id| hash(&[call_id])),
        Algorithm::FromHash => uri_hash(message.from().ok()?.uri, user_only),
        Algorithm::ToHash => uri_hash(message.to().ok()?.uri, user_only),
        Algorithm::RequestUriHash => uri_hash(message.request_uri()?, user_only),
        Algorithm::AuthUserHash => auth_user(message).map(|user| hash(&[user])),
        Algorithm::KeyHash => key,
        Algorithm::RoundRobin
        | Algorithm::Random
        | Algorithm::Serial
        | Algorithm::Weight
        | Algorithm::CallLoad
        | Algorithm::RelativeWeight
        | Algorithm::Parallel
        | Algorithm::Latency
        | Algorithm::RoundRobinByPriority
        | Algorithm::PriorityAndWeight
        | Algorithm::OverloadControl => None,
    }
}

/// User, host in lower case, and the port unless it is the default one.
fn uri_hash(uri: &[u8], user_only: bool) -> Option<u64> {
    let uri = Uri::parse(uri).ok()?;
    let user = uri.user.unwrap_or(&[]);
    if user_only && !user.is_empty() {
        return Some(hash(&[user]));
    }
    let host = match uri.port {
        Some(5060 | 5061) => {
            let colon = uri.host_port.iter().rposition(|byte| *byte == b':');
            colon.and_then(|colon| uri.host_port.get(..colon)).unwrap_or(uri.host_port)
        }
        Some(_) | None => uri.host_port,
    };
    let lower: SmallVec<[u8; 128]> = host.iter().map(u8::to_ascii_lowercase).collect();
    Some(hash(&[user, b"@", &lower]))
}

/// The user name of the first credentials (RFC 7616 §3.4).
fn auth_user(message: Message<'_>) -> Option<&[u8]> {
    let names = [HeaderName::ProxyAuthorization, HeaderName::Authorization];
    let value = names.into_iter().find_map(|name| message.header(name))?.value;
    let name = b"username=";
    let at = value.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name))?;
    let rest = value.get(at + name.len()..)?.strip_prefix(b"\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::limits::Limits;
    use strowger_sip::message::Head;

    fn hashed(uri: &str, algorithm: Algorithm, user_only: bool) -> Option<u64> {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <{uri}>;tag=a\r\n\
             To: <{uri}>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Proxy-Authorization: Digest realm=\"r\", username=\"bob\"\r\n\r\n"
        );
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a message");
        hash_of(head.message(text.as_bytes()), algorithm, user_only, None)
    }

    #[test]
    fn spelling_does_not_count() {
        let of = |uri| hashed(uri, Algorithm::RequestUriHash, false);
        assert_eq!(of("sip:bob@Example.COM:5060;lr"), of("sip:bob@example.com"));
        assert_ne!(of("sip:bob@example.com:5070"), of("sip:bob@example.com"));
        assert_ne!(of("sip:Bob@example.com"), of("sip:bob@example.com"));
        assert_eq!(of("sip:bob@[2001:DB8::1]:5060"), of("sip:bob@[2001:db8::1]"));
    }

    #[test]
    fn the_user_alone_counts_on_request() {
        let of = |uri| hashed(uri, Algorithm::FromHash, true);
        assert_eq!(of("sip:bob@a.example"), of("sip:bob@b.example"));
        assert_ne!(of("sip:a.example"), of("sip:b.example"));
        assert_eq!(hashed("sip:a", Algorithm::AuthUserHash, false), Some(hash(&[b"bob"])));
        assert_eq!(hashed("sip:a", Algorithm::KeyHash, false), None);
    }
}
