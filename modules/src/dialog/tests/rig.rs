//! A node with dialogs, a caller and two callees, for the acceptance examples.
//!
//! For: calls in a line or two; the steps of the specification's examples read like the protocol.

use super::super::{Dialog, DialogEvent, DialogEventKind, DialogRequest, Property, Settings, Side};
use std::cell::RefCell;
use std::rc::Rc;
use strowger_sip::message::MethodKind;
use strowger_sip::module::{Command, Event, Fault};
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Outcome, Reply, Request, Routing};
use strowger_sip::time::{Duration, secs};
use strowger_sip::transport::ListenerId;

pub(super) const A: &str = "192.0.2.10:5060";
pub(super) const B: &str = "192.0.2.20:5060";
pub(super) const C: &str = "192.0.2.30:5060";
pub(super) const CALL: &str = "dlg-test-0001@198.51.100.7";

/// What happened, as text.
pub(super) type Log = Rc<RefCell<Vec<String>>>;

/// What the routing does with initial INVITEs: words in the user part of the Request-URI.
pub(super) struct House {
    log: Log,
}

impl Routing for House {
    type Modules = (Dialog,);
    const LISTENS: bool = true;

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(mut within) = request.loose_route()? {
            let method = within.request().method();
            if within.is_in_dialog() {
                self.within(within.request());
            }
            if method == MethodKind::Bye
                && within.request().message().header_named(b"X-Bad").is_some()
            {
                return Err(Reply::forbidden());
            }
            return Ok(within.relay().into());
        }
        if request.method() != MethodKind::Invite {
            if request.is_within_dialog() {
                let _ = request.dialog().manage();
            }
            return Ok(request.relay_to_target().into());
        }
        request.record_route();
        let words = words(&request);
        let has = |word: &str| words.iter().any(|own| own == word);
        prepare(&mut request, &words);
        if has("limit") {
            request.dialog().reserve("cust", "acme", 2).await.or(Reply::busy_here())?;
        } else if has("caller10") {
            request.dialog().reserve("caller", "x", 10).await.or(Reply::busy_here())?;
        } else if has("everybody") {
            request.dialog().reserve("caller", "x", 100_000).await.or(Reply::busy_here())?;
        } else if has("manage") {
            request.dialog().manage()?;
        } else {
            let _ = request.dialog().manage();
        }
        if has("reject") {
            return Ok(Answer::Stateless(Reply::forbidden()));
        }
        if has("again") {
            let _ = request.dialog().manage();
        }
        if has("fork") {
            let relay = request.fork().to("sip:b@192.0.2.20").to("sip:b@192.0.2.30");
            return Ok(relay.into());
        }
        if has("serial") {
            return match request.relay_to("sip:b@192.0.2.20").await {
                Outcome::Answered(_) => Ok(Answer::Done),
                Outcome::Failed(_) => Ok(request.relay_to("sip:b@192.0.2.30").into()),
            };
        }
        if has("auth") {
            return match request.relay_to("sip:b@192.0.2.20").await {
                Outcome::Answered(_) => Ok(Answer::Done),
                Outcome::Failed(_) => {
                    request.dialog().raise_cseq();
                    Ok(request.relay_to("sip:b@192.0.2.20").into())
                }
            };
        }
        Ok(request.relay_to("sip:b@192.0.2.20").into())
    }

    fn event(&self, event: &Event) {
        let Some(event) = event.of::<DialogEvent>() else { return };
        let line = match event.kind {
            DialogEventKind::Start => format!("start {}", event.dialog.callee.tag),
            DialogEventKind::Response(_) | DialogEventKind::ResponseWithin(..) => return,
            DialogEventKind::Early(status) => format!("Early({})", status.code()),
            DialogEventKind::Failed(status) => format!("Failed({})", status.code()),
            DialogEventKind::ReferProgress(status) => format!("Refer({})", status.code()),
            DialogEventKind::EndConfirmed(status) => format!("EndConfirmed({})", status.code()),
            kind @ (DialogEventKind::Created
            | DialogEventKind::Spiraled
            | DialogEventKind::Confirmed
            | DialogEventKind::Within(..)
            | DialogEventKind::Refreshed(_)
            | DialogEventKind::Ending(_)
            | DialogEventKind::End(_)
            | DialogEventKind::Timeout
            | DialogEventKind::Expired(_)
            | DialogEventKind::Loaded
            | DialogEventKind::Destroyed) => format!("{kind:?}"),
        };
        self.log.borrow_mut().push(line);
    }
}

impl House {
    pub(super) fn new(log: Log) -> House {
        House { log }
    }

