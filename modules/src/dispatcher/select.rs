//! Choosing destinations of a set: the algorithms.
//!
//! For: an order in which to try the usable destinations, the chosen one first.
//! Not here: what the algorithms are (`algorithm.rs`), sending (`request.rs`).
//! Invariants: an unusable destination is never in an order, and none is twice in it; a hash leads
//! to the same destination as long as that is usable, whatever happens to the others.

use super::algorithm::Algorithm;
use super::live::{Live, Turn};
use super::sets::{Member, Set};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::hash::Hasher;
use strowger_sip::entropy::Entropy;
use strowger_sip::limits::BRANCHES_MAX;

/// Places of a set's members, in the order in which to try them. More than a request may have
/// branches are never needed.
pub(super) type Order = SmallVec<[u16; BRANCHES_MAX]>;

/// What is asked of a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) algorithm: Algorithm,
    /// For the algorithms that hash: what the text of the request hashes to, if it has one.
    pub(super) hash: Option<u64>,
    /// The last destination is for when no other is usable.
    pub(super) use_default: bool,
    /// Most destinations to give.
    pub(super) limit: usize,
}

/// Hashes texts as algorithms 0 to 3, 5 and 7 do: the same on every node and after every start, so
/// that several proxies agree.
pub(super) fn hash(texts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    texts.iter().for_each(|text| hasher.write(text));
    hasher.finish()
}

/// One choice.
pub(super) struct Choice<'c> {
    pub(super) set: &'c Set,
    pub(super) live: &'c mut [Live],
    pub(super) turn: &'c mut Turn,
    pub(super) entropy: &'c mut Entropy,
    /// Room for sorting, reused from choice to choice.
    pub(super) room: &'c mut Vec<u16>,
}

