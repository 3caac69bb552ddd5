//! Limits across shards, and a long random run against a model of what must hold.

use super::super::{Database, DbMode, Dialog, Settings};
use super::rig::{House, Log, settings};
use super::storage::Tables;
use crate::bench::{Node, Sent, send, sent};
use std::collections::BTreeMap;
use std::rc::Rc;
use strowger_sip::engine::Input;
use strowger_sip::module::Command;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::{Duration, ms, secs};

const SHARDS: u16 = 4;

struct Net {
    node: Node<House>,
    log: Log,
    tables: Tables,
    restarts: usize,
}

impl Net {
    fn new(settings: &Settings) -> Net {
        let log = Log::default();
        let make = || (House::new(Rc::clone(&log)), (Dialog::new(settings.clone(), b"s"),));
        Net { node: Node::new(SHARDS, make), log, tables: Tables::default(), restarts: 0 }
    }

    /// The process is killed; the next one has what was stored, and the same clock.
    fn restart(&mut self, settings: &Settings) {
        let now = self.node.shards[0].now().since(strowger_sip::time::Instant::START);
        let log = Rc::clone(&self.log);
        let make = || (House::new(Rc::clone(&log)), (Dialog::new(settings.clone(), b"s"),));
        self.node = Node::new(SHARDS, make);
        self.node.advance(now);
        let tables = &self.tables;
        self.node.shards.iter_mut().for_each(|shard| tables.load_into(shard));
        self.node.settle();
        self.restarts += 1;
    }

    fn home(call_id: &str) -> usize {
        usize::from(ShardMap::new(SHARDS, (1, 2)).home(call_id.as_bytes()).0)
    }

    /// A message arrives at home; other shards hear of it later.
    fn deliver(&mut self, call_id: &str, from: &str, message: &str) -> Vec<Sent> {
        let home = &mut self.node.shards[Net::home(call_id)];
        let mut all = send(home, from, message);
        self.tables.take_from(home);
        all.extend(sent(home));
        all
    }

    /// Storage does what all shards want.
    fn write(&mut self) {
        let tables = &mut self.tables;
        self.node.shards.iter_mut().for_each(|shard| tables.take_from(shard));
    }

    fn sent(&mut self) -> Vec<Sent> {
        self.node.shards.iter_mut().flat_map(sent).collect()
    }

    /// Asks every shard and adds up.
    fn sum(&mut self, name: &str, arguments: &[&str]) -> u64 {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let command = Command { name: name.to_owned(), arguments };
        let ask = |shard: &mut strowger_sip::rig::Bench<House>| {
            let answer = shard.command(&command).expect("known").expect("an answer");
            answer.parse::<u64>().expect("a number")
        };
        self.node.shards.iter_mut().map(ask).sum()
    }

    fn metric(&self, name: &str) -> u64 {
        self.node.shards.iter().map(|shard| shard.metric(name).expect("a metric")).sum()
    }
}

fn invite(user: &str, call_id: &str) -> String {
    format!(
        "INVITE sip:{user}@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{call_id}
From: <sip:a@example.com>;tag=a1
To: <sip:b@example.com>
Call-ID: {call_id}
CSeq: 7 INVITE
Contact: <sip:a@192.0.2.10>
Max-Forwards: 70
Content-Length: 0

"
    )
}

fn response(request: &str, status: &str) -> String {
    crate::bench::response(request, status)
        .replace("Content-Length", "Contact: <sip:b@192.0.2.20>\nContent-Length")
}

fn within(method: &str, number: u32, ok: &str) -> String {
    let value = |name: &str| {
        let line = ok.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_default().to_owned()
    };
    format!(
        "{method} sip:b@192.0.2.20 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{method}{number}{call_id}
Route: {route}
From: <sip:a@example.com>;tag=a1
To: <sip:b@example.com>;tag=b
Call-ID: {call_id}
CSeq: {number} {method}
Max-Forwards: 70
Content-Length: 0

",
        route = value("Record-Route"),
        call_id = value("Call-ID"),
    )
}

#[test]
fn of_a_thousand_calls_at_once_exactly_ten_pass() {
    let mut net = Net::new(&settings());
    let calls: Vec<String> = (0..1000).map(|n| format!("call{n}")).collect();
    for call in &calls {
        net.deliver(call, "192.0.2.10:5060", &invite("caller10", call));
    }
    let homes: Vec<usize> = calls.iter().map(|call| Net::home(call)).collect();
    assert!((0..4).all(|shard| homes.contains(&shard)));
    net.node.settle();
    let sent = net.sent();
    let starts = |text: &str| sent.iter().filter(|it| it.text.starts_with(text)).count();
    // Calls at the counting shard's own home were decided while they came in.
    let passed = net.metric("dialog_processed_dialogs");
    assert_eq!(passed, 10);
    assert!(starts("INVITE") <= 10 && starts("SIP/2.0 486") > 0);
    assert_eq!(net.sum("dlg.profile_get_size", &["caller", "x"]), 10);
    // Nobody answers: every place is free again.
    net.node.advance(secs(200));
    assert_eq!(net.sum("dlg.profile_get_size", &["caller", "x"]), 0);
    assert_eq!(net.metric("dialog_failed_dialogs"), 10);
}