    /// Orders that come within a call, in `X-Do`.
    fn within(&self, request: &mut Request<'_, House>) {
        let order = request
            .message()
            .header_named(b"X-Do")
            .map(|field| String::from_utf8_lossy(field.value).into_owned());
        let order = order.unwrap_or_default();
        let words: Vec<&str> = order.split_whitespace().collect();
        let known = request.dialog().is_known();
        let mut dialog = request.dialog();
        match words.as_slice() {
            ["get", name] => {
                let value = dialog.variable(name);
                self.log.borrow_mut().push(format!("{name} = {value:?}"));
            }
            ["set", name, value] => {
                let _ = dialog.set_variable(name, value);
            }
            ["unset", name] => {
                let _ = dialog.set_variable(name, "");
            }
            ["refer", "caller", uri] => {
                let _ = dialog.refer(Side::Caller, uri);
            }
            ["info", "callee"] => {
                let body = Some(("text/plain", &b"hello"[..]));
                let _ = dialog.request_within(Side::Callee, "INFO", "X-Own: 1", body);
            }
            ["fork", tag] => {
                let _ = dialog.request_within_fork(tag, "INFO", "X-Own: 1", None);
            }
            ["count", name] => {
                let number = dialog.number(name).map_or(1, |number| number + 1);
                dialog.set_number(name, number);
                self.log.borrow_mut().push(format!("{name} is {:?}", dialog.number(name)));
            }
            ["takeover"] => {
                let _ = dialog.load_extra();
            }
            ["byecallee"] => {
                let _ = dialog.bye(&[Side::Callee]);
            }
            ["bye"] => {
                let _ = dialog.bye(&Side::BOTH);
            }
            ["raise"] => {
                let _ = dialog.raise_cseq();
            }
            ["status"] => {
                let snapshot = dialog.snapshot();
                let status = snapshot.map(|it| (it.facts.state.number(), it.direction));
                self.log.borrow_mut().push(format!("status {status:?} known {known}"));
            }
            _ => {}
        }
    }
}

/// What the user part of the Request-URI says, word by word.
fn words(request: &Request<'_, House>) -> Vec<String> {
    let user = request.target().and_then(|uri| uri.user).unwrap_or(&[]);
    String::from_utf8_lossy(user).split('-').map(str::to_owned).collect()
}

fn prepare(request: &mut Request<'_, House>, words: &[String]) {
    for word in words {
        let dialog = request.dialog();
        match word.as_str() {
            "short" => {
                let _ = dialog.timeout(secs(5));
            }
            "ten" => {
                let _ = dialog.timeout(secs(10));
            }
            "bye" => {
                let _ = dialog.bye_on_timeout();
            }
            "noreset" => {
                let _ = dialog.property(Property::TimeoutNoReset, true);
            }
            "kasrc" => {
                let _ = dialog.property(Property::KeepAliveCaller, true);
            }
            "kadst" => {
                let _ = dialog.property(Property::KeepAliveCallee, true);
            }
            "gold" => {
                let mut dialog = dialog;
                dialog.set_variable("acct", "gold");
            }
            "cust" => {
                let mut dialog = dialog;
                dialog.set_profile("cust", "acme");
            }
            "route" => {
                let _ = dialog.timeout_route("DLGTO");
            }
            _ => {}
        }
    }
}

/// A message that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) to: String,
    pub(super) text: String,
}

impl Sent {
    /// The first line of a header, without its name.
    pub(super) fn header(&self, name: &str) -> String {
        let prefix = format!("{name}: ");
        let line = self.text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_default().to_owned()
    }

    pub(super) fn headers(&self, name: &str) -> Vec<String> {
        let prefix = format!("{name}: ");
        self.text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    pub(super) fn is(&self, start: &str) -> bool {
        self.text.starts_with(start)
    }
}

/// The node and what was sent so far.
pub(super) struct Call {
    pub(super) bench: Bench<House>,
    pub(super) log: Log,
    pub(super) invite: String,
    cseq: u32,
}

pub(super) fn settings() -> Settings {
    Settings {
        match_mode: super::super::MatchMode::CookieThenTags,
        profiles: vec![("cust".into(), true), ("all".into(), false), ("caller".into(), true)],
        signed_cookies: false,
        ..Settings::default()
    }
}

impl Call {
    pub(super) fn new(settings: Settings) -> Call {
        let log = Log::default();
        let (routing, modules) = (House { log: Rc::clone(&log) }, (Dialog::new(settings, b"s"),));
        let engine = strowger_sip::engine::Settings {
            unix_start: secs(1_800_000_000),
            ..strowger_sip::engine::Settings::default()
        };
        let bench = Bench::alone(&["192.0.2.1:5060"], engine, routing, modules);
        Call { bench, log, invite: String::new(), cseq: 7 }
    }

    /// A message arrives; its lines end by LF.
    pub(super) fn receive(&mut self, from: &str, message: &str) -> Vec<Sent> {
        let from = from.parse().expect("an address");
        self.bench.receive(ListenerId(0), from, message.replace('\n', "\r\n").as_bytes());
        self.sent()
    }

    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let sent = self.bench.take_sent().into_iter();
        sent.map(|it| Sent { to: it.flow.remote.to_string(), text: text(&it.bytes) }).collect()
    }

    pub(super) fn skip(&mut self, span: Duration) -> Vec<Sent> {
        self.bench.advance(span);
        self.sent()
    }

    /// The caller's INVITE; what went to the callees.
    pub(super) fn invite(&mut self, user: &str) -> Vec<Sent> {
        self.invite_as(user, CALL, "")
    }

