//! Requests of a routing's own, outside of what it relays: Kamailio's `uac_req_send` with
//! `$uac_req(...)`.
//!
//! For: a request put together part by part, sent with credentials where it is challenged, awaited
//! or not, and told of in an event.
//! Not here: REGISTER for accounts elsewhere (`reg/`).
//! Invariants: what was put together is owned by the request alone; its Call-ID is at home on the
//! shard that sends it; it ends, whatever happens, and is told of once for each answer.

use super::answer::is_challenge;
use super::challenge::{self, choose};
use super::own_request::{Ids, OwnRequest, TellWhen};
use super::proof::{Said, Session, cnonce};
use super::request::UacOf;
use super::{Peer, Timer, Token, Uac};
use crate::ask::{self, AskId};
use smallvec::SmallVec;
use strowger_sip::limits::{DATAGRAM_BYTES_MAX, Limits};
use strowger_sip::message::{Head, Message, MethodKind, StatusCode};
use strowger_sip::module::{Has, Heard, Host};
use strowger_sip::routing::{ListOf, Routing};
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant, ms, secs};
use strowger_sip::transaction::Id;
use strowger_sip::transport::{Flow, ListenerId, Listeners};
use strowger_sip::wheel::TimerId;

/// Most requests of this kind that run on one shard. A guess: a second's worth of a busy one.
pub(super) const ERRANDS_MAX: usize = 65_536;
/// How often a Call-ID is drawn until it falls on this shard; with 64 shards one search in 10^14
/// fails, and its answer is taken for a timeout.
pub(super) const DRAWS_MAX: usize = 2048;
/// How often, and how long, a name is looked for that DNS is being asked for.
pub(super) const LOOK_EVERY: Duration = ms(200);
/// See [`LOOK_EVERY`]: a resolver has given up by then.
pub(super) const LOOK_FOR: Duration = secs(5);
/// How long an answer is waited for at most, beyond the transaction's own timers, so that nothing
/// waits for ever.
const FINAL_WITHIN: Duration = secs(120);
/// The same for an INVITE, which may ring.
const INVITE_FINAL_WITHIN: Duration = secs(600);

/// Marks ids of requests.
#[derive(Debug)]
pub enum ErrandMark {}
/// Names a request of a routing's own.
pub(super) type ErrandId = Id<ErrandMark>;

/// Finds the listener that `udp:192.0.2.1:5060` names.
pub(super) fn listener(text: &str, listeners: &Listeners) -> Option<ListenerId> {
    let (transport, address) = text.split_once(':')?;
    let found = listeners.iter().find(|(_, listener)| {
        listener.transport.uri_name().eq_ignore_ascii_case(transport)
            && listener.bound.to_string() == address
    });
    found.map(|(id, _)| id)
}

