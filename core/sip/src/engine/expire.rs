//! Timers that have come due, and the ends of transactions.
//!
//! For: handing each timer to its owner, freeing slots, telling modules of a transaction's end.
//! Not here: the wheel (`wheel.rs`), what a timer means to a machine (`transaction/`).

use super::Wake;
use super::core::{Core, State};
use super::slots::{
    BranchState, Cancelling, ClientId, ClientMachine, ContextId, Owner, ServerId, ServerMachine,
    TimerKey,
};
use crate::actions::Origin;
use crate::message::{Method, StatusCode};
use crate::module::Heard;
use crate::module::list::{ModuleList, Types};
use crate::proxy::cancel::Why;
use crate::proxy::response;
use crate::routing::Reply;
use crate::transaction::{Failure, Fate, Report, Step};
use crate::transport::Flow;
use std::rc::Rc;

/// Fires every timer that is due.
pub(super) fn due<L: ModuleList>(state: &mut State<L>) {
    while let Some(key) = state.core.wheel.pop_due(state.core.now) {
        match key {
            TimerKey::Server(id) => server(state, id),
            TimerKey::Client(id) => client(state, id),
            TimerKey::Trying(id) => trying(state, id),
            TimerKey::Lifetime(id) => lifetime(state, id),
            TimerKey::Pause(id) => {
                if let Some(context) = state.core.contexts.get_mut(id) {
                    context.pause = None;
                    state.core.wake(id);
                }
            }
            TimerKey::Module(timer) => {
                state.core.module_timers -= 1;
                state.modules.timer(&mut state.core, timer);
            }
        }
    }
}

fn server<L: ModuleList>(state: &mut State<L>, id: ServerId) {
    let core = &mut state.core;
    let Some(slot) = core.servers.get_mut(id) else { return };
    slot.timer = None;
    let before = core.out.sends.len();
    let mut step = Step {
        now: core.now,
        timers: &core.settings.timers,
        out: &mut core.out.sends,
        pool: &mut core.pool,
    };
    let report = match &mut slot.machine {
        ServerMachine::Invite(machine) => machine.expire(&mut step),
        ServerMachine::NonInvite(machine) => machine.expire(&mut step),
    };
    let resent = (core.out.sends.len() - before) as u64;
    core.metrics.retransmissions_sent += resent;
    core.metrics.responses_sent += resent;
    match report.fate {
        Fate::Alive => core.rearm_server(id),
        Fate::Terminated => state.free_server(id),
    }
}

fn client<L: ModuleList>(state: &mut State<L>, id: ClientId) {
    let core = &mut state.core;
    let Some(slot) = core.clients.get_mut(id) else { return };
    slot.timer = None;
    if slot.timer_c.is_some_and(|timer_c| timer_c <= core.now) {
        return timer_c(state, id);
    }
    let before = core.out.sends.len();
    let unanswered = unanswered(&slot.machine);
    let mut step = Step {
        now: core.now,
        timers: &core.settings.timers,
        out: &mut core.out.sends,
        pool: &mut core.pool,
    };
    let report = match &mut slot.machine {
        ClientMachine::Invite(machine) => machine.expire(&mut step),
        ClientMachine::NonInvite(machine) => machine.expire(&mut step),
    };
    let resent = (core.out.sends.len() - before) as u64;
    core.metrics.retransmissions_sent += resent;
    core.metrics.requests_sent += resent;
    end_step(state, (id, unanswered), &report);
}

/// What follows from a step of a client transaction; `unanswered` is where its request went if
/// nothing had come back before.
fn end_step<L: ModuleList>(
    state: &mut State<L>,
    (id, unanswered): (ClientId, Option<Flow>),
    report: &Report,
) {
    let core = &mut state.core;
    if let (Some(_), Some(flow)) = (report.failure, unanswered) {
        avoid(core, id, &flow);
    }
    let Some(owner) = core.clients.get(id).map(|slot| slot.owner) else { return };
    match report.fate {
        Fate::Alive => core.rearm_client(id),
        Fate::Terminated => core.free_client(id),
    }
    if let Some(failure) = report.failure {
        failed(state, owner, failure);
    }
}

