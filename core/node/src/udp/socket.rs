//! Making the sockets of a listener: one per shard, all on one port.
//!
//! For: SO_REUSEPORT groups, buffer sizes set and read back, a clear error for an address in use.
//! Not here: receiving and sending (`mmsg.rs`).
//! Invariants: no other process shares the port, though SO_REUSEPORT would let it.

use super::{UdpSettings, sys};
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use strowger_sip::transport::Transport;

/// How long an address may stay in use before that is an error. A guess, well above what was seen.
const BIND_PATIENCE: Duration = Duration::from_secs(1);
/// How often to try within that time.
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// The sockets of one listener.
#[derive(Debug)]
pub(crate) struct Group {
    /// Where they are bound; the port is the one that the kernel chose if 0 was asked for.
    pub(crate) bound: SocketAddr,
    /// One per shard.
    pub(crate) sockets: Vec<Socket>,
    /// What the operator should know: buffers smaller than wanted.
    pub(crate) notices: Vec<String>,
}

/// Why a listener could not be made.
#[derive(Debug)]
pub struct BindError {
    /// The protocol.
    pub transport: Transport,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { transport, address, cause } = self;
        let option = if *transport == Transport::Udp { 'u' } else { 't' };
        match cause.raw_os_error() {
            Some(libc::EADDRINUSE) => write!(
                f,
                "{transport}:{address}: address in use by another process (see `ss -l{option}np`); \
                 choose another port or stop that process"
            ),
            Some(libc::EADDRNOTAVAIL) => write!(
                f,
                "{transport}:{address}: no interface of this machine has that address \
                 (see `ip address`)"
            ),
            Some(libc::EACCES | libc::EPERM) => write!(
                f,
                "{transport}:{address}: not permitted; ports below 1024 need \
                 CAP_NET_BIND_SERVICE ({cause})"
            ),
            Some(_) | None => write!(f, "{transport}:{address}: cannot listen: {cause}"),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds one socket per shard to one address.
pub(crate) fn bind_group(
    address: SocketAddr,
    shards: usize,
    settings: &UdpSettings,
) -> Result<Group, BindError> {
    let failed = |cause| BindError { transport: Transport::Udp, address, cause };
    // The first socket is bound alone and shares its port only afterwards. So another process on
    // that port is an error, even one that allows sharing; and port 0 finds a port nobody uses.
    let first = open(address).map_err(failed)?;
    bind_patiently(&first, address).map_err(failed)?;
    first.set_reuse_port(true).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..shards {
        let socket = open(address).map_err(failed)?;
        socket.set_reuse_port(true).map_err(failed)?;
        socket.bind(&bound.into()).map_err(failed)?;
        sockets.push(socket);
    }
    for socket in &sockets {
        set_buffers(socket, settings);
    }
    let notices = sockets.first().map_or_else(Vec::new, |socket| notices(bound, socket, settings));
    Ok(Group { bound, sockets, notices })
}

/// Binds, giving the sockets of a process that has just ended time to go: the kernel closes what is
/// in use by a ring of io_uring only after the process is gone.
pub(crate) fn bind_patiently(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + BIND_PATIENCE;
    loop {
        match socket.bind(&address.into()) {
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(BIND_PAUSE);
            }
            bound => return bound,
        }
    }
}

/// The socket stays in blocking mode, for `Readiness`; every call passes MSG_DONTWAIT instead.
fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // `[::]:5060` and `0.0.0.0:5060` are two listeners, and an address has one spelling.
        socket.set_only_v6(true)?;
    }
    sys::note_arrivals(socket.as_fd());
    Ok(socket)
}

/// What cannot be had is reported by [`notices`], which reads back.
fn set_buffers(socket: &Socket, settings: &UdpSettings) {
    if sys::force_buffer(socket.as_fd(), libc::SO_RCVBUFFORCE, settings.receive_buffer).is_err() {
        let _ = socket.set_recv_buffer_size(settings.receive_buffer);
    }
    if sys::force_buffer(socket.as_fd(), libc::SO_SNDBUFFORCE, settings.send_buffer).is_err() {
        let _ = socket.set_send_buffer_size(settings.send_buffer);
    }
}

fn notices(bound: SocketAddr, socket: &Socket, settings: &UdpSettings) -> Vec<String> {
    let buffers = [
        ("receive", socket.recv_buffer_size(), settings.receive_buffer, "net.core.rmem_max"),
        ("send", socket.send_buffer_size(), settings.send_buffer, "net.core.wmem_max"),
    ];
    let mut notices = Vec::new();
    for (name, got, wanted, limit) in buffers {
        // The kernel doubles what it is asked for, to cover its own bookkeeping (socket(7)).
        let got = got.unwrap_or(0) / 2;
        if got < wanted {
            notices.push(format!(
                "udp:{bound}: {name} buffer is {got} bytes, {wanted} wanted: \
                 sysctl -w {limit}={wanted}, or grant CAP_NET_ADMIN"
            ));
        }
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> UdpSettings {
        UdpSettings { receive_buffer: 65_536, send_buffer: 65_536, batch: 4 }
    }

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn all_sockets_of_a_group_share_one_port() {
        let group = bind_group(loopback(0), 3, &settings()).expect("bound");
        assert_ne!(group.bound.port(), 0);
        for socket in &group.sockets {
            let address = socket.local_addr().expect("an address");
            assert_eq!(address.as_socket(), Some(group.bound));
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_even_if_its_owner_would_share() {
        let group = bind_group(loopback(0), 2, &settings()).expect("bound");
        let error = bind_group(group.bound, 2, &settings()).expect_err("in use");
        assert!(error.to_string().contains("address in use"), "{error}");
    }

    #[test]
    fn wildcards_of_both_families_live_on_one_port() {
        let v6 = bind_group("[::]:0".parse().expect("an address"), 2, &settings()).expect("v6");
        let v4 = SocketAddr::from(([0, 0, 0, 0], v6.bound.port()));
        bind_group(v4, 2, &settings()).expect("v4");
    }

    #[test]
    fn a_buffer_smaller_than_wanted_is_reported() {
        let group = bind_group(loopback(0), 1, &settings()).expect("bound");
        assert!(group.notices.is_empty(), "{:?}", group.notices);
        let wanted = UdpSettings { receive_buffer: usize::MAX, ..settings() };
        let socket = group.sockets.first().expect("one socket");
        assert!(notices(group.bound, socket, &wanted)[0].contains("net.core.rmem_max"));
    }
}
