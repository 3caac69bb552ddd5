//! The attempts of one branch: looking its target up, and going on to the next address.
//!
//! For: RFC 3263 §4.3: a target with several addresses is one branch, tried one address after
//! another when the transport fails, nobody answers, or the answer is 503.
//! Not here: the order of addresses (`resolver.rs`), writing the request (`forward.rs`).
//! Invariants: a branch ends in a client transaction or in a status, whatever the resolver says.

use super::forward;
use super::resolver::{Known, Question, Resolution, order};
use super::response;
use super::target::{self, Unreachable};
use crate::engine::core::State;
use crate::engine::slots::{BranchState, ContextId};
use crate::message::{StatusCode, Uri};
use crate::module::list::ModuleList;
use crate::transport::Flow;
use smallvec::SmallVec;
use std::rc::Rc;

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

/// Goes on to the next address of a branch that failed; `false` when there is none.
pub(super) fn again<L: ModuleList>(state: &mut State<L>, id: ContextId, index: u8) -> bool {
    let Some(context) = state.core.contexts.get(id) else { return false };
    let branch = context.branches.get(usize::from(index));
    let left = branch.is_some_and(|branch| !branch.alternatives.is_empty());
    if !left || context.cancelled || context.final_sent {
        return false;
    }
    state.core.metrics.failovers += 1;
    next(state, id, index);
    true
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
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    let Some(branch) = context.branches.get_mut(usize::from(index)) else { return };
    let Some(flow) = branch.alternatives.pop() else { return };
    let sent = forward::send(state, (id, index), flow);
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    let Some(branch) = context.branches.get_mut(usize::from(index)) else { return };
    branch.state = match sent {
        Ok(Some(client)) => BranchState::Pending(client),
        Ok(None) => BranchState::Superseded,
        Err(status) => BranchState::Failed(status),
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
        Err(unreachable) => return Err(unreachable.status()),
    }
    let uri = Uri::parse(hop.destination).map_err(|error| error.status())?;
    let question = Question::of(&uri);
    let places = match core.resolver.look(&question, core.now) {
        Known::Places(places) => places,
        Known::Nothing => return Err(Unreachable::Unresolved.status()),
        Known::Failed => return Err(Unreachable::Unanswered.status()),
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
    if flows.is_empty() { Err(Unreachable::NoListener.status()) } else { Ok(Found::Flows(flows)) }
}
