//! A node whose messages wait too long, through the real binary with two shards.
//!
//! For: base.md §23: what would begin something gets 503 with Retry-After, what belongs to a dialog
//! goes on, and all is as before once the queue is short again.
//! Not here: the rule itself (`core/sip/src/proxy/overload.rs`), full tables (`hostile.rs`).

use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::{PATIENCE, Signal};
use strowger_tests::proxy::Proxy;

/// Longer than the bound by far, shorter than what makes anybody give up.
const STANDSTILL: Duration = Duration::from_secs(3);

/// How many answers of each status come, and whether each is as it should be.
fn answers(peer: &Peer, wanted: usize) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    let mut answers = Vec::new();
    while answers.len() < wanted {
        let message = peer.receive(end).expect("an answer to each request");
        if datagram::status(&message) != Some(100) {
            answers.push(message);
        }
    }
    answers
}

#[test]
fn new_calls_give_way_while_messages_wait() {
    const EACH: usize = 20;
    let callee = ports::free();
    let folder = Folder::new("overload");
    let file = format!(
        "[routing]\nnext_hop = \"sip:127.0.0.1:{callee}\"\n\
         [overload]\nqueueing_delay = \"1s\"\ninterval = 0\nretry_after = 9\n"
    );
    let file = folder.write("strowger.toml", &file);
    let mut proxy = Proxy::start(&["-f", file.to_str().expect("a readable path")]);
    let callee = Peer::at(callee, proxy.address());
    let mut caller = Peer::new(proxy.address());

    let target = format!("sip:bob@{}", callee.address());
    proxy.process().signal(Signal::Stop);
    for _ in 0..EACH {
        let invite = caller.request("INVITE", "sip:bob@example.net", "Max-Forwards: 70\r\n");
        caller.send(invite.as_bytes());
        let bye = caller.request("BYE", &target, "Max-Forwards: 70\r\n");
        let bye = bye.replace(&format!("To: <{target}>"), "To: <sip:bob@example.net>;tag=1");
        caller.send(bye.as_bytes());
    }
    std::thread::sleep(STANDSTILL);
    proxy.process().signal(Signal::Continue);
    let refused = answers(&caller, EACH);
    for answer in &refused {
        assert_eq!(datagram::status(answer), Some(503), "{answer}");
        assert_eq!(datagram::header(answer, "Retry-After"), Some("9"), "{answer}");
    }
    let end = Instant::now() + PATIENCE;
    let mut byes = 0;
    while byes < EACH {
        let message = callee.receive(end).expect("every BYE goes on");
        assert!(message.starts_with("BYE "), "{message}");
        byes += 1;
    }
    assert_eq!(proxy.summary().total("queueing_refused"), EACH as u64);

    // The queue is empty: a new call goes on at once.
    let invite = caller.request("INVITE", "sip:late@example.net", "Max-Forwards: 70\r\n");
    caller.send(invite.as_bytes());
    let end = Instant::now() + PATIENCE;
    loop {
        let message = callee.receive(end).expect("the call");
        if message.starts_with("INVITE ") {
            break;
        }
        assert!(message.starts_with("BYE "), "a repeated one: {message}");
    }
}
