//! Users behind a NAT and a registrar behind an edge, through the real binary with two shards.
//!
//! For: `[routing] nat`, `path` and `rules`: aliases on the way out and back, Path with `received`,
//! allow and deny files.
//! Not here: the helpers one by one (`modules/src/{nathelper,path,permissions}`).

use std::time::Instant;

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::Proxy;

fn start(folder: &Folder, configuration: &str) -> Proxy {
    let file = folder.write("strowger.toml", configuration);
    Proxy::start(&["-f", file.to_str().expect("a readable path")])
}

/// A request of a user agent that calls itself `10.0.0.5:5060`.
fn nated(peer: &mut Peer, method: &str, uri: &str, more: &str) -> String {
    let more = format!("Max-Forwards: 70\r\n{more}");
    let text = peer.request(method, uri, &more);
    let own = peer.address().to_string();
    text.replace(&own, "10.0.0.5:5060").replacen(";branch", ";rport;branch", 1)
}

/// The next message of this kind: a method, or a status.
fn next(peer: &Peer, start: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let heard = peer.receive(until).unwrap_or_else(|| panic!("no {start} in {PATIENCE:?}"));
        if heard.starts_with(start) {
            return heard;
        }
    }
}

/// A response to what was heard.
fn response(request: &str, status: &str, more: &str) -> String {
    let copied = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"];
    let mut head = format!("SIP/2.0 {status}\r\n");
    for line in request.split("\r\n") {
        if copied.iter().any(|name| line.starts_with(name)) {
            head += &format!("{line}\r\n");
        } else if line.starts_with("To:") {
            let tag = if line.contains(";tag=") { "" } else { ";tag=callee" };
            head += &format!("{line}{tag}\r\n");
        }
    }
    format!("{head}{more}Content-Length: 0\r\n\r\n")
}

fn header<'t>(text: &'t str, name: &str) -> &'t str {
    datagram::header(text, name).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

fn uri(contact: &str) -> &str {
    contact.trim_start_matches('<').split('>').next().expect("a URI")
}

#[test]
fn caller_and_callee_behind_nats_hear_each_other() {
    let folder = Folder::new("nat");
    let port = ports::free();
    let next_hop = format!("[routing]\nnat = true\nnext_hop = \"sip:127.0.0.1:{port}\"\n");
    let proxy = start(&folder, &next_hop);
    let (mut caller, callee) = (Peer::new(proxy.address()), Peer::at(port, proxy.address()));
    let invite = nated(&mut caller, "INVITE", "sip:callee@example.net", "");
    caller.send(invite.as_bytes());

    let got = next(&callee, "INVITE ");
    let back = caller.address().port();
    let caller_contact = format!("<sip:peer@10.0.0.5:5060;alias=127.0.0.1~{back}~1>");
    assert_eq!(header(&got, "Contact"), caller_contact);
    let ok = response(&got, "200 OK", "Contact: <sip:callee@10.0.0.8>\r\n");
    callee.send(ok.as_bytes());
    let answered = next(&caller, "SIP/2.0 200");
    let contact = header(&answered, "Contact").to_owned();
    assert_eq!(contact, format!("<sip:callee@10.0.0.8;alias=127.0.0.1~{port}~1>"));

    let route = header(&answered, "Record-Route").to_owned();
    let target = uri(&contact).to_owned();
    let ack = nated(&mut caller, "ACK", &target, &format!("Route: {route}\r\n"));
    let ack = ack.replace(&format!("To: <{target}>"), &format!("To: {}", header(&answered, "To")));
    caller.send(ack.as_bytes());
    let got = next(&callee, "ACK ");
    assert!(got.starts_with("ACK sip:callee@10.0.0.8 SIP/2.0\r\n"), "{got}");

    let bye = format!(
        "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKbye\r\n\
         Route: {route}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        uri(&caller_contact),
        header(&answered, "To"),
        header(&invite, "From"),
        header(&invite, "Call-ID"),
    );
    callee.send(bye.as_bytes());
    let got = next(&caller, "BYE ");
    assert!(got.starts_with("BYE sip:peer@10.0.0.5:5060 SIP/2.0\r\n"), "{got}");
    caller.send(response(&got, "200 OK", "").as_bytes());
    next(&callee, "SIP/2.0 200");
}

#[test]
fn a_registration_through_an_edge_is_called_by_its_path() {
    let folder = Folder::new("path");
    let port = ports::free();
    let configuration = format!("[routing]\npath = true\nnext_hop = \"sip:127.0.0.1:{port}\"\n");
    let proxy = start(&folder, &configuration);
    let (mut agent, mut registrar) = (Peer::new(proxy.address()), Peer::at(port, proxy.address()));
    let register = nated(&mut agent, "REGISTER", "sip:example.net", "");
    agent.send(register.as_bytes());
    let got = next(&registrar, "REGISTER ");
    let path = header(&got, "Path").to_owned();
    let received = format!("received=sip:127.0.0.1:{}", agent.address().port());
    let own = proxy.address();
    assert_eq!(path, format!("<sip:{own};{received};lr>"));
    registrar.send(response(&got, "200 OK", &format!("Path: {path}\r\n")).as_bytes());
    next(&agent, "SIP/2.0 200");

    let more = format!("Max-Forwards: 70\r\nRoute: {path}\r\n");
    let call = registrar.request("MESSAGE", "sip:peer@10.0.0.5:5060", &more);
    registrar.send(call.as_bytes());
    let got = next(&agent, "MESSAGE ");
    assert!(got.starts_with("MESSAGE sip:peer@10.0.0.5:5060 SIP/2.0\r\n"), "{got}");
    assert_eq!(datagram::header(&got, "Route"), None, "{got}");
}

#[test]
fn rules_say_who_may_call_whom() {
    let folder = Folder::new("rules");
    folder.write("allow", "\"^sip:peer@\" : \"^sip:1\"\n");
    folder.write("deny", "ALL : ALL\n");
    let configuration = "[routing]\nrules = true\nnext_hop = \"sip:127.0.0.1:9\"\n[permissions]\n\
                         default_allow_file = \"allow\"\ndefault_deny_file = \"deny\"\n";
    let proxy = start(&folder, configuration);
    let mut peer = Peer::new(proxy.address());
    let mut status = |uri: &str| {
        let options = peer.request("OPTIONS", uri, "Max-Forwards: 70\r\n");
        datagram::status(&peer.ask(&options, PATIENCE))
    };
    assert_eq!(status("sip:2@example.net"), Some(403));
    // Nobody listens there: the branch ends by itself.
    assert!(matches!(status("sip:1@example.net"), Some(408 | 500 | 503)), "relayed");
}
