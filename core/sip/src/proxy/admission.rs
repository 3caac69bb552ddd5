//! Admission: may this request be proxied at all? RFC 3261 §16.3.
//!
//! For: refusing, with the right status, before any routing sees the request.
//! Not here: grammar (`message/`); policy such as rate limits (a module's request hook).
//! Invariants: an `Admitted` exists only for a request that passed every check.

use super::branch::{Branch, Digest};
use super::identity::Identity;
use crate::engine::key::TopVia;
use crate::message::{
    CSeq, HeaderName, Message, Method, NameAddr, ParseCause, ParseError, Scheme, StatusCode, Uri,
    Via,
};
use std::fmt;

/// Where Max-Forwards starts when the header is missing (§16.6 step 3).
const MAX_FORWARDS_DEFAULT: u32 = 70;

/// A request that may be proxied, with what the checks found out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    /// What goes out: the received value less one, 70 where there was none. `None`: the last hop
    /// was this one, so only an answer from here is left (OPTIONS, §16.3 step 3).
    pub(crate) max_forwards: Option<u32>,
    /// Recognises this request should it come back unchanged (RFC 5393 §4.2).
    pub(crate) loop_digest: u64,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// A mandatory header is missing or unreadable.
    Malformed(ParseError),
    /// CSeq names another method than the request line (§8.1.1.5).
    MethodMismatch,
    /// The same, and the method of the request line is not known here (RFC 4475 §3.1.2.18).
    UnknownMethod,
    /// The Request-URI's scheme is not SIP's (§16.3 step 2).
    Scheme,
    /// Max-Forwards is used up (§16.3 step 3).
    TooManyHops,
    /// It was here before, unchanged (§16.3 step 4).
    Loop,
    /// Proxy-Require names an extension that is not known here (§16.3 step 5).
    Extension,
}

impl Rejection {
    /// The status that says so.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Rejection::Malformed(error) => error.status(),
            Rejection::MethodMismatch => StatusCode::BAD_REQUEST,
            Rejection::UnknownMethod => StatusCode::NOT_IMPLEMENTED,
            Rejection::Scheme => StatusCode::UNSUPPORTED_URI_SCHEME,
            Rejection::TooManyHops => StatusCode::TOO_MANY_HOPS,
            Rejection::Loop => StatusCode::LOOP_DETECTED,
            Rejection::Extension => StatusCode::BAD_EXTENSION,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Malformed(error) => write!(f, "{error}"),
            Rejection::MethodMismatch => write!(f, "CSeq names another method"),
            Rejection::UnknownMethod => write!(f, "CSeq names another method than an unknown one"),
            Rejection::Scheme => write!(f, "unsupported URI scheme"),
            Rejection::TooManyHops => write!(f, "Max-Forwards is 0"),
            Rejection::Loop => write!(f, "loop detected"),
            Rejection::Extension => write!(f, "unsupported extension in Proxy-Require"),
        }
    }
}

/// Checks a request; `digest` is keyed alike on every shard of the node.
pub(crate) fn admit(
    message: &Message<'_>,
    top_via: TopVia<'_>,
    identity: &Identity,
    digest: Digest,
) -> Result<Admitted, Rejection> {
    let found = check_mandatory(message)?;
    let method = found.cseq.method;
    let uri = Uri::parse(message.request_uri().unwrap_or(&[])).map_err(Rejection::Malformed)?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => {}
        Scheme::Tels | Scheme::Urn | Scheme::Other(_) => return Err(Rejection::Scheme),
    }
    // §19.1.1 allows no headers here, and none may be translated into any (RFC 4475 §3.1.2.11).
    if uri.headers.is_some() {
        let cause = ParseCause::UnexpectedByte(b'?');
        let error = ParseError { header: HeaderName::StartLine, offset: 0, cause };
        return Err(Rejection::Malformed(error));
    }
    message.number(HeaderName::MaxBreadth, u32::MAX).map_err(Rejection::Malformed)?;
    let max_forwards = match message.max_forwards().map_err(Rejection::Malformed)? {
        None => Some(MAX_FORWARDS_DEFAULT),
        Some(0) if method == Method::Options && identity.is_ours(&uri) => None,
        Some(0) => return Err(Rejection::TooManyHops),
        // §16.6 step 3 asks for one less; a larger value than the usual start buys nothing but
        // loops.
        Some(hops) => Some((hops - 1).min(MAX_FORWARDS_DEFAULT)),
    };
    let loop_digest = loop_digest(message, &found, digest);
    if has_been_here(message, top_via, identity, loop_digest)? {
        return Err(Rejection::Loop);
    }
    if message.proxy_require().next().is_some() {
        return Err(Rejection::Extension);
    }
    Ok(Admitted { max_forwards, loop_digest })
}

/// Parts that every request has, read.
struct Mandatory<'a> {
    from_tag: &'a [u8],
    to_tag: &'a [u8],
    call_id: &'a [u8],
    cseq: CSeq<'a>,
}

/// The top Via is one of them; it was read before, to find the transaction.
fn check_mandatory<'a>(message: &Message<'a>) -> Result<Mandatory<'a>, Rejection> {
    if let Some(header) = message.duplicate() {
        let cause = ParseCause::Duplicate;
        return Err(Rejection::Malformed(ParseError { header, offset: 0, cause }));
    }
    let tag = |party: NameAddr<'a>| party.uri().map(|_| party.tag().unwrap_or(&[]));
    let from_tag = message.from().and_then(tag).map_err(Rejection::Malformed)?;
    let to_tag = message.to().and_then(tag).map_err(Rejection::Malformed)?;
    let call_id = message.call_id().map_err(Rejection::Malformed)?;
    let cseq = message.cseq().map_err(Rejection::Malformed)?;
    match message.method() {
        Some(method) if method == cseq.method => Ok(Mandatory { from_tag, to_tag, call_id, cseq }),
        Some(Method::Other(_)) => Err(Rejection::UnknownMethod),
        Some(_) | None => Err(Rejection::MethodMismatch),
    }
}

/// A hash over all that this node's decisions may depend on (RFC 5393 §4.2.1): a spiral, which
/// comes back changed, has another one.
fn loop_digest(message: &Message<'_>, found: &Mandatory<'_>, mut digest: Digest) -> u64 {
    digest.add(message.request_uri().unwrap_or(&[]));
    digest.add(found.call_id);
    digest.add(found.from_tag);
    digest.add(found.to_tag);
    digest.add(&found.cseq.number.to_be_bytes());
    digest.add(found.cseq.method.as_bytes());
    for route in message.values(HeaderName::Route) {
        digest.add(route.bytes);
    }
    digest.finish()
}

fn has_been_here(
    message: &Message<'_>,
    (top_via, known): TopVia<'_>,
    identity: &Identity,
    loop_digest: u64,
) -> Result<bool, Rejection> {
    let is_ours = |via: &Via<'_>, branch: Option<&[u8]>| {
        let digest = branch.and_then(Branch::read).map(|branch| branch.loop_digest());
        digest == Some(loop_digest) && identity.is_our_sent_by(&via.host, via.port)
    };
    if is_ours(top_via, known.branch()) {
        return Ok(true);
    }
    for via in message.vias_below_top() {
        let via = via.map_err(Rejection::Malformed)?;
        if is_ours(&via, via.branch()) {
            return Ok(true);
        }
    }
    Ok(false)
}
