//! SUBSCRIBE: RFC 6665 §4.1.
//!
//! For: writing it outside of and within a dialog, and what its success changes.
//! Not here: when it is sent (`drive.rs`), its failures (`send.rs`), NOTIFY (`notify.rs`).
//! Invariants: a dialog is known by its Call-ID before its first request is answered, so that a
//! NOTIFY that overtakes the answer finds it.

use super::Pua;
use super::drive::refresh_after;
use super::record::{Flight, Leg, Purpose, Record, RecordId, Subscribing};
use super::send::{Ready, new_call_id};
use super::write::{Parts, TEXT_BYTES_MAX, Way, is_writable_uri, way, write};
use std::fmt::Write;
use strowger_sip::message::{Message, NameAddrs};
use strowger_sip::module::Host;
use strowger_sip::time::{Duration, Instant, secs};

/// How long a dialog that nobody has confirmed is kept: timer F and N (RFC 6665 §4.1.2.4), twice
/// over.
const TEMPORARY: Duration = secs(64);
/// Longest route set, in bytes. A guess: a dozen entries.
pub(super) const ROUTES_BYTES_MAX: usize = 2048;
/// Longest tag: what the column holds.
pub(super) const TAG_BYTES_MAX: usize = 128;
/// A dialog that lived so long before the notifier lost it was a good one.
const GOOD_LIFE: Duration = secs(30);

impl Pua {
    /// Writes a record's next SUBSCRIBE; `None` when it cannot be written.
    pub(super) fn ready_subscribe(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        purpose: Purpose,
        again: Option<&Flight>,
    ) -> Option<Ready> {
        let (now, record) = (host.now(), self.table.get(id)?);
        let subscribing = record.subscribing()?;
        let leg = match purpose {
            Purpose::Begin => None,
            Purpose::EndFormer => Some(subscribing.former.as_ref()?),
            Purpose::Modify | Purpose::Refresh | Purpose::End => Some(subscribing.leg.as_ref()?),
        };
        let way = match leg {
            Some(leg) => way(&leg.target, &leg.routes)?,
            None => first_way(record, subscribing, again),
        };
        let (mut lines, expires) = self.subscribe_lines(record, purpose, now)?;
        let presentity = record.series.presentity.to_string();
        let watcher = record.series.watcher.to_string();
        let peer_tag = leg.map_or(String::new(), |leg| leg.peer_tag.clone());
        let begun = leg.map(|leg| (leg.call_id.clone(), leg.own_tag.clone(), leg.cseq));
        let begun = begun.or(again.map(|it| (it.call_id.clone(), it.own_tag.clone(), it.cseq)));
        let (life, number) = (record.life, record.flights);
        let ids = match begun {
            Some((call_id, own_tag, cseq)) => (call_id, own_tag, cseq.wrapping_add(1)),
            None => {
                let tag = format!("{:016x}", host.entropy().next_u64());
                (new_call_id(host), tag, 1)
            }
        };
        self.write_credentials(id, ("SUBSCRIBE", &way.request_uri, b""), &mut lines);
        let flight = Flight { expires, life, ..Flight::new((number, purpose), ids, now, again) };
        let bytes = write(&Parts {
            method: "SUBSCRIBE",
            request_uri: &way.request_uri,
            routes: &way.routes,
            to: (&presentity, &peer_tag),
            from: (&watcher, &flight.own_tag),
            call_id: &flight.call_id,
            cseq: flight.cseq,
            lines: &lines,
            body: b"",
        });
        Some(Ready { bytes, next_hop: way.next_hop, flight })
    }

