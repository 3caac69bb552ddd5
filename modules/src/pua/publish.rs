//! PUBLISH: RFC 3903.
//!
//! For: writing it for each purpose, and what its success changes.
//! Not here: when it is sent (`drive.rs`), its failures (`send.rs`).
//! Invariants: removal asks for 0 and has no body; what modifies or removes carries the tag of the
//! last answer.

use super::Pua;
use super::drive::refresh_after;
use super::package::Document;
use super::record::{Flight, Held, Purpose, Record, RecordId, Until};
use super::send::{Ready, new_call_id};
use super::write::{Parts, write};
use std::fmt::Write;
use strowger_sip::message::{HeaderName, Message};
use strowger_sip::module::Host;
use strowger_sip::time::{Duration, Instant};

/// Longest entity tag: what the column holds.
pub(super) const ETAG_BYTES_MAX: usize = 128;
/// Longest tuple id: what the column holds.
const TUPLE_ID_BYTES_MAX: usize = 64;
/// The number of a first request.
const FIRST_CSEQ: u32 = 10;

impl Pua {
    /// Writes a record's next PUBLISH; `None` when it cannot be written.
    pub(super) fn ready_publish(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        purpose: Purpose,
        again: Option<&Flight>,
    ) -> Option<Ready> {
        let body = match purpose.has_body() {
            true => self.document(host, id, again.is_some())?,
            false => Vec::new(),
        };
        let (now, record) = (host.now(), self.table.get(id)?);
        let (mut lines, expires) = self.publish_lines(record, purpose, now)?;
        let proxy = record.outbound_proxy.as_deref();
        let proxy = proxy.or(self.settings.outbound_proxy.as_deref()).map(str::to_owned);
        let redirect = again.and_then(|again| again.redirect.clone());
        let presentity = record.series.presentity.to_string();
        let (body_number, life, number) = (record.body, record.life, record.flights);
        let request_uri = redirect.clone().unwrap_or_else(|| presentity.clone());
        let next_hop = redirect.or(proxy).unwrap_or_else(|| presentity.clone());
        self.write_credentials(id, ("PUBLISH", &request_uri, &body), &mut lines);
        let ids = match again {
            Some(again) => (again.call_id.clone(), again.own_tag.clone(), again.cseq + 1),
            None => {
                let tag = format!("{:016x}", host.entropy().next_u64());
                (new_call_id(host), tag, FIRST_CSEQ)
            }
        };
        let flight = Flight {
            expires,
            body: body_number,
            life,
            ..Flight::new((number, purpose), ids, now, again)
        };
        let bytes = write(&Parts {
            method: "PUBLISH",
            request_uri: &request_uri,
            routes: "",
            to: (&presentity, ""),
            from: (&presentity, &flight.own_tag),
            call_id: &flight.call_id,
            cseq: flight.cseq,
            lines: &lines,
            body: &body,
        });
        Some(Ready { bytes, next_hop, flight })
    }

    /// The lines of a PUBLISH for this purpose, and how long it asks for.
    fn publish_lines(
        &self,
        record: &Record,
        purpose: Purpose,
        now: Instant,
    ) -> Option<(String, u32)> {
        let publishing = record.publishing()?;
        let package = self.packages.get(record.series.event)?;
        let expires = match purpose {
            Purpose::End | Purpose::EndFormer => 0,
            Purpose::Begin | Purpose::Modify | Purpose::Refresh => self.expires_of(record, now),
        };
        let mut lines = format!("Event: {}\r\nExpires: {expires}\r\n", package.name);
        let etag = match purpose {
            Purpose::Begin => None,
            Purpose::EndFormer => publishing.orphans.first(),
            Purpose::Modify | Purpose::Refresh | Purpose::End => {
                publishing.held.as_ref().map(|held| &held.etag)
            }
        };
        if let Some(etag) = etag {
            let _ = write!(lines, "SIP-If-Match: {etag}\r\n");
        }
        if purpose.has_body() {
            let content_type = publishing.content_type.as_deref();
            let content_type = content_type.or(package.content_type.as_deref())?;
            let _ = write!(lines, "Content-Type: {content_type}\r\n");
        }
        lines.push_str(&record.extra_headers);
        Some((lines, expires))
    }

