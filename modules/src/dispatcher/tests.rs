//! Tests of the dispatcher in a routing: failover, probes, calls, several shards.

use super::*;
use crate::bench::{Node, Sent, alone, options, request, response, send, sent};
use strowger_sip::engine::Input;
use strowger_sip::message::Uri;
use strowger_sip::module::{Command, Either};
use strowger_sip::resolver::{Place, Question, Resolution};
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::time::secs;
use strowger_sip::transport::Transport;

struct Trunks(Algorithm);

impl Routing for Trunks {
    type Modules = (Dispatcher,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        Ok(request.dispatcher().relay(1, self.0).await?.into())
    }
}

fn settings(list: &str) -> Settings {
    let list = parse_list(list).expect("a list");
    let destinations = list.into_iter().map(|(_, row)| row).collect();
    Settings { destinations, ..Settings::default() }
}

fn pinging(list: &str, mode: ProbingMode) -> Settings {
    let mut settings = settings(list);
    (settings.ping.interval, settings.ping.mode) = (Some(secs(10)), mode);
    settings
}

fn bench(algorithm: Algorithm, settings: Settings) -> Bench<Trunks> {
    alone(Trunks(algorithm), (Dispatcher::new(settings),))
}

fn command(bench: &mut Bench<Trunks>, text: &str) -> Result<String, Fault> {
    let mut words = text.split(' ').map(str::to_owned);
    let name = format!("dispatcher.{}", words.next().unwrap_or_default());
    bench.command(&Command { name, arguments: words.collect() }).expect("known")
}

/// The states of all destinations as the list shows them.
fn flags(bench: &mut Bench<Trunks>) -> Vec<String> {
    let text = command(bench, "list").expect("a list");
    let after = |part: &str| part.split('"').next().unwrap_or("").to_owned();
    text.split("\"FLAGS\":\"").skip(1).map(after).collect()
}

fn counter(bench: &Bench<Trunks>, name: &str) -> u64 {
    let mut found = None;
    bench.engine().each_metric(&mut |each, value| {
        if each == name {
            found = Some(value);
        }
    });
    found.expect("a counter of this name")
}

fn invites(sent: &[Sent]) -> Vec<&str> {
    let invites = sent.iter().filter(|sent| sent.text.starts_with("INVITE"));
    invites.map(|sent| sent.to.as_str()).collect()
}

fn probes(sent: &[Sent]) -> Vec<&Sent> {
    sent.iter().filter(|sent| sent.text.starts_with("OPTIONS")).collect()
}

const TWO: &str = "1 sip:192.0.2.20 0 10\n1 sip:192.0.2.21 0 5\n";
const CALLER: &str = "192.0.2.10:5060";

#[test]
fn silence_marks_and_fails_over() {
    let mut bench = bench(Algorithm::Serial, settings(TWO));
    let first = send(&mut bench, CALLER, &request("INVITE", "1"));
    assert_eq!(invites(&first), ["192.0.2.20:5060"]);
    bench.advance(secs(33));
    let second = sent(&mut bench);
    let invite = second.iter().find(|sent| sent.to == "192.0.2.21:5060").expect("the second");
    assert_eq!(flags(&mut bench), ["IP", "AX"]);
    let ok = response(&invite.text, "200 OK");
    let relayed = send(&mut bench, "192.0.2.21:5060", &ok);
    assert!(relayed.iter().any(|sent| sent.to == CALLER && sent.text.contains(" 200 ")));
    let (downs, failovers) = ("dispatcher_downs", "dispatcher_failovers");
    assert_eq!((counter(&bench, downs), counter(&bench, failovers)), (1, 1));
    // The next call goes to the second at once.
    let third = send(&mut bench, CALLER, &request("INVITE", "2"));
    assert_eq!(invites(&third), ["192.0.2.21:5060"]);
}

