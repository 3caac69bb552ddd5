//! Orders about a call from outside of its own routing: cancel it, answer it.
//!
//! For: `t_cancel_callid` and `t_reply_callid`, and the commands `tm.cancel` and `tm.reply_callid`.
//! Not here: finding the shard of a call (`routing/policy.rs`).
//! Invariants: an order reaches only what is still being routed; one that finds nothing does
//! nothing.

use super::core::State;
use super::slots::{ClientId, ClientMachine, ContextId, Owner};
use crate::limits::Limits;
use crate::message::{Head, StatusCode};
use crate::module::list::ModuleList;
use crate::proxy::cancel::Why;
use crate::routing::Reply;

/// What to do with the requests of a call that are still being routed.
#[derive(Clone, Debug)]
pub struct CallOrder {
    /// The Call-ID.
    pub call_id: Box<[u8]>,
    /// The number in CSeq.
    pub cseq: u32,
    /// What to do.
    pub what: CallChange,
}

/// See [`CallOrder`].
#[derive(Clone, Debug)]
pub enum CallChange {
    /// As if the caller had cancelled; an INVITE that a module has sent is cancelled, too.
    Cancel,
    /// Answer with this.
    Reply(Reply),
}

/// Carries an order out. Looks at every request that is being routed: orders are rare, and an index
/// by Call-ID would cost each call.
pub(crate) fn carry_out<L: ModuleList>(state: &mut State<L>, order: &CallOrder) {
    let found: Vec<ContextId> = state
        .core
        .contexts
        .iter()
        .filter(|(_, context)| {
            let message = context.request.message();
            context.server.is_some()
                && !context.final_sent
                && message.call_id().is_ok_and(|call_id| *call_id == *order.call_id)
                && message.cseq().is_ok_and(|cseq| cseq.number == order.cseq)
        })
        .map(|(id, _)| id)
        .collect();
    for id in found {
        match &order.what {
            CallChange::Cancel => state.cancel_context(id, &[]),
            CallChange::Reply(reply) => state.answer(id, reply),
        }
    }
    if matches!(order.what, CallChange::Cancel) {
        for id in own_invites(state, order) {
            state.cancel_client(id, Why::Status(StatusCode::REQUEST_TERMINATED));
        }
    }
}

/// The INVITEs of this call that a module has sent.
fn own_invites<L: ModuleList>(state: &State<L>, order: &CallOrder) -> Vec<ClientId> {
    let mut head = Head::default();
    let mut is_of_call = |bytes: &[u8]| {
        if head.parse(bytes, &Limits::STREAM).is_err() {
            return false;
        }
        let message = head.message(bytes);
        message.call_id().is_ok_and(|call_id| *call_id == *order.call_id)
            && message.cseq().is_ok_and(|cseq| cseq.number == order.cseq)
    };
    let mut found = Vec::new();
    for (id, slot) in state.core.clients.iter() {
        if let (Owner::Module(_), ClientMachine::Invite(machine)) = (slot.owner, &slot.machine)
            && machine.sent().is_some_and(|sent| is_of_call(&sent.bytes))
        {
            found.push(id);
        }
    }
    found
}
