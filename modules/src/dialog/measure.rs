//! How long calls take to ring, to be answered, and how long they last; how large profiles are.
//!
//! For: histograms, and gauges with a label, among what the module shows.
//! Not here: counters of what happened (`mod.rs`), what they mean (`notes.rs`).
//! Invariants: labels are the names of profiles, which the configuration bounds.

use super::Dialog;
use super::table::DialogId;
use strowger_sip::date::UnixTime;
use strowger_sip::histogram::Histogram;
use strowger_sip::module::notes::{EachReading, Reading};
use strowger_sip::time::{Duration, Instant};

/// What this shard has measured.
#[derive(Debug, Default)]
pub(super) struct Measures {
    /// From the INVITE to the first response above 100.
    ringing: Histogram,
    /// From the INVITE to the 2xx.
    answer: Histogram,
    /// From the answer to the end.
    lasted: Histogram,
}

impl Measures {
    pub(super) fn rings(&mut self, since: Option<Instant>, now: Instant) {
        if let Some(since) = since {
            self.ringing.note(now.since(since));
        }
    }

    pub(super) fn is_answered(&mut self, since: Option<Instant>, now: Instant) {
        if let Some(since) = since {
            self.answer.note(now.since(since));
        }
    }
}

impl Dialog {
    pub(super) fn each_reading(&self, each: &mut EachReading<'_>) {
        let measures = &self.measures;
        each("dialog_ringing_seconds", &[], Reading::Histogram(&measures.ringing));
        each("dialog_answer_seconds", &[], Reading::Histogram(&measures.answer));
        each("dialog_lasted_seconds", &[], Reading::Histogram(&measures.lasted));
        let shown = self.settings.profiles.iter().filter(|_| self.settings.profile_gauges);
        for (number, (name, _)) in (0u16..).zip(shown) {
            let size = Reading::Number(self.profiles.total(number));
            each("dialog_profile_size", &[("profile", name)], size);
        }
    }

    /// A dialog is over: how long it lasted.
    pub(super) fn measure_end(&mut self, id: DialogId, today: UnixTime) {
        if let Some(record) = self.table.get(id) {
            let seconds = record.duration(today);
            self.measures.lasted.note(Duration::from_secs(seconds));
        }
    }
}