#[test]
fn counts_stay_right_though_lanes_between_shards_lose_messages() {
    let mut net = Net::new(&settings());
    let mut dice = Dice(1);
    // Carries messages between shards for a while, and loses every third.
    let mut carry = |net: &mut Net, span: Duration| {
        let mut left = span;
        while left > Duration::ZERO {
            for index in 0..usize::from(SHARDS) {
                for (to, message) in net.node.shards[index].take_peers() {
                    if dice.below(3) == 0 {
                        continue;
                    }
                    let from = ShardId(u16::try_from(index).expect("a shard"));
                    let input = Input::Peer { from, message };
                    net.node.shards[usize::from(to.0)].input(input);
                }
            }
            net.node.shards.iter_mut().for_each(|shard| shard.advance(ms(50)));
            left = left.saturating_sub(ms(50));
        }
    };
    for call in 0..60 {
        let call = format!("call{call}");
        net.deliver(&call, "192.0.2.10:5060", &invite("caller10", &call));
    }
    carry(&mut net, secs(20));
    assert_eq!(net.sum("dlg.profile_get_size", &["caller", "x"]), 10);
    let up = net.metric("dialog_processed_dialogs") - net.metric("dialog_failed_dialogs");
    // Whoever was not answered in time was refused, and holds no place.
    assert!(up <= 10, "{up}");
    carry(&mut net, secs(400));
    assert_eq!(net.sum("dlg.profile_get_size", &["caller", "x"]), 0);
}

#[test]
fn a_place_whose_caller_has_gone_is_free() {
    let mut net = Net::new(&settings());
    let calls: Vec<String> = (0..8).map(|n| format!("call{n}")).collect();
    for call in &calls {
        let text = invite("caller10", call);
        net.deliver(call, "192.0.2.10:5060", &text);
        let cancel = text.replace("INVITE sip", "CANCEL sip").replace("7 INVITE", "7 CANCEL");
        net.deliver(call, "192.0.2.10:5060", &cancel);
    }
    net.node.settle();
    net.node.advance(secs(200));
    assert_eq!(net.sum("dlg.profile_get_size", &["caller", "x"]), 0);
}

/// What the model knows of a call.
#[derive(Clone, Debug)]
enum Stage {
    Invited(String),
    Answered(String),
    Up(String),
    Over,
}

/// A stream of numbers for choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One step of one call; a message is lost now and then, and comes twice now and then.
fn play(net: &mut Net, dice: &mut Dice, call: &str, stage: &Stage) -> Stage {
    let (a, b) = ("192.0.2.10:5060", "192.0.2.20:5060");
    let lost = dice.below(10) == 0;
    let copies = if lost { 0 } else { 1 + usize::from(dice.below(6) == 0) };
    let pass = |net: &mut Net, from: &str, text: &str| -> Vec<Sent> {
        let sent: Vec<Sent> = (0..copies).flat_map(|_| net.deliver(call, from, text)).collect();
        net.node.settle();
        sent
    };
    match stage {
        Stage::Invited(invite) => match dice.below(4) {
            0 => {
                pass(net, b, &response(invite, "180 Ringing"));
                stage.clone()
            }
            1 => {
                pass(net, b, &response(invite, "486 Busy Here"));
                if lost { stage.clone() } else { Stage::Over }
            }
            _ => {
                let sent = pass(net, b, &response(invite, "200 OK"));
                let ok = sent.into_iter().find(|it| it.text.starts_with("SIP/2.0 200"));
                ok.map_or(stage.clone(), |ok| Stage::Answered(ok.text))
            }
        },
        Stage::Answered(ok) => {
            pass(net, a, &within("ACK", 7, ok));
            if lost { stage.clone() } else { Stage::Up(ok.clone()) }
        }
        Stage::Up(ok) if dice.below(3) == 0 => {
            let sent = pass(net, a, &within("BYE", 8, ok));
            let bye = sent.into_iter().find(|it| it.text.starts_with("BYE"));
            if let Some(bye) = bye {
                net.deliver(call, b, &response(&bye.text, "200 OK"));
                net.node.settle();
                return Stage::Over;
            }
            stage.clone()
        }
        Stage::Up(_) | Stage::Over => stage.clone(),
    }
}

