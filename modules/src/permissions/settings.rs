//! Reading `[permissions]`.
//!
//! For: `[[permissions.address]]` with the columns of Kamailio's table `address` (grp, ip_addr,
//! mask, port, tag) and `[[permissions.trusted]]` with those of `trusted` (src_ip, proto,
//! from_pattern, ruri_pattern, tag, priority).
//! Invariants: every row that cannot be read is reported; a list with a problem is not used.

use super::address::{Address, Group, MatchMode};
use super::prefix::Prefix;
use super::trusted::{PATTERN_BYTES_MAX, Pattern, Proto, Trusted};
use std::net::IpAddr;
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, secs};

/// Most rows of the address list. A guess, ten times the largest list heard of.
pub const ADDRESSES_MAX: usize = 1 << 20;
/// Most rows of the trusted list; each costs a compiled pattern or two.
pub const TRUSTED_MAX: usize = 1 << 16;

/// What `[permissions]` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `subnet_match_mode`: 0 first listed, 1 longest prefix.
    pub match_mode: MatchMode,
    /// `reload_delta`: reloads come no closer than this.
    pub reload_delta: Duration,
    /// `address_file`: for the edge, which reads it at start and for `permissions.addressReload`.
    pub address_file: Option<String>,
    /// `[[permissions.address]]`.
    pub addresses: Vec<Address>,
    /// `[[permissions.trusted]]`.
    pub trusted: Vec<Trusted>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            match_mode: MatchMode::LongestPrefix,
            reload_delta: secs(5),
            address_file: None,
            addresses: Vec::new(),
            trusted: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the section; problems are reported through it.
    pub fn from_section(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        let match_mode = match section.integer("subnet_match_mode", 1, 0..=1) {
            0 => MatchMode::FirstListed,
            _ => MatchMode::LongestPrefix,
        };
        let delta = section.duration(
            "reload_delta",
            default.reload_delta,
            Duration::ZERO..=secs(86_400),
            Unit::Seconds,
        );
        let addresses: Vec<Address> =
            section.sections("address", address).into_iter().flatten().collect();
        if addresses.len() > ADDRESSES_MAX {
            section.problem("address", "too many rows", &format!("{ADDRESSES_MAX} rows"));
        }
        let trusted: Vec<Trusted> =
            section.sections("trusted", trusted).into_iter().flatten().collect();
        if trusted.len() > TRUSTED_MAX {
            section.problem("trusted", "too many rows", &format!("{TRUSTED_MAX} rows"));
        }
        // The files are read by the edge, which asks for the same keys.
        let _ = super::row::lists(section);
        let address_file = section.string("address_file");
        Settings { match_mode, reload_delta: delta, address_file, addresses, trusted }
    }
}

fn address(row: &mut Section<'_>) -> Option<Address> {
    let group = row.integer("grp", 1, 1..=u64::from(u32::MAX));
    let base = row.parsed("ip_addr", |text| {
        Prefix::parse(text).ok_or_else(|| "an address or a network: \"192.0.2.0/24\"".to_owned())
    });
    if !row.is_set("ip_addr") {
        row.problem("ip_addr", "missing", "an address or a network: \"192.0.2.0/24\"");
    }
    let mask = row.integer_if_set("mask", 0..=128);
    let port = row.integer("port", 0, 0..=u64::from(u16::MAX));
    let tag = row.string("tag");
    let base = base?;
    let prefix = match mask {
        None => base,
        Some(mask) => masked(base, mask).or_else(|| {
            let most = if base.address().is_ipv4() { 32 } else { 128 };
            row.problem("mask", format!("{mask} is too long"), &format!("0 to {most}"));
            None
        })?,
    };
    let group = Group(u32::try_from(group).unwrap_or(u32::MAX));
    Some(Address { group, prefix, port: u16::try_from(port).unwrap_or(0), tag })
}

fn masked(base: Prefix, mask: u64) -> Option<Prefix> {
    Prefix::new(base.address(), u8::try_from(mask).ok()?)
}

fn trusted(row: &mut Section<'_>) -> Option<Trusted> {
    let source = row.parsed("src_ip", |text| match text {
        "any" => Ok(None),
        text => match Prefix::parse(text) {
            Some(prefix) => Ok(Some(prefix)),
            None => Err("\"any\", an address or a network".to_owned()),
        },
    });
    if !row.is_set("src_ip") {
        row.problem("src_ip", "missing", "\"any\", an address or a network");
    }
    let proto = row.parsed("proto", |text| {
        Proto::parse(text).ok_or_else(|| "any, udp, tcp, tls, ws, wss, none".to_owned())
    });
    let has_proto = row.is_set("proto");
    let from_pattern = pattern(row, "from_pattern");
    let ruri_pattern = pattern(row, "ruri_pattern");
    let tag = row.string("tag");
    let priority = row.integer("priority", 0, 0..=u64::from(u32::MAX));
    // A row is never used with less than it says: a lost pattern would let everybody in.
    let proto = if has_proto { proto? } else { Proto::Any };
    Some(Trusted {
        source: source?,
        proto,
        from_pattern: from_pattern?,
        ruri_pattern: ruri_pattern?,
        tag,
        priority: u32::try_from(priority).unwrap_or(u32::MAX),
    })
}

