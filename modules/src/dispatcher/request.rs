//! What a routing asks of the dispatcher.
//!
//! For: choosing, failing over, marking; `ds_select_dst` and its kin as methods of a request.
//! Not here: how a choice is made (`select.rs`).
//! Invariants: a destination that did not answer is marked; one whose callee did not answer is not.

use super::algorithm::Algorithm;
use super::destination::{Availability, DestinationId, Mark, SetId, State};
use super::keys::hash_of;
use super::live::Live;
use super::probe::listener;
use super::select::{Asked, Choice, hash};
use super::selection::{Candidate, NoDestination, Selection};
use super::{Dispatcher, Row};
use std::marker::PhantomData;
use strowger_sip::limits::BRANCHES_MAX;
use strowger_sip::message::Uri;
use strowger_sip::module::{Has, Host};
use strowger_sip::routing::{Destination, Failed, ListOf, Outcome, Request, Routing};

/// Gives a request its `dispatcher()`.
pub trait DispatcherRequest<'a, R: Routing, N> {
    /// The sets of destinations, asked about this request.
    ///
    /// ```text
    /// // Chooses, sends, goes on to the next while destinations fail:
    /// Ok(request.dispatcher().relay(1, Algorithm::RoundRobin).await?.into())
    /// ```
    fn dispatcher(&mut self) -> DispatcherOf<'_, 'a, R, N>
    where
        ListOf<R>: Has<Dispatcher, N>;
}

// The bound is the method's and not the implementation's: then the compiler names the module that
// is missing.
impl<'a, R: Routing, N> DispatcherRequest<'a, R, N> for Request<'a, R> {
    fn dispatcher(&mut self) -> DispatcherOf<'_, 'a, R, N>
    where
        ListOf<R>: Has<Dispatcher, N>,
    {
        let (limit, key, domain) = (BRANCHES_MAX, None, false);
        DispatcherOf { request: self, limit, key, domain, place: PhantomData }
    }
}

/// The sets of destinations and one request.
#[must_use]
pub struct DispatcherOf<'q, 'a, R: Routing, N> {
    request: &'q mut Request<'a, R>,
    limit: usize,
    key: Option<u64>,
    domain: bool,
    place: PhantomData<N>,
}

/// A destination that a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its set.
    pub set: SetId,
    /// Its id.
    pub id: DestinationId,
    /// Its attributes, as text.
    pub attrs: String,
}

/// What of a source must agree with a destination beside its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceMatch {
    /// Address, port and transport.
    Exact,
    /// Address and transport.
    AnyPort,
    /// Address and port.
    AnyTransport,
    /// The address alone.
    Address,
}

/// How many destinations of a set are in which state (`ds_dsg_fetch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Active ones.
    pub active: usize,
    /// Those that failed, but not often enough.
    pub trying: usize,
    /// Those that were given up.
    pub inactive: usize,
    /// Those that an operator has taken out.
    pub disabled: usize,
    /// Calls at all of them.
    pub calls: u32,
}

