//! A desk played by hand: callers and callees of one desk talk through a lossless wire.

use super::call::Role;
use super::outbox::Door;
use super::*;
use crate::scenario::builtin::{Choices, Kind};
use std::net::SocketAddr;
use strowger_sip::message::StatusCode;
use strowger_sip::time::{ms, secs};

const CALLER: ([u8; 4], u16) = ([127, 0, 0, 1], 5070);
const CALLEE: ([u8; 4], u16) = ([127, 0, 0, 1], 5080);

pub(super) fn choices(ring: Duration) -> Choices {
    Choices {
        to: "sip:[service]@127.0.0.1:5080".to_owned(),
        domain: "example.com".to_owned(),
        user: "alice".to_owned(),
        password: "secret".to_owned(),
        hold: secs(2),
        ring,
        patience: secs(32),
        tcp: false,
        expires: 300,
    }
}

fn party(scenarios: Vec<(Scenario, u32)>, timings: &mut Vec<String>) -> Party {
    let mut party = Party::default();
    for (scenario, weight) in scenarios {
        let ids = scenario.timings.iter().map(|name| {
            let found = timings.iter().position(|known| known == name);
            found.unwrap_or_else(|| {
                timings.push(name.clone());
                timings.len() - 1
            })
        });
        party.timing_ids.push(ids.collect());
        party.weights.push(weight);
        party.scenarios.push(scenario);
    }
    party
}

fn parties(callers: Vec<(Scenario, u32)>, callees: Vec<(Scenario, u32)>) -> Parties {
    let mut timings = Vec::new();
    Parties {
        callers: party(callers, &mut timings),
        callees: party(callees, &mut timings),
        fields: Vec::new(),
        timings,
        target: SocketAddr::from(CALLEE),
        remote_ip: "127.0.0.1".to_owned(),
        service: b"service".to_vec(),
        user: b"alice".to_vec(),
        password: b"secret".to_vec(),
        hold: ms(0),
        patience: None,
        late_after: ms(20),
        calls_max: 1000,
    }
}

fn builtin(kinds: &[(Kind, u32)], ring: Duration) -> Vec<(Scenario, u32)> {
    let read = |kind: &Kind| kind.scenario(&choices(ring)).expect("a scenario");
    kinds.iter().map(|(kind, weight)| (read(kind), *weight)).collect()
}

/// A desk with a wire between its own doors.
struct Table<'p> {
    desk: Desk<'p>,
    now: Instant,
    head: Head,
    /// Messages whose place in the order of all is in this list are lost.
    lose: Vec<usize>,
    carried: Vec<String>,
}

impl<'p> Table<'p> {
    fn new(parties: &'p Parties) -> Table<'p> {
        let place = |role, port| Place { role, ip: "127.0.0.1".to_owned(), port, transport: "UDP" };
        let places = vec![place(Role::Caller, CALLER.1), place(Role::Callee, CALLEE.1)];
        let run = Run {
            id: 7,
            pid: 42,
            nonce: 1,
            dynamic_ids: Cell::new(0),
            began: 0,
            worker: 0,
            workers: 1,
        };
        let desk = Desk::new(parties, places, run, (1, 2));
        let (now, head) = (Instant::START, Head::default());
        Table { desk, now, head, lose: Vec::new(), carried: Vec::new() }
    }

    fn begin(&mut self, number: u64) {
        self.desk.begin(number, self.now, self.now);
        self.carry();
    }

    /// Delivers until nothing is under way.
    fn carry(&mut self) {
        while !self.desk.out.is_empty() {
            let out = std::mem::take(&mut self.desk.out);
            for (sent, bytes) in out.iter() {
                let to_callee = sent.to == SocketAddr::from(CALLEE);
                let line = String::from_utf8_lossy(bytes).lines().next().unwrap_or("").to_owned();
                self.carried.push(line);
                if self.lose.contains(&self.carried.len()) {
                    continue;
                }
                let (place, from) = if to_callee { (1, CALLER) } else { (0, CALLEE) };
                let door = Door { place, link: 0 };
                let from = SocketAddr::from(from);
                self.desk.hear(&mut self.head, self.now, door, from, bytes);
            }
        }
    }

    fn skip(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.desk.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.desk.expire(self.now);
            self.carry();
        }
        self.now = end;
    }

    fn outcomes(&self) -> [(u64, u64); 2] {
        self.desk.counters.outcomes.map(|one| (one.succeeded, one.failed))
    }

