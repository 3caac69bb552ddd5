//! Keep-alives: requests and empty lines to contacts, spread evenly over their interval.
//!
//! For: keeping NAT bindings open (`natping_*`), noticing contacts that are gone (`ka_*`).
//! Not here: which settings exist (`settings.rs`), client transactions (`core/sip`).
//! Invariants: in one round every contact that wants it is visited once; one timer a shard, however
//! many contacts.

use super::apply::{SWEEP_DELAY, SWEEP_TICK};
use super::contact::Contact;
use super::event::ContactEventKind;
use super::settings::{KeepAlive, Settings};
use super::table::RecordId;
use super::{Location, Ping, Timer};
use std::ops::Range;
use std::rc::Rc;
use strowger_sip::date::UnixTime;
use strowger_sip::message::{NameAddr, Scheme, UriBuilder};
use strowger_sip::module::{Heard, Host};
use strowger_sip::time::{Duration, Instant};
use strowger_sip::transport::{Flow, Transport};

/// How often a Call-ID is drawn until its hash falls on this shard; a hundred shards need that many
/// for a miss in a thousand, and a miss costs one hop through the mesh.
const CALL_ID_DRAWS: usize = 700;

/// The two rounds of one shard.
#[derive(Debug)]
pub(crate) struct Sweep {
    requests: Option<Round>,
    lines: Option<Round>,
}

/// A walk through the table.
#[derive(Debug)]
struct Round {
    interval: Duration,
    begins: Instant,
    next: usize,
}

impl Round {
    fn new(interval: Duration, begins: Instant) -> Option<Round> {
        (interval > Duration::ZERO).then_some(Round { interval, begins, next: 0 })
    }

    /// The slots whose turn it is; `late` delays the round after a full one.
    fn turn(&mut self, now: Instant, slots: usize, late: Duration) -> Range<usize> {
        if now < self.begins {
            return 0..0;
        }
        let from = self.next.min(slots);
        let elapsed = (now - self.begins).as_micros();
        if elapsed >= self.interval.as_micros() {
            (self.begins, self.next) = (now + late, 0);
            return from..slots;
        }
        let share = slots as u128 * elapsed / self.interval.as_micros();
        let to = usize::try_from(share).unwrap_or(slots).max(from);
        self.next = to;
        from..to
    }
}

/// One keep-alive that is due.
enum Due {
    Request {
        record: RecordId,
        contact: Contact,
    },
    Line(Contact),
    /// It has not answered for too long.
    Silent {
        record: RecordId,
        contact: Contact,
    },
}

impl Location {
    /// Begins the rounds when there is something to visit and they do not run.
    pub(super) fn start_sweep(&mut self, host: &mut impl Host<Location>) {
        if self.sweep.is_some() || self.size().1 == 0 {
            return;
        }
        let settings = &self.settings.keep_alive;
        let begins = host.now() + SWEEP_DELAY;
        let requests =
            (settings.mode != 0).then(|| Round::new(settings.interval, begins)).flatten();
        let lines = Round::new(settings.natping_interval, begins);
        if requests.is_some() || lines.is_some() {
            self.sweep = Some(Sweep { requests, lines });
            host.arm(begins, Timer::Sweep);
        }
    }

    /// The next tick of the rounds.
    pub(super) fn sweep(&mut self, host: &mut impl Host<Location>) {
        let settings = Rc::clone(&self.settings);
        let Some(mut sweep) = self.sweep.take() else { return };
        if self.size().1 == 0 {
            return; // the next contact begins them anew
        }
        let today = self.today(host);
        let now = host.now();
        let late = settings.keep_alive.interval * settings.keep_alive.randomize / 100;
        let late = u64::try_from(late.as_micros()).unwrap_or(0);
        let late = Duration::from_micros(host.entropy().below(late + 1));
        let slots = self.table.as_ref().map_or(0, |table| table.slots());
        let mut due = Vec::new();
        if let Some(round) = &mut sweep.requests {
            let turn = round.turn(now, slots, late);
            self.due_requests(turn, &settings, today, &mut due);
        }
        if let Some(round) = &mut sweep.lines {
            let turn = round.turn(now, slots, Duration::ZERO);
            self.due_lines(turn, &settings.keep_alive, &mut due);
        }
        self.sweep = Some(sweep);
        host.arm(now + SWEEP_TICK, Timer::Sweep);
        for due in due {
            self.ping(host, due);
        }
    }

    fn due_requests(
        &self,
        turn: Range<usize>,
        settings: &Settings,
        today: UnixTime,
        due: &mut Vec<Due>,
    ) {
        let (own, settings) = (settings.server_id, &settings.keep_alive);
        let silence = settings.interval + settings.timeout;
        for (id, contact) in self.visited(turn) {
            let quiet =
                settings.timeout > Duration::ZERO && today.since(contact.facts.heard) > silence;
            let foreign = settings.own_only && contact.facts.server_id != own;
            if foreign || !wants_requests(contact, settings.mode) {
                continue;
            }
            let (record, contact) = (id, contact.clone());
            due.push(match quiet {
                true => Due::Silent { record, contact },
                false => Due::Request { record, contact },
            });
        }
    }

    fn due_lines(&self, turn: Range<usize>, settings: &KeepAlive, due: &mut Vec<Due>) {
        let wants = |contact: &Contact| contact.facts.natted || !settings.ping_nated_only;
        let visited = self.visited(turn).filter(|(_, contact)| wants(contact));
        due.extend(visited.map(|(_, contact)| Due::Line(contact.clone())));
    }

