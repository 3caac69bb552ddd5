//! The attempts of one branch: looking its target up, and going on to the next address.
//!
//! For: RFC 3263 §4.3: a target with several addresses is one branch, tried one address after
//! another when the transport fails, nobody answers, or the answer is 503.
//! Not here: the order of addresses (`resolver.rs`), writing the request (`forward.rs`).
//! Invariants: a branch ends in a client transaction or in a status, whatever the resolver says.

use super::forward::{self, NotSent};
use super::resolver::{Known, Question, Resolution, order};
use super::response;
use super::switch;
use super::target::{self, Unreachable};
use crate::engine::core::{Core, State};
use crate::engine::slots::{BranchState, ClientId, ContextId};
use crate::message::{MethodKind, StatusCode, Uri};
use crate::module::list::ModuleList;
use crate::transaction::Failure;
use crate::transport::{Flow, Transport};
use smallvec::SmallVec;
use std::rc::Rc;

/// The status of a branch all of whose destinations are left out (`proxy/blocklist.rs`).
const AVOIDED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Where a target can be reached.
enum Found {
    /// Over these flows, the first one last.
    Flows(SmallVec<[Flow; 2]>),
    /// Its name has to be looked up.
    Unasked(Question),
}

/// Begins a branch: sends it, or lets it wait for the addresses of its target.
pub(super) fn start<L: ModuleList>(state: &mut State<L>, id: ContextId, index: u8) {
    match find(state, id, index) {
        Ok(Found::Flows(flows)) => {
            if let Some(context) = state.core.contexts.get_mut(id)
                && let Some(branch) = context.branches.get_mut(usize::from(index))
            {
                branch.alternatives = flows;
            }
            next(state, id, index);
        }
        Ok(Found::Unasked(question)) => ask(state, id, index, question),
        Err(status) => {
            state.core.metrics.branches_unreachable += 1;
            fail(state, id, index, status);
        }
    }
}

/// Goes on to the next address of a branch that failed; `false` when there is none. `failure` is
/// why no answer came, if none did.
pub(super) fn again<L: ModuleList>(
    state: &mut State<L>,
    id: ContextId,
    index: u8,
    failure: Option<Failure>,
) -> bool {
    let Some(context) = state.core.contexts.get_mut(id) else { return false };
    let over = context.cancelled || context.final_sent;
    let Some(branch) = context.branches.get_mut(usize::from(index)) else { return false };
    let refused = branch.instead_of.take().filter(|_| failure == Some(Failure::Transport));
    if over {
        return false;
    }
    if let Some(udp) = refused {
        // §18.1.1: "If an attempt to establish the connection ... results in an ICMP Protocol Not
        // Supported, or results in a TCP reset, the element SHOULD retry the request, using UDP."
        state.core.metrics.switched_back_to_udp += 1;
        let now = state.core.now;
        state.core.refusals.note(udp.remote, now);
        let sent = forward::send(state, (id, index), udp, usize::MAX);
        sent_as(state, id, index, sent);
        return is_under_way(state, id, index);
    }
    if branch.alternatives.is_empty() {
        return false;
    }
    state.core.metrics.failovers += 1;
    next(state, id, index);
    is_under_way(state, id, index)
}

/// Whether a branch may still be answered: what could not even be sent has no answer to wait for.
fn is_under_way<L: ModuleList>(state: &State<L>, id: ContextId, index: u8) -> bool {
    let context = state.core.contexts.get(id);
    let branch = context.and_then(|context| context.branches.get(usize::from(index)));
    branch.is_some_and(|branch| match branch.state {
        BranchState::Pending(_) | BranchState::Resolving => true,
        BranchState::Answered(..) | BranchState::Failed(_) | BranchState::Superseded => false,
    })
}

/// Takes a resolver's answer, and starts the branches that waited for it.
pub(crate) fn resolved<L: ModuleList>(
    state: &mut State<L>,
    question: Question,
    resolution: Resolution,
) {
    let waiters = state.core.resolver.answer(question, resolution, state.core.now);
    for (id, index) in waiters {
        let Some(context) = state.core.contexts.get(id) else { continue };
        let branch = context.branches.get(usize::from(index));
        let waits = branch.is_some_and(|branch| matches!(branch.state, BranchState::Resolving));
        if !waits || context.final_sent {
            continue;
        }
        if context.cancelled {
            fail(state, id, index, StatusCode::REQUEST_TERMINATED);
        } else {
            start(state, id, index);
        }
        response::settle(state, id);
        state.finish(id);
    }
}

