//! Address prefixes, and the most specific one that holds an address.
//!
//! For: address lists, allow-lists, sources counted by network; IPv4 and IPv6 alike.
//! Not here: what a prefix stands for (`address.rs`, `trusted.rs`, `pike/`).
//! Invariants: a prefix has no host bits, so equal networks are equal values; an IPv4 address
//! mapped into IPv6 (RFC 4291 §2.5.5.2) is that IPv4 address. A table never changes after it was
//! built.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// A network: an address and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The network of this address; `None` when it has more bits than the address.
    pub fn new(address: IpAddr, bits: u8) -> Option<Prefix> {
        match (address, address.to_canonical()) {
            // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
            (IpAddr::V6(_), IpAddr::V4(inner)) if (96..=128).contains(&bits) => {
                Some(Prefix::v4(inner, bits - 96))
            }
            (IpAddr::V4(address), _) if bits <= 32 => Some(Prefix::v4(address, bits)),
            (IpAddr::V6(address), _) if bits <= 128 => Some(Prefix::v6(address, bits)),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
        }
    }

    /// The network that holds this one address.
    pub fn host(address: IpAddr) -> Prefix {
        match address.to_canonical() {
            IpAddr::V4(address) => Prefix::v4(address, 32),
            IpAddr::V6(address) => Prefix::v6(address, 128),
        }
    }

    /// Reads `192.0.2.0/24`, `2001:db8::/32`, `[2001:db8::]/32`; without a length, one host.
    pub fn parse(text: &str) -> Option<Prefix> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address: IpAddr = bare.unwrap_or(address).parse().ok()?;
        match bits {
            Some(bits) => Prefix::new(address, bits),
            None => Some(Prefix::host(address)),
        }
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether it holds this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => Prefix::v4(other, self.bits).address == own,
            (IpAddr::V6(own), IpAddr::V6(other)) => Prefix::v6(other, self.bits).address == own,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    fn v4(address: Ipv4Addr, bits: u8) -> Prefix {
        let kept = address.to_bits() & !low_bits(32 - u32::from(bits.min(32))) as u32;
        Prefix { address: IpAddr::V4(Ipv4Addr::from_bits(kept)), bits }
    }

    fn v6(address: Ipv6Addr, bits: u8) -> Prefix {
        let kept = address.to_bits() & !low_bits(128 - u32::from(bits.min(128)));
        Prefix { address: IpAddr::V6(Ipv6Addr::from_bits(kept)), bits }
    }
}

