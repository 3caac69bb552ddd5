//! Tests of modules as a tuple: order of hooks, and that each module's own types find their way
//! home.

use super::{Arrived, Command, Departing, Fault, Heard, Host, Module, Outgoing, Verdict};
use crate::engine::slots::ContextId;
use crate::engine::{ActionsOf, Engine, Input, Settings, Setup};
use crate::message::{Edits, MethodKind};
use crate::routing::{Answer, LocalRequest, Reply, Request, Routing};
use crate::shard::{ShardId, ShardMap};
use crate::time::{Instant, secs};
use crate::transport::{Flow, Listener, ListenerId, Listeners, Transport};
use std::task::Poll;

/// Counts what it sees; `NAMED` tells two instances apart.
#[derive(Default)]
struct Counting<const NAMED: u8> {
    log: Vec<String>,
    waiting: Option<ContextId>,
}

#[derive(Debug, Default)]
struct Seen(u32);

impl<const NAMED: u8> Module for Counting<NAMED> {
    const NAME: &'static str = "counting";
    type Attached = Seen;
    type Peer = u8;
    type Timer = u8;
    type Token = u8;
    type Row = u8;

    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        self.log.push(format!("{NAMED} request"));
        if let Some(transaction) = request.transaction
            && let Some(seen) = host.attached(transaction)
        {
            seen.0 += u32::from(NAMED);
        }
        match request.incoming.message().method().map(|method| method.kind()) {
            Some(MethodKind::Subscribe) if NAMED == 1 => Verdict::Reply(Reply::new(489)),
            Some(MethodKind::Publish) if NAMED == 2 => {
                if let Some(transaction) = request.transaction {
                    host.reply(transaction, Reply::new(200));
                }
                Verdict::Taken
            }
            Some(_) | None => Verdict::Continue,
        }
    }

    fn forward(&mut self, _: &mut impl Host<Self>, _: &Arrived<'_>, out: &mut Outgoing<'_>) {
        out.record_route_params.extend_from_slice(format!(";m{NAMED}=x").as_bytes());
        out.edits.append(b"X-Module", &[b'0' + NAMED]).expect("an edit");
    }

    fn response(&mut self, _: &mut impl Host<Self>, response: &Departing<'_>, edits: &mut Edits) {
        self.log.push(format!("{NAMED} response {}", response.status.code()));
        edits.append(b"X-Module", &[b'0' + NAMED]).expect("an edit");
    }

    fn transaction_end(&mut self, _: &mut impl Host<Self>, attached: Seen) {
        self.log.push(format!("{NAMED} end {}", attached.0));
    }

    fn timer(&mut self, host: &mut impl Host<Self>, timer: u8) {
        self.log.push(format!("{NAMED} timer {timer}"));
        host.tell(ShardId(0), timer + 1);
        host.tell(ShardId(1), timer + 2);
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: u8) {
        self.log.push(format!("{NAMED} peer {} {message}", from.0));
        if let Some(context) = self.waiting.take() {
            host.wake(context);
        }
    }

    fn answered(&mut self, _: &mut impl Host<Self>, token: u8, answer: Heard<'_>) {
        let status = match answer {
            Heard::Response(message) => message.status().map_or(0, |status| status.code()),
            Heard::Timeout => 408,
            Heard::Transport => 503,
        };
        self.log.push(format!("{NAMED} answered {token} {status}"));
    }

    fn row(&mut self, host: &mut impl Host<Self>, row: u8) {
        self.log.push(format!("{NAMED} row {row}"));
        host.store(row + 1);
    }

    fn command(
        &mut self,
        _: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        (command.name == format!("log.{NAMED}")).then(|| Ok(self.log.join("\n")))
    }
}

struct Two;

impl Routing for Two {
    type Modules = (Counting<1>, Counting<2>);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if request.method() == MethodKind::Message {
            // The module answers when its timer has told it so.
            let deadline = request.now() + secs(1);
            request.module::<Counting<2>, _, _>(|_, host, _| host.arm(deadline, 7));
            let told = request
                .module_answer::<Counting<2>, _, _>(|module, host, ids| {
                    if module.log.iter().any(|line| line == "2 peer 0 8") {
                        return Poll::Ready(true);
                    }
                    module.waiting = Some(ids.context);
                    host.wake(ids.context);
                    Poll::Pending
                })
                .await;
            assert!(told);
            return Err(Reply::new(202));
        }
        if request.method() == MethodKind::Info {
            let check = LocalRequest::new("OPTIONS", "sip:192.0.2.30").header("X", "y");
            let completion = request.send(&check).await;
            return Err(Reply::new(completion.status().code()));
        }
        request.record_route();
        Ok(request.relay_to_target().into())
    }
}

