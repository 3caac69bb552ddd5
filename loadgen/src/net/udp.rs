//! Datagrams in batches: recvmmsg and sendmmsg, or one call for many of equal length.
//!
//! For: `Net`.
//! Not here: waiting (`mod.rs`), drops (`drops.rs`).
//! Invariants: messages of one socket leave in their order.

use super::{Traffic, Wanted};
use crate::desk::outbox::{Door, Outbox, Outgoing};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce, UdpGroSegment};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6,
    SockaddrLike, recvmmsg, recvmsg, sendmmsg, sendmsg, setsockopt,
};
use smallvec::{SmallVec, smallvec};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// Datagrams handed over with one system call: more gains little.
const BATCH: usize = 64;
/// Longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Segments of one offloaded send: what kernels allow since they allow it at all.
const SEGMENTS_MAX: usize = 64;
/// Most bytes of one offloaded send.
const OFFLOAD_BYTES_MAX: usize = 60_000;
/// Batches received from one socket before others have their turn.
const ROUNDS_MAX: usize = 8;
/// Wanted for either direction: a second of 20,000 messages; the kernel gives what it allows.
const SOCKET_BUFFER: usize = 16 << 20;

/// The UDP sockets of a worker.
pub(super) struct Datagrams {
    /// By place; places of other kinds have none.
    sockets: Vec<Option<Udp>>,
    inbox: Inbox,
    outbox: Headers,
    offload: bool,
}

struct Udp {
    socket: Socket,
    address: SocketAddr,
}

/// Buffers to receive into.
struct Inbox {
    bytes: Box<[u8]>,
    headers: Headers,
    /// For the length of joined datagrams.
    control: Vec<u8>,
}

/// What the kernel reads and writes beside the bytes, for either family.
struct Headers {
    v4: MultiHeaders<SockaddrIn>,
    v6: MultiHeaders<SockaddrIn6>,
}

impl Headers {
    fn new() -> Headers {
        let (v4, v6) =
            (MultiHeaders::preallocate(BATCH, None), MultiHeaders::preallocate(BATCH, None));
        Headers { v4, v6 }
    }
}

impl Datagrams {
    pub(super) fn new(offload: bool) -> Datagrams {
        let bytes = vec![0; BATCH * DATAGRAM_BYTES_MAX].into_boxed_slice();
        let control = nix::cmsg_space!(i32);
        let inbox = Inbox { bytes, headers: Headers::new(), control };
        Datagrams { sockets: Vec::new(), inbox, outbox: Headers::new(), offload }
    }

    pub(super) fn open(&mut self, place: u16, wanted: &Wanted) -> io::Result<BorrowedFd<'_>> {
        let address = wanted.address;
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if wanted.shared {
            socket.set_reuse_port(true)?;
        }
        // Past the system's limit with CAP_NET_ADMIN only. What cannot be had is no error: what
        // is dropped is counted.
        if setsockopt(&socket, RcvBufForce, &SOCKET_BUFFER).is_err() {
            let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        }
        if setsockopt(&socket, SndBufForce, &SOCKET_BUFFER).is_err() {
            let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        }
        if self.offload {
            setsockopt(&socket, UdpGroSegment, &true)?;
        }
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        let index = usize::from(place);
        while self.sockets.len() <= index {
            self.sockets.push(None);
        }
        let slot = &mut self.sockets[index];
        Ok(slot.insert(Udp { socket, address }).socket.as_fd())
    }

    pub(super) fn has(&self, place: u16) -> bool {
        matches!(self.sockets.get(usize::from(place)), Some(Some(_)))
    }

    pub(super) fn address(&self, place: u16) -> Option<SocketAddr> {
        self.sockets.get(usize::from(place))?.as_ref().map(|udp| udp.address)
    }

    pub(super) fn inodes(&self) -> Vec<u64> {
        let inode = |udp: &Udp| {
            let path = format!("/proc/self/fd/{}", udp.socket.as_raw_fd());
            std::fs::metadata(path).map(|metadata| metadata.ino()).ok()
        };
        self.sockets.iter().flatten().filter_map(inode).collect()
    }

    /// Hands in what has arrived at a place.
    pub(super) fn receive(
        &mut self,
        place: u16,
        traffic: &mut Traffic,
        each: &mut impl FnMut(Door, SocketAddr, &[u8]),
    ) {
        let Some(Some(udp)) = self.sockets.get(usize::from(place)) else { return };
        let (fd, inbox, door) = (udp.socket.as_raw_fd(), &mut self.inbox, Door { place, link: 0 });
        let mut hand_in = |from: SocketAddr, bytes: &[u8]| each(door, from, bytes);
        for _ in 0..ROUNDS_MAX {
            let headers = &mut inbox.headers;
            let (bytes, control) = (&mut inbox.bytes, &mut inbox.control);
            let v4 = udp.address.is_ipv4();
            let received = match (self.offload, v4) {
                (true, true) => receive_joined::<SockaddrIn>(fd, bytes, control, &mut hand_in),
                (true, false) => receive_joined::<SockaddrIn6>(fd, bytes, control, &mut hand_in),
                (false, true) => receive_batch(fd, bytes, &mut headers.v4, &mut hand_in),
                (false, false) => receive_batch(fd, bytes, &mut headers.v6, &mut hand_in),
            };
            traffic.receives += 1;
            // The kernel had fewer than there was room for: the rest can wait for the next turn.
            let wanted = if self.offload { 1 } else { BATCH };
            if received < wanted {
                return;
            }
        }
    }

    /// Sends what leaves through these sockets.
    pub(super) fn send(&mut self, out: &mut Outbox, traffic: &mut Traffic) {
        for (place, mine) in out.by_place() {
            let Some(Some(udp)) = self.sockets.get(usize::from(place)) else { continue };
            let fd = udp.socket.as_raw_fd();
            if self.offload {
                send_joined(fd, udp.address.is_ipv4(), mine, traffic);
                continue;
            }
            let mut mine = mine.map(|(sent, bytes)| (sent.to, bytes));
            if udp.address.is_ipv4() {
                send_batches(fd, &mut mine, &mut self.outbox.v4, traffic, |to| match to {
                    SocketAddr::V4(to) => Some(SockaddrIn::from(to)),
                    SocketAddr::V6(_) => None,
                });
            } else {
                send_batches(fd, &mut mine, &mut self.outbox.v6, traffic, |to| match to {
                    SocketAddr::V4(_) => None,
                    SocketAddr::V6(to) => Some(SockaddrIn6::from(to)),
                });
            }
        }
    }
}

