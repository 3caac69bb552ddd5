//! A steady load on one shard: the same relayed call again and again, with fresh identifiers.
//!
//! For: counting what a call costs (allocations, instructions): the load itself allocates nothing.
//! Not here: what is measured (`tests/alloc.rs`, `benches/`), calls that go wrong (`tests/sim.rs`).
//! Invariants: each message that the engine takes sends as many as the call's course says.

use crate::engine::{ActionsOf, Census, Engine, Input, Settings, Setup};
use crate::limits::Limits;
use crate::message::{Head, HeaderName};
use crate::module::{Command, Fault};
use crate::routing::Routing;
use crate::shard::{ShardId, ShardMap};
use crate::time::{Duration, Instant};
use crate::transport::{Flow, Listener, ListenerId, Listeners, Transport};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const CALLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 5060);
const CALLEE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 20)), 5060);
const BODY: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
    m=audio 49170 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n";

/// Messages that the engine takes in one call.
pub const MESSAGES_PER_CALL: u32 = 6;

/// The texts of the parties, reused from call to call.
#[derive(Default)]
struct Parties {
    number: u32,
    request: Vec<u8>,
    response: Vec<u8>,
    /// The route set that the caller has learnt from the 200.
    route: Vec<u8>,
    head: Head,
}

/// An engine under load, with its clock.
pub struct Load<R: Routing> {
    engine: Engine<R>,
    parties: Parties,
    now: Instant,
    out: ActionsOf<R>,
    /// The last message that the engine sent.
    last: Vec<u8>,
}

impl<R: Routing> Load<R> {
    /// The only shard of a node.
    pub fn new(routing: R, modules: R::Modules) -> Load<R> {
        let listeners = Listeners::new(vec![Listener {
            transport: Transport::Udp,
            bound: SocketAddr::from(([192, 0, 2, 1], 5060)),
            advertised: "192.0.2.1".into(),
        }]);
        let engine = Engine::new(Setup {
            shard: ShardId(0),
            map: ShardMap::new(1, (1, 2)),
            listeners,
            seed: (3, 4),
            settings: Settings { transactions_reserved: 8_192, ..Settings::default() },
            routing,
            modules,
        });
        Load {
            engine,
            parties: Parties::default(),
            now: Instant::START,
            out: ActionsOf::<R>::default(),
            last: Vec::new(),
        }
    }

    /// INVITE, 180, 200, ACK, BYE, 200.
    ///
    /// # Panics
    /// When the engine does not do what the call's course says.
    pub fn call(&mut self) {
        self.establish();
        let mut parties = std::mem::take(&mut self.parties);
        parties.within("BYE", 2);
        self.take(CALLER, &parties.request, 1);
        parties.answer(&self.last, "200 OK");
        self.take(CALLEE, &parties.response, 1);
        self.parties = parties;
    }

    /// The same without BYE and 200: a call that goes on.
    ///
    /// # Panics
    /// When the engine does not do what the call's course says.
    pub fn establish(&mut self) {
        let mut parties = std::mem::take(&mut self.parties);
        parties.number += 1;
        parties.invite();
        self.take(CALLER, &parties.request, 2);
        parties.answer(&self.last, "180 Ringing");
        self.take(CALLEE, &parties.response, 1);
        parties.answer_again("200 OK");
        self.take(CALLEE, &parties.response, 1);
        parties.learn(&self.last);
        parties.within("ACK", 1);
        self.take(CALLER, &parties.request, 1);
        self.parties = parties;
    }

    fn take(&mut self, from: SocketAddr, bytes: &[u8], sends: usize) {
        let flow = Flow::udp(ListenerId(0), from);
        self.engine.handle(self.now, Input::Datagram { flow, bytes }, &mut self.out);
        self.last.clear();
        self.last.extend_from_slice(self.out.sends.last().unwrap_or(&[]));
        assert_eq!(self.out.sends.len(), sends, "after {}", bytes.escape_ascii());
        self.out.clear();
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// When something is sent again: every transaction of a call is complete.
    pub fn skip(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.engine.expire(self.now, &mut self.out);
            assert!(self.out.sends.is_empty(), "something was sent again");
            self.out.clear();
        }
        self.now = end;
    }