    /// The methods and statuses of all that was carried.
    fn words(&self) -> Vec<&str> {
        let word = |line: &'_ String| -> std::ops::Range<usize> {
            let start = if line.starts_with("SIP/2.0 ") { 8 } else { 0 };
            let end = line[start..].find(' ').map_or(line.len(), |at| start + at);
            start..end
        };
        self.carried.iter().map(|line| &line[word(line)]).collect()
    }
}

#[test]
fn a_call_is_set_up_held_and_ended() {
    let parties = parties(builtin(&[(Kind::Talk, 1)], ms(0)), builtin(&[(Kind::Answer, 1)], ms(0)));
    let mut table = Table::new(&parties);
    table.begin(1);
    assert_eq!(table.words(), ["INVITE", "180", "200", "ACK"]);
    assert_eq!(table.desk.active(Role::Caller), 1);
    table.skip(secs(10));
    assert_eq!(table.words()[4..], ["BYE", "200"]);
    assert_eq!(table.outcomes(), [(1, 0), (1, 0)]);
    assert_eq!(table.desk.counters.retransmissions, 0);
    let counts: Vec<u64> = table.desk.timings.iter().map(|times| times.len()).collect();
    assert_eq!((parties.timings.join(" "), counts), ("pdd setup disconnect".into(), vec![1; 3]));
    assert!(table.desk.wheel.is_empty());
}

#[test]
fn lost_messages_are_sent_again_and_the_call_passes() {
    let parties = parties(builtin(&[(Kind::Talk, 1)], ms(0)), builtin(&[(Kind::Answer, 1)], ms(0)));
    // INVITE, 180 and 200, ACK, BYE, its 200: each is lost once.
    for lost in [vec![1], vec![2], vec![3], vec![2, 3], vec![4], vec![5], vec![6]] {
        let mut table = Table::new(&parties);
        table.lose.clone_from(&lost);
        table.begin(1);
        table.skip(secs(60));
        assert_eq!(table.outcomes(), [(1, 0), (1, 0)], "{lost:?}: {:?}", table.words());
        let Counters { retransmissions, answered_again, .. } = table.desk.counters;
        assert_eq!(retransmissions + answered_again > 0, lost != [2], "{lost:?}");
    }
}

#[test]
fn mixes_of_what_callers_do_pass() {
    let kinds = [(Kind::Talk, 6), (Kind::Reinvite, 2), (Kind::Update, 1), (Kind::Cancel, 1)];
    let callers = builtin(&kinds, ms(300));
    let parties = parties(callers, builtin(&[(Kind::Answer, 1)], ms(300)));
    let mut table = Table::new(&parties);
    for number in 1..=10 {
        table.begin(number);
        table.skip(ms(100));
    }
    table.skip(secs(60));
    assert_eq!(table.outcomes(), [(10, 0), (10, 0)], "{:?}", table.desk.counters.causes);
    let sent = table.desk.counters.sent.named();
    let count = |name: &str| sent.iter().find(|(found, _)| found == name).map_or(0, |(_, n)| *n);
    assert_eq!((count("INVITE"), count("UPDATE"), count("CANCEL"), count("BYE")), (12, 1, 1, 9));
    assert_eq!((count("487"), count("ACK")), (1, 12));
}

#[test]
fn one_of_a_hundred_is_refused_and_the_cause_is_named() {
    let busy = Kind::Refuse(StatusCode::BUSY_HERE);
    let callees = builtin(&[(Kind::Answer, 99), (busy, 1)], ms(0));
    let parties = parties(builtin(&[(Kind::Talk, 1)], ms(0)), callees);
    let mut table = Table::new(&parties);
    (1..=200).for_each(|number| table.begin(number));
    table.skip(secs(60));
    assert_eq!(table.outcomes(), [(198, 2), (200, 0)]);
    let [(cause, 2)] = &table.desk.counters.causes[..] else { panic!("one cause, twice") };
    assert_eq!(cause.what, What::UnexpectedStatus(486));
    let described = steps::describe(&parties, cause);
    assert!(described.starts_with("got 486 while waiting for 200 (talk, "), "{described}");
}

#[test]
fn probes_are_answered_and_use_up_nobodys_turn() {
    let busy = Kind::Refuse(StatusCode::BUSY_HERE);
    let callees = builtin(&[(busy, 1), (Kind::Answer, 1)], ms(0));
    let callers = builtin(&[(Kind::Options, 2), (Kind::Talk, 1)], ms(0));
    let parties = parties(callers, callees);
    let mut table = Table::new(&parties);
    (1..=30).for_each(|number| table.begin(number));
    table.skip(secs(60));
    assert_eq!(table.outcomes(), [(25, 5), (30, 0)], "{:?}", table.desk.counters.causes);
}

