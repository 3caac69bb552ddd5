//! A node with this module, and a presence server that says what the test wants.
//!
//! For: calls of the API, and requests and answers in a line or two.

use super::super::{
    DbMode, EventId, Notified, Package, Packages, Pua, PuaRequest, Publication, Refused, Report,
    Row, SendPublish, Settings, Source, Subscription, Taken,
};
use std::cell::RefCell;
use std::rc::Rc;
use strowger_sip::engine::{RowOf, Setup};
use strowger_sip::message::MethodKind;
use strowger_sip::module::{Command, Either, Event, Fault, Host};
use strowger_sip::rig::{Bench, udp_listener};
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::{Duration, Instant, ms};
use strowger_sip::transport::{ListenerId, Listeners};

pub(super) const SERVER: &str = "192.0.2.20:7072";
pub(super) const PROXY: &str = "sip:192.0.2.20:7072";

/// What modules told, as text.
pub(super) type Log = Rc<RefCell<Vec<String>>>;

/// What the routing does with the next INFO.
pub(super) enum Call {
    Publish(Publication),
    Subscribe(Subscription),
    /// By an event, as other modules do.
    PublishEvent(Publication),
}

pub(super) struct House {
    log: Log,
    calls: Rc<RefCell<Vec<Call>>>,
    results: Rc<RefCell<Vec<Result<Taken, Refused>>>>,
}

impl Routing for House {
    type Modules = (Pua,);
    const LISTENS: bool = true;

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if request.method() == MethodKind::Notify {
            return Err(Reply::new(481));
        }
        let calls = std::mem::take(&mut *self.calls.borrow_mut());
        for call in calls {
            let result = match call {
                Call::Publish(publication) => request.pua().send_publish(publication),
                Call::Subscribe(subscription) => request.pua().send_subscribe(subscription),
                Call::PublishEvent(publication) => {
                    request.module(|_: &mut Pua, host, _| host.publish(SendPublish(publication)));
                    Ok(Taken::Accepted)
                }
            };
            self.results.borrow_mut().push(result);
        }
        Err(Reply::new(200))
    }

    fn event(&self, event: &Event) {
        if let Some(report) = event.of::<Report>() {
            self.log.borrow_mut().push(format!("{} {:?}", report.cookie, report.ended));
        }
        if let Some(notified) = event.of::<Rc<Notified>>() {
            let body = String::from_utf8_lossy(&notified.body).into_owned();
            let standing = &notified.standing;
            self.log.borrow_mut().push(format!("{standing:?} {body}"));
            if body == "bad" {
                notified.answer(Reply::new(400));
            }
        }
    }
}

/// A request that the server has received.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) text: String,
    pub(super) at: Instant,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    pub(super) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(super) fn etag(&self) -> Option<&str> {
        self.header("SIP-If-Match")
    }

    pub(super) fn expires(&self) -> u32 {
        self.header("Expires").and_then(|text| text.parse().ok()).expect("Expires")
    }

    pub(super) fn tag(&self, of: &str) -> Option<String> {
        self.header(of)?.split_once(";tag=").map(|(_, tag)| tag.to_owned())
    }
}

pub(super) struct Rig {
    pub(super) bench: Bench<House>,
    pub(super) log: Log,
    calls: Rc<RefCell<Vec<Call>>>,
    results: Rc<RefCell<Vec<Result<Taken, Refused>>>>,
    inbox: Vec<Got>,
    /// Requests that were taken.
    seen: Vec<String>,
    /// Rows by name, as storage has them.
    pub(super) table: Vec<(String, super::super::PuaRow)>,
    /// Names of rows that were deleted.
    pub(super) removed: Vec<String>,
    finds: Vec<(String, u64)>,
    /// When the node's time began.
    date: Duration,
    number: u32,
}

pub(super) fn settings() -> Settings {
    Settings { outbound_proxy: Some(PROXY.to_owned()), ..Settings::default() }
}

pub(super) fn reg(id: &str) -> Publication {
    Publication::new(Source::Routing, EventId::REG, "sip:bob@example.com", id)
}

pub(super) fn watch() -> Subscription {
    let mut watch = Subscription::new(
        Source::Routing,
        EventId::REG,
        "sip:bob@192.0.2.20:7072",
        "sip:reginfo@192.0.2.1:5060",
    );
    watch.wanted = super::super::Wanted::Seconds(3600);
    watch
}

impl Rig {
    pub(super) fn new(settings: Settings) -> Rig {
        Rig::with(settings, Packages::standard(), Vec::new())
    }

    pub(super) fn with_package(settings: Settings, package: Package) -> Rig {
        let mut packages = Packages::standard();
        packages.set_process(package.id, package.process);
        Rig::with(settings, packages, Vec::new())
    }

    /// A node that starts with these rows.
    pub(super) fn with(
        settings: Settings,
        packages: Packages,
        table: Vec<(String, super::super::PuaRow)>,
    ) -> Rig {
        Rig::since(Duration::from_secs(1_700_000_000), settings, packages, table)
    }

