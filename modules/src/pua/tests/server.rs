//! A presence server behind a bad network, in virtual time.
//!
//! For: losing, doubling and delaying whatever passes, while the server keeps its own books.
//! Invariants: the server is right by RFC 3903 and RFC 6665, whatever reaches it; the same seed
//! replays the same run.

use super::rig::{Got, Rig, SERVER};
use std::collections::{BTreeMap, BTreeSet};
use strowger_sip::entropy::Entropy;
use strowger_sip::time::{Duration, Instant, ms, secs};

/// What the network does, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) delay_most: Duration,
}

impl Weather {
    pub(super) const CALM: Weather = Weather { lost: 0, doubled: 0, delay_most: ms(20) };
    pub(super) const STORM: Weather = Weather { lost: 20, doubled: 10, delay_most: ms(800) };
}

/// A publication that the server holds.
#[derive(Clone, Debug)]
struct Presentity {
    uri: String,
    body: String,
    until: Instant,
}

/// A subscription that the server holds.
#[derive(Clone, Debug)]
struct Watch {
    uri: String,
    own: String,
    cseq: u32,
    until: Instant,
}

/// A NOTIFY that is not answered yet.
#[derive(Clone, Debug)]
struct Pending {
    text: String,
    call_id: String,
    tries: u32,
}

enum Packet {
    ToServer(String),
    ToNode(String),
    /// A NOTIFY is sent again.
    Again(u32),
}

pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) weather: Weather,
    pub(super) entropy: Entropy,
    /// The server asks for patience, in percent.
    pub(super) busy: u64,
    /// How long the server thinks about a PUBLISH.
    pub(super) slow: Duration,
    packets: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    presentities: BTreeMap<String, Presentity>,
    watches: BTreeMap<String, Watch>,
    /// What was answered, and when.
    answered: BTreeMap<String, (Instant, String)>,
    notifies: BTreeMap<u32, Pending>,
    /// Documents that the server has taken, in order.
    pub(super) taken: u64,
    pub(super) most_in_flight: u64,
}

impl World {
    pub(super) fn new(rig: Rig, seed: u64) -> World {
        World {
            rig,
            weather: Weather::STORM,
            entropy: Entropy::new((seed, 7)),
            busy: 5,
            slow: Duration::ZERO,
            packets: BTreeMap::new(),
            serial: 0,
            presentities: BTreeMap::new(),
            watches: BTreeMap::new(),
            answered: BTreeMap::new(),
            notifies: BTreeMap::new(),
            taken: 0,
            most_in_flight: 0,
        }
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.entropy.below(100) < percent
    }

    fn now(&self) -> Instant {
        self.rig.bench.now()
    }

