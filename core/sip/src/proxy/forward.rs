//! Forwarding a request: RFC 3261 §16.6, one branch at a time, and §16.11 without a transaction.
//!
//! For: turning a plan into client transactions.
//! Not here: what comes back (`response.rs`), how often it is resent (`transaction/`).
//! Invariants: a target that cannot be sent to becomes a failed branch, never a lost request.

use super::attempt;
use super::branch::Branch;
use super::breadth::{Breadth, Exhausted, Shares};
use super::identity::Identity;
use super::response;
use crate::engine::core::{Core, Forwarding, NotStarted, State};
use crate::engine::incoming::Incoming;
use crate::engine::plan::{Plan, Target};
use crate::engine::slots::{
    BranchSlot, BranchState, ClientId, ContextId, Owner, Relayed, ServerId, Watch,
};
use crate::limits::BRANCHES_MAX;
use crate::message::{
    HeaderName, Message, MethodKind, NameAddr, ParseError, RequestChanges, RouteChanges,
    StatusCode, Uri, write_forwarded_request,
};
use crate::module::list::{ModuleList, Types};
use crate::module::{Arrived, Outgoing};
use crate::proxy::reply::top_via_stamp;
use crate::proxy::rules::{DoubleRecordRoute, EarlierReplies};
use crate::transport::{Flow, Transport};
use smallvec::SmallVec;
use std::rc::Rc;

/// Sends a request to its recorded targets, or to where it says when none was recorded.
pub(crate) fn relay<L: ModuleList>(state: &mut State<L>, id: ContextId, watch: Watch) {
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    context.watch = watch;
    let mut targets = std::mem::take(&mut context.plan.targets);
    if targets.is_empty() {
        targets.push(Target::AS_RECEIVED);
    }
    if context.cancelled || context.final_sent {
        // Nothing more may be tried (§16.10); a routing that asks for it is told at once.
        if matches!(context.watch, Watch::Routing) {
            context.watch = Watch::Ended(Relayed::Failed(StatusCode::REQUEST_TERMINATED, None));
        }
        return response::settle(state, id);
    }
    supersede(&mut state.core, id);
    let Some(context) = state.core.contexts.get(id) else { return };
    let free = BRANCHES_MAX.saturating_sub(context.branches.len());
    if targets.len() > free {
        state.core.metrics.branches_refused += 1;
        targets.truncate(free);
    }
    let mut shares = Shares::of(context, targets.len());
    for target in &targets {
        open_branch(state, id, target, &mut shares);
    }
    response::settle(state, id);
}

fn open_branch<L: ModuleList>(
    state: &mut State<L>,
    id: ContextId,
    target: &Target,
    shares: &mut Result<Shares, Exhausted>,
) {
    let Some(context) = state.core.contexts.get_mut(id) else { return };
    let index = u8::try_from(context.branches.len()).unwrap_or(u8::MAX);
    let (waiting, breadth) = match shares {
        Ok(shares) => (BranchState::Resolving, shares.next()),
        Err(Exhausted) => {
            (BranchState::Failed(StatusCode::MAX_BREADTH_EXCEEDED), Breadth::Share(0))
        }
    };
    let (target, alternatives, instead_of) = (*target, SmallVec::new(), None);
    let replica = false;
    let slot = BranchSlot { state: waiting, target, alternatives, instead_of, breadth, replica };
    context.branches.push(slot);
    if shares.is_ok() {
        attempt::start(state, id, index);
    }
}

/// Sends a copy for which nobody answers (`t_replicate`). `false` when the request has too many
/// branches or has ended.
pub(crate) fn replicate<L: ModuleList>(
    state: &mut State<L>,
    id: ContextId,
    target: Target,
) -> bool {
    let Some(context) = state.core.contexts.get_mut(id) else { return false };
    if context.branches.len() >= BRANCHES_MAX || context.server.is_none() {
        state.core.metrics.branches_refused += 1;
        return false;
    }
    let index = u8::try_from(context.branches.len()).unwrap_or(u8::MAX);
    context.branches.push(BranchSlot {
        state: BranchState::Resolving,
        target,
        alternatives: SmallVec::new(),
        instead_of: None,
        breadth: Breadth::Share(1),
        replica: true,
    });
    state.core.metrics.replicas_sent += 1;
    attempt::start(state, id, index);
    true
}

