//! Accepting connections, and whom to refuse.
//!
//! For: the bounds on connections: in all, and from one source.
//! Not here: sockets to listen on (`listen.rs`).
//! Invariants: a turn accepts a bounded number; what is refused is closed at once and counted.

use super::connection::{Connection, State};
use super::name;
use super::streams::{Streams, token};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use socket2::{SockRef, Socket};
use std::io;
use std::net::SocketAddr;
use strowger_sip::time::{Duration, Instant, ms};
use strowger_sip::transport::{Flow, ListenerId, Transport};

/// Connections accepted by one listener in one turn. A guess: what the table does to each costs
/// about as much as a datagram.
const ACCEPTS_PER_TURN: usize = 32;
/// How long to leave connections in the kernel's queue when the system cannot give any more. A
/// guess.
const REST: Duration = ms(100);

/// One listening socket.
#[derive(Debug)]
pub(super) struct Door {
    listener: ListenerId,
    socket: TcpListener,
    /// There may be somebody before it.
    ready: bool,
    /// It stays shut until then.
    rest: Option<Instant>,
}

impl Door {
    /// Listeners have the highest tokens, which no connection has.
    pub(super) fn token(&self) -> Token {
        token_of(self.listener)
    }

    /// Somebody may be there.
    pub(super) fn knock(&mut self) {
        self.ready = true;
    }

    /// Whether somebody may be there who can be let in at once.
    pub(super) fn is_ready(&self) -> bool {
        self.ready && self.rest.is_none()
    }

    /// When it opens after a rest.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.rest
    }
}

fn token_of(listener: ListenerId) -> Token {
    Token(usize::MAX - usize::from(listener.0))
}

/// What came of one attempt to accept.
enum Visit {
    Came(TcpStream, SocketAddr),
    Nobody,
    /// It was gone before it was let in.
    Left,
    /// The system is short of descriptors or memory.
    Short,
}

impl Streams {
    pub(super) fn add_door(&mut self, listener: ListenerId, socket: Socket) -> io::Result<()> {
        let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut socket = TcpListener::from_std(socket.into());
        self.poll.registry().register(&mut socket, token_of(listener), Interest::READABLE)?;
        self.homes.push((listener, bound));
        self.doors.push(Door { listener, socket, ready: true, rest: None });
        Ok(())
    }

    /// Lets in who is before the doors.
    pub(super) fn accept(&mut self, now: Instant) {
        for door in 0..self.doors.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                let Some(door) = self.doors.get_mut(door) else { break };
                door.rest = door.rest.filter(|until| *until > now);
                if !door.is_ready() {
                    break;
                }
                let listener = door.listener;
                match visit(&door.socket) {
                    Visit::Came(stream, remote) => self.admit(listener, (stream, remote), now),
                    Visit::Nobody => door.ready = false,
                    Visit::Left => {}
                    Visit::Short => door.rest = Some(now + REST),
                }
            }
        }
    }

    fn admit(
        &mut self,
        listener: ListenerId,
        (mut stream, remote): (TcpStream, SocketAddr),
        now: Instant,
    ) {
        let source = remote.ip();
        let of_source = self.sources.get(&source).copied().unwrap_or(0);
        if of_source >= self.settings.source_max || self.table.len() >= self.table.most() {
            self.counters.refused += 1;
            return;
        }
        prepare(&SockRef::from(&stream), self.settings.send_timeout);
        let (shard, registry) = (self.shard, self.poll.registry());
        let mut registered = Ok(());
        let inserted = self.table.insert_with(|place| {
            let (transport, connection) = (Transport::Tcp, Some(name(shard, place)));
            let flow = Flow { transport, listener, remote, connection };
            let interest = Interest::READABLE | Interest::WRITABLE;
            registered = registry.register(&mut stream, token(place), interest);
            Connection::new(stream, flow, (State::Open, true), now)
        });
        let Some(place) = inserted else { return };
        self.counters.accepted += 1;
        *self.sources.entry(source).or_default() += 1;
        self.by_remote.insert((listener, remote), place);
        self.rearm(place);
        match registered {
            Ok(()) => self.queue(place),
            Err(_) => self.close(place),
        }
    }
}

fn visit(socket: &TcpListener) -> Visit {
    match socket.accept() {
        Ok((stream, remote)) => Visit::Came(stream, remote),
        Err(cause) => match cause.raw_os_error() {
            Some(libc::EAGAIN) => Visit::Nobody,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Visit::Short,
            Some(_) | None => Visit::Left,
        },
    }
}

/// Answers leave at once, a peer that takes nothing is noticed after `patience` and one that
/// vanished some time. Where the system refuses, timers of our own notice later.
pub(super) fn prepare(socket: &SockRef<'_>, patience: Duration) {
    let _ = socket.set_tcp_user_timeout(Some(patience));
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_keepalive(true);
}
