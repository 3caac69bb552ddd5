//! Datagrams in batches: recvmmsg and sendmmsg over buffers that are made once.
//!
//! For: the default [`DatagramEngine`].
//! Not here: making sockets (`socket.rs`), waiting for them (`ready.rs`).
//! Invariants: pointers are set and used within one call; none is followed after it.

use super::ready::Readiness;
use super::{DatagramEngine, Ready, Received, Sent, Woken, sys};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::time::Duration;
use strowger_sip::actions::{Origin, Sends};
use strowger_sip::transport::{Flow, ListenerId, Transport};

/// Room for the largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams handed to the kernel with one system call. As for receiving, more gains little.
const SEND_BATCH: usize = 64;
/// How often a full send buffer is waited for within one batch, and how long each time. A guess:
/// two milliseconds are less than a retransmission costs, and short beside its 500 ms.
pub(super) const SEND_WAITS_MAX: usize = 2;
/// See [`SEND_WAITS_MAX`].
pub(super) const SEND_WAIT_MILLIS: i32 = 1;

/// The sockets of one shard with the buffers they share.
#[derive(Debug)]
pub(crate) struct Mmsg {
    sockets: Vec<(ListenerId, Socket)>,
    inbox: Inbox,
    outbox: Outbox,
    polls: Vec<libc::pollfd>,
}

impl Mmsg {
    /// Over one socket per UDP listener, receiving `batch` datagrams at a time.
    pub(crate) fn new(sockets: Vec<(ListenerId, Socket)>, batch: usize) -> Mmsg {
        Mmsg {
            sockets,
            inbox: Inbox::new(batch.max(1), DATAGRAM_BYTES_MAX),
            outbox: Outbox::new(SEND_BATCH),
            polls: Vec::new(),
        }
    }
}

impl DatagramEngine for Mmsg {
    fn receive(
        &mut self,
        from: ListenerId,
        each: impl FnMut(Duration, SocketAddr, &[u8]),
    ) -> Received {
        match self.sockets.iter().find(|(listener, _)| *listener == from) {
            Some((_, socket)) => self.inbox.receive(socket.as_fd(), each),
            None => Received::default(),
        }
    }

    fn send(&mut self, sends: &Sends, mut unsent: impl FnMut(Origin)) -> Sent {
        let mut sent = Sent::default();
        // One pass per socket: a node has few listeners, and each of them gets its messages in
        // order.
        for (listener, socket) in &self.sockets {
            let mine = sends
                .iter_with_origin()
                .filter(|(_, flow, _)| flow.listener == *listener && is_datagram(flow));
            let messages = mine.map(|(origin, flow, bytes)| (origin, &flow.remote, bytes));
            self.outbox.send(socket.as_fd(), messages, &mut sent, &mut unsent);
        }
        let known = |flow: &Flow| self.sockets.iter().any(|(own, _)| *own == flow.listener);
        let lost =
            sends.iter_with_origin().filter(|(_, flow, _)| is_datagram(flow) && !known(flow));
        for (origin, _, _) in lost {
            sent.unroutable += 1;
            unsent(origin);
        }
        sent
    }

    fn nap(&mut self, also: &[RawFd], longest: Duration, mut ready: impl FnMut(Ready)) -> Woken {
        let sockets = self.sockets.iter().map(|(_, socket)| socket.as_raw_fd());
        let all = sockets.chain(also.iter().copied());
        let woken = sys::wait_readable(all, &mut self.polls, longest);
        let found = self.polls.iter().zip(&self.sockets);
        found
            .filter(|(poll, _)| poll.revents != 0)
            .for_each(|(_, (listener, _))| ready(Ready::Socket(*listener)));
        let others = self.polls.iter().skip(self.sockets.len()).zip(0..);
        others.filter(|(poll, _)| poll.revents != 0).for_each(|(_, n)| ready(Ready::Other(n)));
        woken
    }

    fn readiness(&self, of: ListenerId) -> io::Result<Readiness> {
        let found = self.sockets.iter().find(|(listener, _)| *listener == of);
        let (_, socket) = found.ok_or(io::ErrorKind::NotFound)?;
        Readiness::of_udp(socket)
    }

    fn kernel_drops(&self) -> u64 {
        self.sockets.iter().map(|(_, socket)| u64::from(sys::drops(socket.as_fd()))).sum()
    }
}

/// Whether this message leaves as a datagram; others are not for this engine.
fn is_datagram(flow: &Flow) -> bool {
    flow.transport == Transport::Udp
}

/// Buffers to receive into.
#[derive(Debug)]
struct Inbox {
    bytes: Box<[u8]>,
    stride: usize,
    datagram_bytes_max: usize,
    parts: Parts,
    // For the time at which the first datagram of a batch arrived.
    arrival: sys::Arrival,
}

