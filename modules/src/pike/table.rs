//! Sources and their rates: a table of fixed size.
//!
//! For: counting requests by source and window, whoever and however many the sources are.
//! Not here: whom to tell (`mod.rs`), what to do with a blocked source (`mod.rs`).
//! Invariants: memory is taken once, at start. A source that floods is not pushed out by ones that
//! sent less; what is pushed out is counted. Windows follow from the time alone, no timer runs.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use strowger_sip::time::{Duration, Instant};

/// Sources that share a place of the table; the weakest of them gives way to a newcomer.
const WAYS: usize = 8;

/// Who sent a request: an IPv4 address, or the /64 of an IPv6 address, which is what one customer
/// gets at least (RFC 6177 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u128);

impl Source {
    /// The source that an address belongs to.
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Source(address.to_bits() >> 64 << 64),
        }
    }

    /// As octets, for hashing.
    pub fn octets(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(self.0).to_canonical()
    }
}

/// What is known of one source.
#[derive(Clone, Copy, Debug)]
struct Entry {
    source: Source,
    /// The window that the counts are of.
    window: u64,
    /// Requests that came to this shard in the window.
    here: u32,
    /// How many of them the owner was told of.
    told: u32,
    /// Requests to all shards in the window and in the one before, as far as this shard, being the
    /// owner of the source, was told.
    total: u32,
    total_before: u32,
    /// Blocked until then.
    blocked_until: Instant,
    /// The last window in which the owner told the others to block.
    announced: Option<u64>,
}

impl Entry {
    fn new(source: Source, window: u64) -> Entry {
        Entry {
            source,
            window,
            here: 0,
            told: 0,
            total: 0,
            total_before: 0,
            blocked_until: Instant::START,
            announced: None,
        }
    }

    fn roll(&mut self, window: u64) {
        if self.window != window {
            self.total_before = if self.window + 1 == window { self.total } else { 0 };
            (self.total, self.here, self.told) = (0, 0, 0);
            self.window = window;
        }
    }

    /// How much there is to lose: the newcomer takes the place of the least.
    fn weight(&self, now: Instant, window: u64) -> (bool, u32) {
        let recent = window.saturating_sub(self.window) <= 1;
        let sum = self.total.saturating_add(self.total_before).max(self.here);
        (now < self.blocked_until, if recent { sum } else { 0 })
    }
}

/// Rates of sources.
#[derive(Debug)]
pub(super) struct Rates {
    entries: Vec<Option<Entry>>,
    keys: (u64, u64),
    unit: Duration,
    density: u32,
    /// First count of a window that the owner hears of, and how many more make the next report.
    first: u32,
    step: u32,
    remove_latency: Duration,
    evicted: u64,
}

/// What follows from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) blocked: bool,
    /// So many requests are to be reported to the owner of the source.
    pub(super) report: Option<u32>,
}

impl Rates {
    /// Room for at least `sources`.
    pub(super) fn new(
        sources: usize,
        (unit, density): (Duration, u32),
        remove_latency: Duration,
    ) -> Rates {
        let places = sources.next_power_of_two().max(WAYS);
        let entries = vec![None; places];
        let unit = unit.max(Duration::from_millis(1));
        let (first, step) = (1, 1);
        Rates { entries, keys: (0, 0), unit, density, first, step, remove_latency, evicted: 0 }
    }

    /// Takes a key for the table and the number of shards that share the work.
    pub(super) fn start(&mut self, keys: (u64, u64), shards: u16) {
        self.keys = keys;
        // A source that reaches the density has sent this many to one shard at least.
        self.first = self.density.div_ceil(u32::from(shards)).max(1);
        self.step = (self.first / 4).max(1);
    }

    /// Counts a request that came to this shard.
    pub(super) fn hit(&mut self, source: Source, now: Instant) -> Hit {
        let (first, step) = (self.first, self.step);
        let Some(entry) = self.entry(source, now) else {
            return Hit { blocked: false, report: None };
        };
        entry.here = entry.here.saturating_add(1);
        let due = entry.here >= first && entry.here - entry.told >= step;
        let report = due.then(|| entry.here - std::mem::replace(&mut entry.told, entry.here));
        Hit { blocked: now < entry.blocked_until, report }
    }

    /// Adds what a shard reported, on the owner of the source. The answer, once a window: everybody
    /// is to block the source for that long.
    pub(super) fn add(&mut self, source: Source, hits: u32, now: Instant) -> Option<Duration> {
        let density = self.density;
        let window = self.window(now);
        let next_end = self.start_of(window.saturating_add(2));
        let entry = self.entry(source, now)?;
        entry.total = entry.total.saturating_add(hits);
        // A source floods in this window or did so in the last one: what Kamailio asks of both
        // windows and of their mean.
        if entry.total < density || entry.announced == Some(window) {
            return None;
        }
        entry.announced = Some(window);
        entry.blocked_until = next_end;
        Some(next_end.since(now))
    }

    /// Blocks a source, as its owner asked.
    pub(super) fn block(&mut self, source: Source, span: Duration, now: Instant) {
        if let Some(entry) = self.entry(source, now) {
            entry.blocked_until = entry.blocked_until.max(now + span);
        }
    }

    /// Whether a source is blocked; counts nothing.
    pub(super) fn is_blocked(&self, source: Source, now: Instant) -> bool {
        let start = self.bucket(source);
        let bucket = self.entries.get(start..start + WAYS).unwrap_or(&[]);
        bucket.iter().flatten().any(|entry| entry.source == source && now < entry.blocked_until)
    }