/// A new round of branches discards the answers of the rounds before it, as far as
/// `failure_reply_mode` says.
fn supersede<S: Types>(core: &mut Core<S>, id: ContextId) {
    let Some(context) = core.contexts.get_mut(id) else { return };
    let mode = context.plan.earlier.unwrap_or(core.settings.rules.failure_reply_mode);
    let from = match mode {
        EarlierReplies::Keep => context.branches.len(),
        EarlierReplies::DropLast => usize::from(context.round),
        EarlierReplies::Drop => 0,
    };
    context.round = u8::try_from(context.branches.len()).unwrap_or(u8::MAX);
    for branch in context.branches.iter_mut().skip(from) {
        if matches!(branch.state, BranchState::Answered(..) | BranchState::Failed(_)) {
            let before = std::mem::replace(&mut branch.state, BranchState::Superseded);
            if let BranchState::Answered(_, response) = before {
                core.incomings.put(response);
            }
        }
    }
}

/// Where one branch goes and what it says (§16.6 steps 2, 6 and 7).
pub(super) struct Hop<'h> {
    request_uri: &'h [u8],
    routes: RouteChanges<'h>,
    /// Route values to be put on top, as one line; it goes into `routes` when that is written.
    path: Option<&'h [u8]>,
    pub(super) destination: &'h [u8],
    /// Found already: the destination is not looked at.
    pub(super) flow: Option<Flow>,
}

pub(super) fn hop<'h>(
    message: Message<'h>,
    plan: &'h Plan,
    target: &Target,
) -> Result<Hop<'h>, ParseError> {
    let received = message.request_uri().unwrap_or(&[]);
    let span = target.request_uri.or(plan.request_uri);
    let request_uri = span.map_or(received, |span| plan.text(span));
    let mut routes = RouteChanges {
        drop_first: plan.routes_dropped,
        drop_last: usize::from(plan.last_route_taken),
        push: &[],
        append: None,
    };
    let next_hop = target.next_hop.map(|span| plan.text(span));
    let path = target.path.map(|span| plan.text(span));
    let as_received = target.request_uri.is_none() && target.next_hop.is_none();
    let flow = target.flow.or(plan.flow.filter(|_| as_received));
    let to = |request_uri, routes, destination: &'h [u8]| {
        let destination = next_hop.unwrap_or(destination);
        Ok(Hop { request_uri, routes, path, destination, flow })
    };
    if let Some(path) = path
        && let Some(first) = NameAddr::list(path).next().transpose()?
    {
        // What stands in a Path routes loosely (RFC 3327 §5.1).
        return to(request_uri, routes, first.uri);
    }
    let kept = message.values(HeaderName::Route).count();
    let remaining = kept.saturating_sub(usize::from(plan.last_route_taken));
    if remaining <= plan.routes_dropped {
        return to(request_uri, routes, request_uri);
    }
    let Some(first) = message.routes().nth(plan.routes_dropped).transpose()? else {
        return to(request_uri, routes, request_uri);
    };
    if first.uri()?.lr() {
        return to(request_uri, routes, first.uri);
    }
    // A strict router is next: it wants its own URI in the request line (§16.6 step 6).
    routes.drop_first += 1;
    routes.append = Some(request_uri);
    to(first.uri, routes, first.uri)
}

/// Why an attempt was not sent.
pub(super) enum NotSent {
    /// The request is longer than the attempt allows.
    TooLong,
    /// The status that stands for the branch.
    Failed(StatusCode),
}

impl From<StatusCode> for NotSent {
    fn from(status: StatusCode) -> NotSent {
        NotSent::Failed(status)
    }
}