#[test]
fn nobody_there_fails_after_64_t1() {
    let parties = parties(builtin(&[(Kind::Talk, 1)], ms(0)), Vec::new());
    let mut table = Table::new(&parties);
    table.begin(1);
    table.skip(secs(31));
    // 0, 0.5, 1.5, 3.5, 7.5, 15.5 s; and 31.5 s, which is still to come.
    assert_eq!((table.words(), table.outcomes()[0]), (vec!["INVITE"; 6], (0, 0)));
    table.skip(secs(2));
    assert_eq!(table.outcomes()[0], (0, 1));
    assert_eq!(table.desk.counters.stray, 7);
    assert!(table.desk.wheel.is_empty());
}

#[test]
fn latency_counts_from_when_the_call_should_have_begun() {
    let parties = parties(builtin(&[(Kind::Talk, 1)], ms(0)), builtin(&[(Kind::Answer, 1)], ms(0)));
    let mut table = Table::new(&parties);
    table.now = Instant::START + ms(700);
    table.desk.begin(1, Instant::START + ms(200), table.now);
    table.carry();
    assert_eq!(table.desk.counters.late_starts, 1);
    let setup = table.desk.timings[1].max();
    assert!((499_000..=501_000).contains(&setup), "{setup}");
}

#[test]
fn what_is_still_under_way_at_the_end_has_failed() {
    let parties = parties(builtin(&[(Kind::Talk, 1)], ms(0)), builtin(&[(Kind::Answer, 1)], ms(0)));
    let mut table = Table::new(&parties);
    table.begin(1);
    table.desk.give_up(table.now);
    assert_eq!(table.outcomes(), [(0, 1), (0, 1)]);
    assert!(table.desk.wheel.is_empty());
}

/// A caller that follows these steps, and its desk.
fn caller(steps: &str) -> Parties {
    let text = format!("<scenario name=\"a\">{steps}</scenario>");
    parties(vec![(Scenario::read("a.xml", &text).expect("a scenario"), 1)], Vec::new())
}

const INVITE: &str = "<send>INVITE sip:b@127.0.0.1:5080 SIP/2.0
    Via: SIP/2.0/UDP 127.0.0.1:5070;branch=[branch]
    From: &lt;sip:a@b&gt;;tag=x
    To: &lt;sip:b@b&gt;
    Call-ID: [call_id]
    CSeq: [cseq] INVITE
    Content-Length: [len]
  </send>";

impl Table<'_> {
    /// What waits to be sent, as text.
    fn written(&mut self) -> Vec<String> {
        let out = std::mem::take(&mut self.desk.out);
        out.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// Hears an answer to a request that was written.
    fn answer(&mut self, request: &str, status: &str, headers: &str) {
        let copied = request.lines().filter(|line| {
            ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
        });
        let copied: Vec<&str> = copied.collect();
        let text = format!(
            "SIP/2.0 {status}\r\n{}\r\nTo: <sip:b@b>;tag=y\r\n{headers}Content-Length: 0\r\n\r\n",
            copied.join("\r\n")
        );
        let from = SocketAddr::from(CALLEE);
        self.desk.hear(&mut self.head, self.now, Door::default(), from, text.as_bytes());
    }
}

#[test]
fn the_route_set_is_kept_from_its_end_and_the_target_is_the_contact() {
    let ack = "<recv response=\"200\" rrs=\"true\"/><send>ACK [next_url] SIP/2.0
        [routes]
        Call-ID: [call_id]
        To: b[peer_tag_param]
        [last_Nothing:]
        X: [last_cseq_number+1] [$none]
      </send>";
    let parties = caller(&format!("{INVITE}{ack}"));
    let mut table = Table::new(&parties);
    table.desk.begin(1, table.now, table.now);
    let invite = table.written().remove(0);
    assert!(invite.contains("CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"), "{invite}");
    let routes = "Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\nRecord-Route: <sip:p0;lr>\r\n\
        Contact: \"B\" <sip:b@c:7>;q=1\r\n";
    table.answer(&invite, "200 OK", routes);
    let expected = "ACK sip:b@c:7 SIP/2.0\r\nRoute: <sip:p0;lr>, <sip:p1;lr>, <sip:p2;lr>\r\n\
        Call-ID: 00000001-00000007@127.0.0.1\r\nTo: b;tag=y\r\nX: 2 \r\n\r\n";
    assert_eq!(table.written(), [expected]);
    assert_eq!(table.outcomes()[0], (1, 0));
}

