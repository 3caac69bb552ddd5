//! A bench for the modules' tests: a shard, or several that hear each other.

use strowger_sip::engine::{Input, RowOf, Settings, Setup};
use strowger_sip::rig::{Bench, udp_listener};
use strowger_sip::routing::Routing;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::storage::{Note, Order, Rows};
use strowger_sip::time::Duration;
use strowger_sip::transport::{ListenerId, Listeners};

/// A message that was sent, as text.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) to: String,
    pub(crate) text: String,
}

/// The only shard of a node at 192.0.2.1.
pub(crate) fn alone<R: Routing>(routing: R, modules: R::Modules) -> Bench<R> {
    Bench::alone(&["192.0.2.1:5060", "[2001:db8::1]:5060"], Settings::default(), routing, modules)
}

/// A message arrives, its lines ended by LF; what is sent in answer.
pub(crate) fn send<R: Routing>(bench: &mut Bench<R>, from: &str, message: &str) -> Vec<Sent> {
    let from: std::net::SocketAddr = from.parse().expect("an address");
    let bytes = message.replace('\n', "\r\n");
    let listener = ListenerId(u16::from(from.is_ipv6()));
    bench.receive(listener, from, bytes.as_bytes());
    sent(bench)
}

/// Takes what was sent.
pub(crate) fn sent<R: Routing>(bench: &mut Bench<R>) -> Vec<Sent> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let take = |sent: strowger_sip::rig::Sent| Sent {
        to: sent.flow.remote.to_string(),
        text: text(&sent.bytes),
    };
    bench.take_sent().into_iter().map(take).collect()
}

/// An OPTIONS request; what names it stands in its branch and Call-ID.
pub(crate) fn options(name: &str) -> String {
    request("OPTIONS", name)
}

/// A request for `sip:bob@192.0.2.99`.
pub(crate) fn request(method: &str, name: &str) -> String {
    format!(
        "{method} sip:bob@192.0.2.99 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{name}{method}
From: <sip:alice@192.0.2.10>;tag=a
To: <sip:bob@192.0.2.99>
Call-ID: {name}
CSeq: 1 {method}
Max-Forwards: 70
Content-Length: 0

"
    )
}

/// A response to a message that was sent.
pub(crate) fn response(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\n");
    for line in request.lines() {
        let kept = ["Via: ", "Record-Route: ", "From: ", "Call-ID: ", "CSeq: "];
        if kept.iter().any(|name| line.starts_with(name)) {
            text += &format!("{line}\n");
        } else if line.starts_with("To: ") {
            let tag = if line.contains(";tag=") { "" } else { ";tag=b" };
            text += &format!("{line}{tag}\n");
        }
    }
    text + "Content-Length: 0\n\n"
}

/// Several shards of one node, with their messages for each other carried at once.
pub(crate) struct Node<R: Routing> {
    pub(crate) shards: Vec<Bench<R>>,
}

impl<R: Routing> Node<R> {
    pub(crate) fn new(count: u16, make: impl Fn() -> (R, R::Modules)) -> Node<R> {
        let shard = |index: u16| {
            let (routing, modules) = make();
            Bench::new(Setup {
                shard: ShardId(index),
                map: ShardMap::new(count, (1, 2)),
                listeners: Listeners::new(vec![
                    udp_listener("192.0.2.1:5060"),
                    udp_listener("[2001:db8::1]:5060"),
                ]),
                seed: (3, u64::from(index)),
                settings: Settings::default(),
                routing,
                modules,
            })
        };
        Node { shards: (0..count).map(shard).collect() }
    }

    /// Carries messages between shards until there are none.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut carried = false;
            for index in 0..self.shards.len() {
                for (to, message) in self.shards[index].take_peers() {
                    carried = true;
                    let from = ShardId(u16::try_from(index).expect("a shard"));
                    self.shards[usize::from(to.0)].input(Input::Peer { from, message });
                }
            }
            if !carried {
                return;
            }
        }
    }

    /// The same with orders to storage, each of them answered at once or never.
    pub(crate) fn settle_with(&mut self, mut carry_out: impl FnMut(Order) -> Option<Note>)
    where
        RowOf<R>: Rows,
    {
        loop {
            self.settle();
            let mut answered = false;
            for shard in &mut self.shards {
                for row in shard.take_rows() {
                    let Some((place, order)) = row.into_order() else { continue };
                    let Some(note) = carry_out(order) else { continue };
                    if let Ok(Some(row)) = RowOf::<R>::from_note(place, note) {
                        answered = true;
                        shard.input(Input::Row(row));
                    }
                }
            }
            if !answered {
                return;
            }
        }
    }

    /// A message arrives at one shard.
    pub(crate) fn send(&mut self, shard: usize, from: &str, message: &str) -> Vec<Sent> {
        let sent = send(&mut self.shards[shard], from, message);
        self.settle();
        sent
    }

    /// Lets time pass on every shard, in small steps.
    pub(crate) fn advance(&mut self, span: Duration) {
        let step = Duration::from_millis(50).min(span);
        let mut left = span;
        while left > Duration::ZERO {
            let step = step.min(left);
            self.shards.iter_mut().for_each(|shard| shard.advance(step));
            self.settle();
            left -= step;
        }
    }
}