/// Leaves out for a while a destination that never answered a request (`use_dst_blocklist`).
fn avoid<S: Types>(core: &mut Core<S>, id: ClientId, flow: &Flow) {
    let (Some(rules), Some(slot)) = (&core.settings.blocklist, core.clients.get(id)) else {
        return;
    };
    if rules.adds(slot.method) {
        core.blocklist.add(flow, core.now + rules.expire, rules.entries_max);
    }
}

fn unanswered(machine: &ClientMachine) -> Option<Flow> {
    match machine {
        ClientMachine::Invite(machine) => machine.unanswered(),
        ClientMachine::NonInvite(machine) => machine.unanswered(),
    }
}

/// A message could not be sent (§17.1.4).
pub(super) fn unsent<L: ModuleList>(state: &mut State<L>, origin: Origin) {
    let Origin::Client(id) = origin else { return };
    let id = ClientId::from_u64(id);
    let core = &mut state.core;
    let Some(slot) = core.clients.get_mut(id) else { return };
    let unanswered = unanswered(&slot.machine);
    let mut step = Step {
        now: core.now,
        timers: &core.settings.timers,
        out: &mut core.out.sends,
        pool: &mut core.pool,
    };
    let report = match &mut slot.machine {
        ClientMachine::Invite(machine) => machine.on_transport_failure(&mut step),
        ClientMachine::NonInvite(machine) => machine.on_transport_failure(&mut step),
    };
    end_step(state, (id, unanswered), &report);
}

/// A client transaction ended without a final response.
fn failed<L: ModuleList>(
    state: &mut State<L>,
    owner: Owner<<L as crate::module::list::Types>::Token>,
    failure: Failure,
) {
    let (heard, status) = match failure {
        Failure::Timeout => (Heard::Timeout, StatusCode::REQUEST_TIMEOUT),
        Failure::Transport => (Heard::Transport, state.core.settings.rules.error_map.not_sent()),
    };
    match owner {
        Owner::Cancel => {}
        Owner::Module(token) => state.modules.answered(&mut state.core, token, heard),
        Owner::Branch { context, index, .. } | Owner::Replica { context, index } => {
            state.core.metrics.branches_timed_out += 1;
            response::branch_failed(state, (context, index), failure, status);
        }
    }
}

/// RFC 3261 §16.8: a ringing branch is cancelled and counts as 408. One that was cancelled before
/// and did not end within 64*T1 is given up (§9.1).
fn timer_c<L: ModuleList>(state: &mut State<L>, id: ClientId) {
    let core = &mut state.core;
    let Some(slot) = core.clients.get_mut(id) else { return };
    slot.timer_c = None;
    let owner = slot.owner;
    let given_up = matches!(slot.cancelling, Cancelling::Sent(_));
    if given_up && let ClientMachine::Invite(machine) = &mut slot.machine {
        machine.abandon(&mut Step {
            now: core.now,
            timers: &core.settings.timers,
            out: &mut core.out.sends,
            pool: &mut core.pool,
        });
    }
    core.rearm_client(id);
    if !given_up {
        state.cancel_client(id, Why::Status(StatusCode::REQUEST_TIMEOUT));
    }
    failed(state, owner, Failure::Timeout);
}

/// RFC 4320 §4.1: a request other than INVITE gets its 100 now. What is left of its lifetime goes
/// on.
fn trying<L: ModuleList>(state: &mut State<L>, id: ContextId) {
    let core = &mut state.core;
    let Some(context) = core.contexts.get_mut(id) else { return };
    let end = context.opened + core.settings.lifetime(false);
    context.lifetime = Some(core.wheel.arm(end, TimerKey::Lifetime(id)));
    let (server, request) = (context.server, Rc::clone(&context.request));
    if let Some(server) = server.filter(|_| !context.final_sent) {
        state.trying(server, &request);
    }
}

