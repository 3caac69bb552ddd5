//! A datagram's way through the shard: from bytes to a transaction, a refusal or a drop.
//!
//! For: matching (RFC 3261 §17.2.3), retransmissions, CANCEL and ACK, admission, opening a routing.
//! Not here: what the routing decides (`mod.rs`), responses (`proxy/response.rs`).
//! Invariants: a request that can be answered is answered; nothing here keeps what it refused.

use super::core::{Core, State};
use super::incoming::Incoming;
use super::key::TopVia;
use super::slots::{ServerId, ServerMachine, ServerSlot, TimerKey};
use super::{Wake, key};
use crate::message::{HeaderName, Message, Method, MethodKind, ParseCause, ParseError, StatusCode};
use crate::module::list::ModuleList;
use crate::module::{Arrived, Verdict};
use crate::proxy::admission::{self, Admitted, Rejection};
use crate::proxy::rules::UnmatchedCancel;
use crate::proxy::{reply, response};
use crate::routing::Reply;
use crate::transaction::{Acknowledged, ServerInvite, ServerNonInvite, Step, TransactionKey};
use crate::transport::Flow;
use smallvec::SmallVec;
use std::rc::Rc;

/// Shorter datagrams cannot be SIP: keep-alives and noise, dropped without an answer.
const MESSAGE_BYTES_MIN: usize = 32;

/// How long a refused caller should wait, in seconds (§21.5.4). A guess: longer than a burst.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Takes one datagram.
pub(crate) fn datagram<L: ModuleList>(state: &mut State<L>, flow: Flow, bytes: &[u8]) {
    let noise = bytes.iter().take_while(|byte| b"\r\n\0 \t".contains(byte)).count();
    let bytes = bytes.get(noise..).unwrap_or(&[]);
    if bytes.len() < MESSAGE_BYTES_MIN {
        state.core.metrics.keepalives_dropped += 1;
    } else if bytes.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        response::receive(state, flow, bytes);
    } else {
        request(state, flow, bytes);
    }
}

fn request<L: ModuleList>(state: &mut State<L>, flow: Flow, bytes: &[u8]) {
    state.core.metrics.requests_received += 1;
    let limits = state.core.settings.limits_of(flow.transport);
    let (incoming, parsed) = state.core.incomings.read(bytes, flow, limits);
    if let Some(method) = incoming.message().method() {
        state.core.messages.request(method.kind());
    }
    match parsed {
        Ok(()) => matched(state, &incoming),
        Err(error) => malformed(state, &incoming, &error),
    }
    state.core.incomings.put(incoming);
}

/// Takes what can be read of a message after which its stream cannot be cut any more.
pub(crate) fn broken<L: ModuleList>(
    state: &mut State<L>,
    flow: Flow,
    head: &[u8],
    error: &ParseError,
) {
    let limits = state.core.settings.limits_of(flow.transport);
    let (incoming, parsed) = state.core.incomings.read(head, flow, limits);
    match parsed {
        // What is no SIP at all gets no answer, whatever else is wrong with it.
        Ok(()) | Err(_) if error.cause == ParseCause::NotSip => malformed(state, &incoming, error),
        Err(own) if own.cause == ParseCause::NotSip => malformed(state, &incoming, &own),
        Ok(()) | Err(_) if incoming.message().method().is_some() => {
            malformed(state, &incoming, error);
        }
        Ok(()) | Err(_) => state.core.metrics.malformed_dropped += 1,
    }
    state.core.incomings.put(incoming);
}

/// A request that breaks the grammar gets its 4xx when what an answer needs could be read.
fn malformed<L: ModuleList>(state: &mut State<L>, incoming: &Incoming, error: &ParseError) {
    let message = incoming.message();
    if matches!(error.cause, ParseCause::NotSip) {
        state.core.metrics.rubbish_dropped += 1;
    } else if is_answerable(message) {
        state.core.metrics.malformed_answered += 1;
        state.reply_stateless(incoming, &Reply::new(error.status().code()));
    } else {
        state.core.metrics.malformed_dropped += 1;
    }
}

