//! Calls made by SIPp over every transport and from one to another, through the real binary.
//!
//! For: TCP, IPv6 and bridging calls, with requests within the dialog from both sides (base.md
//! §25.13, RFC 5658).
//! Not here: many calls for long (`sipp.rs`), single connections (`tcp.rs`).
//! Needs: Debian's `sip-tester`.

use std::time::{Duration, Instant};

use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::Proxy;
use strowger_tests::sipp::Sipp;

const CALLS: u64 = 60;
/// Every transaction has gone 64*T1 = 32 s after its last message; the rest is the machine's.
const EMPTY_AFTER: Duration = Duration::from_secs(40);

/// Calls pass from a caller over one transport to a callee over another, at this address.
fn calls_pass(host: &str, caller: &str, callee: &str) -> Proxy {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mode = |transport: &str| if transport == "tcp" { "t1" } else { "u1" };
    let mut answering = Sipp::callee_at("callee-asks.xml", host, &["-t", mode(callee)]);
    let next_hop = format!("sip:{bracketed}:{};transport={callee}", answering.port());
    let listen = ["udp", "tcp"].map(|transport| format!("{transport}:{bracketed}:0"));
    let mut proxy =
        Proxy::start(&["--listen", &listen[0], "--listen", &listen[1], "--next-hop", &next_hop]);
    let address = proxy.address_of(caller, &bracketed);
    let count = CALLS.to_string();
    let options = ["-t", mode(caller), "-r", "20", "-m", &count, "-d", "500"];
    let mut calling = Sipp::caller("caller-is-asked.xml", address, &options);
    let made = calling.finish(Duration::from_secs(120));
    assert_eq!((made.successful, made.failed), (CALLS, 0), "{made:?}");
    let taken = answering.stop(PATIENCE);
    assert_eq!((taken.successful, taken.failed), (CALLS, 0), "{taken:?}");
    let summary = proxy.summary();
    summary.assert_nothing_shed();
    assert_eq!(summary.total("tcp_unsent"), 0, "{summary:?}");
    if caller == "tcp" || callee == "tcp" {
        assert!(summary.total("tcp_received") > 0, "{summary:?}");
        // One for each shard to the callee, one from the caller, and for each shard back to it.
        let connections = summary.total("tcp_accepted") + summary.total("tcp_opened");
        assert!(connections <= 5, "{summary:?}");
    }
    proxy
}

#[test]
fn over_tcp() {
    calls_pass("127.0.0.1", "tcp", "tcp");
}

#[test]
fn from_udp_to_tcp_and_nothing_is_left() {
    let mut proxy = calls_pass("127.0.0.1", "udp", "tcp");
    let last_call = Instant::now();
    std::thread::sleep((last_call + EMPTY_AFTER).saturating_duration_since(Instant::now()));
    proxy.summary().assert_empty();
    let (status, summary) = proxy.stop(PATIENCE);
    assert!(status.success(), "{status}");
    summary.assert_empty();
}

#[test]
fn from_tcp_to_udp() {
    calls_pass("127.0.0.1", "tcp", "udp");
}

#[test]
fn over_udp_with_ipv6() {
    calls_pass("::1", "udp", "udp");
}

#[test]
fn over_tcp_with_ipv6() {
    calls_pass("::1", "tcp", "tcp");
}

#[test]
fn from_udp_to_tcp_with_ipv6() {
    calls_pass("::1", "udp", "tcp");
}
