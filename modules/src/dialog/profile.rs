//! Profiles: named groups of calls, counted by value.
//!
//! For: counting a value's memberships on the one shard that owns it, so that a limit is checked
//! and taken at once; memberships that come with dialogs and go with them.
//! Not here: how a routing waits for the owner (`reserve.rs`).
//! Invariants: a count is that of the messages that came for it, join for leave; a dialog is a
//! member once.

use super::limits::VALUES_MAX;
use super::reserve::Answer;
use super::table::DialogId;
use super::texts::Refused;
use super::{Dialog, Draft, Timer};
use crate::ask::AskId;
use smallvec::SmallVec;
use strowger_sip::date::UnixTime;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::module::Host;
use strowger_sip::shard::ShardId;
use strowger_sip::table::Map;
use strowger_sip::transaction::{Id, Slab};
use strowger_sip::wheel::TimerId;

/// A profile's number and one of its values, as one key; short ones take no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group(SmallVec<[u8; 36]>);

impl Group {
    pub(super) fn new(profile: u16, value: &[u8]) -> Group {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(&profile.to_be_bytes());
        bytes.extend_from_slice(value);
        Group(bytes)
    }

    pub(super) fn parts(&self) -> (u16, &[u8]) {
        match self.0.split_first_chunk::<2>() {
            Some((profile, value)) => (u16::from_be_bytes(*profile), value),
            None => (0, &[]),
        }
    }

    fn home(&self, host: &impl Host<Dialog>) -> ShardId {
        host.map().home(&self.0)
    }
}

/// What the shards' instances tell each other.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Take a place in a group, if fewer than `limit` are taken.
    Reserve {
        /// Who waits.
        ask: AskId,
        /// The request that it is for.
        transaction: ServerId,
        /// Which group.
        group: Group,
        /// How many there may be.
        limit: u32,
    },
    /// Whether it was taken.
    Reserved {
        /// Who waits.
        ask: AskId,
        /// The request that it is for.
        transaction: ServerId,
        /// Which group.
        group: Group,
        /// The places taken, this one included; `None` when there was none left.
        size: Option<u32>,
    },
    /// How many are in a group?
    Count(AskId, Group),
    /// So many.
    Counted(AskId, u32),
    /// A dialog is in a group from here on.
    Join(Group),
    /// It is not any more.
    Leave(Group),
    /// Every dialog of a profile, or of one of its values, lasts so many seconds from here on.
    Lifetimes(u16, Option<Group>, u32),
    /// A membership that was told from outside begins, or ends.
    Remote(Group, Box<str>, Option<UnixTime>),
    /// Take from storage what is at home there and not known.
    LoadExtra,
}

/// Marks ids of remote memberships.
#[derive(Debug)]
pub enum RemoteMark {}

#[derive(Debug)]
struct Remote {
    group: Group,
    uid: Box<str>,
    timer: Option<TimerId>,
}

/// What this shard counts for all of them.
#[derive(Debug)]
pub(super) struct Counts {
    groups: Map<Group, u32>,
    /// Groups in the order of their first member, for listings; a place is used again.
    listed: Slab<Group>,
    places: Map<Group, Id<Group>>,
    remote: Slab<Remote, RemoteMark>,
    by_uid: Map<Box<str>, Id<RemoteMark>>,
    /// All memberships of each profile, by its number: the sums of `groups`.
    totals: Vec<u64>,
}

impl Counts {
    pub(super) fn new(key: (u64, u64)) -> Counts {
        Counts {
            groups: Map::new(key),
            listed: Slab::new(0, VALUES_MAX),
            places: Map::new(key),
            remote: Slab::new(0, VALUES_MAX),
            by_uid: Map::new(key),
            totals: Vec::new(),
        }
    }

    pub(super) fn of(&self, group: &Group) -> u32 {
        self.groups.get(group).copied().unwrap_or(0)
    }

    fn join(&mut self, group: Group) -> bool {
        if let Some(count) = self.groups.get_mut(&group) {
            *count = count.saturating_add(1);
            self.change_total(group.parts().0, 1);
            return true;
        }
        let Ok(place) = self.listed.insert(group.clone()) else { return false };
        self.places.insert(group.clone(), place);
        self.change_total(group.parts().0, 1);
        self.groups.insert(group, 1);
        true
    }

    fn change_total(&mut self, profile: u16, by: i64) {
        let place = usize::from(profile);
        if self.totals.len() <= place {
            self.totals.resize(place + 1, 0);
        }
        if let Some(total) = self.totals.get_mut(place) {
            *total = total.saturating_add_signed(by);
        }
    }

    /// All memberships of a profile that this shard counts, without a walk through its values.
    pub(super) fn total(&self, profile: u16) -> u64 {
        let total = self.totals.get(usize::from(profile)).copied().unwrap_or(0);
        debug_assert!(cfg!(not(test)) || total == self.of_profile(profile), "a sum has drifted");
        total
    }