    /// The lines of a SUBSCRIBE for this purpose, and how long it asks for.
    fn subscribe_lines(
        &self,
        record: &Record,
        purpose: Purpose,
        now: Instant,
    ) -> Option<(String, u32)> {
        let package = self.packages.get(record.series.event)?;
        let expires = match purpose {
            Purpose::End | Purpose::EndFormer => 0,
            Purpose::Begin | Purpose::Modify | Purpose::Refresh => self.expires_of(record, now),
        };
        let mut lines = format!(
            "Event: {}\r\nContact: <{}>\r\nExpires: {expires}\r\n",
            package.name,
            record.subscribing()?.contact
        );
        if let Some(accept) = &package.accept {
            let _ = write!(lines, "Accept: {accept}\r\n");
        }
        lines.push_str(&record.extra_headers);
        Some((lines, expires))
    }

    /// A SUBSCRIBE has gone out: its dialog is there from here on.
    pub(super) fn subscribe_sent(&mut self, id: RecordId) {
        let Some(record) = self.table.get_mut(id) else { return };
        let Some(flight) = record.flight.clone() else { return };
        let Some(subscribing) = record.subscribing_mut() else { return };
        match flight.purpose {
            Purpose::Begin => {
                let is_again =
                    subscribing.leg.as_ref().is_some_and(|leg| leg.call_id == flight.call_id);
                if is_again {
                    if let Some(leg) = &mut subscribing.leg {
                        leg.cseq = flight.cseq;
                    }
                    return;
                }
                let before = subscribing.leg.replace(Leg {
                    call_id: flight.call_id.clone(),
                    own_tag: flight.own_tag,
                    cseq: flight.cseq,
                    until: flight.sent + TEMPORARY,
                    refresh_at: flight.sent + TEMPORARY,
                    life: flight.life,
                    began: flight.sent,
                    ..Leg::default()
                });
                if let Some(before) = before {
                    self.table.forget_call(id, &before.call_id);
                }
                self.table.add_call(id, &flight.call_id);
            }
            Purpose::EndFormer => {
                if let Some(former) = &mut subscribing.former {
                    former.cseq = flight.cseq;
                }
            }
            Purpose::Modify | Purpose::Refresh | Purpose::End => {
                if let Some(leg) = &mut subscribing.leg {
                    leg.cseq = flight.cseq;
                }
            }
        }
    }

    /// A 2xx to a SUBSCRIBE.
    pub(super) fn subscribed(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: Flight,
        message: Message<'_>,
    ) {
        let status = message.status().map_or(200, |status| status.code());
        let granted = message.expires().ok().flatten().unwrap_or(flight.expires);
        match flight.purpose {
            Purpose::EndFormer => {
                let former =
                    self.table.get(id).and_then(|record| record.subscribing()?.former.as_ref());
                if let Some(call_id) = former.map(|leg| leg.call_id.clone()) {
                    self.linger(host.now(), &call_id);
                }
                self.former_ended(id);
            }
            Purpose::End => {
                self.drop_held(host.now(), id);
                self.report_done(host, id, flight, (status, 0));
            }
            Purpose::Begin | Purpose::Modify | Purpose::Refresh if granted == 0 => {
                // The notifier has ended it at once; whether it may begin anew is for its NOTIFY.
                self.drop_held(host.now(), id);
                self.give_back_waiter(id, flight.waiter);
                return self.retry_later(host, id, None);
            }
            Purpose::Begin | Purpose::Modify | Purpose::Refresh => {
                if !self.confirm(host, id, &flight, (message, granted)) {
                    self.counters.unusable += 1;
                    self.drop_held(host.now(), id);
                    return self.failed(host, id, flight, (status, Some(message)));
                }
                self.report_done(host, id, flight, (status, granted));
            }
        }
        self.changed(host, id);
        self.drive(host, id);
    }

    fn give_back_waiter(&mut self, id: RecordId, waiter: Option<super::record::Waiter>) {
        if let Some(record) = self.table.get_mut(id)
            && record.waiter.is_none()
        {
            record.waiter = waiter;
        }
    }