    /// The same at this date.
    fn since(
        date: Duration,
        settings: Settings,
        packages: Packages,
        table: Vec<(String, super::super::PuaRow)>,
    ) -> Rig {
        let (log, calls, results) = (Log::default(), Rc::default(), Rc::default());
        let house =
            House { log: Rc::clone(&log), calls: Rc::clone(&calls), results: Rc::clone(&results) };
        let pua = Pua::new(settings, packages, true);
        let engine = strowger_sip::engine::Settings { unix_start: date, ..Default::default() };
        let bench = Bench::new(Setup {
            shard: ShardId(0),
            map: ShardMap::new(1, (1, 2)),
            listeners: Listeners::new(vec![udp_listener("192.0.2.1:5060")]),
            // Each life of a node draws other names.
            seed: (3, date.as_micros() as u64),
            settings: engine,
            routing: house,
            modules: (pua,),
        });
        let mut rig = Rig {
            bench,
            log,
            calls,
            results,
            inbox: Vec::new(),
            seen: Vec::new(),
            date,
            table: table.clone(),
            removed: Vec::new(),
            finds: Vec::new(),
            number: 0,
        };
        for (_, row) in table {
            rig.note(Row::Loaded(row.into()));
        }
        rig.gather();
        rig
    }

    fn note(&mut self, row: Row) {
        let row: RowOf<House> = Either::Right(Either::Left(row));
        self.bench.input(strowger_sip::engine::Input::Row(row));
    }

    /// Takes what the node sent and stored.
    fn gather(&mut self) {
        loop {
            for sent in self.bench.take_sent() {
                let text = String::from_utf8(sent.bytes).expect("text");
                if sent.flow.remote.to_string() == SERVER || text.starts_with("SIP/2.0 ") {
                    self.inbox.push(Got { text, at: sent.at });
                }
            }
            for row in self.bench.take_rows() {
                let Either::Right(Either::Left(row)) = row else { continue };
                self.stored(row);
            }
            let finds = std::mem::take(&mut self.finds);
            if finds.is_empty() {
                return;
            }
            for (name, ticket) in finds {
                let rows = self.table.iter().filter(|(own, _)| *own == name);
                let rows = rows.map(|(_, row)| row.clone()).collect();
                self.note(Row::Found(strowger_sip::storage::Ticket(ticket), rows, 0));
            }
        }
    }

    fn stored(&mut self, row: Row) {
        match row {
            Row::Put(row, ..) => {
                let name = row.name.clone();
                self.table.retain(|(own, _)| *own != name);
                self.table.push((name, *row));
            }
            Row::Remove(name, ..) => {
                self.table.retain(|(own, _)| *own != name);
                self.removed.push(name);
            }
            Row::Find(name, ticket) => self.finds.push((name, ticket.0)),
            Row::Loaded(_) | Row::Found(..) | Row::Resync => {}
        }
    }

    /// A call of the API.
    pub(super) fn call(&mut self, call: Call) -> Result<Taken, Refused> {
        self.calls.borrow_mut().push(call);
        self.number += 1;
        let info = format!(
            "INFO sip:192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK-info-{n}\r\n\
             From: <sip:x@h>;tag=1\r\nTo: <sip:y@h>\r\nCall-ID: info-{n}\r\nCSeq: 1 INFO\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            n = self.number
        );
        let from = "192.0.2.10:5060".parse().expect("an address");
        self.bench.receive(ListenerId(0), from, info.as_bytes());
        self.gather();
        self.inbox.retain(|got| !got.text.contains("CSeq: 1 INFO"));
        self.results.borrow_mut().pop().expect("a result")
    }

    pub(super) fn publish(&mut self, publication: Publication) -> Result<Taken, Refused> {
        self.call(Call::Publish(publication))
    }

