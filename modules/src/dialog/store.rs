//! Dialogs in storage: written as `db_mode` says, and read at start.
//!
//! For: calls that survive this process.
//! Not here: rows and columns (`row.rs`).
//! Invariants: only answered dialogs are written; one that is forgotten is deleted, with its
//! variables; of two writes the later one counts, over restarts too.

use super::create::empty;
use super::limits::{FLUSH_MAX, FLUSH_PAUSE, TAKE_MAX};
use super::profile::{Group, Peer};
use super::record::{Ending, Flags, Leg, Record, Side};
use super::row::{DialogRow, LegRow, Row, Terms, VariableRow};
use super::settings::DbMode;
use super::state::State;
use super::table::DialogId;
use super::texts::Field;
use super::{Dialog, DialogEventKind, Timer, event, instant_of};
use std::collections::VecDeque;
use strowger_sip::date::UnixTime;
use strowger_sip::module::Host;
use strowger_sip::storage::{Haste, Ticket, Version};
use strowger_sip::time::Instant;
use strowger_sip::transport::{ListenerId, Transport};

/// What waits to be written, and walks through all dialogs.
#[derive(Debug, Default)]
pub(super) struct Store {
    last_version: Version,
    dirty: VecDeque<DialogId>,
    is_flushing: bool,
    walks: VecDeque<(Walk, usize)>,
    /// When storage last refused what somebody waited for.
    pub(super) refused: Option<Instant>,
}

/// Something that is done to every dialog, a few at a time.
#[derive(Clone, Debug)]
enum Walk {
    /// Those of a profile last so many seconds from here on.
    Lifetimes(u16, Option<Group>, u32),
    /// Each is written.
    WriteAll,
    /// Those that storage has and this shard has not are taken over: a slot at a step.
    Take,
}

impl Dialog {
    pub(super) fn start_store(&mut self, host: &mut impl Host<Dialog>) {
        if self.settings.database.mode == DbMode::Delayed {
            host.arm(host.now() + self.settings.database.update_period, Timer::Flush);
        }
    }

    /// The terms of a change that is made now.
    fn terms(&mut self, host: &impl Host<Dialog>, haste: Haste, ticket: Option<Ticket>) -> Terms {
        let version = self.next_version(host);
        Terms { tables: self.settings.database.tables, version, haste, ticket }
    }

    fn next_version(&mut self, host: &impl Host<Dialog>) -> Version {
        let clock = u64::try_from(host.unix_time().as_micros()).unwrap_or(u64::MAX);
        let last = &mut self.store.last_version;
        *last = Version(clock).max(Version(last.0.saturating_add(1)));
        *last
    }

    /// Something of a dialog has changed that its row shows.
    pub(super) fn changed(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        match self.settings.database.mode {
            DbMode::None | DbMode::Shutdown => {}
            DbMode::Realtime => {
                self.write(host, id, Haste::Now, None);
            }
            DbMode::Delayed => {
                let Some(record) = self.table.get_mut(id) else { return };
                if record.state.is_active() && !record.flags.has(Flags::DIRTY) {
                    record.flags.set(Flags::DIRTY, true);
                    self.store.dirty.push_back(id);
                }
            }
        }
    }

    /// Writes a dialog, and its variables when they are not there yet; how many rows that were.
    pub(super) fn write(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        haste: Haste,
        ticket: Option<Ticket>,
    ) -> usize {
        let Some(record) = self.table.get(id) else { return 0 };
        if !record.state.is_active() {
            return 0;
        }
        let first = !record.flags.has(Flags::STORED);
        let row = self.row_of(host, record);
        // Storage says which one, with table and key.
        self.counters.rows_too_long += u64::from(first && !row.fits());
        let terms = self.terms(host, haste, ticket);
        host.store(Row::Put(Box::new(row), terms));
        if let Some(record) = self.table.get_mut(id) {
            record.flags.set(Flags::STORED, true);
            record.flags.set(Flags::DIRTY, false);
        }
        if first || haste == Haste::Later {
            1 + self.write_variables(host, id, haste, ticket)
        } else {
            1
        }
    }