    /// A command of the control plane.
    pub fn command(&mut self, command: &Command) -> Option<Result<String, Fault>> {
        self.engine.command(self.now, command, &mut self.out)
    }

    /// One counter by its name; `None` when there is none of this name.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let mut found = None;
        self.engine.each_metric(&mut |each, value| {
            if each == name {
                found = Some(value);
            }
        });
        found
    }

    /// What is alive.
    pub fn census(&self) -> Census {
        self.engine.census()
    }
}

impl Parties {
    fn invite(&mut self) {
        let (number, length) = (self.number, BODY.len());
        self.request.clear();
        let _ = write!(
            self.request,
            "INVITE sip:bob@192.0.2.20 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10;rport;branch=z9hG4bKi{number}\r\n\
             Max-Forwards: 70\r\n\
             From: \"Alice\" <sip:alice@example.com>;tag=a{number}\r\n\
             To: <sip:bob@example.com>\r\n\
             Call-ID: {number}@192.0.2.10\r\n\
             CSeq: 1 INVITE\r\n\
             Contact: <sip:alice@192.0.2.10>\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{BODY}"
        );
    }

    /// The route set is what stands in Record-Route (RFC 3261 §12.1.2).
    fn learn(&mut self, response: &[u8]) {
        self.route.clear();
        self.head.parse(response, &Limits::DATAGRAM).expect("a response");
        let routes = self.head.message(response).header(HeaderName::RecordRoute);
        self.route.extend_from_slice(routes.map_or(&[], |field| field.value));
    }

    fn within(&mut self, method: &str, cseq: u32) {
        let number = self.number;
        self.request.clear();
        let _ = write!(
            self.request,
            "{method} sip:bob@192.0.2.20 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10;rport;branch=z9hG4bK{method}{number}\r\n\
             Max-Forwards: 70\r\n\
             Route: "
        );
        self.request.extend_from_slice(&self.route);
        let _ = write!(
            self.request,
            "\r\n\
             From: \"Alice\" <sip:alice@example.com>;tag=a{number}\r\n\
             To: <sip:bob@example.com>;tag=b{number}\r\n\
             Call-ID: {number}@192.0.2.10\r\n\
             CSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    /// A response to a request as it reached the callee.
    fn answer(&mut self, request: &[u8], status: &str) {
        let number = self.number;
        self.response.clear();
        let _ = write!(self.response, "SIP/2.0 {status}\r\n");
        self.head.parse(request, &Limits::DATAGRAM).expect("a request");
        for field in self.head.message(request).fields() {
            let repeated = [
                HeaderName::Via,
                HeaderName::RecordRoute,
                HeaderName::From,
                HeaderName::CallId,
                HeaderName::CSeq,
            ];
            if repeated.contains(&field.name) {
                self.response.extend_from_slice(request.get(field.line).unwrap_or(&[]));
            } else if field.name == HeaderName::To {
                self.response.extend_from_slice(b"To: ");
                self.response.extend_from_slice(field.value);
                if !field.value.windows(5).any(|part| part == b";tag=") {
                    let _ = write!(self.response, ";tag=b{number}");
                }
                self.response.extend_from_slice(b"\r\n");
            }
        }
        self.response.extend_from_slice(b"Contact: <sip:bob@192.0.2.20>\r\n");
        self.response.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }

    /// The same response with another status line.
    fn answer_again(&mut self, status: &str) {
        let end = self.response.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let mut line = [0u8; 64];
        let mut rest = line.as_mut_slice();
        let _ = write!(rest, "SIP/2.0 {status}\r\n");
        let length = 64 - rest.len();
        self.response.splice(..=end, line.iter().copied().take(length));
    }
}
