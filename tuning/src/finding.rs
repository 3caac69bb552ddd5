//! What was found of one knob at one place, and how it is shown.
//!
//! For: people (`Display` of [`Report`]) and programs (`--json`).
//! Not here: finding it (`knobs/`), changing it (`change.rs`).

use crate::change::Change;
use serde::Serialize;
use std::fmt;

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum State {
    /// Nothing: it is as wanted.
    Good,
    /// `apply` can change it.
    Change {
        /// What it would do.
        change: Change,
    },
    /// A person has to: it takes a boot, another unit file, another machine.
    ByHand {
        /// What to do.
        advice: String,
    },
    /// There is no such thing on this host, or it does not tell.
    Absent {
        /// What is missing.
        cause: String,
    },
}

/// One knob at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) knob: &'static str,
    /// A file, or an interface with what of it.
    pub(crate) place: String,
    pub(crate) found: String,
    pub(crate) wanted: String,
    pub(crate) why: String,
    pub(crate) effect: String,
    #[serde(flatten)]
    pub(crate) state: State,
}

impl Finding {
    /// Whether it is not as wanted.
    pub(crate) fn differs(&self) -> bool {
        match self.state {
            State::Change { .. } | State::ByHand { .. } => true,
            State::Good | State::Absent { .. } => false,
        }
    }

    /// What `apply` would do about it.
    pub(crate) fn change(&self) -> Option<&Change> {
        match &self.state {
            State::Change { change } => Some(change),
            State::Good | State::ByHand { .. } | State::Absent { .. } => None,
        }
    }
}

/// All findings, for people.
pub(crate) struct Report<'a>(pub(crate) &'a [Finding]);

impl fmt::Display for Report<'_> {
    /// A knob's reasons once, then a line for each place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<(&str, &str)> = None;
        for finding in self.0 {
            let reasons = (finding.knob, finding.why.as_str());
            if before != Some(reasons) {
                writeln!(f, "{}", finding.knob)?;
                writeln!(f, "  why     {}", finding.why)?;
                writeln!(f, "  effect  {}", finding.effect)?;
                before = Some(reasons);
            }
            let (mark, more) = match &finding.state {
                State::Good => ("good   ", String::new()),
                State::Change { change } => ("CHANGE ", format!("; apply: {change}")),
                State::ByHand { advice } => ("BY HAND", format!("; {advice}")),
                State::Absent { cause } => ("absent ", format!("; {cause}")),
            };
            let Finding { place, found, wanted, .. } = finding;
            writeln!(f, "  {mark} {place}: found {found}, wanted {wanted}{more}")?;
        }
        let count = |wanted: fn(&State) -> bool| {
            self.0.iter().filter(|finding| wanted(&finding.state)).count()
        };
        writeln!(
            f,
            "{} good, {} to change, {} by hand, {} not on this host",
            count(|state| matches!(state, State::Good)),
            count(|state| matches!(state, State::Change { .. })),
            count(|state| matches!(state, State::ByHand { .. })),
            count(|state| matches!(state, State::Absent { .. })),
        )
    }
}
