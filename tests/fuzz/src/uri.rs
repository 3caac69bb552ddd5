//! URIs: two of them, around the first blank.
//!
//! Invariants: a URI's parts lie inside it; equivalence is symmetric, and a URI is its own equal.

use std::hint::black_box;
use strowger_sip::limits::URI_BYTES_MAX;
use strowger_sip::message::{Host, NameAddr, Uri};

/// Runs the target.
///
/// # Panics
/// When something does not hold.
pub fn run(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b' ').unwrap_or(data.len() / 2);
    let (left, right) = data.split_at(at);
    let right = right.strip_prefix(b" ").unwrap_or(right);
    let _ = black_box((Host::parse(left).is_ok(), NameAddr::parse(data).map(|one| one.q())));
    let Ok(left) = Uri::parse(left) else { return };
    whole(&left);
    if left.raw.len() <= URI_BYTES_MAX && left.params.into_iter().count() < 16 {
        assert!(left.is_equivalent(&left), "{left:?} is not itself");
    }
    if let Ok(right) = Uri::parse(right) {
        let (there, back) = (left.is_equivalent(&right), right.is_equivalent(&left));
        assert_eq!(there, back, "{left:?} {right:?}");
    }
}

fn whole(uri: &Uri<'_>) {
    let length = uri.raw.len();
    assert!(uri.host_port.len() <= length && uri.params.as_bytes().len() <= length);
    assert!(uri.user.unwrap_or_default().len() <= length);
    for param in uri.params {
        assert!(!param.name.is_empty() && param.name.len() <= length);
    }
    black_box((uri.lr(), uri.r2(), uri.transport(), uri.maddr(), uri.ttl(), uri.method()));
    black_box((uri.user_param(), uri.host.ip(), uri.host.to_string(), uri.routable().is_ok()));
}