impl Choice<'_> {
    /// The destinations to try, in order; empty when none is usable.
    pub(super) fn order(&mut self, asked: &Asked) -> Order {
        let all = self.set.members.len();
        let regular = if asked.use_default { all.saturating_sub(1).max(1) } else { all };
        let mut order = self.regular(asked, regular);
        if regular < all && self.is_usable(regular) && order.len() < BRANCHES_MAX {
            order.push(u16::try_from(regular).unwrap_or(u16::MAX));
        }
        order.truncate(asked.limit.clamp(1, BRANCHES_MAX));
        order
    }

    fn regular(&mut self, asked: &Asked, count: usize) -> Order {
        match asked.algorithm {
            Algorithm::CallIdHash
            | Algorithm::FromHash
            | Algorithm::ToHash
            | Algorithm::RequestUriHash
            | Algorithm::AuthUserHash
            | Algorithm::KeyHash => match asked.hash {
                Some(hash) => self.from(below(hash, count), count),
                None => self.round_robin(count),
            },
            Algorithm::RoundRobin => self.round_robin(count),
            Algorithm::Random => self.random(count),
            Algorithm::Serial | Algorithm::Parallel => self.from(0, count),
            Algorithm::Weight => {
                let slot = self.turn.weighted(self.set);
                self.from(slot.map_or(0, usize::from), count)
            }
            Algorithm::RelativeWeight => {
                let slot = self.turn.relative(self.set, self.live);
                self.from(slot.map_or(0, usize::from), count)
            }
            Algorithm::CallLoad => self.call_load(count),
            Algorithm::Latency => self.sort(count, |member, live| {
                let attributes = &member.destination.attributes;
                let priority = member.destination.priority;
                Reverse(live.latency.adjusted(priority, attributes.congestion_control))
            }),
            Algorithm::RoundRobinByPriority => {
                self.sort(count, |member, _| Reverse(member.destination.priority))
            }
            Algorithm::PriorityAndWeight => self.priority_and_weight(count),
            Algorithm::OverloadControl => self.overload_control(count),
        }
    }

    fn member(&self, at: usize) -> Option<(&Member, &Live)> {
        let member = self.set.members.get(at)?;
        Some((member, self.live.get(member.place)?))
    }

    fn is_usable(&self, at: usize) -> bool {
        self.member(at).is_some_and(|(_, live)| live.is_usable())
    }

    /// The usable ones in the order of the set, beginning at one of them and wrapping around.
    fn from(&self, first: usize, count: usize) -> Order {
        let first = if first < count { first } else { 0 };
        let places = (first..count).chain(0..first).filter(|&at| self.is_usable(at));
        places.take(BRANCHES_MAX).filter_map(|at| u16::try_from(at).ok()).collect()
    }

    fn round_robin(&mut self, count: usize) -> Order {
        let order = self.from(self.turn.next, count);
        // After the chosen one, not after the one whose turn it was: else the neighbour of a dead
        // destination would get its calls too.
        self.turn.next = order.first().map_or(0, |chosen| usize::from(*chosen) + 1);
        order
    }

    fn random(&mut self, count: usize) -> Order {
        let usable = (0..count).filter(|&at| self.is_usable(at)).count();
        let chosen = self.entropy.below(usable as u64);
        let nth = usize::try_from(chosen).unwrap_or(0);
        let first = (0..count).filter(|&at| self.is_usable(at)).nth(nth);
        self.from(first.unwrap_or(0), count)
    }

    fn call_load(&mut self, count: usize) -> Order {
        let mut room = std::mem::take(self.room);
        room.clear();
        let free = |at: &usize| {
            self.member(*at).is_some_and(|(member, live)| {
                let maxload = member.destination.attributes.maxload;
                live.is_usable() && (maxload == 0 || live.load() < maxload)
            })
        };
        room.extend((0..count).filter(free).filter_map(|at| u16::try_from(at).ok()));
        room.sort_by_key(|&at| self.member(usize::from(at)).map(|(_, live)| live.load()));
        let order = room.iter().copied().take(BRANCHES_MAX).collect();
        *self.room = room;
        order
    }

    /// Sorts the usable ones by a key, round robin among those with the least.
    fn sort<K: Ord + Copy>(&mut self, count: usize, key: impl Fn(&Member, &Live) -> K) -> Order {
        let mut room = std::mem::take(self.room);
        room.clear();
        let usable = (0..count).filter(|&at| self.is_usable(at));
        room.extend(usable.filter_map(|at| u16::try_from(at).ok()));
        let key = |at: &u16| self.member(usize::from(*at)).map(|(member, live)| key(member, live));
        room.sort_by_key(key);
        let best = room.first().map(key);
        let equals = room.iter().take_while(|at| Some(key(at)) == best).count();
        if let Some(equals) = room.get_mut(..equals).filter(|equals| !equals.is_empty()) {
            // The first after the one that was chosen last.
            let next = equals.iter().position(|at| usize::from(*at) >= self.turn.next);
            equals.rotate_left(next.unwrap_or(0));
        }
        self.turn.next = room.first().map_or(0, |chosen| usize::from(*chosen) + 1);
        let order = room.iter().copied().take(BRANCHES_MAX).collect();
        *self.room = room;
        order
    }

    /// RFC 2782: among the records of one priority, again and again one at random, as likely as its
    /// weight says; those without a weight have a very small chance.
    fn priority_and_weight(&mut self, count: usize) -> Order {
        let mut room = std::mem::take(self.room);
        room.clear();
        let usable = (0..count).filter(|&at| self.is_usable(at));
        room.extend(usable.filter_map(|at| u16::try_from(at).ok()));
        let priority =
            |at: &u16| self.member(usize::from(*at)).map(|(member, _)| member.destination.priority);
        let weight = |at: &u16| {
            let member = self.member(usize::from(*at));
            member.map_or(0, |(member, _)| u64::from(member.destination.attributes.weight))
        };
        let mut entropy = self.entropy.clone();
        let mut draws = Order::new();
        while let (Some(highest), true) = (room.first().map(priority), draws.len() < BRANCHES_MAX) {
            let equals = room.iter().take_while(|at| priority(at) == highest).count();
            let group = room.get(..equals).unwrap_or(&[]);
            let total: u64 = group.iter().map(weight).sum();
            let mut drawn = entropy.below(total + 1);
            let chosen = group.iter().position(|at| {
                let own = weight(at);
                let is_it = drawn <= own && (own > 0 || drawn == 0);
                drawn = drawn.saturating_sub(own);
                is_it
            });
            draws.push(room.remove(chosen.unwrap_or(0)));
        }
        *self.entropy = entropy;
        *self.room = room;
        draws
    }

    fn overload_control(&mut self, count: usize) -> Order {
        let first = if self.turn.next < count { self.turn.next } else { 0 };
        let mut chosen = None;
        for at in (first..count).chain(0..first) {
            let Some(member) = self.set.members.get(at) else { continue };
            let Some(live) = self.live.get_mut(member.place) else { continue };
            if live.is_usable() && !live.is_spared() {
                chosen = Some(at);
                break;
            }
        }
        let Some(chosen) = chosen else { return Order::new() };
        self.turn.next = chosen + 1;
        let whole = |at: &u16| {
            let member = self.member(usize::from(*at));
            usize::from(*at) == chosen || member.is_some_and(|(_, live)| live.overload_rate == 0)
        };
        let order = self.from(chosen, count);
        order.into_iter().filter(whole).collect()
    }
}

/// Maps a hash to 0..count.
fn below(hash: u64, count: usize) -> usize {
    let scaled = (u128::from(hash) * count as u128) >> 64;
    usize::try_from(scaled).unwrap_or(0)
}

#[cfg(test)]
mod tests;
