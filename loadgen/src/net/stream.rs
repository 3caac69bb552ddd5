//! TCP connections: dialled ones, one for each of the callers' addresses, and accepted ones.
//!
//! For: `Net`.
//! Not here: cutting a stream (`core/sip`'s `Framer`).
//! Invariants: a buffer holds at most what the limits allow for one message, an outgoing queue at
//! most `QUEUE_BYTES_MAX`: a peer that does not read loses messages, which are counted.

use super::{LINKS, Traffic, Wanted, watch};
use crate::desk::outbox::Door;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use strowger_sip::limits::Limits;
use strowger_sip::message::{Frame, Framer};

/// Most bytes that wait for a peer.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Read at once.
const READ_BYTES: usize = 64 << 10;
/// Longest time for a connection to come about.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// Connections accepted at once.
const BACKLOG: i32 = 1024;

/// All connections of a worker.
#[derive(Default)]
pub(super) struct Streams {
    dialers: BTreeMap<u16, Dialer>,
    listeners: BTreeMap<u16, (TcpListener, SocketAddr)>,
    accepted: BTreeMap<u32, (u16, Connection)>,
    last_link: u32,
    scratch: Vec<u8>,
}

struct Dialer {
    from: SocketAddr,
    to: SocketAddr,
    connection: Option<Connection>,
}

struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    buffer: Vec<u8>,
    framer: Framer,
    /// What the kernel has not taken yet.
    queue: Vec<u8>,
    /// Whether room to write is waited for.
    blocked: bool,
}

impl Streams {
    pub(super) fn is_empty(&self) -> bool {
        self.dialers.is_empty() && self.listeners.is_empty()
    }

    pub(super) fn add_dialer(&mut self, place: u16, from: SocketAddr, to: SocketAddr) {
        self.dialers.insert(place, Dialer { from, to, connection: None });
    }