/// Whether an answer can find the transaction it is for: by the top Via's branch and the method in
/// CSeq (§17.1.3). Of the rest, which may be broken or missing, what is there is repeated (RFC 4475
/// §3.1.2.4, §3.3.1).
fn is_answerable(message: Message<'_>) -> bool {
    message.top_via().is_ok()
        && message.header(HeaderName::CSeq).is_some()
        && message.cseq().map_or(true, |cseq| cseq.method != Method::Ack)
        && message.method().is_some_and(|method| method != Method::Ack)
}

/// §17.2.3: to its transaction, or on as a new request.
fn matched<L: ModuleList>(state: &mut State<L>, incoming: &Rc<Incoming>) {
    let message = incoming.message();
    let (Ok(via), Some(method)) = (message.top_via(), message.method()) else {
        state.core.metrics.malformed_dropped += 1;
        return;
    };
    let known = via.known();
    let via = (&via, &known);
    reply::note_answers(incoming, via);
    let by = (state.core.secrets.shard, &state.core.settings.rules);
    let own = key::of(message, via, method, by);
    match method {
        Method::Ack => {
            let key = key::of(message, via, Method::Invite, by);
            let server = state.core.server_index.get(key).or_else(|| own_success(state, message));
            match server {
                Some(server) => acknowledged(state, server, incoming, via),
                None => unmatched_ack(state, incoming, via),
            }
        }
        Method::Cancel if state.core.server_index.get(own).is_none() => {
            let key = key::of(message, via, Method::Invite, by);
            match state.core.server_index.get(key) {
                Some(invite) => cancelled(state, (incoming, via), own, invite),
                None => unmatched_cancel(state, (incoming, via), own),
            }
        }
        Method::Invite
        | Method::Cancel
        | Method::Bye
        | Method::Options
        | Method::Register
        | Method::Prack
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Info
        | Method::Refer
        | Method::Message
        | Method::Update
        | Method::Other(_) => match state.core.server_index.get(own) {
            Some(server) => repeated(state, server),
            None => admitted(state, (incoming, via), own, method.kind()),
        },
    }
}

fn repeated<L: ModuleList>(state: &mut State<L>, server: ServerId) {
    let core = &mut state.core;
    core.metrics.retransmissions_received += 1;
    let Some(slot) = core.servers.get(server) else { return };
    let before = core.out.sends.len();
    match &slot.machine {
        ServerMachine::Invite(machine) => machine.on_retransmission(&mut core.out.sends),
        ServerMachine::NonInvite(machine) => machine.on_retransmission(&mut core.out.sends),
    }
    core.metrics.responses_sent += (core.out.sends.len() - before) as u64;
}

/// The transaction whose own 2xx this ACK answers; the To tag that we made leads back to it.
fn own_success<L: ModuleList>(state: &State<L>, ack: Message<'_>) -> Option<ServerId> {
    let (server, tag) = reply::read_tag(ack.to_tag()?)?;
    let slot = state.core.servers.get(server)?;
    (slot.tag == tag).then_some(server)
}

fn acknowledged<L: ModuleList>(
    state: &mut State<L>,
    server: ServerId,
    incoming: &Rc<Incoming>,
    via: TopVia<'_>,
) {
    let core = &mut state.core;
    let Some(slot) = core.servers.get_mut(server) else { return };
    let ServerMachine::Invite(machine) = &mut slot.machine else { return };
    let mut step = Step {
        now: core.now,
        timers: &core.settings.timers,
        out: &mut core.out.sends,
        pool: &mut core.pool,
    };
    let acknowledged = machine.on_ack(&mut step);
    core.rearm_server(server);
    match acknowledged {
        Acknowledged::Absorbed | Acknowledged::Established => {}
        // A further copy of the ACK for a 2xx that was made here: it ends here, too.
        Acknowledged::EndToEnd if own_success(state, incoming.message()).is_some() => {}
        Acknowledged::EndToEnd => unmatched_ack(state, incoming, via),
    }
}

/// An ACK to a 2xx is routed like a request, without a transaction (§16, §13.2.2.4).
fn unmatched_ack<L: ModuleList>(state: &mut State<L>, incoming: &Rc<Incoming>, via: TopVia<'_>) {
    if state.acknowledges_stateless(incoming.message()) {
        state.core.metrics.unmatched_acks_dropped += 1;
        return;
    }
    match check(state, incoming, via) {
        Ok(admitted) => open(state, incoming, None, &admitted),
        Err(_) => state.core.metrics.admission_refused += 1,
    }
}

