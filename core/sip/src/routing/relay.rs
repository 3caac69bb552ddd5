//! Forwarding as a value: a target set that can be returned as the answer, or awaited.
//!
//! For: `request.relay_to(uri).into()` when the best response may go upstream by itself, and
//! `request.relay_to(uri).await` when the routing wants to decide after a failure.
//! Not here: how a branch is made (`proxy/forward.rs`).

use super::request::Request;
use super::{Answer, Outcome, Planned, Routing};
use crate::engine::core::Core;
use crate::engine::plan::{Plan, Target};
use crate::engine::slots::{Relayed, Watch};
use crate::message::StatusCode;
use crate::proxy::forward;
use crate::proxy::rules::EarlierReplies;
use crate::time::Duration;
use crate::transaction::TimerSettings;
use crate::transport::Flow;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::Poll;

/// Where one branch goes, in full.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'d> {
    /// The Request-URI.
    pub uri: &'d [u8],
    /// Route values to be put on top, as one header line; they lead the way unless a next hop or a
    /// flow is given.
    pub path: Option<&'d [u8]>,
    /// Where to send it instead of where URI and Route say.
    pub next_hop: Option<&'d [u8]>,
    /// The socket pair to use, whatever the URIs say.
    pub flow: Option<Flow>,
}

/// A target set (RFC 3261 §16.5), tried in parallel.
#[must_use = "a relay happens when it is returned as the answer or awaited"]
pub struct Relay<'r, 'a, R: Routing> {
    request: &'r mut Request<'a, R>,
}

impl<'r, 'a, R: Routing> Relay<'r, 'a, R> {
    pub(super) fn new(request: &'r mut Request<'a, R>) -> Relay<'r, 'a, R> {
        request.desk.with(|state| {
            if let Some(context) = state.core.contexts.get_mut(request.context) {
                context.plan.targets.clear();
            }
        });
        Relay { request }
    }

    pub(super) fn target(self, uri: Option<&[u8]>, next_hop: Option<&[u8]>) -> Relay<'r, 'a, R> {
        self.request.desk.with(|state| {
            if let Some(context) = state.core.contexts.get_mut(self.request.context) {
                let plan = &mut context.plan;
                let request_uri = uri.map(|uri| plan.keep(uri));
                let next_hop = next_hop.map(|uri| plan.keep(uri));
                plan.targets.push(Target { request_uri, next_hop, ..Target::AS_RECEIVED });
            }
        });
        self
    }

    /// How long to wait for any response to an INVITE, or for the final one to another request:
    /// timers B and F, Kamailio's `fr_timer`. Holds for this and later relays of the request.
    pub fn no_answer_after(self, span: Duration) -> Relay<'r, 'a, R> {
        self.timers(|timers| timers.no_response = span)
    }

    /// How long an INVITE may ring: timer C, Kamailio's `fr_inv_timer`. Holds for this and later
    /// relays of the request.
    pub fn ring_for(self, span: Duration) -> Relay<'r, 'a, R> {
        self.timers(|timers| timers.ringing = span)
    }

    /// A group of contacts while another is left: an INVITE rings for `fr_inv_timer_next` only.
    /// Relays after this one ring for as long as `fr_inv_timer` says again.
    pub fn before_others(self) -> Relay<'r, 'a, R> {
        let span = self.request.desk.with(|state| state.core.settings.rules.fr_inv_timer_next);
        self.ring_for(span)
    }

    /// The last group of contacts, after [`Relay::before_others`]: the node's timers again
    /// (`t_reset_fr`).
    pub fn with_own_timers(self) -> Relay<'r, 'a, R> {
        self.plan(|plan| plan.timers = None);
        self
    }

    /// Which responses of earlier rounds take part when the best one of this round is chosen, in
    /// place of `failure_reply_mode` (`t_drop_replies`). Holds for later relays of the request too.
    pub fn earlier_replies(self, earlier: EarlierReplies) -> Relay<'r, 'a, R> {
        self.plan(|plan| plan.earlier = Some(earlier));
        self
    }

    /// A 6xx does not cancel the other branches (`t_set_disable_6xx`). Holds for later relays of
    /// the request too.
    pub fn disable_6xx(self) -> Relay<'r, 'a, R> {
        self.plan(|plan| plan.disable_6xx = true);
        self
    }

    fn plan(&self, change: impl FnOnce(&mut Plan)) {
        self.request.desk.with(|state| {
            if let Some(context) = state.core.contexts.get_mut(self.request.context) {
                change(&mut context.plan);
            }
        });
    }

