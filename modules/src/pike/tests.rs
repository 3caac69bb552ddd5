//! Tests of `pike` in a routing, on one shard and on several.

use super::{Action, Pike, Settings};
use crate::bench::{Node, alone, options, request, send};
use crate::permissions::Prefix;
use strowger_sip::module::Command;
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::time::secs;

struct Ok200;

impl Routing for Ok200 {
    type Modules = (Pike,);

    async fn request(&self, _: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(Reply::new(200).into())
    }
}

fn settings(density: u32, action: Action) -> Settings {
    Settings { reqs_density_per_unit: density, action, ..Settings::default() }
}

fn bench(settings: Settings) -> Bench<Ok200> {
    alone(Ok200, (Pike::new(Some(settings)),))
}

fn counter(bench: &Bench<Ok200>, name: &str) -> u64 {
    let mut found = 0;
    bench.engine().each_metric(&mut |each, value| {
        if each == name {
            found = value;
        }
    });
    found
}

#[test]
fn a_flood_is_dropped_without_a_trace() {
    let mut bench = bench(settings(5, Action::Drop));
    let answered = |bench: &mut Bench<Ok200>, n: u32| {
        send(bench, "192.0.2.10:5060", &request("INVITE", &n.to_string())).len()
    };
    let answers: Vec<usize> = (0..8).map(|n| answered(&mut bench, n)).collect();
    // An INVITE that passes gets 100 and 200; of the others not even 100 remains.
    assert_eq!(answers, [2, 2, 2, 2, 0, 0, 0, 0]);
    assert_eq!(bench.census().server_transactions, 4);
    assert_eq!(counter(&bench, "pike_blocked"), 4);
    bench.advance(secs(4));
    bench.take_sent(); // copies of the answers that nobody acknowledged
    assert_eq!(answered(&mut bench, 100), 2);
    bench.advance(secs(200));
    assert!(bench.census().is_empty(), "{:?}", bench.census());
}

#[test]
fn others_and_listed_networks_are_not_touched() {
    let allow = vec![Prefix::parse("192.0.2.0/24").expect("a prefix")];
    let mut bench = bench(Settings { allow, ..settings(2, Action::Refuse) });
    for n in 0..10 {
        let sent = send(&mut bench, "192.0.2.10:5060", &options(&n.to_string()));
        assert!(sent[0].text.starts_with("SIP/2.0 200"), "{sent:?}");
        let sent = send(&mut bench, "198.51.100.1:5060", &options(&format!("x{n}")));
        let status = if n == 0 { "SIP/2.0 200" } else { "SIP/2.0 503" };
        assert!(sent[0].text.starts_with(status), "{n}: {sent:?}");
        assert_eq!(sent[0].text.contains("Retry-After: 10"), n > 0);
    }
    assert!(send(&mut bench, "198.51.100.2:5060", &options("y"))[0].text.contains(" 200 "));
}

#[test]
fn a_network_of_ipv6_is_one_source() {
    let mut bench = bench(settings(3, Action::Drop));
    for n in 0..6 {
        let from = format!("[2001:db8:0:7::{n}]:5060");
        let answered = send(&mut bench, &from, &options(&n.to_string())).len();
        assert_eq!(answered, usize::from(n < 2), "{n}");
    }
}

#[test]
fn the_limit_is_the_nodes_wherever_requests_arrive() {
    let mut node = Node::new(4, || (Ok200, (Pike::new(Some(settings(20, Action::Drop))),)));
    let mut passed = 0;
    for n in 0..80usize {
        passed += node.send(n % 4, "192.0.2.10:5060", &options(&n.to_string())).len();
    }
    assert!((19..40).contains(&passed), "{passed} passed");
    for shard in 0..4 {
        assert!(node.send(shard, "192.0.2.10:5060", &options(&format!("z{shard}"))).is_empty());
        let sent = node.send(shard, "192.0.2.11:5060", &options(&format!("y{shard}")));
        assert_eq!(sent.len(), 1);
    }
    node.advance(secs(5));
    assert_eq!(node.send(1, "192.0.2.10:5060", &options("later")).len(), 1);
}

#[test]
fn one_busy_call_id_is_not_blocked_early() {
    let mut node = Node::new(4, || (Ok200, (Pike::new(Some(settings(20, Action::Drop))),)));
    let passed: usize =
        (0..40).map(|n| node.send(2, "192.0.2.10:5060", &options(&n.to_string())).len()).sum();
    assert!((19..=21).contains(&passed), "{passed} passed");
}

#[test]
fn a_flood_of_sources_sends_no_messages() {
    let mut node = Node::new(4, || (Ok200, (Pike::new(Some(settings(20, Action::Drop))),)));
    for n in 0..200 {
        let from = format!("198.51.100.{n}:5060");
        assert_eq!(node.send(n % 4, &from, &options(&n.to_string())).len(), 1);
    }
    assert!(node.shards.iter().all(|shard| counter(shard, "pike_reports") == 0));
}

#[test]
fn the_top_is_shown() {
    let mut bench = bench(settings(2, Action::Drop));
    let top = Command { name: "pike.top".into(), arguments: vec![] };
    for n in 0..3 {
        send(&mut bench, "192.0.2.10:5060", &options(&n.to_string()));
    }
    let text = bench.command(&top).expect("known").expect("a list");
    let expected = "{\"max_hits\":2,\"list\":[{\"ip_addr\":\"192.0.2.10\",\"leaf_hits_prev\":0,\
                    \"leaf_hits_curr\":3,\"expires\":4,\"status\":\"HOT\"}]}";
    assert_eq!(text, expected);
}
