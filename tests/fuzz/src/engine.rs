//! The engine of a shard, driven by a byte script: what arrives, from whom, and when.
//!
//! Invariants: whatever is sent is a message; tables stay within their bound; after an hour of
//! silence nothing is left.

use strowger_sip::engine::{Input, Settings};
use strowger_sip::limits::Limits;
use strowger_sip::message::{Head, Reply, StatusCode, write_reply};
use strowger_sip::resolver::{Place, Resolution};
use strowger_sip::rig::{Bench, Sent};
use strowger_sip::routing::{self, Answer, Request, Routing};
use strowger_sip::time::{ms, secs};
use strowger_sip::transport::{ListenerId, Transport};

const MOST: usize = 64;

/// Forks what begins a dialog, follows routes otherwise.
struct Policy;

impl Routing for Policy {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, routing::Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        request.record_route();
        match request.request_uri().len() % 3 {
            0 => Ok(request.relay_to_target().into()),
            1 => {
                let relay = request.relay_to_target().by("sip:192.0.2.21");
                Ok(relay.by("sip:[2001:db8::21]").into())
            }
            _ => match request.relay_to_target().await {
                routing::Outcome::Answered(_) => Ok(Answer::Done),
                routing::Outcome::Failed(_) => Ok(request.relay_to("sip:192.0.2.22").into()),
            },
        }
    }
}

/// A script that lets one message arrive, be answered, and time pass.
pub fn script(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let message = &message[..message.len().min(usize::from(u16::MAX))];
    [&[0, length[0], length[1]], message, &[1, 180, 1, 200, 2, 40, 3, 0, 4, 0, 2, 255]].concat()
}

/// Runs the target.
///
/// # Panics
/// When something does not hold.
pub fn run(data: &[u8]) {
    let settings = Settings { transactions_max: MOST, ..Settings::default() };
    let listen = ["192.0.2.1:5060", "[2001:db8::1]:5060"];
    let mut run =
        Run { bench: Bench::alone(&listen, settings, Policy, ()), sent: Vec::new(), data };
    for _ in 0..256 {
        let Some(op) = run.byte() else { break };
        run.event(op);
        run.look();
    }
    run.bench.advance(secs(3600));
    run.look();
    assert!(run.bench.census().is_empty(), "{:?}", run.bench.census());
}

struct Run<'d> {
    bench: Bench<Policy>,
    /// What the shard sent last, the newest at the end.
    sent: Vec<Sent>,
    data: &'d [u8],
}

impl Run<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.data.split_first()?;
        self.data = rest;
        Some(*first)
    }

    fn event(&mut self, op: u8) {
        match op % 6 {
            0 => {
                let length = usize::from(self.byte().unwrap_or(0)) << 8;
                let length = length + usize::from(self.byte().unwrap_or(0));
                let (datagram, rest) = self.data.split_at(length.min(self.data.len()));
                self.data = rest;
                self.receive(op, datagram);
            }
            1 => self.answer(),
            2 => {
                let span = u64::from(self.byte().unwrap_or(1));
                self.bench.advance(if op < 128 { ms(span * 50) } else { secs(span) });
            }
            3 => {
                let index = usize::from(self.byte().unwrap_or(0));
                if let Some(sent) = self.sent.iter().rev().nth(index) {
                    let origin = sent.origin;
                    self.bench.input(Input::Unsent(origin));
                }
            }
            4 => {
                let index = usize::from(self.byte().unwrap_or(0));
                let again = self.sent.iter().rev().nth(index).map(|sent| sent.bytes.clone());
                self.receive(op, &again.unwrap_or_default());
            }
            _ => self.resolve(),
        }
    }

    fn receive(&mut self, op: u8, datagram: &[u8]) {
        let (listener, from) = match op % 4 {
            3 => (1, "[2001:db8::10]:5060"),
            2 => (0, "192.0.2.10:32000"),
            _ => (0, "192.0.2.10:5060"),
        };
        let from = from.parse().expect("an address");
        self.bench.receive(ListenerId(listener), from, datagram);
    }

    /// Somebody answers the last request that was sent.
    fn answer(&mut self) {
        let code = 100 + 3 * u16::from(self.byte().unwrap_or(34));
        let Some(status) = StatusCode::new(code.min(699)) else { return };
        let mut head = Head::default();
        for sent in self.sent.iter().rev() {
            if head.parse(&sent.bytes, &Limits::STREAM).is_ok()
                && head.message(&sent.bytes).is_request()
            {
                let mut out = Vec::new();
                let reply = Reply { to_tag: Some(b"callee"), ..Reply::new(status) };
                write_reply(head.message(&sent.bytes), &reply, &mut out);
                let flow = sent.flow;
                self.bench.input(Input::Datagram { flow, bytes: &out });
                return;
            }
        }
    }

    fn resolve(&mut self) {
        let how = self.byte().unwrap_or(0);
        let address = "192.0.2.30:5060".parse().expect("an address");
        let place = Place { transport: Transport::Udp, address, priority: 0, weight: 0 };
        for question in self.bench.take_questions() {
            let resolution = match how % 4 {
                0 => Resolution::Unknown,
                1 => Resolution::Failed,
                2 => Resolution::Found(vec![place], secs(10)),
                _ => Resolution::Found(vec![place; 3], secs(0)),
            };
            self.bench.input(Input::Resolved(question, resolution));
        }
    }

    /// Looks at what was sent since the last time.
    fn look(&mut self) {
        let most = usize::MAX;
        let limits =
            Limits { vias_max: most, headers_max: most, routes_max: most, ..Limits::STREAM };
        let limits = Limits { uri_bytes_max: most, ..limits };
        let mut head = Head::default();
        for sent in self.bench.take_sent() {
            let read = head.parse(&sent.bytes, &limits);
            assert_eq!(read, Ok(()), "sent {}", sent.bytes.escape_ascii());
            self.sent.push(sent);
        }
        let surplus = self.sent.len().saturating_sub(512);
        self.sent.drain(..surplus);
        let census = self.bench.census();
        assert!(census.server_transactions <= MOST && census.contexts <= MOST, "{census:?}");
        assert!(census.client_transactions <= MOST, "{census:?}");
    }
}