/// A number whose lowest `count` bits are set.
fn low_bits(count: u32) -> u128 {
    1u128.checked_shl(count).map_or(u128::MAX, |bit| bit - 1)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// A position among addresses of one family.
trait Key: Copy + Ord {
    fn next(self) -> Option<Self>;
}

impl Key for u32 {
    fn next(self) -> Option<u32> {
        self.checked_add(1)
    }
}

impl Key for u128 {
    fn next(self) -> Option<u128> {
        self.checked_add(1)
    }
}

/// One network of a family: what is listed for it, and the network around it.
#[derive(Clone, Debug)]
struct Network {
    around: Option<u32>,
    values: Range<usize>,
}

/// The networks of one address family, cut into intervals that do not overlap: one binary search
/// finds the most specific network, the others follow from `around`.
#[derive(Clone, Debug)]
struct Family<K, T> {
    /// Where each interval begins, in order.
    starts: Vec<K>,
    /// The most specific network of each interval.
    owners: Vec<Option<u32>>,
    networks: Vec<Network>,
    values: Vec<T>,
}

impl<K: Key, T> Family<K, T> {
    /// `list` holds first address, last address and value.
    fn build(mut list: Vec<(K, K, T)>) -> Family<K, T> {
        // A network comes before those within it; equal ones keep the order in which they came.
        list.sort_by(|one, two| one.0.cmp(&two.0).then(two.1.cmp(&one.1)));
        let mut family =
            Family { starts: vec![], owners: vec![], networks: vec![], values: vec![] };
        let mut open: Vec<(K, K, u32)> = Vec::new();
        for (first, last, value) in list {
            let end = family.values.len();
            family.values.push(value);
            if let Some(&(own_first, own_last, network)) = open.last()
                && (own_first, own_last) == (first, last)
            {
                if let Some(network) = family.networks.get_mut(network as usize) {
                    network.values.end = end + 1;
                }
                continue;
            }
            while open.last().is_some_and(|&(_, last, _)| last < first) {
                family.close(&mut open);
            }
            let network = u32::try_from(family.networks.len()).unwrap_or(u32::MAX);
            let around = open.last().map(|&(_, _, network)| network);
            family.networks.push(Network { around, values: end..end + 1 });
            family.cut(first, Some(network));
            open.push((first, last, network));
        }
        while !open.is_empty() {
            family.close(&mut open);
        }
        family
    }

    fn close(&mut self, open: &mut Vec<(K, K, u32)>) {
        let Some((_, last, _)) = open.pop() else { return };
        if let Some(beyond) = last.next() {
            self.cut(beyond, open.last().map(|&(_, _, network)| network));
        }
    }

    fn cut(&mut self, at: K, owner: Option<u32>) {
        if self.starts.last() == Some(&at) {
            self.starts.pop();
            self.owners.pop();
        }
        self.starts.push(at);
        self.owners.push(owner);
    }

    fn innermost(&self, key: K) -> Option<u32> {
        let interval = self.starts.partition_point(|start| *start <= key).checked_sub(1)?;
        *self.owners.get(interval)?
    }
}

/// Values by network. Look-ups cost one binary search, however many networks there are.
#[derive(Clone, Debug)]
pub struct PrefixTable<T> {
    v4: Family<u32, T>,
    v6: Family<u128, T>,
}

impl<T> PrefixTable<T> {
    /// Builds a table; a network may be listed more than once.
    pub fn new(list: impl IntoIterator<Item = (Prefix, T)>) -> PrefixTable<T> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in list {
            match prefix.address {
                IpAddr::V4(address) => {
                    let first = address.to_bits();
                    let rest = low_bits(32 - u32::from(prefix.bits.min(32))) as u32;
                    v4.push((first, first | rest, value));
                }
                IpAddr::V6(address) => {
                    let first = address.to_bits();
                    let rest = low_bits(128 - u32::from(prefix.bits.min(128)));
                    v6.push((first, first | rest, value));
                }
            }
        }
        PrefixTable { v4: Family::build(v4), v6: Family::build(v6) }
    }

    /// Everything listed for the networks that hold this address: the most specific network first,
    /// within one network in the order of the list.
    pub fn matches(&self, address: IpAddr) -> impl Iterator<Item = &T> {
        let (networks, values, innermost) = match address.to_canonical() {
            IpAddr::V4(address) => {
                (&self.v4.networks, &self.v4.values, self.v4.innermost(address.to_bits()))
            }
            IpAddr::V6(address) => {
                (&self.v6.networks, &self.v6.values, self.v6.innermost(address.to_bits()))
            }
        };
        let network = |index: Option<u32>| networks.get(index? as usize);
        std::iter::successors(network(innermost), move |inner| network(inner.around))
            .flat_map(move |network| values.get(network.values.clone()).unwrap_or(&[]))
    }

    /// Whether any network holds this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.innermost(address.to_bits()).is_some(),
            IpAddr::V6(address) => self.v6.innermost(address.to_bits()).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::entropy::Entropy;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).expect("a prefix")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn table(list: &[&'static str]) -> PrefixTable<&'static str> {
        PrefixTable::new(list.iter().map(|text| (prefix(text), *text)))
    }

    #[test]
    fn prefixes_in_every_spelling() {
        assert_eq!(prefix("192.0.2.77/24"), prefix("192.0.2.0/24"));
        assert_eq!(prefix("[2001:db8::5]/32").to_string(), "2001:db8::/32");
        assert_eq!(prefix("192.0.2.7").bits(), 32);
        assert_eq!(prefix("::ffff:192.0.2.7"), prefix("192.0.2.7/32"));
        assert_eq!(prefix("::ffff:10.0.0.0/104"), prefix("10.0.0.0/8"));
        for wrong in ["192.0.2.0/33", "2001:db8::/129", "example.com", "10.0.0.0/", "10.0/8", ""] {
            assert_eq!(Prefix::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_most_specific_network_comes_first() {
        let table = table(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.255.0.0/16"]);
        let found: Vec<_> = table.matches(address("10.1.2.3")).copied().collect();
        assert_eq!(found, ["10.1.2.3", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        let found: Vec<_> = table.matches(address("::ffff:10.255.1.1")).copied().collect();
        assert_eq!(found, ["10.255.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(table.matches(address("255.255.255.255")).count(), 1);
        assert!(!table.contains(address("2001:db8::1")));
    }

    #[test]
    fn the_last_address_of_all_is_held() {
        let table = table(&["255.255.255.0/24", "ffff::/16", "::/0"]);
        assert!(table.contains(address("255.255.255.255")));
        assert_eq!(table.matches(address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")).count(), 2);
    }

    /// The slow obvious twin: every prefix is asked.
    #[test]
    fn finds_what_its_slow_twin_finds() {
        for seed in 0..200 {
            let mut entropy = Entropy::new((seed, 0));
            // Few distinct bits, so that networks nest, repeat and touch.
            let mut any = |bits_max: u64| {
                let text = entropy.next_u64();
                let v4 = Ipv4Addr::from_bits((text as u32) & 0xC000_0303);
                let v6 =
                    Ipv6Addr::from_bits(u128::from(text & 0xF) << 124 | u128::from(text >> 62));
                let address = if text & 16 == 0 { IpAddr::V4(v4) } else { IpAddr::V6(v6) };
                let most = if address.is_ipv4() { 32 } else { 128 };
                let bits = u8::try_from(entropy.below(bits_max + 1)).unwrap_or(0).min(most);
                (address, bits)
            };
            let list: Vec<Prefix> = (0..60)
                .filter_map(|_| {
                    let (address, bits) = any(128);
                    Prefix::new(address, bits)
                })
                .collect();
            let table = PrefixTable::new(list.iter().copied().zip(0usize..));
            for _ in 0..100 {
                let (address, _) = any(0);
                let mut slow: Vec<usize> =
                    (0..list.len()).filter(|&at| list[at].contains(address)).collect();
                slow.sort_by_key(|&at| (std::cmp::Reverse(list[at].bits()), at));
                let fast: Vec<usize> = table.matches(address).copied().collect();
                assert_eq!(fast, slow, "seed {seed}, {address}");
            }
        }
    }
}
