//! The status page in a browser: charts, search, the end of a call, phone width and dark mode.

use std::time::Instant;

use serde_json::json;
use strowger_tests::datagram::{Peer, header};
use strowger_tests::process::PATIENCE;

use crate::browser::Browser;
use crate::plane::{Controlled, get, start};

/// Answers an INVITE with 200.
fn answer(invite: &str, contact: &str) -> String {
    let kept = ["Via", "Record-Route", "From", "Call-ID", "CSeq"];
    let mut lines = vec!["SIP/2.0 200 OK".to_owned()];
    for line in invite.lines() {
        let name = line.split(':').next().unwrap_or("");
        if kept.contains(&name) {
            lines.push(line.to_owned());
        } else if name == "To" {
            lines.push(format!("{line};tag=callee"));
        }
    }
    lines.push(format!("Contact: <{contact}>\r\nContent-Length: 0\r\n\r\n"));
    lines.join("\r\n")
}

/// A call from one peer to the other, answered and acknowledged; its Call-ID.
fn call(proxy: std::net::SocketAddr, caller: &mut Peer, callee: &Peer) -> String {
    let uri = format!("sip:bob@{}", callee.address());
    let contact = format!("Contact: <sip:alice@{}>\r\nMax-Forwards: 70\r\n", caller.address());
    let invite = caller.request("INVITE", &uri, &contact);
    caller.send(invite.as_bytes());
    let end = Instant::now() + PATIENCE;
    let arrived = callee.receive(end).expect("the INVITE");
    callee.send(answer(&arrived, &uri).as_bytes());
    let answered = loop {
        let answer = caller.receive(end).expect("an answer");
        if answer.starts_with("SIP/2.0 200") {
            break answer;
        }
    };
    let route = header(&answered, "Record-Route").map(|route| format!("Route: {route}\r\n"));
    let id = header(&invite, "Call-ID").expect("a Call-ID").to_owned();
    let (from, to) = (header(&invite, "From"), header(&answered, "To"));
    let cseq = header(&invite, "CSeq").expect("a CSeq").replace("INVITE", "ACK");
    let ack = format!(
        "ACK {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKack{}\r\n{}From: {}\r\nTo: {}\r\n\
         Call-ID: {id}\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        caller.address(),
        id.len(),
        route.unwrap_or_default(),
        from.expect("a From"),
        to.expect("a To"),
    );
    let _ = proxy;
    caller.send(ack.as_bytes());
    while !callee.receive(end).expect("the ACK").starts_with("ACK ") {}
    id
}

#[test]
fn an_operator_searches_and_ends_a_call_by_clicks() {
    let more = "token = \"0123456789abcdef0123\"\n[routing]\ndialog = true\n";
    let Controlled { proxy, control } = start(more);
    let to = proxy.address();
    let mut callers = [Peer::new(to), Peer::new(to)];
    let callees = [Peer::new(to), Peer::new(to)];
    let first = call(to, &mut callers[0], &callees[0]);
    let second = call(to, &mut callers[1], &callees[1]);

    let mut browser = Browser::open(&format!("http://{control}/"));
    browser.wait_until("document.getElementById('entry')?.hidden === false");
    browser.evaluate("document.getElementById('token').value = '0123456789abcdef0123'");
    browser.evaluate("document.querySelector('#entry button').click()");
    browser.wait_until("document.getElementById('state').textContent === 'live'");
    browser.wait_until("document.getElementById('entry').offsetParent === null");
    browser.wait_until("document.querySelectorAll('#charts .card').length === 6");
    browser.wait_until("document.querySelectorAll('#shards .card').length === 2");
    browser.wait_until("document.querySelector('#chart-dialogs b').textContent === '2'");
    browser.wait_until("document.querySelectorAll('#rows tr').length === 2");
    browser.picture("wide");

    // Only what is searched for.
    browser.evaluate(&format!("document.getElementById('text').value = {}", json!(second)));
    browser.evaluate("document.querySelector('#search button').click()");
    browser.wait_until("document.querySelectorAll('#rows tr').length === 1");
    let shown = browser.evaluate("document.getElementById('rows').innerText");
    let shown = shown.as_str().unwrap_or("").to_owned();
    assert!(shown.contains(&second) && !shown.contains(&first), "{shown}");

    // Not without being asked, and not when the answer is no.
    browser.evaluate("document.querySelector('#rows button').click()");
    browser.wait_until("document.getElementById('confirm').open");
    browser.picture("confirm");
    browser.evaluate("document.querySelector('#confirm button').click()");
    browser.wait_until("!document.getElementById('confirm').open");
    browser.evaluate("document.querySelector('#rows button').click()");
    browser.wait_until("document.getElementById('confirm').open");
    browser.evaluate("document.getElementById('really').click()");
    let end = Instant::now() + PATIENCE;
    while !callees[1].receive(end).expect("a BYE").starts_with("BYE ") {}
    while !callers[1].receive(end).expect("a BYE").starts_with("BYE ") {}

    // On a phone, at night.
    let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
    browser.call("Emulation.setDeviceMetricsOverride", &phone);
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.call("Emulation.setEmulatedMedia", &dark);
    browser.wait_until("innerWidth === 390 && document.documentElement.scrollWidth <= 390");
    let back = browser.evaluate("getComputedStyle(document.body).backgroundColor");
    assert_eq!(back, json!("rgb(18, 22, 28)"));
    browser.picture("phone");
}

#[test]
fn the_page_needs_no_token_and_brings_nothing_from_elsewhere() {
    let Controlled { proxy: _proxy, control } = start("token = \"0123456789abcdef0123\"\n");
    let (status, page) = get(control, "/");
    assert_eq!(status, 200);
    for elsewhere in ["src=\"http", "href=\"http", "//cdn", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert_eq!(get(control, "/live").0, 401);
}

#[test]
fn pages_of_other_sites_are_refused() {
    let Controlled { proxy: _proxy, control } = start("");
    let call = r#"{"jsonrpc":"2.0","method":"core.version","id":1}"#;
    let from = |origin: &str| {
        crate::plane::ask(control, "POST /rpc", &format!("Origin: {origin}\r\n"), call).0
    };
    assert_eq!(from(&format!("http://{control}")), 200);
    assert_eq!(from("http://example.com"), 403);
    assert_eq!(from("null"), 403);
}
