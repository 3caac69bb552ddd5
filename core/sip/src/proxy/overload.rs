//! Shedding by queueing delay: new dialogs give way so that those that run can go on.
//!
//! For: noticing that messages wait too long before they are handled, which no count of them shows.
//! Not here: tables that are full (`engine/receive.rs`), one source that floods (`modules/pike`).
//! Invariants: a request within a dialog is never refused here; one short delay refuses nobody.

use super::rules::OverloadRules;
use crate::time::{Duration, Instant};

/// What a shard knows of how long its messages wait.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    delay: Duration,
    /// Since when every message waited longer than the bound.
    since: Option<Instant>,
    shedding: bool,
}

impl Overload {
    /// What comes next has waited this long.
    pub(crate) fn note(&mut self, now: Instant, delay: Duration, rules: &OverloadRules) {
        self.delay = delay;
        let Some(bound) = rules.queueing_delay else { return };
        if delay <= bound {
            self.since = None;
            // Half of the bound: at the bound itself it would begin and end with every batch.
            self.shedding = self.shedding && delay > bound / 2;
            return;
        }
        let since = *self.since.get_or_insert(now);
        self.shedding = self.shedding || now.since(since) >= rules.interval;
    }

    /// Whether new dialogs are refused.
    pub(crate) fn is_shedding(&self) -> bool {
        self.shedding
    }

    /// How long the last messages waited.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ms;

    fn after(delays: &[(u64, u64)]) -> bool {
        let (mut overload, rules) = (Overload::default(), OverloadRules::default());
        for (at, delay) in delays {
            overload.note(Instant::START + ms(*at), ms(*delay), &rules);
        }
        overload.is_shedding()
    }

    #[test]
    fn a_delay_that_lasts_sheds() {
        assert!(!after(&[(0, 900)]), "a freeze of the machine is over when it is seen");
        assert!(!after(&[(0, 201), (499, 201)]));
        assert!(after(&[(0, 201), (500, 201)]));
        assert!(!after(&[(0, 201), (300, 200), (600, 201), (900, 300)]), "it had caught up");
    }

    #[test]
    fn it_ends_when_the_queue_is_short_again() {
        assert!(after(&[(0, 400), (600, 400), (700, 150)]));
        assert!(!after(&[(0, 400), (600, 400), (700, 100)]));
        assert!(!after(&[(0, 400), (600, 400), (700, 100), (800, 150)]));
    }

    #[test]
    fn without_a_bound_nothing_is_refused() {
        let mut overload = Overload::default();
        let rules = OverloadRules { queueing_delay: None, ..OverloadRules::default() };
        overload.note(Instant::START, ms(9000), &rules);
        overload.note(Instant::START + ms(9000), ms(9000), &rules);
        assert!(!overload.is_shedding());
        assert_eq!(overload.delay(), ms(9000));
    }
}
