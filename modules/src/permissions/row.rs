//! Tables `address` and `trusted`, version 6, the address file and the allow and deny files: lists
//! from outside of the configuration.
//!
//! For: turning what the edge has read into lists, all of a list or none.
//! Not here: reading files and databases (the edge), lines of files (`settings.rs`, `rules.rs`).
//! Invariants: nothing writes the tables. A list with a fault yields every fault and no list.

use super::address::{Address, Group};
use super::prefix::Prefix;
use super::rules::{RuleSet, parse_rules};
use super::settings::{ADDRESSES_MAX, TRUSTED_MAX, parse_address_file};
use super::trusted::{Pattern, Proto, Trusted};
use strowger_sip::lists::{List, ListFault, ListFile, ListId, Listing};
use strowger_sip::settings::Section;
use strowger_sip::storage::{
    Column, Kind, Note, Order, Place, Reader, Record, RowFault, Rows, Table,
};

/// Table `address`, version 6.
pub static ADDRESS: Table = Table {
    name: "address",
    version: 6,
    columns: &[
        column("grp", Kind::Integer, false, "1"),
        column("ip_addr", Kind::Text(50), false, ""),
        column("mask", Kind::Integer, false, "32"),
        column("port", Kind::Integer, false, "0"),
        column("tag", Kind::Text(64), true, ""),
    ],
    key: &[],
    indexes: &[],
    ends: None,
    loaded_at_start: false,
};

/// Table `trusted`, version 6.
pub static TRUSTED: Table = Table {
    name: "trusted",
    version: 6,
    columns: &[
        column("src_ip", Kind::Text(50), false, ""),
        column("proto", Kind::Text(4), false, ""),
        column("from_pattern", Kind::Text(64), true, ""),
        column("ruri_pattern", Kind::Text(64), true, ""),
        column("tag", Kind::Text(64), true, ""),
        column("priority", Kind::Integer, false, "0"),
    ],
    key: &[],
    indexes: &[],
    ends: None,
    loaded_at_start: false,
};

const fn column(name: &'static str, kind: Kind, nullable: bool, default: &'static str) -> Column {
    Column { name, kind, nullable, default }
}

const ADDRESSES: u8 = 0;
const TRUSTED_ROWS: u8 = 1;
const RULES: u8 = 2;
/// What the roles of the rules' files begin with.
const ALLOW: &str = "allow ";
const DENY: &str = "deny ";

/// What storage, or whoever reads files again, tells the module, and what it asks.
#[derive(Clone, Debug)]
pub enum Row {
    /// To the edge: the address list is wanted again, on every shard.
    AddressesWanted,
    /// To the edge: the trusted list is wanted again, on every shard.
    TrustedWanted,
    /// To the edge: the allow and deny files are wanted again, on every shard.
    RulesWanted,
    /// From the edge: the addresses of file and table.
    Addresses(Vec<Address>),
    /// From the edge: the trusted rows of the table.
    Trusted(Vec<Trusted>),
    /// From the edge: the sets of rules.
    Rules(Vec<RuleSet>),
}

/// What `[permissions]` wants read: `address_file`, `default_allow_file`, `default_deny_file`, the
/// files of `[[permissions.rules]]`, and both tables where there is storage.
pub(super) fn lists(section: &mut Section<'_>) -> Vec<List> {
    let file = ListFile::of(section, "permissions", "address_file", "");
    let mut rules = Vec::new();
    let mut pair = |section: &mut Section<'_>, name: &str, keys: [&'static str; 2]| {
        let path = if name.is_empty() { "permissions" } else { "permissions.rules" };
        for (role, key) in [ALLOW, DENY].into_iter().zip(keys) {
            rules.extend(ListFile::of(section, path, key, &format!("{role}{name}")));
        }
    };
    pair(section, "", ["default_allow_file", "default_deny_file"]);
    section.sections("rules", |section| {
        let name = section.string_or("name", "");
        if name.is_empty() {
            section.problem("name", "missing", "a name for these rules");
        }
        pair(section, &name, ["allow_file", "deny_file"]);
    });
    let list = |number, name, files, table, rows_max: usize| List {
        number,
        name,
        files,
        table,
        rows_max: u32::try_from(rows_max).unwrap_or(u32::MAX),
    };
    let files = file.into_iter().collect();
    vec![
        list(ADDRESSES, "permissions addresses", files, Some(&ADDRESS), ADDRESSES_MAX),
        list(TRUSTED_ROWS, "permissions trusted", Vec::new(), Some(&TRUSTED), TRUSTED_MAX),
        list(RULES, "permissions rules", rules, None, 0),
    ]
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        visit(first, &ADDRESS);
        visit(first, &TRUSTED);
    }
    fn into_order(self) -> Option<(Place, Order)> {
        None
    }
    fn from_note(_: Place, _: Note) -> Result<Option<Self>, RowFault> {
        Ok(None)
    }
    fn wants(&self) -> Option<ListId> {
        let list = |number| Some(ListId { place: 0, number });
        match self {
            Row::AddressesWanted => list(ADDRESSES),
            Row::TrustedWanted => list(TRUSTED_ROWS),
            Row::RulesWanted => list(RULES),
            Row::Addresses(_) | Row::Trusted(_) | Row::Rules(_) => None,
        }
    }
    fn from_list(_: Place, listing: &Listing) -> Result<Option<Self>, Vec<ListFault>> {
        let mut faults = Vec::new();
        let row = match listing.number {
            ADDRESSES => Row::Addresses(addresses(listing, &mut faults)),
            TRUSTED_ROWS => Row::Trusted(all(&listing.records, trusted, &mut faults)),
            RULES => Row::Rules(rules(listing, &mut faults)),
            _ => return Ok(None),
        };
        if faults.is_empty() { Ok(Some(row)) } else { Err(faults) }
    }
}