/// A Call-ID whose home is this shard, so that answers come here.
pub(super) fn draw_call_id(host: &mut impl Host<Uac>) -> String {
    let (map, own) = (host.map(), host.shard());
    let mut draw = || {
        let (high, low) = host.entropy().keys();
        format!("{high:016x}{low:016x}")
    };
    let first = draw();
    std::iter::once(first)
        .chain(std::iter::repeat_with(draw))
        .take(DRAWS_MAX)
        .find(|call_id| map.home(call_id.as_bytes()) == own)
        .unwrap_or_default()
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct Completed {
    status: StatusCode,
    /// The response as it came; `None` when none did.
    response: Option<Box<[u8]>>,
}

impl Completed {
    /// Its status, or the one that stands for it: 408 for no answer, 503 for not sent (`evcode`).
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether a peer has answered, rather than this node (`evtype` 1 or 2).
    pub fn is_answered(&self) -> bool {
        self.response.is_some()
    }

    /// Reads the response, if one came.
    pub fn read<T>(&self, read: impl FnOnce(Message<'_>) -> T) -> Option<T> {
        let bytes = self.response.as_deref()?;
        let mut head = Head::default();
        head.parse(bytes, &Limits::STREAM).ok()?;
        Some(read(head.message(bytes)))
    }

    fn made_here(status: StatusCode) -> Completed {
        Completed { status, response: None }
    }
}

/// An answer to a request of a routing's own (`event_route[uac:reply]`), published to whoever
/// listens.
#[derive(Clone, Debug)]
pub struct ReplyEvent {
    /// What was sent.
    pub request: OwnRequest,
    /// What came of it.
    pub completed: Completed,
    /// `evparam`
    pub param: String,
}

/// A request on its way to the shard that sends it.
#[derive(Clone, Debug)]
pub struct Parcel {
    request: OwnRequest,
    call_id: String,
    ask: Option<AskId>,
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Errand {
    request: OwnRequest,
    ask: Option<AskId>,
    from: ShardId,
    ids: Ids,
    /// Where else it can be sent, the next one first.
    flows: SmallVec<[Flow; 2]>,
    session: Option<Session>,
    attempt: u32,
    rounds: u8,
    rang: bool,
    step: Step,
    timer: Option<TimerId>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Its next hop's name is being looked up, until then.
    Looking(Instant),
    /// It was sent.
    Sent,
}

/// One retry, and one more for a stale nonce.
const ROUNDS_MAX: u8 = 2;

impl<'q, 'a, R: Routing, N> UacOf<'q, 'a, R, N>
where
    ListOf<R>: Has<Uac, N>,
{
    /// Sends a request of the routing's own and waits for its end (`uac_req_send`).
    pub async fn send(self, request: OwnRequest) -> Completed {
        let most = FINAL_WITHIN.max(request.timeout.unwrap_or_default());
        let most = match request.is_invite() {
            true => INVITE_FINAL_WITHIN.max(request.ring_timeout.unwrap_or_default()),
            false => most,
        };
        let unsent = Completed::made_here(StatusCode::SERVICE_UNAVAILABLE);
        let asked = self.with(|uac, host, ids| {
            let patience = (most + LOOK_FOR) * u32::from(ROUNDS_MAX + 1);
            let ask = uac.asks.open(host, ids.context, patience, Timer::Ask)?;
            uac.post(host, request, Some(ask));
            Some(ask)
        });
        let Some(asked) = asked else { return unsent };
        let ended = ask::answer(self.request, asked, |uac: &mut Uac| &mut uac.asks).await;
        ended.unwrap_or(unsent)
    }

    /// Sends a request of the routing's own, and does not wait; an event tells of its end where it
    /// asks for one.
    pub fn post(&mut self, request: OwnRequest) {
        self.with(|uac, host, _| uac.post(host, request, None));
    }
}

impl Uac {
    /// Hands a request to the shard at which its Call-ID is at home.
    fn post(&mut self, host: &mut impl Host<Uac>, request: OwnRequest, ask: Option<AskId>) {
        let call_id = request.call_id.clone().unwrap_or_else(|| draw_call_id(host));
        let home = host.map().home(call_id.as_bytes());
        host.tell(home, Peer::Errand(Box::new(Parcel { request, call_id, ask })));
    }

    /// Takes a request over.
    pub(super) fn errand(&mut self, host: &mut impl Host<Uac>, parcel: Parcel, from: ShardId) {
        let Parcel { request, call_id, ask } = parcel;
        let tag = request.from_tag.clone();
        let tag = tag.unwrap_or_else(|| format!("{:016x}", host.entropy().next_u64()));
        let ids = Ids { call_id, tag, cseq: request.cseq };
        let step = Step::Looking(host.now() + LOOK_FOR);
        let (flows, session, timer) = (SmallVec::new(), None, None);
        let (attempt, rounds, rang) = (0, 0, false);
        let errand =
            Errand { request, ask, from, ids, flows, session, attempt, rounds, rang, step, timer };
        match self.errands.insert(errand) {
            Ok(id) => self.look_for_hop(host, id),
            Err(full) => {
                let completed = Completed::made_here(StatusCode::SERVICE_UNAVAILABLE);
                self.counters.requests_failed += 1;
                finish(host, full.0, completed);
            }
        }
    }

    /// Its time has come: to look again, or to give up.
    pub(super) fn errand_due(&mut self, host: &mut impl Host<Uac>, id: ErrandId) {
        let Some(errand) = self.errands.get_mut(id) else { return };
        errand.timer = None;
        match errand.step {
            Step::Looking(_) => self.look_for_hop(host, id),
            Step::Sent => {
                self.complete(host, id, Completed::made_here(StatusCode::REQUEST_TIMEOUT))
            }
        }
    }

    fn look_for_hop(&mut self, host: &mut impl Host<Uac>, id: ErrandId) {
        let Some(errand) = self.errands.get_mut(id) else { return };
        let Step::Looking(until) = errand.step else { return };
        let request = &errand.request;
        let hop = request.next_hop.as_ref().unwrap_or(&request.uri);
        let socket = request.socket.as_ref().or(self.settings.default_socket.as_ref());
        let from = socket.and_then(|text| listener(text, host.listeners()));
        self.counters.sockets_unknown += u64::from(socket.is_some() && from.is_none());
        match host.flows_to(hop.as_bytes(), from) {
            Some(flows) => {
                errand.flows = flows;
                self.send_next(host, id);
            }
            None if host.now() < until => {
                errand.timer = Some(host.arm(host.now() + LOOK_EVERY, Timer::Errand(id)));
            }
            None => self.complete(host, id, Completed::made_here(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }

    /// Sends it to the next address; without one it has failed.
    fn send_next(&mut self, host: &mut impl Host<Uac>, id: ErrandId) {
        loop {
            let Some(errand) = self.errands.get_mut(id) else { return };
            let Some(flow) = errand.flows.first().copied() else {
                let unsent = Completed::made_here(StatusCode::SERVICE_UNAVAILABLE);
                return self.complete(host, id, unsent);
            };
            let request = &errand.request;
            let body = request.body.as_ref().map_or(&[][..], |(_, body)| body);
            let (method, uri) = (request.method.as_bytes(), request.uri.as_bytes());
            let said = Said { method, uri, body };
            let proof = errand.session.as_mut().map(|session| session.next(said));
            let bytes = request.write(&errand.ids, proof.as_ref());
            if let Some(session) = &errand.session {
                self.counts.note(session);
            }
            errand.attempt += 1;
            errand.step = Step::Sent;
            let within = match request.is_invite() {
                true => request.timeout.unwrap_or(INVITE_FINAL_WITHIN),
                false => request.timeout.unwrap_or(FINAL_WITHIN),
            };
            let token = Token::Errand(id, errand.attempt);
            let fits = bytes.len() <= DATAGRAM_BYTES_MAX;
            if fits && host.originate(flow, &bytes, token).is_ok() {
                self.counters.requests_sent += 1;
                rearm(host, errand, id, within);
                return;
            }
            errand.flows.remove(0);
        }
    }

    /// An answer has come, or none will.
    pub(super) fn errand_answered(
        &mut self,
        host: &mut impl Host<Uac>,
        (id, attempt): (ErrandId, u32),
        answer: Heard<'_>,
    ) {
        let Some(errand) = self.errands.get_mut(id) else { return };
        if errand.attempt != attempt {
            return;
        }
        let message = match answer {
            Heard::Response(message) => message,
            Heard::Timeout | Heard::Transport => {
                let timeout = matches!(answer, Heard::Timeout);
                return self.unheard(host, id, timeout);
            }
        };
        let Some(status) = message.status() else { return };
        if status.is_provisional() {
            if errand.request.is_invite() && !errand.rang {
                errand.rang = true;
                let within = errand.request.ring_timeout.unwrap_or(INVITE_FINAL_WITHIN);
                rearm(host, errand, id, within);
            }
            return;
        }
        if status == StatusCode::SERVICE_UNAVAILABLE && errand.flows.len() > 1 {
            // RFC 3263 §4.3.
            errand.flows.remove(0);
            return self.send_next(host, id);
        }
        let completed = Completed { status, response: Some(message.bytes().into()) };
        if status.is_success() && errand.request.is_invite() {
            acknowledge(host, errand, message);
        }
        if self.is_answerable(host, id, message, status) {
            let Some(errand) = self.errands.get(id) else { return };
            tell(host, errand, &completed);
            return self.send_next(host, id);
        }
        self.complete(host, id, completed);
    }

    /// Nothing was heard: the next address, or the end.
    fn unheard(&mut self, host: &mut impl Host<Uac>, id: ErrandId, timeout: bool) {
        let Some(errand) = self.errands.get_mut(id) else { return };
        if errand.flows.len() > 1 {
            errand.flows.remove(0);
            return self.send_next(host, id);
        }
        let status = match timeout {
            true => StatusCode::REQUEST_TIMEOUT,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        self.complete(host, id, Completed::made_here(status));
    }

    /// Takes a challenge that there are credentials for; the request is to be sent again then.
    fn is_answerable(
        &mut self,
        host: &mut impl Host<Uac>,
        id: ErrandId,
        message: Message<'_>,
        status: StatusCode,
    ) -> bool {
        let Some(errand) = self.errands.get_mut(id) else { return false };
        let wanted = errand.request.tell != TellWhen::Failure && errand.rounds < ROUNDS_MAX;
        let Some(credential) = errand.request.credential.as_ref().filter(|_| wanted) else {
            return false;
        };
        if !is_challenge(status.code()) {
            return false;
        }
        let chosen = choose(challenge::read(message), [credential].into_iter());
        let Some(chosen) = chosen else { return false };
        let again = errand.session.as_ref().is_some_and(|session| session.is_of(&chosen.0));
        if again && !chosen.0.stale {
            return false;
        }
        let (high, low) = host.entropy().keys();
        let mut session = Session::new(chosen, cnonce([high, low]));
        self.counts.resume(&mut session);
        errand.session = Some(session);
        errand.rounds += 1;
        errand.ids.cseq += 1;
        true
    }

    fn complete(&mut self, host: &mut impl Host<Uac>, id: ErrandId, completed: Completed) {
        let Some(errand) = self.errands.remove(id) else { return };
        if let Some(timer) = errand.timer {
            host.cancel(timer);
        }
        self.counters.requests_failed += u64::from(!completed.is_answered());
        tell(host, &errand, &completed);
        finish(host, errand, completed);
    }
}

fn rearm(host: &mut impl Host<Uac>, errand: &mut Errand, id: ErrandId, within: Duration) {
    if let Some(timer) = errand.timer.take() {
        host.cancel(timer);
    }
    errand.timer = Some(host.arm(host.now() + within, Timer::Errand(id)));
}

/// Publishes an answer where the request asks for that.
fn tell(host: &mut impl Host<Uac>, errand: &Errand, completed: &Completed) {
    let wanted = match errand.request.tell {
        TellWhen::Never => false,
        TellWhen::Completion => true,
        TellWhen::Failure => !completed.status.is_success(),
    };
    if wanted && host.is_heard() {
        let (request, param) = (errand.request.clone(), errand.request.param.clone());
        host.publish(ReplyEvent { request, completed: completed.clone(), param });
    }
}

/// Tells whoever waits.
fn finish(host: &mut impl Host<Uac>, errand: Errand, completed: Completed) {
    if let Some(ask) = errand.ask {
        host.tell(errand.from, Peer::Done(ask, completed));
    }
}

/// The ACK of a 2xx to an INVITE (RFC 3261 §13.2.2.4).
fn acknowledge(host: &mut impl Host<Uac>, errand: &Errand, response: Message<'_>) {
    if response.cseq().map(|cseq| cseq.method.kind()) != Ok(MethodKind::Invite) {
        return;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let contact = response.name_addrs(strowger_sip::message::HeaderName::Contact).next();
    let target = contact.and_then(Result::ok).map(|contact| text(contact.uri));
    let target = target.unwrap_or_else(|| errand.request.uri.clone());
    let mut routes: Vec<String> =
        response.record_routes().flatten().map(|route| text(route.raw)).collect();
    routes.reverse();
    let first = response.record_routes().flatten().last().map(|route| text(route.uri));
    let hop = first.unwrap_or_else(|| target.clone());
    let (Some(to), Some(from)) = (
        response.to().ok().map(|to| text(to.raw)),
        response.from().ok().map(|from| text(from.raw)),
    ) else {
        return;
    };
    let Some(flow) = errand.flows.first().copied() else { return };
    let flow = host.flow_to(hop.as_bytes(), Some(flow.listener)).unwrap_or(flow);
    let Some(sent_by) = host.listeners().get(flow.listener).map(|own| own.advertised.clone())
    else {
        return;
    };
    let branch = host.entropy().next_u64();
    let (transport, Ids { call_id, cseq, .. }) = (flow.transport.via_name(), &errand.ids);
    let mut ack = format!(
        "ACK {target} SIP/2.0\r\nVia: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{branch:016x}\r\n\
         To: {to}\r\nFrom: {from}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} ACK\r\nMax-Forwards: 70\r\n"
    );
    for route in routes {
        ack += &format!("Route: {route}\r\n");
    }
    ack += "Content-Length: 0\r\n\r\n";
    host.send(flow, ack.as_bytes());
}
