//! Making the TCP sockets of a listener: one per shard, all on one port.
//!
//! For: SO_REUSEPORT groups whose connections the kernel shares out among the shards.
//! Not here: accepting (`accept.rs`); the same for datagrams (`udp/socket.rs`).
//! Invariants: no other process shares the port, though SO_REUSEPORT would let it; accepting starts
//! only when the whole group is bound.

use super::StreamSettings;
use crate::udp::socket::{BindError, bind_patiently};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use strowger_sip::transport::Transport;

/// The sockets of one listener.
#[derive(Debug)]
pub(crate) struct Group {
    /// Where they are bound; the port is the one that the kernel chose if 0 was asked for.
    pub(crate) bound: SocketAddr,
    /// One per shard.
    pub(crate) sockets: Vec<Socket>,
}

/// Binds one socket per shard to one address, and starts listening.
pub(crate) fn bind_group(
    address: SocketAddr,
    shards: usize,
    settings: &StreamSettings,
) -> Result<Group, BindError> {
    let failed = |cause| BindError { transport: Transport::Tcp, address, cause };
    // As for UDP: the first socket is bound alone and shares its port only afterwards.
    let first = open_to_listen(address).map_err(failed)?;
    bind_patiently(&first, address).map_err(failed)?;
    first.set_reuse_port(true).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..shards {
        let socket = open_to_listen(address).map_err(failed)?;
        socket.set_reuse_port(true).map_err(failed)?;
        socket.bind(&bound.into()).map_err(failed)?;
        sockets.push(socket);
    }
    for socket in &sockets {
        socket.listen(settings.backlog).map_err(failed)?;
    }
    Ok(Group { bound, sockets })
}

fn open_to_listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = open(address)?;
    // Connections of an earlier process that linger in TIME_WAIT must not keep the port.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// A non-blocking socket for this address's family.
pub(super) fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]:5060` and `0.0.0.0:5060` are two listeners, and an address has one spelling.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn every_connection_finds_one_socket_of_the_group() {
        let group = bind_group(loopback(), 3, &StreamSettings::default()).expect("bound");
        let peers: Vec<TcpStream> =
            (0..32).map(|_| TcpStream::connect(group.bound).expect("connected")).collect();
        let accepted: Vec<usize> = group
            .sockets
            .iter()
            .map(|socket| std::iter::from_fn(|| socket.accept().ok()).count())
            .collect();
        assert_eq!(accepted.iter().sum::<usize>(), peers.len());
        assert!(accepted.iter().filter(|count| **count > 0).count() > 1, "{accepted:?}");
    }

    #[test]
    fn a_port_in_use_is_an_error_even_if_its_owner_would_share() {
        let group = bind_group(loopback(), 2, &StreamSettings::default()).expect("bound");
        let error = bind_group(group.bound, 2, &StreamSettings::default()).expect_err("in use");
        assert!(error.to_string().contains("tcp:127.0.0.1"), "{error}");
        assert!(error.to_string().contains("address in use"), "{error}");
    }
}