/// Receives up to `BATCH` datagrams; tells how many.
fn receive_batch<S: SockaddrLike + Copy + Into<SocketAddr>>(
    fd: RawFd,
    bytes: &mut [u8],
    headers: &mut MultiHeaders<S>,
    each: &mut impl FnMut(SocketAddr, &[u8]),
) -> usize {
    let mut buffers = bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX);
    let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
        std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let Ok(results) = recvmmsg(fd, headers, slices.iter_mut(), flags, None) else { return 0 };
    let mut count = 0;
    for result in results {
        count += 1;
        let whole = !result.flags.contains(MsgFlags::MSG_TRUNC);
        if let (Some(from), Some(bytes), true) = (result.address, result.iovs().next(), whole) {
            each(from.into(), bytes);
        }
    }
    count
}

/// Receives datagrams that the kernel has joined; tells how many times there was something.
fn receive_joined<S: SockaddrLike + Copy + Into<SocketAddr>>(
    fd: RawFd,
    bytes: &mut [u8],
    control: &mut [u8],
    each: &mut impl FnMut(SocketAddr, &[u8]),
) -> usize {
    let Some(buffer) = bytes.get_mut(..DATAGRAM_BYTES_MAX) else { return 0 };
    let (length, from, segment) = {
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<S>(fd, &mut slices, Some(control), flags);
        let Ok(received) = received else { return 0 };
        let segment = received.cmsgs().ok().into_iter().flatten().find_map(|message| {
            if let ControlMessageOwned::UdpGroSegments(size) = message {
                usize::try_from(size).ok()
            } else {
                None
            }
        });
        (received.bytes, received.address, segment)
    };
    if let (Some(from), Some(bytes)) = (from, buffer.get(..length)) {
        let size = segment.filter(|size| *size > 0).unwrap_or(length.max(1));
        bytes.chunks(size).for_each(|bytes| each(from.into(), bytes));
    }
    1
}