    /// The document to send; counted, unless the same one is sent again.
    fn document(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        is_again: bool,
    ) -> Option<Vec<u8>> {
        let fresh = fresh_id(host);
        let record = self.table.get_mut(id)?;
        let event = record.series.event;
        let package = self.packages.get(event)?;
        let process = package.process.filter(|_| self.settings.counts(event));
        let publishing = record.publishing_mut()?;
        let body = publishing.body.as_deref()?;
        if !is_again {
            publishing.version = publishing.version.wrapping_add(1);
        }
        let version = publishing.version.wrapping_sub(1);
        let Some(process) = process else { return Some(body.to_vec()) };
        let tuple_id = Some(publishing.tuple_id.as_str()).filter(|tuple| !tuple.is_empty());
        let processed = process(&Document { body, version, tuple_id, fresh_id: &fresh }).ok()?;
        let body = processed.body.unwrap_or_else(|| body.to_vec());
        if let Some(tuple_id) =
            processed.tuple_id.filter(|tuple_id| tuple_id.len() <= TUPLE_ID_BYTES_MAX)
        {
            publishing.tuple_id = tuple_id;
        }
        Some(body)
    }

    /// A 2xx to a PUBLISH.
    pub(super) fn published(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: Flight,
        message: Message<'_>,
    ) {
        let status = message.status().map_or(200, |status| status.code());
        let etag = message.header(HeaderName::SipEtag).map(|field| field.value.trim_ascii());
        let etag = etag.and_then(|etag| std::str::from_utf8(etag).ok()).filter(|etag| is_tag(etag));
        let granted = message.expires().ok().flatten().unwrap_or(flight.expires);
        match flight.purpose {
            Purpose::EndFormer => self.former_ended(id),
            Purpose::End => {
                self.drop_held(host.now(), id);
                self.report_done(host, id, flight, (status, 0));
            }
            Purpose::Begin | Purpose::Modify | Purpose::Refresh => match etag {
                Some(etag) if granted > 0 => {
                    self.hold(host, id, &flight, (etag, granted));
                    self.report_done(host, id, flight, (status, granted));
                }
                Some(_) => {
                    // It is published for no time at all: the server does not want it.
                    self.drop_held(host.now(), id);
                    return self.failed(host, id, flight, (status, Some(message)));
                }
                None => {
                    self.counters.unusable += 1;
                    self.drop_held(host.now(), id);
                    return self.failed(host, id, flight, (status, Some(message)));
                }
            },
        }
        self.changed(host, id);
        self.drive(host, id);
    }

    /// The server holds what this request said.
    fn hold(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        flight: &Flight,
        (etag, granted): (&str, u32),
    ) {
        let granted = Duration::from_secs(u64::from(granted));
        let refresh = refresh_after(granted, |most| host.entropy().below(most));
        let Some(record) = self.table.get_mut(id) else { return };
        record.rebuilds = 0;
        let Some(publishing) = record.publishing_mut() else { return };
        let body = match flight.purpose {
            Purpose::Begin | Purpose::Modify => flight.body,
            Purpose::Refresh | Purpose::End | Purpose::EndFormer => {
                publishing.held.as_ref().map_or(flight.body, |held| held.body)
            }
        };
        publishing.held = Some(Held {
            etag: etag.into(),
            until: flight.sent + granted,
            refresh_at: flight.sent + refresh,
            body,
            life: flight.life,
        });
    }

    /// The server holds nothing, or nothing that is known here.
    pub(super) fn drop_held(&mut self, now: Instant, id: RecordId) {
        let Some(record) = self.table.get_mut(id) else { return };
        if let Some(publishing) = record.publishing_mut() {
            publishing.held = None;
        }
        if let Some(leg) = record.subscribing_mut().and_then(|it| it.leg.take()) {
            self.table.forget_call(id, &leg.call_id);
            self.linger(now, &leg.call_id);
        }
    }

    /// What was replaced is gone, or as good as gone.
    pub(super) fn former_ended(&mut self, id: RecordId) {
        let Some(record) = self.table.get_mut(id) else { return };
        if let Some(publishing) = record.publishing_mut()
            && !publishing.orphans.is_empty()
        {
            publishing.orphans.remove(0);
        }
        if let Some(leg) = record.subscribing_mut().and_then(|it| it.former.take()) {
            self.table.forget_call(id, &leg.call_id);
        }
    }
}

impl Record {
    /// Whether the newest state is what the server holds.
    pub(super) fn is_settled(&self) -> bool {
        let has_it = match (self.held(), self.leg()) {
            (Some(held), _) => held.body == self.body && held.life == self.life,
            (None, Some(leg)) => leg.is_established() && leg.life == self.life,
            (None, None) => self.until == Until::Gone,
        };
        has_it && self.flight.is_none()
    }
}

fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ETAG_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// 96 random bits, beginning with a letter: a name in XML.
fn fresh_id(host: &mut impl Host<Pua>) -> String {
    let entropy = host.entropy();
    format!("t{:016x}{:08x}", entropy.next_u64(), entropy.next_u64() >> 32)
}