struct Bench {
    engine: Engine<Two>,
    out: ActionsOf<Two>,
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
            map: ShardMap::new(2, (1, 2)),
            listeners,
            seed: (3, 4),
            settings: Settings::default(),
            routing: Two,
            modules: (Counting::default(), Counting::default()),
        });
        Bench { engine, out: ActionsOf::<Two>::default() }
    }

    fn send(&mut self, method: &str) -> Vec<String> {
        let text = format!(
            "{method} sip:bob@192.0.2.20 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;\
             branch=z9hG4bK{method}\r\nFrom: <sip:a@b>;tag=a\r\nTo: <sip:b@b>\r\nCall-ID: c\r\n\
             CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        let flow = Flow::udp(ListenerId(0), "192.0.2.10:5060".parse().expect("an address"));
        let input = Input::Datagram { flow, bytes: text.as_bytes() };
        self.engine.handle(Instant::START, input, &mut self.out);
        self.sent()
    }

    fn sent(&mut self) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let sent = self.out.sends.iter().map(|(_, bytes)| text(bytes)).collect();
        self.out.sends.clear();
        sent
    }

    fn log(&mut self, named: u8) -> String {
        let command = Command { name: format!("log.{named}"), arguments: Vec::new() };
        let answer = self.engine.command(Instant::START + secs(100), &command, &mut self.out);
        answer.expect("a known command").expect("an answer")
    }
}

#[test]
fn hooks_come_in_the_tuples_order() {
    let mut bench = Bench::new();
    let sent = bench.send("INVITE");
    let invite = &sent[1];
    assert!(invite.contains("<sip:192.0.2.1;lr;ftag=a;m1=x;m2=x>"), "{invite}");
    let (one, two) = (invite.find("X-Module: 1"), invite.find("X-Module: 2"));
    assert!(one.is_some() && one < two);
}

#[test]
fn a_verdict_spares_the_later_modules_and_the_routing() {
    let mut bench = Bench::new();
    let sent = bench.send("SUBSCRIBE");
    assert!(sent[0].starts_with("SIP/2.0 489"), "{sent:?}");
    assert!(sent[0].contains("X-Module: 1\r\nX-Module: 2\r\n"));
    assert_eq!(bench.log(1), "1 request\n1 response 489");
    assert_eq!(bench.log(2), "2 response 489");
}

#[test]
fn a_taken_request_is_answered_by_its_module() {
    let mut bench = Bench::new();
    let sent = bench.send("PUBLISH");
    assert!(sent[0].starts_with("SIP/2.0 200"), "{sent:?}");
    bench.engine.expire(Instant::START + secs(40), &mut bench.out);
    assert!(bench.engine.census().is_empty());
    assert!(bench.log(2).ends_with("2 end 2"), "{}", bench.log(2));
}

#[test]
fn a_routing_waits_for_a_modules_timer_and_messages() {
    let mut bench = Bench::new();
    assert!(bench.send("MESSAGE").is_empty());
    assert_eq!(bench.engine.census().waiting_routings, 1);
    bench.engine.expire(Instant::START + secs(2), &mut bench.out);
    let sent = bench.sent();
    assert!(sent[0].starts_with("SIP/2.0 202"), "{sent:?} {}", bench.log(2));
    let peers = std::mem::take(&mut bench.out.peers);
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].0, ShardId(1));
    for (_, message) in peers {
        let input = Input::Peer { from: ShardId(1), message };
        bench.engine.handle(Instant::START + secs(2), input, &mut bench.out);
    }
    assert!(bench.log(2).contains("2 timer 7\n2 peer 0 8"));
    assert!(bench.log(2).ends_with("2 peer 1 9"));
    assert!(!bench.log(1).contains("peer"));
}

#[test]
fn a_routing_sends_a_request_of_its_own() {
    let mut bench = Bench::new();
    let sent = bench.send("INFO");
    assert!(sent[0].starts_with("OPTIONS sip:192.0.2.30 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;"));
    assert!(sent[0].contains("\r\nX: y\r\n"), "{sent:?}");
    let header = |name: &str| {
        let line = sent[0].lines().find(|line| line.starts_with(name));
        line.expect("a header").to_owned()
    };
    let answer = format!(
        "SIP/2.0 299 Fine\r\n{}\r\n{}\r\n{};tag=x\r\n{}\r\n{}\r\nContent-Length: 0\r\n\r\n",
        header("Via"),
        header("From"),
        header("To"),
        header("Call-ID"),
        header("CSeq")
    );
    let flow = Flow::udp(ListenerId(0), "192.0.2.30:5060".parse().expect("an address"));
    let input = Input::Datagram { flow, bytes: answer.as_bytes() };
    bench.engine.handle(Instant::START, input, &mut bench.out);
    assert!(bench.sent()[0].starts_with("SIP/2.0 299"));
}

#[test]
fn a_request_of_our_own_that_nobody_answers_counts_as_408() {
    let mut bench = Bench::new();
    bench.send("INFO");
    bench.engine.expire(Instant::START + secs(31), &mut bench.out);
    let sent = bench.sent();
    assert!(sent.iter().any(|message| message.starts_with("SIP/2.0 408")), "{sent:?}");
}

#[test]
fn an_unknown_command_is_nobodys() {
    let mut bench = Bench::new();
    let command = Command { name: "dlg.list".into(), arguments: Vec::new() };
    assert!(bench.engine.command(Instant::START, &command, &mut bench.out).is_none());
}