#[test]
fn whoever_answers_unasked_is_acknowledged_and_hung_up_on() {
    let parties = caller(&format!("{INVITE}<recv response=\"486\"/>"));
    let mut table = Table::new(&parties);
    table.desk.begin(1, table.now, table.now);
    let invite = table.written().remove(0);
    table.answer(&invite, "200 OK", "Contact: <sip:b@c>\r\n");
    let written = table.written();
    let lines: Vec<&str> = written.iter().filter_map(|text| text.lines().next()).collect();
    assert_eq!(lines, ["ACK sip:b@c SIP/2.0", "BYE sip:b@c SIP/2.0"]);
    assert!(written[1].contains("tag=y") && written[1].contains("CSeq: 1001 BYE"), "{written:?}");
    assert_eq!(table.outcomes()[0], (0, 1));
}

#[test]
fn variables_count_compare_and_lead_the_way() {
    let steps = "<nop><action><assign assign_to=\"n\" value=\"0\"/></action></nop>
      <label id=\"again\"/>
      <nop><action>
        <add assign_to=\"n\" value=\"1\"/>
        <assignstr assign_to=\"t\" value=\"n is [$n]\"/>
        <ereg regexp=\"n is ([0-9])[.]\" search_in=\"var\" variable=\"t\" check_it=\"true\"
          assign_to=\"all,digit\"/>
        <test assign_to=\"more\" variable=\"n\" compare=\"less_than\" value=\"3\"/>
        <strcmp assign_to=\"order\" variable=\"digit\" value=\"2\"/>
        <log message=\"[$digit] [$order]\"/>
      </action></nop>
      <send next=\"again\" test=\"more\">OPTIONS sip:b@b SIP/2.0
        X: [$digit]
      </send>
      <nop condexec=\"more\"><action><exec int_cmd=\"stop_now\"/></action></nop>
      <nop><action><exec int_cmd=\"stop_call\"/></action></nop>";
    let parties = caller(steps);
    let mut table = Table::new(&parties);
    table.desk.begin(1, table.now, table.now);
    let sent = table.written();
    let digits: Vec<&str> = sent.iter().filter_map(|text| text.lines().nth(1)).collect();
    assert_eq!(digits, ["X: 1", "X: 2", "X: 3"]);
    let notes = &table.desk.counters.notes;
    let said: Vec<&str> =
        notes.iter().filter_map(|note| note.rsplit_once(": ")).map(|n| n.1).collect();
    assert_eq!(said, ["1 -1.000000", "2 0.000000", "3 1.000000"]);
    assert!(!table.desk.stop_asked);
    assert_eq!(table.desk.counters.causes[0].0.what, What::Stopped);
}

#[test]
fn a_scenario_that_runs_in_circles_ends() {
    let circle = "<label id=\"a\"/><nop next=\"a\"><action><log message=\"x\"/></action></nop>";
    let parties = caller(circle);
    let mut table = Table::new(&parties);
    table.desk.begin(1, table.now, table.now);
    assert_eq!(table.outcomes()[0], (0, 1));
}

#[test]
fn whatever_arrives_nothing_panics_and_nothing_is_left() {
    let kinds = [(Kind::Talk, 1), (Kind::Reinvite, 1), (Kind::Cancel, 1)];
    let callees = builtin(&[(Kind::Answer, 1)], ms(300));
    let parties = parties(builtin(&kinds, ms(300)), callees);
    let mut entropy = Entropy::new((5, 6));
    let mut table = Table::new(&parties);
    for number in 1..=60 {
        table.desk.begin(number, table.now, table.now);
        while !table.desk.out.is_empty() {
            let out = std::mem::take(&mut table.desk.out);
            for (sent, bytes) in out.iter() {
                let mut bytes = bytes.to_vec();
                let length = u64::try_from(bytes.len()).unwrap_or(1);
                let at = |place: u64| usize::try_from(place).unwrap_or(0);
                match entropy.below(6) {
                    0 => bytes.truncate(at(entropy.below(length))),
                    1 => bytes[at(entropy.below(length))] = at(entropy.below(256)) as u8,
                    2 => bytes.rotate_left(at(entropy.below(length))),
                    _ => {}
                }
                let place = u16::from(sent.to == SocketAddr::from(CALLEE));
                let (door, from) = (Door { place, link: 0 }, SocketAddr::from(CALLER));
                table.desk.hear(&mut table.head, table.now, door, from, &bytes);
            }
        }
        table.skip(ms(500));
    }
    table.skip(secs(300));
    table.desk.give_up(table.now);
    let [callers, _] = table.outcomes();
    assert_eq!(callers.0 + callers.1, 60);
    assert!(table.desk.wheel.is_empty());
    assert_eq!((table.desk.active(Role::Caller), table.desk.active(Role::Callee)), (0, 0));
}

#[test]
fn a_dates_form_is_rfc_1123s() {
    assert_eq!(rfc1123(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(rfc1123(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
}
