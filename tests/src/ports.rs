//! Free ports on loopback, of UDP and TCP alike.
//!
//! For: peers whose port must be known before they start (SIPp, a next hop).
//! Invariants: one test process never hands out the same port twice.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// A port of 127.0.0.1 on which nothing listens, neither over UDP nor over TCP.
///
/// The kernel's choice is random, so another process is unlikely to take the port in between.
///
/// # Panics
/// When the machine has no free port left.
#[must_use]
pub fn free() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    for _ in 0..1000 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free && given.insert(port) {
            return port;
        }
    }
    panic!("1000 attempts found no new free UDP port");
}

/// Whether somebody already listens on this UDP port of any local address.
#[must_use]
pub fn is_taken(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_err()
}
