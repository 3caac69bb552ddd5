//! Tests of the algorithms on one set.

use super::super::destination::{Attributes, Destination, Mark, State};
use super::super::health::Thresholds;
use super::super::live::Lives;
use super::super::sets::Sets;
use super::*;

struct Rig {
    sets: Sets,
    lives: Lives,
    entropy: Entropy,
    room: Vec<u16>,
}

impl Rig {
    /// Destinations 0, 1, 2 ... with these priorities and attributes.
    fn new(rows: &[(i32, &str)]) -> Rig {
        let row = |(at, (priority, attrs)): (usize, &(i32, &str))| Destination {
            priority: *priority,
            attributes: Attributes::parse(attrs).expect("attributes"),
            ..Destination::new(1, &format!("sip:192.0.2.{at}")).expect("a destination")
        };
        let sets = Sets::new(rows.iter().enumerate().map(row).collect());
        let mut lives = Lives::default();
        lives.renew(&sets);
        Rig { sets, lives, entropy: Entropy::new((1, 2)), room: Vec::new() }
    }

    fn down(&mut self, at: usize) {
        let thresholds = Thresholds { failures: 1, successes: 1 };
        self.lives.list[at].health.mark(Mark::INACTIVE, thresholds);
        self.lives.states_changed();
    }

    fn asked(&mut self, asked: &Asked) -> Vec<u16> {
        let Rig { sets, lives, entropy, room } = self;
        let set = sets.get(0).expect("a set");
        let turn = &mut lives.turns[0];
        Choice { set, live: &mut lives.list, turn, entropy, room }.order(asked).to_vec()
    }

    fn order(&mut self, algorithm: Algorithm) -> Vec<u16> {
        self.asked(&asked(algorithm))
    }

    /// How often each is chosen first.
    fn counts(&mut self, algorithm: Algorithm, turns: usize) -> Vec<usize> {
        let mut counts = vec![0; self.lives.list.len()];
        for _ in 0..turns {
            if let Some(first) = self.order(algorithm).first() {
                counts[usize::from(*first)] += 1;
            }
        }
        counts
    }
}

fn asked(algorithm: Algorithm) -> Asked {
    Asked { algorithm, hash: None, use_default: false, limit: 100 }
}

const FOUR: [(i32, &str); 4] = [(0, ""), (0, ""), (0, ""), (0, "")];

#[test]
fn a_hash_stays_where_it_is_while_others_fall() {
    let mut rig = Rig::new(&FOUR);
    let first = |rig: &mut Rig, call: u32| {
        let hash = Some(hash(&[&call.to_be_bytes()]));
        rig.asked(&Asked { hash, ..asked(Algorithm::CallIdHash) })[0]
    };
    let before: Vec<u16> = (0..200).map(|call| first(&mut rig, call)).collect();
    assert!((0..4).all(|at| before.iter().filter(|found| **found == at).count() > 25));
    rig.down(2);
    for (call, before) in (0..200).zip(before) {
        let expected = if before == 2 { 3 } else { before };
        assert_eq!(first(&mut rig, call), expected);
    }
}

#[test]
fn the_others_follow_in_order() {
    let mut rig = Rig::new(&FOUR);
    rig.down(0);
    assert_eq!(rig.order(Algorithm::RoundRobin), [1, 2, 3]);
    assert_eq!(rig.order(Algorithm::RoundRobin), [2, 3, 1]);
    let limited = Asked { limit: 2, ..asked(Algorithm::RoundRobin) };
    assert_eq!(rig.asked(&limited), [3, 1]);
    (1..4).for_each(|at| rig.down(at));
    assert!(rig.order(Algorithm::RoundRobin).is_empty());
}

#[test]
fn round_robin_is_fair_beside_a_dead_one() {
    let mut rig = Rig::new(&FOUR);
    rig.down(1);
    assert_eq!(rig.counts(Algorithm::RoundRobin, 300), [100, 0, 100, 100]);
}

#[test]
fn without_a_text_to_hash_it_is_round_robin() {
    let mut rig = Rig::new(&FOUR);
    assert_eq!(rig.counts(Algorithm::AuthUserHash, 8), [2, 2, 2, 2]);
    assert_eq!(rig.counts(Algorithm::KeyHash, 8), [2, 2, 2, 2]);
}

#[test]
fn random_is_even_among_the_usable() {
    let mut rig = Rig::new(&FOUR);
    rig.down(0);
    let counts = rig.counts(Algorithm::Random, 3000);
    assert!(counts[0] == 0 && counts[1..].iter().all(|n| (900..1100).contains(n)), "{counts:?}");
}

#[test]
fn serial_goes_by_priority() {
    let mut rig = Rig::new(&[(1, ""), (9, ""), (5, "")]);
    // Places are by falling priority, so the order is that of the places.
    assert_eq!(rig.order(Algorithm::Serial), [0, 1, 2]);
    rig.down(0);
    assert_eq!(rig.order(Algorithm::Serial), [1, 2]);
    assert_eq!(rig.order(Algorithm::Parallel), [1, 2]);
}

