//! The address list: which group an address and a port belong to.
//!
//! For: `allow_address` and its kin (Kamailio's table `address`, version 6).
//! Not here: patterns over URIs (`trusted.rs`), reading the configuration (`settings.rs`).
//! Invariants: a list never changes after it was built; a reload replaces it as a whole.

use super::prefix::{Prefix, PrefixTable};
use std::net::IpAddr;
use std::rc::Rc;

/// A group of addresses (`grp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u32);

/// One row of the list, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The group.
    pub group: Group,
    /// The network.
    pub prefix: Prefix,
    /// The port; 0 for any.
    pub port: u16,
    /// What a routing learns of a match, if anything.
    pub tag: Option<String>,
}

/// Which of several matching rows counts (`subnet_match_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatchMode {
    /// The one listed first (FPM).
    FirstListed,
    /// The one whose network is the most specific; among equal ones the first listed (LPM).
    #[default]
    LongestPrefix,
}

/// Proof that an address is on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    group: Group,
    tag: Option<Rc<str>>,
}

impl Allowed {
    pub(super) fn new(group: Group, tag: Option<Rc<str>>) -> Allowed {
        Allowed { group, tag }
    }

    /// The group that matched; group 0 for a trusted request.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The tag of the row that matched.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
}

#[derive(Debug)]
struct Row {
    group: Group,
    prefix: Prefix,
    port: u16,
    tag: Option<Rc<str>>,
}

/// A list that is in use.
#[derive(Debug)]
pub(super) struct AddressList {
    mode: MatchMode,
    rows: Vec<Row>,
    table: PrefixTable<usize>,
}

impl AddressList {
    pub(super) fn new(list: &[Address], mode: MatchMode) -> AddressList {
        let row = |address: &Address| Row {
            group: address.group,
            prefix: address.prefix,
            port: address.port,
            tag: address.tag.as_deref().map(Rc::from),
        };
        let table = PrefixTable::new(list.iter().map(|address| address.prefix).zip(0..));
        AddressList { mode, rows: list.iter().map(row).collect(), table }
    }

    /// The row that an address and a port match, in one group or in any.
    pub(super) fn find(&self, ip: IpAddr, port: u16, group: Option<Group>) -> Option<Allowed> {
        let mut matching = self
            .table
            .matches(ip)
            .filter_map(|&index| self.rows.get(index).map(|row| (index, row)))
            .filter(|(_, row)| row.port == 0 || row.port == port)
            .filter(|(_, row)| group.is_none_or(|group| row.group == group));
        let (_, row) = match self.mode {
            MatchMode::LongestPrefix => matching.next(),
            MatchMode::FirstListed => matching.min_by_key(|(index, _)| *index),
        }?;
        Some(Allowed::new(row.group, row.tag.clone()))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row in the order of the list.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Group, Prefix, u16, Option<&str>)> {
        self.rows.iter().map(|row| (row.group, row.prefix, row.port, row.tag.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(mode: MatchMode, rows: &[(u32, &str, u16)]) -> AddressList {
        let rows: Vec<Address> = rows
            .iter()
            .map(|&(group, prefix, port)| Address {
                group: Group(group),
                prefix: Prefix::parse(prefix).expect("a prefix"),
                port,
                tag: Some(format!("{group} {prefix}")),
            })
            .collect();
        AddressList::new(&rows, mode)
    }

    fn found(list: &AddressList, ip: &str, port: u16, group: Option<u32>) -> Option<u32> {
        let ip = ip.parse().expect("an address");
        list.find(ip, port, group.map(Group)).map(|allowed| allowed.group().0)
    }

    const ROWS: [(u32, &str, u16); 5] = [
        (1, "10.0.0.0/8", 0),
        (2, "10.1.0.0/16", 5060),
        (3, "10.1.2.3", 0),
        (1, "2001:db8::/32", 5080),
        (4, "10.1.2.3", 0),
    ];

    #[test]
    fn the_longest_prefix_wins() {
        let list = list(MatchMode::LongestPrefix, &ROWS);
        assert_eq!(found(&list, "10.1.2.3", 5060, None), Some(3));
        assert_eq!(found(&list, "10.1.9.9", 5060, None), Some(2));
        assert_eq!(found(&list, "10.1.9.9", 5061, None), Some(1));
        assert_eq!(found(&list, "11.0.0.1", 5060, None), None);
        let tag = list.find("10.9.9.9".parse().expect("an address"), 1, None);
        assert_eq!(tag.expect("a match").tag(), Some("1 10.0.0.0/8"));
    }

    #[test]
    fn the_first_listed_wins_on_request() {
        let list = list(MatchMode::FirstListed, &ROWS);
        assert_eq!(found(&list, "10.1.2.3", 5060, None), Some(1));
        assert_eq!(found(&list, "10.1.2.3", 5060, Some(4)), Some(4));
    }

    #[test]
    fn a_group_and_a_port_narrow_the_search() {
        let list = list(MatchMode::LongestPrefix, &ROWS);
        assert_eq!(found(&list, "10.1.2.3", 9, Some(1)), Some(1));
        assert_eq!(found(&list, "10.1.2.3", 9, Some(2)), None);
        assert_eq!(found(&list, "2001:db8::9", 5080, Some(1)), Some(1));
        assert_eq!(found(&list, "2001:db8::9", 5060, Some(1)), None);
    }
}