    fn leave(&mut self, group: &Group) {
        let Some(count) = self.groups.get_mut(group) else { return };
        *count = count.saturating_sub(1);
        let is_empty = *count == 0;
        self.change_total(group.parts().0, -1);
        if is_empty {
            self.groups.remove(group);
            if let Some(place) = self.places.remove(group) {
                self.listed.remove(place);
            }
        }
    }

    /// The groups of a profile that somebody is in, from this place on: the value and how many.
    pub(super) fn values(
        &self,
        profile: u16,
        from: usize,
    ) -> impl Iterator<Item = (usize, &[u8], u32)> {
        (from..self.listed.slots()).filter_map(move |slot| {
            let (_, group) = self.listed.at(slot)?;
            let (of, value) = group.parts();
            (of == profile).then(|| (slot, value, self.of(group)))
        })
    }

    /// All memberships of a profile that this shard counts.
    pub(super) fn of_profile(&self, profile: u16) -> u64 {
        self.values(profile, 0).map(|(_, _, count)| u64::from(count)).sum()
    }
}

impl Dialog {
    /// The number of a profile and whether it takes values.
    pub(super) fn profile(&self, name: &str) -> Option<(u16, bool)> {
        let place = self.settings.profiles.iter().position(|(known, _)| known == name)?;
        let (_, with_value) = self.settings.profiles.get(place)?;
        Some((u16::try_from(place).ok()?, *with_value))
    }

    /// The group that a name and a value mean; `None` when there is no such profile, or a value is
    /// missing. A profile without values ignores one.
    pub(super) fn group(&self, name: &str, value: &str) -> Option<Group> {
        match self.profile(name)? {
            (profile, false) => Some(Group::new(profile, &[])),
            (_, true) if value.is_empty() => None,
            (profile, true) => Some(Group::new(profile, value.as_bytes())),
        }
    }

    pub(super) fn home_of(&self, host: &impl Host<Dialog>, group: &Group) -> ShardId {
        group.home(host)
    }

    /// Whether the dialog of a request, or what its routing has said of one, is in a group.
    pub(super) fn is_member(
        &self,
        host: &mut impl Host<Dialog>,
        transaction: ServerId,
        group: &Group,
    ) -> bool {
        let (profile, value) = group.parts();
        let Some(attached) = host.attached(transaction) else { return false };
        match (attached.dialog, &attached.draft) {
            (Some(id), _) => {
                self.table.get(id).is_some_and(|record| record.pairs.is_member(profile, value))
            }
            (None, Some(draft)) => draft.pairs.is_member(profile, value),
            (None, None) => false,
        }
    }

    fn pass_on(&mut self, host: &mut impl Host<Dialog>, group: Group, message: fn(Group) -> Peer) {
        let home = group.home(host);
        self.tell_shard(host, home, message(group));
    }

    /// A dialog joins a group; it is counted by the group's owner. `Twice` when it is in already.
    pub(super) fn join(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        group: Group,
    ) -> Result<(), Refused> {
        self.note_member(id, &group)?;
        self.changed(host, id);
        self.pass_on(host, group, Peer::Join);
        Ok(())
    }

    /// The owner counts a member more, or less.
    pub(super) fn count_join(&mut self, host: &mut impl Host<Dialog>, group: Group) {
        self.pass_on(host, group, Peer::Join);
    }

    pub(super) fn count_leave(&mut self, host: &mut impl Host<Dialog>, group: Group) {
        self.pass_on(host, group, Peer::Leave);
    }

    /// The record's part of joining; the owner knows already, or is told by the caller.
    fn note_member(&mut self, id: DialogId, group: &Group) -> Result<(), Refused> {
        let (profile, value) = group.parts();
        let joined = match self.table.get_mut(id) {
            Some(record) if record.state != super::State::Deleted => {
                record.pairs.join(profile, value)
            }
            Some(_) | None => Err(Refused::Full),
        };
        self.counters.refused += u64::from(joined == Err(Refused::Full));
        joined
    }

    /// A dialog leaves a group; `false` when it was not in it.
    pub(super) fn leave(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        group: Group,
    ) -> bool {
        let (profile, value) = group.parts();
        let left = self.table.get_mut(id).is_some_and(|record| record.pairs.leave(profile, value));
        if left {
            self.changed(host, id);
            self.pass_on(host, group, Peer::Leave);
        }
        left
    }

    /// A dialog leaves every group.
    pub(super) fn release(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        while let Some((profile, value)) =
            self.table.get(id).and_then(|record| record.pairs.memberships().next())
        {
            let group = Group::new(profile, value);
            if let Some(record) = self.table.get_mut(id) {
                let (profile, value) = group.parts();
                record.pairs.leave(profile, value);
            }
            self.pass_on(host, group, Peer::Leave);
        }
    }

