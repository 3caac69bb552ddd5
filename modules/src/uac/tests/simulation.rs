//! Ten thousand registrations on two shards, a network that loses a fifth, and a registrar that is
//! restarted: seeded, in virtual time.
//!
//! Invariants: five minutes after the beginning every record is registered, here and there.

use super::super::reg::Registration;
use super::super::{Settings, Uac};
use super::auth::record;
use crate::bench::Node;
use std::collections::BTreeMap;
use strowger_sip::engine::Input;
use strowger_sip::entropy::Entropy;
use strowger_sip::rig::Sent;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::settings::Value;
use strowger_sip::shard::ShardMap;
use strowger_sip::time::{Duration, Instant, ms, secs};
use strowger_sip::transport::Flow;

const RECORDS: usize = 10_000;
const LOSS_PERCENT: u64 = 20;
const GRANTED: u32 = 120;

struct Nothing;

impl Routing for Nothing {
    type Modules = (Uac,);
    async fn request(&self, _: Request<'_, Self>) -> Result<Answer, Reply> {
        Err(Reply::not_found())
    }
}

fn records() -> Vec<Registration> {
    let text = |text: String| Value::String(text);
    let one = |number: usize| {
        record(&[
            ("l_uuid", text(format!("u{number}"))),
            ("r_username", text(format!("trunk{number}"))),
            ("auth_username", text(format!("trunk{number}"))),
        ])
    };
    (0..RECORDS).map(one).collect()
}

/// Challenges each nonce once, forgets everything when it is restarted.
#[derive(Default)]
struct Registrar {
    nonces: u64,
    /// Which nonces it knows begin with this.
    life: u64,
    bindings: BTreeMap<String, Instant>,
    /// No REGISTER with a nonce of this life was refused.
    answered: u64,
}

impl Registrar {
    fn answer(&mut self, now: Instant, text: &str) -> String {
        let line = |name: &str| {
            let prefix = format!("{name}: ");
            text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
        };
        self.answered += 1;
        let known = format!("nonce=\"{}-", self.life);
        let (status, more) = if line("Authorization").contains(&known) {
            self.bindings.insert(line("To").to_owned(), now + secs(u64::from(GRANTED)));
            let contact = line("Contact");
            ("200 OK", format!("Contact: {contact};expires={GRANTED}\r\n"))
        } else {
            self.nonces += 1;
            let nonce = format!("{}-{}", self.life, self.nonces);
            let value = format!("Digest realm=\"sip.provider.example\", nonce=\"{nonce}\"");
            ("401 Unauthorized", format!("WWW-Authenticate: {value}, qop=\"auth\"\r\n"))
        };
        let kept = ["Via", "From", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", line(name)))
            .concat();
        let to = line("To");
        format!("SIP/2.0 {status}\r\n{kept}To: {to};tag=r\r\n{more}Content-Length: 0\r\n\r\n")
    }
}

/// One run; when the last record came online for the first time.
fn run(seed: u64) {
    let mut settings = Settings::default();
    settings.reg.registrations = records();
    settings.reg.random_delay = secs(20);
    let make = || (Nothing, (Uac::new(settings.clone(), b"s"),));
    let mut node = Node::new(2, make);
    let mut registrar = Registrar::default();
    let mut chance = Entropy::new((seed, 7));
    let map = ShardMap::new(2, (1, 2));
    let mut first_seconds = [0u32; 20];
    let step = ms(100);
    // It is gone for ten seconds, twice.
    let is_up = |now: Duration| {
        !(secs(60)..secs(70)).contains(&now) && !(secs(150)..secs(160)).contains(&now)
    };
    let mut answers: Vec<(Flow, String)> = Vec::new();
    for tick in 0u32..3000 {
        let elapsed = step * tick;
        registrar.life = 1 + u64::from(elapsed > secs(60)) + u64::from(elapsed > secs(150));
        if elapsed == secs(60) || elapsed == secs(150) {
            registrar.bindings.clear();
        }
        for (flow, text) in std::mem::take(&mut answers) {
            let call_id = text.lines().find_map(|line| line.strip_prefix("Call-ID: "));
            let home = map.home(call_id.unwrap_or_default().as_bytes());
            let input = Input::Datagram { flow, bytes: text.as_bytes() };
            node.shards[usize::from(home.0)].input(input);
        }
        node.advance(step);
        for shard in &mut node.shards {
            for Sent { flow, bytes, at, .. } in shard.take_sent() {
                let text = String::from_utf8(bytes).expect("text");
                assert!(text.starts_with("REGISTER "), "{text}");
                if elapsed < secs(20) && !text.contains("Authorization") {
                    first_seconds[elapsed.as_secs() as usize] += 1;
                }
                let lost = |chance: &mut Entropy| chance.below(100) < LOSS_PERCENT;
                if is_up(elapsed) && !lost(&mut chance) {
                    let answer = registrar.answer(at, &text);
                    if !lost(&mut chance) {
                        answers.push((flow, answer));
                    }
                }
            }
        }
    }
    // Spread over the delay: no second has more than thrice its share.
    let share = u32::try_from(RECORDS / 20).expect("a number");
    let most = first_seconds.iter().max().copied().unwrap_or_default();
    assert!(most < 3 * share, "seed {seed}: {first_seconds:?}");
    let sum = |name: &str| -> u64 {
        node.shards.iter().map(|shard| shard.metric(name).expect("a count")).sum()
    };
    let all = RECORDS as u64;
    assert_eq!((sum("uac_regtotal"), sum("uac_regactive")), (all, all), "seed {seed}");
    assert_eq!(sum("uac_reg_auth_failures"), 0, "seed {seed}");
    assert!(node.shards.iter().all(|shard| shard.metric("uac_regtotal") > Some(all / 3)));
    let now = node.shards[0].now();
    // After the second restart, two minutes and more ago, everybody has come back.
    let bound = registrar.bindings.values().filter(|until| **until > now).count();
    assert_eq!(bound, RECORDS, "seed {seed}");
    let load = registrar.answered / 300;
    assert!(load < 1500, "seed {seed}: {load} a second");
}

#[test]
fn none_is_stuck_after_five_minutes_of_loss_and_restarts() {
    run(1);
}