fn addresses(listing: &Listing, faults: &mut Vec<ListFault>) -> Vec<Address> {
    let mut list = Vec::new();
    for file in &listing.files {
        match parse_address_file(&file.text) {
            Ok(addresses) => list.extend(addresses),
            Err(problems) => faults.extend(
                problems.into_iter().map(|(line, what)| ListFault::in_line(file, line, what)),
            ),
        }
    }
    list.extend(all(&listing.records, address, faults));
    if list.len() > ADDRESSES_MAX {
        let what = format!("more than {ADDRESSES_MAX} rows");
        faults.push(ListFault::with("permissions addresses", what));
    }
    list
}

fn rules(listing: &Listing, faults: &mut Vec<ListFault>) -> Vec<RuleSet> {
    let mut sets: Vec<RuleSet> = Vec::new();
    for file in &listing.files {
        let rules = parse_rules(&file.text).unwrap_or_else(|problems| {
            let problems = problems.into_iter();
            faults.extend(problems.map(|(line, what)| ListFault::in_line(file, line, what)));
            Vec::new()
        });
        let (name, allows) = match file.role.strip_prefix(ALLOW) {
            Some(name) => (name, true),
            None => (file.role.strip_prefix(DENY).unwrap_or_default(), false),
        };
        let at = sets.iter().position(|set| set.name == name).unwrap_or_else(|| {
            sets.push(RuleSet { name: name.to_owned(), ..RuleSet::default() });
            sets.len() - 1
        });
        if let Some(set) = sets.get_mut(at) {
            if allows { set.allow.extend(rules) } else { set.deny.extend(rules) }
        }
    }
    sets
}

/// Reads records; what is wrong goes to the faults.
fn all<T>(
    records: &[Record],
    read: fn(&Record) -> Result<T, ListFault>,
    faults: &mut Vec<ListFault>,
) -> Vec<T> {
    let mut list = Vec::with_capacity(records.len());
    for record in records {
        match read(record) {
            Ok(row) => list.push(row),
            Err(fault) => faults.push(fault),
        }
    }
    list
}

fn address(record: &Record) -> Result<Address, ListFault> {
    let reader = Reader::new(&ADDRESS, record, "ip_addr");
    let text = reader.required_text("ip_addr")?;
    let fault = |what: String| ListFault::in_row(&ADDRESS, text, what);
    let base = Prefix::parse(text)
        .ok_or_else(|| fault("ip_addr is no address; allowed: 192.0.2.0, 2001:db8::".to_owned()))?;
    // Kamailio's column is never NULL and says 32 for one IPv4 address.
    let mask: Option<u8> = reader.integer("mask")?;
    let prefix = match mask.filter(|_| !text.contains('/')) {
        None => base,
        Some(mask) => Prefix::new(base.address(), mask)
            .ok_or_else(|| fault(format!("mask {mask} is too long for {}", base.address())))?,
    };
    let group: u32 = reader.integer("grp")?.unwrap_or(1);
    if group == 0 {
        return Err(fault("grp 0: groups begin with 1".to_owned()));
    }
    let port = reader.integer("port")?.unwrap_or(0);
    let tag = reader.text("tag")?.filter(|tag| !tag.is_empty()).map(str::to_owned);
    Ok(Address { group: Group(group), prefix, port, tag })
}

