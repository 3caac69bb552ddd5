//! Private addresses: RFC 1918 and RFC 6598.

use std::net::{IpAddr, Ipv4Addr};

/// Whether an address means something within a private or a carrier's network only.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let shared = u32::from(address) >> 22 == u32::from(Ipv4Addr::new(100, 64, 0, 0)) >> 22;
            address.is_private() || shared
        }
        // Nobody translates these.
        IpAddr::V6(_) => false,
    }
}

/// The same of a text (`is_rfc1918`); not of what is no address.
pub fn is_rfc1918(text: &str) -> bool {
    text.parse().is_ok_and(is_private)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_end_where_the_rfcs_say() {
        for inside in [
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.0",
            "100.127.255.255",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_rfc1918(inside), "{inside}");
        }
        for outside in [
            "9.255.255.255",
            "11.0.0.0",
            "172.15.0.1",
            "172.32.0.0",
            "192.169.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "2001:db8::1",
            "fd00::1",
            "example.com",
            "",
        ] {
            assert!(!is_rfc1918(outside), "{outside}");
        }
    }
}
