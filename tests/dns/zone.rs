//! A small authoritative name server on loopback, whose zone is text.
//!
//! For: answers of every kind that a proxy may get, at the moment that the test wants them.
//! Not here: what the proxy makes of them (`../dns.rs`).
//! Invariants: what is held is answered when the test releases it, not when a clock says so.

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Metadata, ResponseCode};
use hickory_server::proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use strowger_tests::process::PATIENCE;
use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::sync::watch;

/// How long anything may be remembered; long enough for a test.
const TTL_SECONDS: u32 = 300;

/// What a line of the zone says of a name.
enum Line {
    Record(Box<Record>),
    Broken(LowerName),
    Held(LowerName),
}

/// A name server that runs until it is dropped.
pub(crate) struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    gate: watch::Sender<bool>,
}

impl NameServer {
    /// Serves lines `NAME TYPE DATA` of a zone file (names end with a dot), `NAME broken` for a
    /// name that gets SERVFAIL, and `NAME held` for one that, with all below it, gets no answer
    /// before [`NameServer::release`].
    pub(crate) fn start(zone: &str) -> NameServer {
        let lines = zone.lines().map(str::trim).filter(|line| !line.is_empty()).map(read);
        let (gate, opened) = watch::channel(false);
        let asked = Arc::default();
        let zone = Zone { lines: lines.collect(), opened, asked: Arc::clone(&asked) };
        let (tell, told) = std::sync::mpsc::channel();
        let mut until = gate.subscribe();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
                tell.send(socket.local_addr().expect("an address")).expect("a test that waits");
                let mut server = Server::new(zone);
                server.register_socket(socket);
                // The gate fails when its owner is dropped.
                while until.changed().await.is_ok() {}
            });
        });
        let address = told.recv().expect("a name server that started");
        NameServer { address, asked, gate }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was held.
    pub(crate) fn release(&self) {
        self.gate.send_replace(true);
    }

    /// How often it was asked this, for example `A host.test.`
    pub(crate) fn count(&self, question: &str) -> usize {
        lock(&self.asked).iter().filter(|asked| *asked == question).count()
    }

    /// Everything that it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }

    /// Waits until it has been asked this.
    pub(crate) fn wait_for(&self, question: &str) {
        let end = Instant::now() + PATIENCE;
        while self.count(question) == 0 {
            assert!(Instant::now() < end, "no {question}: {:?}", lock(&self.asked));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

struct Zone {
    lines: Vec<Line>,
    opened: watch::Receiver<bool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Zone {
    /// The records of a name and, behind an alias, of what it stands for.
    fn find(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let (mut found, mut name) = (Vec::new(), name.clone());
        loop {
            let own = |kind| {
                let name = name.clone();
                self.records().filter(move |r| r.name == name && r.record_type() == kind).cloned()
            };
            found.extend(own(kind));
            let Some(alias) = own(RecordType::CNAME).next().filter(|_| kind != RecordType::CNAME)
            else {
                return found;
            };
            if let RData::CNAME(to) = &alias.data {
                name = to.0.clone();
            }
            found.push(alias);
        }
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.lines.iter().filter_map(|line| match line {
            Line::Record(record) => Some(&**record),
            Line::Broken(_) | Line::Held(_) => None,
        })
    }

    fn is_broken(&self, name: &LowerName) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Broken(broken) if broken == name))
    }

    fn is_held(&self, name: &LowerName) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Held(zone) if zone.zone_of(name)))
    }
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let asked = request.request_info().expect("one question");
        let (name, kind) = (asked.query.name(), asked.query.query_type());
        lock(&self.asked).push(format!("{kind} {name}"));
        if self.is_held(name) {
            let mut opened = self.opened.clone();
            // A test that has ended wants no answer.
            let _ = opened.wait_for(|opened| *opened).await;
        }
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let found = self.find(&Name::from(name), kind);
        if self.is_broken(name) {
            metadata.response_code = ResponseCode::ServFail;
        } else if !self.records().any(|record| record.name == Name::from(name)) {
            metadata.response_code = ResponseCode::NXDomain;
        }
        let answer = MessageResponseBuilder::from_message_request(request);
        let message = answer.build(metadata, &found, &[], &[], &[]);
        response.send_response(message).await.expect("an answer sent")
    }
}

fn read(line: &str) -> Line {
    let (name, rest) = line.split_once(' ').expect("a name and what it has");
    let name = Name::from_ascii(name).expect("a name");
    match rest.trim() {
        "broken" => Line::Broken(name.into()),
        "held" => Line::Held(name.into()),
        rest => {
            let (kind, data) = rest.split_once(' ').expect("a type and its data");
            let kind: RecordType = kind.parse().expect("a type");
            let data = RData::try_from_str(kind, data).expect("data of the type");
            Line::Record(Box::new(Record::from_rdata(name, TTL_SECONDS, data)))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
