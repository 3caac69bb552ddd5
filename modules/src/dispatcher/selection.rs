//! What a choice gives: destinations in the order in which to try them.

use super::algorithm::Algorithm;
use super::destination::{Destination, DestinationId};
use super::select::Order;
use super::sets::{Member, Sets};
use smallvec::SmallVec;
use std::rc::Rc;
use strowger_sip::limits::BRANCHES_MAX;
use strowger_sip::routing::Reply;

/// No destination: the set is empty or unknown, or none of it is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDestination;

impl From<NoDestination> for Reply {
    /// 503: another time there may be one.
    fn from(_: NoDestination) -> Reply {
        Reply::new(503)
    }
}

/// Destinations to try, the chosen one first. It stays as it is through a reload.
#[derive(Clone, Debug)]
pub struct Selection {
    sets: Rc<Sets>,
    list: SmallVec<[(u32, u16); BRANCHES_MAX]>,
    next: usize,
    pub(super) parallel: bool,
    pub(super) counts_calls: bool,
}

impl Selection {
    pub(super) fn new(sets: Rc<Sets>) -> Selection {
        let list = SmallVec::new();
        Selection { sets, list, next: 0, parallel: false, counts_calls: false }
    }

    /// Appends what one set gave.
    pub(super) fn add(&mut self, set: usize, order: &Order, algorithm: Algorithm) {
        let set = u32::try_from(set).unwrap_or(u32::MAX);
        let room = BRANCHES_MAX.saturating_sub(self.list.len());
        self.list.extend(order.iter().take(room).map(|at| (set, *at)));
        self.parallel |= algorithm == Algorithm::Parallel;
        self.counts_calls |= algorithm == Algorithm::CallLoad;
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.list.len() - self.next
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next one to try (`ds_next_dst`).
    pub fn next_candidate(&mut self) -> Option<Candidate> {
        let (set, at) = *self.list.get(self.next)?;
        self.next += 1;
        Some(Candidate { sets: Rc::clone(&self.sets), set, at })
    }
}

impl Iterator for Selection {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        self.next_candidate()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

/// A destination that was chosen.
#[derive(Clone, Debug)]
pub struct Candidate {
    sets: Rc<Sets>,
    set: u32,
    at: u16,
}

impl Candidate {
    fn member(&self) -> &Member {
        // Indices come from this very picture, which never changes.
        let set = self.sets.get(self.set as usize);
        let member = set.and_then(|set| set.members.get(usize::from(self.at)));
        member.expect("a candidate of its own sets")
    }

    /// The destination, as it is configured.
    pub fn destination(&self) -> &Destination {
        &self.member().destination
    }

    /// Its URI.
    pub fn uri(&self) -> &str {
        &self.destination().uri
    }

    /// Its attributes, as text.
    pub fn attrs(&self) -> &str {
        &self.destination().attributes.body
    }

    /// Its id.
    pub fn id(&self) -> DestinationId {
        self.member().id
    }
}
