//! Responses: RFC 3261 §16.7.
//!
//! For: finding the branch of a response, relaying provisional and 2xx responses at once, choosing
//! the best of the others when all branches have ended.
//! Not here: CANCEL (`cancel.rs`), retransmission (`transaction/`).
//! Invariants: a response is relayed only if its branch proves that its request was sent here; one
//! final response other than 2xx goes upstream.

use super::attempt;
use super::branch::Branch;
use super::cancel::Why;
use super::choice::best;
use super::forward;
use crate::engine::core::{Core, State};
use crate::engine::incoming::Incoming;
use crate::engine::slots::{
    BranchState, Cancelling, ClientId, ClientMachine, ContextId, Owner, Relayed, ServerId,
    ServerMachine, Watch,
};
use crate::message::{
    Edits, HeaderName, Message, Method, MethodKind, ResponseChanges, StatusCode, write_ack,
    write_forwarded_response,
};
use crate::module::list::{ModuleList, Types};
use crate::module::{Departing, Heard};
use crate::routing::Reply;
use crate::transaction::{ClientReceived, Failure, NonInviteReceived, Responded, Step};
use crate::transport::{Flow, Transport};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

/// What a response means to the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Provisional,
    Success,
    Failure,
    /// It rings for a branch that was given up.
    RingsForNobody,
    Nothing,
}

/// Takes a datagram that begins like a response.
pub(crate) fn receive<L: ModuleList>(state: &mut State<L>, flow: Flow, bytes: &[u8]) {
    state.core.metrics.responses_received += 1;
    let mut head = std::mem::take(&mut state.core.scratch.head);
    match head.parse(bytes, state.core.settings.limits_of(flow.transport)) {
        Ok(()) => dispatch(state, flow, head.message(bytes)),
        Err(_) => state.core.metrics.malformed_dropped += 1,
    }
    state.core.scratch.head = head;
}

fn dispatch<L: ModuleList>(state: &mut State<L>, flow: Flow, message: Message<'_>) {
    let (Ok(via), Ok(cseq), Some(status)) = (message.top_via(), message.cseq(), message.status())
    else {
        state.core.metrics.malformed_dropped += 1;
        return;
    };
    state.core.messages.response(cseq.method.kind(), status);
    if !is_whole(message) {
        state.core.metrics.malformed_dropped += 1;
        return;
    }
    if !state.core.identity.is_our_sent_by(&via.host, via.port) {
        state.core.metrics.via_mismatch_dropped += 1;
        return;
    }
    match via.branch().and_then(Branch::read) {
        Some(Branch::Stateful { client, cookie, .. }) => {
            match matching(&state.core, client, cookie, cseq.method.kind()) {
                Some(client) => in_transaction(state, client, flow, message, status),
                None => state.core.metrics.unmatched_responses_dropped += 1,
            }
        }
        Some(Branch::Stateless { digest, .. }) => relay_stateless(state, digest, message),
        None => state.core.metrics.unmatched_responses_dropped += 1,
    }
}

/// Whether it has what every message has (§8.2.6.2): what is relayed must be worth relaying.
fn is_whole(message: Message<'_>) -> bool {
    message.from().and_then(|from| from.uri()).is_ok()
        && message.to().and_then(|to| to.uri()).is_ok()
        && message.call_id().is_ok()
        && message.duplicate().is_none()
}

/// §17.1.3: the branch names the transaction; a response to CANCEL names that of its INVITE.
fn matching<S: Types>(
    core: &Core<S>,
    client: ClientId,
    cookie: u64,
    method: MethodKind,
) -> Option<ClientId> {
    let slot = core.clients.get(client).filter(|slot| slot.cookie == cookie)?;
    match (slot.method == method, method, &slot.cancelling) {
        (true, _, _) => Some(client),
        (false, MethodKind::Cancel, Cancelling::Sent(cancel)) => Some(*cancel),
        (false, _, _) => None,
    }
}