impl Inbox {
    fn new(batch: usize, datagram_bytes_max: usize) -> Inbox {
        // An odd number of cache lines between buffers: with a power of two, the first lines of all
        // of them would compete for the same places in the cache.
        let stride = (datagram_bytes_max.div_ceil(64) | 1) * 64;
        let bytes = vec![0; batch * stride].into_boxed_slice();
        let (parts, arrival) = (Parts::new(batch), sys::Arrival::default());
        Inbox { bytes, stride, datagram_bytes_max, parts, arrival }
    }

    fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        mut each: impl FnMut(Duration, SocketAddr, &[u8]),
    ) -> Received {
        let buffers = self.bytes.chunks_exact_mut(self.stride);
        for (piece, buffer) in self.parts.pieces.iter_mut().zip(buffers) {
            piece.iov_base = buffer.as_mut_ptr().cast();
            piece.iov_len = self.datagram_bytes_max;
        }
        for header in &mut self.parts.headers {
            header.msg_hdr.msg_namelen = sys::STORAGE_LENGTH;
        }
        let headers = self.parts.point(self.parts.pieces.len());
        if let Some(first) = headers.first_mut() {
            self.arrival.point(&mut first.msg_hdr);
        }
        // SAFETY: every header was just pointed at its own address and its own piece, and the piece
        // at its own buffer, with their lengths; the first one at room for control messages, too.
        // All of them are fields of `self`, which is borrowed exclusively; the kernel writes to
        // them during the call only.
        let answer = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(filled) = usize::try_from(answer) else {
            return match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN) => Received::default(),
                Some(libc::EINTR) => Received { more: true, ..Received::default() },
                // An error that waited in the socket; taking it clears it, and datagrams may
                // follow.
                Some(_) | None => Received { failed: 1, more: true, ..Received::default() },
            };
        };
        let waited = self.parts.headers.first().map(|first| self.arrival.waited(&first.msg_hdr));
        let waited = waited.unwrap_or_default();
        let Parts { headers, addresses, .. } = &self.parts;
        let mut received = Received { more: filled == headers.len(), ..Received::default() };
        let found = headers.iter().zip(addresses).take(filled);
        for ((header, address), buffer) in found.zip(self.bytes.chunks_exact(self.stride)) {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let bytes = buffer.get(..header.msg_len as usize).filter(|_| whole);
            match (sys::read_address(address), bytes) {
                (Some(remote), Some(bytes)) => {
                    received.datagrams += 1;
                    each(waited, remote, bytes);
                }
                (None, _) | (_, None) => received.truncated += 1,
            }
        }
        received
    }
}

/// What sendmmsg reads: pointers to messages that lie elsewhere.
#[derive(Debug)]
struct Outbox {
    parts: Parts,
    // Of each message of the batch.
    origins: Box<[Origin]>,
}

impl Outbox {
    fn new(batch: usize) -> Outbox {
        let origins = vec![Origin::Nobody; batch].into_boxed_slice();
        Outbox { parts: Parts::new(batch), origins }
    }

    /// Hands every message to the kernel, in batches.
    fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        mut messages: impl Iterator<Item = (Origin, &'a SocketAddr, &'a [u8])>,
        sent: &mut Sent,
        unsent: &mut impl FnMut(Origin),
    ) {
        loop {
            let Parts { headers, addresses, pieces } = &mut self.parts;
            let mut filled = 0;
            // The slots come first in `zip`: it must not take a message that has no slot.
            let slots = headers.iter_mut().zip(addresses).zip(pieces).zip(&mut self.origins);
            for ((((header, address), piece), origin), message) in slots.zip(&mut messages) {
                let (from, to, bytes) = message;
                header.msg_hdr.msg_namelen = sys::write_address(to, address);
                piece.iov_base = bytes.as_ptr().cast_mut().cast();
                piece.iov_len = bytes.len();
                *origin = from;
                filled += 1;
            }
            if filled == 0 {
                return;
            }
            let headers = self.parts.point(filled);
            let mut refused = |index: usize| {
                sent.failed += 1;
                unsent(self.origins.get(index).copied().unwrap_or(Origin::Nobody));
            };
            // SAFETY: `point` has just pointed every header at its address and its piece, fields of
            // `self`; the pieces point to bytes that live for 'a, longer than this call.
            let (taken, blocked) = unsafe { send_all(socket, headers, &mut refused) };
            sent.datagrams += taken;
            sent.blocked += blocked;
        }
    }
}