/// §9.2, §16.10: 200 for the CANCEL itself, at once; then its INVITE is cancelled.
fn cancelled<L: ModuleList>(
    state: &mut State<L>,
    (incoming, via): (&Rc<Incoming>, TopVia<'_>),
    own: TransactionKey,
    invite: ServerId,
) {
    if let Err(rejection) = check(state, incoming, via) {
        refuse(state, incoming, &rejection);
        return;
    }
    let Some(server) = open_server(state, incoming, own, MethodKind::Cancel) else {
        state.reply_stateless(incoming, &Reply::unavailable(RETRY_AFTER_SECONDS));
        return;
    };
    let invited = state.core.servers.get(invite);
    let (context, tag) =
        (invited.and_then(|slot| slot.context), invited.map(|slot| (invite, slot.tag)));
    let Some(opened) = state.core.open_context(Rc::clone(incoming), Some(server), (None, 0)) else {
        state.free_server(server);
        state.reply_stateless(incoming, &Reply::unavailable(RETRY_AFTER_SECONDS));
        return;
    };
    if let Some(slot) = state.core.servers.get_mut(server) {
        slot.context = Some(opened);
        slot.tag_of = tag;
        state.reply(server, &Reply::new(200));
    }
    if let Some(context) = context {
        let message = incoming.message();
        let reasons: SmallVec<[&[u8]; 2]> =
            message.headers(HeaderName::Reason).map(|field| field.value).collect();
        state.cancel_context(context, &reasons);
    }
}

/// A CANCEL whose INVITE is not known here (§9.2), as `unmatched_cancel` says.
fn unmatched_cancel<L: ModuleList>(
    state: &mut State<L>,
    (incoming, via): (&Rc<Incoming>, TopVia<'_>),
    own: TransactionKey,
) {
    let admitted = match check(state, incoming, via) {
        Ok(admitted) => admitted,
        Err(rejection) => return refuse(state, incoming, &rejection),
    };
    match state.core.settings.rules.unmatched_cancel {
        UnmatchedCancel::Refuse => state.reply_stateless(incoming, &Reply::new(481)),
        UnmatchedCancel::Drop => state.core.metrics.unmatched_cancels_dropped += 1,
        UnmatchedCancel::Stateless => open(state, incoming, None, &admitted),
        UnmatchedCancel::Stateful => match open_server(state, incoming, own, MethodKind::Cancel) {
            Some(server) => open(state, incoming, Some(server), &admitted),
            None => {
                state.core.metrics.overload_refused += 1;
                state.reply_stateless(incoming, &Reply::unavailable(RETRY_AFTER_SECONDS));
            }
        },
    }
}

fn check<L: ModuleList>(
    state: &State<L>,
    incoming: &Incoming,
    via: TopVia<'_>,
) -> Result<Admitted, Rejection> {
    admission::admit(&incoming.message(), via, &state.core.identity, state.core.digest())
}

fn admitted<L: ModuleList>(
    state: &mut State<L>,
    (incoming, via): (&Rc<Incoming>, TopVia<'_>),
    key: TransactionKey,
    method: MethodKind,
) {
    let admitted = match check(state, incoming, via) {
        Ok(admitted) => admitted,
        Err(rejection) => return refuse(state, incoming, &rejection),
    };
    let drains = state.core.draining && method == MethodKind::Invite;
    if drains && incoming.message().to_tag().is_none() {
        state.core.metrics.drain_refused += 1;
        let retry_after = state.core.settings.drain_retry_after_seconds;
        return state.reply_stateless(incoming, &Reply::unavailable(retry_after));
    }
    let Core { overload, settings, metrics, .. } = &mut state.core;
    let begins = overload.is_shedding() && settings.overload.concerns(method);
    if begins && incoming.message().to_tag().is_none() {
        metrics.queueing_refused += 1;
        let retry_after = settings.overload.retry_after_seconds;
        return state.reply_stateless(incoming, &Reply::unavailable(retry_after));
    }
    let Some(server) = open_server(state, incoming, key, method) else {
        state.core.metrics.overload_refused += 1;
        return state.reply_stateless(incoming, &Reply::unavailable(RETRY_AFTER_SECONDS));
    };
    open(state, incoming, Some(server), &admitted);
}

fn refuse<L: ModuleList>(state: &mut State<L>, incoming: &Incoming, rejection: &Rejection) {
    if let Rejection::Malformed(error) = rejection {
        return malformed(state, incoming, error);
    }
    state.core.metrics.admission_refused += 1;
    if matches!(rejection, Rejection::Loop) {
        state.core.metrics.loops_refused += 1;
    }
    let message = incoming.message();
    if !is_answerable(message) {
        return;
    }
    let mut reply = Reply::new(rejection.status().code());
    if matches!(rejection, Rejection::Extension) {
        // A line for a line: an answer is not longer than its request. A tag is ASCII.
        for line in message.headers(HeaderName::ProxyRequire) {
            reply = reply.header("Unsupported", str::from_utf8(line.value).unwrap_or_default());
        }
    }
    state.reply_stateless(incoming, &reply);
}

/// Creates the server transaction; `None` when the table is full.
fn open_server<L: ModuleList>(
    state: &mut State<L>,
    incoming: &Incoming,
    key: TransactionKey,
    method: MethodKind,
) -> Option<ServerId> {
    let machine = if method == MethodKind::Invite {
        ServerMachine::Invite(ServerInvite::start())
    } else {
        ServerMachine::NonInvite(ServerNonInvite::start())
    };
    let slot = ServerSlot {
        key,
        reply_flow: reply::answers(incoming).flow,
        machine,
        timer: None,
        context: None,
        tag: state.core.entropy.next_u64(),
        tag_of: None,
        attached: Default::default(),
    };
    let server = state.core.servers.insert(slot).ok()?;
    state.core.server_index.insert(key, server);
    Some(server)
}

/// Opens the routing of a new request and tells the modules.
fn open<L: ModuleList>(
    state: &mut State<L>,
    incoming: &Rc<Incoming>,
    server: Option<ServerId>,
    admitted: &Admitted,
) {
    let found = (admitted.max_forwards, admitted.loop_digest);
    let Some(context) = state.core.open_context(Rc::clone(incoming), server, found) else {
        state.core.metrics.overload_refused += 1;
        if let Some(server) = server {
            state.free_server(server);
            state.reply_stateless(incoming, &Reply::unavailable(RETRY_AFTER_SECONDS));
        }
        return;
    };
    state.core.metrics.requests_routed += 1;
    let invite = incoming.message().method() == Some(Method::Invite);
    let lifetime = state.core.settings.lifetime(invite);
    let trying = state.core.settings.timers.trying_after();
    let (span, key) = if invite || server.is_none() || trying >= lifetime {
        (lifetime, TimerKey::Lifetime(context))
    } else {
        (trying, TimerKey::Trying(context))
    };
    let timer = state.core.wheel.arm(state.core.now + span, key);
    if let Some(kept) = state.core.contexts.get_mut(context) {
        kept.lifetime = Some(timer);
    }
    if let Some(slot) = server.and_then(|server| state.core.servers.get_mut(server)) {
        slot.context = Some(context);
    }
    let arrived = Arrived { incoming, context, transaction: server };
    let verdict = state.modules.request(&mut state.core, &arrived);
    let at_once = invite && state.core.settings.rules.auto_inv_100;
    if let (Some(server), true, Verdict::Continue | Verdict::Taken) = (server, at_once, &verdict) {
        // §17.2.1 lets us wait 200 ms for the routing; a caller that hears at once never resends.
        state.trying(server, incoming);
    }
    match verdict {
        Verdict::Continue => state.core.woken.push_back(Wake::Start(context)),
        Verdict::Reply(reply) => state.answer(context, &reply),
        Verdict::Taken => {}
        Verdict::Drop => state.abandon(context),
    }
}

/// The status of a routing that outlived its bound.
pub(crate) const LIFETIME_STATUS: StatusCode = StatusCode::REQUEST_TIMEOUT;
