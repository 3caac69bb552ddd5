//! The timer wheel of a shard: ten levels of 64 slots, each tick of the lowest one millisecond.
//!
//! For: arming and cancelling timers in constant time without allocating; skipping hours cheaply.
//! Not here: what a timer means (`transaction/`), the clock (`core/node/src/clock.rs`).
//! Invariants: a timer never fires before its deadline; timers fire by tick, those of one tick in
//! the order of arming; all of one tick lie in the same list, so that cascading keeps that order.

use crate::time::Instant;

/// Microseconds in one tick. Guess: SIP's shortest interval is 500 ms, so 1 ms is fine enough.
const TICK_MICROS: u64 = 1000;
/// Bits of a tick's number that one level decides: one bitmap word of slots.
const LEVEL_BITS: u32 = 6;
/// Slots of a level.
const SLOTS: usize = 1 << LEVEL_BITS;
/// Levels needed for every tick up to `Instant::NEVER`: 2^60 > 2^64 / 1000.
const LEVELS: usize = 10;
/// No node.
const NIL: u32 = u32::MAX;
/// The list number of a node that is in no list.
const FREE: u16 = u16::MAX;

/// Names one armed timer; stale once the timer fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
struct Node<K> {
    key: K,
    tick: u64,
    generation: u32,
    previous: u32,
    next: u32,
    list: u16,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

const EMPTY: List = List { head: NIL, tail: NIL };

/// Timers with a key each. The key says whose timer it is, for example a transaction's id.
///
/// A deadline counts from the next whole millisecond, so a timer fires less than 1 ms late when
/// [`Wheel::pop_due`] is called in time.
#[derive(Debug)]
pub struct Wheel<K> {
    nodes: Vec<Node<K>>,
    free: u32,
    armed: usize,
    /// Every timer of an earlier tick has fired, and every slot that begins at or before this tick
    /// has been cascaded: a timer's list follows from its tick and this one alone.
    current: u64,
    lists: [[List; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
}

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Self {
        Wheel::with_capacity(0)
    }
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel at the shard's start that holds `timers` timers without allocating again.
    pub fn with_capacity(timers: usize) -> Wheel<K> {
        Wheel {
            nodes: Vec::with_capacity(timers),
            free: NIL,
            armed: 0,
            current: 0,
            lists: [[EMPTY; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
        }
    }

    /// Arms a timer. One whose deadline has passed fires with the present tick, after those that
    /// are due in it already.
    pub fn arm(&mut self, deadline: Instant, key: K) -> TimerId {
        // Rounded up: firing early would be wrong, firing up to a tick late is allowed for.
        let tick = deadline.as_micros().div_ceil(TICK_MICROS).max(self.current);
        let slot = self.claim(key, tick);
        if slot != NIL {
            self.armed += 1;
            self.append(slot);
        }
        TimerId { slot, generation: self.node(slot).map_or(0, |node| node.generation) }
    }

    /// Disarms a timer; `false` when it fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        match self.node(id.slot) {
            Some(node) if node.list != FREE && node.generation == id.generation => {
                self.unlink(id.slot);
                self.release(id.slot);
                true
            }
            Some(_) | None => false,
        }
    }

    /// When to call [`Wheel::pop_due`] next: the tick of the earliest deadline, or before it.
    ///
    /// It is the exact tick once that is in the present block of 64 ms, and otherwise the beginning
    /// of the slot that holds the earliest timer: a call then may find nothing due, but brings
    /// the timer closer. A timer causes at most one such call per level above the lowest: two for
    /// 32 s, four for a day.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, _, start) = self.next_slot()?;
        Some(Instant::from_micros(start.saturating_mul(TICK_MICROS)))
    }