fn in_transaction<L: ModuleList>(
    state: &mut State<L>,
    client: ClientId,
    flow: Flow,
    message: Message<'_>,
    status: StatusCode,
) {
    let relayed = matches!(
        state.core.clients.get(client),
        Some(slot) if matches!(slot.owner, Owner::Branch { .. })
    );
    // §16.7 step 3: without another Via it was meant for this node, and nobody waits for it here.
    if relayed && !matches!(message.via_below(1), Some(Ok(_))) {
        state.core.metrics.via_mismatch_dropped += 1;
        return;
    }
    let Some((news, owner)) = step(&mut state.core, client, message, status) else { return };
    match owner {
        Owner::Cancel | Owner::Replica { .. } => {}
        Owner::Module(token) => {
            state.cancel_if_wanted(client);
            if news != News::Nothing {
                state.modules.answered(&mut state.core, token, Heard::Response(message));
            }
        }
        Owner::Branch { server, context, index } => {
            let branch = OfBranch { client, server, context, index };
            of_branch(state, &branch, news, (flow, message, status));
        }
    }
}

/// Runs the machine.
fn step<S: Types>(
    core: &mut Core<S>,
    client: ClientId,
    message: Message<'_>,
    status: StatusCode,
) -> Option<(News, Owner<S::Token>)> {
    let mut sent_head = std::mem::take(&mut core.scratch.sent_head);
    let Core { clients, settings, out, pool, now, metrics, .. } = core;
    let slot = clients.get_mut(client)?;
    let sends = out.sends.len();
    let mut step = Step { now: *now, timers: &settings.timers, out: &mut out.sends, pool };
    let news = match &mut slot.machine {
        ClientMachine::Invite(machine) => {
            let limits = &settings.stream_limits;
            let ack = |invite: &[u8], out: &mut Vec<u8>| {
                if sent_head.parse(invite, limits).is_ok() {
                    write_ack(sent_head.message(invite), message, out);
                }
            };
            match machine.on_response(status.code(), ack, &mut step) {
                ClientReceived::Provisional => News::Provisional,
                ClientReceived::Success => News::Success,
                ClientReceived::NonSuccess => News::Failure,
                ClientReceived::LateProvisional => News::RingsForNobody,
                ClientReceived::Absorbed => News::Nothing,
            }
        }
        ClientMachine::NonInvite(machine) => match machine.on_response(status.code(), &mut step) {
            NonInviteReceived::Provisional => News::Provisional,
            NonInviteReceived::Final if status.is_success() => News::Success,
            NonInviteReceived::Final => News::Failure,
            NonInviteReceived::Absorbed => News::Nothing,
        },
    };
    match news {
        // §16.7 step 2: timer C starts anew; once a CANCEL was sent it measures the wait for its
        // effect.
        News::Provisional if slot.method == MethodKind::Invite => {
            // Without `restart_fr_on_each_reply`, only the first one and a higher one that rings.
            let further = status.code() >= 180 && status > slot.heard;
            let restarts =
                settings.rules.restart_fr_on_each_reply || slot.timer_c.is_none() || further;
            slot.heard = slot.heard.max(status);
            if matches!(slot.cancelling, Cancelling::No) && restarts {
                slot.timer_c = Some(*now + slot.ringing);
            }
        }
        News::Success | News::Failure => slot.timer_c = None,
        News::Provisional | News::RingsForNobody | News::Nothing => {}
    }
    metrics.requests_sent += (out.sends.len() - sends) as u64;
    let owner = slot.owner;
    core.scratch.sent_head = sent_head;
    core.rearm_client(client);
    Some((news, owner))
}

struct OfBranch {
    client: ClientId,
    server: ServerId,
    context: ContextId,
    index: u8,
}

