//! The load generator against real peers: SIPp at the other end, tshark on the wire, the proxy
//! between its own two ends.
//!
//! For: the promise that its counts are true, and that it says so when they prove nothing.
//! Not here: its scenarios and its arithmetic; those are tested in `loadgen`.
//! Needs: Debian's `sip-tester` and `tshark`.

#[path = "load/generator.rs"]
mod generator;
#[path = "load/peer.rs"]
mod peer;
#[path = "load/wire.rs"]
mod wire;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use generator::{Ended, Generator};
use peer::Bundled;
use strowger_tests::binary;
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::Proxy;
use wire::Wire;

/// The longest that a run of these tests takes: its calls, freezes and the end of all timers.
const LIMIT: Duration = Duration::from_secs(120);
/// The messages of a call.
const MESSAGES: [&str; 5] = ["INVITE", "180", "200", "ACK", "BYE"];

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Waits until somebody listens on a UDP port.
fn wait_for_listener(port: u16) {
    let end = Instant::now() + PATIENCE;
    while !ports::is_taken(port) {
        assert!(Instant::now() < end, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Checks a run's counts of messages against the wire's.
fn assert_as_on_the_wire(ended: &Ended, wire: Wire) {
    let wire = wire.count();
    for name in MESSAGES {
        let counted = wire.get(name).copied().unwrap_or(0);
        assert_eq!(ended.messages(name), counted, "{name}: {wire:?}\n{}", ended.output);
    }
}

#[test]
fn its_callers_count_what_sipp_and_the_wire_count() {
    let callee = Bundled::callee("uas", 200);
    let (wire, target) = (Wire::watch(callee.port), loopback(callee.port));
    let ended = generator::run(&["call", "--target", &target, "--rate=100", "--calls=200"], LIMIT);
    ended.assert_passed("calls", 200);
    let [succeeded, failed, _] = callee.finish(LIMIT);
    assert_eq!((succeeded, failed), (200, 0));
    assert_as_on_the_wire(&ended, wire);
}

#[test]
fn its_callees_count_what_sipp_and_the_wire_count() {
    let port = ports::free();
    let wire = Wire::watch(port);
    let address = loopback(port);
    let arguments = ["answer", "--answer", &address, "--calls=200", "--duration=60s"];
    let callee = Generator::start(&arguments);
    wait_for_listener(port);
    let [succeeded, failed, _] = Bundled::caller("uac", 200, port).finish(LIMIT);
    assert_eq!((succeeded, failed), (200, 0));
    let ended = callee.finish(LIMIT);
    ended.assert_passed("answered", 200);
    assert_as_on_the_wire(&ended, wire);
}

#[test]
fn what_its_own_two_ends_say_is_what_is_on_the_wire() {
    let port = ports::free();
    let (wire, address) = (Wire::watch(port), loopback(port));
    let both = ["call", "--target", &address, "--answer", &address, "--rate=200", "--calls=300"];
    let ended = generator::run(&both, LIMIT);
    ended.assert_passed("calls", 300);
    // Both ends are its own: every message was sent and received by it.
    let wire = wire.count();
    for name in MESSAGES {
        let counted = wire.get(name).copied().unwrap_or(0);
        assert_eq!(ended.messages(name), counted * 2, "{name}: {wire:?}");
    }
}

#[test]
fn sipps_own_scenarios_run_unchanged() {
    let folder = Folder::new("scenarios");
    for (ours, theirs) in [("uac", "uas"), ("regexp", "uas"), ("branchc", "branchs")] {
        let file = peer::dump(&folder, ours);
        let callee = Bundled::callee(theirs, 40);
        let target = loopback(callee.port);
        let file = file.to_str().expect("a readable path");
        let arguments = ["scenario", file, "--target", &target, "--rate=40", "--calls=40"];
        generator::run(&arguments, LIMIT).assert_passed("calls", 40);
        assert_eq!(callee.finish(LIMIT)[..2], [40, 0], "{ours} to {theirs}");
    }
    for (ours, theirs) in [("uas", "uac"), ("branchs", "branchc")] {
        let file = peer::dump(&folder, ours);
        let port = ports::free();
        let answer = loopback(port);
        let file = file.to_str().expect("a readable path");
        let arguments = ["scenario", file, "--answer", &answer, "--calls=40", "--duration=60s"];
        let callee = Generator::start(&arguments);
        wait_for_listener(port);
        assert_eq!(Bundled::caller(theirs, 40, port).finish(LIMIT)[..2], [40, 0], "{theirs}");
        callee.finish(LIMIT).assert_passed("answered", 40);
    }
}

#[test]
fn one_failure_in_a_hundred_is_shown_as_exactly_that_with_its_cause() {
    let address = loopback(ports::free());
    let ended = generator::run(
        &[
            "call",
            "--target",
            &address,
            "--answer",
            &address,
            "--rate=400",
            "--calls=1000",
            "--answers=answer=99,486=1",
        ],
        LIMIT,
    );
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    let outcome = ["begun", "succeeded", "failed"].map(|name| ended.number(&["calls", name]));
    assert_eq!(outcome, [1000, 990, 10], "{}", ended.output);
    let causes = ended.report["causes"].as_array().expect("causes");
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert_eq!(causes[0]["count"], 10);
    let what = causes[0]["what"].as_str().expect("a cause");
    assert!(what.starts_with("got 486 while waiting for 200"), "{what}");
    for shown in [&ended.output, &ended.page] {
        assert!(shown.contains("got 486 while waiting for 200"), "{shown}");
    }
    assert!(ended.page.contains("10 (1.00 %)") && ended.page.contains("VALID, and calls failed"));
}

#[test]
fn calls_of_all_kinds_pass_through_the_proxy() {
    let (port, folder) = (ports::free(), Folder::new("load-control"));
    let control = loopback(ports::free());
    let file = folder.write("strowger.toml", &format!("[control]\nlisten = \"{control}\"\n"));
    let file = file.to_str().expect("a readable path");
    let next_hop = format!("sip:127.0.0.1:{port}");
    let mut proxy = Proxy::start(&["-f", file, "--next-hop", &next_hop]);
    let (target, answer) = (proxy.address().to_string(), loopback(port));
    let (page, pid) = (format!("http://{control}"), proxy.process().pid().to_string());
    let ended = generator::run(
        &[
            "call",
            "--target",
            &target,
            "--answer",
            &answer,
            "--rate=60",
            "--calls=300",
            "--hold=500ms",
            "--ring=1s",
            "--mix=talk=6,reinvite=2,update=1,cancel=1",
            "--ports=8",
            "--threads=2",
            "--control",
            &page,
            "--pid",
            &pid,
        ],
        LIMIT,
    );
    ended.assert_passed("calls", 300);
    ended.assert_passed("answered", 300);
    // What the proxy says of itself and what it used are in the same report.
    let system = &ended.report["system"];
    let during = system["metrics_during"].as_object().expect("metrics");
    assert!(during.values().any(|points| points.as_array().is_some_and(|p| p.len() > 2)));
    assert!(system["memory_bytes_most"].as_u64() > Some(1_000_000), "{system}");
    let summary = proxy.summary();
    summary.assert_nothing_shed();
    // Many ports: the kernel gives both shards some of them.
    assert!(summary.each("in").iter().all(|received| *received > 0), "{summary:?}");
}

#[test]
fn calls_pass_over_tcp_and_over_ipv6() {
    let port = ports::free();
    for (host, transport) in [("127.0.0.1", "tcp"), ("[::1]", "udp"), ("[::1]", "tcp")] {
        let address = format!("{host}:{port}");
        let arguments = ["call", "--target", &address, "--answer", &address];
        let more = ["--rate=100", "--calls=100", "--transport", transport, "--hold=100ms"];
        let ended = generator::run(&[&arguments[..], &more].concat(), LIMIT);
        ended.assert_passed("calls", 100);
        assert_eq!(ended.number(&["messages", "retransmissions"]), 0, "{host} {transport}");
    }
}

#[test]
fn users_register_with_digest() {
    const USERS: usize = 50;
    let folder = Folder::new("load-register");
    let mut file = String::from("[routing]\nregistrar = true\nrealm = \"example.com\"\n");
    for user in 1..=USERS {
        write!(file, "[[auth.account]]\nuser = \"user{user}\"\npassword = \"secret\"\n")
            .expect("a string takes everything");
    }
    let file = folder.write("strowger.toml", &file);
    let mut proxy = Proxy::start(&["-f", file.to_str().expect("a readable path")]);
    let target = proxy.address().to_string();
    let arguments = ["register", "--target", &target, "--users=50", "--password=secret"];
    let ended = generator::run(&[&arguments[..], &["--rate=50", "--calls=50"]].concat(), LIMIT);
    ended.assert_passed("calls", USERS as u64);
    // Each was challenged once.
    let counts = ["REGISTER", "401", "200"].map(|name| ended.messages(name));
    assert_eq!(counts, [100, 50, 50], "{}", ended.output);
    assert_eq!(proxy.summary().total("usrloc_location_contacts"), USERS as u64);
    // SIPp's way: a scenario whose users and proofs come from a file.
    let list = (1..=USERS).fold(String::from("SEQUENTIAL\n"), |mut list, user| {
        let proof = format!("[authentication username=user{user} password=secret]");
        writeln!(list, "user{user};{proof}").expect("a string takes everything");
        list
    });
    let list = folder.write("users.csv", &list);
    let scenario = binary::workspace().join("tests/sipp/register.xml");
    let [list, scenario] = [&list, &scenario].map(|path| path.to_str().expect("a readable path"));
    let arguments = ["scenario", scenario, "--target", &target, "--inject", list];
    let ended = generator::run(&[&arguments[..], &["--rate=50", "--calls=50"]].concat(), LIMIT);
    ended.assert_passed("calls", USERS as u64);
    let wrong = ["--rate=50", "--calls=20", "--users=20", "--password=wrong"];
    let refused = generator::run(&[&["register", "--target", &target], &wrong[..]].concat(), LIMIT);
    assert_eq!((refused.code, refused.number(&["calls", "failed"])), (Some(1), 20));
}

#[test]
fn a_run_that_proves_nothing_says_so() {
    let address = loopback(ports::free());
    let arguments = ["call", "--target", &address, "--answer", &address, "--rate=100"];
    let crowded = ["--calls=100", "--hold=5s", "--calls-at-once=10"];
    let ended = generator::run(&[&arguments[..], &crowded].concat(), LIMIT);
    assert_eq!(ended.code, Some(3), "{}", ended.output);
    assert!(ended.output.contains("INVALID: 90 calls could not begin"), "{}", ended.output);
}

#[test]
fn kept_runs_become_pages_and_are_compared() {
    let address = loopback(ports::free());
    let arguments = ["call", "--target", &address, "--answer", &address, "--calls=20"];
    let folder = Folder::new("kept");
    let kept = ["one", "other"].map(|name| {
        let ended = generator::run(&[&arguments[..], &["--rate=50"]].concat(), LIMIT);
        folder.write(&format!("{name}.json"), &ended.report.to_string())
    });
    let [one, other] = kept.each_ref().map(|path| path.to_str().expect("a readable path"));
    let page = folder.path().join("page.html");
    let page_path = page.to_str().expect("a readable path");
    for command in
        [vec!["page", one, "--html", page_path], vec!["compare", one, other, "--html", page_path]]
    {
        assert!(generator::plain(&command).0, "{command:?}");
        let text = std::fs::read_to_string(&page).expect("a page");
        assert!(text.contains("<svg") && text.contains("setup"), "{text}");
        std::fs::remove_file(&page).expect("removed");
    }
    let (passed, table) = generator::plain(&["compare", one, other]);
    assert!(passed && table.contains("calls begun") && table.contains("1.00"), "{table}");
}

#[test]
fn a_search_that_finds_nothing_says_so() {
    let address = loopback(ports::free());
    let arguments = ["search", "--target", &address, "--answer", &address, "--rate=4"];
    let more = ["--duration=1s", "--answers=486", "--late-max=100%", "--no-pin", "--quiet"];
    let (passed, output) = generator::plain(&[&arguments[..], &more].concat());
    assert!(!passed && output.contains("highest rate without a failure: 0.0/s"), "{output}");
    assert!(output.contains("got 486 while waiting for 200"), "{output}");
}

#[test]
fn mistakes_end_with_2_and_say_where() {
    let folder = Folder::new("mistakes");
    let unknown =
        "<scenario name=\"a\">\n<send>\nBYE sip:a SIP/2.0\n\n</send>\n<sendCmd/>\n</scenario>";
    let file = folder.write("unknown.xml", unknown);
    let file = file.to_str().expect("a readable path");
    let expected = [
        (vec!["scenario", file, "--target=127.0.0.1:9"], "unknown.xml:6: <sendCmd>"),
        (vec!["call", "--target=192.0.2.1:5060"], "--allow-remote"),
        (vec!["call", "--target=127.0.0.1:9", "--mix=walk=1"], "walk"),
        (vec!["call", "--target=127.0.0.1:9", "--rate=fast"], "fast"),
    ];
    for (arguments, words) in expected {
        let ended = generator::run(&arguments, LIMIT);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.output);
        assert!(ended.output.contains(words), "{arguments:?}: {}", ended.output);
    }
}

#[test]
fn it_stops_when_told_and_still_reports() {
    let address = loopback(ports::free());
    let arguments = ["call", "--target", &address, "--answer", &address, "--rate=50"];
    let more = ["--duration=600s", "--hold=200ms"];
    let running = Generator::start(&[&arguments[..], &more].concat());
    std::thread::sleep(Duration::from_secs(4));
    let ended = running.stop(LIMIT);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let begun = ended.number(&["calls", "begun"]);
    assert!(begun > 10 && begun < 20_000, "{begun}");
    assert_eq!(begun, ended.number(&["calls", "succeeded"]));
}
