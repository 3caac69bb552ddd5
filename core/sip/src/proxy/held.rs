//! Final responses that wait for a module's word before they go upstream.
//!
//! For: an answer with which a module promises something that is not done yet, for example that
//! storage knows of the call (RFC 3261 §16.7 step 9 says "immediately"; a promise is worth the
//! wait).
//! Not here: what is promised, and how long it may take (the module that holds the response).
//! Invariants: only a 2xx to INVITE that was received is held, by one module. It goes upstream
//! once, or another final response does in its place.

use crate::engine::core::{Core, State};
use crate::engine::incoming::Incoming;
use crate::engine::slots::{ServerId, ServerMachine};
use crate::limits::HELD_MAX;
use crate::message::{
    Edits, Message, NO_EDITS, ResponseChanges, StatusCode, write_forwarded_response,
};
use crate::module::list::{ModuleList, Types};
use crate::routing::Reply;
use crate::transaction::{Id, Responded, Slab, Step};
use std::collections::VecDeque;
use std::rc::Rc;

/// Marks ids of held responses.
#[derive(Debug)]
pub enum HeldMark {}

/// Names a response that is held.
pub type HeldId = Id<HeldMark>;

/// A response that is held.
pub(crate) struct Held {
    server: ServerId,
    status: StatusCode,
    bytes: Vec<u8>,
    /// What it answers, while it is the first final response.
    request: Option<Rc<Incoming>>,
}

/// Whether the response that the modules are looking at may be held.
#[derive(Default)]
enum Shown {
    #[default]
    Nothing,
    /// It may be, of this transaction.
    Free(ServerId),
    /// A module holds it.
    Held(HeldId),
}

/// The responses that are held on a shard.
pub(crate) struct Holds {
    list: Slab<Held, HeldMark>,
    shown: Shown,
    refused: VecDeque<(Held, Reply)>,
}

impl Default for Holds {
    fn default() -> Holds {
        Holds { list: Slab::new(0, HELD_MAX), shown: Shown::Nothing, refused: VecDeque::new() }
    }
}

impl<S: Types> Core<S> {
    /// Modules are about to see a response.
    pub(crate) fn show(&mut self, server: ServerId, status: StatusCode) {
        let slot = self.servers.get(server).filter(|_| status.is_success());
        let is_invite = slot.is_some_and(|slot| matches!(slot.machine, ServerMachine::Invite(_)));
        self.holds.shown = if is_invite { Shown::Free(server) } else { Shown::Nothing };
    }

    /// See [`crate::module::Host::hold`].
    pub(crate) fn hold(&mut self, of: ServerId) -> Option<HeldId> {
        let Shown::Free(server) = self.holds.shown else { return None };
        let held = Held { server, status: StatusCode::OK, bytes: Vec::new(), request: None };
        let id = (server == of).then(|| self.holds.list.insert(held).ok()).flatten()?;
        self.holds.shown = Shown::Held(id);
        Some(id)
    }

    /// Modules have seen it: keeps the response if one of them holds it; `false` when it is to go.
    pub(crate) fn keep(
        &mut self,
        request: Option<&Rc<Incoming>>,
        (message, status): (Message<'_>, StatusCode),
        edits: &Edits,
    ) -> bool {
        let Shown::Held(id) = std::mem::take(&mut self.holds.shown) else { return false };
        // One that was dropped within the same hook is kept from going all the same.
        if let Some(held) = self.holds.list.get_mut(id) {
            write_forwarded_response(message, &ResponseChanges { edits }, &mut held.bytes);
            held.status = status;
            held.request = request.map(Rc::clone);
        }
        true
    }

    /// See [`crate::module::Host::release`].
    pub(crate) fn release_held(&mut self, id: HeldId) -> bool {
        let Some(held) = self.holds.list.remove(id) else { return false };
        let Held { server, status, bytes, request } = held;
        if let Some(request) = request {
            self.incomings.put(request);
        }
        let Some(slot) = self.servers.get_mut(server) else { return false };
        let ServerMachine::Invite(machine) = &mut slot.machine else { return false };
        let mut step = Step {
            now: self.now,
            timers: &self.settings.timers,
            out: &mut self.out.sends,
            pool: &mut self.pool,
        };
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&bytes);
        let responded = machine.respond(status.code(), slot.reply_flow, write, &mut step);
        self.metrics.responses_sent += u64::from(responded == Responded::Sent);
        self.rearm_server(server);
        responded == Responded::Sent
    }

    /// See [`crate::module::Host::refuse`].
    pub(crate) fn refuse_held(&mut self, id: HeldId, reply: Reply) {
        if let Some(held) = self.holds.list.remove(id) {
            self.holds.refused.push_back((held, reply));
        }
    }

    /// See [`crate::module::Host::discard`].
    pub(crate) fn discard_held(&mut self, id: HeldId) {
        if let Some(request) = self.holds.list.remove(id).and_then(|held| held.request) {
            self.incomings.put(request);
        }
    }
}

impl<L: ModuleList> State<L> {
    /// Sends what stands in the place of responses that were held. Modules do not see it: the one
    /// that refused knows.
    pub(crate) fn answer_refused(&mut self) {
        while let Some((held, reply)) = self.core.holds.refused.pop_front() {
            let Some(request) = held.request else { continue };
            self.respond(held.server, &request, &reply, &NO_EDITS);
            self.core.incomings.put(request);
        }
    }
}