/// The routing has outlived its bound: what it still waits for is dropped.
fn lifetime<L: ModuleList>(state: &mut State<L>, id: ContextId) {
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    context.lifetime = None;
    let task = context.task.take();
    if let Some(task) = task {
        state.core.woken.push_back(Wake::Stop(task));
    }
    state.cancel_pending(id, Why::Status(StatusCode::REQUEST_TIMEOUT));
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    if context.final_sent || context.server.is_none() {
        // An ACK that still waits for an address waits in vain.
        context.final_sent = true;
        state.finish(id);
    } else {
        state.answer_in_time(id, super::receive::LIFETIME_STATUS);
    }
}

impl<L: ModuleList> State<L> {
    /// Frees a server transaction's slot and tells the modules.
    pub(crate) fn free_server(&mut self, id: ServerId) {
        let Some(slot) = self.core.servers.remove(id) else { return };
        if let Some(timer) = slot.timer {
            self.core.wheel.cancel(timer);
        }
        self.core.server_index.remove_if(slot.key, id);
        match slot.machine {
            ServerMachine::Invite(machine) => machine.recycle(&mut self.core.pool),
            ServerMachine::NonInvite(machine) => machine.recycle(&mut self.core.pool),
        }
        if let Some(context) = slot.context
            && let Some(kept) = self.core.contexts.get_mut(context)
        {
            // A routing that still waits may go on, but there is nothing left to answer.
            kept.final_sent = true;
            kept.server = None;
            self.finish(context);
        }
        self.modules.transaction_end(&mut self.core, slot.attached);
    }

    /// Answers from here, unless that would be a 408 that comes too late: the caller of a request
    /// other than INVITE has given up after 64*T1, a 408 could only do harm (RFC 4320 §4.2).
    pub(crate) fn answer_in_time(&mut self, id: ContextId, status: StatusCode) {
        let Some(context) = self.core.contexts.get(id) else { return };
        let invite = context.request.message().method() == Some(Method::Invite);
        let timer_f = self.core.settings.timers.settings().t1 * 64;
        let late = self.core.now >= context.opened + timer_f;
        if status != StatusCode::REQUEST_TIMEOUT {
            return self.answer(id, &Reply::new(status.code()));
        }
        if invite || !late {
            let rules = &self.core.settings.rules;
            let mut reply = Reply::new(rules.reply_408_code.code());
            if let Some(reason) = &rules.reply_408_reason {
                reply = reply.reason(reason);
            }
            return self.answer(id, &reply);
        }
        self.abandon(id);
    }

    /// Forgets a request without an answer, as its routing asked.
    pub(crate) fn abandon(&mut self, id: ContextId) {
        self.cancel_pending(id, Why::Status(StatusCode::REQUEST_TERMINATED));
        let Some(context) = self.core.contexts.get(id) else { return };
        match context.server {
            Some(server) => self.free_server(server),
            None => self.finish(id),
        }
    }

    /// Whether the tables agree with each other; checked after every call in debug builds.
    pub(crate) fn consistent(&self) -> bool {
        let core = &self.core;
        let servers = core.servers.iter().all(|(id, slot)| {
            let listed = core.server_index.get(slot.key) == Some(id);
            let context = slot.context.is_none_or(|context| {
                core.contexts.get(context).is_some_and(|kept| kept.server == Some(id))
            });
            listed && context
        });
        let contexts = core.contexts.iter().all(|(_, context)| {
            let pending = context.branches.iter().all(|branch| match &branch.state {
                BranchState::Pending(client) => core.clients.contains(*client),
                BranchState::Resolving
                | BranchState::Answered(..)
                | BranchState::Failed(_)
                | BranchState::Superseded => true,
            });
            // Whatever happens to it, its lifetime ends it.
            let bounded = context.lifetime.is_some();
            let served = context.server.is_none_or(|server| core.servers.contains(server));
            pending && bounded && served
        });
        servers && contexts && core.servers.len() == core.server_index.len()
    }
}