    /// Timers out of range are left as they were: a routing's slip is no reason to lose a call.
    fn timers(self, change: impl FnOnce(&mut TimerSettings)) -> Relay<'r, 'a, R> {
        self.request.desk.with(|state| {
            let Core { contexts, settings, .. } = &mut state.core;
            if let Some(context) = contexts.get_mut(self.request.context) {
                let mut timers = context.plan.timers.unwrap_or(settings.timers).settings();
                change(&mut timers);
                debug_assert!(timers.check().is_ok(), "a timer is out of its range");
                context.plan.timers = timers.check().ok().or(context.plan.timers);
            }
        });
        self
    }

    /// One more branch, with this Request-URI.
    pub fn to(self, uri: impl AsRef<[u8]>) -> Relay<'r, 'a, R> {
        self.target(Some(uri.as_ref()), None)
    }

    /// One more branch, with the Request-URI unchanged, sent to this next hop.
    pub fn by(self, next_hop: impl AsRef<[u8]>) -> Relay<'r, 'a, R> {
        self.target(None, Some(next_hop.as_ref()))
    }

    /// One more branch, to what a registrar or a dispatcher has found.
    pub fn to_destination(self, destination: &Destination<'_>) -> Relay<'r, 'a, R> {
        self.request.desk.with(|state| {
            if let Some(context) = state.core.contexts.get_mut(self.request.context) {
                let plan = &mut context.plan;
                let path = destination.path.filter(|path| !path.is_empty());
                let target = Target {
                    request_uri: Some(plan.keep(destination.uri)),
                    next_hop: destination.next_hop.map(|uri| plan.keep(uri)),
                    path: path.map(|path| plan.keep(path)),
                    flow: destination.flow,
                };
                plan.targets.push(target);
            }
        });
        self
    }

    /// One more branch, with this Request-URI, sent to this next hop.
    pub fn to_by(self, uri: impl AsRef<[u8]>, next_hop: impl AsRef<[u8]>) -> Relay<'r, 'a, R> {
        self.target(Some(uri.as_ref()), Some(next_hop.as_ref()))
    }
}

impl<R: Routing> From<Relay<'_, '_, R>> for Answer {
    fn from(_: Relay<'_, '_, R>) -> Answer {
        Answer::Relay(Planned(()))
    }
}

impl<'r, 'a, R: Routing> IntoFuture for Relay<'r, 'a, R> {
    type Output = Outcome;
    type IntoFuture = Relaying<'r, 'a, R>;

    fn into_future(self) -> Relaying<'r, 'a, R> {
        Relaying { request: self.request, stage: Stage::Planned }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Planned,
    Sent,
    Ended,
}

/// An awaited relay.
pub struct Relaying<'r, 'a, R: Routing> {
    request: &'r mut Request<'a, R>,
    stage: Stage,
}

impl<R: Routing> Future for Relaying<'_, '_, R> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Outcome> {
        let (id, stage) = (self.request.context, self.stage);
        let ended = self.request.desk.with(|state| {
            if stage == Stage::Planned {
                forward::relay(state, id, Watch::Routing);
            }
            let Some(context) = state.core.contexts.get_mut(id) else {
                // The request has ended under the routing; what it answers is not looked at.
                let status = StatusCode::REQUEST_TERMINATED;
                return Some((Relayed::Failed(status, None), true));
            };
            match std::mem::replace(&mut context.watch, Watch::Nobody) {
                Watch::Ended(relayed) => Some((relayed, context.cancelled)),
                waiting @ (Watch::Routing | Watch::Nobody) => {
                    context.watch = waiting;
                    None
                }
            }
        });
        self.stage = if ended.is_some() { Stage::Ended } else { Stage::Sent };
        match ended {
            None => Poll::Pending,
            Some((Relayed::Answered(status), _)) => Poll::Ready(Outcome::Answered(status)),
            Some((Relayed::Failed(status, response), cancelled)) => {
                Poll::Ready(Outcome::Failed(super::Failed { status, response, cancelled }))
            }
        }
    }
}

impl<R: Routing> Drop for Relaying<'_, '_, R> {
    /// A routing that stops awaiting leaves the relay to end by itself.
    fn drop(&mut self) {
        if self.stage == Stage::Sent {
            self.request.desk.with(|state| {
                if let Some(context) = state.core.contexts.get_mut(self.request.context) {
                    context.watch = Watch::Nobody;
                }
            });
        }
    }
}
