//! Datagrams that no honest peer sends, through the real binary with two shards.
//!
//! For: the process stays up, a parsable bad request gets its answer, rubbish is counted.
//! Not here: what each malformed message is worth in detail; `core/sip` tests that by message.
//! Random bytes come from a fixed seed: the same datagrams in every run.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::{Proxy, key};

const UDP_PAYLOAD_BYTES_MAX: usize = 65_507; // 65,535 less the headers of IP and UDP
const HOPS: &str = "Max-Forwards: 70\r\n";

/// The proxy relays to a socket that this test reads.
fn proxy() -> (Proxy, UdpSocket) {
    let next_hop = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
    next_hop.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
    let port = next_hop.local_addr().expect("a bound socket has an address").port();
    (Proxy::relaying_to(port), next_hop)
}

/// Both shards still answer: sixteen Call-IDs all hash to one of two once in 32,768 runs.
fn still_answers(proxy: &mut Proxy) {
    let mut peer = Peer::new(proxy.address());
    let uri = format!("sip:{}", proxy.address());
    for _ in 0..16 {
        let options = peer.request("OPTIONS", &uri, HOPS);
        let answer = peer.ask(&options, PATIENCE);
        assert_eq!(datagram::status(&answer), Some(200), "{answer}");
    }
    assert!(proxy.process().is_running());
}

/// SplitMix64: enough to make rubbish, and the same rubbish in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).expect("small")).expect("small")
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

#[test]
fn a_parsable_bad_request_gets_its_answer() {
    let (mut proxy, _next_hop) = proxy();
    let mut peer = Peer::new(proxy.address());
    let uri = "sip:callee@example.net";
    let mismatch = |text: String| text.replace(" INVITE\r\nContact", " BYE\r\nContact");
    let cases = [
        (483, peer.request("INVITE", uri, "Max-Forwards: 0\r\n")),
        (483, peer.request("MESSAGE", uri, "Max-Forwards: 0\r\n")),
        (420, peer.request("INVITE", uri, "Max-Forwards: 70\r\nProxy-Require: teleport\r\n")),
        (416, peer.request("INVITE", "teleport:callee@example.net", HOPS)),
        (400, peer.request("INVITE", uri, "Max-Forwards: many\r\n")),
        (400, mismatch(peer.request("INVITE", uri, HOPS))),
        (400, peer.request("INVITE", uri, HOPS).replace("Content-Length: 0", "Content-Length: 9")),
    ];
    for (expected, request) in cases {
        let answer = peer.ask(&request, PATIENCE);
        assert_eq!(datagram::status(&answer), Some(expected), "{request}{answer}");
        if request.starts_with("INVITE") {
            peer.acknowledge(&request, &answer);
        }
        if expected == 420 {
            assert_eq!(datagram::header(&answer, "Unsupported"), Some("teleport"), "{answer}");
        }
    }
    still_answers(&mut proxy);
}

#[test]
fn a_method_that_nobody_knows_is_relayed() {
    let (proxy, next_hop) = proxy();
    let mut peer = Peer::new(proxy.address());
    let request = peer.request("TELEPORT", "sip:callee@example.net", HOPS);
    peer.send(request.as_bytes());
    let mut buffer = vec![0; UDP_PAYLOAD_BYTES_MAX];
    let length = next_hop.recv(&mut buffer).expect("the relayed request");
    let relayed = String::from_utf8_lossy(&buffer[..length]);
    assert!(relayed.starts_with("TELEPORT sip:callee@example.net SIP/2.0\r\n"), "{relayed}");
    assert_eq!(datagram::header(&relayed, "Max-Forwards"), Some("69"), "{relayed}");
}

#[test]
fn malformed_datagrams_are_survived_and_counted() {
    let (mut proxy, _next_hop) = proxy();
    let mut peer = Peer::new(proxy.address());
    let whole = peer.request("INVITE", "sip:callee@example.net", HOPS);
    let no_end = whole.trim_end().to_owned();
    let nul = whole.replace("From: <sip:peer", "From: <sip:\0p\0eer");
    let endless = whole.replace("From: ", &format!("From: {}", "a".repeat(60_000)));
    let many = whole.replace("Contact", &format!("{}Contact", "X: y\r\n".repeat(9_000)));
    let vias = "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n".repeat(1_200);
    let vias = whole.replace("Contact", &format!("{vias}Contact"));
    let rubbish: [&[u8]; 12] = [
        b"",
        b"\0",
        b"\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n",
        b"INVITE",
        b"INVITE sip:a@b SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n",
        no_end.as_bytes(),
        nul.as_bytes(),
        &[0; UDP_PAYLOAD_BYTES_MAX],
        &[b'A'; UDP_PAYLOAD_BYTES_MAX],
    ];
    for datagram in rubbish {
        peer.send(datagram);
        assert!(proxy.process().is_running(), "ended by {:?}", &datagram[..datagram.len().min(80)]);
    }
    for large in [endless, many, vias] {
        let padding = " ".repeat(UDP_PAYLOAD_BYTES_MAX - large.len());
        peer.send(format!("{large}{padding}").as_bytes());
    }
    still_answers(&mut proxy);
    let summary = proxy.summary();
    assert!(summary.counted(key::RUBBISH) > 0, "rubbish is not counted: {summary:?}");
    assert!(summary.counted(key::MALFORMED) > 0, "broken grammar is not counted: {summary:?}");
}

#[test]
fn a_request_cut_at_every_octet_is_survived() {
    let (mut proxy, _next_hop) = proxy();
    let mut peer = Peer::new(proxy.address());
    let whole = peer.request("INVITE", "sip:callee@example.net", HOPS);
    for length in 0..whole.len() {
        peer.send(&whole.as_bytes()[..length]);
    }
    still_answers(&mut proxy);
}

#[test]
fn random_bytes_and_damaged_requests_are_survived() {
    let (mut proxy, _next_hop) = proxy();
    let mut peer = Peer::new(proxy.address());
    let mut random = Random(0x5354_524f_5747_4552);
    let end = Instant::now() + Duration::from_secs(10);
    for round in 0..5_000 {
        let length = random.below(2_000);
        peer.send(&random.bytes(length));
        let mut damaged = peer.request("INVITE", "sip:callee@example.net", HOPS).into_bytes();
        for _ in 0..=random.below(8) {
            let place = random.below(damaged.len());
            damaged[place] = random.next().to_le_bytes()[0];
        }
        peer.send(&damaged);
        if round % 500 == 0 {
            assert!(proxy.process().is_running(), "ended in round {round}");
            // The socket's buffer holds few datagrams: without a rest most are never looked at.
            std::thread::sleep(Duration::from_millis(20));
        }
        if Instant::now() > end {
            break;
        }
    }
    still_answers(&mut proxy);
}