/// Hands headers to the kernel; a message that it refuses costs the others nothing, `refused` gets
/// its index. Returns how many were taken, and how many dropped because the send buffer stayed
/// full.
///
/// # Safety
/// Every header points to a live address and a live piece, and the piece to live bytes, with their
/// lengths.
unsafe fn send_all(
    socket: BorrowedFd<'_>,
    headers: &mut [libc::mmsghdr],
    refused: &mut impl FnMut(usize),
) -> (usize, usize) {
    let (mut done, mut taken, mut waits) = (0, 0, 0);
    while let Some(rest) = headers.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the caller vouches for the headers. The kernel reads what they point to during
        // the call, and writes nothing but `msg_len`.
        let answer = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                rest.as_mut_ptr(),
                rest.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        if let Ok(count) = usize::try_from(answer) {
            taken += count;
            done += count;
            continue;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::ENOBUFS) if waits < SEND_WAITS_MAX => {
                waits += 1;
                sys::wait_writable(socket, SEND_WAIT_MILLIS);
            }
            Some(libc::EAGAIN | libc::ENOBUFS) => return (taken, rest.len()),
            // The error is that of the first message of the rest.
            Some(_) | None => {
                refused(done);
                done += 1;
            }
        }
    }
    (taken, 0)
}

/// The arrays that recvmmsg and sendmmsg work with. They are made once; their pointers are set anew
/// for every call, a few stores beside a system call, so that nothing points anywhere between
/// calls.
#[derive(Debug)]
struct Parts {
    headers: Box<[libc::mmsghdr]>,
    addresses: Box<[libc::sockaddr_storage]>,
    pieces: Box<[libc::iovec]>,
}

impl Parts {
    fn new(batch: usize) -> Parts {
        // SAFETY: mmsghdr is integers and pointers; all zero is a value of it (no address, no
        // data).
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let piece = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Parts {
            headers: vec![header; batch].into_boxed_slice(),
            addresses: vec![sys::no_address(); batch].into_boxed_slice(),
            pieces: vec![piece; batch].into_boxed_slice(),
        }
    }

