//! The simulated network: it loses, duplicates, delays and reorders.
//!
//! For: when the copies of a message arrive.
//! Not here: who sends what to whom (`world.rs`).
//! Invariants: a message lives less than T4 (RFC 3261 §17.1.2.2), as the transactions' timers
//! assume.

use crate::habits::once_in;
use strowger_sip::entropy::Entropy;
use strowger_sip::time::{Duration, Instant, ms};

/// Longest life of a straggler: below T4, 5 s.
const LIFE_MAX: Duration = ms(4_500);

/// The network of one run.
#[derive(Debug)]
pub(crate) struct Network {
    entropy: Entropy,
    lost_per_mille: u64,
    duplicated_per_mille: u64,
    straggling_per_mille: u64,
    jitter: Duration,
}

impl Network {
    /// Draws the weather of a run; a calm one neither loses nor reorders.
    pub(crate) fn new(mut entropy: Entropy, is_calm: bool) -> Network {
        if is_calm {
            return Network {
                entropy,
                lost_per_mille: 0,
                duplicated_per_mille: 0,
                straggling_per_mille: 0,
                jitter: ms(0),
            };
        }
        let is_bad = once_in(&mut entropy, 4);
        let worst = if is_bad { 300 } else { 80 };
        Network {
            lost_per_mille: entropy.below(worst),
            duplicated_per_mille: entropy.below(worst),
            straggling_per_mille: entropy.below(30),
            jitter: Duration::from_millis(1 + entropy.below(400)),
            entropy,
        }
    }

    /// When the copies of a message arrive; none when it is lost.
    pub(crate) fn carry(&mut self, now: Instant) -> Vec<Instant> {
        let copies = 1 + usize::from(self.happens(self.duplicated_per_mille));
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            if !self.happens(self.lost_per_mille) {
                arrivals.push(now + self.delay());
            }
        }
        arrivals
    }

    fn delay(&mut self) -> Duration {
        let straggles = self.happens(self.straggling_per_mille);
        let longest = if straggles { LIFE_MAX } else { self.jitter };
        let micros = u64::try_from(longest.as_micros()).unwrap_or(0);
        ms(1) + Duration::from_micros(self.entropy.below(micros))
    }

    fn happens(&mut self, per_mille: u64) -> bool {
        self.entropy.below(1000) < per_mille
    }
}
