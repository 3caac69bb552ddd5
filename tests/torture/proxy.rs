//! A proxy that relays every request to where it says, with peers whose messages are bytes.
//!
//! For: putting one datagram in and looking at all that comes out of the pure engine.
//! Not here: what ought to come out (the tables and tests beside this file).
//! Invariants: host names resolve to one address; time passes only when a test lets it.

use std::net::SocketAddr;
use strowger_sip::engine::{Input, Settings};
use strowger_sip::limits::Limits;
use strowger_sip::message::{Head, HeaderName, Message, Reply, StatusCode, write_reply};
use strowger_sip::resolver::{Place, Resolution};
use strowger_sip::rig::Bench;
use strowger_sip::routing::{self, Answer, Request, Routing};
use strowger_sip::time::secs;
use strowger_sip::transport::{ListenerId, Transport};

/// The proxy's addresses, from blocks that no test message names.
pub(crate) const LISTEN: [&str; 2] = ["198.51.100.1:5060", "[2001:db8:ffff::1]:5060"];
/// Who sends requests.
pub(crate) const CALLER: &str = "192.0.2.77:5060";
/// The same over IPv6.
pub(crate) const CALLER_V6: &str = "[2001:db8::77]:5060";
/// Where every host name leads.
pub(crate) const CALLEE: &str = "203.0.113.20:5060";

/// Routes by Route and Request-URI alone.
pub(crate) struct ToTarget;

impl Routing for ToTarget {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, routing::Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        Ok(request.relay_to_target().into())
    }
}

/// A message on its way, read.
pub(crate) struct Mail {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    head: Head,
}

impl Mail {
    /// # Panics
    /// When it is no message: nothing else may be sent.
    pub(crate) fn read(to: SocketAddr, bytes: Vec<u8>) -> Mail {
        // What the proxy sends may be longer than what it takes: its own Via comes on top.
        let most = usize::MAX;
        let limits =
            Limits { vias_max: most, headers_max: most, uri_bytes_max: most, ..Limits::STREAM };
        let mut head = Head::default();
        let read = head.parse(&bytes, &limits);
        assert_eq!(read, Ok(()), "the proxy sent {}", bytes.escape_ascii());
        Mail { to, bytes, head }
    }

    pub(crate) fn message(&self) -> Message<'_> {
        self.head.message(&self.bytes)
    }

    /// The status; 0 of a request.
    pub(crate) fn status(&self) -> u16 {
        self.message().status().map_or(0, StatusCode::code)
    }
}

/// The proxy under test.
pub(crate) struct Proxy {
    pub(crate) bench: Bench<ToTarget>,
    /// The host names that it had looked up.
    pub(crate) asked: Vec<String>,
}

impl Proxy {
    pub(crate) fn new() -> Proxy {
        Proxy::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Proxy {
        Proxy { bench: Bench::alone(&LISTEN, settings, ToTarget, ()), asked: Vec::new() }
    }

    /// A datagram from the caller; gives what it makes the proxy send at once.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<Mail> {
        self.hear_from(CALLER, bytes)
    }

    /// A datagram from somebody.
    pub(crate) fn hear_from(&mut self, from: &str, bytes: &[u8]) -> Vec<Mail> {
        let from: SocketAddr = from.parse().expect("an address");
        let listener = ListenerId(u16::from(from.is_ipv6()));
        self.bench.receive(listener, from, bytes);
        for question in self.bench.take_questions() {
            self.asked.push(question.host.clone());
            let address = CALLEE.parse().expect("an address");
            let place = Place { transport: Transport::Udp, address, priority: 0, weight: 0 };
            self.bench.input(Input::Resolved(question, Resolution::Found(vec![place], secs(60))));
        }
        self.sent()
    }

    /// The same, without a 100.
    pub(crate) fn reaction(&mut self, bytes: &[u8]) -> Vec<Mail> {
        let mut sent = self.hear(bytes);
        sent.retain(|mail| mail.status() != 100);
        sent
    }

    /// What was sent since it was last asked.
    pub(crate) fn sent(&mut self) -> Vec<Mail> {
        let sent = self.bench.take_sent();
        sent.into_iter().map(|sent| Mail::read(sent.flow.remote, sent.bytes)).collect()
    }

    /// The callee answers a request that it was sent.
    pub(crate) fn answer(&mut self, request: &Mail, status: u16) -> Vec<Mail> {
        let answer = answer_to(request.message(), status);
        self.hear_from(CALLEE, &answer)
    }

    pub(crate) fn count(&self, counter: &str) -> u64 {
        self.bench.metric(counter).unwrap_or_else(|| panic!("no counter {counter}"))
    }

    /// Time passes until nothing can be left.
    ///
    /// # Panics
    /// When something is.
    pub(crate) fn rest(&mut self) {
        self.bench.advance(secs(3600));
        self.bench.take_sent();
        assert!(self.bench.census().is_empty(), "{:?}", self.bench.census());
    }
}

/// What a callee says to a request.
pub(crate) fn answer_to(request: Message<'_>, status: u16) -> Vec<u8> {
    let status = StatusCode::new(status).expect("a status");
    let mut answer = Vec::new();
    write_reply(request, &Reply { to_tag: Some(b"callee"), ..Reply::new(status) }, &mut answer);
    answer
}

/// A value with every run of white space as one blank, as a reader sees it.
pub(crate) fn unfolded(value: &[u8]) -> String {
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    let words = value.split(blank).filter(|word| !word.is_empty());
    words.map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

/// All values of a header, unfolded.
pub(crate) fn values(message: Message<'_>, name: HeaderName) -> Vec<String> {
    message.headers(name).map(|field| unfolded(field.value)).collect()
}

/// A request of this method that is as good as any: lines are added or replaced by name.
pub(crate) fn request(method: &str, lines: &[(&str, &str)], body: &str) -> Vec<u8> {
    let cseq = format!("1 {method}");
    let mut all: Vec<(&str, &str)> = vec![
        ("Via", "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKhostile"),
        ("Max-Forwards", "70"),
        ("From", "<sip:alice@192.0.2.77>;tag=a"),
        ("To", "<sip:bob@203.0.113.20>"),
        ("Call-ID", "hostile@192.0.2.77"),
        ("CSeq", &cseq),
    ];
    all.retain(|(name, _)| !lines.iter().any(|(other, _)| other == name));
    all.extend_from_slice(lines);
    let mut text = format!("{method} sip:bob@203.0.113.20 SIP/2.0\r\n");
    for (name, value) in all {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}
