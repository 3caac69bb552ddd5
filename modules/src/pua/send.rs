//! Sending a record's next request, and hearing its answer.
//!
//! For: what PUBLISH and SUBSCRIBE have in common: the next hop, credentials, one request at a
//! time, attempts that are repeated.
//! Not here: what each says and what its success changes (`publish.rs`, `subscribe.rs`).
//! Invariants: an answer counts only for the request that is under way.

use super::answer::{self, Verdict};
use super::api::{Answered, Ended, Kind};
use super::record::{Flight, Matter, Purpose, Record, RecordId, Until};
use super::{Pua, Token};
use crate::uac::{Said, Session, choose, cnonce, read_challenges};
use std::fmt::Write;
use strowger_sip::message::Message;
use strowger_sip::module::host::NotSent;
use strowger_sip::module::{Heard, Host, Reach};
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::{Duration, Instant, secs};

/// How often a Call-ID that belongs to this shard is looked for; with 64 shards, one in 10^14
/// searches fails, and then the answer comes home by its branch all the same.
const CALL_IDS_TRIED_MAX: usize = 2048;
/// How soon a request is tried again that waits for DNS. A guess: most answers take less.
const DNS_AGAIN_AFTER: Duration = secs(1);
/// How soon one is tried again for which there was no room.
const ROOM_AGAIN_AFTER: Duration = secs(1);
/// How often one request is repeated with other credentials: a nonce may be stale.
const PROOFS_MAX: u8 = 2;

/// A request that is ready to be sent.
pub(super) struct Ready {
    pub(super) bytes: Vec<u8>,
    pub(super) next_hop: String,
    pub(super) flight: Flight,
}

impl Pua {
    /// Sends a record's next request.
    pub(super) fn send(&mut self, host: &mut impl Host<Pua>, id: RecordId, purpose: Purpose) {
        self.send_as(host, id, purpose, None);
    }

    /// The same; `again` is the request whose answer asks for another try.
    fn send_as(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        purpose: Purpose,
        again: Option<Flight>,
    ) {
        let Some(record) = self.table.get_mut(id) else { return };
        let carries = purpose != Purpose::EndFormer;
        let waiter = match &again {
            Some(again) => again.waiter.clone(),
            None if carries => record.waiter.take(),
            None => None,
        };
        record.flights = record.flights.wrapping_add(1);
        let kind = record.kind();
        let ready = match kind {
            Kind::Publication => self.ready_publish(host, id, purpose, again.as_ref()),
            Kind::Subscription => self.ready_subscribe(host, id, purpose, again.as_ref()),
        };
        let Some(Ready { bytes, next_hop, mut flight }) = ready else {
            self.give_back(id, waiter);
            return self.cannot_write(host, id, purpose);
        };
        let sent = match host.reach(next_hop.as_bytes(), None) {
            Reach::Over(flow) => {
                host.originate(flow, &bytes, Token { id, number: flight.number }).err()
            }
            Reach::Unknown => {
                self.give_back(id, waiter);
                return self.try_again_in(host, id, DNS_AGAIN_AFTER);
            }
            Reach::Nowhere => {
                self.give_back(id, waiter);
                self.counters.unreachable += 1;
                self.tell_answered(host, id, 503);
                return self.retry_later(host, id, None);
            }
        };
        match sent {
            None => {
                flight.waiter = waiter;
                self.sent(host, id, flight);
            }
            Some(NotSent::Full) => {
                self.give_back(id, waiter);
                self.try_again_in(host, id, ROOM_AGAIN_AFTER);
            }
            Some(NotSent::Malformed) => {
                self.give_back(id, waiter);
                self.cannot_write(host, id, purpose);
            }
        }
    }

    /// A request has gone out.
    fn sent(&mut self, host: &mut impl Host<Pua>, id: RecordId, flight: Flight) {
        let Some(record) = self.table.get_mut(id) else { return };
        match record.kind() {
            Kind::Publication => self.counters.publishes_sent += 1,
            Kind::Subscription => self.counters.subscribes_sent += 1,
        }
        self.in_flight += 1;
        record.flight = Some(flight);
        match record.kind() {
            Kind::Publication => {}
            Kind::Subscription => self.subscribe_sent(id),
        }
        self.drive(host, id);
    }

    fn give_back(&mut self, id: RecordId, waiter: Option<super::record::Waiter>) {
        if let Some(record) = self.table.get_mut(id)
            && record.waiter.is_none()
        {
            record.waiter = waiter;
        }
    }

    fn try_again_in(&mut self, host: &mut impl Host<Pua>, id: RecordId, wait: Duration) {
        let now = host.now();
        if let Some(record) = self.table.get_mut(id) {
            record.pause = Some(now + wait);
        }
        self.drive(host, id);
    }

