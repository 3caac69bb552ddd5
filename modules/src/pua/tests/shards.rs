//! Two shards of one node: calls, reports and NOTIFYs find the owner.

use super::super::{
    Ended, EventId, Notified, Packages, Pua, Publication, Report, Row, SendPublish, SendSubscribe,
    Settings, Source,
};
use super::rig::{Got, SERVER, settings, watch};
use std::cell::RefCell;
use std::rc::Rc;
use strowger_sip::engine::{Input, Setup};
use strowger_sip::message::MethodKind;
use strowger_sip::module::{Either, Event, Host};
use strowger_sip::rig::{Bench, udp_listener};
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::{Duration, secs};
use strowger_sip::transport::{ListenerId, Listeners};

type Log = Rc<RefCell<Vec<String>>>;

/// Publishes for `user` when an INFO for `user` comes, and follows when an OPTIONS does.
struct House(Log);

impl Routing for House {
    type Modules = (Pua,);
    const LISTENS: bool = true;

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let user = request.target().and_then(|uri| uri.user);
        let user = String::from_utf8_lossy(user.unwrap_or_default()).into_owned();
        let presentity = format!("sip:{user}@192.0.2.20:7072");
        request.module(|_: &mut Pua, host, _| {
            if request.method() == MethodKind::Info {
                return host.publish(SendPublish(Publication {
                    body: Some(user.as_bytes().to_vec()),
                    cookie: user.trim_start_matches('u').parse().ok(),
                    ..Publication::new(Source::Routing, EventId::REG, &presentity, "x")
                }));
            }
            let mut call = watch();
            call.presentity = presentity;
            host.publish(SendSubscribe(call));
        });
        Err(Reply::new(200))
    }

    fn event(&self, event: &Event) {
        if let Some(report) = event.of::<Report>() {
            let is_done = matches!(report.ended, Ended::Done { .. });
            self.0.borrow_mut().push(format!("{} {is_done}", report.cookie));
        }
        if let Some(notified) = event.of::<Rc<Notified>>() {
            self.0.borrow_mut().push(format!("notified of {}", notified.subscription.presentity));
        }
    }
}

struct Node {
    shards: Vec<Bench<House>>,
    logs: Vec<Log>,
    map: ShardMap,
    sent: Vec<(usize, Got)>,
    rows: Vec<super::super::PuaRow>,
    number: u32,
}

impl Node {
    fn new(key: (u64, u64), settings: &dyn Fn() -> Settings) -> Node {
        let map = ShardMap::new(2, key);
        let logs = vec![Log::default(), Log::default()];
        let shard = |shard: u16| {
            let log = logs.get(usize::from(shard)).cloned().unwrap_or_default();
            let date = Duration::from_secs(1_700_000_000);
            Bench::new(Setup {
                shard: ShardId(shard),
                map,
                listeners: Listeners::new(vec![udp_listener("192.0.2.1:5060")]),
                seed: (key.0, u64::from(shard)),
                settings: strowger_sip::engine::Settings { unix_start: date, ..Default::default() },
                routing: House(log),
                modules: (Pua::new(settings(), Packages::standard(), true),),
            })
        };
        let shards = vec![shard(0), shard(1)];
        Node { shards, logs, map, sent: Vec::new(), rows: Vec::new(), number: 0 }
    }

    /// Letters go to and fro until there are none.
    fn gather(&mut self) {
        let mut is_busy = true;
        while is_busy {
            is_busy = false;
            for from in 0..2 {
                for (to, message) in self.shards[from].take_peers() {
                    is_busy = true;
                    let from = ShardId(from as u16);
                    self.shards[usize::from(to.0)].input(Input::Peer { from, message });
                }
                for sent in self.shards[from].take_sent() {
                    let text = String::from_utf8(sent.bytes).expect("text");
                    self.sent.push((from, Got { text, at: sent.at }));
                }
                for row in self.shards[from].take_rows() {
                    if let Either::Right(Either::Left(Row::Put(row, ..))) = row {
                        self.rows.push(*row);
                    }
                }
            }
        }
    }

