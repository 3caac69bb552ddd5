//! What the parties of a simulated call are like: drawn once, from the seed.
//!
//! For: who rings, answers, rejects, cancels, hangs up, falls silent, and when.
//! Not here: carrying it out (`agent.rs`), which route the call takes (`plan.rs`).

use strowger_sip::entropy::Entropy;
use strowger_sip::time::{Duration, ms};

/// How a party behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Habits {
    /// Answers INVITE with 100 first.
    pub(crate) trying: bool,
    /// Rings this long after the INVITE.
    pub(crate) rings: Vec<Duration>,
    /// Its final answer to an INVITE and when; `None`: it rings until it is cancelled.
    pub(crate) answer: Option<(Duration, u16)>,
    /// Hears nothing and says nothing.
    pub(crate) is_dead: bool,
    /// Dies this long after its first message.
    pub(crate) dies: Option<Duration>,
    /// Cancels its INVITE this long after sending it.
    pub(crate) cancels: Option<Duration>,
    /// Hangs up this long after the call was set up.
    pub(crate) hangs_up: Option<Duration>,
    /// Sends a re-INVITE this long after the call was set up.
    pub(crate) reinvites: Option<Duration>,
    /// Sends an INFO this long after the call was set up.
    pub(crate) informs: Option<Duration>,
    /// Writes header names in their compact form.
    pub(crate) is_terse: bool,
}

/// Whether something that happens once in `times` happens.
pub(crate) fn once_in(entropy: &mut Entropy, times: u64) -> bool {
    entropy.below(times) == 0
}

/// A span between two, more often near the lower one.
pub(crate) fn span(entropy: &mut Entropy, from: Duration, to: Duration) -> Duration {
    let width = u64::try_from((to - from).as_micros()).unwrap_or(0);
    let bound = entropy.below(width) + 1;
    from + Duration::from_micros(entropy.below(bound))
}

fn sometimes(entropy: &mut Entropy, times: u64, from: Duration, to: Duration) -> Option<Duration> {
    once_in(entropy, times).then(|| span(entropy, from, to))
}

/// A party that calls.
pub(crate) fn caller(entropy: &mut Entropy) -> Habits {
    Habits {
        cancels: sometimes(entropy, 4, ms(0), ms(8_000)),
        dies: sometimes(entropy, 40, ms(0), ms(20_000)),
        ..talker(entropy)
    }
}

/// A party that is called.
pub(crate) fn callee(entropy: &mut Entropy) -> Habits {
    let rings = entropy.below(3);
    let rings = (0..rings).map(|_| span(entropy, ms(0), ms(3_000))).collect();
    let when = span(entropy, ms(1), ms(12_000));
    let answer = match entropy.below(16) {
        0..=7 => Some(200),
        8..=13 => Some(rejection(entropy)),
        14 => Some(600 + 3 * u16::try_from(entropy.below(3)).unwrap_or(0)),
        _ => None,
    };
    Habits {
        trying: once_in(entropy, 2),
        rings,
        answer: answer.map(|status| (when, status)),
        is_dead: once_in(entropy, 20),
        dies: sometimes(entropy, 40, ms(0), ms(20_000)),
        ..talker(entropy)
    }
}

/// What either side does once the call stands.
fn talker(entropy: &mut Entropy) -> Habits {
    Habits {
        hangs_up: sometimes(entropy, 2, ms(0), ms(60_000)),
        reinvites: sometimes(entropy, 5, ms(0), ms(20_000)),
        informs: sometimes(entropy, 5, ms(0), ms(20_000)),
        is_terse: once_in(entropy, 4),
        ..Habits::default()
    }
}

fn rejection(entropy: &mut Entropy) -> u16 {
    const ALL: [u16; 10] = [301, 302, 401, 404, 407, 480, 486, 500, 503, 488];
    ALL[usize::try_from(entropy.below(10)).unwrap_or(0)]
}
