//! Calls made by SIPp through the real binary with two shards, over loopback.
//!
//! For: whole calls, rejected ones, cancelled ones, and the graceful stop; nothing may be left.
//! Not here: hostile datagrams (`hostile.rs`), the command line (`command.rs`).
//! Needs: Debian's `sip-tester`. The scenarios are `tests/sipp/*.xml`; what the callee checks of
//! Record-Route, Route and Max-Forwards is checked there.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::process::{PATIENCE, Signal};
use strowger_tests::proxy::{Proxy, key};
use strowger_tests::sipp::{Counts, Sipp};

/// Every transaction has gone 64*T1 = 32 s after its last message; the rest is the machine's.
const EMPTY_AFTER: Duration = Duration::from_secs(40);

/// Makes `calls` calls at `rate` a second, checks that none failed and that nothing is left.
fn calls_pass(caller: &str, callee: &str, rate: u32, calls: u64, talk_ms: u32) {
    let mut callee = Sipp::callee(callee);
    let mut proxy = Proxy::relaying_to(callee.port());
    let (rate, count, talk) = (rate.to_string(), calls.to_string(), talk_ms.to_string());
    let options = ["-r", &rate, "-m", &count, "-d", &talk];
    let mut caller = Sipp::caller(caller, proxy.address(), &options);

    let limit = Duration::from_secs(120) + Duration::from_millis(talk_ms.into());
    passed(caller.finish(limit), calls);
    let last_call = Instant::now();
    passed(callee.stop(PATIENCE), calls);

    let summary = proxy.summary();
    assert_eq!(summary.shards(), 2, "{summary:?}");
    // What a transaction sends is sent by the shard that owns it: both have owned some.
    assert!(summary.each(key::OUT).iter().all(|sent| *sent > 0), "{summary:?}");
    assert!(summary.total(key::HANDED_OVER) > 0, "{summary:?}");
    summary.assert_nothing_shed();

    std::thread::sleep((last_call + EMPTY_AFTER).saturating_duration_since(Instant::now()));
    proxy.summary().assert_empty();
    let (status, summary) = proxy.stop(PATIENCE);
    assert!(status.success(), "{status}");
    summary.assert_empty();
}

fn passed(counts: Counts, calls: u64) {
    println!("{counts:?}");
    assert_eq!((counts.created, counts.successful, counts.failed), (calls, calls, 0), "{counts:?}");
}

#[test]
fn fifty_calls_a_second_for_a_minute_pass_and_leave_nothing() {
    calls_pass("caller.xml", "callee.xml", 50, 3000, 2000);
}

#[test]
fn a_rejected_call_is_acknowledged_hop_by_hop() {
    calls_pass("caller-rejected.xml", "callee-rejects.xml", 20, 100, 0);
}

#[test]
fn a_ringing_call_is_cancelled() {
    calls_pass("caller-cancels.xml", "callee-cancelled.xml", 20, 100, 300);
}

#[test]
fn a_draining_proxy_finishes_its_calls_and_refuses_new_ones() {
    let mut callee = Sipp::callee("callee.xml");
    let mut proxy = Proxy::relaying_to(callee.port());
    let options = ["-r", "10", "-m", "20", "-d", "8000"];
    let mut caller = Sipp::caller("caller.xml", proxy.address(), &options);
    let end = Instant::now() + PATIENCE;
    while caller.so_far().is_none_or(|counts| counts.created < 20) {
        assert!(Instant::now() < end && caller.is_running(), "{:?}", caller.so_far());
        std::thread::sleep(Duration::from_millis(100));
    }
    // The last INVITE's way there and back, and a freeze of the machine.
    std::thread::sleep(Duration::from_secs(2));

    proxy.process().signal(Signal::Term);
    std::thread::sleep(Duration::from_secs(1));
    let mut peer = Peer::new(proxy.address());
    let invite = peer.request("INVITE", "sip:late@example.net", "Max-Forwards: 70\r\n");
    let refused = peer.ask(&invite, PATIENCE);
    peer.acknowledge(&invite, &refused);
    assert_eq!(datagram::status(&refused), Some(503), "{refused}");
    let seconds = datagram::header(&refused, "Retry-After").map(str::parse::<u32>);
    assert!(matches!(seconds, Some(Ok(1..))), "{refused}");

    assert!(caller.is_running(), "the calls ended before the stop could be seen");
    passed(caller.finish(PATIENCE), 20);
    passed(callee.stop(PATIENCE), 20);
    let (status, summary) = proxy.ended(EMPTY_AFTER + PATIENCE);
    assert!(status.success(), "{status}");
    assert_eq!(summary.shards(), 2, "{summary:?}");
}

#[test]
fn a_second_signal_forces_the_end() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
    let port = silent.local_addr().expect("a bound socket has an address").port();
    let mut proxy = Proxy::relaying_to(port);
    let mut peer = Peer::new(proxy.address());
    let invite = peer.request("INVITE", "sip:nobody@example.net", "Max-Forwards: 70\r\n");
    peer.send(invite.as_bytes());
    let trying = peer.receive(Instant::now() + PATIENCE).expect("a 100 at once");
    assert_eq!(datagram::status(&trying), Some(100), "{trying}");

    proxy.process().signal(Signal::Term);
    std::thread::sleep(Duration::from_secs(2));
    assert!(proxy.process().is_running(), "it left while an INVITE waited");
    proxy.process().signal(Signal::Term);
    let (_, summary) = proxy.ended(Duration::from_secs(10));
    assert_eq!(summary.shards(), 2, "{summary:?}");
}
