//! CANCEL: RFC 3261 §9 and §16.10.
//!
//! For: a caller's CANCEL, and the CANCELs that this node sends to branches it does not want any
//! more.
//! Invariants: no CANCEL goes out before a provisional response (§9.1); a branch that was cancelled
//! and never answers ends after 64*T1.

use super::response;
use super::rules::CancelUnanswered;
use crate::engine::core::{Core, State};
use crate::engine::slots::{
    BranchSlot, BranchState, Cancelling, ClientId, ClientMachine, ContextId, Owner,
};
use crate::message::{MethodKind, StatusCode, write_cancel};
use crate::module::list::ModuleList;
use crate::routing::Reply;
use crate::transaction::{ClientPhase, Step};
use smallvec::SmallVec;

/// Why a branch is cancelled; it is told downstream (RFC 3326).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why<'w> {
    /// The caller said so, with these Reason values.
    Caller(&'w [&'w [u8]]),
    /// The call ended with this status, elsewhere or by our own decision.
    Status(StatusCode),
}

impl Why<'_> {
    /// The value of a Reason header, with `own` for our own decisions too; empty when there is none
    /// to give.
    fn reason(self, own: bool) -> Vec<u8> {
        match self {
            Why::Caller(reasons) => reasons.join(b", ".as_slice()),
            Why::Status(_) if !own => Vec::new(),
            Why::Status(status) => {
                // RFC 3326 §2 has this text for a call that somebody else answered.
                let text =
                    if status.is_success() { "Call completed elsewhere" } else { status.reason() };
                format!("SIP;cause={};text=\"{text}\"", status.code()).into_bytes()
            }
        }
    }
}

impl<L: ModuleList> State<L> {
    /// The caller cancels an INVITE that is being routed, for these reasons.
    pub(crate) fn cancel_context(&mut self, id: ContextId, reasons: &[&[u8]]) {
        let Some(context) = self.core.contexts.get_mut(id) else { return };
        if context.final_sent || context.cancelled {
            return;
        }
        context.cancelled = true;
        // A routing that pauses has nothing to wait for any more.
        if let Some(pause) = context.pause.take() {
            self.core.wheel.cancel(pause);
            self.core.wake(id);
        }
        let Some(context) = self.core.contexts.get(id) else { return };
        if !context.branches.iter().any(is_pending) {
            self.answer(id, &Reply::new(StatusCode::REQUEST_TERMINATED.code()));
            return;
        }
        let goes_on = self.core.settings.rules.e2e_cancel_reason;
        self.cancel_pending(id, Why::Caller(if goes_on { reasons } else { &[] }));
    }

    /// Cancels every branch of a context that has not ended.
    pub(crate) fn cancel_pending(&mut self, id: ContextId, why: Why<'_>) {
        let Some(context) = self.core.contexts.get(id) else { return };
        let pending: SmallVec<[ClientId; 4]> = context
            .branches
            .iter()
            .filter(|branch| !branch.replica)
            .filter_map(|branch| match branch.state {
                BranchState::Pending(client) => Some(client),
                BranchState::Resolving
                | BranchState::Answered(..)
                | BranchState::Failed(_)
                | BranchState::Superseded => None,
            })
            .collect();
        for client in pending {
            self.cancel_client(client, why);
        }
    }

    /// Cancels one branch, at once or at its first provisional response.
    pub(crate) fn cancel_client(&mut self, id: ClientId, why: Why<'_>) {
        let Some(slot) = self.core.clients.get_mut(id) else { return };
        let ClientMachine::Invite(machine) = &slot.machine else { return };
        let rules = &self.core.settings.rules;
        let may_go = match machine.phase() {
            ClientPhase::Calling => match rules.cancel_b_method {
                CancelUnanswered::EndNow => return self.end_unanswered(id),
                CancelUnanswered::Wait => false,
                CancelUnanswered::SendNow => true,
            },
            ClientPhase::Proceeding | ClientPhase::Abandoned => true,
            ClientPhase::Accepted | ClientPhase::Completed | ClientPhase::Terminated => return,
        };
        let reason = || why.reason(rules.local_cancel_reason);
        match &slot.cancelling {
            Cancelling::Sent(_) => {}
            Cancelling::No | Cancelling::Wanted(_) if may_go => {
                let reason = reason();
                self.core.send_cancel(id, &reason);
            }
            Cancelling::No => {
                let reason = reason();
                slot.cancelling = Cancelling::Wanted(reason.into());
            }
            // The first reason stays.
            Cancelling::Wanted(_) => {}
        }
    }

    /// `cancel_b_method = 0`: a branch that has not answered ends with 487 at once. Its transaction
    /// stays, so that a late answer is not taken for somebody else's.
    fn end_unanswered(&mut self, id: ClientId) {
        let core = &mut self.core;
        let Some(slot) = core.clients.get_mut(id) else { return };
        let ClientMachine::Invite(machine) = &mut slot.machine else { return };
        machine.abandon(&mut Step {
            now: core.now,
            timers: &core.settings.timers,
            out: &mut core.out.sends,
            pool: &mut core.pool,
        });
        let owner = slot.owner;
        core.rearm_client(id);
        if let Owner::Branch { context, index, .. } = owner {
            response::branch_ended(self, (context, index), StatusCode::REQUEST_TERMINATED);
        }
    }

    /// A provisional response came: a CANCEL that had to wait for it goes now.
    pub(crate) fn cancel_if_wanted(&mut self, id: ClientId) {
        let Some(slot) = self.core.clients.get(id) else { return };
        if let Cancelling::Wanted(reason) = &slot.cancelling {
            let reason = reason.clone();
            self.core.send_cancel(id, &reason);
        }
    }
}

/// Whether a branch that counts is still to be answered.
fn is_pending(branch: &BranchSlot) -> bool {
    !branch.replica && matches!(branch.state, BranchState::Pending(_))
}

impl<S: crate::module::list::Types> Core<S> {
    /// Sends a CANCEL in a client transaction of its own, along the INVITE's way.
    fn send_cancel(&mut self, id: ClientId, reason: &[u8]) {
        let Some(slot) = self.clients.get(id) else { return };
        let ClientMachine::Invite(machine) = &slot.machine else { return };
        let Some(sent) = machine.sent() else { return };
        let flow = sent.flow;
        let invite = self.pool.copy(&sent.bytes);
        let mut head = std::mem::take(&mut self.scratch.sent_head);
        let parsed = head.parse(&invite, &self.settings.stream_limits);
        let cancel = parsed.is_ok().then(|| {
            let timers = self.settings.timers;
            self.start_client((flow, MethodKind::Cancel), Owner::Cancel, 0, &timers, |out, _| {
                let reasons = [reason];
                let reasons = if reason.is_empty() { &[] } else { reasons.as_slice() };
                write_cancel(head.message(&invite), reasons, out);
            })
        });
        self.scratch.sent_head = head;
        self.pool.put(invite);
        let (Some(Some(cancel)), Some(slot)) = (cancel, self.clients.get_mut(id)) else { return };
        slot.cancelling = Cancelling::Sent(cancel);
        // §9.1: "if there is no final response ... in 64*T1 seconds", the INVITE counts as
        // cancelled.
        slot.timer_c = Some(self.now + self.settings.timers.timer_f());
        self.metrics.cancels_sent += 1;
        self.rearm_client(id);
    }
}
