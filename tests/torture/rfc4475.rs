//! RFC 4475, SIP torture test messages: what a proxy does with each of them.

use crate::proxy::{Proxy, request, unfolded, values};
use crate::verdict::Verdict::{Dropped, Refused, Relayed, RelayedStrictly};
use crate::verdict::{Case, check, file};
use strowger_sip::message::HeaderName;

/// Section by section. "May" and "reasonable" of the RFC are decided here.
const CASES: &[Case] = &[
    ("wsinv", Relayed("services.example.com"), "§3.1.1.1: valid, folded, Route without end"),
    ("intmeth", Relayed("example.com"), "§3.1.1.2: valid, a proxy forwards it"),
    ("esc01", Relayed("example.net"), "§3.1.1.3: valid, escapes stay as they are"),
    ("escnull", Relayed("example.com"), "§3.1.1.4: valid, escaped NULs stay escaped"),
    ("esc02", Relayed("registrar.example.com"), "§3.1.1.5: an unknown method, not REGISTER"),
    ("lwsdisp", Relayed("example.com"), "§3.1.1.6: valid without blank before the bracket"),
    ("longreq", Relayed("example.com"), "§3.1.1.7: valid, 34 Vias and long values"),
    ("dblreq", Relayed("example.com"), "§3.1.1.8: UDP: octets behind the REGISTER are ignored"),
    ("semiuri", Relayed("example.com"), "§3.1.1.9: the semicolon is the user's"),
    ("transports", Relayed("example.com"), "§3.1.1.10: Via names transports nobody knows"),
    ("mpart01", RelayedStrictly("127.0.0.1:5080"), "§3.1.1.11: a binary body with NULs"),
    // The answers below belong to no request; as answers to one they are relayed, see the tests.
    ("unreason", Dropped("via_mismatch_dropped"), "§3.1.1.12: a response for somebody else"),
    ("noreason", Dropped("via_mismatch_dropped"), "§3.1.1.13: a response for somebody else"),
    ("badinv01", Refused(400), "§3.1.2.1: extraneous separators in Via"),
    ("clerr", Refused(400), "§3.1.2.2: Content-Length beyond the datagram"),
    ("ncl", Refused(400), "§3.1.2.3: negative Content-Length"),
    ("scalar02", Refused(400), "§3.1.2.4: CSeq and Expires overflow"),
    ("scalarlg", Dropped("malformed_dropped"), "§3.1.2.5: CSeq of a response overflows"),
    ("quotbal", Refused(400), "§3.1.2.6: the quote in To is never closed"),
    ("ltgtruri", Refused(400), "§3.1.2.7: angle brackets around the Request-URI"),
    ("lwsruri", Refused(400), "§3.1.2.8: a blank in the Request-URI"),
    ("lwsstart", Refused(400), "§3.1.2.9: two blanks in the request line; not guessed at"),
    ("trws", Refused(400), "§3.1.2.10: blanks behind the request line; not guessed at"),
    ("escruri", Refused(400), "§3.1.2.11: headers in the Request-URI; not stripped"),
    ("baddate", Relayed("example.com"), "§3.1.2.12: a proxy does not look at Date"),
    ("regbadct", Relayed("example.com"), "§3.1.2.13: Contact is the registrar's to refuse"),
    ("badaspec", Refused(400), "§3.1.2.14: blanks inside the brackets of To"),
    ("baddn", Refused(400), "§3.1.2.15: a comma in a display name without quotes"),
    ("badvers", Refused(505), "§3.1.2.16: SIP/7.0"),
    ("mismatch01", Refused(400), "§3.1.2.17: CSeq names another method"),
    ("mismatch02", Refused(501), "§3.1.2.18: the same with an unknown method: 501 is better"),
    ("bigcode", Dropped("malformed_dropped"), "§3.1.2.19: a status of ten digits"),
    ("badbranch", Relayed("example.com"), "§3.2.1: only the cookie: keyed as RFC 2543 does"),
    ("insuf", Refused(400), "§3.3.1: From, To and Call-ID are missing: ideally 400"),
    ("unkscm", Refused(416), "§3.3.2: an unknown scheme in the Request-URI"),
    ("novelsc", Refused(416), "§3.3.3: a registered scheme that is not routed here"),
    ("unksm2", Relayed("example.com"), "§3.3.4: unknown schemes in To, From and Contact"),
    ("bext01", Refused(420), "§3.3.5: Proxy-Require that is not supported"),
    ("invut", Relayed("example.com"), "§3.3.6: the content type is the callee's business"),
    ("regaut01", Relayed("example.com"), "§3.3.7: so is an authorization scheme"),
    ("multi01", Refused(400), "§3.3.8: CSeq, Call-ID, To, From and Max-Forwards twice"),
    ("mcl01", Refused(400), "§3.3.9: Content-Length twice"),
    ("bcast", Dropped("via_mismatch_dropped"), "§3.3.10: a response to a broadcast address"),
    ("zeromf", Refused(483), "§3.3.11: Max-Forwards is used up, and the target is not this node"),
    ("cparam01", Relayed("example.com"), "§3.3.12: parameters of Contact are not looked at"),
    ("cparam02", Relayed("example.com"), "§3.3.13: parameters of its URI neither"),
    ("regescrt", Relayed("example.com"), "§3.3.14: a Contact URI with an escaped header"),
    ("sdp01", Relayed("example.com"), "§3.3.15: Accept is the callee's business"),
    ("inv2543", Relayed("example.com"), "§3.4.1: RFC 2543: no branch, no tag, no Contact"),
];

