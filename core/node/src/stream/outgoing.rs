//! Sending over connections: which one, opening it, and what becomes of what was lost.
//!
//! For: RFC 3261 §18.1.1 and §18.2.2: an open connection to the peer is used again; a response
//! whose connection is gone goes to where the Via says.
//! Not here: the queue of one connection (`outbox.rs`).
//! Invariants: a message is queued, or its sender is told; what was lost with its connection is
//! sent another way at most once.

use super::accept::prepare;
use super::connection::{Connection, State};
use super::listen;
use super::outbox::Sender;
use super::streams::{Streams, token};
use super::{Place, name, owner, place};
use mio::Interest;
use mio::net::TcpStream;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use strowger_sip::actions::Origin;
use strowger_sip::time::{Duration, Instant};
use strowger_sip::transport::{ConnectionId, Flow, Lifespan, ListenerId, Transport};

impl Streams {
    /// Sends a message over the connection of its flow, or another one to the same peer.
    pub(crate) fn send(&mut self, now: Instant, sender: Sender, flow: &Flow, bytes: &[u8]) {
        let named = flow.connection.filter(|id| owner(*id) == self.shard).map(place);
        if let Some(place) = named.filter(|place| self.table.contains(*place)) {
            let otherwise = Flow { connection: None, ..*flow };
            return self.push(place, (sender, Some(otherwise)), bytes, now);
        }
        let known = self.by_remote.get(&(flow.listener, flow.remote)).copied();
        let usable = |place: &Place| self.table.get(*place).is_some_and(Connection::is_usable);
        match known.filter(usable).or_else(|| self.open(flow.listener, flow.remote, now)) {
            Some(place) => self.push(place, (sender, None), bytes, now),
            None => self.refuse(sender),
        }
    }

    /// Whom to tell that a message of theirs was not sent.
    pub(crate) fn next_unsent(&mut self) -> Option<Sender> {
        self.unsent.pop()
    }

    /// A connection that its peer had opened and that has ended.
    pub(crate) fn next_closed(&mut self) -> Option<ConnectionId> {
        self.closed.pop()
    }

    fn refuse(&mut self, sender: Sender) {
        self.counters.unsent += 1;
        self.tell(sender);
    }

    /// The same for a message that was written and may not have arrived. Its sender knows: often
    /// the answer has come over another connection long ago.
    fn doubt(&mut self, sender: Sender) {
        self.counters.doubtful += 1;
        self.tell(sender);
    }

    fn tell(&mut self, sender: Sender) {
        if sender.origin != Origin::Nobody {
            self.unsent.push(sender);
        }
    }

    fn push(
        &mut self,
        place: Place,
        (sender, otherwise): (Sender, Option<Flow>),
        bytes: &[u8],
        now: Instant,
    ) {
        let settings = &self.settings;
        let Some(connection) = self.table.get_mut(place) else { return self.refuse(sender) };
        let held = connection.outbox.held();
        let full = held.saturating_add(bytes.len()) > settings.queue_bytes_max;
        if full || self.waiting.saturating_add(bytes.len()) > settings.queues_bytes_max {
            return self.refuse(sender);
        }
        connection.push(bytes, (sender, otherwise), now, &mut self.pool);
        self.waiting = self.waiting + connection.outbox.held() - held;
        self.counters.queued_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.soil(place);
    }