    pub(super) fn invite_as(&mut self, user: &str, call_id: &str, more: &str) -> Vec<Sent> {
        self.invite = format!(
            "INVITE sip:{user}@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{call_id}
{more}From: <sip:a@example.com>;tag=a1
To: <sip:b@example.com>
Call-ID: {call_id}
CSeq: 7 INVITE
Contact: <sip:a@192.0.2.10>
Max-Forwards: 70
Content-Length: 0

"
        );
        let invite = self.invite.clone();
        self.receive(A, &invite)
    }

    /// A callee's response to what it got.
    pub(super) fn answer(&mut self, from: &str, to: &Sent, status: &str, tag: &str) -> Vec<Sent> {
        let text = response(to, status, tag);
        self.receive(from, &text)
    }

    /// A request of the caller within the dialog with `tag`.
    pub(super) fn caller(&mut self, method: &str, ok: &Sent, tag: &str, more: &str) -> Vec<Sent> {
        if method != "ACK" {
            self.cseq += 1;
        }
        let text = within(method, self.cseq, ("a1", tag), A, ok, more);
        self.receive(A, &text)
    }

    /// A request of the callee.
    pub(super) fn callee(&mut self, method: &str, ok: &Sent, number: u32, more: &str) -> Vec<Sent> {
        let text = within(method, number, ("b1", "a1"), B, ok, more);
        self.receive(B, &text)
    }

    /// An answered and acknowledged call; the 200 as the caller got it.
    pub(super) fn establish(&mut self, user: &str) -> Sent {
        let invite = find(&self.invite(user), "INVITE");
        self.answer(B, &invite, "180 Ringing", "b1");
        let ok = find(&self.answer(B, &invite, "200 OK", "b1"), "SIP/2.0 200");
        self.caller("ACK", &ok, "b1", "");
        ok
    }

    pub(super) fn command(&mut self, name: &str, arguments: &[&str]) -> Result<String, Fault> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let command = Command { name: name.to_owned(), arguments };
        self.bench.command(&command).expect("a known command")
    }

    /// Gauges and counters: active, early, processed, expired, failed.
    pub(super) fn counts(&mut self) -> [u64; 5] {
        let names = ["active", "early", "processed", "expired", "failed"];
        names.map(|name| self.metric(&format!("dialog_{name}_dialogs")))
    }

    pub(super) fn metric(&mut self, name: &str) -> u64 {
        self.bench.metric(name).unwrap_or_else(|| panic!("{name}: no such metric"))
    }

    /// What was told since the last look.
    pub(super) fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut *self.log.borrow_mut())
    }

    /// How often an event whose line begins so was told.
    pub(super) fn told(&self, start: &str) -> usize {
        self.log.borrow().iter().filter(|line| line.starts_with(start)).count()
    }

    /// The only dialog, as `dlg.list` shows it.
    pub(super) fn listed(&mut self) -> String {
        self.command("dlg.list", &[]).expect("a list")
    }

    /// Whether the list shows this.
    pub(super) fn shows(&mut self, part: &str) -> bool {
        self.listed().contains(part)
    }

    /// Nothing is left, after transactions have lingered.
    pub(super) fn ends_empty(&mut self) {
        self.skip(secs(70));
        assert_eq!(self.listed(), "{\"dialogs\":[]}");
        assert!(self.bench.census().is_empty(), "{:?}", self.bench.census());
    }
}

pub(super) fn find(sent: &[Sent], start: &str) -> Sent {
    let found = sent.iter().find(|message| message.is(start));
    found.unwrap_or_else(|| panic!("no {start} in {sent:#?}")).clone()
}

pub(super) fn response(request: &Sent, status: &str, tag: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\n");
    for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
        for value in request.headers(name) {
            text += &format!("{name}: {value}\n");
        }
    }
    let to = request.header("To");
    let mark = if to.contains("tag=") { String::new() } else { format!(";tag={tag}") };
    let contact = if request.is("BYE") { "" } else { "Contact: <sip:b@192.0.2.20>\n" };
    text + &format!("To: {to}{mark}\n{contact}Content-Length: 0\n\n")
}

fn within(
    method: &str,
    number: u32,
    (from, to): (&str, &str),
    source: &str,
    ok: &Sent,
    more: &str,
) -> String {
    let routes: Vec<String> = ok.headers("Record-Route");
    let routes: Vec<String> = match source {
        A => routes.iter().flat_map(|line| line.split(',')).rev().map(str::to_owned).collect(),
        _ => routes,
    };
    let (own, other) = if source == A { ("a", "b") } else { ("b", "a") };
    let target = if source == A { "sip:b@192.0.2.20" } else { "sip:a@192.0.2.10" };
    let host = source.trim_end_matches(":5060");
    format!(
        "{method} {target} SIP/2.0
Via: SIP/2.0/UDP {host};branch=z9hG4bK{method}{number}{from}
Route: {}
From: <sip:{own}@example.com>;tag={from}
To: <sip:{other}@example.com>;tag={to}
Call-ID: {}
CSeq: {number} {method}
Max-Forwards: 70
{more}Content-Length: 0

",
        routes.join(","),
        ok.header("Call-ID"),
    )
}
