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
use super::proof::{Said, Session, cnonce};
use super::request::UacOf;
use super::secret::{Credential, Secret, is_quotable};
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

/// When an event tells of an answer (`$uac_req(evroute)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TellWhen {
    /// 0: never.
    #[default]
    Never,
    /// 1: of each final answer, a challenge that is answered too.
    Completion,
    /// 2: when it failed. Challenges are not answered then.
    Failure,
}

/// A request that is put together part by part (`$uac_req(...)`).
///
/// ```
/// use strowger_modules::uac::{OwnRequest, Secret};
/// let check = OwnRequest::new("OPTIONS", "sip:192.0.2.20")
///     .from("sip:probe@192.0.2.1")
///     .credentials("probe", Secret::password("secret"));
/// ```
#[derive(Clone, Debug)]
pub struct OwnRequest {
    method: String,
    uri: String,
    from: Option<String>,
    to: Option<String>,
    from_tag: Option<String>,
    to_tag: Option<String>,
    next_hop: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<(String, Vec<u8>)>,
    call_id: Option<String>,
    cseq: u32,
    socket: Option<String>,
    credential: Option<Credential>,
    tell: TellWhen,
    param: String,
    timeout: Option<Duration>,
    ring_timeout: Option<Duration>,
}

/// Headers that are written here.
const OWN: [&str; 13] = [
    "via",
    "v",
    "to",
    "t",
    "from",
    "f",
    "call-id",
    "i",
    "cseq",
    "content-length",
    "l",
    "authorization",
    "proxy-authorization",
];

impl OwnRequest {
    /// A request of this method for this URI (`method`, `ruri`).
    pub fn new(method: &str, uri: &str) -> OwnRequest {
        OwnRequest {
            method: one_line(method),
            uri: one_line(uri),
            from: None,
            to: None,
            from_tag: None,
            to_tag: None,
            next_hop: None,
            headers: Vec::new(),
            body: None,
            call_id: None,
            cseq: 10,
            socket: None,
            credential: None,
            tell: TellWhen::Never,
            param: String::new(),
            timeout: None,
            ring_timeout: None,
        }
    }

    /// URI or name and URI in From (`furi`); the Request-URI when none is given.
    pub fn from(mut self, address: &str) -> OwnRequest {
        self.from = Some(one_line(address));
        self
    }

    /// URI or name and URI in To (`turi`); the Request-URI when none is given.
    pub fn to(mut self, address: &str) -> OwnRequest {
        self.to = Some(one_line(address));
        self
    }

    /// The tag in From (`ftag`), instead of a random one.
    pub fn from_tag(mut self, tag: &str) -> OwnRequest {
        self.from_tag = Some(token(tag));
        self
    }

    /// A tag in To (`ttag`): the request belongs to a dialog.
    pub fn to_tag(mut self, tag: &str) -> OwnRequest {
        self.to_tag = Some(token(tag));
        self
    }

    /// Where to send it instead of where the Request-URI says (`ouri`).
    pub fn next_hop(mut self, uri: &str) -> OwnRequest {
        self.next_hop = Some(one_line(uri));
        self
    }

    /// One more header (`hdrs`). CR, LF and NUL are left out; so are headers that are written here:
    /// Via, From, To, Call-ID, CSeq, Content-Length, credentials.
    pub fn header(mut self, name: &str, value: &str) -> OwnRequest {
        let name = token(name);
        if !name.is_empty() && !OWN.contains(&name.to_ascii_lowercase().as_str()) {
            self.headers.push((name, one_line(value)));
        }
        self
    }

    /// A body of this type (`body`).
    pub fn body(mut self, content_type: &str, bytes: &[u8]) -> OwnRequest {
        self.body = Some((one_line(content_type), bytes.to_vec()));
        self
    }

    /// The Call-ID (`callid`), instead of a random one.
    pub fn call_id(mut self, call_id: &str) -> OwnRequest {
        let call_id: String = call_id.chars().filter(|c| c.is_ascii_graphic()).collect();
        self.call_id = (!call_id.is_empty()).then_some(call_id);
        self
    }

    /// The number in CSeq (`cseqno`), 10 otherwise.
    pub fn cseq(mut self, number: u32) -> OwnRequest {
        // RFC 3261 §8.1.1.5; a retry has the next one.
        self.cseq = number.clamp(1, (1 << 31) - 16);
        self
    }

    /// The listener that it is sent from (`sock`): `udp:192.0.2.1:5060`.
    pub fn socket(mut self, socket: &str) -> OwnRequest {
        self.socket = Some(one_line(socket));
        self
    }

    /// What answers a challenge (`auser`, `apasswd`, `flags`); no user with a quote in its name.
    pub fn credentials(mut self, user: &str, secret: Secret) -> OwnRequest {
        let (user, realm) = (user.to_owned(), String::new());
        let usable = is_quotable(&user) && !user.is_empty() && !secret.is_empty();
        self.credential = usable.then_some(Credential { user, realm, secret });
        self
    }

    /// When an event tells of answers, and a text that it repeats (`evroute`, `evparam`).
    pub fn tell(mut self, when: TellWhen, param: &str) -> OwnRequest {
        (self.tell, self.param) = (when, param.to_owned());
        self
    }

    /// How long to wait for the final answer, or for any to an INVITE (`fr_timeout`).
    pub fn timeout(mut self, span: Duration) -> OwnRequest {
        self.timeout = Some(span);
        self
    }

    /// How long an INVITE may ring (`fr_inv_timeout`).
    pub fn ring_timeout(mut self, span: Duration) -> OwnRequest {
        self.ring_timeout = Some(span);
        self
    }

    /// Its method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Its Request-URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    fn is_invite(&self) -> bool {
        self.method == "INVITE"
    }

    /// The bytes but for the Via, which is written when it is sent.
    fn write(&self, ids: &Ids, proof: Option<&(&'static str, Vec<u8>)>) -> Vec<u8> {
        let OwnRequest { method, uri, .. } = self;
        let to = bracketed(self.to.as_ref().unwrap_or(uri));
        let from = bracketed(self.from.as_ref().unwrap_or(uri));
        let Ids { call_id, tag, cseq } = ids;
        let mut text = format!("{method} {uri} SIP/2.0\r\nTo: {to}");
        if let Some(tag) = &self.to_tag {
            text += &format!(";tag={tag}");
        }
        text += &format!("\r\nFrom: {from};tag={tag}\r\nCSeq: {cseq} {method}\r\n");
        text += &format!("Call-ID: {call_id}\r\n");
        let has = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !has("Max-Forwards") {
            text += "Max-Forwards: 70\r\n";
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let (kind, body) = match &self.body {
            Some((kind, body)) => (Some(kind), body.as_slice()),
            None => (None, &[][..]),
        };
        if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
            text += &format!("Content-Type: {kind}\r\n");
        }
        let mut bytes = text.into_bytes();
        if let Some((name, value)) = proof {
            bytes.extend_from_slice(format!("{name}: ").as_bytes());
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}

/// What may be a header's name or a tag.
fn token(text: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(*c);
    text.chars().filter(fits).collect()
}

/// Brackets around a URI that has none.
fn bracketed(address: &str) -> String {
    let has = address.ends_with('>') || address.contains(">;");
    if has { address.to_owned() } else { format!("<{address}>") }
}

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

#[derive(Debug)]
struct Ids {
    call_id: String,
    tag: String,
    cseq: u32,
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
