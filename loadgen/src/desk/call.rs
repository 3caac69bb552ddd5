//! One call as its party sees it, and the table of all of them.
//!
//! For: `Desk`.
//! Not here: what happens to a call (`steps.rs`, `hear.rs`).
//! Invariants: a slot's generation grows whenever it is freed, so that a stale timer misses; a
//! freed slot keeps its buffers for the next call.

use super::outbox::Door;
use crate::scenario::Value;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, SocketAddr};
use strowger_sip::time::{Duration, Instant, secs};
use strowger_sip::wheel::TimerId;

/// How long an ended call is remembered, so that what is repeated is told from what is strange.
const REMEMBERED: Duration = secs(32);
/// Most ended calls remembered: 32 seconds of 60,000 calls a second.
const REMEMBERED_MAX: usize = 2_000_000;
/// How many of the messages received last are told from repetitions.
const SEEN: usize = 8;

/// Which end of a call this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Caller,
    Callee,
}

/// Where an INVITE of ours stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Invite {
    /// There is none, or it is over.
    #[default]
    None,
    Sent,
    /// It got a provisional answer.
    Rings,
    /// It got a 2xx: there is a dialog.
    Answered,
}

/// What is sent again until an answer comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat {
    /// When next.
    pub(crate) at: Instant,
    pub(crate) interval: Duration,
    /// When no more.
    pub(crate) until: Instant,
    /// Whether the interval stops growing at T2.
    pub(crate) capped: bool,
}

impl Repeat {
    pub(crate) const OFF: Repeat = Repeat {
        at: Instant::NEVER,
        interval: Duration::ZERO,
        until: Instant::NEVER,
        capped: true,
    };
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) generation: u32,
    pub(crate) live: bool,
    /// It has succeeded and only answers repetitions.
    pub(crate) lingers: bool,
    pub(crate) role: Role,
    /// Of its role's scenarios.
    pub(crate) scenario: usize,
    pub(crate) step: usize,
    pub(crate) number: u64,
    pub(crate) call_id: Vec<u8>,
    pub(crate) door: Door,
    pub(crate) remote: SocketAddr,
    /// When what runs should have begun: lateness of ours counts as latency.
    pub(crate) due: Instant,
    pub(crate) timer: Option<TimerId>,
    pub(crate) timer_at: Instant,
    /// The end of a pause, of a wait, or of the lingering.
    pub(crate) step_ends: Instant,
    pub(crate) repeat: Repeat,
    /// What was sent last, and the key of the message that it answered.
    pub(crate) sent: Vec<u8>,
    pub(crate) sent_for: u32,
    /// The key of the request heard last.
    pub(crate) heard: u32,
    pub(crate) ack: Vec<u8>,
    pub(crate) invite: Vec<u8>,
    pub(crate) inviting: Invite,
    pub(crate) last: Vec<u8>,
    pub(crate) first: Vec<u8>,
    pub(crate) peer_tag: Vec<u8>,
    pub(crate) routes: Vec<u8>,
    pub(crate) next_url: Vec<u8>,
    /// The challenge; whether it was a proxy's; how often it was answered.
    pub(crate) challenge: Vec<u8>,
    pub(crate) challenged_by_proxy: bool,
    pub(crate) nonce_count: u32,
    pub(crate) cseq: u32,
    pub(crate) variables: Vec<Value>,
    pub(crate) starts: Vec<Instant>,
    /// The line of each file of fields.
    pub(crate) lines: Vec<u64>,
    seen: [u32; SEEN],
    seen_next: usize,
    pub(crate) hash: u64,
}

impl Call {
    pub(super) fn unused() -> Call {
        Call {
            generation: 0,
            live: false,
            lingers: false,
            role: Role::Caller,
            scenario: 0,
            step: 0,
            number: 0,
            call_id: Vec::new(),
            door: Door::default(),
            remote: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            due: Instant::START,
            timer: None,
            timer_at: Instant::NEVER,
            step_ends: Instant::NEVER,
            repeat: Repeat::OFF,
            sent: Vec::new(),
            sent_for: 0,
            heard: 0,
            ack: Vec::new(),
            invite: Vec::new(),
            inviting: Invite::None,
            last: Vec::new(),
            first: Vec::new(),
            peer_tag: Vec::new(),
            routes: Vec::new(),
            next_url: Vec::new(),
            challenge: Vec::new(),
            challenged_by_proxy: false,
            nonce_count: 0,
            cseq: 0,
            variables: Vec::new(),
            starts: Vec::new(),
            lines: Vec::new(),
            seen: [0; SEEN],
            seen_next: 0,
            hash: 0,
        }
    }

    /// Empties it for the next call; buffers stay.
    fn reset(&mut self) {
        self.live = true;
        self.lingers = false;
        self.step = 0;
        self.timer = None;
        self.timer_at = Instant::NEVER;
        self.step_ends = Instant::NEVER;
        self.repeat = Repeat::OFF;
        self.sent_for = 0;
        self.heard = 0;
        self.inviting = Invite::None;
        self.nonce_count = 0;
        self.cseq = 0;
        self.seen = [0; SEEN];
        self.seen_next = 0;
        for buffer in [
            &mut self.call_id,
            &mut self.sent,
            &mut self.ack,
            &mut self.invite,
            &mut self.last,
            &mut self.first,
            &mut self.peer_tag,
            &mut self.routes,
            &mut self.next_url,
            &mut self.challenge,
        ] {
            buffer.clear();
        }
        self.variables.clear();
        self.starts.clear();
        self.lines.clear();
    }

    /// Whether a message with this key was received before.
    pub(crate) fn has_seen(&self, key: u32) -> bool {
        self.seen.contains(&key)
    }