fn of_branch<L: ModuleList>(
    state: &mut State<L>,
    branch: &OfBranch,
    news: News,
    (flow, message, status): (Flow, Message<'_>, StatusCode),
) {
    match news {
        News::Nothing => {}
        News::RingsForNobody => {
            state.cancel_client(branch.client, Why::Status(StatusCode::REQUEST_TIMEOUT));
        }
        News::Provisional => {
            state.cancel_if_wanted(branch.client);
            let context = state.core.contexts.get(branch.context);
            let open = context.is_some_and(|context| !context.final_sent);
            // A non-INVITE request gets no provisional response but 100 (RFC 4320 §4.1).
            let invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
            let relay_100 = state.core.settings.rules.relay_100;
            if open && invite && (relay_100 || status != StatusCode::TRYING) {
                state.pass_upstream(branch.server, (flow, message, status), false);
            }
        }
        News::Success => {
            // Every 2xx to INVITE goes upstream, also a late one and one of another branch (step
            // 5).
            let context = state.core.contexts.get(branch.context);
            let invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
            if invite || context.is_some_and(|context| !context.final_sent) {
                state.pass_upstream(branch.server, (flow, message, status), false);
            }
            answered(state, branch, status);
        }
        News::Failure => failed(state, branch, (flow, message, status)),
    }
}

/// A 2xx ended the search: the other branches are not wanted any more (§16.7 step 10).
fn answered<L: ModuleList>(state: &mut State<L>, branch: &OfBranch, status: StatusCode) {
    let Some(context) = state.core.contexts.get_mut(branch.context) else { return };
    if let Some(own) = context.branches.get_mut(usize::from(branch.index)) {
        own.state = BranchState::Superseded;
    }
    context.final_sent = true;
    if matches!(context.watch, Watch::Routing) {
        context.watch = Watch::Ended(Relayed::Answered(status));
        state.core.wake(branch.context);
    }
    state.cancel_pending(branch.context, Why::Status(status));
    state.finish(branch.context);
}

fn failed<L: ModuleList>(
    state: &mut State<L>,
    branch: &OfBranch,
    (flow, message, status): (Flow, Message<'_>, StatusCode),
) {
    let Some(context) = state.core.contexts.get_mut(branch.context) else { return };
    if context.final_sent {
        return;
    }
    let Some(own) = context.branches.get(usize::from(branch.index)) else { return };
    if !matches!(own.state, BranchState::Pending(client) if client == branch.client) {
        // An earlier attempt of this branch, given up meanwhile.
        return;
    }
    // RFC 3263 §4.3: 503 is a reason to try the next address.
    let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
    if unavailable {
        avoid_after_503(&mut state.core, branch.client, (flow, message));
    }
    if unavailable && attempt::again(state, branch.context, branch.index, None) {
        return;
    }
    let Some(context) = state.core.contexts.get_mut(branch.context) else { return };
    let alone = context.branches.len() == 1 && matches!(context.watch, Watch::Nobody);
    if alone
        && !context.cancelled
        && is_passed_as_is(status, state.core.settings.rules.remap_503_500)
    {
        if let Some(own) = context.branches.first_mut() {
            own.state = BranchState::Failed(status);
        }
        context.final_sent = true;
        state.pass_upstream(branch.server, (flow, message, status), false);
        state.finish(branch.context);
        return;
    }
    let limits = state.core.settings.limits_of(flow.transport);
    let (kept, _) = state.core.incomings.read(message.bytes(), flow, limits);
    if let Some(own) = context.branches.get_mut(usize::from(branch.index)) {
        own.state = BranchState::Answered(status, kept);
    }
    let disabled = context.plan.disable_6xx || state.core.settings.rules.disable_6xx_block;
    if status.code() >= 600 && !disabled {
        state.cancel_pending(branch.context, Why::Status(status));
    }
    settle(state, branch.context);
}

/// `blst_503`: who says to be unavailable is left alone for a while.
fn avoid_after_503<S: Types>(
    core: &mut Core<S>,
    client: ClientId,
    (flow, message): (Flow, Message<'_>),
) {
    let Some(rules) = &core.settings.blocklist else { return };
    let adds = core.clients.get(client).is_some_and(|slot| rules.adds(slot.method));
    let seconds = message.header(HeaderName::RetryAfter).and_then(|value| {
        let value = value.value;
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        str::from_utf8(value.get(..digits)?).ok()?.parse().ok()
    });
    if let Some(span) = rules.after_503(seconds).filter(|_| adds) {
        core.blocklist.add(&flow, core.now + span, rules.entries_max);
    }
}

/// 503 is about this hop, not about the caller's request (§16.7 step 6): it becomes 500.
fn is_passed_as_is(status: StatusCode, remap: bool) -> bool {
    !remap || status != StatusCode::SERVICE_UNAVAILABLE
}

/// A branch is given up with this status; no other address is tried.
pub(crate) fn branch_ended<L: ModuleList>(
    state: &mut State<L>,
    (context, index): (ContextId, u8),
    status: StatusCode,
) {
    let Some(kept) = state.core.contexts.get_mut(context) else { return };
    let Some(own) = kept.branches.get_mut(usize::from(index)) else { return };
    if let BranchState::Pending(_) = own.state {
        own.state = BranchState::Failed(status);
        settle(state, context);
    }
}

/// A branch ended without a response: timers B, F, C, or the transport.
pub(crate) fn branch_failed<L: ModuleList>(
    state: &mut State<L>,
    (context, index): (ContextId, u8),
    failure: Failure,
    status: StatusCode,
) {
    let Some(kept) = state.core.contexts.get_mut(context) else { return };
    // RFC 5626 §5.3.1: whoever routes by a flow that is gone has to learn that.
    let flow_failed = failure == Failure::Transport && kept.plan.flow.is_some();
    let status = match (kept.cancelled, flow_failed) {
        (true, _) => StatusCode::REQUEST_TERMINATED,
        (false, true) => StatusCode::FLOW_FAILED,
        (false, false) => status,
    };
    let Some(own) = kept.branches.get_mut(usize::from(index)) else { return };
    match own.state {
        BranchState::Pending(_) | BranchState::Resolving => own.state = BranchState::Failed(status),
        BranchState::Answered(..) | BranchState::Failed(_) | BranchState::Superseded => return,
    }
    if !attempt::again(state, context, index, Some(failure)) {
        settle(state, context);
    }
}

/// When no branch is left, the best response goes to the routing that waits for it, or upstream.
pub(crate) fn settle<L: ModuleList>(state: &mut State<L>, id: ContextId) {
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    if context.final_sent || !context.is_settled() {
        return;
    }
    let faked = state.core.settings.rules.faked_reply_prio;
    let Some((status, response)) = best(&context.branches, faked) else {
        if context.server.is_none() && matches!(context.watch, Watch::Routing) {
            // An ACK has no response to wait for: that it went is all there is to know.
            context.watch = Watch::Ended(Relayed::Answered(StatusCode::OK));
            state.core.wake(id);
        }
        return;
    };
    match context.watch {
        Watch::Routing => {
            context.watch = Watch::Ended(Relayed::Failed(status, response));
            state.core.wake(id);
        }
        Watch::Nobody => send_best(state, id, status, response),
        Watch::Ended(_) => {}
    }
}

/// Sends the best response that came, or 500 when none did: a routing's own end.
pub(crate) fn conclude<L: ModuleList>(state: &mut State<L>, id: ContextId) {
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    context.watch = Watch::Nobody;
    if context.final_sent {
        state.finish(id);
    } else if context.branches.iter().all(|branch| branch.replica) {
        state.core.metrics.routings_without_answer += 1;
        state.answer(id, &Reply::server_error());
    } else {
        settle(state, id);
    }
}

fn send_best<L: ModuleList>(
    state: &mut State<L>,
    id: ContextId,
    status: StatusCode,
    response: Option<Rc<Incoming>>,
) {
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    let Some(server) = context.server else { return };
    match response {
        Some(response) if is_passed_as_is(status, state.core.settings.rules.remap_503_500) => {
            context.final_sent = true;
            state.pass_upstream(server, (response.flow(), response.message(), status), true);
            drop(response);
            state.finish(id);
        }
        Some(_) => state.answer(id, &Reply::new(500)),
        None => state.answer_in_time(id, status),
    }
}

impl<L: ModuleList> State<L> {
    /// Sends a response from downstream upstream, in its server transaction.
    fn pass_upstream(
        &mut self,
        server: ServerId,
        (flow, message, status): (Flow, Message<'_>, StatusCode),
        chosen: bool,
    ) {
        let Some(slot) = self.core.servers.get(server) else {
            self.core.metrics.unmatched_responses_dropped += 1;
            return;
        };
        let context = slot.context;
        let request =
            context.and_then(|id| self.core.contexts.get(id)).map(|kept| Rc::clone(&kept.request));
        let mut edits = std::mem::take(&mut self.core.scratch.reply_edits);
        edits.clear();
        let aggregate = self.core.settings.rules.aggregate_challenges;
        if chosen && aggregate && matches!(status.code(), 401 | 407) {
            self.gather_challenges(context, message, &mut edits);
        }
        let suppress = Cell::new(false);
        let departing = Departing {
            status,
            message: Some(message),
            flow: Some(flow),
            transaction: server,
            request: request.as_deref(),
            suppress: &suppress,
        };
        self.core.show(server, status);
        self.modules.response(&mut self.core, &departing, &mut edits);
        let held = self.core.keep(request.as_ref(), (message, status), &edits);
        let kept = held || (suppress.get() && status.is_provisional());
        if !kept {
            relay_in_transaction(&mut self.core, server, message, status, &edits);
        }
        self.core.scratch.reply_edits = edits;
    }

    /// Answers a request from here, in its transaction if it has one.
    pub(crate) fn answer(&mut self, id: ContextId, reply: &Reply) {
        let server = self.core.contexts.get(id).and_then(|context| context.server);
        match server {
            Some(server) => self.reply(server, reply),
            None => self.answer_without(id, reply),
        }
    }

    /// The same for a request that has no transaction: an ACK gets no answer, a CANCEL does.
    fn answer_without(&mut self, id: ContextId, reply: &Reply) {
        let Some(context) = self.core.contexts.get(id) else { return };
        let request = Rc::clone(&context.request);
        if !context.final_sent && request.message().method() == Some(Method::Cancel) {
            self.reply_stateless(&request, reply);
        }
        self.finish(id);
    }

    /// Frees a context when nothing is left to do in it.
    pub(crate) fn finish(&mut self, id: ContextId) {
        let Some(context) = self.core.contexts.get(id) else { return };
        let stateless = context.server.is_none() && !context.is_resolving();
        let done = context.final_sent || stateless;
        if done && context.task.is_none() {
            self.core.close_context(id);
        }
    }
}

fn relay_in_transaction<S: Types>(
    core: &mut Core<S>,
    server: ServerId,
    message: Message<'_>,
    status: StatusCode,
    edits: &Edits,
) {
    let Some(slot) = core.servers.get_mut(server) else { return };
    let flow = slot.reply_flow;
    let mut step = Step {
        now: core.now,
        timers: &core.settings.timers,
        out: &mut core.out.sends,
        pool: &mut core.pool,
    };
    let changes = ResponseChanges { edits };
    let write = |out: &mut Vec<u8>| write_forwarded_response(message, &changes, out);
    let responded = match &mut slot.machine {
        ServerMachine::Invite(machine) => machine.respond(status.code(), flow, write, &mut step),
        ServerMachine::NonInvite(machine) => machine.respond(status.code(), flow, write, &mut step),
    };
    if responded == Responded::Sent {
        core.metrics.responses_sent += 1;
    }
    core.rearm_server(server);
}

/// §16.11: a response to a request that was forwarded without a transaction.
fn relay_stateless<L: ModuleList>(state: &mut State<L>, digest: u64, message: Message<'_>) {
    let Some(Ok(previous)) = message.via_below(1) else {
        state.core.metrics.unmatched_responses_dropped += 1;
        return;
    };
    let branch = previous.branch().unwrap_or(&[]);
    if forward::stateless_digest(state, message, branch) != digest {
        state.core.metrics.unmatched_responses_dropped += 1;
        return;
    }
    let address = previous.received_ip().or_else(|| previous.host.ip());
    let port = previous.rport().flatten().unwrap_or(previous.port_or_default());
    let transport = Transport::from_name(previous.transport.as_bytes());
    let (Some(address), Some(transport)) = (address, transport) else { return };
    let remote = SocketAddr::new(address, port);
    let received = crate::transport::ListenerId(0);
    let Some(listener) = state.core.identity.listener_for(transport, remote, received) else {
        return;
    };
    let flow = Flow { transport, listener, remote, connection: None };
    let edits = Edits::default();
    state.core.out.sends.send_with(flow, |out| {
        write_forwarded_response(message, &ResponseChanges { edits: &edits }, out);
    });
    state.core.metrics.responses_sent += 1;
}
