//! Tests of the engine as a whole: a call through one shard, and what is left of it.

use super::{ActionsOf, Census, Engine, Input, Settings, Setup};
use crate::routing::{Answer, Reply, Request, Routing};
use crate::shard::{ShardId, ShardMap};
use crate::time::{Instant, ms, secs};
use crate::transport::{Flow, Listener, ListenerId, Listeners, Transport};

struct ToTarget;

impl Routing for ToTarget {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        request.record_route();
        Ok(request.relay_to_target().into())
    }
}

struct Bench {
    engine: Engine<ToTarget>,
    now: Instant,
    out: ActionsOf<ToTarget>,
}

impl Bench {
    fn new() -> Bench {
        let listeners = Listeners::new(vec![Listener {
            transport: Transport::Udp,
            bound: "192.0.2.1:5060".parse().expect("an address"),
            advertised: "192.0.2.1".into(),
        }]);
        let engine = Engine::new(Setup {
            shard: ShardId(0),
            map: ShardMap::new(1, (1, 2)),
            listeners,
            seed: (3, 4),
            settings: Settings::default(),
            routing: ToTarget,
            modules: (),
        });
        Bench { engine, now: Instant::START, out: ActionsOf::<ToTarget>::default() }
    }

    /// Sends a message from an address and returns what the shard sends.
    fn send(&mut self, from: &str, message: &str) -> Vec<(String, String)> {
        let flow = Flow::udp(ListenerId(0), from.parse().expect("an address"));
        let bytes = message.replace('\n', "\r\n");
        self.engine.handle(
            self.now,
            Input::Datagram { flow, bytes: bytes.as_bytes() },
            &mut self.out,
        );
        self.sent()
    }

    fn skip(&mut self, to: Instant) -> Vec<(String, String)> {
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= to) {
            self.now = self.now.max(due) + ms(1);
            self.engine.expire(self.now, &mut self.out);
        }
        self.now = self.now.max(to);
        self.sent()
    }

    fn sent(&mut self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let sent = self
            .out
            .sends
            .iter()
            .map(|(flow, bytes)| (flow.remote.to_string(), text(bytes)))
            .collect();
        self.out.clear();
        sent
    }
}

const INVITE: &str = "INVITE sip:bob@192.0.2.20 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKa1
From: <sip:alice@192.0.2.10>;tag=a
To: <sip:bob@192.0.2.20>
Call-ID: c1
CSeq: 1 INVITE
Contact: <sip:alice@192.0.2.10>
Max-Forwards: 70
Content-Length: 0

";

fn header<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let prefix = format!("{name}: ");
    message.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
}

fn response(request: &str, status: &str, to_tag: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\n");
    for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
        for value in header(request, name) {
            text += &format!("{name}: {value}\n");
        }
    }
    let to = header(request, "To")[0];
    let tag = if to.contains("tag=") { String::new() } else { format!(";tag={to_tag}") };
    text += &format!("To: {to}{tag}\nContact: <sip:bob@192.0.2.20>\nContent-Length: 0\n\n");
    text
}

#[test]
fn a_call_passes_and_leaves_nothing() {
    let mut bench = Bench::new();
    let sent = bench.send("192.0.2.10:5060", INVITE);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent[0].1.starts_with("SIP/2.0 100 Trying"));
    assert_eq!(sent[1].0, "192.0.2.20:5060");
    let invite = sent[1].1.clone();
    assert_eq!(header(&invite, "Via").len(), 2);
    assert_eq!(header(&invite, "Max-Forwards"), ["69"]);
    assert_eq!(header(&invite, "Record-Route"), ["<sip:192.0.2.1;lr;ftag=a>"]);
    let ringing = bench.send("192.0.2.20:5060", &response(&invite, "180 Ringing", "b"));
    assert_eq!(ringing.len(), 1);
    assert_eq!(ringing[0].0, "192.0.2.10:5060");
    let answer = response(&invite, "200 OK", "b");
    let ok = bench.send("192.0.2.20:5060", &answer);
    assert_eq!(header(&ok[0].1, "Via"), ["SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKa1"]);
    // A repeated 2xx is relayed again (RFC 6026), an INVITE repeated after it is absorbed.
    assert_eq!(bench.send("192.0.2.20:5060", &answer).len(), 1);
    assert!(bench.send("192.0.2.10:5060", INVITE).is_empty());
    for method in ["ACK", "BYE"] {
        let request = within_dialog(method);
        let sent = bench.send("192.0.2.10:5060", &request);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].0, "192.0.2.20:5060");
        assert!(header(&sent[0].1, "Route").is_empty());
        if method == "BYE" {
            let bye = response(&sent[0].1, "200 OK", "b");
            assert_eq!(bench.send("192.0.2.20:5060", &bye).len(), 1);
        }
    }
    bench.skip(Instant::START + secs(40));
    assert_eq!(bench.engine.census(), Census::default());
}

fn within_dialog(method: &str) -> String {
    format!(
        "{method} sip:bob@192.0.2.20 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{method}
Route: <sip:192.0.2.1;lr;ftag=a>
From: <sip:alice@192.0.2.10>;tag=a
To: <sip:bob@192.0.2.20>;tag=b
Call-ID: c1
CSeq: 2 {method}
Max-Forwards: 70
Content-Length: 0

"
    )
}

#[test]
fn nobody_answers() {
    let mut bench = Bench::new();
    bench.send("192.0.2.10:5060", INVITE);
    let sent = bench.skip(Instant::START + secs(31));
    let copies = sent.iter().filter(|(to, _)| to == "192.0.2.20:5060").count();
    let timeouts = sent.iter().filter(|(_, m)| m.starts_with("SIP/2.0 408")).count();
    assert!(copies >= 8, "{copies} copies");
    assert!(timeouts >= 1, "no 408 in {sent:?}");
    bench.skip(Instant::START + secs(200));
    assert_eq!(bench.engine.census(), Census::default());
}

#[test]
fn what_is_not_a_whole_response_is_not_relayed() {
    let mut bench = Bench::new();
    let sent = bench.send("192.0.2.10:5060", INVITE);
    let ok = response(&sent[1].1, "200 OK", "b");
    let without = |name: &str, nth: usize| {
        let line = ok.lines().filter(|line| line.starts_with(name)).nth(nth);
        ok.replacen(&format!("{}\n", line.expect("a header")), "", 1)
    };
    // §16.7 step 3: with no Via but ours it is meant for this node.
    for broken in [without("Via", 1), without("Call-ID", 0), without("From", 0), without("To", 0)] {
        assert!(bench.send("192.0.2.20:5060", &broken).is_empty(), "{broken}");
    }
    assert_eq!(bench.send("192.0.2.20:5060", &ok).len(), 1);
}

#[test]
fn two_call_ids_are_one_too_many() {
    let mut bench = Bench::new();
    let sent = bench.send("192.0.2.10:5060", &INVITE.replace("CSeq", "Call-ID: c2\nCSeq"));
    assert_eq!(sent.len(), 1);
    assert!(sent[0].1.starts_with("SIP/2.0 400"), "{sent:?}");
}

#[test]
fn an_ack_does_not_wait_for_an_address_for_ever() {
    let mut bench = Bench::new();
    let ack = within_dialog("ACK").replace("bob@192.0.2.20 SIP", "bob@example.net SIP");
    bench.send("192.0.2.10:5060", &ack);
    bench.skip(Instant::START + secs(400));
    assert_eq!(bench.engine.census(), Census::default());
}
