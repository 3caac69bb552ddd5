//! The request that a routing decides on.
//!
//! For: reading it, changing what will be forwarded, and choosing where it goes.
//! Invariants: the message itself never changes; changes are recorded and applied when a branch is
//! sent, so a later read sees what was received.

use super::desk::Desk;
use super::{Destination, Failed, ListOf, Progress, Relay, Reply, Routing};
use crate::engine::core::{Core, State};
use crate::engine::incoming::Incoming;
use crate::engine::plan::{Plan, Span, Target};
use crate::engine::slots::{ContextId, ServerId, TimerKey};
use crate::message::{Contacts, EditError, Edits, Message, MethodKind, Uri};
use crate::module::host::HostAt;
use crate::module::{Has, Module};
use crate::proxy::cancel::Why;
use crate::proxy::flow_token;
use crate::proxy::forward;
use crate::proxy::route_set::{self, Followed};
use crate::time::{Duration, Instant};
use crate::transport::{Flow, Listeners};
use smallvec::SmallVec;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// A request in the hands of a routing.
pub struct Request<'a, R: Routing> {
    pub(super) desk: &'a Desk<ListOf<R>>,
    pub(super) context: ContextId,
    incoming: Rc<Incoming>,
}

impl<'a, R: Routing> Request<'a, R> {
    pub(super) fn new(
        desk: &'a Desk<ListOf<R>>,
        context: ContextId,
        incoming: Rc<Incoming>,
    ) -> Request<'a, R> {
        Request { desk, context, incoming }
    }

    /// The message as it was received.
    pub fn message(&self) -> Message<'_> {
        self.incoming.message()
    }

    /// Its method.
    pub fn method(&self) -> MethodKind {
        self.message().method().map_or(MethodKind::Other, |method| method.kind())
    }

    /// Its Request-URI as received, unparsed.
    pub fn request_uri(&self) -> &[u8] {
        self.message().request_uri().unwrap_or(&[])
    }

    /// Its Request-URI, parsed; admission has made sure that it can be.
    pub fn target(&self) -> Option<Uri<'_>> {
        Uri::parse(self.request_uri()).ok()
    }

    /// The socket pair it came over.
    pub fn source(&self) -> Flow {
        self.incoming.flow()
    }

    /// Whether it belongs to a dialog: its To has a tag (RFC 3261 §12.2).
    pub fn is_within_dialog(&self) -> bool {
        self.message().to_tag().is_some()
    }

    /// Whether its Request-URI names this node: a listening or advertised address or an alias.
    pub fn is_for_this_node(&self) -> bool {
        self.target().is_some_and(|uri| self.is_ours(&uri))
    }

    /// Whether a URI names this node.
    pub fn is_ours(&self, uri: &Uri<'_>) -> bool {
        self.with(|state| state.core.identity.is_ours(uri))
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.with(|state| state.core.now)
    }

    /// The same as a date: how long after 1970-01-01T00:00:00Z.
    pub fn unix_time(&self) -> Duration {
        self.with(|state| state.core.settings.unix_start + state.core.now.since(Instant::START))
    }

    /// The node's listening addresses.
    pub fn listeners(&self) -> Listeners {
        self.with(|state| state.core.listeners.clone())
    }

    /// Random numbers of this shard.
    pub(super) fn random(&self) -> [u64; 2] {
        self.with(|state| [state.core.entropy.next_u64(), state.core.entropy.next_u64()])
    }

    /// Follows the Route header (RFC 3261 §16.4, §16.12): removes our own entries and recovers from
    /// a strict router before us. `None` when there is no Route and so nothing to follow.
    ///
    /// A flow token in our own entry sends the request over the flow that it names (RFC 5626 §5.3);
    /// when that is gone, the relay ends with 430.
    ///
    /// # Errors
    /// 400 when a Route value cannot be read, 403 when a flow token is not ours.
    pub fn loose_route(&mut self) -> Result<Option<Within<'_, 'a, R>>, Reply> {
        let message = self.incoming.message();
        let (desk, context) = (self.desk, self.context);
        let received = self.incoming.flow();
        let followed = desk.with(|state| {
            let digest = state.core.digest();
            let Core { contexts, identity, settings, .. } = &mut state.core;
            let Some(slot) = contexts.get_mut(context) else { return Ok(Followed::Nothing) };
            let by = (&**identity, &settings.rules.record_route);
            route_set::follow((&message, received), by, digest, &mut slot.plan)
        });
        match followed {
            Ok(Followed::Route) => Ok(Some(Within { request: self })),
            Ok(Followed::Nothing) => Ok(None),
            Ok(Followed::Altered) => Err(Reply::forbidden()),
            Err(error) => Err(Reply::new(error.status().code())),
        }
    }

    /// Sets a variable of this request; it lives as long as its routing (a transaction's `$avp`).
    pub fn set(&mut self, name: &str, value: &str) {
        self.plan(|plan| {
            let (name, value) = (plan.keep(name.as_bytes()), plan.keep(value.as_bytes()));
            plan.variables.push((name, value));
        });
    }

    /// The value of a variable that was set before.
    pub fn get(&self, name: &str) -> Option<String> {
        self.with(|state| {
            let plan = &state.core.contexts.get(self.context)?.plan;
            let is_it = |entry: &&(Span, Span)| plan.text(entry.0) == name.as_bytes();
            let (_, value) = plan.variables.iter().rev().find(is_it)?;
            Some(String::from_utf8_lossy(plan.text(*value)).into_owned())
        })
    }

    /// Cancels every branch that has not ended (`t_cancel_branches`); the relay they belong to ends
    /// with 487 when nothing better comes.
    pub fn cancel_branches(&mut self) {
        self.with(|state| state.cancel_pending(self.context, Why::Caller(&[])));
    }

    /// Puts this node into the path of the dialog that the request creates (RFC 3261 §16.6 step 4).
    /// Meant for INVITE, SUBSCRIBE, REFER and what else creates dialogs; asked twice, done once.
    pub fn record_route(&mut self) {
        self.plan(|plan| plan.record_route = true);
    }

    /// The same with a flow token: later requests for whoever sent this one come back over the flow
    /// it came over (RFC 5626 §5.3). For an edge between user agents and the rest of the network.
    pub fn record_route_flow(&mut self) {
        let token = self.flow_token();
        self.plan(|plan| {
            plan.record_route = true;
            plan.record_route_user = Some(plan.keep(token.as_bytes()));
        });
    }

    /// A token that names the flow it came over, for the user part of a Path or Record-Route entry
    /// of this node. It holds as long as the connection, and over UDP as long as the node's secret.
    pub fn flow_token(&self) -> String {
        let mut token = Vec::new();
        let digest = self.with(|state| state.core.digest());
        flow_token::write(&self.incoming.flow(), digest, &mut token);
        String::from_utf8_lossy(&token).into_owned()
    }

    /// Changes headers or body of what will be forwarded, on every branch.
    ///
    /// # Errors
    /// When a text would split a header, or the edit is refused otherwise.
    pub fn edit<T>(
        &mut self,
        change: impl FnOnce(&mut Edits) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        self.with(|state| match state.core.contexts.get_mut(self.context) {
            Some(context) => change(&mut context.plan.edits),
            None => change(&mut Edits::default()),
        })
    }

    /// Appends a header to what will be forwarded.
    ///
    /// # Errors
    /// When name or value would split a header.
    pub fn append_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.edit(|edits| edits.append(name.as_bytes(), value.as_bytes()))
    }

    /// Removes every header of this name from what will be forwarded.
    ///
    /// # Errors
    /// When the name is no header name.
    pub fn remove_header(&mut self, name: &str) -> Result<(), EditError> {
        self.edit(|edits| edits.remove(name.as_bytes()))
    }

    /// Forwards to where Request-URI and Route say.
    pub fn relay_to_target(&mut self) -> Relay<'_, 'a, R> {
        Relay::new(self).target(None, None)
    }

    /// Forwards with another Request-URI, to where it says.
    pub fn relay_to(&mut self, uri: impl AsRef<[u8]>) -> Relay<'_, 'a, R> {
        Relay::new(self).to(uri)
    }

    /// Forwards with the Request-URI unchanged, to another next hop.
    pub fn relay_by(&mut self, next_hop: impl AsRef<[u8]>) -> Relay<'_, 'a, R> {
        Relay::new(self).by(next_hop)
    }

    /// Forwards to the contacts of a redirection (RFC 3261 §8.1.3.4), in parallel; `None` when the
    /// response is none or names nobody. Each contact is tried once a request, so that two servers
    /// that redirect to each other end.
    pub fn relay_to_contacts(&mut self, failed: &Failed) -> Option<Relay<'_, 'a, R>> {
        let response =
            failed.response().filter(|_| (300..400).contains(&failed.status().code()))?;
        let Contacts::List(contacts) = response.contacts().ok()? else { return None };
        let uris: SmallVec<[&[u8]; 4]> = contacts
            .filter_map(Result::ok)
            .filter(|contact| contact.uri().is_ok_and(|uri| uri.scheme.is_sip()))
            .map(|contact| contact.uri)
            .collect();
        let new: SmallVec<[&[u8]; 4]> = self.with(|state| {
            let context = state.core.contexts.get_mut(self.context)?;
            let plan = &mut context.plan;
            Some(uris.into_iter().filter(|uri| plan.redirect(uri)).collect())
        })?;
        if new.is_empty() {
            return None;
        }
        let relay = Relay::new(self);
        Some(new.into_iter().fold(relay, |relay, uri| {
            let (path, next_hop, flow) = (None, None, None);
            relay.to_destination(&Destination { uri, path, next_hop, flow })
        }))
    }

    /// Starts an empty target set; see [`Relay::to`].
    pub fn fork(&mut self) -> Relay<'_, 'a, R> {
        Relay::new(self)
    }

    /// Sends a copy of the request there, at once and beside whatever else becomes of it; its
    /// responses do not count (`t_replicate`). `false` when the request has too many branches, or
    /// is an ACK.
    pub fn replicate_to(&mut self, uri: impl AsRef<[u8]>) -> bool {
        self.replicate(|plan| Target {
            request_uri: Some(plan.keep(uri.as_ref())),
            ..Target::AS_RECEIVED
        })
    }

    /// The same with the Request-URI unchanged, to another next hop.
    pub fn replicate_by(&mut self, next_hop: impl AsRef<[u8]>) -> bool {
        self.replicate(|plan| Target {
            next_hop: Some(plan.keep(next_hop.as_ref())),
            ..Target::AS_RECEIVED
        })
    }

    fn replicate(&mut self, target: impl FnOnce(&mut Plan) -> Target) -> bool {
        self.with(|state| {
            let Some(context) = state.core.contexts.get_mut(self.context) else { return false };
            let target = target(&mut context.plan);
            forward::replicate(state, self.context, target)
        })
    }

    /// Sends a provisional response to an INVITE. 100 was sent already.
    pub fn progress(&mut self, progress: &Progress) {
        self.with(|state| {
            let slot = state.core.contexts.get(self.context);
            if let Some(server) = slot.and_then(|slot| slot.server) {
                state.reply(server, progress.reply());
            }
        });
    }

    /// Waits; other requests go on meanwhile.
    pub fn pause(&mut self, span: Duration) -> Pause<'_, 'a, R> {
        Pause { request: self, span: Some(span) }
    }

    /// Works on one of the routing's modules; how modules give their methods to requests.
    pub fn module<M, N, T>(
        &self,
        work: impl FnOnce(&mut M, &mut HostAt<'_, ListOf<R>, M, N>, &RequestIds) -> T,
    ) -> T
    where
        M: Module,
        ListOf<R>: Has<M, N>,
    {
        self.with(|state| {
            let State { core, modules } = state;
            let transaction = core.contexts.get(self.context).and_then(|slot| slot.server);
            let ids = RequestIds { context: self.context, transaction };
            work(modules.module(), &mut HostAt::new(core), &ids)
        })
    }

    /// Waits until `look` finds an answer in one of the routing's modules. It is asked at once, and
    /// again whenever the module wakes this request's context.
    pub async fn module_answer<M, N, T>(
        &self,
        mut look: impl FnMut(&mut M, &mut HostAt<'_, ListOf<R>, M, N>, &RequestIds) -> Poll<T>,
    ) -> T
    where
        M: Module,
        ListOf<R>: Has<M, N>,
    {
        std::future::poll_fn(|_| self.module(&mut look)).await
    }

    fn plan(&mut self, change: impl FnOnce(&mut Plan)) {
        self.with(|state| {
            if let Some(context) = state.core.contexts.get_mut(self.context) {
                change(&mut context.plan);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut State<ListOf<R>>) -> T) -> T {
        self.desk.with(work)
    }
}

/// The ids by which modules know a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestIds {
    /// Its routing.
    pub context: ContextId,
    /// Its server transaction; an ACK to a 2xx has none.
    pub transaction: Option<ServerId>,
}

/// A request whose Route header was followed: proof for what is legal within a dialog only.
pub struct Within<'r, 'a, R: Routing> {
    request: &'r mut Request<'a, R>,
}

impl<'r, 'a, R: Routing> Within<'r, 'a, R> {
    /// The request itself.
    pub fn request(&mut self) -> &mut Request<'a, R> {
        self.request
    }

    /// Whether it belongs to a dialog. A request with a Route but no To tag came with a preloaded
    /// route set, which whoever sent it has chosen.
    pub fn is_in_dialog(&self) -> bool {
        self.request.is_within_dialog()
    }

    /// Whether the route set leads on to a hop beyond this node.
    pub fn has_more(&self) -> bool {
        let routes = self.request.message().routes().count();
        self.request.with(|state| {
            let context = state.core.contexts.get(self.request.context);
            context.is_some_and(|context| {
                routes > context.plan.routes_dropped + usize::from(context.plan.last_route_taken)
            })
        })
    }

    /// Forwards along the rest of the route set.
    pub fn relay(self) -> Relay<'r, 'a, R> {
        self.request.relay_to_target()
    }
}

/// A pause of one routing.
#[must_use = "a pause does nothing unless awaited"]
pub struct Pause<'r, 'a, R: Routing> {
    request: &'r mut Request<'a, R>,
    span: Option<Duration>,
}

impl<R: Routing> Future for Pause<'_, '_, R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
        let (span, id) = (self.span.take(), self.request.context);
        self.request.with(|state| {
            let Core { contexts, wheel, now, .. } = &mut state.core;
            let Some(context) = contexts.get_mut(id) else { return Poll::Ready(()) };
            match (span, context.pause) {
                (Some(span), _) => {
                    let timer = wheel.arm(*now + span, TimerKey::Pause(id));
                    if let Some(earlier) = context.pause.replace(timer) {
                        wheel.cancel(earlier);
                    }
                    Poll::Pending
                }
                (None, Some(_)) => Poll::Pending,
                (None, None) => Poll::Ready(()),
            }
        })
    }
}