#[test]
fn weights_share_out_a_hundred_turns() {
    let mut rig = Rig::new(&[(0, "weight=60"), (0, "weight=30"), (0, "weight=10"), (0, "")]);
    assert_eq!(rig.counts(Algorithm::Weight, 100), [60, 30, 10, 0]);
    // The turns of a dead one go to the next in order.
    rig.down(0);
    assert_eq!(rig.counts(Algorithm::Weight, 100), [0, 90, 10, 0]);
}

#[test]
fn relative_weights_are_of_those_that_are_left() {
    let mut rig = Rig::new(&[(0, "rweight=50"), (0, "rweight=30"), (0, "rweight=10")]);
    assert_eq!(rig.counts(Algorithm::RelativeWeight, 90), [50, 30, 10]);
    rig.down(0);
    assert_eq!(rig.counts(Algorithm::RelativeWeight, 400), [0, 300, 100]);
}

#[test]
fn the_least_loaded_is_chosen_below_its_maximum() {
    let mut rig = Rig::new(&[(0, "maxload=2"), (0, "maxload=9"), (0, "")]);
    rig.lives.list[1].add_call();
    assert_eq!(rig.order(Algorithm::CallLoad), [0, 2, 1]);
    rig.lives.list[0].add_call();
    rig.lives.list[0].add_call();
    assert_eq!(rig.order(Algorithm::CallLoad), [2, 1]);
    rig.lives.list[0].remove_call();
    rig.lives.list[2].set_load_of(strowger_sip::shard::ShardId(3), 7);
    assert_eq!(rig.order(Algorithm::CallLoad), [0, 1, 2]);
}

#[test]
fn latency_lowers_priorities() {
    let rows = [(30, "latency=21"), (30, "latency=91"), (30, "latency=61"), (30, "latency=19")];
    let mut rig = Rig::new(&rows);
    assert_eq!(rig.order(Algorithm::Latency), [0, 3, 2, 1]);
    assert_eq!(rig.order(Algorithm::Latency), [3, 0, 2, 1]);
    assert_eq!(rig.counts(Algorithm::Latency, 10), [5, 0, 0, 5]);
}

#[test]
fn round_robin_among_the_highest_priority() {
    let mut rig = Rig::new(&[(9, ""), (9, ""), (9, ""), (5, ""), (1, "")]);
    assert_eq!(rig.order(Algorithm::RoundRobinByPriority), [0, 1, 2, 3, 4]);
    assert_eq!(rig.order(Algorithm::RoundRobinByPriority), [1, 2, 0, 3, 4]);
    rig.down(2);
    assert_eq!(rig.order(Algorithm::RoundRobinByPriority), [0, 1, 3, 4]);
}

#[test]
fn priority_and_weight_as_in_srv() {
    let mut rig = Rig::new(&[(9, "weight=75"), (9, "weight=25"), (5, "")]);
    let counts = rig.counts(Algorithm::PriorityAndWeight, 4000);
    assert!((2850..3150).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    assert_eq!(rig.order(Algorithm::PriorityAndWeight).last(), Some(&2));
}

#[test]
fn overload_control_spares_a_part() {
    let mut rig = Rig::new(&[(0, "ocrate=50"), (0, ""), (0, "ocrate=100")]);
    let counts = rig.counts(Algorithm::OverloadControl, 300);
    assert_eq!((counts[2], counts.iter().sum::<usize>()), (0, 300));
    assert!((95..106).contains(&counts[0]), "{counts:?}");
    let mut rig = Rig::new(&[(0, "ocrate=25")]);
    assert_eq!(rig.counts(Algorithm::OverloadControl, 100), [75]);
}

#[test]
fn the_default_is_the_last_resort() {
    let mut rig = Rig::new(&[(0, ""), (0, ""), (-1, "")]);
    let with_default = Asked { use_default: true, ..asked(Algorithm::RoundRobin) };
    assert_eq!(rig.asked(&with_default), [0, 1, 2]);
    assert_eq!(rig.asked(&with_default), [1, 0, 2]);
    rig.down(0);
    rig.down(1);
    assert_eq!(rig.asked(&with_default), [2]);
}

#[test]
fn every_algorithm_gives_each_usable_one_once() {
    for number in 0..=64 {
        let Some(algorithm) = Algorithm::from_number(number) else { continue };
        assert_eq!(algorithm.number(), number);
        let mut rig = Rig::new(&[(3, "weight=9"), (3, "rweight=9"), (1, ""), (0, "maxload=4")]);
        rig.down(1);
        for _ in 0..50 {
            let mut order = rig.order(algorithm);
            order.sort_unstable();
            assert_eq!(order, [0, 2, 3], "{algorithm:?}");
        }
    }
    assert!(State::ACTIVE.is_usable());
}