/// Sends one attempt of a branch over this flow, unless it is longer than `bytes_max`; a request
/// without a server transaction, an ACK to a 2xx, goes without a client transaction too (§16.11).
pub(super) fn send<L: ModuleList>(
    state: &mut State<L>,
    (id, index): (ContextId, u8),
    flow: Flow,
    bytes_max: usize,
) -> Result<Option<ClientId>, NotSent> {
    let Core { contexts, scratch, .. } = &mut state.core;
    let Some(context) = contexts.get_mut(id) else {
        return Err(StatusCode::SERVER_INTERNAL_ERROR.into());
    };
    let Some(branch) = context.branches.get(usize::from(index)) else {
        return Err(StatusCode::SERVER_INTERNAL_ERROR.into());
    };
    let max_forwards = context.max_forwards.ok_or(StatusCode::TOO_MANY_HOPS)?;
    let reach = Reach { max_forwards, breadth: branch.breadth };
    let (target, server, loop_digest) = (branch.target, context.server, context.loop_digest);
    let replica = branch.replica;
    let request = Rc::clone(&context.request);
    let spare = scratch.plans.pop().unwrap_or_default();
    let plan = std::mem::replace(&mut context.plan, spare);
    let attempt = Attempt { id, index, server, replica, loop_digest, reach, flow, bytes_max };
    let sent = send_attempt(state, &attempt, &request, &plan, &target);
    let Core { contexts, scratch, .. } = &mut state.core;
    if let Some(context) = contexts.get_mut(id) {
        scratch.plans.push(std::mem::replace(&mut context.plan, plan));
    }
    sent
}

struct Attempt {
    id: ContextId,
    index: u8,
    server: Option<ServerId>,
    replica: bool,
    loop_digest: u64,
    reach: Reach,
    flow: Flow,
    bytes_max: usize,
}

/// How far a branch may still go, in both directions.
#[derive(Clone, Copy)]
struct Reach {
    max_forwards: u32,
    breadth: Breadth,
}

fn send_attempt<L: ModuleList>(
    state: &mut State<L>,
    attempt: &Attempt,
    request: &Rc<Incoming>,
    plan: &Plan,
    target: &Target,
) -> Result<Option<ClientId>, NotSent> {
    let Attempt { id, index, server, loop_digest, reach, flow, bytes_max, .. } = *attempt;
    let message = request.message();
    let hop = hop(message, plan, target).map_err(|error| error.status())?;
    let mut texts = state.core.scratch.forwarding.take().unwrap_or_default();
    state.compose(id, server, request, plan, (&hop, flow), &mut texts);
    let identity = Rc::clone(&state.core.identity);
    let sent = match server {
        Some(server) => {
            let method = message.method().map_or(MethodKind::Other, |method| method.kind());
            let timers = plan.timers.unwrap_or(state.core.settings.timers);
            let owner = match attempt.replica {
                true => Owner::Replica { context: id, index },
                false => Owner::Branch { server, context: id, index },
            };
            let client = state.core.start_client_within(
                bytes_max,
                (flow, method),
                owner,
                loop_digest,
                &timers,
                |out, branch| {
                    write(&identity, request, (&hop, flow, reach), branch, &mut texts, out);
                },
            );
            client.map(Some).map_err(|not_started| match not_started {
                NotStarted::TooLong => NotSent::TooLong,
                NotStarted::Full => StatusCode::SERVICE_UNAVAILABLE.into(),
            })
        }
        // However long it is, it goes out as it was asked for: nobody could go back to UDP for it.
        None => {
            let top = message.top_via().ok().and_then(|via| via.branch()).unwrap_or(&[]);
            let digest = stateless_digest(state, message, top);
            let branch = Branch::Stateless { digest, loop_digest };
            state.core.out.sends.send_with(flow, |out| {
                write(&identity, request, (&hop, flow, reach), &branch, &mut texts, out);
            });
            state.core.metrics.requests_sent += 1;
            Ok(None)
        }
    };
    state.core.scratch.forwarding = Some(texts);
    sent
}