#[test]
fn a_refusal_fails_over_without_a_mark_and_a_busy_callee_does_not() {
    let mut bench = bench(Algorithm::Serial, settings(TWO));
    let first = send(&mut bench, CALLER, &request("INVITE", "1"));
    let refusal = response(&first.last().expect("an INVITE").text, "500 Trouble");
    let second = send(&mut bench, "192.0.2.20:5060", &refusal);
    assert_eq!(invites(&second), ["192.0.2.21:5060"]);
    let invite = second.iter().find(|sent| sent.text.starts_with("INVITE")).expect("an INVITE");
    let busy = send(&mut bench, "192.0.2.21:5060", &response(&invite.text, "486 Busy Here"));
    assert!(busy.iter().any(|sent| sent.to == CALLER && sent.text.contains(" 486 ")), "{busy:?}");
    assert_eq!(flags(&mut bench), ["AX", "AX"]);
}

#[test]
fn a_callee_that_does_not_answer_is_not_the_gateways_fault() {
    let mut bench = bench(Algorithm::Serial, settings(TWO));
    let first = send(&mut bench, CALLER, &request("INVITE", "1"));
    let ringing = response(&first.last().expect("an INVITE").text, "180 Ringing");
    send(&mut bench, "192.0.2.20:5060", &ringing);
    bench.advance(secs(400));
    assert!(invites(&sent(&mut bench)).iter().all(|to| *to != "192.0.2.21:5060"));
    assert_eq!(flags(&mut bench), ["AX", "AX"]);
    assert!(bench.census().is_empty(), "{:?}", bench.census());
}

#[test]
fn an_empty_set_is_503() {
    let mut bench = bench(Algorithm::Random, settings("2 sip:192.0.2.20\n"));
    assert!(send(&mut bench, CALLER, &options("1"))[0].text.starts_with("SIP/2.0 503"));
    assert_eq!(counter(&bench, "dispatcher_empty"), 1);
}

#[test]
fn parallel_goes_to_all() {
    let mut bench = bench(Algorithm::Parallel, settings(TWO));
    let sent = send(&mut bench, CALLER, &request("INVITE", "1"));
    assert_eq!(invites(&sent), ["192.0.2.20:5060", "192.0.2.21:5060"]);
}

#[test]
fn probes_bring_back_what_answers() {
    let mut bench = bench(Algorithm::Serial, pinging(TWO, ProbingMode::Flagged));
    assert!(bench.census().is_empty());
    bench.advance(secs(20));
    assert!(probes(&sent(&mut bench)).is_empty(), "nothing is flagged");
    command(&mut bench, "set_state ip 1 sip:192.0.2.20").expect("done");
    assert_eq!(flags(&mut bench), ["IP", "AX"]);
    bench.advance(secs(10));
    let round = sent(&mut bench);
    assert!(probes(&round).iter().all(|probe| probe.text == probes(&round)[0].text), "one probe");
    let probe = probes(&round)[0];
    assert!(probe.text.contains("From: <sip:dispatcher@localhost>;tag="), "{}", probe.text);
    assert_eq!(probe.to, "192.0.2.20:5060");
    send(&mut bench, "192.0.2.20:5060", &response(&probe.text, "200 OK"));
    assert_eq!(flags(&mut bench), ["AP", "AX"]);
    assert_eq!((counter(&bench, "dispatcher_downs"), counter(&bench, "dispatcher_ups")), (1, 1));
}

#[test]
fn a_probe_without_an_answer_takes_a_destination_out() {
    let mut bench = bench(Algorithm::Serial, pinging(TWO, ProbingMode::All));
    bench.advance(secs(10));
    let round = sent(&mut bench);
    let mut answered: Vec<&str> = Vec::new();
    for probe in probes(&round) {
        if probe.to == "192.0.2.21:5060" && !answered.contains(&probe.text.as_str()) {
            answered.push(&probe.text);
            send(&mut bench, "192.0.2.21:5060", &response(&probe.text, "200 OK"));
        }
    }
    bench.advance(secs(10));
    let shown = flags(&mut bench);
    assert_eq!(shown[0], "IX");
    assert!(counter(&bench, "dispatcher_probes_failed") >= 1);
}

