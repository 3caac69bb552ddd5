//! The best of several responses: RFC 3261 §16.7 steps 6 and 7.
//!
//! For: ranking what the branches have brought, and gathering the challenges of all of them.
//! Not here: when to choose, and what becomes of the choice (`response.rs`).

use crate::engine::core::State;
use crate::engine::incoming::Incoming;
use crate::engine::slots::{BranchSlot, BranchState, ContextId};
use crate::message::{Edits, HeaderName, Message, StatusCode};
use crate::module::list::ModuleList;
use std::rc::Rc;

/// §16.7 step 6 as a number, the lower the better; the first branch wins a tie.
fn priority(status: StatusCode) -> u16 {
    match status.code() {
        code @ 600.. => 1000 + code % 100,
        code @ (401 | 407 | 415 | 420 | 484) => 4000 + code % 100,
        code @ 400..500 => 4100 + code % 100,
        code @ 300..400 => 3000 + code % 100,
        code @ 500..600 => 5000 + code % 100,
        code => 11_000 + code % 100,
    }
}

/// A status with the response it is of, if it is of one.
pub(super) type Best = (StatusCode, Option<Rc<Incoming>>);

/// `faked` is added to the rank of what is no response (`faked_reply_prio`).
pub(super) fn best(branches: &[BranchSlot], faked: u16) -> Option<Best> {
    branches
        .iter()
        .filter(|branch| !branch.replica)
        .filter_map(|branch| match &branch.state {
            BranchState::Answered(status, response) => Some((*status, Some(Rc::clone(response)))),
            BranchState::Failed(status) => Some((*status, None)),
            BranchState::Resolving | BranchState::Pending(_) | BranchState::Superseded => None,
        })
        .min_by_key(|(status, response)| {
            let faked = if response.is_none() { faked } else { 0 };
            priority(*status).saturating_add(faked)
        })
}

impl<L: ModuleList> State<L> {
    /// §16.7 step 7: the caller can answer every challenge, not only the best one's.
    pub(super) fn gather_challenges(
        &self,
        context: Option<ContextId>,
        chosen: Message<'_>,
        edits: &mut Edits,
    ) {
        let Some(context) = context.and_then(|id| self.core.contexts.get(id)) else { return };
        for branch in &context.branches {
            let BranchState::Answered(status, response) = &branch.state else { continue };
            let other = response.message();
            let same = std::ptr::eq(other.bytes(), chosen.bytes());
            if same || !matches!(status.code(), 401 | 407) {
                continue;
            }
            for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                for field in other.headers(name) {
                    // A challenge that cannot be copied is left to its own branch.
                    let _ = edits.append(name.canonical().as_bytes(), field.value);
                }
            }
        }
    }
}
