//! RFC 5118, SIP torture test messages for IPv6: what a proxy does with each of them.

use crate::proxy::{CALLER_V6, Proxy};
use crate::verdict::Verdict::{Refused, Relayed};
use crate::verdict::{Case, check, file};

/// Section by section.
const CASES: &[Case] = &[
    ("ipv6-good", Relayed("[2001:db8::10]:5060"), "§4.1: valid"),
    ("ipv6-bad", Refused(400), "§4.2: an address without its brackets"),
    ("port-ambiguous", Relayed("[2001:db8::10:5070]:5060"), "§4.3: valid, yet not what was meant"),
    ("port-unambiguous", Relayed("[2001:db8::10]:5070"), "§4.4: valid"),
    ("via-received-param-with-delim", Relayed("[2001:db8::10]:5060"), "§4.5: with brackets"),
    ("via-received-param-no-delim", Relayed("[2001:db8::10]:5060"), "§4.5: without brackets"),
    ("ipv6-in-sdp", Relayed("[2001:db8::10]:5060"), "§4.6: a body with addresses"),
    ("mult-ip-in-header", Relayed("host.example.net"), "§4.7: both families in Via"),
    ("mult-ip-in-sdp", Relayed("[2001:db8::10]:5060"), "§4.8: both families in the body"),
    ("ipv4-mapped-ipv6", Relayed("example.com"), "§4.9: mapped addresses in Via and Contact"),
    ("ipv6-bug-abnf-3-colons", Relayed("[2001:db8::c000:201]:5060"), "§4.10: tolerated"),
    ("ipv6-correct-abnf-2-colons", Relayed("[2001:db8::c000:201]:5060"), "§4.10: valid"),
];

#[test]
fn every_message_meets_its_verdict() {
    check("rfc5118", CASES);
}

#[test]
fn received_is_written_without_brackets() {
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let sent = Proxy::new().hear_from(CALLER_V6, &file("rfc5118", name));
        let via = sent[0].message().vias().nth(1).expect("a Via").expect("a good Via");
        // §4.5: what this node stamps follows the grammar, whatever stood there.
        assert_eq!(via.received(), Some(&b"2001:db8::77"[..]), "{name}");
    }
}
