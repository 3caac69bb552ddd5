//! A node with calls and accounts, a caller, and next hops that challenge.
//!
//! For: examples of the specification in a few lines.

use super::super::{Completed, OwnRequest, RequestBy, Settings, Uac, UacRequest};
use crate::bench::{self, Sent};
use crate::dialog::{self, Dialog, DialogRequest};
use std::cell::RefCell;
use std::rc::Rc;
use strowger_sip::engine;
use strowger_sip::message::MethodKind;
use strowger_sip::module::{Command, Event, Fault};
use strowger_sip::rig::{Bench, udp_listener};
use strowger_sip::routing::{Answer, Destination, Outcome, Reply, Request, Routing};
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::secs;
use strowger_sip::transport::Listeners;

pub(super) const A: &str = "192.0.2.10:5060";
pub(super) const B: &str = "192.0.2.20:5060";
/// Where calls go.
pub(super) const HOP: &str = "sip:192.0.2.20";

/// What the routing does with a request that begins something.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// From and To, each a name and a URI, one replacement after the other.
    Replace(Vec<(bool, &'static str, &'static str)>),
    /// The same for From alone, kept by the dialog.
    ReplaceInDialog(&'static str, &'static str),
    /// Answers challenges; in a tracked call or not.
    Auth { tracked: bool },
    /// The first next hop's challenge is answered, then another next hop is tried.
    AuthThenElsewhere,
    /// Sends a request of its own and answers with its status.
    Send(Box<OwnRequest>),
    /// Calls over the record of this local user.
    Over(&'static str),
    /// Says who is called.
    Called,
}

pub(super) type Log = Rc<RefCell<Vec<String>>>;

pub(super) struct House {
    pub(super) plan: Plan,
    pub(super) log: Log,
}

fn hop() -> Destination<'static> {
    let (uri, next_hop) = (&b"sip:bob@biloxi.example.com"[..], Some(HOP.as_bytes()));
    Destination { uri, path: None, next_hop, flow: None }
}

impl Routing for House {
    type Modules = (Dialog, Uac);
    const LISTENS: bool = true;

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(mut within) = request.loose_route()? {
            let request = within.request();
            request.uac().restore_by_dialog();
            let ack = request.method() == MethodKind::Ack;
            if matches!(self.plan, Plan::Auth { tracked: true }) && !ack {
                return Ok(self.along(request).await);
            }
            return Ok(within.relay().into());
        }
        if request.method() == MethodKind::Invite {
            request.record_route();
        }
        match &self.plan {
            Plan::Replace(list) => self.replace(&mut request, list),
            Plan::ReplaceInDialog(name, uri) => {
                let _ = request.dialog().manage();
                let replaced = request.uac().replace_from_in_dialog(Some(name), uri);
                self.log.borrow_mut().push(format!("{replaced:?}"));
                Ok(request.relay_by(HOP).into())
            }
            Plan::Auth { tracked: false } => Ok(request.uac().relay(&hop()).await.into()),
            Plan::Auth { tracked: true } => {
                let _ = request.dialog().manage();
                Ok(request.uac().relay_in_dialog(&hop()).await.into())
            }
            Plan::AuthThenElsewhere => match request.uac().relay(&hop()).await {
                Outcome::Answered(_) => Ok(Answer::Done),
                Outcome::Failed(_) => Ok(request.relay_by("sip:192.0.2.30").into()),
            },
            Plan::Send(own) => {
                let completed: Completed = request.uac().send((**own).clone()).await;
                Ok(Reply::new(completed.status().code()).into())
            }
            Plan::Over(user) => {
                let trunk = request.uac().reg_request_to(user, RequestBy::LocalUser);
                let trunk = trunk.map_err(|_| Reply::not_found())?;
                Ok(request.uac().relay(&trunk.destination()).await.into())
            }
            Plan::Called => {
                let target = String::from_utf8_lossy(request.request_uri()).into_owned();
                let called = request.uac().reg_lookup(&target);
                self.log.borrow_mut().push(called.unwrap_or_default());
                Err(Reply::not_found())
            }
        }
    }

    fn event(&self, event: &Event) {
        if let Some(event) = event.of::<super::super::ReplyEvent>() {
            let kind = if event.completed.is_answered() { 1 } else { 2 };
            let code = event.completed.status().code();
            self.log.borrow_mut().push(format!("{code}/{kind} {}", event.param));
        }
        if let Some(event) = event.of::<super::super::RegEvent>() {
            let line = format!("{} {:?} {}", event.l_uuid, event.state, event.code);
            self.log.borrow_mut().push(line);
        }
    }
}

impl House {
    fn replace(
        &self,
        request: &mut Request<'_, House>,
        list: &[(bool, &'static str, &'static str)],
    ) -> Result<Answer, Reply> {
        for (is_from, display, uri) in list {
            let mut uac = request.uac();
            let done = match is_from {
                true => uac.replace_from(display, uri),
                false => uac.replace_to(display, uri),
            };
            self.log.borrow_mut().push(format!("{done:?}"));
        }
        Ok(request.relay_by(HOP).into())
    }