    /// Remembers the key of a message.
    pub(crate) fn saw(&mut self, key: u32) {
        if let Some(slot) = self.seen.get_mut(self.seen_next % SEEN) {
            *slot = key;
        }
        self.seen_next = self.seen_next.wrapping_add(1);
    }
}

/// Names one call; stale once it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// All calls of a worker.
#[derive(Debug)]
pub(crate) struct Calls {
    slots: Vec<Call>,
    free: Vec<u32>,
    by_id: [HashTable<u32>; 2],
    hasher: DefaultHashBuilder,
    ended: [Ended; 2],
    /// How many are under way, by role; those that linger are not.
    pub(crate) active: [usize; 2],
}

#[derive(Debug, Default)]
struct Ended {
    order: VecDeque<(Instant, u64)>,
    hashes: HashTable<u64>,
}

impl Calls {
    pub(crate) fn new() -> Calls {
        Calls {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: [HashTable::new(), HashTable::new()],
            hasher: DefaultHashBuilder::default(),
            ended: [Ended::default(), Ended::default()],
            active: [0, 0],
        }
    }

    /// Makes room for a call with this Call-ID.
    pub(crate) fn open(&mut self, role: Role, call_id: &[u8]) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Call::unused());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let hash = self.hasher.hash_one(call_id);
        if let Some(call) = self.slots.get_mut(slot as usize) {
            call.reset();
            call.role = role;
            call.hash = hash;
            call.call_id.extend_from_slice(call_id);
        }
        let slots = &self.slots;
        let rehash = |slot: &u32| slots.get(*slot as usize).map_or(0, |call| call.hash);
        self.by_id[role as usize].insert_unique(hash, slot, rehash);
        self.active[role as usize] += 1;
        slot
    }

    /// The call with this Call-ID.
    pub(crate) fn find(&self, role: Role, call_id: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(call_id);
        let is_it =
            |slot: &u32| self.slots.get(*slot as usize).is_some_and(|call| call.call_id == call_id);
        self.by_id[role as usize].find(hash, is_it).copied()
    }

    /// Whether a call with this Call-ID ended a short while ago.
    pub(crate) fn has_ended(&self, role: Role, call_id: &[u8]) -> bool {
        let hash = self.hasher.hash_one(call_id);
        self.ended[role as usize].hashes.find(hash, |known| *known == hash).is_some()
    }

    /// A slot is valid while its call is live; every id given out is one of a slot.
    pub(crate) fn get(&self, slot: u32) -> &Call {
        &self.slots[slot as usize]
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Call {
        &mut self.slots[slot as usize]
    }

    /// The slot, if its call has not ended.
    pub(crate) fn alive(&self, key: CallKey) -> Option<u32> {
        let call = self.slots.get(key.slot as usize)?;
        (call.live && call.generation == key.generation).then_some(key.slot)
    }

    /// It is done, but still answers.
    pub(crate) fn linger(&mut self, slot: u32) {
        let call = self.get_mut(slot);
        if !std::mem::replace(&mut call.lingers, true) {
            let role = call.role;
            self.active[role as usize] -= 1;
        }
    }

    /// Frees the slot; the Call-ID is remembered for a while.
    pub(crate) fn close(&mut self, slot: u32, now: Instant) {
        let call = &mut self.slots[slot as usize];
        debug_assert!(call.live);
        let (role, hash) = (call.role as usize, call.hash);
        call.live = false;
        call.generation = call.generation.wrapping_add(1);
        if !call.lingers {
            self.active[role] -= 1;
        }
        if let Ok(entry) = self.by_id[role].find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
        self.free.push(slot);
        self.ended[role].remember(hash, now);
    }

    /// The slots of all calls.
    pub(crate) fn all(&self) -> Vec<u32> {
        let live = self.slots.iter().zip(0..).filter(|(call, _)| call.live);
        live.map(|(_, slot)| slot).collect()
    }
}

impl Ended {
    fn remember(&mut self, hash: u64, now: Instant) {
        while let Some((at, oldest)) = self.order.front().copied()
            && (now.since(at) > REMEMBERED || self.order.len() >= REMEMBERED_MAX)
        {
            self.order.pop_front();
            if let Ok(entry) = self.hashes.find_entry(oldest, |known| *known == oldest) {
                entry.remove();
            }
        }
        self.order.push_back((now, hash));
        self.hashes.insert_unique(hash, hash, |known| *known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_call_have_the_same_id_and_slots_are_used_again() {
        let mut calls = Calls::new();
        let caller = calls.open(Role::Caller, b"a@b");
        let callee = calls.open(Role::Callee, b"a@b");
        assert_ne!(caller, callee);
        assert_eq!(calls.find(Role::Caller, b"a@b"), Some(caller));
        let key = CallKey { slot: caller, generation: calls.get(caller).generation };
        calls.close(caller, Instant::START);
        assert_eq!((calls.alive(key), calls.find(Role::Caller, b"a@b")), (None, None));
        assert!(calls.has_ended(Role::Caller, b"a@b"));
        assert!(!calls.has_ended(Role::Callee, b"a@b"));
        assert_eq!(calls.open(Role::Caller, b"c"), caller);
        calls.linger(caller);
        calls.linger(caller);
        assert_eq!(calls.active, [0, 1]);
    }

    #[test]
    fn ended_calls_are_forgotten_in_time() {
        let mut calls = Calls::new();
        for (id, second) in [(b"a", 0), (b"b", 40)] {
            let slot = calls.open(Role::Caller, id);
            calls.close(slot, Instant::START + secs(second));
        }
        assert!(!calls.has_ended(Role::Caller, b"a") && calls.has_ended(Role::Caller, b"b"));
    }
}