    fn visited(&self, turn: Range<usize>) -> impl Iterator<Item = (RecordId, &Contact)> {
        let records = self
            .table
            .iter()
            .flat_map(move |table| turn.clone().filter_map(move |slot| table.at(slot)));
        records.flat_map(|(id, record)| record.contacts.iter().map(move |contact| (id, contact)))
    }

    fn ping(&mut self, host: &mut impl Host<Location>, due: Due) {
        match due {
            Due::Silent { record, contact } => self.drop_silent(host, record, &contact),
            Due::Line(contact) => {
                if let Some(flow) = flow_of(host, &contact) {
                    self.counters.pings += 1;
                    host.send(flow, b"\r\n\r\n");
                }
            }
            Due::Request { record, contact } => {
                let Some(flow) = flow_of(host, &contact) else { return };
                let request = self.keep_alive_request(host, record, &contact);
                let ping = Ping { record, version: contact.facts.version };
                if host.originate(flow, &request, ping).is_ok() {
                    self.counters.pings += 1;
                }
            }
        }
    }

    fn drop_silent(&mut self, host: &mut impl Host<Location>, record: RecordId, contact: &Contact) {
        let Some(record) = self.table.as_ref().and_then(|table| table.get(record)) else { return };
        let aor = record.aor.clone();
        let version = contact.facts.version;
        let (gone, kept): (Vec<Contact>, Vec<Contact>) =
            record.contacts.iter().cloned().partition(|known| known.facts.version == version);
        self.counters.silent += gone.len() as u64;
        self.drop_contacts(host, &aor, gone, kept, ContactEventKind::Delete);
    }

    /// A contact has answered, or not: silence shows when its next turn comes.
    pub(super) fn pinged(&mut self, host: &mut impl Host<Location>, ping: Ping, answer: Heard<'_>) {
        let today = self.today(host);
        let codes = &self.settings.keep_alive.reply_codes;
        let alive = match answer {
            Heard::Response(response) => response.status().is_some_and(|status| {
                status.is_success() || codes.is_empty() || codes.contains(&status.code())
            }),
            Heard::Timeout => false,
            Heard::Transport => false,
        };
        let record = self.table.as_mut().and_then(|table| table.get_mut(ping.record));
        let contacts = record.into_iter().flat_map(|record| record.contacts.iter_mut());
        for contact in contacts.filter(|contact| contact.facts.version == ping.version) {
            if alive {
                contact.facts.heard = today;
            }
        }
    }

    fn keep_alive_request(
        &self,
        host: &mut impl Host<Location>,
        record: RecordId,
        contact: &Contact,
    ) -> Vec<u8> {
        let settings = &self.settings.keep_alive;
        let mut call_id = String::new();
        for _ in 0..CALL_ID_DRAWS {
            call_id = format!("ka-{:016x}@{}", host.entropy().next_u64(), self.node);
            if host.map().home(call_id.as_bytes()) == host.shard() {
                break;
            }
        }
        let tag = host.entropy().next_u64();
        let (texts, method) = (contact.texts(), settings.method.as_bytes());
        let mut request = Vec::with_capacity(512);
        for part in [method, b" ", texts.uri, b" SIP/2.0\r\n"] {
            request.extend_from_slice(part);
        }
        if !texts.path.is_empty() {
            for part in [b"Route: ", texts.path, b"\r\n"] {
                request.extend_from_slice(part);
            }
        }
        let from = format!("From: <{}>;tag={tag:016x}\r\nTo: <", settings.from);
        let rest = format!(
            ">\r\nCall-ID: {call_id}\r\nCSeq: 1 {}\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            settings.method
        );
        let record = self.table.as_ref().and_then(|table| table.get(record));
        let named = record.filter(|_| !settings.domain.is_empty()).map(|record| {
            let uri = UriBuilder::new(Scheme::Sip, &settings.domain);
            uri.user(record.aor.parts().0).to_string()
        });
        let to = named.as_deref().map_or(texts.uri, str::as_bytes);
        for part in [from.as_bytes(), to, rest.as_bytes()] {
            request.extend_from_slice(part);
        }
        request
    }
}

/// `ka_mode`: 1 all, 2 those behind a NAT, 4 only those over UDP.
fn wants_requests(contact: &Contact, mode: u32) -> bool {
    let chosen = mode & 1 != 0 || (mode & 2 != 0 && contact.facts.natted) || mode == 4;
    let udp = contact.facts.flow.is_none_or(|flow| flow.transport == Transport::Udp);
    chosen && (mode & 4 == 0 || udp)
}

fn flow_of(host: &impl Host<Location>, contact: &Contact) -> Option<Flow> {
    let destination = contact.destination();
    if let Some(flow) = destination.flow {
        return Some(flow);
    }
    let first = destination.path.and_then(|path| NameAddr::list(path).next()?.ok());
    let uri = first.map(|first| first.uri).or(destination.next_hop).unwrap_or(destination.uri);
    host.flow_to(uri, contact.facts.listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::secs;

    #[test]
    fn a_round_visits_every_slot_once_and_evenly() {
        let mut round = Round::new(secs(40), Instant::START).expect("a round");
        let mut visits = vec![0; 1000];
        let mut longest = 0;
        for tick in 0..400 {
            let now = Instant::START + SWEEP_TICK * tick;
            let turn = round.turn(now, 1000, Duration::ZERO);
            longest = longest.max(turn.len());
            visits[turn].iter_mut().for_each(|count| *count += 1);
        }
        let turn = round.turn(Instant::START + secs(40), 1000, Duration::ZERO);
        visits[turn].iter_mut().for_each(|count| *count += 1);
        assert!(visits.iter().all(|count| *count == 1));
        assert!(longest <= 3, "{longest} at once");
    }
}
