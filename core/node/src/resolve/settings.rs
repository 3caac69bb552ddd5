//! What `[dns]` says, under the names that Kamailio's core has for it.
//!
//! For: the keys, their defaults and ranges.
//! Not here: what resolv.conf says where a key is missing (`servers.rs`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::secs;

/// Name servers of one node at most; resolv.conf has three.
const NAMESERVERS_MAX: usize = 16;
/// The port of name servers (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
const NAMESERVER_ALLOWED: &str =
    "\"ADDRESS\" or \"ADDRESS:PORT\", for example \"192.0.2.53\" or \"[2001:db8::53]:53\"";

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Whom to ask; empty for whom resolv.conf names.
    pub nameservers: Vec<SocketAddr>,
    /// Whether NAPTR is asked before SRV (RFC 3263 §4.1).
    pub try_naptr: bool,
    /// Whether IPv6 addresses are asked for, where a listener has IPv6.
    pub try_ipv6: bool,
    /// Whether a name without a dot is tried within resolv.conf's search list.
    pub use_search_list: bool,
    /// How long a name server may take; resolv.conf's `timeout` if not set.
    pub retr_time: Option<Duration>,
    /// How often a question is repeated after that; resolv.conf's `attempts` if not set.
    pub retr_no: Option<usize>,
}

impl Default for DnsSettings {
    fn default() -> DnsSettings {
        DnsSettings {
            nameservers: Vec::new(),
            try_naptr: true,
            try_ipv6: true,
            use_search_list: true,
            retr_time: None,
            retr_no: None,
        }
    }
}

impl DnsSettings {
    /// Reads `[dns]`.
    pub fn read(section: &mut Section<'_>) -> DnsSettings {
        let default = DnsSettings::default();
        DnsSettings {
            nameservers: read_nameservers(section),
            try_naptr: section.switch("dns_try_naptr", default.try_naptr),
            try_ipv6: section.switch("dns_try_ipv6", default.try_ipv6),
            use_search_list: section.switch("dns_use_search_list", default.use_search_list),
            retr_time: section.duration_if_set("dns_retr_time", secs(1)..=secs(60), Unit::Seconds),
            retr_no: section
                .integer_if_set("dns_retr_no", 0..=10)
                .and_then(|number| usize::try_from(number).ok()),
        }
    }
}

fn read_nameservers(section: &mut Section<'_>) -> Vec<SocketAddr> {
    let Some(texts) = section.strings("nameservers") else { return Vec::new() };
    if texts.is_empty() || texts.len() > NAMESERVERS_MAX {
        let allowed = format!("1 to {NAMESERVERS_MAX} addresses; leave it out for resolv.conf's");
        section.problem("nameservers", format_args!("{} addresses", texts.len()), &allowed);
    }
    let mut nameservers = Vec::with_capacity(texts.len());
    for text in &texts {
        let with_port =
            || text.value.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
        let without = || text.value.parse::<IpAddr>().ok();
        match without().map(|address| SocketAddr::new(address, DNS_PORT)).or_else(with_port) {
            Some(address) => nameservers.push(address),
            None => {
                let what = format!("{:?} is not an address", text.value);
                section.problem_at(text.place, "nameservers", what, NAMESERVER_ALLOWED);
            }
        }
    }
    nameservers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> (DnsSettings, String) {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (settings, problems) =
            configuration.read(|root| DnsSettings::read(&mut root.section("dns")));
        (settings, problems.to_string())
    }

    #[test]
    fn kamailios_names() {
        let (settings, problems) = read(
            "[dns]\nnameservers = [\"127.0.0.1:5353\", \"::1\"]\ndns_try_naptr = 0\n\
             dns_try_ipv6 = false\ndns_use_search_list = 0\ndns_retr_time = 2\ndns_retr_no = 0\n",
        );
        assert_eq!(problems, "");
        let [first, second] = ["127.0.0.1:5353", "[::1]:53"].map(|a| a.parse().expect("address"));
        let expected = DnsSettings {
            nameservers: vec![first, second],
            try_naptr: false,
            try_ipv6: false,
            use_search_list: false,
            retr_time: Some(secs(2)),
            retr_no: Some(0),
        };
        assert_eq!(settings, expected);
        assert_eq!(read("").0, DnsSettings::default());
    }

    #[test]
    fn a_name_server_is_an_address() {
        for wrong in ["[]", "[\"ns.example.com\"]", "[\"192.0.2.53:0\"]", "[\"::1:\"]"] {
            let (_, problems) = read(&format!("[dns]\nnameservers = {wrong}\n"));
            assert!(problems.starts_with("t.toml:2: dns.nameservers: "), "{wrong}: {problems}");
        }
    }
}
