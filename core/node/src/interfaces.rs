//! The host's interfaces: which of its addresses leads where.
//!
//! For: `[node] mhomed`, for a host between several networks.
//! Not here: choosing the listener (`strowger_sip::transport::Interfaces`).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use strowger_sip::transport::Interfaces;

/// Addresses that belong to nobody (RFC 5737, RFC 3849): what leads there is the default route.
const ELSEWHERE: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// Reads them.
///
/// # Errors
/// When the system does not list its addresses.
pub fn read() -> io::Result<Interfaces> {
    let networks = if_addrs::get_if_addrs()?
        .into_iter()
        .map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            if_addrs::IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        })
        .collect();
    Ok(Interfaces { networks, default: ELSEWHERE.iter().filter_map(source).collect() })
}

/// The address that the kernel would send from; asking sends nothing. `None` without a route.
fn source((from, to): &(&str, &str)) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().as_ref().map(SocketAddr::ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_leads_to_itself() {
        let host = read().expect("addresses");
        let local = IpAddr::from([127, 0, 0, 1]);
        assert!(host.networks.contains(&(local, 8)), "{host:?}");
        assert_eq!(host.fit(local, IpAddr::from([127, 5, 5, 5])), 10);
        assert_eq!(host.fit(local, IpAddr::from([192, 0, 2, 1])), 0);
    }
}