/// `None` when the pattern is wrong, `Some(None)` when there is none.
fn pattern(row: &mut Section<'_>, key: &'static str) -> Option<Option<Pattern>> {
    if !row.is_set(key) {
        return Some(None);
    }
    let allowed = || format!("a regular expression of at most {PATTERN_BYTES_MAX} bytes");
    row.parsed(key, |text| Pattern::new(text).ok_or_else(allowed)).map(Some)
}

/// Reads Kamailio's `address_file`: lines of group, address, mask, port and tag, of which only the
/// first two must be there; `#` begins a comment.
///
/// # Errors
/// Every line that cannot be read, with its number.
pub fn parse_address_file(text: &str) -> Result<Vec<Address>, Vec<(usize, String)>> {
    let (mut addresses, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        match address_line(line) {
            Some(address) if addresses.len() < ADDRESSES_MAX => addresses.push(address),
            Some(_) => {
                problems.push((number, format!("more than {ADDRESSES_MAX} rows")));
                break;
            }
            None => {
                let form = "group address [mask [port [tag]]]";
                problems.push((number, format!("{line:?} is not of the form {form}")));
            }
        }
    }
    if problems.is_empty() { Ok(addresses) } else { Err(problems) }
}

fn address_line(line: &str) -> Option<Address> {
    let mut words = line.split_whitespace();
    let group = Group(words.next()?.parse().ok().filter(|group| *group > 0)?);
    let text = words.next()?;
    let prefix = match words.next() {
        Some(mask) if !text.contains('/') => {
            let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let ip: IpAddr = bare.unwrap_or(text).parse().ok()?;
            Prefix::new(ip, mask.parse().ok()?)?
        }
        Some(_) => return None,
        None => Prefix::parse(text)?,
    };
    let port = words.next().map_or(Some(0), |port| port.parse().ok())?;
    let tag = words.next().map(str::to_owned);
    words.next().is_none().then_some(Address { group, prefix, port, tag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Entry, Place, Table, Value};

    fn table(entries: &[(&str, Value)]) -> Value {
        let entry = |(key, value): &(&str, Value)| Entry {
            key: (*key).to_owned(),
            place: Place::Line(7),
            value: value.clone(),
        };
        Value::Table(Table { place: Place::Line(6), entries: entries.iter().map(entry).collect() })
    }

    fn read(name: &'static str, rows: &[Value]) -> (Settings, String) {
        let rows = rows.iter().map(|row| (Place::Line(5), row.clone())).collect();
        let mut configuration = Configuration::empty("test.toml");
        configuration.set("permissions", name, Place::Line(4), Value::List(rows));
        let (settings, problems) =
            configuration.read(|root| Settings::from_section(&mut root.section("permissions")));
        (settings, problems.to_string())
    }

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    #[test]
    fn rows_have_the_columns_of_the_tables() {
        let (settings, problems) = read(
            "address",
            &[
                table(&[
                    ("grp", Value::Integer(2)),
                    ("ip_addr", text("10.0.0.7")),
                    ("mask", Value::Integer(8)),
                ]),
                table(&[
                    ("ip_addr", text("2001:db8::/32")),
                    ("port", Value::Integer(5060)),
                    ("tag", text("v6")),
                ]),
            ],
        );
        assert_eq!(problems, "");
        let shown: Vec<String> = settings
            .addresses
            .iter()
            .map(|row| format!("{} {}", row.group.0, row.prefix))
            .collect();
        assert_eq!(shown, ["2 10.0.0.0/8", "1 2001:db8::/32"]);
        assert_eq!(settings.addresses[1].tag.as_deref(), Some("v6"));
    }

    #[test]
    fn every_wrong_row_is_reported() {
        let (settings, problems) = read(
            "address",
            &[
                table(&[("ip_addr", text("10.0.0.0")), ("mask", Value::Integer(33))]),
                table(&[("grp", Value::Integer(0)), ("ip_addr", text("nowhere"))]),
                table(&[]),
            ],
        );
        assert!(settings.addresses.is_empty());
        assert_eq!(problems.lines().count(), 4, "{problems}");
    }

    #[test]
    fn a_wrong_pattern_takes_its_row_with_it() {
        let (settings, problems) =
            read("trusted", &[table(&[("src_ip", text("any")), ("from_pattern", text("("))])]);
        assert!(settings.trusted.is_empty());
        assert_eq!(problems.lines().count(), 1, "{problems}");
        let (settings, problems) = read("trusted", &[table(&[("src_ip", text("any"))])]);
        assert_eq!((settings.trusted.len(), problems.as_str()), (1, ""));
    }

    #[test]
    fn an_address_file_is_read_like_kamailios() {
        let rows = parse_address_file(
            "# group address mask port tag\n1 192.0.2.0 24\n2 [2001:db8::] 32 5060 x # v6\n\n\
             3 10.1.1.1\n",
        )
        .expect("rows");
        let shown: Vec<String> =
            rows.iter().map(|row| format!("{} {} {}", row.group.0, row.prefix, row.port)).collect();
        assert_eq!(shown, ["1 192.0.2.0/24 0", "2 2001:db8::/32 5060", "3 10.1.1.1/32 0"]);
        let problems = parse_address_file("1 10.0.0.1\nx\n").expect_err("a problem");
        assert!(problems[0].0 == 2 && problems[0].1.starts_with("\"x\""), "{problems:?}");
    }
}
