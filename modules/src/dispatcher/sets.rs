//! Sets of destinations: an immutable picture of what is configured.
//!
//! For: look-ups while requests are routed; a reload makes a new picture, and a routing that failed
//! over half-way goes on with the old one.
//! Not here: states and counts (`live.rs`), which outlive a picture.
//! Invariants: sets by rising id; destinations by falling priority, equal ones as they were listed;
//! no two destinations with the same id.

use super::destination::{Destination, DestinationId, SetId};
use crate::permissions::{Prefix, PrefixTable};
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
use strowger_sip::message::{Scheme, Uri};
use strowger_sip::transport::Transport;

/// How many choices in a row share out the weights.
const SLOTS: usize = 100;

/// A destination in its set.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) destination: Destination,
    pub(super) id: DestinationId,
    /// Where its state and counts lie.
    pub(super) place: usize,
    /// Where its own requests come from, when its URI names an address.
    pub(super) source: Option<Source>,
}

/// An address and a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
}

impl Source {
    fn of(uri: &str) -> Option<Source> {
        let uri = Uri::parse(uri.as_bytes()).ok()?;
        let transport = match (uri.scheme, uri.transport()) {
            (Scheme::Sips, _) => Transport::Tls,
            (_, Some(name)) => Transport::from_name(name.as_bytes())?,
            (_, None) => Transport::Udp,
        };
        let ip = uri.host.ip()?.to_canonical();
        let address = SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port()));
        Some(Source { address, transport })
    }
}

/// One set.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) id: SetId,
    pub(super) members: Vec<Member>,
    /// Whose turn it is, by `weight`.
    pub(super) slots: Vec<u16>,
}

/// All sets.
#[derive(Debug)]
pub(super) struct Sets {
    list: Vec<Set>,
    /// Set and member of each place.
    places: Vec<(usize, usize)>,
    /// Places by the address that a URI names.
    by_address: PrefixTable<usize>,
}

impl Sets {
    /// Of two destinations with the same id, the later replaces the earlier.
    pub(super) fn new(destinations: Vec<Destination>) -> Sets {
        let mut named: Vec<(DestinationId, usize, Destination)> = destinations
            .into_iter()
            .enumerate()
            .map(|(at, destination)| (destination.id(), at, destination))
            .collect();
        named.sort_by_key(|(id, at, _)| (*id, std::cmp::Reverse(*at)));
        named.dedup_by_key(|(id, _, _)| *id);
        named.sort_by_key(|(_, at, row)| (row.set, std::cmp::Reverse(row.priority), *at));
        let mut list: Vec<Set> = Vec::new();
        for (place, (id, _, destination)) in named.into_iter().enumerate() {
            let source = Source::of(&destination.uri);
            let member = Member { id, place, destination, source };
            match list.last_mut() {
                Some(set) if set.id == member.destination.set => set.members.push(member),
                Some(_) | None => {
                    let id = member.destination.set;
                    list.push(Set { id, members: vec![member], slots: Vec::new() });
                }
            }
        }
        for set in &mut list {
            let weights = set.members.iter().map(|member| member.destination.attributes.weight);
            set.slots = share_out(weights);
        }
        let of_set =
            |(at, set): (usize, &Set)| (0..set.members.len()).map(move |member| (at, member));
        let places = list.iter().enumerate().flat_map(of_set).collect();
        let members = list.iter().flat_map(|set| &set.members);
        let by_address =
            PrefixTable::new(members.filter_map(|member| {
                Some((Prefix::host(member.source?.address.ip()), member.place))
            }));
        Sets { list, places, by_address }
    }

    /// The destinations whose URI names this address, in the order of their places.
    pub(super) fn at_address(&self, address: IpAddr) -> impl Iterator<Item = &Member> {
        self.by_address.matches(address).filter_map(|place| self.at_place(*place))
    }

    /// The destination that lies at this place.
    pub(super) fn at_place(&self, place: usize) -> Option<&Member> {
        let (set, member) = *self.places.get(place)?;
        self.list.get(set)?.members.get(member)
    }

    /// Where a set lies.
    pub(super) fn index(&self, id: SetId) -> Option<usize> {
        self.list.binary_search_by_key(&id, |set| set.id).ok()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Set> {
        self.list.get(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Set> {
        self.list.iter()
    }

    /// Every destination, in the order of their places.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().flat_map(|set| &set.members)
    }
}

/// Shares 100 turns out in proportion to weights, each one's turns as far apart as can be; without
/// any weight, equally.
pub(super) fn share_out(weights: impl Iterator<Item = u32>) -> Vec<u16> {
    let weights: SmallVec<[i64; 32]> = weights.map(i64::from).collect();
    let unweighted = weights.iter().all(|weight| *weight == 0);
    let weight = |weight: i64| if unweighted { 1 } else { weight };
    let total: i64 = weights.iter().map(|own| weight(*own)).sum();
    let mut credit: SmallVec<[i64; 32]> = weights.iter().map(|_| 0).collect();
    let mut slots = Vec::with_capacity(SLOTS);
    let turns = if weights.is_empty() { 0 } else { SLOTS };
    for _ in 0..turns {
        // Everyone earns its weight, the richest has the turn and pays for it.
        credit.iter_mut().zip(&weights).for_each(|(credit, own)| *credit += weight(*own));
        let richest = (0..credit.len()).max_by_key(|&at| (credit.get(at), std::cmp::Reverse(at)));
        let Some(at) = richest else { break };
        if let Some(credit) = credit.get_mut(at) {
            *credit -= total;
        }
        slots.push(u16::try_from(at).unwrap_or(u16::MAX));
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(set: u32, uri: &str, priority: i32) -> Destination {
        Destination { priority, ..Destination::new(set, uri).expect("a destination") }
    }

    #[test]
    fn sets_are_sorted_by_id_and_members_by_priority() {
        let sets = Sets::new(vec![
            row(2, "sip:a", 0),
            row(1, "sip:b", 0),
            row(1, "sip:c", 9),
            row(1, "sip:d", 9),
            row(1, "sip:b", 5),
        ]);
        let shown: Vec<String> = sets
            .members()
            .map(|member| {
                format!("{} {} {}", member.place, member.destination.set.0, member.destination.uri)
            })
            .collect();
        assert_eq!(shown, ["0 1 sip:c", "1 1 sip:d", "2 1 sip:b", "3 2 sip:a"]);
        assert_eq!((sets.index(SetId(2)), sets.index(SetId(3))), (Some(1), None));
        assert_eq!(sets.at_place(3).map(|member| member.destination.uri.as_str()), Some("sip:a"));
    }

    #[test]
    fn turns_are_shared_in_proportion_and_spread() {
        let slots = share_out([50, 30, 20, 0].into_iter());
        let count = |at| slots.iter().filter(|slot| **slot == at).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [50, 30, 20, 0]);
        assert!(slots.windows(3).all(|three| three != [0, 0, 0]));
        let equal = share_out([0, 0].into_iter());
        assert_eq!(equal[..4], [0, 1, 0, 1]);
        assert!(share_out(std::iter::empty()).is_empty());
    }
}
