//! Seeded runs: whatever the network loses, doubles or reorders, and whenever the node dies, what
//! the server shows becomes what was wanted last.
//!
//! For: convergence of publications, exactly one subscription for each that is wanted, bounds under
//! a slow server.

use super::super::{Publication, Settings, Subscription, Wanted};
use super::rig::{Rig, in_database, reg, settings, watch};
use super::server::{Weather, World};
use strowger_sip::time::{ms, secs};

const SERIES: usize = 4;

fn uri(place: usize) -> String {
    format!("sip:user{place}@192.0.2.20:7072")
}

fn state(place: usize, body: &str) -> Publication {
    Publication { presentity: uri(place), body: Some(body.as_bytes().to_vec()), ..reg("x") }
}

fn gone(place: usize) -> Publication {
    Publication { presentity: uri(place), wanted: Wanted::Not, ..reg("x") }
}

fn following(place: usize, wanted: bool) -> Subscription {
    let wanted = if wanted { Wanted::Forever } else { Wanted::Not };
    Subscription { presentity: uri(place), wanted, ..watch() }
}

/// What is wanted of each series.
#[derive(Default)]
struct Truth {
    states: [Option<String>; SERIES],
    watches: [bool; SERIES],
}

impl Truth {
    /// What an owner says again when its node has lost it.
    fn repeat(&self, world: &mut World) {
        for place in 0..SERIES {
            let call = match &self.states[place] {
                Some(body) => state(place, body),
                None => gone(place),
            };
            let _ = world.rig.publish(call);
            let _ = world.rig.subscribe(following(place, self.watches[place]));
        }
    }
}

fn run(seed: u64, settings: &dyn Fn() -> Settings, repeats: bool) {
    let mut world = World::new(Rig::new(settings()), seed);
    let mut truth = Truth::default();
    for step in 0..240u32 {
        let span = ms(world.entropy.below(4000));
        world.run(span);
        let place = world.entropy.below(SERIES as u64) as usize;
        match world.entropy.below(20) {
            0..9 => {
                let body = format!("state {step}");
                let _ = world.rig.publish(state(place, &body));
                truth.states[place] = Some(body);
            }
            9..12 => {
                let _ = world.rig.publish(gone(place));
                truth.states[place] = None;
            }
            12..15 => {
                let _ = world.rig.subscribe(following(place, true));
                truth.watches[place] = true;
            }
            15 => {
                let _ = world.rig.subscribe(following(place, false));
                truth.watches[place] = false;
            }
            16 => world.disturb(),
            17 => {
                world.restart(settings());
                if repeats {
                    truth.repeat(&mut world);
                }
            }
            _ => {}
        }
    }
    world.settle();
    for place in 0..SERIES {
        let shown = world.shown(&uri(place));
        let wanted: Vec<String> = truth.states[place].iter().cloned().collect();
        assert_eq!(shown, wanted, "seed {seed}, series {place}");
        let watchers = world.watchers(&uri(place));
        assert_eq!(watchers, usize::from(truth.watches[place]), "seed {seed}, series {place}");
    }
    // Nothing is left behind, either.
    for place in 0..SERIES {
        let _ = world.rig.publish(gone(place));
        let _ = world.rig.subscribe(following(place, false));
    }
    world.settle();
    assert_eq!(world.presentities(), 0, "seed {seed}");
    let left = ["pua_publications", "pua_subscriptions", "pua_in_flight"];
    assert_eq!(left.map(|name| world.rig.metric(name)), [0, 0, 0], "seed {seed}");
    assert!(world.rig.table.is_empty(), "seed {seed}");
}

#[test]
fn what_is_published_converges_through_losses_and_restarts() {
    for seed in 0..12 {
        run(seed, &in_database, false);
    }
}

#[test]
fn in_memory_mode_owners_repeat_themselves_after_a_restart() {
    for seed in 100..112 {
        run(seed, &|| Settings { update_period: Some(secs(6)), ..settings() }, true);
    }
}

#[test]
fn a_seed_replays_its_run() {
    let run = || {
        let mut world = World::new(Rig::new(settings()), 5);
        let _ = world.rig.publish(state(0, "a"));
        let _ = world.rig.subscribe(following(1, true));
        world.run(secs(200));
        (world.rig.metric("pua_publishes_sent"), world.rig.metric("pua_notifies"), world.taken)
    };
    assert_eq!(run(), run());
}

/// 500 registrations a second for 20 s, each a new state, to a server that answers after 2 s.
#[test]
fn a_slow_server_gets_the_newest_states_and_no_more() {
    const USERS: u64 = 500;
    const RATE: u64 = 500;
    const SECONDS: u64 = 20;
    let mut world = World::new(Rig::new(settings()), 1);
    world.weather = Weather::CALM;
    world.busy = 0;
    world.slow = secs(2);
    for number in 0..RATE * SECONDS {
        let place = (number % USERS) as usize;
        let _ = world.rig.publish(state(place, &format!("state {number}")));
        world.run(ms(1000 / RATE));
    }
    assert_eq!(world.rig.metric("pua_publications"), USERS);
    assert!(world.most_in_flight <= USERS, "{}", world.most_in_flight);
    world.run(secs(10));
    assert_eq!(world.rig.metric("pua_in_flight"), 0);
    for place in 0..USERS {
        let last = format!("state {}", RATE * SECONDS - USERS + place);
        assert_eq!(world.shown(&uri(place as usize)), [last], "user {place}");
    }
    let (calls, sent) = (RATE * SECONDS, world.taken);
    // One goes out at once, then at most one every 2 s for each user, and the last one.
    assert!(sent <= USERS * (SECONDS / 2 + 2) && sent < calls, "{sent} of {calls}");
}