    /// Takes the first timer that is due; call it until there is none.
    ///
    /// What is armed between two calls takes its place among the timers that are still due.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let tick = now.as_micros() / TICK_MICROS;
        while let Some((level, index, start)) = self.next_slot()
            && start <= tick
        {
            self.current = start;
            if level > 0 {
                self.cascade(level, index);
                continue;
            }
            let slot = self.lists[level][index].head;
            let key = self.node(slot).map(|node| node.key);
            self.unlink(slot);
            self.release(slot);
            return key;
        }
        self.current = self.current.max(tick);
        None
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Bytes that the wheel holds.
    pub fn capacity_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<K>>() + size_of::<Self>()
    }

    /// The first slot in time that holds a timer: its level, its index and its first tick.
    ///
    /// A timer lies at the level of the highest digit in which its tick differs from `current`, so
    /// all of a lower level come before all of a higher one, and no slot lies behind `current`.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&word| word != 0)?;
        let index = self.occupied[level].trailing_zeros();
        let shift = LEVEL_BITS * u32::try_from(level).unwrap_or(0);
        let above = self.current.checked_shr(shift + LEVEL_BITS).unwrap_or(0);
        let start = ((above << LEVEL_BITS) | u64::from(index)) << shift;
        Some((level, usize::try_from(index).unwrap_or(0), start))
    }

    /// Spreads the timers of a slot that begins at `current` over the levels below, in their order.
    fn cascade(&mut self, level: usize, index: usize) {
        let mut slot = std::mem::replace(&mut self.lists[level][index], EMPTY).head;
        self.occupied[level] &= !(1 << index);
        while let Some(node) = self.node(slot) {
            let next = node.next;
            self.append(slot);
            slot = next;
        }
    }

    /// Puts a node at the end of the list that its tick belongs to.
    fn append(&mut self, slot: u32) {
        let Some(tick) = self.node(slot).map(|node| node.tick) else { return };
        debug_assert!(tick >= self.current);
        let digit = (tick ^ self.current).checked_ilog2().map_or(0, |bit| bit / LEVEL_BITS);
        let level = usize::try_from(digit).unwrap_or(0);
        let index = usize::try_from((tick >> (digit * LEVEL_BITS)) % SLOTS as u64).unwrap_or(0);

        let tail = std::mem::replace(&mut self.lists[level][index].tail, slot);
        match self.node_mut(tail) {
            Some(last) => last.next = slot,
            None => self.lists[level][index].head = slot,
        }
        self.occupied[level] |= 1 << index;
        if let Some(node) = self.node_mut(slot) {
            node.previous = tail;
            node.next = NIL;
            node.list = u16::try_from(level * SLOTS + index).unwrap_or(FREE);
        }
    }

    /// Takes a node out of its list.
    fn unlink(&mut self, slot: u32) {
        let Some(&Node { previous, next, list, .. }) = self.node(slot) else { return };
        let (level, index) = (usize::from(list) / SLOTS, usize::from(list) % SLOTS);
        match self.node_mut(previous) {
            Some(node) => node.next = next,
            None => self.lists[level][index].head = next,
        }
        match self.node_mut(next) {
            Some(node) => node.previous = previous,
            None => self.lists[level][index].tail = previous,
        }
        if self.lists[level][index].head == NIL {
            self.occupied[level] &= !(1 << index);
        }
    }

    /// A node for this timer: a free one, or a new one. `NIL` beyond 2^32 - 1 timers.
    fn claim(&mut self, key: K, tick: u64) -> u32 {
        if let Some(node) = self.nodes.get_mut(self.free as usize) {
            let slot = std::mem::replace(&mut self.free, node.next);
            node.key = key;
            node.tick = tick;
            return slot;
        }
        let slot = u32::try_from(self.nodes.len()).unwrap_or(NIL);
        debug_assert!(slot != NIL, "the transaction tables bound the number of timers far below");
        if slot != NIL {
            let list = FREE;
            self.nodes.push(Node { key, tick, generation: 0, previous: NIL, next: NIL, list });
        }
        slot
    }

    /// Puts an unlinked node on the free list and makes every id of it stale.
    fn release(&mut self, slot: u32) {
        let free = self.free;
        let Some(node) = self.node_mut(slot) else { return };
        node.generation = node.generation.wrapping_add(1);
        node.list = FREE;
        node.next = free;
        self.free = slot;
        self.armed -= 1;
    }

    fn node(&self, slot: u32) -> Option<&Node<K>> {
        self.nodes.get(slot as usize)
    }

    fn node_mut(&mut self, slot: u32) -> Option<&mut Node<K>> {
        self.nodes.get_mut(slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::time::{Duration, ms, secs};
    use std::collections::BTreeMap;

    const START: Instant = Instant::START;

    fn drain(wheel: &mut Wheel<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_due(now)).collect()
    }

    #[test]
    fn fires_at_its_deadline_and_not_before() {
        let mut wheel = Wheel::default();
        wheel.arm(START + ms(500), 1);
        assert_eq!(drain(&mut wheel, START + Duration::from_micros(499_999)), []);
        assert_eq!(drain(&mut wheel, START + ms(500)), [1]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_fraction_of_a_tick_is_rounded_up() {
        let mut wheel = Wheel::default();
        wheel.arm(START + Duration::from_micros(1001), 1);
        assert_eq!(drain(&mut wheel, START + Duration::from_micros(1999)), []);
        assert_eq!(wheel.next_deadline(), Some(START + ms(2)));
        assert_eq!(drain(&mut wheel, START + ms(2)), [1]);
    }

    #[test]
    fn earlier_deadlines_fire_first_and_equal_ones_in_arming_order() {
        let mut wheel = Wheel::default();
        wheel.arm(START + secs(32), 1);
        wheel.arm(START + ms(500), 2);
        drain(&mut wheel, START + ms(499));
        wheel.arm(START + secs(32), 3);
        wheel.arm(START + ms(500), 4);
        drain(&mut wheel, START + secs(31));
        wheel.arm(START + secs(32), 5);
        assert_eq!(drain(&mut wheel, START + secs(32)), [1, 3, 5]);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once() {
        let mut wheel = Wheel::default();
        assert_eq!(drain(&mut wheel, START + secs(3600)), []);
        wheel.arm(START + secs(1), 1);
        assert_eq!(wheel.next_deadline(), Some(START + secs(3600)));
        assert_eq!(drain(&mut wheel, START + secs(3600)), [1]);
    }

    #[test]
    fn a_cancelled_timer_does_not_fire_and_its_id_misses() {
        let mut wheel = Wheel::default();
        let first = wheel.arm(START + ms(5), 1);
        assert!(wheel.cancel(first));
        assert!(!wheel.cancel(first));
        let second = wheel.arm(START + ms(6), 2);
        assert!(!wheel.cancel(first), "the slot is another timer's by then");
        assert_eq!(drain(&mut wheel, START + secs(1)), [2]);
        assert!(!wheel.cancel(second));
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn days_and_never_are_held() {
        let mut wheel = Wheel::default();
        let never = wheel.arm(Instant::NEVER, 1);
        wheel.arm(START + secs(86_400 * 400), 2);
        assert_eq!(drain(&mut wheel, START + secs(86_400 * 400 - 1)), []);
        assert_eq!(drain(&mut wheel, START + secs(86_400 * 400)), [2]);
        assert_eq!(drain(&mut wheel, START + secs(86_400 * 365 * 1000)), []);
        assert!(wheel.next_deadline().is_some_and(|next| next <= Instant::NEVER));
        assert!(wheel.cancel(never));
    }

    #[test]
    fn following_next_deadline_reaches_a_timer_in_few_steps() {
        for (deadline, steps_most) in [(ms(500), 2), (secs(32), 3), (secs(86_400), 5)] {
            let mut wheel = Wheel::default();
            drain(&mut wheel, START + ms(777));
            wheel.arm(START + ms(777) + deadline, 1);
            let mut steps = 0;
            while let Some(next) = wheel.next_deadline() {
                assert!(next <= START + ms(777) + deadline);
                steps += 1;
                drain(&mut wheel, next);
            }
            assert!(steps <= steps_most, "{deadline:?} took {steps} steps");
        }
    }

    #[test]
    fn time_running_backwards_fires_nothing_early() {
        let mut wheel = Wheel::default();
        drain(&mut wheel, START + secs(10));
        wheel.arm(START + secs(11), 1);
        assert_eq!(drain(&mut wheel, START + secs(5)), []);
        assert_eq!(drain(&mut wheel, START + secs(11)), [1]);
    }

    #[test]
    fn a_steady_load_allocates_nothing() {
        let mut wheel = Wheel::with_capacity(100);
        let held = wheel.capacity_bytes();
        for round in 0..10_000u64 {
            let id = wheel.arm(START + ms(round + 32_000), 0);
            drain(&mut wheel, START + ms(round));
            assert!(round % 2 == 0 || wheel.cancel(id));
            if wheel.len() == 100 {
                drain(&mut wheel, START + ms(round + 40_000));
            }
        }
        assert_eq!(wheel.capacity_bytes(), held);
    }

    /// The slow obvious twin: a sorted map from (tick, number of arming) to key.
    #[derive(Default)]
    struct Twin {
        timers: BTreeMap<(u64, u32), TimerId>,
        current: u64,
    }

    impl Twin {
        fn pop_due(&mut self, now: Instant) -> Option<u32> {
            match self.timers.first_key_value() {
                Some((&(tick, number), _)) if tick <= now.as_millis() => {
                    self.timers.remove(&(tick, number));
                    self.current = tick;
                    Some(number)
                }
                Some(_) | None => {
                    self.current = self.current.max(now.as_millis());
                    None
                }
            }
        }
    }

    /// Spans from nothing to months, short ones as likely as long ones.
    fn span(entropy: &mut Entropy) -> Duration {
        let bits = entropy.below(44);
        Duration::from_micros(entropy.below(1 << bits))
    }

    fn compare(seed: u64) {
        let mut entropy = Entropy::new((seed, 0));
        let (mut wheel, mut twin) = (Wheel::default(), Twin::default());
        let mut now = START + span(&mut entropy);
        for number in 0..2000 {
            match entropy.below(8) {
                0..4 => {
                    // Half of the deadlines collide on purpose: ties are the delicate case.
                    let span = if number % 2 == 0 { span(&mut entropy) } else { ms(64) };
                    let past = Instant::from_micros(now.as_micros() / 2);
                    let deadline = if entropy.below(9) == 0 { past } else { now + span };
                    let tick = deadline.as_micros().div_ceil(1000).max(twin.current);
                    twin.timers.insert((tick, number), wheel.arm(deadline, number));
                }
                4 => {
                    let some = usize::try_from(entropy.below(50)).unwrap_or(0);
                    if let Some((&timer, &id)) = twin.timers.iter().nth(some) {
                        assert!(twin.timers.remove(&timer).is_some() && wheel.cancel(id));
                        assert!(!wheel.cancel(id));
                    }
                }
                5 => now = wheel.next_deadline().unwrap_or(now).max(now),
                6 => now = now + span(&mut entropy),
                7.. => loop {
                    let (fired, expected) = (wheel.pop_due(now), twin.pop_due(now));
                    assert_eq!(fired, expected, "seed {seed}, step {number}");
                    if fired.is_none() || entropy.below(20) == 0 {
                        break;
                    }
                },
            }
            assert_eq!(wheel.len(), twin.timers.len(), "seed {seed}, step {number}");
            let earliest = twin.timers.first_key_value().map(|(&(tick, _), _)| tick);
            let next = wheel.next_deadline().map(Instant::as_millis);
            assert!(next.is_some() == earliest.is_some() && next <= earliest, "seed {seed}");
        }
    }

    #[test]
    fn fires_exactly_as_its_slow_twin_does() {
        (0..200).for_each(compare);
    }
}
