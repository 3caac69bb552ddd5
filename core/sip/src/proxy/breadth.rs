//! Max-Breadth: RFC 5393 §5.3.
//!
//! For: bounding how many branches a request can grow into over all proxies that fork it, whatever
//! loops it meets: each fork splits what it was given.
//! Not here: how deep a request goes (Max-Forwards), loops that come back unchanged
//! (`admission.rs`).
//! Invariants: branches that wait for an answer at the same time have at most what was received.

use crate::engine::slots::{BranchState, Context};
use crate::message::HeaderName;

/// What a request has that does not say (§5.3.3.1 recommends it).
const MAX_BREADTH_DEFAULT: u32 = 60;

/// How many branches one branch may grow into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breadth {
    /// The default, unsaid as it was received: a request that is not forked goes on as it came.
    Unsaid,
    /// So many.
    Share(u32),
}

impl Breadth {
    /// What stands in the header.
    pub(super) fn header(self) -> Option<u32> {
        match self {
            Breadth::Unsaid => None,
            Breadth::Share(share) => Some(share),
        }
    }
}

/// A request's breadth, split over the targets of one relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    each: Breadth,
    /// So many targets get one more.
    larger: u32,
}

/// The breadth is less than the number of branches: 440.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Shares {
    /// Splits what branches that still wait have left over. A request without a server transaction,
    /// an ACK, is not forked and keeps what it has.
    pub(super) fn of(context: &Context, targets: usize) -> Result<Shares, Exhausted> {
        if context.server.is_none() {
            return Ok(Shares { each: Breadth::Unsaid, larger: 0 });
        }
        let message = context.request.message();
        // Admission has read it.
        let received = message.number(HeaderName::MaxBreadth, u32::MAX).ok().flatten();
        let taken = context.branches.iter().map(|branch| match branch.state {
            BranchState::Resolving | BranchState::Pending(_) => {
                branch.breadth.header().unwrap_or(MAX_BREADTH_DEFAULT)
            }
            BranchState::Answered(..) | BranchState::Failed(_) | BranchState::Superseded => 0,
        });
        let taken = taken.fold(0, u32::saturating_add);
        Shares::split(received, taken, u32::try_from(targets).unwrap_or(u32::MAX))
    }

    fn split(received: Option<u32>, taken: u32, targets: u32) -> Result<Shares, Exhausted> {
        let left = match received {
            Some(received) => received.saturating_sub(taken),
            None if taken == 0 && targets == 1 => {
                return Ok(Shares { each: Breadth::Unsaid, larger: 0 });
            }
            // A branch that a routing adds to one that was sent alone finds nothing left. It gets
            // the least there is: it cannot be forked again, so nothing grows by it.
            None => MAX_BREADTH_DEFAULT.saturating_sub(taken).max(targets),
        };
        match left.checked_div(targets) {
            None | Some(0) => Err(Exhausted),
            Some(each) => Ok(Shares { each: Breadth::Share(each), larger: left % targets }),
        }
    }

    /// The share of the next target.
    pub(super) fn next(&mut self) -> Breadth {
        match self.each {
            Breadth::Share(each) if self.larger > 0 => {
                self.larger -= 1;
                Breadth::Share(each.saturating_add(1))
            }
            Breadth::Share(_) | Breadth::Unsaid => self.each,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(received: Option<u32>, taken: u32, targets: u32) -> Vec<Option<u32>> {
        let Ok(mut shares) = Shares::split(received, taken, targets) else { return Vec::new() };
        (0..targets).map(|_| shares.next().header()).collect()
    }

    #[test]
    fn nothing_is_said_where_nothing_is_forked() {
        assert_eq!(split(None, 0, 1), [None]);
        assert_eq!(split(Some(7), 0, 1), [Some(7)]);
    }

    #[test]
    fn the_shares_add_up_to_what_was_received() {
        assert_eq!(split(None, 0, 2), [Some(30), Some(30)]);
        assert_eq!(split(Some(7), 0, 3), [Some(3), Some(2), Some(2)]);
        assert_eq!(split(Some(7), 5, 2), [Some(1), Some(1)]);
        assert_eq!(split(Some(u32::MAX), 0, 2), [Some(1 << 31), Some((1 << 31) - 1)]);
    }

    #[test]
    fn too_little_is_nothing() {
        assert_eq!(split(Some(1), 0, 2), []);
        assert_eq!(split(Some(7), 7, 1), []);
        assert_eq!(split(Some(0), 0, 1), []);
    }

    #[test]
    fn a_late_branch_of_an_unforked_request_cannot_be_forked_again() {
        assert_eq!(split(None, 60, 1), [Some(1)]);
        assert_eq!(split(None, 60, 2), [Some(1), Some(1)]);
    }
}
