//! Commands of the control plane: `pua.publish`, `pua.subscribe`, `pua.cleanup`, `pua.list` and
//! their kin.
//!
//! For: operators and their scripts, with Kamailio's names and arguments; answers are JSON.
//! Not here: asking every shard and putting answers together (`core/node`). A command about one
//! record is answered by the shard that owns it; the others do not know it.
//! `pua.publish` cannot answer at once: its fault [`Fault::LATER`] carries a ticket by which the
//! control plane asks again.

use super::Pua;
use super::api::{Ended, Publication, Refused, Report, Subscription, Taken, Wanted};
use super::call::kind_name;
use super::record::{Record, RecordId, Until};
use super::series::Series;
use super::source::Source;
use crate::json::{self, Json};
use std::collections::VecDeque;
use strowger_sip::module::{Command, Fault, Host};
use strowger_sip::time::{Duration, Instant, secs};

/// How long a ticket is kept: longer than timer F and a few attempts.
const TICKET_LIFE: Duration = secs(120);
/// Most tickets. A guess: an operator's script waits for each.
const TICKETS_MAX: usize = 1024;
/// Most records in one list.
const LISTED_MAX: usize = 1000;
/// What stands before a ticket in the arguments.
const TICKET: &str = "@ticket";

type Result<T> = std::result::Result<T, Fault>;

fn fault(code: u16, message: &str) -> Fault {
    Fault { code, message: message.to_owned() }
}

/// Publications of operators who wait for the answer.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    open: VecDeque<(u64, Instant, Option<Ended>)>,
    next: u64,
}

impl Tickets {
    fn open(&mut self, now: Instant) -> u64 {
        while self.open.len() >= TICKETS_MAX
            || self.open.front().is_some_and(|(_, end, _)| *end <= now)
        {
            self.open.pop_front();
        }
        self.next += 1;
        self.open.push_back((self.next, now + TICKET_LIFE, None));
        self.next
    }

    pub(super) fn settle(&mut self, report: Report) {
        let mut open = self.open.iter_mut();
        if let Some((_, _, ended)) = open.find(|(ticket, _, _)| *ticket == report.cookie) {
            *ended = Some(report.ended);
        }
    }

    /// How it ended; `None` when it has not, an error when there is no such ticket.
    fn take(&mut self, ticket: u64) -> Result<Option<Ended>> {
        let place = self.open.iter().position(|(known, _, _)| *known == ticket);
        let place = place.ok_or_else(|| fault(404, "no such ticket"))?;
        if self.open.get(place).is_some_and(|(_, _, ended)| ended.is_none()) {
            return Ok(None);
        }
        Ok(self.open.remove(place).and_then(|(_, _, ended)| ended))
    }
}

impl Pua {
    pub(super) fn answer_command(
        &mut self,
        host: &mut impl Host<Pua>,
        command: &Command,
    ) -> Option<Result<String>> {
        let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        match command.name.as_str() {
            "pua.cleanup" => Some(Ok(self.clean_up(host))),
            "pua.publish" if arguments.first() == Some(&TICKET) => {
                self.ticket(host, arguments.get(1).copied().unwrap_or_default())
            }
            "pua.publish" => self.publish_command(host, &arguments, Source::RpcPublish),
            "pua.send_publish" => self.publish_command(host, &arguments, Source::RpcAsyncPublish),
            "pua.subscribe" => self.subscribe_command(host, &arguments),
            "pua.list" => Some(Ok(self.list(host, arguments.first().copied().unwrap_or_default()))),
            "pua.show" => self.one(host, &arguments, Pua::show),
            "pua.remove" => self.one(host, &arguments, Pua::remove),
            _ => None,
        }
    }

    /// The maintenance pass.
    fn clean_up(&mut self, host: &mut impl Host<Pua>) -> String {
        for slot in 0..self.table.slots() {
            if let Some(id) = self.table.at(slot).map(|(id, _)| id) {
                self.drive(host, id);
            }
        }
        self.write_all(host);
        "{}".to_owned()
    }

