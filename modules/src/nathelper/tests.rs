//! Tests of the NAT helpers in a routing: what is seen, and what goes on.

use super::*;
use crate::bench::{Sent, alone, request, response, send};
use strowger_sip::message::MethodKind;
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply};

/// Tells what it sees in an answer to OPTIONS; does what the subject says to everything else.
struct House;

impl Routing for House {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let all = NatTests::all().collect();
        if request.method() == MethodKind::Options {
            let hits = request.nat_uac_test(all);
            return Err(Reply::new(200).reason(&hits.to_string()));
        }
        let subject = request.message().header(HeaderName::Subject);
        let subject = subject.map_or(Vec::new(), |field| field.value.to_vec());
        match subject.as_slice() {
            b"fix" => drop(request.fix_nated_contact()?),
            b"add" => drop(request.contact_alias(AliasWhen::Different)?),
            b"set" => drop(request.contact_alias(AliasWhen::Always)?),
            b"header" => drop(request.add_rcv_param(ReceivedParam::Header)?),
            b"uri" => drop(request.add_rcv_param(ReceivedParam::Uri)?),
            b"sdp" => {
                let fix = SdpFix { connection: true, ..SdpFix::default() };
                request.fix_nated_sdp(fix)?;
            }
            _ => {}
        }
        if let Some(aliased) = request.handle_ruri_alias() {
            return Ok(request.fork().to_by(aliased.uri, aliased.next_hop).into());
        }
        Ok(request.relay_to_target().into())
    }

    fn branch(&self, branch: &mut Branch<'_>) {
        let hits = branch.nat_uac_test(NatTests::TARGET).to_string();
        branch.append_header("X-Target", &hits).expect("a header");
    }

    fn response(&self, response: &mut Response<'_>) {
        let hits = response.nat_uac_test(NatTests::all().collect()).to_string();
        response.contact_alias(AliasWhen::Different).expect("an alias");
        response.append_header("X-Hits", &hits).expect("a header");
        let first = if response.is_first_hop() { "yes" } else { "no" };
        response.append_header("X-First", first).expect("a header");
    }
}

const BEHIND_NAT: &str = "203.0.113.7:40000";

/// A request of a user agent at 10.0.0.5 with these lines and this body.
fn nated(method: &str, lines: &str, body: &str) -> String {
    let text = request(method, "1").replace("UDP 192.0.2.10", "UDP 10.0.0.5");
    let length = format!("Content-Length: {}", body.replace('\n', "\r\n").len());
    let text = text.replace("Content-Length: 0", &length);
    text.replace("Max-Forwards", &format!("{lines}Max-Forwards")) + body
}

fn bench() -> Bench<House> {
    alone(House, ())
}