fn trusted(record: &Record) -> Result<Trusted, ListFault> {
    let reader = Reader::new(&TRUSTED, record, "src_ip");
    let source = reader.required_text("src_ip")?;
    let fault = |what: String| ListFault::in_row(&TRUSTED, source, what);
    let prefix = match source {
        "any" => None,
        text => Some(Prefix::parse(text).ok_or_else(|| {
            fault("src_ip: allowed are \"any\", an address, a network".to_owned())
        })?),
    };
    let proto = reader.required_text("proto")?;
    let proto = Proto::parse(&proto.to_ascii_lowercase()).ok_or_else(|| {
        fault(format!("proto {proto:?}: allowed are any, udp, tcp, tls, ws, wss, none"))
    })?;
    let pattern = |column| match reader.text(column)?.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => match Pattern::new(text) {
            Some(pattern) => Ok(Some(pattern)),
            None => Err(fault(format!("{column} {text:?} is no regular expression"))),
        },
    };
    let (from_pattern, ruri_pattern) = (pattern("from_pattern")?, pattern("ruri_pattern")?);
    let tag = reader.text("tag")?.filter(|tag| !tag.is_empty()).map(str::to_owned);
    let priority = reader.integer("priority")?.unwrap_or(0);
    Ok(Trusted { source: prefix, proto, from_pattern, ruri_pattern, tag, priority })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::lists::FileText;
    use strowger_sip::storage::Datum;

    fn text(text: &str) -> Datum {
        if text.is_empty() { Datum::Null } else { Datum::Text(text.to_owned()) }
    }

    fn listing(number: u8, files: &[(&str, &str)], records: Vec<Record>) -> Listing {
        let file = |(role, text): &(&str, &str)| FileText {
            role: (*role).to_owned(),
            name: format!("{role}file"),
            text: (*text).to_owned(),
        };
        Listing { number, files: files.iter().map(file).collect(), records }
    }

    fn faults(listing: &Listing) -> Vec<String> {
        let faults = Row::from_list(0, listing).expect_err("faults");
        faults.iter().map(ToString::to_string).collect()
    }

    fn address_row(group: i64, ip: &str, mask: i64) -> Record {
        vec![Datum::Integer(group), text(ip), Datum::Integer(mask), Datum::Integer(0), text("t")]
    }

    #[test]
    fn addresses_come_from_file_and_table() {
        let rows = vec![address_row(2, "10.0.0.7", 8), address_row(3, "2001:db8::/48", 32)];
        let both = listing(ADDRESSES, &[("", "1 192.0.2.0 24\n")], rows);
        let Ok(Some(Row::Addresses(list))) = Row::from_list(0, &both) else { panic!("no list") };
        let shown: Vec<String> =
            list.iter().map(|row| format!("{} {}", row.group.0, row.prefix)).collect();
        assert_eq!(shown, ["1 192.0.2.0/24", "2 10.0.0.0/8", "3 2001:db8::/48"]);
    }

    #[test]
    fn every_fault_of_addresses_is_named() {
        let rows = vec![
            address_row(1, "nowhere", 32),
            address_row(1, "10.0.0.1", 33),
            address_row(0, "10.0.0.2", 32),
            address_row(-1, "10.0.0.3", 32),
        ];
        let faults = faults(&listing(ADDRESSES, &[("", "x\n1 10.0.0.1\n1\n")], rows));
        let starts = [
            "file:1: \"x\" is not of the form",
            "file:3: \"1\" is not of the form",
            "table address, row nowhere: ip_addr is no address",
            "table address, row 10.0.0.1: mask 33 is too long",
            "table address, row 10.0.0.2: grp 0",
            "table address, row 10.0.0.3, column grp: out of range",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }

    #[test]
    fn trusted_rows_are_read_and_a_wrong_pattern_is_a_fault() {
        let row = |source: &str, proto: &str, pattern: &str| -> Record {
            let rest = [text(""), text("a"), Datum::Integer(4)];
            [&[text(source), text(proto), text(pattern)][..], &rest].concat()
        };
        let good =
            listing(TRUSTED_ROWS, &[], vec![row("any", "UDP", "^sip:a"), row("::1", "any", "")]);
        let Ok(Some(Row::Trusted(list))) = Row::from_list(0, &good) else { panic!("no list") };
        assert_eq!((list.len(), list[0].priority), (2, 4));
        assert!(list[0].from_pattern.is_some() && list[0].source.is_none());
        let bad = vec![row("any", "any", "("), row("any", "ipx", ""), row("here", "any", "")];
        let faults = faults(&listing(TRUSTED_ROWS, &[], bad));
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert!(faults[0].contains("from_pattern \"(\" is no regular expression"), "{faults:?}");
    }

    #[test]
    fn rules_go_to_the_set_that_their_file_is_for() {
        let files = [("allow ", "ALL : \"^sip:1\"\n"), ("deny ", "ALL : ALL\n"), ("deny x", "")];
        let Ok(Some(Row::Rules(sets))) = Row::from_list(0, &listing(RULES, &files, Vec::new()))
        else {
            panic!("no rules")
        };
        let shown: Vec<(&str, usize, usize)> =
            sets.iter().map(|set| (set.name.as_str(), set.allow.len(), set.deny.len())).collect();
        assert_eq!(shown, [("", 1, 1), ("x", 0, 0)]);
        let wrong = listing(RULES, &[("allow ", "ALL : ALL\n\nALL\n")], Vec::new());
        assert!(faults(&wrong)[0].starts_with("allow file:3: "), "{:?}", faults(&wrong));
    }
}