    /// Takes what a 2xx says of the dialog; `false` when it does not say enough.
    fn confirm(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: &Flight,
        (message, granted): (Message<'_>, u32),
    ) -> bool {
        let granted = Duration::from_secs(u64::from(granted));
        let refresh = refresh_after(granted, |most| host.entropy().below(most));
        let Some(leg) = self.table.get_mut(id).and_then(|record| record.leg_mut()) else {
            // A NOTIFY that has overtaken the answer has ended it already.
            return true;
        };
        let Some(tag) = text(message.to_tag().unwrap_or_default(), TAG_BYTES_MAX) else {
            return false;
        };
        if !leg.is_established() {
            leg.peer_tag = tag;
            let Some(routes) = route_set(message.record_routes(), Order::Reversed) else {
                return false;
            };
            leg.routes = routes;
            leg.target = String::new();
        } else if leg.peer_tag != tag && flight.purpose == Purpose::Begin {
            // Another notifier of a forked request; the one that notified first is ours.
            leg.life = flight.life;
            return true;
        }
        if let Some(target) = target_of(message) {
            leg.target = target;
        }
        leg.until = flight.sent + granted;
        leg.refresh_at = flight.sent + refresh;
        leg.life = flight.life;
        !leg.peer_tag.is_empty() && !leg.target.is_empty()
    }

    /// A request failed that began a dialog: without an answer that dialog is none, unless the
    /// notifier has confirmed it.
    pub(super) fn not_begun(&mut self, host: &mut impl Host<Pua>, id: RecordId, flight: &Flight) {
        if flight.purpose != Purpose::Begin {
            return;
        }
        let leg = self.table.get(id).and_then(|record| record.leg());
        let Some(leg) = leg.filter(|leg| leg.call_id == flight.call_id) else { return };
        if leg.is_established() {
            return;
        }
        let call_id = leg.call_id.clone();
        if let Some(subscribing) =
            self.table.get_mut(id).and_then(|record| record.subscribing_mut())
        {
            subscribing.leg = None;
        }
        self.table.forget_call(id, &call_id);
        self.changed(host, id);
    }
}

/// Where a request outside of a dialog goes.
fn first_way(record: &Record, subscribing: &Subscribing, again: Option<&Flight>) -> Way {
    let redirect = again.and_then(|again| again.redirect.clone());
    let proxy = record.outbound_proxy.as_deref().filter(|_| redirect.is_none());
    let target = redirect.or(subscribing.remote_target.as_deref().map(str::to_owned));
    let request_uri = target.unwrap_or_else(|| record.series.presentity.to_string());
    let next_hop = proxy.map_or_else(|| request_uri.clone(), str::to_owned);
    Way { request_uri, routes: String::new(), next_hop }
}

impl Leg {
    /// Whether the notifier had it long enough that losing it is no sign of trouble.
    pub(super) fn was_good(&self, now: Instant) -> bool {
        now.since(self.began) >= GOOD_LIFE
    }
}

/// Where a message wants its sender to be reached.
pub(super) fn target_of(message: Message<'_>) -> Option<String> {
    let contact = message.name_addrs(strowger_sip::message::HeaderName::Contact).next()?.ok()?;
    let target = text(contact.uri, TEXT_BYTES_MAX)?;
    is_writable_uri(&target).then_some(target)
}

/// How a route set stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As it is to be used: in a request that came here.
    Straight,
    /// The other way round: in a response.
    Reversed,
}

/// The Route values that Record-Route makes (RFC 3261 §12.1.1, §12.1.2); `None` when they cannot
/// be used.
pub(super) fn route_set(routes: NameAddrs<'_>, order: Order) -> Option<String> {
    let mut list = Vec::new();
    for route in routes {
        list.push(std::str::from_utf8(route.ok()?.raw.trim_ascii()).ok()?);
    }
    match order {
        Order::Straight => {}
        Order::Reversed => list.reverse(),
    }
    let text = list.join(",");
    let is_quiet = !text.bytes().any(|byte| byte < b' ');
    (text.len() <= ROUTES_BYTES_MAX && is_quiet).then_some(text)
}

fn text(bytes: &[u8], most: usize) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_quiet = !text.is_empty() && !text.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
    (is_quiet && text.len() <= most).then(|| text.to_owned())
}