fn send_batches<'a, S: SockaddrLike + Copy + 'a>(
    fd: RawFd,
    messages: &mut impl Iterator<Item = (SocketAddr, &'a [u8])>,
    headers: &mut MultiHeaders<S>,
    traffic: &mut Traffic,
    address: impl Fn(SocketAddr) -> Option<S>,
) {
    loop {
        let mut addresses: [Option<S>; BATCH] = [None; BATCH];
        let mut slices: [[IoSlice<'_>; 1]; BATCH] = [[IoSlice::new(&[])]; BATCH];
        let mut filled = 0;
        while let Some((to, bytes)) = (filled < BATCH).then(|| messages.next()).flatten() {
            let Some(to) = address(to) else {
                traffic.unsent += 1;
                continue;
            };
            addresses[filled] = Some(to);
            slices[filled] = [IoSlice::new(bytes)];
            filled += 1;
        }
        if filled == 0 {
            return;
        }
        let mut done = 0;
        while done < filled {
            let (addresses, slices) = (&addresses[done..filled], &slices[done..filled]);
            let flags = MsgFlags::empty();
            traffic.sends += 1;
            match sendmmsg(fd, headers, slices, addresses, [], flags) {
                Ok(results) => done += results.count(),
                Err(Errno::EINTR) => {}
                // The error is that of the first message; the others have their chance.
                Err(_) => {
                    traffic.unsent += 1;
                    done += 1;
                }
            }
        }
    }
}

/// Sends runs of datagrams of equal length to one address with one call each.
fn send_joined<'a>(
    fd: RawFd,
    v4: bool,
    messages: impl Iterator<Item = (&'a Outgoing, &'a [u8])>,
    traffic: &mut Traffic,
) {
    let runs = join(messages);
    for run in &runs {
        traffic.sends += 1;
        let size = u16::try_from(run.size).unwrap_or(u16::MAX);
        let control = [ControlMessage::UdpGsoSegments(&size)];
        let control = if run.slices.len() > 1 { &control[..] } else { &[] };
        let flags = MsgFlags::empty();
        let sent = match run.to {
            SocketAddr::V4(to) if v4 => {
                sendmsg(fd, &run.slices, control, flags, Some(&SockaddrIn::from(to)))
            }
            SocketAddr::V6(to) if !v4 => {
                sendmsg(fd, &run.slices, control, flags, Some(&SockaddrIn6::from(to)))
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => Err(Errno::EAFNOSUPPORT),
        };
        if sent.is_err() {
            send_apart(fd, run, traffic);
        }
    }
}

/// Sends the datagrams of a run that the kernel did not take as one: a route whose device cannot
/// cut them, or datagrams longer than it carries.
fn send_apart(fd: RawFd, run: &Joined<'_>, traffic: &mut Traffic) {
    for slice in &run.slices {
        traffic.sends += 1;
        let (slices, flags) = ([*slice], MsgFlags::empty());
        let sent = match run.to {
            SocketAddr::V4(to) => sendmsg(fd, &slices, &[], flags, Some(&SockaddrIn::from(to))),
            SocketAddr::V6(to) => sendmsg(fd, &slices, &[], flags, Some(&SockaddrIn6::from(to))),
        };
        traffic.unsent += u64::from(sent.is_err());
    }
}

/// Sorts messages into runs. SIP minds no order among messages of different calls, so that a run
/// takes messages from anywhere in the batch; one of a call never goes into an earlier run than the
/// call's message before it.
fn join<'a>(
    messages: impl Iterator<Item = (&'a Outgoing, &'a [u8])>,
) -> SmallVec<[Joined<'a>; RUNS_USUAL]> {
    let mut runs: SmallVec<[Joined<'a>; RUNS_USUAL]> = SmallVec::new();
    // The last run of a call, by the low bits of its number: calls that share them only wait for
    // each other needlessly.
    let mut earliest = [0u16; CALLS_TOLD_APART];
    for (sent, bytes) in messages {
        let mark = &mut earliest[sent.call as usize % CALLS_TOLD_APART];
        let open = runs.iter().enumerate().skip(usize::from(*mark));
        let found = open.rev().find(|(_, run)| run.to == sent.to && run.takes(bytes));
        let index = found.map_or(runs.len(), |(index, _)| index);
        match runs.get_mut(index) {
            Some(run) => run.slices.push(IoSlice::new(bytes)),
            None => runs.push(Joined {
                to: sent.to,
                size: bytes.len(),
                slices: smallvec![IoSlice::new(bytes)],
            }),
        }
        *mark = u16::try_from(index).unwrap_or(u16::MAX);
    }
    runs
}

/// Runs, and messages of a run, for which no memory needs to be asked.
const RUNS_USUAL: usize = 4;
const SEGMENTS_USUAL: usize = 16;
/// Entries of a table that is small enough to be made for every batch.
const CALLS_TOLD_APART: usize = 256;

struct Joined<'a> {
    to: SocketAddr,
    size: usize,
    slices: SmallVec<[IoSlice<'a>; SEGMENTS_USUAL]>,
}

impl Joined<'_> {
    fn takes(&self, bytes: &[u8]) -> bool {
        let count = self.slices.len();
        bytes.len() == self.size
            && count < SEGMENTS_MAX
            && (count + 1) * self.size <= OFFLOAD_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_join_across_calls_and_a_call_keeps_its_order() {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut out = Outbox::default();
        // Three calls send 180 and 200; the third one sends them the other way round.
        for (call, lengths) in [(1, [300, 500]), (2, [300, 500]), (3, [500, 300])] {
            for (place, length) in (0u8..).zip(lengths) {
                out.copy(Door::default(), to, call, &vec![call as u8 * 10 + place; length]);
            }
        }
        let runs = join(out.iter());
        let shape: Vec<Vec<u8>> =
            runs.iter().map(|run| run.slices.iter().map(|slice| slice[0]).collect()).collect();
        assert_eq!(shape, [vec![10, 20], vec![11, 21, 30], vec![31]]);
    }
}