    /// Nothing that a new attempt would change.
    fn cannot_write(&mut self, host: &mut impl Host<Pua>, id: RecordId, purpose: Purpose) {
        self.counters.refused += 1;
        if purpose == Purpose::EndFormer {
            self.former_ended(id);
            return self.drive(host, id);
        }
        self.forget(host, id, &Ended::Refused(super::api::Refused::BadBody));
    }

    /// An answer to a request of ours, or that there is none.
    pub(super) fn hear(&mut self, host: &mut impl Host<Pua>, token: Token, heard: Heard<'_>) {
        let Some(record) = self.table.get_mut(token.id) else { return };
        if record.flight.as_ref().is_none_or(|flight| flight.number != token.number) {
            return;
        }
        let Some(purpose) = record.flight.as_ref().map(|flight| flight.purpose) else { return };
        let verdict = answer::judge(record.kind(), purpose, heard);
        if verdict == Verdict::Provisional {
            return;
        }
        let Some(flight) = record.flight.take() else { return };
        self.in_flight = self.in_flight.saturating_sub(1);
        let status = answer::status(heard);
        self.count(token.id, status);
        self.tell_answered(host, token.id, status);
        let message = match heard {
            Heard::Response(message) => Some(message),
            Heard::Timeout | Heard::Transport => None,
        };
        self.judged(host, token.id, flight, (status, message), verdict);
    }

