//! Dialogs as commands show them.
//!
//! For: the fields of `dlg.list` and its kin, in Kamailio's order; pages of long lists.
//! Not here: which dialogs are asked for (`command.rs`).
//! Invariants: one page is bounded, however many dialogs there are.

use super::event::text;
use super::limits::{PAGE_MAX, WALK_MAX};
use super::record::{Bye, Ending, Flags, Record, Side};
use super::state::State;
use super::store::socket;
use super::table::DialogId;
use super::texts::Field;
use super::{Dialog, today};
use crate::json::{self, Json};
use strowger_sip::module::Host;

/// How much of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// At most so many dialogs.
    pub(super) limit: usize,
    /// From this place on: what the page before has named as `next`.
    pub(super) from: usize,
}

impl Page {
    pub(super) const FIRST: Page = Page { limit: PAGE_MAX, from: 0 };
}

impl Dialog {
    /// One page: dialogs that fit, and where the next page begins, if there is more.
    pub(super) fn page(
        &self,
        page: Page,
        fits: impl Fn(&Record) -> bool,
        write: impl Fn(&mut Json<'_>, DialogId, &Record),
    ) -> String {
        let limit = page.limit.clamp(1, PAGE_MAX);
        let end = self.table.slots().min(page.from.saturating_add(WALK_MAX));
        let (mut shown, mut next) = (0, page.from.min(end));
        json::object(|json| {
            json.array("dialogs", |json| {
                while next < end && shown < limit {
                    if let Some((id, record)) = self.table.at(next).filter(|(_, it)| fits(it)) {
                        json.object("", |json| write(json, id, record));
                        shown += 1;
                    }
                    next += 1;
                }
            });
            if next < self.table.slots() {
                json.number("next", next as u64);
            }
        })
    }

    /// One dialog, as `dlg.list` shows it.
    pub(super) fn write_dialog(&self, host: &impl Host<Dialog>, json: &mut Json<'_>, it: &Record) {
        let (now, day) = (host.now(), today(host));
        let of = |field| text(it.text(field));
        json.number("h_entry", it.key.entry).number("h_id", it.key.id).number("ref", it.holders);
        json.text("call-id", &of(Field::CallId)).text("from_uri", &of(Field::FromUri));
        json.text("to_uri", &of(Field::ToUri)).number("state", it.state.number());
        json.number("start_ts", it.start.as_secs()).number("init_ts", it.init.as_secs());
        json.number("end_ts", it.end.as_secs()).number("duration", it.duration(day));
        let timeout = it.left(now).map_or(0, |left| day.as_secs() + left.as_secs());
        json.number("timeout", timeout).number("lifetime", lifetime(it));
        json.number("dflags", dflags(it)).number("sflags", it.script_flags);
        json.number("iflags", it.flags.0 & Flags::KEPT);
        for (name, side) in [("caller", Side::Caller), ("callee", Side::Callee)] {
            json.object(name, |json| write_leg(host, json, it, side));
        }
        if it.state != State::Deleted {
            json.array("profiles", |json| self.write_profiles(json, it));
            json.array("variables", |json| {
                for (key, value) in it.pairs.variables() {
                    json.object("", |json| {
                        json.text(&text(key), &text(value));
                    });
                }
            });
        }
    }

    fn write_profiles(&self, json: &mut Json<'_>, it: &Record) {
        for (profile, value) in it.pairs.memberships() {
            let Some((name, _)) = self.settings.profiles.get(usize::from(profile)) else {
                continue;
            };
            if value.is_empty() {
                json.text("", name);
            } else {
                json.object("", |json| {
                    json.text(name, &text(value));
                });
            }
        }
    }

    /// What the `_ctx` listings add: how its end and its session stand.
    pub(super) fn write_context(&self, host: &impl Host<Dialog>, json: &mut Json<'_>, it: &Record) {
        let now = host.now();
        json.object("context", |json| {
            let cause = match it.ending {
                Ending::No => "",
                Ending::Asked(cause) | Ending::Hung(cause) => cause.name(),
                Ending::Told => "told",
            };
            json.text("ending", cause).text("req_uri", &text(it.text(Field::RequestUri)));
            json.text("toroute", &text(it.text(Field::TimeoutRoute)));
            if let Some(session) = it.session {
                json.number("session_expires_in", session.since(now).as_secs());
            }
            for (name, side) in [("bye_caller", Side::Caller), ("bye_callee", Side::Callee)] {
                match it.leg(side).bye {
                    Bye::None => {}
                    Bye::Sent => drop(json.text(name, "sent")),
                    Bye::Own => drop(json.text(name, "own")),
                    Bye::Answered(status) => drop(json.number(name, status)),
                }
            }
            for (name, side) in [("ka_caller", Side::Caller), ("ka_callee", Side::Callee)] {
                let answered = it.leg(side).ka_answered.as_secs();
                if answered > 0 {
                    json.number(name, answered);
                }
            }
        });
    }

    /// `dlg.briefing`: the letters of `format` choose fields.
    pub(super) fn write_brief(json: &mut Json<'_>, it: &Record, format: &str) {
        json.number("h_entry", it.key.entry).number("h_id", it.key.id);
        for letter in format.chars() {
            match letter {
                'f' => drop(json.text("from_uri", &text(it.text(Field::FromUri)))),
                't' => drop(json.text("to_uri", &text(it.text(Field::ToUri)))),
                'c' => drop(json.text("call-id", &text(it.text(Field::CallId)))),
                'F' => drop(json.text("from_tag", &text(it.text(Field::FromTag)))),
                'T' => drop(json.text("to_tag", &callee(it, Field::ToTag))),
                'I' => drop(json.number("init_ts", it.init.as_secs())),
                'S' => drop(json.number("start_ts", it.start.as_secs())),
                'E' => drop(json.number("end_ts", it.end.as_secs())),
                's' => drop(json.number("state", it.state.number())),
                _ => {}
            }
        }
    }
}

/// What is shown as lifetime: what is left of it, once it was cut.
fn lifetime(it: &Record) -> u32 {
    let cut = it.flags.has(Flags::NO_ACK) || it.flags.has(Flags::CUT);
    if cut { 10 } else { it.lifetime_seconds }
}

/// Kamailio's bits, as far as they mean something here.
fn dflags(it: &Record) -> u16 {
    let bit = |on: bool, bit: u16| if on { bit } else { 0 };
    let sent = |side| it.leg(side).bye != Bye::None;
    bit(!it.flags.has(Flags::STORED), 1)
        | bit(it.flags.has(Flags::DIRTY), 2)
        | bit(it.flags.has(Flags::HAS_BYE), 4)
        | bit(sent(Side::Caller), 16)
        | bit(sent(Side::Callee), 32)
        | bit(it.flags.has(Flags::EXPIRED), 1024)
}

/// A text of the callee's leg: empty before the answer.
fn callee(it: &Record, field: Field) -> String {
    if it.knows_callee() { text(it.text(field)) } else { String::new() }
}

fn write_leg(host: &impl Host<Dialog>, json: &mut Json<'_>, it: &Record, side: Side) {
    let of = |field| match side {
        Side::Caller => text(it.text(field)),
        Side::Callee => callee(it, field),
    };
    let leg = it.leg(side);
    let known = side == Side::Caller || it.knows_callee();
    let cseq = match leg.cseq {
        Some(number) => number.to_string(),
        None if known => "0".to_owned(),
        None => String::new(),
    };
    let listener = leg.listener.filter(|_| known);
    json.text("tag", &of(side.tag())).text("contact", &of(side.contact())).text("cseq", &cseq);
    json.text("route_set", &of(side.routes())).text("socket", &socket(host, listener));
}