/// A callee answers, and the process dies before that has come to storage: nobody heard of it.
fn answer_and_die(net: &mut Net, calls: &BTreeMap<String, Stage>) {
    for (call, stage) in calls {
        if let Stage::Invited(invite) = stage {
            let home = &mut net.node.shards[Net::home(call)];
            let sent = send(home, "192.0.2.20:5060", &response(invite, "200 OK"));
            assert!(!sent.iter().any(|it| it.text.starts_with("SIP/2.0 200")), "{sent:?}");
        }
    }
}

/// A run with calls at random, lost and repeated messages, and a restart now and then if there is
/// storage. What is left of the numbers is checked by the caller.
fn run(seed: u64, settings: &Settings, restarts: bool) -> Net {
    let mut net = Net::new(settings);
    let mut dice = Dice(seed);
    let mut calls: BTreeMap<String, Stage> = BTreeMap::new();
    for turn in 0..300u32 {
        if dice.below(3) == 0 {
            let call = format!("s{seed}c{turn}");
            net.deliver(&call, "192.0.2.10:5060", &invite("everybody", &call));
            net.node.settle();
            let sent = net.sent();
            let invite = sent.into_iter().find(|it| it.text.starts_with("INVITE"));
            // Where the group is counted elsewhere, the INVITE went out a moment later.
            if let Some(invite) = invite {
                calls.insert(call, Stage::Invited(invite.text));
            }
        }
        let count = calls.len() as u64;
        if count > 0 {
            let pick = usize::try_from(dice.below(count)).expect("small");
            let (call, stage) = calls.iter().nth(pick).expect("a call");
            let (call, stage) = (call.clone(), stage.clone());
            let next = play(&mut net, &mut dice, &call, &stage);
            calls.insert(call, next);
        }
        net.node.advance(ms(dice.below(400)));
        check(&mut net);
        net.write();
        if restarts && dice.below(40) == 0 {
            answer_and_die(&mut net, &calls);
            net.restart(settings);
            calls.retain(|_, stage| !matches!(stage, Stage::Invited(_)));
            check(&mut net);
        }
    }
    net.node.advance(settings.lifetime + Duration::from_secs(120));
    check(&mut net);
    net.write();
    let left = (net.tables.of("dialog").len(), net.tables.of("dialog_vars").len());
    assert_eq!(left, (0, 0), "{seed}");
    net
}

#[test]
fn profiles_equal_a_model_and_every_dialog_ends_once() {
    for seed in 0..20 {
        let net = run(seed, &Settings { lifetime: secs(600), ..settings() }, false);
        let log = net.log.borrow();
        let told = |start: &str| log.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!(told("start"), told("End("), "seed {seed}");
        assert_eq!(told("Created"), told("start") + told("Failed("), "seed {seed}");
        assert_eq!(told("Destroyed"), told("Created"), "seed {seed}");
        assert!(told("End(") > 0 && told("Failed(") > 0, "seed {seed}");
        assert_eq!(net.metric("dialog_overdue_dialogs"), 0, "seed {seed}");
    }
}

#[test]
fn restarts_from_storage_lose_no_call_and_no_end() {
    let database = Database { mode: DbMode::Realtime, ..Settings::default().database };
    let settings = Settings { lifetime: secs(600), database, ..settings() };
    let mut restarts = 0;
    for seed in 100..120 {
        let net = run(seed, &settings, true);
        restarts += net.restarts;
        let log = net.log.borrow();
        let told = |start: &str| log.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!(told("start"), told("End("), "seed {seed}");
        assert_eq!(net.metric("dialog_overdue_dialogs"), 0, "seed {seed}");
        assert_eq!(net.metric("dialog_rows_refused"), 0, "seed {seed}");
    }
    assert!(restarts > 20, "{restarts}");
}

/// What is counted for a profile is what the dialogs of all shards say, and nothing else.
fn check(net: &mut Net) {
    let living: u64 =
        ["active", "early"].iter().map(|name| net.metric(&format!("dialog_{name}_dialogs"))).sum();
    let mut all = 0;
    for shard in &mut net.node.shards {
        let command = Command { name: "dlg.stats_active".into(), arguments: Vec::new() };
        let text = shard.command(&command).expect("known").expect("an answer");
        let number = text.rsplit(':').next().and_then(|it| it.trim_end_matches('}').parse().ok());
        let number: u64 = number.expect("a number");
        all += number;
    }
    assert!(living <= all);
    assert_eq!(net.sum("dlg.profile_get_size", &["caller", "x"]), all);
}