    fn judged(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        mut flight: Flight,
        (status, message): (u16, Option<Message<'_>>),
        verdict: Verdict,
    ) {
        let purpose = flight.purpose;
        match (verdict, message) {
            (Verdict::Done, Some(message)) => self.done(host, id, flight, message),
            (Verdict::Challenged, Some(message)) => {
                if !self.challenged(host, id, &flight, message) {
                    return self.failed(host, id, flight, (status, Some(message)));
                }
                flight.proofs += 1;
                self.send_as(host, id, purpose, Some(flight));
            }
            (Verdict::TooBrief(least), Some(message)) => {
                let Some(record) = self.table.get_mut(id) else { return };
                if flight.was_brief || least <= flight.expires {
                    return self.failed(host, id, flight, (status, Some(message)));
                }
                record.least_expires = least;
                flight.was_brief = true;
                self.send_as(host, id, purpose, Some(flight));
            }
            (Verdict::Elsewhere(uri), Some(message)) => {
                if flight.redirect.is_some() {
                    return self.failed(host, id, flight, (status, Some(message)));
                }
                flight.redirect = Some(uri);
                self.send_as(host, id, purpose, Some(flight));
            }
            (Verdict::Gone, Some(message)) => self.gone(host, id, flight, status, message),
            (Verdict::Later(asked), _) => {
                if purpose == Purpose::EndFormer {
                    // It ends by itself when its time is over.
                    self.former_ended(id);
                } else {
                    self.give_back(id, flight.waiter.clone());
                    self.not_begun(host, id, &flight);
                }
                self.retry_later(host, id, asked);
            }
            (_, message) => self.failed(host, id, flight, (status, message)),
        }
    }

    fn done(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: Flight,
        message: Message<'_>,
    ) {
        let Some(record) = self.table.get_mut(id) else { return };
        record.failures = 0;
        record.pause = None;
        match record.kind() {
            Kind::Publication => self.published(host, id, flight, message),
            Kind::Subscription => self.subscribed(host, id, flight, message),
        }
    }

    /// The server does not know what the request was about.
    fn gone(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: Flight,
        status: u16,
        message: Message<'_>,
    ) {
        match flight.purpose {
            Purpose::EndFormer => self.former_ended(id),
            Purpose::End => {
                self.drop_held(host.now(), id);
                self.report_done(host, id, flight, (status, 0));
            }
            Purpose::Begin | Purpose::Modify | Purpose::Refresh => {
                self.drop_held(host.now(), id);
                let is_able = self.table.get(id).is_some_and(can_begin);
                if !is_able || !self.may_rebuild(host.now(), id) {
                    return self.failed(host, id, flight, (status, Some(message)));
                }
                self.give_back(id, flight.waiter);
            }
        }
        self.changed(host, id);
        self.drive(host, id);
    }

    /// The server refused: a state that nobody has asked for meanwhile is given up.
    pub(super) fn failed(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: Flight,
        (status, message): (u16, Option<Message<'_>>),
    ) {
        self.counters.failed += 1;
        if flight.purpose == Purpose::EndFormer {
            self.former_ended(id);
            return self.drive(host, id);
        }
        let reason = message.map_or(String::new(), reason_of);
        let ended = Ended::Failed { status, reason };
        self.not_begun(host, id, &flight);
        let Some(record) = self.table.get(id) else { return };
        let has_newer = (flight.body != record.body || flight.life != record.life)
            && !(record.until == Until::Gone && flight.purpose == Purpose::End);
        if !has_newer {
            self.give_back(id, flight.waiter);
            return self.forget(host, id, &ended);
        }
        if let Some(waiter) = flight.waiter {
            let series = record.series.clone();
            self.report(host, &series, &waiter, ended);
        }
        self.changed(host, id);
        self.drive(host, id);
    }

    /// Reports a success to who asked for it.
    pub(super) fn report_done(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: Flight,
        (status, expires): (u16, u32),
    ) {
        let Some(record) = self.table.get(id) else { return };
        let Some(waiter) = flight.waiter else { return };
        let etag = record.held().map_or(String::new(), |held| held.etag.to_string());
        let series = record.series.clone();
        self.report(host, &series, &waiter, Ended::Done { status, etag, expires });
    }

    fn count(&mut self, id: RecordId, status: u16) {
        let Some(record) = self.table.get(id) else { return };
        match (record.kind(), status) {
            (Kind::Publication, 200..300) => self.counters.publishes_ok += 1,
            (Kind::Publication, 412) => self.counters.publishes_412 += 1,
            (Kind::Subscription, 200..300) => self.counters.subscribes_ok += 1,
            (_, 408) => self.counters.timeouts += 1,
            (_, _) => {}
        }
    }

    fn tell_answered(&mut self, host: &mut impl Host<Pua>, id: RecordId, status: u16) {
        let Some(record) = self.table.get(id).filter(|_| host.is_heard()) else { return };
        host.publish(Answered {
            kind: record.kind(),
            source: record.series.source,
            event: record.series.event,
            presentity: record.series.presentity.to_string(),
            status,
        });
    }

    /// Keeps what answers a challenge, if anything does.
    fn challenged(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: &Flight,
        message: Message<'_>,
    ) -> bool {
        let chosen = choose(read_challenges(message), self.settings.accounts.iter());
        let Some(record) = self.table.get_mut(id) else { return false };
        let before = record.session.take();
        let Some(chosen) = chosen.filter(|_| flight.proofs < PROOFS_MAX) else { return false };
        // Only a stale nonce excuses an answer that was refused.
        let of_same = before.is_some_and(|session| session.is_of(&chosen.0));
        if flight.proofs > 0 && of_same && !chosen.0.stale {
            return false;
        }
        let (high, low) = host.entropy().keys();
        record.session = Some(Box::new(Session::new(chosen, cnonce([high, low]))));
        true
    }

    /// Writes the credentials that the last challenge asked for, if there was one.
    pub(super) fn write_credentials(
        &mut self,
        id: RecordId,
        (method, uri, body): (&str, &str, &[u8]),
        lines: &mut String,
    ) {
        let session = self.table.get_mut(id).and_then(|record| record.session.as_mut());
        let Some(session) = session else { return };
        let said = Said { method: method.as_bytes(), uri: uri.as_bytes(), body };
        let (name, value) = session.next(said);
        // Writing to a string cannot fail.
        let _ = write!(lines, "{name}: {}\r\n", String::from_utf8_lossy(&value));
    }

    /// How long a request asks for, in seconds.
    pub(super) fn expires_of(&self, record: &Record, now: Instant) -> u32 {
        let wanted = match record.until {
            Until::Gone => return 0,
            Until::Forever => self.settings.default_expires,
            Until::At(end) => {
                let left = end.since(now).as_micros().div_ceil(1_000_000);
                u32::try_from(left).unwrap_or(u32::MAX).max(1)
            }
        };
        let slack = match (self.settings.compat_expires, record.kind()) {
            (false, _) => 0,
            (true, Kind::Publication) => 1,
            (true, Kind::Subscription) => 10,
        };
        let least = self.settings.min_expires.max(record.least_expires);
        wanted.saturating_add(slack).max(least)
    }
}

fn can_begin(record: &Record) -> bool {
    match &record.matter {
        Matter::Publishing(publishing) => publishing.body.is_some(),
        Matter::Subscribing(_) => true,
    }
}

fn reason_of(message: Message<'_>) -> String {
    match message.start_line() {
        strowger_sip::message::StartLine::Response { reason, .. } => {
            String::from_utf8_lossy(reason).chars().take(80).collect()
        }
        strowger_sip::message::StartLine::Request { .. } => String::new(),
    }
}

/// A Call-ID whose home is this shard, so that answers and notifications come here.
pub(super) fn new_call_id(host: &mut impl Host<Pua>) -> String {
    let (map, own): (ShardMap, ShardId) = (host.map(), host.shard());
    let mut call_id = String::new();
    for _ in 0..CALL_IDS_TRIED_MAX {
        let entropy = host.entropy();
        call_id = format!("{:016x}{:016x}-pua", entropy.next_u64(), entropy.next_u64());
        if map.home(call_id.as_bytes()) == own {
            break;
        }
    }
    call_id
}