#[test]
fn probes_stop_and_start_on_command() {
    let mut bench = bench(Algorithm::Serial, pinging(TWO, ProbingMode::All));
    let off = command(&mut bench, "ping_active 0").expect("done");
    assert_eq!(off, r#"{"OldPingState":1,"NewPingState":0}"#);
    bench.advance(secs(60));
    assert!(probes(&sent(&mut bench)).is_empty());
    command(&mut bench, "ping_active 1").expect("done");
    bench.advance(secs(10));
    assert!(probes(&sent(&mut bench)).len() >= 2);
}

#[test]
fn a_name_is_probed_once_dns_has_answered() {
    let list = "1 sip:gw.example 0 9\n1 sip:192.0.2.21 32 5\n";
    let mut bench = bench(Algorithm::Serial, pinging(list, ProbingMode::All));
    let question = Question::of(&Uri::parse(b"sip:gw.example").expect("a URI"));
    let to_name = |bench: &mut Bench<Trunks>| {
        probes(&sent(bench)).iter().filter(|probe| probe.to == "192.0.2.40:5060").count()
    };
    bench.advance(secs(10));
    assert_eq!((to_name(&mut bench), flags(&mut bench)[0].as_str()), (0, "AX"));
    let address = "192.0.2.40:5060".parse().expect("an address");
    let place = Place { transport: Transport::Udp, address, priority: 0, weight: 0 };
    let found = Resolution::Found(vec![place], secs(5));
    bench.input(Input::Resolved(question.clone(), found));
    bench.advance(secs(2));
    assert!(to_name(&mut bench) > 0);
    // The address expires, and the name is gone: the other one is chosen.
    bench.advance(secs(20));
    bench.input(Input::Resolved(question, Resolution::Unknown));
    bench.advance(secs(2));
    bench.take_sent();
    assert_eq!(invites(&send(&mut bench, CALLER, &request("INVITE", "1"))), ["192.0.2.21:5060"]);
    assert_eq!(counter(&bench, "dispatcher_downs"), 1);
}

#[test]
fn an_ack_passes_and_nothing_waits_for_its_answer() {
    let mut bench = bench(Algorithm::Serial, settings(TWO));
    let sent = send(&mut bench, CALLER, &request("ACK", "1"));
    assert_eq!((sent.len(), sent[0].to.as_str()), (1, "192.0.2.20:5060"));
    assert!(bench.census().is_empty(), "{:?}", bench.census());
}

#[test]
fn a_draining_shard_probes_nobody() {
    let mut bench = bench(Algorithm::Serial, pinging(TWO, ProbingMode::All));
    bench.input(Input::Drain);
    bench.advance(secs(60));
    assert!(sent(&mut bench).is_empty() && bench.census().is_empty());
}

#[test]
fn calls_are_counted_from_choice_to_end() {
    let list = "1 sip:192.0.2.20 0 0 maxload=1\n1 sip:192.0.2.21 0 0 maxload=1\n";
    let mut bench = bench(Algorithm::CallLoad, settings(list));
    let loads = |bench: &mut Bench<Trunks>| -> Vec<String> {
        let text = command(bench, "list").expect("a list");
        let after = |part: &str| part.split('}').next().unwrap_or("").to_owned();
        text.split("\"DLOAD\":").skip(1).map(after).collect()
    };
    let first = send(&mut bench, CALLER, &request("INVITE", "1"));
    let second = send(&mut bench, CALLER, &request("INVITE", "2"));
    assert_eq!(
        (invites(&first), invites(&second)),
        (vec!["192.0.2.20:5060"], vec!["192.0.2.21:5060"])
    );
    let third = send(&mut bench, CALLER, &request("INVITE", "3"));
    assert!(third.iter().any(|sent| sent.text.contains(" 503 ")), "{third:?}");
    // A refusal frees its place, an answer keeps it until the BYE.
    let invite = |sent: &[Sent]| sent.last().map(|sent| sent.text.clone()).unwrap_or_default();
    let busy = response(&invite(&second), "486 Busy Here");
    send(&mut bench, "192.0.2.21:5060", &busy);
    assert_eq!(loads(&mut bench), ["1", "0"]);
    send(&mut bench, "192.0.2.20:5060", &response(&invite(&first), "200 OK"));
    bench.advance(secs(60));
    assert_eq!(loads(&mut bench), ["1", "0"]);
    let bye = request("BYE", "1")
        .replace("To: <sip:bob@192.0.2.99>", "To: <sip:bob@192.0.2.99>;tag=b")
        .replace("Max-Forwards", "Route: <sip:192.0.2.1;lr>\nMax-Forwards")
        .replace("192.0.2.99 SIP", "192.0.2.20 SIP");
    bench.take_sent();
    let bye = send(&mut bench, CALLER, &bye);
    send(&mut bench, "192.0.2.20:5060", &response(&invite(&bye), "200 OK"));
    assert_eq!(loads(&mut bench), ["0", "0"]);
}

/// The edge has read a list.
fn reloaded(bench: &mut Bench<Trunks>, list: &str) {
    let row = Row::Destinations(settings(list).destinations);
    bench.input(Input::Row(Either::Right(Either::Left(row))));
}

#[test]
fn a_reload_keeps_what_stays() {
    let mut bench = bench(Algorithm::Serial, settings(TWO));
    command(&mut bench, "set_state i 1 sip:192.0.2.20").expect("done");
    // What is read beats what is configured and not read stays.
    reloaded(&mut bench, "1 sip:192.0.2.20 0 1\n1 sip:192.0.2.22 0 7\n");
    assert_eq!(flags(&mut bench), ["AX", "AX", "IX"]);
    assert_eq!(invites(&send(&mut bench, CALLER, &request("INVITE", "1"))), ["192.0.2.22:5060"]);
    reloaded(&mut bench, "");
    assert_eq!(flags(&mut bench), ["IX", "AX"]);
    assert!(command(&mut bench, "reload").is_ok());
    assert!(matches!(bench.take_rows()[..], [Either::Right(Either::Left(Row::Wanted))]));
    assert_eq!(command(&mut bench, "reload").expect_err("too soon").code, 500);
}

#[test]
fn a_routing_under_way_survives_a_reload() {
    let mut bench = bench(Algorithm::Serial, settings(TWO));
    let first = send(&mut bench, CALLER, &request("INVITE", "1"));
    reloaded(&mut bench, "1 sip:192.0.2.99\n");
    let refusal = response(&first.last().expect("an INVITE").text, "503 Trouble");
    let second = send(&mut bench, "192.0.2.20:5060", &refusal);
    assert_eq!(invites(&second), ["192.0.2.21:5060"]);
}

#[test]
fn destinations_are_added_and_removed() {
    let mut bench = bench(Algorithm::Serial, settings(TWO));
    command(&mut bench, "add 1 sip:192.0.2.22 9 20 duid=x;weight=5").expect("done");
    command(&mut bench, "add 1 sip:192.0.2.22 9 20 duid=x;weight=5").expect("done twice");
    assert_eq!(flags(&mut bench), ["IP", "AX", "AX"]);
    command(&mut bench, "set_duid_state a x").expect("done");
    assert_eq!(flags(&mut bench), ["AX", "AX", "AX"]);
    command(&mut bench, "remove 1 sip:192.0.2.20").expect("done");
    assert_eq!(command(&mut bench, "remove 1 sip:192.0.2.20").expect_err("gone").code, 404);
    for wrong in ["add x sip:a", "add 1 tel:1", "set_state q 1 sip:a", "list 7", "hash x"] {
        assert!(command(&mut bench, wrong).is_err(), "{wrong}");
    }
    let listed = command(&mut bench, "list 1").expect("a list");
    let first = "{\"NRSETS\":1,\"RECORDS\":[{\"SET\":{\"ID\":1,\"TARGETS\":[{\"DEST\":\
                 {\"URI\":\"sip:192.0.2.22\",\"FLAGS\":\"AX\",\"PRIORITY\":20,\
                 \"ATTRS\":{\"BODY\":\"duid=x;weight=5\",\"DUID\":\"x\"";
    assert!(listed.starts_with(first), "{listed}");
    assert!(command(&mut bench, "hash 4 a b").expect("a hash").contains("\"slot\":"));
    assert!(command(&mut bench, "oclist 1").expect("a list").contains("\"OCMAX\":100"));
}

#[test]
fn one_shard_probes_and_all_know() {
    let list: String = (20..40).map(|n| format!("1 sip:192.0.2.{n} 9\n")).collect();
    let make = || {
        let dispatcher = Dispatcher::new(pinging(&list, ProbingMode::Flagged));
        (Trunks(Algorithm::RoundRobin), (dispatcher,))
    };
    let mut node = Node::new(4, make);
    node.advance(secs(10));
    let mut probed = Vec::new();
    let mut owners = 0;
    for at in 0..4 {
        let round = sent(&mut node.shards[at]);
        let mut own: Vec<&Sent> = probes(&round);
        own.dedup_by_key(|sent| sent.to.clone());
        own.sort_by_key(|sent| sent.to.clone());
        own.dedup_by_key(|sent| sent.to.clone());
        owners += usize::from(!own.is_empty());
        for probe in own {
            probed.push(probe.to.clone());
            send(&mut node.shards[at], &probe.to, &response(&probe.text, "200 OK"));
        }
    }
    node.settle();
    probed.sort();
    let expected: Vec<String> = (20..40).map(|n| format!("192.0.2.{n}:5060")).collect();
    assert_eq!(probed, expected, "each is probed by one shard");
    assert!(owners > 1);
    for shard in &mut node.shards {
        assert!(flags(shard).iter().all(|flags| flags == "AP"), "{:?}", flags(shard));
    }
    let ups: u64 = node.shards.iter().map(|shard| counter(shard, "dispatcher_ups")).sum();
    assert_eq!(ups, 20, "each came up once");
}

#[test]
fn what_one_shard_sees_all_learn() {
    let make = || (Trunks(Algorithm::Serial), (Dispatcher::new(settings(TWO)),));
    let mut node = Node::new(3, make);
    for shard in 0..3 {
        let uri = ["sip:192.0.2.20", "sip:192.0.2.21"][shard % 2];
        let letter = if shard < 2 { "i" } else { "a" };
        command(&mut node.shards[shard], &format!("set_state {letter} 1 {uri}")).expect("done");
        node.settle();
    }
    for shard in &mut node.shards {
        assert_eq!(flags(shard), ["AX", "IX"]);
    }
}

#[test]
fn calls_of_all_shards_count() {
    let list = "1 sip:192.0.2.20 0 9 maxload=2\n1 sip:192.0.2.21 0 1 maxload=9\n";
    let make = || (Trunks(Algorithm::CallLoad), (Dispatcher::new(settings(list)),));
    let mut node = Node::new(2, make);
    assert_eq!(invites(&node.send(0, CALLER, &request("INVITE", "1"))), ["192.0.2.20:5060"]);
    node.advance(ms(200));
    assert_eq!(invites(&node.send(1, CALLER, &request("INVITE", "2"))), ["192.0.2.21:5060"]);
    node.advance(ms(200));
    assert_eq!(invites(&node.send(0, CALLER, &request("INVITE", "3"))), ["192.0.2.20:5060"]);
    node.advance(ms(200));
    assert_eq!(invites(&node.send(1, CALLER, &request("INVITE", "4"))), ["192.0.2.21:5060"]);
    node.advance(secs(400));
    for shard in &node.shards {
        assert!(shard.census().is_empty(), "{:?}", shard.census());
    }
}
