//! Seeded simulation: callers and callees, a bad network, a node of four shards, virtual time.
//!
//! For: the promises that hold for every order of events: one final answer to a request, losers of
//! a fork cancelled, nothing left behind, one home for a call, the same seed replays the same
//! bytes.
//! Not here: what one given message leads to (`tests/flows`), sockets (`tests/sipp.rs`).
//! Replay: `STROWGER_SEED=<seed> cargo test -p strowger-sim <the test's name>`.
//! More: `STROWGER_SEEDS=10000 cargo test --release -p strowger-sim`.

mod adversary;
mod agent;
mod cast;
mod dialog;
mod habits;
mod judge;
mod mail;
mod network;
mod node;
mod policy;
mod record;
mod serving;
mod trace;
mod world;

use adversary::Knowledge;
use judge::Fault;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// Seeds of each test, unless `STROWGER_SEEDS` says otherwise: together about a minute in a debug
/// build on two cores.
const SEEDS: u64 = 1_500;
/// Every so many seeds one is run twice.
const REPLAY_EVERY: u64 = 8;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct Played {
    fingerprint: u64,
    datagrams: u64,
    handed_over: u64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays one seed.
///
/// # Panics
/// When a promise was broken: with the seed, how to replay it, and the failing call's last events.
fn play(seed: u64, knowledge: Knowledge, name: &str) -> Played {
    let mut world = World::new(seed, knowledge);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let ended = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let what = format!("panic: {}", text.unwrap_or_default());
        Err(Fault { call_id: world.trace.last_call(), what })
    });
    match ended {
        Ok(fingerprint) => {
            let World { datagrams, handed_over, .. } = world;
            Played { fingerprint, datagrams, handed_over }
        }
        Err(Fault { call_id, what }) => panic!(
            "seed {seed}: {what}\n\
             replay: STROWGER_SEED={seed} cargo test -p strowger-sim {name}\n\
             the last events of call {call_id:?}:\n{}",
            world.trace.of_call(&call_id)
        ),
    }
}

/// Plays one seed, or many on all cores.
fn play_all(knowledge: Knowledge, name: &str) {
    if let Some(seed) = number("STROWGER_SEED") {
        println!("seed {seed}: {:?}", play(seed, knowledge, name));
        return;
    }
    let seeds = number("STROWGER_SEEDS").unwrap_or(SEEDS);
    let (next, datagrams) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let played = play(seed, knowledge, name);
            datagrams.fetch_add(played.datagrams, Ordering::Relaxed);
            assert!(played.handed_over > 0, "seed {seed}: no message changed its shard");
            if seed % REPLAY_EVERY == 0 {
                assert_eq!(played, play(seed, knowledge, name), "seed {seed} does not replay");
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    println!("{seeds} seeds, {} datagrams to the node", datagrams.into_inner());
}

#[test]
fn calls_survive_the_network() {
    play_all(Knowledge::Absent, "calls_survive_the_network");
}

#[test]
fn calls_survive_a_blind_adversary() {
    play_all(Knowledge::Blind, "calls_survive_a_blind_adversary");
}

#[test]
fn the_node_survives_an_adversary_on_the_path() {
    play_all(Knowledge::OnPath, "the_node_survives_an_adversary_on_the_path");
}