/// The tests that an OPTIONS hits.
fn hits(from: &str, message: &str) -> u16 {
    let sent = send(&mut bench(), from, message);
    let text = &sent[0].text;
    let reason = text.lines().next().and_then(|line| line.strip_prefix("SIP/2.0 200 "));
    reason.and_then(|hits| hits.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

fn line<'t>(sent: &'t [Sent], name: &str) -> &'t str {
    let mut lines = sent.iter().flat_map(|sent| sent.text.lines());
    lines.find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {sent:#?}"))
}

#[test]
fn every_test_has_its_bit() {
    let contact = "Contact: <sip:a@10.0.0.5:5060>\n";
    let sdp = "Content-Type: application/sdp\n";
    let body = "v=0\nc=IN IP4 10.0.0.5\n";
    assert_eq!(hits(BEHIND_NAT, &nated("OPTIONS", contact, "")), 1 | 2 | 4 | 16 | 128);
    let lines = format!("{contact}{sdp}");
    assert_eq!(hits(BEHIND_NAT, &nated("OPTIONS", &lines, body)), 1 | 2 | 4 | 8 | 16 | 128 | 256);
    // Within the private network only what is private is.
    let inside = nated("OPTIONS", &lines, body);
    assert_eq!(hits("10.0.0.5:5060", &inside), 1 | 4 | 8 | 32);
    let public = request("OPTIONS", "1")
        .replace("Max-Forwards", "Contact: <sip:a@192.0.2.10>\nMax-Forwards");
    assert_eq!(hits("192.0.2.10:5060", &public), 0);
    assert_eq!(hits("192.0.2.10:5061", &public), 16 | 128);
    // A name and a missing contact say nothing.
    let named = public.replace("a@192.0.2.10>\n", "a@example.com>\n");
    assert_eq!(hits("192.0.2.10:5060", &named), 0);
    let none = request("OPTIONS", "1").replace("UDP 192.0.2.10", "UDP ua.example.com");
    assert_eq!(hits("192.0.2.10:5060", &none), 0);
}

#[test]
fn contacts_are_changed_as_told() {
    let contact = |subject: &str| {
        let lines = format!(
            "Subject: {subject}\nContact: \"A\" <sip:a@10.0.0.5;transport=udp;maddr=10.0.0.6>;q=1\n"
        );
        let sent = send(&mut bench(), BEHIND_NAT, &nated("INVITE", &lines, ""));
        line(&sent, "Contact: ").to_owned()
    };
    let (uri, alias) = ("sip:a@10.0.0.5;transport=udp;maddr=10.0.0.6", "alias=203.0.113.7~40000~1");
    assert_eq!(contact("fix"), "\"A\" <sip:a@203.0.113.7:40000;transport=udp>;q=1");
    assert_eq!(contact("add"), format!("\"A\" <{uri};{alias}>;q=1"));
    assert_eq!(contact("set"), contact("add"));
    let received = "received=\"sip:203.0.113.7:40000\"";
    assert_eq!(contact("header"), format!("\"A\" <{uri}>;q=1;{received}"));
    assert_eq!(contact("uri"), format!("\"A\" <{uri};received=sip:203.0.113.7:40000>;q=1"));
}

#[test]
fn a_contact_that_names_its_source_needs_no_alias() {
    let contact = |subject: &str| {
        let lines = format!("Subject: {subject}\nContact: <sip:a@192.0.2.10>\nMax-Forwards");
        let text = request("INVITE", "1").replace("Max-Forwards", &lines);
        line(&send(&mut bench(), "192.0.2.10:5060", &text), "Contact: ").to_owned()
    };
    assert_eq!(contact("add"), "<sip:a@192.0.2.10>");
    assert_eq!(contact("set"), "<sip:a@192.0.2.10;alias=192.0.2.10~5060~1>");
}

#[test]
fn a_request_follows_the_alias_of_its_uri() {
    let text = request("MESSAGE", "1")
        .replace("sip:bob@192.0.2.99 SIP", "sip:bob@10.0.0.9;alias=203.0.113.9~5070~1;ob SIP");
    let sent = send(&mut bench(), "192.0.2.10:5060", &text);
    let sent = sent.last().expect("a request");
    assert_eq!(sent.to, "203.0.113.9:5070");
    assert!(sent.text.starts_with("MESSAGE sip:bob@10.0.0.9;ob SIP/2.0\r\n"), "{}", sent.text);
    assert!(sent.text.contains("X-Target: 512\r\n"), "{}", sent.text);
}

#[test]
fn a_session_description_names_the_source() {
    let lines = "Subject: sdp\nContent-Type: application/sdp\n";
    let body = "v=0\no=a 1 1 IN IP4 10.0.0.5\nc=IN IP4 10.0.0.5\n";
    let sent = send(&mut bench(), BEHIND_NAT, &nated("INVITE", lines, body));
    let text = &sent.last().expect("a request").text;
    let fixed = "v=0\r\no=a 1 1 IN IP4 10.0.0.5\r\nc=IN IP4 203.0.113.7\r\n";
    assert!(text.ends_with(&format!("\r\n\r\n{fixed}")), "{text}");
    assert!(text.contains(&format!("Content-Length: {}\r\n", fixed.len())), "{text}");
}

#[test]
fn a_callee_behind_a_nat_is_seen_in_its_response() {
    let mut bench = bench();
    // The caller's Via does not name its source either.
    let text = nated("INVITE", "", "").replace("sip:bob@192.0.2.99 SIP", "sip:b@203.0.113.8 SIP");
    let invite = send(&mut bench, BEHIND_NAT, &text);
    let invite = &invite.last().expect("an INVITE").text;
    let ok = response(invite, "200 OK");
    let ok = ok.replace("Content-Length", "Contact: <sip:b@10.0.0.8>\nContent-Length");
    let relayed = send(&mut bench, "203.0.113.8:5060", &ok);
    assert_eq!(line(&relayed, "X-Hits: "), (1 | 512).to_string());
    assert_eq!(line(&relayed, "X-First: "), "yes");
    assert_eq!(line(&relayed, "Contact: "), "<sip:b@10.0.0.8;alias=203.0.113.8~5060~1>");
}
