//! Header values: one line, put under every name that has a reader of its own.
//!
//! Invariants: a line is one line: whatever it holds, the header behind it is found, unless the
//! whole message is refused.

use super::message::read;
use strowger_sip::limits::Limits;
use strowger_sip::message::{Head, HeaderName};

const NAMES: [&str; 20] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Content-Length",
    "Contact",
    "Route",
    "Record-Route",
    "Expires",
    "Require",
    "Proxy-Require",
    "Supported",
    "Session-Expires",
    "Min-SE",
    "Max-Breadth",
    "Retry-After",
    "Refer-To",
    "X-Other",
];

/// Runs the target.
///
/// # Panics
/// When something does not hold.
pub fn run(data: &[u8]) {
    let value = match data.iter().position(|byte| *byte == b':') {
        Some(colon) if colon < 24 => &data[colon + 1..],
        Some(_) | None => data,
    };
    let mut head = Head::default();
    let mut bytes = Vec::new();
    for name in NAMES {
        bytes.clear();
        bytes.extend_from_slice(b"OPTIONS sip:h SIP/2.0\r\n");
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\nZ-Last: 1\r\n\r\n");
        let accepted = head.parse(&bytes, &Limits::DATAGRAM).is_ok();
        let message = head.message(&bytes);
        read(message);
        let known = HeaderName::from_bytes(name.as_bytes());
        for number in [u32::MAX, 255] {
            let _ = message.number(known, number);
        }
        let _ = message.name_addr(known).map(|one| one.uri().is_ok());
        let is_one_line = !value.contains(&b'\r') && !value.contains(&b'\n');
        if accepted && is_one_line {
            assert!(message.header_named(b"z-last").is_some(), "{}", bytes.escape_ascii());
        }
    }
}