    /// A request within a dialog, challenged or not.
    async fn along(&self, request: &mut Request<'_, House>) -> Answer {
        loop {
            match request.relay_to_target().await {
                Outcome::Answered(_) => return Answer::Done,
                Outcome::Failed(failed) => {
                    if request.uac().auth_in_dialog(&failed).is_err() {
                        return failed.into();
                    }
                }
            }
        }
    }
}

/// The node, and what happened.
pub(super) struct Node {
    pub(super) bench: Bench<House>,
    pub(super) log: Log,
    settings: Settings,
}

fn setup(plan: Plan, settings: Settings, log: &Log) -> engine::Setup<House> {
    let engine = engine::Settings { unix_start: secs(1_800_000_000), ..Default::default() };
    engine::Setup {
        shard: ShardId(0),
        map: ShardMap::new(1, (1, 2)),
        listeners: Listeners::new(vec![udp_listener("192.0.2.1:5060")]),
        seed: (3, 4),
        settings: engine,
        routing: House { plan, log: Rc::clone(log) },
        modules: (Dialog::new(dialog::Settings::default(), b"s"), Uac::new(settings, b"s")),
    }
}

impl Node {
    pub(super) fn new(plan: Plan, settings: Settings) -> Node {
        let log = Log::default();
        let bench = Bench::new(setup(plan, settings.clone(), &log));
        Node { bench, log, settings }
    }

    /// The configuration changes; what is sent at once.
    pub(super) fn renew(&mut self, change: impl FnOnce(&mut Settings)) -> Vec<String> {
        change(&mut self.settings);
        self.bench.renew(setup(Plan::Called, self.settings.clone(), &self.log));
        bench::sent(&mut self.bench).into_iter().map(|sent| sent.text).collect()
    }

    pub(super) fn receive(&mut self, from: &str, text: &str) -> Vec<Sent> {
        bench::send(&mut self.bench, from, text)
    }

    /// What it sends to whom, of those that begin so.
    pub(super) fn gets(&mut self, from: &str, text: &str, start: &str) -> String {
        let sent = self.receive(from, text);
        find(&sent, start)
    }

    pub(super) fn command(&mut self, name: &str, arguments: &[&str]) -> Result<String, Fault> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let command = Command { name: name.to_owned(), arguments };
        self.bench.command(&command).expect("a known command")
    }

    pub(super) fn metric(&self, name: &str) -> u64 {
        self.bench.metric(name).unwrap_or_else(|| panic!("no {name}"))
    }
}

/// The first message that begins so.
pub(super) fn find(sent: &[Sent], start: &str) -> String {
    let found = sent.iter().find(|sent| sent.text.starts_with(start));
    found.unwrap_or_else(|| panic!("no {start} among {sent:#?}")).text.clone()
}

/// A header's first value.
pub(super) fn header(text: &str, name: &str) -> String {
    let prefix = format!("{name}: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_default().to_owned()
}

/// How many headers of a name there are.
pub(super) fn count(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.starts_with(&format!("{name}: "))).count()
}

/// The number in CSeq.
pub(super) fn number(text: &str) -> u32 {
    let cseq = header(text, "CSeq");
    cseq.split(' ').next().and_then(|number| number.parse().ok()).expect("a CSeq")
}

/// A request that begins a call.
pub(super) fn begin(method: &str, number: u32, from: &str) -> String {
    format!(
        "{method} sip:bob@biloxi.example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{method}{number}
From: {from};tag=a1
To: <sip:callee@example.org>
Call-ID: c1
CSeq: {number} {method}
Contact: <sip:1001@192.0.2.10>
Max-Forwards: 70
Content-Length: 0

"
    )
}

/// A request within the call, along the route set of its 200; of the caller, or of the callee.
pub(super) fn within(method: &str, number: u32, ok: &str, from: &str, to: &str) -> String {
    let up = from.contains(";tag=b");
    let (own, remote) = if up { (B, "192.0.2.10") } else { (A, "192.0.2.20") };
    let host = own.trim_end_matches(":5060");
    format!(
        "{method} sip:x@{remote} SIP/2.0
Via: SIP/2.0/UDP {host};branch=z9hG4bK{method}{number}{up}
Route: {}
From: {from}
To: {to}
Call-ID: c1
CSeq: {number} {method}
Contact: <sip:x@{host}>
Max-Forwards: 70
Content-Length: 0

",
        header(ok, "Record-Route")
    )
}

/// A response with more headers, each a line.
pub(super) fn response(request: &str, status: &str, more: &str) -> String {
    let host = if request.contains("192.0.2.20") { "192.0.2.20" } else { "192.0.2.10" };
    let text = bench::response(request, status);
    let more = format!("Contact: <sip:x@{host}>\n{more}");
    text.replace("Content-Length", &format!("{more}Content-Length"))
}

/// Acknowledges a negative response.
pub(super) fn ack(request: &str, response: &str) -> String {
    let mut text = request.replacen("INVITE", "ACK", 1).replace(" INVITE\n", " ACK\n");
    let to = header(response, "To");
    let old = header(request, "To");
    text = text.replace(&format!("To: {old}"), &format!("To: {to}"));
    text
}
