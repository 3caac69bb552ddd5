//! Calls with more than one target, made by SIPp through the real binary with two shards.
//!
//! For: one of three forks answers, a dead target is passed over, CANCEL and 200 cross; nothing may
//! be left (RFC 3261 §16.7, §9).
//! Not here: random forks by the thousand (`sim/sim.rs`), plain calls (`sipp.rs`).
//! Needs: Debian's `sip-tester`. The race is played by two peers of our own: a SIPp scenario ends a
//! call in which two messages cross.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::{Proxy, Summary};
use strowger_tests::sipp::{Counts, Sipp};

/// Every transaction has gone 64*T1 = 32 s after its last message; the rest is the machine's.
const EMPTY_AFTER: Duration = Duration::from_secs(40);
/// Kamailio's numbers for the dispatcher's algorithms.
const SERIAL: u16 = 8;
const PARALLEL: u16 = 12;

/// A proxy that sends every call to these ports of 127.0.0.1, the first one first.
fn proxy_to(ports: &[u16], algorithm: u16, more: &str) -> Proxy {
    let mut file = format!("[routing]\ntrunk_set = 1\ntrunk_algorithm = {algorithm}\n{more}");
    for (place, port) in ports.iter().enumerate() {
        let priority = 100 - place;
        file += &format!(
            "[[dispatcher.destination]]\nset = 1\nuri = \"sip:127.0.0.1:{port}\"\n\
             priority = {priority}\n"
        );
    }
    let folder = Folder::new("forks");
    let file = folder.write("strowger.toml", &file);
    Proxy::start(&["-f", file.to_str().expect("a readable path")])
}

fn make(scenario: &str, proxy: &Proxy, rate: u32, calls: u64) -> Counts {
    let (rate, count) = (rate.to_string(), calls.to_string());
    let options = ["-r", &rate, "-m", &count, "-d", "200"];
    Sipp::caller(scenario, proxy.address(), &options).finish(Duration::from_secs(150))
}

fn passed(counts: Counts, calls: u64) {
    println!("{counts:?}");
    assert_eq!((counts.created, counts.successful, counts.failed), (calls, calls, 0), "{counts:?}");
}

/// After the last call nothing is left, and both shards have worked.
fn leaves_nothing(mut proxy: Proxy) -> Summary {
    let last_call = Instant::now();
    std::thread::sleep((last_call + EMPTY_AFTER).saturating_duration_since(Instant::now()));
    let summary = proxy.summary();
    summary.assert_empty();
    summary.assert_nothing_shed();
    assert!(summary.each("out").iter().all(|sent| *sent > 0), "{summary:?}");
    let (status, _) = proxy.stop(PATIENCE);
    assert!(status.success(), "{status}");
    summary
}

#[test]
fn of_three_callees_one_answers_and_the_others_are_cancelled() {
    const CALLS: u64 = 100;
    let mut answers = Sipp::callee("callee.xml");
    let mut ring = [Sipp::callee("callee-cancelled.xml"), Sipp::callee("callee-cancelled.xml")];
    let proxy = proxy_to(&[ring[0].port(), answers.port(), ring[1].port()], PARALLEL, "");
    passed(make("caller-forked.xml", &proxy, 20, CALLS), CALLS);
    passed(answers.stop(PATIENCE), CALLS);
    for callee in &mut ring {
        passed(callee.stop(PATIENCE), CALLS);
    }
    leaves_nothing(proxy);
}

#[test]
fn a_dead_target_is_passed_over() {
    const CALLS: u64 = 60;
    let mut answers = Sipp::callee("callee.xml");
    let dead = ports::free();
    let proxy = proxy_to(&[dead, answers.port()], SERIAL, "[tm]\nfr_timer = \"5s\"\n");
    passed(make("caller.xml", &proxy, 20, CALLS), CALLS);
    passed(answers.stop(PATIENCE), CALLS);
    leaves_nothing(proxy);
}

/// What a peer of the race makes up its mind by: 0 to 6 milliseconds, the same in each run.
fn moment(call: u32) -> Duration {
    Duration::from_millis(u64::from(call.wrapping_mul(2_654_435_761) >> 16) % 7)
}

/// A response to a request, with the lines that every response repeats.
fn respond(request: &str, status: &str, tag: &str) -> String {
    let head = request.split("\r\n\r\n").next().unwrap_or_default();
    let mut response = format!("SIP/2.0 {status}\r\n");
    for line in head.split("\r\n").skip(1) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let repeated = ["via", "record-route", "from", "to", "call-id", "cseq"];
        if repeated.contains(&&*name) {
            let tag = if name == "to" && !line.contains(";tag=") { tag } else { "" };
            response += &format!("{line}{tag}\r\n");
        }
    }
    response + "Content-Length: 0\r\n\r\n"
}