    /// The rows of a dialog's variables.
    pub(super) fn variable_rows(&self, id: DialogId) -> Vec<VariableRow> {
        let Some(record) = self.table.get(id) else { return Vec::new() };
        let row = |(name, value)| VariableRow {
            key: record.key,
            name: event::text(name),
            value: event::text(value),
        };
        record.pairs.variables().map(row).collect()
    }

    fn write_variables(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        haste: Haste,
        ticket: Option<Ticket>,
    ) -> usize {
        let rows = self.variable_rows(id);
        let count = rows.len();
        for row in rows {
            self.counters.rows_too_long += u64::from(!row.fits());
            let terms = self.terms(host, haste, ticket);
            host.store(Row::PutVariable(Box::new(row), terms));
        }
        count
    }

    /// A variable was set or removed.
    pub(super) fn variable_changed(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        name: &[u8],
    ) {
        let Some(record) = self.table.get(id) else { return };
        if !record.flags.has(Flags::STORED) {
            return self.changed(host, id);
        }
        let (key, value) = (record.key, record.pairs.variable(name).map(event::text));
        let (name, haste) = (event::text(name), self.haste());
        let terms = self.terms(host, haste, None);
        host.store(match value {
            Some(value) => {
                let row = VariableRow { key, name, value };
                self.counters.rows_too_long += u64::from(!row.fits());
                Row::PutVariable(Box::new(row), terms)
            }
            None => Row::RemoveVariable(key, name, terms),
        });
    }

    fn haste(&self) -> Haste {
        match self.settings.database.mode {
            DbMode::Realtime => Haste::Now,
            DbMode::None | DbMode::Delayed | DbMode::Shutdown => Haste::Later,
        }
    }

    /// A dialog is over: its rows go.
    pub(super) fn unstore(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let Some(record) = self.table.get(id) else { return };
        if !record.flags.has(Flags::STORED) {
            return;
        }
        let key = record.key;
        let names: Vec<String> =
            record.pairs.variables().map(|(name, _)| event::text(name)).collect();
        let haste = self.haste();
        for name in names {
            let terms = self.terms(host, haste, None);
            host.store(Row::RemoveVariable(key, name, terms));
        }
        let terms = self.terms(host, haste, None);
        host.store(Row::Remove(key, terms));
        if let Some(record) = self.table.get_mut(id) {
            record.flags.set(Flags::STORED, false);
        }
    }

    /// Writes what has changed, some of it at once and the rest in a moment.
    pub(super) fn flush(&mut self, host: &mut impl Host<Dialog>) {
        for _ in 0..FLUSH_MAX {
            let Some(id) = self.store.dirty.pop_front() else { break };
            if self.table.get(id).is_some_and(|record| record.flags.has(Flags::DIRTY)) {
                self.write(host, id, Haste::Later, None);
            }
        }
        let rest = !self.store.dirty.is_empty();
        let pause = if rest { FLUSH_PAUSE } else { self.settings.database.update_period };
        host.arm(host.now() + pause, Timer::Flush);
    }