    /// What a routing has said is of no use any more: places that it holds are given back.
    pub(super) fn drop_draft(&mut self, host: &mut impl Host<Dialog>, draft: Option<Box<Draft>>) {
        let Some(draft) = draft else { return };
        for (profile, value) in draft.pairs.memberships() {
            let group = Group::new(profile, value);
            self.pass_on(host, group, Peer::Leave);
        }
        self.free_draft(draft);
    }

    pub(super) fn on_message(
        &mut self,
        host: &mut impl Host<Dialog>,
        from: ShardId,
        message: Peer,
    ) {
        match message {
            Peer::Reserve { ask, transaction, group, limit } => {
                let size = self.take_place(&group, limit);
                let answer = Peer::Reserved { ask, transaction, group, size };
                self.tell_shard(host, from, answer);
            }
            Peer::Reserved { ask, transaction, group, size } => {
                if size.is_some() {
                    self.keep_place(host, transaction, group);
                }
                self.asks.answer(host, ask, Answer { size, granted: size.is_some() });
            }
            Peer::Count(ask, group) => {
                let size = self.profiles.of(&group);
                self.tell_shard(host, from, Peer::Counted(ask, size));
            }
            Peer::Counted(ask, size) => {
                self.asks.answer(host, ask, Answer { size: Some(size), granted: true });
            }
            Peer::Join(group) => {
                self.counters.refused += u64::from(!self.profiles.join(group));
            }
            Peer::Leave(group) => self.profiles.leave(&group),
            Peer::Lifetimes(profile, group, seconds) => {
                self.start_walk(host, (profile, group, seconds));
            }
            Peer::Remote(group, uid, until) => self.remote(host, group, uid, until),
            Peer::LoadExtra => {
                self.load_extra(host);
            }
        }
    }

    /// Takes a place if there is one: check and count are one step.
    fn take_place(&mut self, group: &Group, limit: u32) -> Option<u32> {
        let size = self.profiles.of(group);
        let taken = size < limit && self.profiles.join(group.clone());
        taken.then(|| size + 1)
    }

    /// A place was taken for a request: its dialog has it, or will have it. Given back when the
    /// request is over.
    fn keep_place(&mut self, host: &mut impl Host<Dialog>, transaction: ServerId, group: Group) {
        let (profile, value) = group.parts();
        let kept = match host.attached(transaction) {
            None => false,
            Some(attached) if attached.answered => false,
            Some(attached) => match attached.dialog {
                Some(id) => {
                    let noted = self.note_member(id, &group).is_ok();
                    self.changed(host, id);
                    noted
                }
                None => {
                    let mut draft = match attached.draft.take() {
                        Some(draft) => draft,
                        None => self.drafts.pop().unwrap_or_default(),
                    };
                    let kept = draft.pairs.join(profile, value).is_ok();
                    if let Some(attached) = host.attached(transaction) {
                        attached.draft = Some(draft);
                    }
                    kept
                }
            },
        };
        if !kept {
            self.pass_on(host, group, Peer::Leave);
        }
    }

    /// A membership without a dialog (`dlg_remote_profile`): `until` ends it, `None` removes it.
    pub(super) fn tell_remote(
        &mut self,
        host: &mut impl Host<Dialog>,
        group: Group,
        uid: &str,
        until: Option<UnixTime>,
    ) {
        let home = group.home(host);
        let message = Peer::Remote(group, uid.into(), until);
        self.tell_shard(host, home, message);
    }

    fn remote(
        &mut self,
        host: &mut impl Host<Dialog>,
        group: Group,
        uid: Box<str>,
        until: Option<UnixTime>,
    ) {
        if let Some(old) = self.profiles.by_uid.get(&uid).copied() {
            if let Some(timer) = self.profiles.remote.get_mut(old).and_then(|old| old.timer.take())
            {
                host.cancel(timer);
            }
            self.remote_ended(old);
        }
        let Some(until) = until else { return };
        if !self.profiles.join(group.clone()) {
            self.counters.refused += 1;
            return;
        }
        // Zero is for ever.
        let end = (until > UnixTime::default()).then(|| super::instant_of(host, until));
        let remote = Remote { group: group.clone(), uid: uid.clone(), timer: None };
        match self.profiles.remote.insert(remote) {
            Ok(id) => {
                let timer = end.map(|end| host.arm(end, Timer::Remote(id)));
                if let Some(remote) = self.profiles.remote.get_mut(id) {
                    remote.timer = timer;
                }
                self.profiles.by_uid.insert(uid, id);
            }
            Err(_) => self.profiles.leave(&group),
        }
    }

    pub(super) fn remote_ended(&mut self, id: Id<RemoteMark>) {
        if let Some(remote) = self.profiles.remote.remove(id) {
            self.profiles.by_uid.remove(&remote.uid);
            self.profiles.leave(&remote.group);
        }
    }
}