/// Rings, and a moment later picks up, or gives way if the CANCEL was faster, until every call is
/// over.
fn callee(peer: &Peer, calls: usize) {
    let mut ringing: BTreeMap<String, (String, Instant)> = BTreeMap::new();
    let mut answers: BTreeMap<String, String> = BTreeMap::new();
    // By Call-ID: a request that a freeze made the proxy repeat is still one call.
    let mut ended: BTreeSet<String> = BTreeSet::new();
    let mut seen = 0;
    while ended.len() < calls {
        let wake = ringing.values().map(|(_, due)| *due).min();
        let message = peer.receive(wake.unwrap_or_else(|| Instant::now() + PATIENCE));
        let ends = ended.len();
        assert!(message.is_some() || wake.is_some(), "{ends} of {calls} calls in {PATIENCE:?}");
        if let Some(message) = message {
            let call = datagram::header(&message, "Call-ID").expect("a Call-ID").to_owned();
            match message.split(' ').next() {
                Some("INVITE") if let Some(answer) = answers.get(&call) => {
                    if !ended.contains(&call) {
                        peer.send(answer.as_bytes());
                    }
                }
                Some("INVITE") => {
                    peer.send(respond(&message, "180 Ringing", ";tag=callee").as_bytes());
                    let due = Instant::now() + moment(seen);
                    ringing.entry(call).or_insert_with(|| {
                        seen += 1;
                        (message, due)
                    });
                }
                Some("CANCEL") => {
                    peer.send(respond(&message, "200 OK", ";tag=callee").as_bytes());
                    if let Some((invite, _)) = ringing.remove(&call) {
                        let answer = respond(&invite, "487 Request Terminated", ";tag=callee");
                        peer.send(answer.as_bytes());
                        answers.insert(call, answer);
                    }
                }
                Some("ACK") => {
                    if answers.get(&call).and_then(|answer| datagram::status(answer)) == Some(487) {
                        ended.insert(call);
                    }
                }
                Some("BYE") => {
                    peer.send(respond(&message, "200 OK", "").as_bytes());
                    ended.insert(call);
                }
                other => panic!("{other:?}: {message}"),
            }
        }
        let due: Vec<String> = ringing
            .iter()
            .filter(|(_, (_, due))| *due <= Instant::now())
            .map(|(call, _)| call.clone())
            .collect();
        for call in due {
            if let Some((invite, _)) = ringing.remove(&call) {
                let answer = respond(&invite, "200 OK", ";tag=callee");
                peer.send(answer.as_bytes());
                answers.insert(call, answer);
            }
        }
    }
}

/// Waits for a response to this method with a status of at least this.
fn response(peer: &Peer, (method, least): (&str, u16), heard: &mut Vec<String>) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let wanted = heard.iter().position(|message| {
            let cseq = datagram::header(message, "CSeq").unwrap_or_default();
            cseq.ends_with(method) && datagram::status(message).is_some_and(|code| code >= least)
        });
        if let Some(place) = wanted {
            return heard.remove(place);
        }
        heard.push(peer.receive(end).expect("a response in time"));
    }
}

/// One call that is given up a moment after it rings; whether it was answered.
fn give_up(peer: &mut Peer, port: u16, number: u32) -> bool {
    let invite = peer.request("INVITE", "sip:callee@example.net", "Max-Forwards: 70\r\n");
    let call = datagram::header(&invite, "Call-ID").expect("written above").to_owned();
    peer.send(invite.as_bytes());
    let mut heard = Vec::new();
    response(peer, ("INVITE", 180), &mut heard);
    thread::sleep(moment(number.wrapping_add(7)));
    let cancel = invite.replacen("INVITE", "CANCEL", 1).replace(" INVITE\r\n", " CANCEL\r\n");
    peer.send(cancel.as_bytes());
    let cancelled = response(peer, ("CANCEL", 200), &mut heard);
    assert_eq!(datagram::status(&cancelled), Some(200), "{cancelled}");
    let last = response(peer, ("INVITE", 200), &mut heard);
    if datagram::status(&last) == Some(487) {
        peer.acknowledge(&invite, &last);
        return false;
    }
    assert_eq!(datagram::status(&last), Some(200), "{last}");
    let to = datagram::header(&last, "To").expect("a To");
    let route = datagram::header(&last, "Record-Route").expect("a Record-Route");
    let target = format!("sip:callee@127.0.0.1:{port}");
    for method in ["ACK", "BYE"] {
        let within = peer
            .request(method, &target, &format!("Route: {route}\r\n"))
            .replace(&format!("To: <{target}>"), &format!("To: {to}"));
        let own = datagram::header(&within, "Call-ID").expect("written above").to_owned();
        let within = within.replace(&own, &call);
        match method {
            "ACK" => peer.send(within.as_bytes()),
            _ => assert_eq!(datagram::status(&peer.ask(&within, PATIENCE)), Some(200)),
        }
    }
    true
}

#[test]
fn a_cancel_that_crosses_an_answer_ends_the_call_either_way() {
    const CALLS: u32 = 400;
    let port = ports::free();
    let proxy = proxy_to(&[port], SERIAL, "");
    let far = Peer::at(port, proxy.address());
    let callee = thread::spawn(move || callee(&far, CALLS as usize));
    let mut caller = Peer::new(proxy.address());
    let answered = (0..CALLS).filter(|number| give_up(&mut caller, port, *number)).count();
    println!("{answered} of {CALLS} calls were answered");
    assert!((1..CALLS as usize).contains(&answered), "they never crossed: {answered}");
    callee.join().expect("the callee saw every call to its end");
    leaves_nothing(proxy);
}