    pub(super) fn publish_body(&mut self, id: &str, body: &str) {
        let mut publication = reg(id);
        publication.wanted = super::super::Wanted::Seconds(3600);
        publication.body = Some(body.as_bytes().to_vec());
        assert_eq!(self.publish(publication), Ok(Taken::Accepted));
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<Taken, Refused> {
        let mut publication = reg(id);
        publication.wanted = super::super::Wanted::Not;
        self.publish(publication)
    }

    pub(super) fn subscribe(&mut self, subscription: Subscription) -> Result<Taken, Refused> {
        self.call(Call::Subscribe(subscription))
    }

    pub(super) fn advance(&mut self, span: Duration) {
        // In steps, so that what was read from storage is there in time.
        let end = self.bench.now() + span;
        while self.bench.now() < end {
            let step = end.since(self.bench.now()).min(ms(100));
            self.bench.advance(step);
            self.gather();
        }
    }

    /// All requests since the last call, each once.
    pub(super) fn requests(&mut self) -> Vec<Got> {
        let mut list = std::mem::take(&mut self.inbox);
        list.retain(|got| {
            let via = got.header("Via").unwrap_or_default().to_owned();
            let is_new = !got.text.starts_with("SIP/2.0 ") && !self.seen.contains(&via);
            self.seen.push(via);
            is_new
        });
        list
    }

    /// Every datagram since the last call, repeated ones too.
    pub(super) fn datagrams(&mut self) -> Vec<Got> {
        std::mem::take(&mut self.inbox)
    }

    /// The only request since the last call.
    pub(super) fn request(&mut self) -> Got {
        let list = self.requests();
        assert_eq!(list.len(), 1, "{list:#?}");
        list.into_iter().next().expect("one")
    }

    /// Nothing was sent.
    pub(super) fn silence(&mut self) {
        let list = self.requests();
        assert!(list.is_empty(), "{list:#?}");
    }

    /// The server answers; `more` are whole lines.
    pub(super) fn answer(&mut self, to: &Got, status: u16, more: &str) {
        let take = |name: &str| to.header(name).unwrap_or_default().to_owned();
        let mut to_value = take("To");
        if !to_value.contains(";tag=") {
            to_value.push_str(";tag=server");
        }
        let text = format!(
            "SIP/2.0 {status} Answer\r\nVia: {}\r\nFrom: {}\r\nTo: {to_value}\r\nCall-ID: {}\r\n\
             CSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
            take("Via"),
            take("From"),
            take("Call-ID"),
            take("CSeq"),
        );
        self.send(&text);
    }

    pub(super) fn ok(&mut self, to: &Got, etag: &str, expires: u32) {
        self.answer(to, 200, &format!("SIP-ETag: {etag}\r\nExpires: {expires}\r\n"));
    }

    pub(super) fn ok_watch(&mut self, to: &Got, expires: u32) {
        let more = format!("Expires: {expires}\r\nContact: <sip:pres@192.0.2.20:7072>\r\n");
        self.answer(to, 200, &more);
    }

    pub(super) fn send(&mut self, text: &str) {
        let from = SERVER.parse().expect("an address");
        self.bench.receive(ListenerId(0), from, text.as_bytes());
        self.gather();
    }

    /// The server notifies within the dialog of this SUBSCRIBE; the status of the answer.
    pub(super) fn notify(&mut self, of: &Got, cseq: u32, state: &str, body: &str) -> u16 {
        let (call_id, own) = (of.header("Call-ID").expect("one"), of.tag("From").expect("one"));
        self.notify_as(call_id, &own, cseq, state, body)
    }

    pub(super) fn notify_as(
        &mut self,
        call_id: &str,
        own: &str,
        cseq: u32,
        state: &str,
        body: &str,
    ) -> u16 {
        self.number += 1;
        let text = format!(
            "NOTIFY sip:reginfo@192.0.2.1:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {SERVER};branch=z9hG4bK-n-{}\r\n\
             From: <sip:bob@192.0.2.20>;tag=server\r\n\
             To: <sip:reginfo@192.0.2.1:5060>;tag={own}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} NOTIFY\r\nMax-Forwards: 70\r\nEvent: reg\r\n\
             Subscription-State: {state}\r\nContact: <sip:pres@192.0.2.20:7072>\r\n\
             Content-Type: application/reginfo+xml\r\nContent-Length: {}\r\n\r\n{body}",
            self.number,
            body.len()
        );
        let wanted = format!("{cseq} NOTIFY");
        self.send(&text);
        let place = self.inbox.iter().position(|got| {
            got.text.starts_with("SIP/2.0 ") && got.header("CSeq") == Some(wanted.as_str())
        });
        let answer = self.inbox.remove(place.expect("an answer"));
        answer.line().split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status")
    }

    pub(super) fn command(
        &mut self,
        name: &str,
        arguments: &[&str],
    ) -> Option<Result<String, Fault>> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let answer = self.bench.command(&Command { name: name.to_owned(), arguments });
        self.gather();
        answer
    }

    /// What commands call the record of this presentity by.
    pub(super) fn table_name(&mut self, presentity: &str) -> String {
        let listed = self.command("pua.list", &[presentity]).expect("known").expect("a list");
        let name = listed.split("\"name\":\"").nth(1).and_then(|rest| rest.split('"').next());
        name.expect("a name").to_owned()
    }

    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.borrow_mut())
    }

    pub(super) fn metric(&self, name: &str) -> u64 {
        self.bench.metric(name).expect("a counter")
    }

    /// The node is gone without a word; another one starts with what storage has.
    pub(super) fn restart(&mut self, settings: Settings) {
        let table = self.table.clone();
        let date = self.date + self.bench.now().since(Instant::START);
        *self = Rig::since(date, settings, Packages::standard(), table);
    }
}

pub(super) fn in_database() -> Settings {
    Settings { db_mode: DbMode::Database, ..settings() }
}