    fn publish_command(
        &mut self,
        host: &mut impl Host<Pua>,
        arguments: &[&str],
        source: Source,
    ) -> Option<Result<String>> {
        let mut publication = match self.read_publication(arguments, source) {
            Ok(publication) => publication,
            Err(fault) => return Some(Err(fault)),
        };
        let name = Series::of_publication(&publication).name();
        if Series::home(host.map(), &name) != host.shard() {
            return None;
        }
        let ticket = (source == Source::RpcPublish).then(|| self.tickets.open(host.now()));
        publication.cookie = ticket;
        Some(match (self.send_publish(host, publication), ticket) {
            (Ok(Taken::Accepted | Taken::Handed), Some(ticket)) => {
                Err(fault(Fault::LATER, &format!("{}.{ticket}", host.shard().0)))
            }
            (Ok(_), _) => Ok("{}".to_owned()),
            (Err(refused), _) => Err(refusal(refused)),
        })
    }

    fn read_publication(&self, arguments: &[&str], source: Source) -> Result<Publication> {
        let [presentity, expires, event, content_type, id, etag, proxy, extra, rest @ ..] =
            arguments
        else {
            return Err(fault(400, "eight arguments and a body wanted"));
        };
        let expires: i64 = expires.parse().map_err(|_| fault(400, "Bad expires"))?;
        let package = self.packages.named(event).ok_or_else(|| fault(400, "Unknown event"))?;
        let given = |text: &str| (text != ".").then(|| text.to_owned());
        let body = rest.first().filter(|body| !body.is_empty());
        if body.is_none() && *content_type != "." {
            return Err(fault(400, "Body is missing"));
        }
        let mut extra = given(extra).unwrap_or_default();
        if !extra.is_empty() && !extra.ends_with("\r\n") {
            extra.push_str("\r\n");
        }
        Ok(Publication {
            body: body.map(|body| body.as_bytes().to_vec()),
            wanted: Wanted::from_number(expires),
            content_type: given(content_type),
            etag: given(etag),
            outbound_proxy: given(proxy),
            extra_headers: extra,
            ..Publication::new(source, package.id, presentity, &given(id).unwrap_or_default())
        })
    }

    fn ticket(&mut self, host: &mut impl Host<Pua>, text: &str) -> Option<Result<String>> {
        let (shard, ticket) = text.split_once('.')?;
        if shard.parse() != Ok(host.shard().0) {
            return None;
        }
        let ticket: u64 = ticket.parse().ok()?;
        Some(match self.tickets.take(ticket) {
            Err(fault) => Err(fault),
            Ok(None) => Err(fault(Fault::LATER, text)),
            Ok(Some(Ended::Done { etag, expires, .. })) => Ok(json::object(|json| {
                json.text("SIP-ETag", &etag).number("Expires", expires);
            })),
            Ok(Some(Ended::Refused(refused))) => Err(refusal(refused)),
            Ok(Some(
                Ended::Failed { .. } | Ended::TimedOut | Ended::Nothing | Ended::Superseded,
            )) => Ok("{}".to_owned()),
        })
    }

    fn subscribe_command(
        &mut self,
        host: &mut impl Host<Pua>,
        arguments: &[&str],
    ) -> Option<Result<String>> {
        let [presentity, watcher, event, expires, ..] = arguments else {
            return Some(Err(fault(400, "presentity, watcher, event and expires wanted")));
        };
        let Some(package) = self.packages.named(event) else {
            return Some(Err(fault(404, "Unknown event")));
        };
        let Ok(expires) = expires.parse::<i64>() else {
            return Some(Err(fault(400, "Bad expires")));
        };
        let mut subscription =
            Subscription::new(Source::RpcSubscribe, package.id, presentity, watcher);
        subscription.wanted = Wanted::from_number(expires);
        let name = Series::of_subscription(&subscription).name();
        if Series::home(host.map(), &name) != host.shard() {
            return None;
        }
        Some(match self.send_subscribe(host, subscription) {
            Ok(_) => Ok("{}".to_owned()),
            Err(Refused::Unwritable) => Err(fault(400, "Bad URI")),
            Err(refused) => Err(refusal(refused)),
        })
    }