    fn pass(&mut self, packet: fn(String) -> Packet, text: &str, extra: Duration) {
        let copies = if self.percent(self.weather.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            if self.percent(self.weather.lost) {
                continue;
            }
            let most = self.weather.delay_most.as_millis() as u64;
            let delay = ms(1 + self.entropy.below(most)) + extra;
            self.serial += 1;
            let at = self.now() + delay;
            self.packets.insert((at, self.serial), packet(text.to_owned()));
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now() + span;
        loop {
            self.collect();
            let next = self.packets.first_key_value().map(|((at, _), _)| *at);
            let step = next.unwrap_or(end).min(end).min(self.now() + ms(100));
            if step > self.now() {
                let by = step.since(self.now());
                self.rig.advance(by);
                continue;
            }
            if self.now() >= end {
                return;
            }
            if let Some((_, packet)) = self.packets.pop_first() {
                match packet {
                    Packet::ToServer(text) => self.serve(&text),
                    Packet::ToNode(text) => self.rig.send(&text),
                    Packet::Again(number) => self.again(number),
                }
            }
        }
    }

    fn collect(&mut self) {
        for got in self.rig.datagrams() {
            self.pass(Packet::ToServer, &got.text, Duration::ZERO);
        }
        self.most_in_flight = self.most_in_flight.max(self.rig.metric("pua_in_flight"));
    }

    /// The node dies and starts again; what was on its way to it arrives all the same.
    pub(super) fn restart(&mut self, settings: super::super::Settings) {
        self.collect();
        let now = self.now();
        self.rig.restart(settings);
        // The clock of the bench begins anew.
        self.shift(now);
    }

    fn shift(&mut self, by: Instant) {
        let back = |at: Instant| Instant::START + at.since(by);
        let packets = std::mem::take(&mut self.packets);
        self.packets = packets.into_iter().map(|((at, n), it)| ((back(at), n), it)).collect();
        self.presentities.values_mut().for_each(|it| it.until = back(it.until));
        self.answered.values_mut().for_each(|(ready, _)| *ready = back(*ready));
        self.watches.values_mut().for_each(|it| it.until = back(it.until));
    }

    fn serve(&mut self, text: &str) {
        let got = Got { text: text.to_owned(), at: self.now() };
        let now = self.now();
        self.presentities.retain(|_, it| it.until > now);
        self.watches.retain(|_, it| it.until > now);
        if text.starts_with("SIP/2.0 ") {
            return self.hear(&got);
        }
        let via = got.header("Via").expect("Via").to_owned();
        if let Some((ready, answer)) = self.answered.get(&via).cloned() {
            if ready > now {
                return;
            }
            return self.pass(Packet::ToNode, &answer, Duration::ZERO);
        }
        let (answer, notify) = if self.percent(self.busy) {
            ((503, String::new()), None)
        } else if text.starts_with("PUBLISH ") {
            (self.publish(&got), None)
        } else {
            self.subscribe(&got)
        };
        let answer = respond(&got, answer.0, &answer.1);
        let slow = self.slow;
        self.answered.insert(via, (now + slow, answer.clone()));
        self.pass(Packet::ToNode, &answer, slow);
        if let Some((call_id, state)) = notify {
            self.notify(&call_id, &state);
        }
    }

    fn grant(&mut self, asked: u32) -> u32 {
        let most = 60 + self.entropy.below(60) as u32;
        asked.min(most)
    }

    fn publish(&mut self, got: &Got) -> (u16, String) {
        let uri = uri_of(got);
        let known = match got.etag() {
            None if got.body().is_empty() => return (400, String::new()),
            None => None,
            Some(etag) => match self.presentities.remove(etag) {
                None => return (412, String::new()),
                known @ Some(_) => known,
            },
        };
        if got.expires() == 0 {
            return (200, "SIP-ETag: gone\r\nExpires: 0\r\n".to_owned());
        }
        let granted = self.grant(got.expires());
        let body = match known {
            Some(known) if got.body().is_empty() => known.body,
            Some(_) | None => got.body().to_owned(),
        };
        self.taken += u64::from(!got.body().is_empty());
        self.serial += 1;
        let etag = format!("e{}", self.serial);
        let until = self.now() + Duration::from_secs(u64::from(granted));
        self.presentities.insert(etag.clone(), Presentity { uri, body, until });
        (200, format!("SIP-ETag: {etag}\r\nExpires: {granted}\r\n"))
    }

    fn subscribe(&mut self, got: &Got) -> ((u16, String), Option<(String, String)>) {
        let call_id = got.header("Call-ID").expect("Call-ID").to_owned();
        let own = got.tag("From").expect("a tag");
        let asked = got.expires();
        let granted = self.grant(asked);
        let until = self.now() + Duration::from_secs(u64::from(granted));
        let more = format!("Expires: {granted}\r\nContact: <sip:pres@{SERVER}>\r\n");
        match (got.tag("To"), self.watches.contains_key(&call_id)) {
            (Some(_), false) => ((481, String::new()), None),
            (Some(_), true) if asked == 0 => {
                ((200, more), Some((call_id, "terminated;reason=timeout".to_owned())))
            }
            (Some(_), true) => {
                if let Some(watch) = self.watches.get_mut(&call_id) {
                    watch.until = until;
                }
                ((200, more), Some((call_id, format!("active;expires={granted}"))))
            }
            (None, _) => {
                let watch = Watch { uri: uri_of(got), own, cseq: 0, until };
                self.watches.insert(call_id.clone(), watch);
                ((200, more), Some((call_id, format!("active;expires={granted}"))))
            }
        }
    }

    /// The server loses a publication, or ends a subscription.
    pub(super) fn disturb(&mut self) {
        let place = self.entropy.below(self.presentities.len().max(1) as u64) as usize;
        if let Some(etag) = self.presentities.keys().nth(place).cloned() {
            self.presentities.remove(&etag);
        }
        let place = self.entropy.below(self.watches.len().max(1) as u64) as usize;
        if let Some(call_id) = self.watches.keys().nth(place).cloned() {
            self.notify(&call_id, "terminated;reason=deactivated");
        }
    }

    fn notify(&mut self, call_id: &str, state: &str) {
        let Some(watch) = self.watches.get_mut(call_id) else { return };
        watch.cseq += 1;
        self.serial += 1;
        let number = self.serial as u32;
        let text = format!(
            "NOTIFY sip:reginfo@192.0.2.1:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {SERVER};branch=z9hG4bK-s-{number}\r\n\
             From: <sip:b@{SERVER}>;tag=server\r\nTo: <sip:w@192.0.2.1:5060>;tag={}\r\n\
             Call-ID: {call_id}\r\nCSeq: {} NOTIFY\r\nMax-Forwards: 70\r\nEvent: reg\r\n\
             Subscription-State: {state}\r\nContact: <sip:pres@{SERVER}>\r\n\
             X-Number: {number}\r\nContent-Length: 0\r\n\r\n",
            watch.own, watch.cseq
        );
        if state.starts_with("terminated") {
            self.watches.remove(call_id);
        }
        self.notifies.insert(number, Pending { text, call_id: call_id.to_owned(), tries: 0 });
        self.again(number);
    }

    /// Timer E and F of the notifier.
    fn again(&mut self, number: u32) {
        let Some(pending) = self.notifies.get_mut(&number) else { return };
        pending.tries += 1;
        let (text, tries, call_id) = (pending.text.clone(), pending.tries, pending.call_id.clone());
        if tries > 10 {
            // RFC 6665 §4.2.2: who does not answer does not follow.
            self.notifies.remove(&number);
            self.watches.remove(&call_id);
            return;
        }
        self.pass(Packet::ToNode, &text, Duration::ZERO);
        self.serial += 1;
        let wait = ms(500 * (1 << (tries - 1).min(3)));
        self.packets.insert((self.now() + wait, self.serial), Packet::Again(number));
    }

    fn hear(&mut self, got: &Got) {
        let branch = got.header("Via").and_then(|via| via.split("z9hG4bK-s-").nth(1));
        let number: u32 = branch
            .and_then(|text| text.split(';').next()?.parse().ok())
            .expect("an answer to a NOTIFY");
        let Some(pending) = self.notifies.remove(&number) else { return };
        let status = got.line().split(' ').nth(1).expect("a status");
        match status {
            "200" | "500" => {}
            "481" => drop(self.watches.remove(&pending.call_id)),
            other => panic!("{other} to a NOTIFY"),
        }
    }

    /// What the server shows of a presentity, each document once.
    pub(super) fn shown(&mut self, uri: &str) -> Vec<String> {
        let now = self.now();
        let of_it = self.presentities.values().filter(|it| it.uri == uri && it.until > now);
        of_it.map(|it| it.body.clone()).collect()
    }

    /// How many subscriptions to a presentity the server has.
    pub(super) fn watchers(&self, uri: &str) -> usize {
        let now = self.now();
        self.watches.values().filter(|it| it.uri == uri && it.until > now).count()
    }

    /// Different presentities of which anything is shown.
    pub(super) fn presentities(&self) -> usize {
        let uris: BTreeSet<&str> = self.presentities.values().map(|it| it.uri.as_str()).collect();
        uris.len()
    }

    /// The network and the server become good, and everything settles.
    pub(super) fn settle(&mut self) {
        self.weather = Weather::CALM;
        self.busy = 0;
        self.run(secs(700));
    }
}

fn uri_of(got: &Got) -> String {
    let to = got.header("To").unwrap_or_default();
    to.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned()
}

fn respond(to: &Got, status: u16, more: &str) -> String {
    let take = |name: &str| to.header(name).unwrap_or_default().to_owned();
    let mut to_value = take("To");
    if !to_value.contains(";tag=") {
        to_value.push_str(";tag=server");
    }
    format!(
        "SIP/2.0 {status} Answer\r\nVia: {}\r\nFrom: {}\r\nTo: {to_value}\r\nCall-ID: {}\r\n\
         CSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
        take("Via"),
        take("From"),
        take("Call-ID"),
        take("CSeq"),
    )
}