    pub(super) fn row_of(&self, host: &impl Host<Dialog>, record: &Record) -> DialogRow {
        let now = host.now();
        let of = |field| event::text(record.text(field));
        let leg = |side: Side| LegRow {
            uri: of(side.uri()),
            tag: of(side.tag()),
            cseq: record.leg(side).cseq,
            routes: of(side.routes()),
            contact: of(side.contact()),
            socket: socket(host, record.leg(side).listener),
        };
        let left = record.left(now).map_or(0, |left| left.as_secs());
        let timeout = UnixTime::from_secs(host.unix_time().as_secs() + left);
        let profiles = record.pairs.memberships().filter_map(|(profile, value)| {
            let (name, _) = self.settings.profiles.get(usize::from(profile))?;
            Some((name.clone(), event::text(value)))
        });
        DialogRow {
            key: record.key,
            cookie: record.cookie,
            call_id: of(Field::CallId),
            caller: leg(Side::Caller),
            callee: leg(Side::Callee),
            state: record.state.number(),
            start: u32::try_from(record.start.as_secs()).unwrap_or(u32::MAX),
            timeout: u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX),
            script_flags: record.script_flags,
            flags: record.flags.0 & Flags::KEPT,
            timeout_route: of(Field::TimeoutRoute),
            request_uri: of(Field::RequestUri),
            profiles: profiles.collect(),
        }
    }

    pub(super) fn on_row(&mut self, host: &mut impl Host<Dialog>, row: Row) {
        let loads = match self.settings.database.mode {
            DbMode::None => false,
            DbMode::Realtime | DbMode::Delayed | DbMode::Shutdown => {
                !self.settings.database.skip_load
            }
        };
        match row {
            Row::Loaded(row) if loads => self.load(host, &row),
            Row::LoadedVariable(row) if loads => self.load_variable(host, &row),
            Row::Found(rows, variables, faulty) => {
                self.counters.rows_refused += faulty as u64;
                for row in rows {
                    let known = self.table.by_key(row.key).is_some();
                    self.load(host, &row);
                    if !known && self.table.by_key(row.key).is_some() {
                        let tables = self.settings.database.tables;
                        host.store(Row::FindVariables(row.key, tables));
                    }
                }
                variables.iter().for_each(|row| self.load_variable(host, row));
            }
            Row::Settled(ticket, outcome) => self.settled(host, ticket, outcome),
            Row::Resync => self.walk(host, Walk::WriteAll),
            Row::Loaded(_) | Row::LoadedVariable(_) => {}
            // These go to storage, none comes from there.
            Row::Put(..)
            | Row::Remove(..)
            | Row::PutVariable(..)
            | Row::RemoveVariable(..)
            | Row::Find(..)
            | Row::FindSlot(..)
            | Row::FindVariables(..) => {}
        }
    }

    /// Takes the dialogs of a Call-ID from storage (`dlg_db_load_callid`).
    pub(super) fn load_call(&mut self, host: &mut impl Host<Dialog>, call_id: &str) -> bool {
        let can = self.settings.database.mode != DbMode::None;
        if can {
            host.store(Row::Find(call_id.to_owned(), self.settings.database.tables));
        }
        can
    }

    /// The same on every shard.
    pub(super) fn load_extra_everywhere(&mut self, host: &mut impl Host<Dialog>) -> bool {
        let can = self.settings.database.mode != DbMode::None;
        if can {
            for shard in 0..host.map().count() {
                self.tell_shard(host, strowger_sip::shard::ShardId(shard), Peer::LoadExtra);
            }
        }
        can
    }

    /// Takes every dialog of storage that is at home on this shard and not known to it
    /// (`dlg_db_load_extra`): what another node has left behind.
    pub(super) fn load_extra(&mut self, host: &mut impl Host<Dialog>) -> bool {
        let can = self.settings.database.mode != DbMode::None;
        if can {
            self.walk(host, Walk::Take);
        }
        can
    }

    /// A dialog of storage, if it is at home here and not known yet.
    fn load(&mut self, host: &mut impl Host<Dialog>, row: &DialogRow) {
        let ids = self.ids(host);
        // Of every row, since another shard may have given out its id before.
        self.table.above(row.key.id, ids);
        let home = host.map().home(row.call_id.as_bytes());
        if home != host.shard() || self.table.by_key(row.key).is_some() {
            return;
        }
        let Some(record) = self.record_of(host, row) else {
            self.counters.rows_refused += 1;
            return;
        };
        let Some(id) = self.table.insert(record) else {
            self.counters.refused += 1;
            return;
        };
        for (name, value) in &row.profiles {
            if let Some(group) = self.group(name, value) {
                let (profile, value) = group.parts();
                let joined = self
                    .table
                    .get_mut(id)
                    .is_some_and(|record| record.pairs.join(profile, value).is_ok());
                if joined {
                    self.count_join(host, group);
                }
            }
        }
        if self.settings.database.mode == DbMode::Shutdown {
            // What is written when this node stops is all there is then.
            self.unstore(host, id);
        }
        self.start_keep_alive(host, id);
        self.rearm(host, id);
        self.tell(host, id, DialogEventKind::Loaded);
    }

    fn record_of(&mut self, host: &impl Host<Dialog>, row: &DialogRow) -> Option<Record> {
        let state = State::from_number(row.state)?;
        let (now, today) = (host.now(), super::today(host));
        let (mut texts, pairs) = (self.table.texts(), self.table.pairs());
        let (caller, callee) = (&row.caller, &row.callee);
        for (field, text) in [
            (Field::CallId, &row.call_id),
            (Field::FromUri, &caller.uri),
            (Field::FromTag, &caller.tag),
            (Field::ToUri, &callee.uri),
            (Field::ToTag, &callee.tag),
            (Field::RequestUri, &row.request_uri),
            (Field::CallerContact, &caller.contact),
            (Field::CalleeContact, &callee.contact),
            (Field::CallerRoutes, &caller.routes),
            (Field::CalleeRoutes, &callee.routes),
            (Field::TimeoutRoute, &row.timeout_route),
        ] {
            texts.set(field, text.as_bytes()).ok()?;
        }
        let leg = |leg: &LegRow| Leg {
            cseq: leg.cseq,
            listener: listener(host, &leg.socket),
            ..Leg::default()
        };
        let timeout = UnixTime::from_secs(u64::from(row.timeout));
        let start = UnixTime::from_secs(u64::from(row.start));
        let lifetime = timeout.since(start.max(UnixTime::from_secs(1))).as_secs();
        let mut flags = Flags(row.flags & Flags::KEPT);
        flags.set(Flags::LOADED, true);
        flags.set(Flags::STORED, true);
        flags.set(Flags::CALLEE_KNOWN, state >= State::ConfirmedNa);
        flags.set(Flags::CUT, false);
        let ended = state == State::Deleted;
        Some(Record {
            cookie: row.cookie,
            state,
            ending: if ended { Ending::Told } else { Ending::No },
            flags,
            script_flags: row.script_flags,
            legs: [leg(caller), leg(callee)],
            init: start,
            start,
            end: if ended { today } else { UnixTime::default() },
            lifetime_seconds: u32::try_from(lifetime).unwrap_or(u32::MAX).max(1),
            deadline: state.is_active().then(|| instant_of(host, timeout)),
            watch: match state {
                State::Unconfirmed | State::Early => Some(now + self.settings.early_timeout),
                State::ConfirmedNa => Some(now + self.settings.noack_timeout),
                State::Confirmed => None,
                State::Deleted => Some(now + self.settings.end_timeout),
            },
            ..empty(row.key, texts, pairs)
        })
    }

    fn load_variable(&mut self, host: &mut impl Host<Dialog>, row: &VariableRow) {
        let Some(id) = self.table.by_key(row.key) else { return };
        let Some(record) = self.table.get_mut(id) else { return };
        if record.pairs.set_variable(row.name.as_bytes(), row.value.as_bytes()).is_err() {
            self.counters.rows_refused += 1;
        }
        let side = match row.name.as_str() {
            "cseq_diff" => Some(Side::Caller),
            "cseq_diff_callee" => Some(Side::Callee),
            _ => None,
        };
        if let (Some(side), Ok(shift)) = (side, row.value.parse::<u32>()) {
            let leg = record.leg_mut(side);
            (leg.shift, leg.invite_shift) = (shift, shift);
            self.has_shifts |= shift != 0;
        }
        if self.settings.database.mode == DbMode::Shutdown {
            let terms = self.terms(host, Haste::Later, None);
            host.store(Row::RemoveVariable(row.key, row.name.clone(), terms));
        }
    }

    /// Every dialog of a profile, on every shard, lasts so long from here on.
    pub(super) fn lifetimes(
        &mut self,
        host: &mut impl Host<Dialog>,
        profile: &str,
        value: Option<&str>,
        seconds: u32,
    ) -> bool {
        let Some((number, _)) = self.profile(profile) else { return false };
        let group = match value {
            None => None,
            Some(value) => match self.group(profile, value) {
                Some(group) => Some(group),
                None => return false,
            },
        };
        for shard in 0..host.map().count() {
            let shard = strowger_sip::shard::ShardId(shard);
            self.tell_shard(host, shard, Peer::Lifetimes(number, group.clone(), seconds));
        }
        true
    }

    pub(super) fn start_walk(
        &mut self,
        host: &mut impl Host<Dialog>,
        (profile, group, seconds): (u16, Option<Group>, u32),
    ) {
        self.walk(host, Walk::Lifetimes(profile, group, seconds));
    }

    fn walk(&mut self, host: &mut impl Host<Dialog>, walk: Walk) {
        self.store.walks.push_back((walk, 0));
        if !std::mem::replace(&mut self.store.is_flushing, true) {
            self.walk_on(host);
        }
    }

    /// A few dialogs further.
    pub(super) fn walk_on(&mut self, host: &mut impl Host<Dialog>) {
        let Some((walk, from)) = self.store.walks.pop_front() else {
            self.store.is_flushing = false;
            return;
        };
        let whole = match walk {
            Walk::Lifetimes(..) | Walk::WriteAll => self.table.slots(),
            Walk::Take => usize::try_from(self.settings.slots).unwrap_or(usize::MAX),
        };
        let step = if matches!(walk, Walk::Take) { TAKE_MAX } else { FLUSH_MAX };
        let end = (from + step).min(whole);
        for slot in from..end {
            if let (Walk::Take, Ok(slot)) = (&walk, u32::try_from(slot)) {
                host.store(Row::FindSlot(slot, self.settings.database.tables));
                continue;
            }
            let Some((id, record)) = self.table.at(slot) else { continue };
            match &walk {
                Walk::WriteAll => {
                    self.write(host, id, Haste::Later, None);
                }
                Walk::Take => {}
                Walk::Lifetimes(profile, group, seconds) => {
                    let is_in = match group {
                        Some(group) => {
                            let (profile, value) = group.parts();
                            record.pairs.is_member(profile, value)
                        }
                        None => record.pairs.memberships().any(|(own, _)| own == *profile),
                    };
                    if is_in {
                        self.set_lifetime(host, id, *seconds);
                    }
                }
            }
        }
        if end < whole {
            self.store.walks.push_front((walk, end));
        }
        if self.store.walks.is_empty() {
            self.store.is_flushing = false;
        } else {
            host.arm(host.now() + FLUSH_PAUSE, Timer::Walk);
        }
    }

    /// The node stops: with `db_mode` 3 this is when dialogs are written.
    pub(super) fn write_at_stop(&mut self, host: &mut impl Host<Dialog>) {
        match self.settings.database.mode {
            DbMode::None | DbMode::Realtime => {}
            DbMode::Delayed => {
                while let Some(id) = self.store.dirty.pop_front() {
                    self.write(host, id, Haste::Later, None);
                }
            }
            DbMode::Shutdown => {
                for slot in 0..self.table.slots() {
                    if let Some((id, _)) = self.table.at(slot) {
                        self.write(host, id, Haste::Later, None);
                    }
                }
            }
        }
    }
}

/// A listener as rows and listings name it; empty for none.
pub(super) fn socket(host: &impl Host<Dialog>, listener: Option<ListenerId>) -> String {
    let listener = listener.and_then(|id| host.listeners().get(id));
    listener.map_or_else(String::new, |known| format!("{}:{}", known.transport, known.bound))
}

/// The listener that a row names; `None` when this node has it not.
fn listener(host: &impl Host<Dialog>, socket: &str) -> Option<ListenerId> {
    let (transport, address) = socket.split_once(':')?;
    let transport = Transport::from_name(transport.as_bytes())?;
    let bound: std::net::SocketAddr = address.parse().ok()?;
    let mut listeners = host.listeners().iter();
    listeners.find(|(_, known)| known.transport == transport && known.bound == bound).map(|it| it.0)
}