    /// Connects a place that has no connection.
    pub(super) fn dial(&mut self, place: u16, poll: &Epoll) -> io::Result<()> {
        let Some(dialer) = self.dialers.get_mut(&place) else { return Ok(()) };
        let domain = Domain::for_address(dialer.to);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&dialer.from.into())?;
        // Blocking, but not for long: a worker without its connection has nothing to do.
        socket.connect_timeout(&dialer.to.into(), DIAL_PATIENCE)?;
        let connection = Connection::new(socket.into(), dialer.to)?;
        dialer.from = connection.stream.local_addr()?;
        watch(poll, &connection.stream, u64::from(place))?;
        dialer.connection = Some(connection);
        Ok(())
    }

    pub(super) fn listen(&mut self, place: u16, wanted: &Wanted, poll: &Epoll) -> io::Result<()> {
        let domain = Domain::for_address(wanted.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if wanted.shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&wanted.address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        watch(poll, &listener, u64::from(place))?;
        self.listeners.insert(place, (listener, address));
        Ok(())
    }

    pub(super) fn address(&self, place: u16) -> Option<SocketAddr> {
        let listener = self.listeners.get(&place).map(|(_, address)| *address);
        listener.or_else(|| self.dialers.get(&place).map(|dialer| dialer.from))
    }

    /// Deals with what is ready under this token.
    pub(super) fn ready(
        &mut self,
        token: u64,
        poll: &Epoll,
        traffic: &mut Traffic,
        each: &mut impl FnMut(Door, SocketAddr, &[u8]),
    ) {
        match u16::try_from(token) {
            Ok(place) if self.listeners.contains_key(&place) => self.accept(place, poll),
            Ok(place) => {
                let door = Door { place, link: 0 };
                let Some(dialer) = self.dialers.get_mut(&place) else { return };
                let Some(connection) = &mut dialer.connection else { return };
                if connection.ready(door, poll, &mut self.scratch, traffic, each).is_err() {
                    dialer.connection = None;
                    traffic.broken += 1;
                }
            }
            Err(_) => {
                let link = u32::try_from(token - LINKS).unwrap_or(0);
                let Some((place, connection)) = self.accepted.get_mut(&link) else { return };
                let door = Door { place: *place, link };
                if connection.ready(door, poll, &mut self.scratch, traffic, each).is_err() {
                    self.accepted.remove(&link);
                }
            }
        }
    }

    fn accept(&mut self, place: u16, poll: &Epoll) {
        let Some((listener, _)) = self.listeners.get(&place) else { return };
        while let Ok((stream, remote)) = listener.accept() {
            self.last_link += 1;
            let token = LINKS + u64::from(self.last_link);
            let connection = Connection::new(stream, remote);
            let Ok(connection) = connection else { continue };
            if watch(poll, &connection.stream, token).is_ok() {
                self.accepted.insert(self.last_link, (place, connection));
            }
        }
    }

    /// Sends one message, over a new connection if the old one broke.
    pub(super) fn send(&mut self, door: Door, bytes: &[u8], poll: &Epoll, traffic: &mut Traffic) {
        let dials = door.link == 0 && self.dialers.contains_key(&door.place);
        if dials && self.dialers.get(&door.place).is_some_and(|d| d.connection.is_none()) {
            traffic.broken += u64::from(self.dial(door.place, poll).is_err());
        }
        let connection = if dials {
            self.dialers.get_mut(&door.place).and_then(|dialer| dialer.connection.as_mut())
        } else {
            self.accepted.get_mut(&door.link).map(|(_, connection)| connection)
        };
        let Some(connection) = connection else {
            traffic.unsent += 1;
            return;
        };
        traffic.sends += 1;
        let token = match door.link {
            0 => u64::from(door.place),
            link => LINKS + u64::from(link),
        };
        if !connection.send(bytes, token, poll) {
            traffic.unsent += 1;
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, remote: SocketAddr) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (buffer, queue) = (Vec::new(), Vec::new());
        Ok(Connection { stream, remote, buffer, framer: Framer::default(), queue, blocked: false })
    }

    /// Queues and writes what can be written; `false` when there is no room.
    fn send(&mut self, bytes: &[u8], token: u64, poll: &Epoll) -> bool {
        if self.queue.len() + bytes.len() > QUEUE_BYTES_MAX {
            return false;
        }
        self.queue.extend_from_slice(bytes);
        // An error shows again when the connection is read.
        let _ = self.write(token, poll);
        true
    }

    fn write(&mut self, token: u64, poll: &Epoll) -> io::Result<()> {
        while !self.queue.is_empty() {
            match self.stream.write(&self.queue) {
                Ok(written) => drop(self.queue.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.wait_for_room(true, token, poll);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.wait_for_room(false, token, poll)
    }

    fn wait_for_room(&mut self, blocked: bool, token: u64, poll: &Epoll) -> io::Result<()> {
        if self.blocked != blocked {
            self.blocked = blocked;
            let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
            flags.set(EpollFlags::EPOLLOUT, blocked);
            poll.modify(&self.stream, &mut EpollEvent::new(flags, token))?;
        }
        Ok(())
    }

    /// Writes what waits, reads what is there, hands in whole messages.
    fn ready(
        &mut self,
        door: Door,
        poll: &Epoll,
        scratch: &mut Vec<u8>,
        traffic: &mut Traffic,
        each: &mut impl FnMut(Door, SocketAddr, &[u8]),
    ) -> io::Result<()> {
        let token = match door.link {
            0 => u64::from(door.place),
            link => LINKS + u64::from(link),
        };
        self.write(token, poll)?;
        scratch.resize(READ_BYTES, 0);
        traffic.receives += 1;
        match self.stream.read(scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.buffer.extend_from_slice(scratch.get(..count).unwrap_or(&[])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        self.cut(door, each)
    }

    fn cut(
        &mut self,
        door: Door,
        each: &mut impl FnMut(Door, SocketAddr, &[u8]),
    ) -> io::Result<()> {
        let mut at = 0;
        loop {
            let rest = self.buffer.get(at..).unwrap_or(&[]);
            match self.framer.next(rest, &Limits::STREAM) {
                Ok(Frame::Incomplete) => break,
                Ok(Frame::Ping(range) | Frame::Blank(range)) => at += range.end,
                Ok(Frame::Message(range)) => {
                    each(door, self.remote, rest.get(range.clone()).unwrap_or(&[]));
                    at += range.end;
                }
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        self.buffer.drain(..at);
        Ok(())
    }
}
