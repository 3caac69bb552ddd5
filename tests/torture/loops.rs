//! Loops: two proxies that send each other whatever they get, also forked, also changed on the way.
//!
//! For: RFC 5393: loop detection ends what comes back unchanged, Max-Forwards what does not,
//! Max-Breadth what grows.
//! Invariants: a loop ends without a timer: its caller is told within the same instant.

use crate::proxy::{CALLER, Mail, request};
use std::collections::VecDeque;
use std::net::SocketAddr;
use strowger_sip::engine::Settings;
use strowger_sip::message::HeaderName;
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::time::secs;
use strowger_sip::transport::ListenerId;

const NODES: [&str; 2] = ["198.51.100.1:5060", "198.51.100.2:5060"];

/// What a node does to what it gets.
#[derive(Clone, Copy)]
struct Bounce {
    peer: &'static str,
    forks: usize,
    /// Another user part for each branch: a spiral, which is no loop.
    changes: bool,
}

impl Routing for Bounce {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let uri = String::from_utf8_lossy(request.request_uri()).into_owned();
        let next = format!("sip:{}", self.peer);
        let mut relay = request.fork();
        for fork in 0..self.forks {
            let user = if self.changes { format!("sip:{fork}{}", &uri[4..]) } else { uri.clone() };
            relay = relay.to_by(user, &next);
        }
        Ok(relay.into())
    }
}

/// What came of a request.
struct Outcome {
    requests: usize,
    /// What the caller got, 100 left out.
    statuses: Vec<u16>,
    /// The largest Max-Breadth of all requests, and how many requests had 1.
    breadths: Vec<u32>,
}

fn run(forks: usize, changes: bool, first: &[u8]) -> Outcome {
    let node = |own: usize| {
        let routing = Bounce { peer: NODES[1 - own], forks, changes };
        Bench::alone(&[NODES[own]], Settings::default(), routing, ())
    };
    let mut nodes = [node(0), node(1)];
    let mut way: VecDeque<(SocketAddr, usize, Vec<u8>)> = VecDeque::new();
    way.push_back((CALLER.parse().expect("an address"), 0, first.to_vec()));
    let mut outcome = Outcome { requests: 0, statuses: Vec::new(), breadths: Vec::new() };
    while let Some((from, to, bytes)) = way.pop_front() {
        nodes[to].receive(ListenerId(0), from, &bytes);
        for sent in nodes[to].take_sent() {
            let mail = Mail::read(sent.flow.remote, sent.bytes);
            let target = NODES.iter().position(|node| mail.to.to_string() == *node);
            if mail.status() == 0 && !mail.bytes.starts_with(b"ACK") {
                outcome.requests += 1;
                let breadth = mail.message().number(HeaderName::MaxBreadth, u32::MAX);
                outcome.breadths.extend(breadth.expect("a number"));
            }
            match target {
                Some(target) => {
                    way.push_back((NODES[to].parse().expect("an address"), target, mail.bytes));
                }
                None if mail.status() != 100 => outcome.statuses.push(mail.status()),
                None => {}
            }
        }
        assert!(outcome.requests < 5_000, "the loop grows");
    }
    for node in &mut nodes {
        node.advance(secs(3600));
        node.take_sent();
        assert!(node.census().is_empty(), "{:?}", node.census());
    }
    outcome
}

#[test]
fn a_loop_ends_when_it_is_back() {
    for method in ["INVITE", "MESSAGE"] {
        let outcome = run(1, false, &request(method, &[], ""));
        assert_eq!((outcome.requests, outcome.statuses), (2, vec![482]), "{method}");
    }
}

#[test]
fn a_forked_loop_ends_when_it_is_back() {
    for method in ["INVITE", "MESSAGE"] {
        let outcome = run(3, false, &request(method, &[], ""));
        // Three branches to the other node, three of each of them back: nine times 482.
        assert_eq!(outcome.requests, 3 + 9, "{method}");
        assert_eq!(outcome.statuses, [482], "{method}");
    }
}

#[test]
fn a_spiral_ends_when_its_hops_are_used_up() {
    let outcome = run(1, true, &request("INVITE", &[("Max-Forwards", "20")], ""));
    assert_eq!((outcome.requests, outcome.statuses), (20, vec![483]));
    assert!(outcome.breadths.is_empty(), "an unforked request goes on as it came");
}

#[test]
fn a_forked_spiral_ends_when_its_breadth_is_used_up() {
    for method in ["INVITE", "MESSAGE"] {
        let outcome = run(2, true, &request(method, &[], ""));
        // 60 is halved until nothing can be halved: at most twice as many requests as leaves.
        assert!(outcome.requests <= 2 * 60, "{} requests", outcome.requests);
        assert_eq!(outcome.breadths.iter().max(), Some(&30), "{method}");
        assert_eq!(outcome.breadths.iter().min(), Some(&1), "{method}");
        assert_eq!(outcome.statuses, [440], "{method}");
    }
}

#[test]
fn a_received_breadth_bounds_the_whole_tree() {
    let outcome = run(2, true, &request("MESSAGE", &[("Max-Breadth", "5")], ""));
    assert!(outcome.requests <= 2 * 5, "{} requests", outcome.requests);
    assert_eq!(outcome.breadths.first(), Some(&3));
    assert_eq!(outcome.statuses, [440]);
    let outcome = run(2, true, &request("MESSAGE", &[("Max-Breadth", "1")], ""));
    assert_eq!((outcome.requests, outcome.statuses), (0, vec![440]));
}