#[test]
fn every_message_meets_its_verdict() {
    check("rfc4475", CASES);
}

#[test]
fn extensions_that_are_not_supported_are_listed() {
    let sent = Proxy::new().hear(&file("rfc4475", "bext01"));
    let listed = values(sent[0].message(), HeaderName::Unsupported).join(", ");
    assert_eq!(listed, "noProxiesSupportThis, norDoAnyProxiesSupportThis");
}

/// The message as an answer to a request that the proxy relays: its Vias are that request's.
fn as_answer(name: &str) -> (Vec<u8>, Vec<crate::proxy::Mail>) {
    let mut proxy = Proxy::new();
    let relayed = proxy.reaction(&request("INVITE", &[("CSeq", "35 INVITE")], "")).remove(0);
    let vias: Vec<String> = values(relayed.message(), HeaderName::Via);
    let text = file("rfc4475", name);
    let start = text.windows(5).position(|part| part == b"\r\nVia").expect("a Via line") + 2;
    let end = text.windows(9).position(|part| part == b"\r\nCall-ID").expect("Call-ID") + 2;
    let vias = format!("Via: {}\r\n", vias.join("\r\nVia: "));
    let answer = [&text[..start], vias.as_bytes(), &text[end..]].concat();
    let sent = proxy.hear_from(crate::proxy::CALLEE, &answer);
    (answer, sent)
}

#[test]
fn an_unusual_reason_phrase_goes_on() {
    let (answer, sent) = as_answer("unreason");
    let line = |bytes: &[u8]| unfolded(bytes.split(|byte| *byte == b'\r').next().expect("a line"));
    assert_eq!(sent.len(), 1);
    assert_eq!(line(&sent[0].bytes), line(&answer), "§3.1.1.12");
    assert_eq!(sent[0].message().body().len(), 154);
}

#[test]
fn no_reason_phrase_is_fine_too() {
    let (answer, _) = as_answer("noreason");
    let ringing = String::from_utf8(answer).expect("text").replace("SIP/2.0 100 ", "SIP/2.0 183 ");
    let mut proxy = Proxy::new();
    // A 100 ends at this hop (§16.7 step 5), so its sibling shows what goes on.
    let relayed = proxy.reaction(&request("INVITE", &[("CSeq", "35 INVITE")], "")).remove(0);
    let own = values(relayed.message(), HeaderName::Via).remove(0);
    let at = ringing.find("Via: ").expect("a Via line");
    let end = at + ringing[at..].find("\r\n").expect("its end");
    let answer = format!("{}Via: {own}{}", &ringing[..at], &ringing[end..]);
    let sent = proxy.hear_from(crate::proxy::CALLEE, answer.as_bytes());
    assert_eq!(sent.len(), 1, "§3.1.1.13");
    assert!(sent[0].bytes.starts_with(b"SIP/2.0 183 \r\n"), "{}", sent[0].bytes.escape_ascii());
}

#[test]
fn the_second_message_of_a_datagram_is_not_looked_at() {
    let mut proxy = Proxy::new();
    let sent = proxy.hear(&file("rfc4475", "dblreq"));
    assert_eq!(sent.len(), 1);
    assert!(sent[0].bytes.starts_with(b"REGISTER ") && sent[0].message().body().is_empty());
    assert_eq!(proxy.count("requests_received"), 1);
}