    /// Records whose presentity, watcher, id or package contains a text.
    fn list(&self, host: &impl Host<Pua>, filter: &str) -> String {
        let now = host.now();
        let matches = |record: &Record| {
            let series = &record.series;
            let package = self.packages.get(series.event).map_or("", |package| &package.name);
            let texts = [&*series.presentity, &*series.watcher, &*series.id, package];
            filter.is_empty() || texts.iter().any(|text| text.contains(filter))
        };
        json::array(|json| {
            let found = self.table.iter().filter(|(_, record)| matches(record));
            for (_, record) in found.take(LISTED_MAX) {
                json.object("", |json| self.write_record(json, record, now));
            }
        })
    }

    fn write_record(&self, json: &mut Json<'_>, record: &Record, now: Instant) {
        let series = &record.series;
        let package = self.packages.get(series.event).map_or("", |package| &package.name);
        json.text("name", &record.name)
            .text("kind", kind_name(series.kind))
            .text("presentity", &series.presentity)
            .text("watcher", &series.watcher)
            .text("event", package)
            .text("id", &series.id)
            .number("source", series.source.bit())
            .number("in_flight", u8::from(record.flight.is_some()))
            .number("failures", record.failures);
        let left = |end: Instant| end.since(now).as_secs();
        match record.until {
            Until::Gone => json.number("wanted", 0),
            Until::At(end) => json.number("wanted", left(end)),
            Until::Forever => json.number("wanted", -1),
        };
        if let Some(held) = record.held() {
            json.text("etag", &held.etag).number("expires", left(held.until));
        }
        if let Some(publishing) = record.publishing() {
            json.number("version", publishing.version.saturating_sub(1));
        }
        if let Some(leg) = record.leg() {
            json.text("call_id", &leg.call_id)
                .text("target", &leg.target)
                .number("established", u8::from(leg.is_established()))
                .number("expires", left(leg.until));
        }
    }

    fn one(
        &mut self,
        host: &mut impl Host<Pua>,
        arguments: &[&str],
        work: fn(&mut Pua, Instant, RecordId) -> String,
    ) -> Option<Result<String>> {
        let Some(name) = arguments.first() else {
            return Some(Err(fault(400, "name: missing")));
        };
        if Series::home(host.map(), name) != host.shard() {
            return None;
        }
        let Some(id) = self.table.named(name) else {
            return Some(Err(fault(404, "no such record")));
        };
        let now = host.now();
        let answer = work(self, now, id);
        self.changed(host, id);
        self.drive(host, id);
        Some(Ok(answer))
    }

    fn show(&mut self, now: Instant, id: RecordId) -> String {
        json::object(|json| {
            if let Some(record) = self.table.get(id) {
                self.write_record(json, record, now);
                let body = record.publishing().and_then(|it| it.body.as_deref());
                if let Some(body) = body {
                    json.text("body", &String::from_utf8_lossy(body));
                }
            }
        })
    }

    /// It is to be removed at the server, and then here.
    fn remove(&mut self, _: Instant, id: RecordId) -> String {
        if let Some(record) = self.table.get_mut(id) {
            record.until = Until::Gone;
            record.life = record.life.wrapping_add(1);
            record.pause = None;
        }
        "{}".to_owned()
    }
}

fn refusal(refused: Refused) -> Fault {
    match refused {
        Refused::UnknownEtag => fault(500, "Wrong ETag"),
        Refused::NoBody => fault(400, "Body is missing"),
        Refused::UnknownEvent => fault(400, "Unknown event"),
        Refused::Unwritable => fault(400, "Bad URI, header or content type"),
        Refused::BadBody => fault(400, "Bad body"),
        Refused::TooLong => fault(400, "Body too long"),
        Refused::Full => fault(503, "Full"),
        Refused::NoStorage => fault(503, "No storage"),
    }
}