    /// Sources that were pushed out while they still counted.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Sources of which this shard has counts of all shards, in the order of the table: requests in
    /// the last window and in this one, and for how long the source stays blocked.
    pub(super) fn owned(&self, now: Instant) -> impl Iterator<Item = (Source, u32, u32, Duration)> {
        let window = self.window(now);
        self.entries.iter().flatten().filter_map(move |entry| {
            let mut entry = *entry;
            entry.roll(window);
            let known = entry.total > 0 || entry.total_before > 0;
            let blocked = entry.blocked_until.since(now);
            known.then_some((entry.source, entry.total_before, entry.total, blocked))
        })
    }

    fn window(&self, now: Instant) -> u64 {
        let unit = u64::try_from(self.unit.as_micros()).unwrap_or(u64::MAX).max(1);
        now.as_micros() / unit
    }

    fn start_of(&self, window: u64) -> Instant {
        let unit = u64::try_from(self.unit.as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(window.saturating_mul(unit))
    }

    fn bucket(&self, source: Source) -> usize {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(&source.octets());
        let buckets = self.entries.len() / WAYS;
        usize::try_from(hasher.finish()).unwrap_or(0) % buckets.max(1) * WAYS
    }

    /// The entry of a source in the present window, made if need be.
    fn entry(&mut self, source: Source, now: Instant) -> Option<&mut Entry> {
        let window = self.window(now);
        let start = self.bucket(source);
        let bucket = self.entries.get_mut(start..start + WAYS)?;
        let own = |slot: &Option<Entry>| slot.is_some_and(|entry| entry.source == source);
        let place = match bucket.iter().position(own) {
            Some(place) => place,
            None => {
                let idle = |entry: &Entry| {
                    let windows = u32::try_from(window.saturating_sub(entry.window));
                    let span = self.unit.saturating_mul(windows.unwrap_or(u32::MAX));
                    span > self.remove_latency && now >= entry.blocked_until
                };
                let weight = |slot: &Option<Entry>| match slot {
                    None => (false, 0, 0),
                    Some(entry) if idle(entry) => (false, 0, 1),
                    Some(entry) => {
                        let (blocked, sum) = entry.weight(now, window);
                        (blocked, sum, 2)
                    }
                };
                let (place, least) =
                    bucket.iter().map(weight).enumerate().min_by_key(|(_, weight)| *weight)?;
                self.evicted += u64::from(least.2 == 2);
                *bucket.get_mut(place)? = Some(Entry::new(source, window));
                place
            }
        };
        let entry = bucket.get_mut(place)?.as_mut()?;
        entry.roll(window);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::{ms, secs};

    fn source(text: &str) -> Source {
        Source::of(text.parse().expect("an address"))
    }

    fn rates(density: u32) -> Rates {
        let mut rates = Rates::new(1024, (secs(2), density), secs(120));
        rates.start((5, 6), 1);
        rates
    }

    /// One shard: it owns every source.
    fn hit(rates: &mut Rates, source: Source, now: Instant) -> bool {
        let hit = rates.hit(source, now);
        if let Some(hits) = hit.report {
            rates.add(source, hits, now);
        }
        rates.is_blocked(source, now)
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1").address().to_string(), "192.0.2.1");
    }

    #[test]
    fn the_density_blocks_until_a_window_has_stayed_below() {
        let (mut rates, one) = (rates(3), source("192.0.2.1"));
        let at = |millis| Instant::START + ms(millis);
        assert!(!hit(&mut rates, one, at(0)));
        assert!(!hit(&mut rates, one, at(10)));
        assert!(hit(&mut rates, one, at(20)));
        assert!(!rates.is_blocked(source("192.0.2.2"), at(20)));
        // The window after a flood is blocked whatever comes, the one after that is not.
        assert!(rates.is_blocked(one, at(3999)));
        assert!(!rates.is_blocked(one, at(4000)));
        assert!(!hit(&mut rates, one, at(4000)));
    }

    #[test]
    fn a_flood_that_goes_on_stays_blocked() {
        let (mut rates, one) = (rates(3), source("192.0.2.1"));
        for millis in (0..20_000).step_by(500) {
            let blocked = hit(&mut rates, one, Instant::START + ms(millis));
            assert_eq!(blocked, millis >= 1000, "{millis} ms");
        }
    }

    #[test]
    fn a_slow_source_is_never_blocked() {
        let (mut rates, one) = (rates(3), source("192.0.2.1"));
        let mut steps = (0..100_000).step_by(1000);
        assert!(steps.all(|millis| !hit(&mut rates, one, Instant::START + ms(millis))));
    }

    #[test]
    fn a_flood_of_sources_takes_no_memory_and_hides_no_offender() {
        let (mut rates, offender) = (rates(30), source("192.0.2.1"));
        let places = rates.entries.len();
        let mut blocked = false;
        for n in 0..200_000u32 {
            let now = Instant::START + Duration::from_micros(u64::from(n) * 5);
            let other = Source::of(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0A00_0000 + n)));
            assert!(!hit(&mut rates, other, now));
            if n % 1000 == 0 {
                blocked = hit(&mut rates, offender, now);
            }
        }
        assert!(blocked);
        assert_eq!(rates.entries.len(), places);
        assert!(rates.evicted() > 100_000);
    }

    #[test]
    fn several_shards_report_no_source_that_is_far_below() {
        let mut rates = rates(32);
        rates.start((5, 6), 8);
        let one = source("192.0.2.1");
        let reports: Vec<Option<u32>> =
            (0..6).map(|_| rates.hit(one, Instant::START).report).collect();
        assert_eq!(reports, [None, None, None, Some(4), Some(1), Some(1)]);
    }
}