impl<'q, 'a, R: Routing, N> DispatcherOf<'q, 'a, R, N>
where
    ListOf<R>: Has<Dispatcher, N>,
{
    /// Tries at most so many destinations.
    pub fn limit(mut self, most: usize) -> Self {
        self.limit = most;
        self
    }

    /// What [`Algorithm::KeyHash`] hashes (`hash_pvar`).
    pub fn hash_key(mut self, key: &[u8]) -> Self {
        self.key = Some(hash(&[key]));
        self
    }

    /// Writes the destination's host and port into the Request-URI, instead of only sending there
    /// (`ds_select_domain`).
    pub fn domain(mut self) -> Self {
        self.domain = true;
        self
    }

    /// Chooses destinations (`ds_select`), to be tried by [`DispatcherOf::relay_selection`] or by
    /// the routing itself.
    ///
    /// # Errors
    /// When the set has no usable one.
    pub fn select(&self, set: u32, algorithm: Algorithm) -> Result<Selection, NoDestination> {
        self.select_routes(&[(set, algorithm)])
    }

    /// Chooses from several sets, one after the other (`ds_select_routes`).
    ///
    /// # Errors
    /// When none has a usable destination.
    pub fn select_routes(&self, routes: &[(u32, Algorithm)]) -> Result<Selection, NoDestination> {
        let message = self.request.message();
        let (key, limit) = (self.key, self.limit);
        self.request.module(|dispatcher: &mut Dispatcher, host, _| {
            let mut selection = Selection::new(std::rc::Rc::clone(&dispatcher.sets));
            for &(set, algorithm) in routes {
                let user_only = dispatcher.settings.hash_user_only;
                let hash = hash_of(message, algorithm, user_only, key);
                let use_default = dispatcher.settings.use_default;
                let asked = Asked { algorithm, hash, use_default, limit };
                dispatcher.choose(host, SetId(set), &asked, &mut selection);
            }
            if selection.is_empty() {
                dispatcher.counters.empty += 1;
                return Err(NoDestination);
            }
            dispatcher.counters.selected += 1;
            Ok(selection)
        })
    }

    /// Chooses and sends; while destinations fail, goes on to the next.
    ///
    /// A destination has failed when it could not be reached, when it gave no response at all, or
    /// when its final response is one of `failover_codes`. One that did not respond is marked, so
    /// that it is probed and, at the threshold, not chosen again; one that answers is well.
    ///
    /// # Errors
    /// When the set has no usable destination.
    pub async fn relay(self, set: u32, algorithm: Algorithm) -> Result<Outcome, NoDestination> {
        let selection = self.select(set, algorithm)?;
        Ok(self.relay_selection(selection).await)
    }

    /// The same with a selection that was made before, or with what is left of it. With nothing
    /// left, the request goes to its Request-URI.
    pub async fn relay_selection(self, mut selection: Selection) -> Outcome {
        let DispatcherOf { request, domain, .. } = self;
        if selection.parallel {
            return fork(request, &mut selection, domain).await;
        }
        let Some(mut candidate) = selection.next_candidate() else {
            return request.relay_to_target().await;
        };
        loop {
            Self::begin(request, &candidate, selection.counts_calls);
            let outcome = Self::send(request, &candidate, domain).await;
            let Outcome::Failed(failed) = &outcome else {
                Self::judge(request, candidate.id(), Verdict::Answered);
                return outcome;
            };
            let verdict = Self::verdict(request, failed);
            Self::judge(request, candidate.id(), verdict);
            let next = match verdict {
                Verdict::Silent | Verdict::Refused => selection.next_candidate(),
                Verdict::Answered | Verdict::NotItsFault => None,
            };
            let Some(next) = next else { return outcome };
            candidate = next;
            request.module(|dispatcher: &mut Dispatcher, _, _| {
                dispatcher.counters.failovers += 1;
            });
        }
    }

    /// A branch is about to be sent to a destination.
    fn begin(request: &Request<'a, R>, candidate: &Candidate, counts_call: bool) {
        let message = request.message();
        request.module(|dispatcher: &mut Dispatcher, host, ids| {
            let counted = counts_call && message.to_tag().is_none();
            let call_id = message.call_id().ok().filter(|_| counted);
            let key = call_id.map(|call_id| dispatcher.calls.key(call_id));
            if let Some(attached) = ids.transaction.and_then(|id| host.attached(id)) {
                attached.rang = false;
                attached.call = key;
            }
            if let Some(key) = key {
                dispatcher.give_call(host, key, candidate.id());
            }
        });
    }

    async fn send(request: &mut Request<'a, R>, candidate: &Candidate, domain: bool) -> Outcome {
        if domain {
            let uri = with_domain(request.request_uri(), candidate.uri());
            return request.relay_to(&uri).await;
        }
        let Some(socket) = candidate.destination().attributes.socket.as_deref() else {
            return request.relay_by(candidate.uri()).await;
        };
        let next_hop = candidate.uri().as_bytes();
        let flow = request.module(|_: &mut Dispatcher, host, _| {
            let listener = listener(socket, host.listeners())?;
            host.flow_to(next_hop, Some(listener))
        });
        let uri = request.request_uri().to_vec();
        let destination = Destination { uri: &uri, path: None, next_hop: Some(next_hop), flow };
        request.fork().to_destination(&destination).await
    }

    fn verdict(request: &Request<'a, R>, failed: &Failed) -> Verdict {
        if failed.is_cancelled() {
            return Verdict::NotItsFault;
        }
        let (status, answered) = (failed.status(), failed.response().is_some());
        request.module(|dispatcher: &mut Dispatcher, host, ids| {
            let attached = ids.transaction.and_then(|id| host.attached(id));
            let rang = attached.is_some_and(|attached| attached.rang);
            match (answered, rang) {
                (true, _) if dispatcher.settings.failover_codes.contains(status) => {
                    Verdict::Refused
                }
                (true, _) => Verdict::Answered,
                (false, true) => Verdict::NotItsFault,
                (false, false) => Verdict::Silent,
            }
        })
    }

    fn judge(request: &Request<'a, R>, id: DestinationId, verdict: Verdict) {
        request.module(|dispatcher: &mut Dispatcher, host, _| {
            let Some(live) = dispatcher.lives.get(id) else { return };
            match (verdict, live.health.state().availability) {
                (Verdict::Silent, _) => dispatcher.mark(host, id, Mark::TRYING_PROBING),
                // An answer ends a row of failures; an inactive one waits for its probes.
                (Verdict::Answered | Verdict::Refused, Availability::Trying) => {
                    dispatcher.mark(host, id, Mark::ACTIVE);
                }
                (Verdict::Answered | Verdict::Refused | Verdict::NotItsFault, _) => {}
            }
        });
    }

    /// Marks a destination (`ds_mark_dst`); its owner counts and decides.
    pub fn mark(&self, id: DestinationId, mark: Mark) {
        self.request.module(|dispatcher: &mut Dispatcher, host, _| {
            dispatcher.mark(host, id, mark);
        });
    }

    /// Marks a destination by its URI (`ds_mark_addr`); `false` when the set has none with this
    /// URI.
    pub fn mark_address(&self, set: u32, uri: &str, mark: Mark) -> bool {
        self.request.module(|dispatcher: &mut Dispatcher, host, _| {
            let Some(id) = dispatcher.find(SetId(set), uri) else { return false };
            dispatcher.mark(host, id, mark);
            true
        })
    }

    /// The destination that the request came from, in one set or in any (`ds_is_from_list`).
    #[must_use]
    pub fn is_from_list(&self, set: Option<u32>, how: SourceMatch) -> Option<Listed> {
        let flow = self.request.source();
        let (port, transport) = match how {
            SourceMatch::Exact => (true, true),
            SourceMatch::AnyPort => (false, true),
            SourceMatch::AnyTransport => (true, false),
            SourceMatch::Address => (false, false),
        };
        self.request.module(|dispatcher: &mut Dispatcher, _, _| {
            let mut candidates = dispatcher.sets.at_address(flow.remote.ip());
            let member = candidates.find(|member| {
                member.source.is_some_and(|own| {
                    (!port || own.address.port() == flow.remote.port())
                        && (!transport || own.transport == flow.transport)
                        && set.is_none_or(|set| member.destination.set == SetId(set))
                })
            })?;
            let attrs = member.destination.attributes.body.clone();
            Some(Listed { set: member.destination.set, id: member.id, attrs })
        })
    }

    /// Whether a set has a usable destination (`ds_is_active`).
    #[must_use]
    pub fn is_active(&self, set: u32) -> bool {
        let summary = self.summary(set);
        summary.is_some_and(|summary| summary.active + summary.trying > 0)
    }

    /// A destination's state; `None` when the set has none with this URI.
    #[must_use]
    pub fn state(&self, set: u32, uri: &str) -> Option<State> {
        self.request.module(|dispatcher: &mut Dispatcher, _, _| {
            let id = dispatcher.find(SetId(set), uri)?;
            dispatcher.lives.get(id).map(|live| live.health.state())
        })
    }

    /// Whether there is such a set (`ds_list_exists`).
    #[must_use]
    pub fn list_exists(&self, set: u32) -> bool {
        self.summary(set).is_some()
    }

    /// How a set is (`ds_dsg_fetch`).
    #[must_use]
    pub fn summary(&self, set: u32) -> Option<Summary> {
        self.request.module(|dispatcher: &mut Dispatcher, _, _| {
            let index = dispatcher.sets.index(SetId(set))?;
            let mut summary = Summary::default();
            for member in &dispatcher.sets.get(index)?.members {
                let Some(live) = dispatcher.lives.list.get(member.place) else { continue };
                summary.calls = summary.calls.saturating_add(live.load());
                match live.health.state().availability {
                    Availability::Active => summary.active += 1,
                    Availability::Trying => summary.trying += 1,
                    Availability::Inactive => summary.inactive += 1,
                    Availability::Disabled => summary.disabled += 1,
                }
            }
            Some(summary)
        })
    }

    /// Counts the call of this request at a destination that the routing chose by itself
    /// (`ds_load_update`); responses and BYE are followed without further asking.
    pub fn load_update(&self, candidate: &Candidate) {
        Self::begin(self.request, candidate, true);
    }

    /// The call of this request does not count any more (`ds_load_unset`).
    pub fn load_unset(&self) {
        let message = self.request.message();
        let Ok(call_id) = message.call_id() else { return };
        self.request.module(|dispatcher: &mut Dispatcher, host, _| {
            let key = dispatcher.calls.key(call_id);
            dispatcher.end_call(host, key);
        });
    }

    /// Keeps so many of 100 requests from a destination, within its `ocmin` and `ocmax`
    /// (`ds_oc_set_attrs`); `false` when the set has none with this URI.
    pub fn set_overload_rate(&self, set: u32, uri: &str, percent: u8) -> bool {
        self.request.module(|dispatcher: &mut Dispatcher, host, _| {
            let Some(id) = dispatcher.find(SetId(set), uri) else { return false };
            dispatcher.set_overload_rate(host, id, percent);
            true
        })
    }

    /// Has the list file and the table read again (`ds_reload`), for every shard.
    pub fn reload(&self) {
        self.request.module(|_: &mut Dispatcher, host, _| host.store(Row::Wanted));
    }
}