    fn receive(&mut self, text: &str, at: Option<usize>) {
        let call_id = text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).expect("one");
        let home = usize::from(self.map.home(call_id.as_bytes()).0);
        let from = SERVER.parse().expect("an address");
        let shard = at.unwrap_or(home);
        self.shards[shard].receive(ListenerId(0), from, text.as_bytes());
        self.gather();
    }

    /// A request that makes the routing of this shard do something.
    fn poke(&mut self, shard: usize, method: &str, user: &str) {
        self.number += 1;
        let text = format!(
            "{method} sip:{user}@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {SERVER};branch=z9hG4bK-p-{n}\r\nFrom: <sip:x@h>;tag=1\r\n\
             To: <sip:y@h>\r\nCall-ID: poke-{n}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            n = self.number
        );
        self.receive(&text, Some(shard));
    }

    /// The requests that were sent since the last call, each with its shard.
    fn requests(&mut self) -> Vec<(usize, Got)> {
        let mut list = std::mem::take(&mut self.sent);
        list.retain(|(_, got)| !got.text.starts_with("SIP/2.0 "));
        list
    }

    fn answer(&mut self, to: &Got, more: &str) {
        let take = |name: &str| to.header(name).unwrap_or_default().to_owned();
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=server\r\nCall-ID: {}\r\n\
             CSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
            take("Via"),
            take("From"),
            take("To"),
            take("Call-ID"),
            take("CSeq"),
        );
        self.receive(&text, None);
    }

    fn notify(&mut self, of: &Got, cseq: u32) -> String {
        self.number += 1;
        let (call_id, own) = (of.header("Call-ID").expect("one"), of.tag("From").expect("one"));
        let text = format!(
            "NOTIFY sip:reginfo@192.0.2.1:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {SERVER};branch=z9hG4bK-n-{}\r\n\
             From: <sip:b@192.0.2.20>;tag=server\r\nTo: <sip:w@192.0.2.1>;tag={own}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} NOTIFY\r\nMax-Forwards: 70\r\nEvent: reg\r\n\
             Subscription-State: active;expires=600\r\n\
             Contact: <sip:pres@192.0.2.20:7072>\r\nContent-Length: 0\r\n\r\n",
            self.number
        );
        self.receive(&text, None);
        let (_, answer) = self.sent.pop().expect("an answer");
        answer.line().to_owned()
    }
}

#[test]
fn calls_of_any_shard_reach_the_owner_and_answers_come_home() {
    let mut node = Node::new((1, 2), &settings);
    let mut owners = [0, 0];
    for number in 0..20 {
        let shard = number % 2;
        node.poke(shard, "INFO", &format!("u{number}"));
        let requests = node.requests();
        let [(owner, got)] = requests.as_slice() else { panic!("{requests:#?}") };
        owners[*owner] += 1;
        let home = node.map.home(got.header("Call-ID").expect("one").as_bytes());
        assert_eq!(usize::from(home.0), *owner, "its answer comes home");
        let got = got.clone();
        node.answer(&got, "SIP-ETag: e\r\nExpires: 600\r\n");
        // The report is heard where the call was made.
        let told = node.logs[shard].borrow_mut().pop();
        assert_eq!(told, Some(format!("{number} true")));
        assert!(node.logs.iter().all(|log| log.borrow().is_empty()));
    }
    assert!(owners.iter().all(|count| *count > 0), "{owners:?}");
    // The same state from the other shard is the same record.
    node.poke(1, "INFO", "u0");
    assert!(node.requests().is_empty());
}

#[test]
fn a_dialog_from_before_a_restart_is_found_wherever_its_call_id_is_at_home_now() {
    let often = || Settings { update_period: Some(secs(6)), ..settings() };
    let mut node = Node::new((1, 2), &often);
    let mut subscribed = Vec::new();
    for number in 0..16 {
        node.poke(0, "OPTIONS", &format!("u{number}"));
        let (_, got) = node.requests().pop().expect("a SUBSCRIBE");
        let more = "Expires: 600\r\nContact: <sip:pres@192.0.2.20:7072>\r\n";
        node.answer(&got, more);
        assert_eq!(node.notify(&got, 1), "SIP/2.0 200 OK");
        subscribed.push(got);
    }
    for shard in &mut node.shards {
        shard.advance(secs(7));
    }
    node.gather();
    let rows = std::mem::take(&mut node.rows);
    assert_eq!(rows.len(), subscribed.len());
    // Another start has another map of shards.
    let mut node = Node::new((3, 4), &often);
    for row in rows {
        let row = std::sync::Arc::new(row);
        for shard in &mut node.shards {
            shard.input(Input::Row(Either::Right(Either::Left(Row::Loaded(row.clone())))));
        }
    }
    node.gather();
    let mut moved = 0;
    for (number, got) in subscribed.iter().enumerate() {
        assert_eq!(node.notify(got, 2), "SIP/2.0 200 OK");
        let home = node.map.home(got.header("Call-ID").expect("one").as_bytes());
        let heard: Vec<usize> =
            (0..2).filter(|shard| !node.logs[*shard].borrow().is_empty()).collect();
        assert_eq!(heard.len(), 1, "{number}: once, at its owner");
        moved += usize::from(heard[0] != usize::from(home.0));
        node.logs.iter().for_each(|log| log.borrow_mut().clear());
    }
    assert!(moved > 0, "some were at home elsewhere");
}
