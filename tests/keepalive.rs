//! Contacts behind an address translator, through the real binary: reached where they came from,
//! kept alive, and removed when they are gone.
//!
//! For: `[routing] nat`, `natping_interval`, `ka_*` over real sockets, with storage beside them.
//! Not here: how keep-alives are spread over their interval (`modules/src/location`).

use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Signal};
use strowger_tests::proxy::Proxy;

/// A REGISTER from an agent that takes itself for 10.0.0.5.
fn register(agent: &mut Peer, user: &str) -> String {
    let here = agent.address().to_string();
    let register = agent.request("REGISTER", "sip:example.com", "Expires: 600\r\n");
    register
        .replace(&format!("Via: SIP/2.0/UDP {here}"), "Via: SIP/2.0/UDP 10.0.0.5:5060;rport")
        .replace(&format!("<sip:peer@{here}>\r\nExpires"), "<sip:peer@10.0.0.5>\r\nExpires")
        .replace("To: <sip:example.com>", &format!("To: <sip:{user}@example.com>"))
}

/// 200 to a request.
fn answer(request: &str) -> String {
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let value = datagram::header(request, name).expect("a mandatory header");
        let tag = if name == "To" { ";tag=1" } else { "" };
        answer.push_str(&format!("{name}: {value}{tag}\r\n"));
    }
    answer + "Content-Length: 0\r\n\r\n"
}

/// What an agent hears in this time, with each OPTIONS answered: how many empty lines, how many
/// requests.
fn live(agent: &Peer, span: Duration) -> (usize, usize) {
    let end = Instant::now() + span;
    let (mut lines, mut requests) = (0, 0);
    while let Some(got) = agent.receive(end) {
        if got.trim().is_empty() {
            lines += 1;
        } else if got.starts_with("OPTIONS sip:peer@10.0.0.5 SIP/2.0") {
            requests += 1;
            agent.send(answer(&got).as_bytes());
        }
    }
    (lines, requests)
}

#[test]
fn translated_contacts_are_reached_kept_alive_and_removed_when_they_are_gone() {
    let folder = Folder::new("keepalive");
    let file = folder.write(
        "strowger.toml",
        &format!(
            "[routing]\nregistrar = true\nnat = true\ndomains = [\"example.com\"]\n\
             [usrloc]\ndb_mode = 1\nnatping_interval = 1\n\
             ka_mode = 2\nka_interval = 2\nka_randomize = 0\nka_timeout = 8\n\
             [storage]\nurl = \"sqlite:{}/state.db\"\n",
            folder.path().display()
        ),
    );
    let file = file.to_str().expect("a readable path");
    let mut proxy = Proxy::start(&["-f", file]);
    let mut agents: Vec<Peer> = (0..4).map(|_| Peer::new(proxy.address())).collect();
    for (number, agent) in agents.iter_mut().enumerate() {
        let register = register(agent, &format!("user{number}"));
        let answer = agent.ask(&register, PATIENCE);
        assert_eq!(datagram::status(&answer), Some(200), "{answer}");
        let received = format!(";received=\"sip:{}\"", agent.address());
        assert!(answer.contains(&received), "{answer}");
    }
    // One lives on, the others fall silent.
    let (lines, requests) = live(&agents[1], Duration::from_secs(16));
    assert!(lines >= 8 && requests >= 4, "{lines} lines, {requests} requests");
    let summary = proxy.summary();
    assert_eq!(summary.counted("usrloc_location_contacts"), 1, "{summary:?}");
    assert_eq!(summary.counted("usrloc_silent_contacts"), 3, "{summary:?}");

    // Storage knows it too, and where the one that is left is reached.
    proxy.process().signal(Signal::Kill);
    proxy.process().wait(PATIENCE);
    let address = proxy.address().to_string();
    drop(proxy);
    // On the same address: what a translator lets in comes from there.
    let mut proxy = Proxy::start_at(&format!("udp:{address}"), &["-f", file]);
    assert_eq!(proxy.summary().counted("usrloc_location_contacts"), 1);
    let mut peer = Peer::new(proxy.address());
    let info = peer.request("INFO", "sip:user1@example.com", "Max-Forwards: 70\r\n");
    peer.send(info.as_bytes());
    let end = Instant::now() + PATIENCE;
    while let Some(got) = agents[1].receive(end) {
        if got.starts_with("INFO sip:peer@10.0.0.5 SIP/2.0") {
            return;
        }
    }
    panic!("the contact is not reached after the restart");
}