    /// Has a connection written to with the next flush.
    pub(super) fn soil(&mut self, place: Place) {
        if let Some(connection) = self.table.get_mut(place)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push_back(place);
        }
    }

    /// Writes to every connection that has something new to write.
    pub(crate) fn flush(&mut self, now: Instant) {
        loop {
            if let Some((sender, flow, bytes)) = self.redirects.pop_front() {
                self.send(now, sender, &flow, &bytes);
                self.pool.put(bytes);
            } else if let Some(place) = self.dirty.pop_front() {
                self.write(place, now);
            } else {
                return;
            }
        }
    }

    fn write(&mut self, place: Place, now: Instant) {
        let Some(connection) = self.table.get_mut(place) else { return };
        connection.dirty = false;
        if let State::Connecting { .. } = connection.state {
            // What waits is written when the peer has answered.
            return self.rearm(place);
        }
        let held = connection.outbox.held();
        let written = connection.write(now, &mut self.pool);
        self.waiting = self.waiting + connection.outbox.held() - held;
        let Ok(messages) = written else { return self.lose(place) };
        self.counters.sent += u64::try_from(messages).unwrap_or(u64::MAX);
        let relieved = connection.held_back && connection.outbox.waiting() == 0;
        if relieved {
            connection.held_back = false;
            self.queue(place);
        }
        self.rearm(place);
    }

    /// Opens a connection from a listener's address.
    fn open(&mut self, listener: ListenerId, remote: SocketAddr, now: Instant) -> Option<Place> {
        let (_, home) = *self.homes.iter().find(|(id, _)| *id == listener)?;
        if self.table.len() >= self.table.most() {
            return None;
        }
        self.counters.opened += 1;
        let Ok(mut stream) = connect(home, remote, self.settings.send_timeout) else {
            self.counters.connect_failed += 1;
            self.counters.closed += 1;
            return None;
        };
        let until = now + self.settings.connect_timeout;
        let (shard, registry) = (self.shard, self.poll.registry());
        let mut registered = Ok(());
        let place = self.table.insert_with(|place| {
            let (transport, connection) = (Transport::Tcp, Some(name(shard, place)));
            let flow = Flow { transport, listener, remote, connection };
            let interest = Interest::READABLE | Interest::WRITABLE;
            registered = registry.register(&mut stream, token(place), interest);
            Connection::new(stream, flow, (State::Connecting { until }, false), now)
        })?;
        self.by_remote.insert((listener, remote), place);
        self.rearm(place);
        if registered.is_err() {
            self.close(place);
            return None;
        }
        Some(place)
    }

    /// News of a connection that is being opened.
    pub(super) fn connecting(&mut self, place: Place, failed: bool) {
        let Some(connection) = self.table.get_mut(place) else { return };
        let error = matches!(connection.stream.take_error(), Ok(Some(_)) | Err(_));
        if failed || error {
            self.counters.connect_failed += 1;
            return self.lose(place);
        }
        if connection.stream.peer_addr().is_ok() {
            connection.state = State::Open;
            self.queue(place);
            self.soil(place);
        }
    }

    /// Keeps a connection of this shard, or ends it once what is queued has gone out.
    pub(crate) fn set_lifespan(&mut self, now: Instant, id: ConnectionId, lifespan: Lifespan) {
        let place = place(id);
        let own = owner(id) == self.shard;
        let Some(connection) = self.table.get_mut(place).filter(|_| own) else { return };
        match lifespan {
            // The timer that runs is too early, and finds that when it fires.
            Lifespan::Until(until) => connection.keep(until, now),
            Lifespan::Over if connection.is_usable() => {
                connection.close(now);
                self.forget_remote(place);
                self.queue(place);
                self.soil(place);
            }
            Lifespan::Over => {}
        }
    }

    /// The peer has ended its side of a connection.
    pub(super) fn ended(&mut self, place: Place, now: Instant) {
        self.forget_remote(place);
        let Some(connection) = self.table.get_mut(place) else { return };
        // What it was asked last it cannot answer this way any more.
        let doubtful: Vec<Sender> = connection.outbox.take_doubtful().collect();
        self.held -= connection.inbox.len();
        connection.inbox.recycle(&mut self.pool);
        connection.end(now);
        let over = connection.is_over();
        doubtful.into_iter().for_each(|sender| self.doubt(sender));
        if over {
            self.close(place);
        }
    }

    /// A connection broke: what it did not carry goes another way, or its senders are told.
    pub(super) fn lose(&mut self, place: Place) {
        let Some(mut connection) = self.remove(place) else { return };
        let doubtful: Vec<Sender> = connection.outbox.take_doubtful().collect();
        doubtful.into_iter().for_each(|sender| self.doubt(sender));
        for lost in connection.outbox.lost() {
            match lost.otherwise {
                Some(flow) => {
                    self.counters.redirected += 1;
                    let bytes = self.pool.copy(lost.bytes);
                    self.redirects.push_back((lost.sender, flow, bytes));
                }
                None => {
                    self.counters.unsent += 1;
                    if lost.sender.origin != Origin::Nobody {
                        self.unsent.push(lost.sender);
                    }
                }
            }
        }
        self.recycle(connection);
    }

    /// Ends a connection that owes nobody anything.
    pub(super) fn close(&mut self, place: Place) {
        if let Some(connection) = self.remove(place) {
            self.recycle(connection);
        }
    }

    fn remove(&mut self, place: Place) -> Option<Connection> {
        self.forget_remote(place);
        let connection = self.table.remove(place)?;
        self.disarm(&connection);
        self.held -= connection.inbox.len();
        self.waiting -= connection.outbox.held();
        self.counters.closed += 1;
        if connection.accepted {
            self.closed.extend(connection.flow.connection);
        }
        let source = connection.flow.remote.ip();
        if connection.accepted
            && let Some(count) = self.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
        Some(connection)
    }

    fn recycle(&mut self, mut connection: Connection) {
        connection.inbox.recycle(&mut self.pool);
        connection.outbox.recycle(&mut self.pool);
    }

    /// Nothing new is sent over this connection.
    pub(super) fn forget_remote(&mut self, place: Place) {
        let Some(connection) = self.table.get(place) else { return };
        let key = (connection.flow.listener, connection.flow.remote);
        if self.by_remote.get(&key) == Some(&place) {
            self.by_remote.remove(&key);
        }
    }
}

/// A connection that is being established.
fn connect(home: SocketAddr, remote: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = listen::open(remote)?;
    if !home.ip().is_unspecified() {
        socket.bind(&SocketAddr::new(home.ip(), 0).into())?;
    }
    prepare(&SockRef::from(&socket), patience);
    match socket.connect(&remote.into()) {
        Err(cause) if cause.raw_os_error() != Some(libc::EINPROGRESS) => Err(cause),
        Ok(()) | Err(_) => Ok(TcpStream::from_std(socket.into())),
    }
}