fn write(
    identity: &Identity,
    request: &Incoming,
    (hop, flow, reach): (&Hop<'_>, Flow, Reach),
    branch: &Branch,
    texts: &mut Forwarding,
    out: &mut Vec<u8>,
) {
    let Forwarding { via, record_route, edits, .. } = texts;
    via.clear();
    identity.write_via(flow, branch, via);
    let via = via.as_slice();
    let both = [record_route[0].as_slice(), record_route[1].as_slice()];
    let used = both.iter().position(|text| text.is_empty()).unwrap_or(2);
    let changes = RequestChanges {
        request_uri: hop.request_uri,
        max_forwards: reach.max_forwards,
        max_breadth: reach.breadth.header(),
        vias: &[via],
        top_via: top_via_stamp(request),
        record_routes: both.get(..used).unwrap_or(&[]),
        routes: RouteChanges { push: hop.path.as_slice(), ..hop.routes },
        edits,
    };
    write_forwarded_request(request.message(), &changes, out);
}

impl<L: ModuleList> State<L> {
    /// Lets the modules change the branch, and writes the Record-Route entries into the scratch.
    fn compose(
        &mut self,
        context: ContextId,
        transaction: Option<ServerId>,
        request: &Incoming,
        plan: &Plan,
        (hop, flow): (&Hop<'_>, Flow),
        texts: &mut Forwarding,
    ) {
        let Forwarding { edits, params, record_route, .. } = texts;
        edits.clone_from(&plan.edits);
        params.clear();
        params.extend_from_slice(&plan.record_route_params);
        let arrived = Arrived { incoming: request, context, transaction };
        let request_uri = hop.request_uri;
        let mut out = Outgoing { request_uri, flow, record_route_params: params, edits };
        self.modules.forward(&mut self.core, &arrived, &mut out);
        record_route.iter_mut().for_each(Vec::clear);
        if plan.record_route {
            let from_tag = request.message().from_tag();
            let received = request.flow();
            let style = self.core.settings.rules.record_route;
            let two = match style.double {
                DoubleRecordRoute::Never => false,
                DoubleRecordRoute::WhenDifferent => received.listener != flow.listener,
                DoubleRecordRoute::Always => true,
            };
            let double = two.then_some(received);
            let from_tag = from_tag.filter(|_| style.append_fromtag);
            let target = style.add_username.then(|| Uri::parse(hop.request_uri).ok()).flatten();
            let user = target.and_then(|uri| uri.user);
            let token = plan.record_route_user.map(|span| plan.text(span));
            let user = token.or(user);
            let texts = Entry { user, from_tag, params, full_lr: style.full_lr };
            let [first, second] = record_route;
            write_record_route(&self.core.identity, flow, double.is_some(), &texts, first);
            if let Some(received) = double {
                write_record_route(&self.core.identity, received, true, &texts, second);
            }
        }
    }
}

/// What a Record-Route value says beside the address.
struct Entry<'e> {
    user: Option<&'e [u8]>,
    from_tag: Option<&'e [u8]>,
    params: &'e [u8],
    full_lr: bool,
}

/// Writes one Record-Route value (§16.6 step 4); `double` when there are two of ours.
fn write_record_route(
    identity: &Identity,
    flow: Flow,
    double: bool,
    entry: &Entry<'_>,
    out: &mut Vec<u8>,
) {
    let Entry { user, from_tag, params, full_lr } = *entry;
    out.extend_from_slice(b"<sip:");
    if let Some(user) = user {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    out.extend_from_slice(identity.advertised(flow.listener).as_bytes());
    if flow.transport != Transport::Udp {
        out.extend_from_slice(b";transport=");
        out.extend_from_slice(flow.transport.uri_name().as_bytes());
    }
    if double {
        out.extend_from_slice(b";r2=on");
    }
    out.extend_from_slice(if full_lr { b";lr=on" } else { b";lr" });
    // A tag may hold octets that a URI may not (§25.1): such a tag is left out.
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(byte);
    if let Some(tag) = from_tag.filter(|tag| tag.iter().all(fits)) {
        out.extend_from_slice(b";ftag=");
        out.extend_from_slice(tag);
    }
    out.extend_from_slice(params);
    out.push(b'>');
}

/// What proves, in a response, that this node forwarded its request: a keyed hash over what a
/// response repeats. The same for every copy of a request, so that copies have one branch (§16.11).
pub(crate) fn stateless_digest<L: ModuleList>(
    state: &State<L>,
    message: Message<'_>,
    previous_branch: &[u8],
) -> u64 {
    let mut digest = state.core.digest();
    digest.add(message.call_id().unwrap_or(&[]));
    digest.add(message.from_tag().unwrap_or(&[]));
    digest.add(&message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
    digest.add(previous_branch);
    digest.finish()
}
