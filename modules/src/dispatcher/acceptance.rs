//! Acceptance example 21 of the base: a destination fails, its set goes on without it, a probe
//! brings it back.
//!
//! For: the example as it is written, step by step, on one shard in virtual time.

use super::{Algorithm, Changed, Dispatcher, DispatcherRequest, ProbingMode, Settings, parse_list};
use crate::bench::{Sent, alone, request, response, send, sent};
use std::cell::RefCell;
use std::rc::Rc;
use strowger_sip::module::{Command, Event, Host, Module};
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::time::secs;

/// Set 1, by priority.
struct Serial;

impl Routing for Serial {
    type Modules = (Dispatcher, Ear);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        Ok(request.dispatcher().relay(1, Algorithm::Serial).await?.into())
    }
}

/// Hears of destinations.
#[derive(Default)]
struct Ear(Rc<RefCell<Vec<String>>>);

impl Module for Ear {
    const NAME: &'static str = "ear";
    const LISTENS: bool = true;
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn event(&mut self, _: &mut impl Host<Self>, event: &Event) {
        if let Some(Changed { set, uri, event }) = event.of() {
            self.0.borrow_mut().push(format!("{event:?} {} {uri}", set.0));
        }
    }
}

const X: &str = "192.0.2.20:5060";
const Y: &str = "192.0.2.21:5060";

struct Rig {
    bench: Bench<Serial>,
    heard: Rc<RefCell<Vec<String>>>,
}

impl Rig {
    fn new(threshold: u32) -> Rig {
        let list = parse_list("1 sip:192.0.2.20 0 10\n1 sip:192.0.2.21 0 5\n").expect("a list");
        let destinations = list.into_iter().map(|(_, row)| row).collect();
        let mut settings = Settings { destinations, ..Settings::default() };
        settings.ping.interval = Some(secs(60));
        settings.ping.mode = ProbingMode::Flagged;
        settings.ping.thresholds.failures = threshold;
        let ear = Ear::default();
        let heard = Rc::clone(&ear.0);
        Rig { bench: alone(Serial, (Dispatcher::new(settings), ear)), heard }
    }

    /// Both states, X first.
    fn states(&mut self) -> Vec<String> {
        let list = Command { name: "dispatcher.list".to_owned(), arguments: Vec::new() };
        let text = self.bench.command(&list).expect("known").expect("a list");
        let after = |part: &str| part.split('"').next().unwrap_or("").to_owned();
        text.split("\"FLAGS\":\"").skip(1).map(after).collect()
    }

    /// A call is made; X stays silent until it is given up, Y answers.
    fn call_past_x(&mut self, name: &str) {
        let first = send(&mut self.bench, "192.0.2.10:5060", &request("INVITE", name));
        assert_eq!(invites(&first), [X], "X has the higher priority");
        self.bench.advance(secs(33));
        let second = sent(&mut self.bench);
        assert_eq!(invites(&second).last(), Some(&Y), "Y is next");
        let invite = second.iter().rfind(|sent| sent.to == Y).expect("an INVITE for Y");
        let relayed = send(&mut self.bench, Y, &response(&invite.text, "200 OK"));
        assert!(relayed.iter().any(|sent| sent.text.starts_with("SIP/2.0 200 ")));
    }

    /// Waits for a probe of X and answers it at once.
    fn answer_probe(&mut self) {
        for _ in 0..120 {
            self.bench.advance(secs(1));
            let round = sent(&mut self.bench);
            let probe = round.iter().find(|sent| sent.text.starts_with("OPTIONS "));
            let Some(probe) = probe else { continue };
            assert_eq!(probe.to, X, "Y is not flagged");
            send(&mut self.bench, X, &response(&probe.text, "200 OK"));
            return;
        }
        panic!("no probe within two minutes");
    }
}

fn invites(sent: &[Sent]) -> Vec<&str> {
    let invites = sent.iter().filter(|sent| sent.text.starts_with("INVITE "));
    invites.map(|sent| sent.to.as_str()).collect()
}

#[test]
fn acceptance_25_21_a_silent_destination_goes_down_at_once_and_comes_up_by_its_probe() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.states(), ["AX", "AX"]);
    rig.call_past_x("1");
    assert_eq!(rig.states(), ["IP", "AX"]);
    rig.answer_probe();
    assert_eq!(rig.states(), ["AP", "AX"]);
    assert_eq!(*rig.heard.borrow(), ["Down 1 sip:192.0.2.20", "Up 1 sip:192.0.2.20"]);
}

#[test]
fn acceptance_25_21_with_threshold_two_it_is_tried_first() {
    let mut rig = Rig::new(2);
    rig.call_past_x("1");
    assert_eq!(rig.states(), ["TP", "AX"]);
    assert!(rig.heard.borrow().is_empty());
    rig.call_past_x("2");
    assert_eq!(rig.states(), ["IP", "AX"]);
    rig.answer_probe();
    assert_eq!(rig.states(), ["AP", "AX"]);
    assert_eq!(*rig.heard.borrow(), ["Down 1 sip:192.0.2.20", "Up 1 sip:192.0.2.20"]);
}