/// What the end of a branch says about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It answered.
    Answered,
    /// It answered that it cannot.
    Refused,
    /// It gave no sign of life.
    Silent,
    /// The caller gave up, or the callee did not answer.
    NotItsFault,
}

async fn fork<R: Routing>(
    request: &mut Request<'_, R>,
    selection: &mut Selection,
    domain: bool,
) -> Outcome {
    let received = request.request_uri().to_vec();
    let mut relay = request.fork();
    for candidate in selection.by_ref() {
        relay = if domain {
            relay.to(with_domain(&received, candidate.uri()))
        } else {
            relay.by(candidate.uri())
        };
    }
    relay.await
}

/// The received user at a destination's host, port and parameters.
fn with_domain(received: &[u8], destination: &str) -> String {
    let user = Uri::parse(received).ok().and_then(|uri| uri.user).unwrap_or(&[]);
    let (scheme, rest) = destination.split_once(':').unwrap_or(("sip", destination));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if user.is_empty() {
        return format!("{scheme}:{host}");
    }
    format!("{scheme}:{}@{host}", String::from_utf8_lossy(user))
}

impl Dispatcher {
    /// Appends what a set gives to a selection.
    fn choose(
        &mut self,
        host: &mut impl Host<Self>,
        id: SetId,
        asked: &Asked,
        selection: &mut Selection,
    ) {
        let sets = std::rc::Rc::clone(&self.sets);
        let Some(index) = sets.index(id) else { return };
        let (Some(set), Some(turn)) = (sets.get(index), self.lives.turns.get_mut(index)) else {
            return;
        };
        let live: &mut [Live] = &mut self.lives.list;
        let (entropy, room) = (host.entropy(), &mut self.room);
        let order = Choice { set, live, turn, entropy, room }.order(asked);
        selection.add(index, &order, asked.algorithm);
    }

    /// A destination by its set and URI.
    pub(super) fn find(&self, set: SetId, uri: &str) -> Option<DestinationId> {
        let set = self.sets.get(self.sets.index(set)?)?;
        set.members.iter().find(|member| member.destination.uri == uri).map(|member| member.id)
    }

    /// Sets a rate here and on the other shards.
    pub(super) fn set_overload_rate(
        &mut self,
        host: &mut impl Host<Self>,
        id: DestinationId,
        percent: u8,
    ) {
        let Some(member) = self.member(id) else { return };
        let attributes = &member.destination.attributes;
        let most = attributes.overload_max.unwrap_or(100).max(attributes.overload_min);
        let rate = percent.clamp(attributes.overload_min, most).min(100);
        if let Some(live) = self.lives.get_mut(id) {
            live.overload_rate = rate;
        }
        for shard in super::others(host) {
            host.tell(shard, super::Peer::OverloadRate(id, rate));
        }
    }
}