    /// Points the first `count` headers at their addresses and pieces.
    fn point(&mut self, count: usize) -> &mut [libc::mmsghdr] {
        let targets = self.addresses.iter_mut().zip(&mut self.pieces);
        for (header, (address, piece)) in self.headers.iter_mut().zip(targets).take(count) {
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_iov = piece;
            header.msg_hdr.msg_iovlen = 1;
        }
        self.headers.get_mut(..count).unwrap_or(&mut [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::{UdpSettings, socket};
    use std::net::UdpSocket;
    use std::time::Instant;

    const LISTENER: ListenerId = ListenerId(0);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn over(sockets: Vec<Socket>, batch: usize) -> Mmsg {
        Mmsg::new(sockets.into_iter().map(|socket| (LISTENER, socket)).collect(), batch)
    }

    fn engine(host: &str, batch: usize) -> (Mmsg, SocketAddr) {
        let address = format!("{host}:0").parse().expect("an address");
        let settings = UdpSettings { batch, ..UdpSettings::default() };
        let group = socket::bind_group(address, 1, &settings).expect("bound");
        (over(group.sockets, batch), group.bound)
    }

    fn peer(host: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(format!("{host}:0")).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    }

    fn receive(engine: &mut Mmsg, count: usize) -> (Vec<(SocketAddr, Vec<u8>)>, Received) {
        let (mut list, mut sum) = (Vec::new(), Received::default());
        let started = Instant::now();
        while list.len() + sum.truncated < count && started.elapsed() < PATIENCE {
            let got = engine.receive(LISTENER, |_, from, bytes| list.push((from, bytes.to_vec())));
            sum.truncated += got.truncated;
            sum.datagrams += got.datagrams;
        }
        (list, sum)
    }

    fn sends(list: &[(SocketAddr, &[u8])]) -> Sends {
        let mut sends = Sends::default();
        list.iter().for_each(|(to, bytes)| sends.send(Flow::udp(LISTENER, *to), bytes));
        sends
    }

    #[test]
    fn both_families_both_ways_in_order() {
        for host in ["127.0.0.1", "[::1]"] {
            let (mut engine, address) = engine(host, 4);
            let (peer, peer_address) = peer(host);
            for n in 0..10u8 {
                peer.send_to(&[n; 3], address).expect("sent");
            }
            let (list, _) = receive(&mut engine, 10);
            let expected: Vec<_> = (0..10u8).map(|n| (peer_address, vec![n; 3])).collect();
            assert_eq!(list, expected);
            let back: Vec<_> = list.iter().map(|(to, bytes)| (*to, bytes.as_slice())).collect();
            assert_eq!(engine.send(&sends(&back), |_| ()).datagrams, 10);
            let mut buffer = [0; 9];
            for n in 0..10u8 {
                let (length, from) = peer.recv_from(&mut buffer).expect("received");
                assert_eq!((&buffer[..length], from), (&[n; 3][..], address));
            }
        }
    }

    #[test]
    fn the_largest_and_the_empty_datagram_arrive_whole() {
        let (mut engine, address) = engine("127.0.0.1", 4);
        let (peer, _) = peer("127.0.0.1");
        peer.send_to(&vec![7; 65_507], address).expect("sent");
        peer.send_to(&[], address).expect("sent");
        let (list, _) = receive(&mut engine, 2);
        let lengths: Vec<usize> = list.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lengths, [65_507, 0]);
    }

    #[test]
    fn a_truncated_datagram_is_counted_and_its_neighbours_arrive() {
        let (mut engine, address) = engine("127.0.0.1", 4);
        engine.inbox = Inbox::new(4, 100);
        let (peer, _) = peer("127.0.0.1");
        for length in [100, 101, 99] {
            peer.send_to(&vec![7; length], address).expect("sent");
        }
        let (list, sum) = receive(&mut engine, 3);
        let lengths: Vec<usize> = list.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!((lengths, sum.truncated), (vec![100, 99], 1));
    }

    #[test]
    fn a_refused_message_costs_the_others_nothing() {
        let (mut engine, _) = engine("127.0.0.1", 4);
        let (peer, to) = peer("127.0.0.1");
        let (too_long, wrong_family) = (vec![0; 70_000], "[::1]:9".parse().expect("an address"));
        let list: [(SocketAddr, &[u8]); 5] =
            [(to, b"1"), (to, &too_long), (to, b"2"), (wrong_family, b"x"), (to, b"3")];
        let mut batch = Sends::default();
        for ((to, bytes), id) in list.iter().zip(0..) {
            let flow = Flow::udp(LISTENER, *to);
            batch.send_from(Origin::Client(id), flow, |out| out.extend_from_slice(bytes));
        }
        let mut unsent = Vec::new();
        let sent = engine.send(&batch, |origin| unsent.push(origin));
        assert_eq!((sent.datagrams, sent.failed, sent.blocked), (3, 2, 0));
        assert_eq!(unsent, [Origin::Client(1), Origin::Client(3)]);
        for expected in [b"1", b"2", b"3"] {
            let mut buffer = [0; 1];
            peer.recv(&mut buffer).expect("received");
            assert_eq!(&buffer, expected);
        }
    }

    #[test]
    fn a_closed_port_costs_the_others_nothing() {
        let (mut engine, _) = engine("127.0.0.1", 4);
        let (peer, to) = peer("127.0.0.1");
        let closed = UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
        for _ in 0..3 {
            let list: [(SocketAddr, &[u8]); 4] =
                [(closed, b"x"), (to, b"y"), (closed, b"x"), (to, b"y")];
            engine.send(&sends(&list), |_| ());
        }
        let mut buffer = [0; 1];
        for _ in 0..6 {
            peer.recv(&mut buffer).expect("received");
        }
    }

    #[test]
    fn more_than_one_batch_is_sent() {
        let (mut engine, _) = engine("127.0.0.1", 4);
        let (_peer, to) = peer("127.0.0.1");
        let list: Vec<(SocketAddr, &[u8])> = vec![(to, b"x"); SEND_BATCH * 2 + 5];
        assert_eq!(engine.send(&sends(&list), |_| ()).datagrams, SEND_BATCH * 2 + 5);
    }

    #[test]
    fn an_unknown_listener_is_counted() {
        let (mut engine, to) = engine("127.0.0.1", 4);
        let mut sends = Sends::default();
        let flow = Flow::udp(ListenerId(9), to);
        sends.send_from(Origin::Client(7), flow, |out| out.extend_from_slice(b"x"));
        let mut unsent = Vec::new();
        let sent = engine.send(&sends, |origin| unsent.push(origin));
        assert_eq!(sent, Sent { unroutable: 1, ..Sent::default() });
        assert_eq!(unsent, [Origin::Client(7)]);
    }

    #[test]
    fn drops_of_the_kernel_are_seen() {
        let settings = UdpSettings { receive_buffer: 4096, ..UdpSettings::default() };
        let address = "127.0.0.1:0".parse().expect("an address");
        let group = socket::bind_group(address, 1, &settings).expect("bound");
        let engine = over(group.sockets, 4);
        assert_eq!(engine.kernel_drops(), 0);
        let (peer, _) = peer("127.0.0.1");
        for _ in 0..200 {
            peer.send_to(&[0; 1000], group.bound).expect("sent");
        }
        assert!(engine.kernel_drops() > 100);
    }
}