fn next<L: ModuleList>(state: &mut State<L>, id: ContextId, index: u8) {
    let Core { contexts, blocklist, settings, metrics, now, .. } = &mut state.core;
    let Some(context) = contexts.get_mut(id) else { return };
    let Some(branch) = context.branches.get_mut(usize::from(index)) else { return };
    let method = context.request.message().method().map_or(MethodKind::Other, |m| m.kind());
    let looks = settings.blocklist.as_ref().is_some_and(|rules| rules.looks(method));
    let flow = loop {
        let Some(flow) = branch.alternatives.pop() else {
            branch.state = BranchState::Failed(settings.rules.error_map.pick(AVOIDED, 520));
            return;
        };
        if !(looks && blocklist.holds(&flow, *now)) {
            break flow;
        }
        metrics.destinations_avoided += 1;
    };
    let datagram = flow.transport == Transport::Udp;
    let bytes_max = state.core.settings.udp_mtu.filter(|_| datagram).unwrap_or(usize::MAX);
    let sent = match forward::send(state, (id, index), flow, bytes_max) {
        Err(NotSent::TooLong) => send_long(state, (id, index), flow),
        sent => sent,
    };
    sent_as(state, id, index, sent);
}

/// §18.1.1: a request too long for UDP goes over TCP first, where that is possible.
fn send_long<L: ModuleList>(
    state: &mut State<L>,
    (id, index): (ContextId, u8),
    udp: Flow,
) -> Result<Option<ClientId>, NotSent> {
    let tcp = switch::instead(state, (id, index), udp);
    if tcp.is_some() {
        state.core.metrics.switched_to_tcp += 1;
        if let Some(context) = state.core.contexts.get_mut(id)
            && let Some(branch) = context.branches.get_mut(usize::from(index))
        {
            branch.instead_of = Some(udp);
        }
    }
    forward::send(state, (id, index), tcp.unwrap_or(udp), usize::MAX)
}

/// Notes how a branch goes on.
fn sent_as<L: ModuleList>(
    state: &mut State<L>,
    id: ContextId,
    index: u8,
    sent: Result<Option<ClientId>, NotSent>,
) {
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    let Some(branch) = context.branches.get_mut(usize::from(index)) else { return };
    branch.state = match sent {
        Ok(Some(client)) => BranchState::Pending(client),
        Ok(None) => BranchState::Superseded,
        Err(NotSent::Failed(status)) => BranchState::Failed(status),
        Err(NotSent::TooLong) => BranchState::Failed(StatusCode::MESSAGE_TOO_LARGE),
    };
}

fn fail<L: ModuleList>(state: &mut State<L>, id: ContextId, index: u8, status: StatusCode) {
    if let Some(context) = state.core.contexts.get_mut(id)
        && let Some(branch) = context.branches.get_mut(usize::from(index))
    {
        branch.state = BranchState::Failed(status);
    }
}

fn ask<L: ModuleList>(state: &mut State<L>, id: ContextId, index: u8, question: Question) {
    match state.core.resolver.wait(&question, (id, index)) {
        Ok(true) => state.core.out.questions.push(question),
        Ok(false) => {}
        Err(_) => fail(state, id, index, StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn find<L: ModuleList>(
    state: &mut State<L>,
    id: ContextId,
    index: u8,
) -> Result<Found, StatusCode> {
    let core = &mut state.core;
    let map = core.settings.rules.error_map;
    let Some(context) = core.contexts.get(id) else {
        return Err(StatusCode::SERVER_INTERNAL_ERROR);
    };
    let Some(branch) = context.branches.get(usize::from(index)) else {
        return Err(StatusCode::SERVER_INTERNAL_ERROR);
    };
    let hop = forward::hop(context.request.message(), &context.plan, &branch.target);
    let hop = hop.map_err(|error| error.status())?;
    if let Some(flow) = hop.flow {
        return Ok(Found::Flows(SmallVec::from_slice(&[flow])));
    }
    let received = context.request.flow();
    match target::flow_to(hop.destination, &core.identity, received) {
        Ok(flow) => return Ok(Found::Flows(SmallVec::from_slice(&[flow]))),
        Err(Unreachable::Unresolved) => {}
        Err(unreachable) => return Err(unreachable.status(map)),
    }
    let uri = Uri::parse(hop.destination).map_err(|error| error.status())?;
    let question = Question::of(&uri);
    let places = match core.resolver.look(&question, core.now) {
        Known::Places(places) => places,
        Known::Nothing => return Err(Unreachable::Unresolved.status(map)),
        Known::Failed => return Err(Unreachable::Unanswered.status(map)),
        Known::Unasked => return Ok(Found::Unasked(question)),
    };
    let identity = Rc::clone(&core.identity);
    let mut flows: SmallVec<[Flow; 2]> = order(&places, &mut core.entropy)
        .iter()
        .filter_map(|place| {
            let (transport, remote) = (place.transport, place.address);
            let listener = identity.listener_for(transport, remote, received.listener)?;
            Some(Flow { transport, listener, remote, connection: None })
        })
        .collect();
    flows.reverse();
    if flows.is_empty() {
        Err(Unreachable::NoListener.status(map))
    } else {
        Ok(Found::Flows(flows))
    }
}
