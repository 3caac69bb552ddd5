//! Sockets of a worker: datagrams in batches and connections.
//!
//! For: `Worker`.
//! Not here: SIP (`desk/`).
//! Invariants: nothing blocks but [`Net::wait`]; what the kernel does not take is dropped and
//! counted, never queued without bound.
//!
//! Batched datagrams come from the safe wrappers of `nix`: `unsafe` has one place in this tree, and
//! the proxy's own engine there brings its executor, its database drivers and its mesh along.

mod drops;
mod stream;
mod udp;

pub(crate) use drops::Drops;

use crate::desk::outbox::{Door, Outbox};
use nix::poll::{PollFd, PollFlags};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use stream::Streams;
use udp::Datagrams;

/// Events taken at once.
const EVENTS: usize = 64;
/// Tokens of accepted connections begin here; below are places.
const LINKS: u64 = 1 << 16;

/// How a worker's own address is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    Udp,
    /// Connects to the target.
    Dial(SocketAddr),
    Listen,
}

/// What an address is wanted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) address: SocketAddr,
    pub(crate) means: Means,
    /// Other workers share it.
    pub(crate) shared: bool,
}

/// Why an address cannot be had.
#[derive(Debug)]
pub(crate) struct NetError {
    pub(crate) address: SocketAddr,
    pub(crate) what: &'static str,
    pub(crate) cause: io::Error,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot {}: {}", self.address, self.what, self.cause)
    }
}

impl std::error::Error for NetError {}

/// What happened to messages on their way out and in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// System calls that sent and that received.
    pub(crate) sends: u64,
    pub(crate) receives: u64,
    /// Messages that the kernel refused, or that found no connection or no room.
    pub(crate) unsent: u64,
    /// Connections that could not be made or broke.
    pub(crate) broken: u64,
}

/// The sockets of a worker.
pub(crate) struct Net {
    poll: Epoll,
    datagrams: Datagrams,
    streams: Streams,
    /// What is ready, by token.
    ready: Vec<u64>,
    pub(crate) traffic: Traffic,
}

impl Net {
    /// Opens all addresses, in the order of the worker's places.
    pub(crate) fn open(wanted: &[Wanted], offload: bool) -> Result<Net, NetError> {
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|cause| NetError {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            what: "make an epoll instance",
            cause: cause.into(),
        })?;
        let mut net = Net {
            poll,
            datagrams: Datagrams::new(offload),
            streams: Streams::default(),
            ready: Vec::with_capacity(EVENTS),
            traffic: Traffic::default(),
        };
        for (place, wanted) in (0u16..).zip(wanted) {
            let fails = |what| move |cause| NetError { address: wanted.address, what, cause };
            match wanted.means {
                Means::Udp => {
                    let socket = net.datagrams.open(place, wanted).map_err(fails("bind"))?;
                    watch(&net.poll, socket, u64::from(place)).map_err(fails("watch"))?;
                }
                Means::Dial(target) => {
                    net.streams.add_dialer(place, wanted.address, target);
                    net.streams.dial(place, &net.poll).map_err(fails("connect"))?;
                }
                Means::Listen => {
                    net.streams.listen(place, wanted, &net.poll).map_err(fails("listen"))?;
                }
            }
        }
        Ok(net)
    }

    /// The address of a place, with the port that the kernel chose.
    pub(crate) fn address(&self, place: u16) -> Option<SocketAddr> {
        self.datagrams.address(place).or_else(|| self.streams.address(place))
    }

    /// The kernel's names of the sockets whose drops count.
    pub(crate) fn inodes(&self) -> Vec<u64> {
        self.datagrams.inodes()
    }

    /// Hands in what has arrived on what is ready; whether there was anything.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Door, SocketAddr, &[u8])) -> bool {
        let mut any = false;
        let mut ready = std::mem::take(&mut self.ready);
        for token in ready.drain(..) {
            any = true;
            match u16::try_from(token) {
                Ok(place) if self.datagrams.has(place) => {
                    self.datagrams.receive(place, &mut self.traffic, &mut each);
                }
                Ok(_) | Err(_) => {
                    self.streams.ready(token, &self.poll, &mut self.traffic, &mut each);
                }
            }
        }
        self.ready = ready;
        any
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self, out: &mut Outbox) {
        if out.is_empty() {
            return;
        }
        self.datagrams.send(out, &mut self.traffic);
        if !self.streams.is_empty() {
            for (sent, bytes) in out.iter().filter(|(sent, _)| !self.datagrams.has(sent.door.place))
            {
                self.streams.send(sent.door, bytes, &self.poll, &mut self.traffic);
            }
        }
        out.clear();
    }

    /// Waits until something is ready, or the time is over.
    pub(crate) fn wait(&mut self, longest: Duration) {
        if !longest.is_zero() {
            // The nanoseconds of ppoll: epoll's own waits are counted in milliseconds.
            let mut fds = [PollFd::new(self.poll.0.as_fd(), PollFlags::POLLIN)];
            // An interruption is like any other end of the wait.
            let _ = nix::poll::ppoll(&mut fds, Some(TimeSpec::from_duration(longest)), None);
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.poll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        self.ready.clear();
        self.ready.extend(events.iter().take(count).map(EpollEvent::data));
    }
}

/// Adds a descriptor whose readiness is told by this token.
fn watch(poll: &Epoll, socket: impl AsFd, token: u64) -> io::Result<()> {
    let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, token);
    poll.add(socket, event).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn loopback(host: &str) -> SocketAddr {
        format!("{host}:0").parse().expect("an address")
    }

    fn wanted(address: SocketAddr, means: Means) -> Wanted {
        Wanted { address, means, shared: false }
    }

    /// Sends what `out` holds from `one` and waits until `other` has received so many.
    fn exchange(
        (one, other): (&mut Net, &mut Net),
        out: &mut Outbox,
        count: usize,
    ) -> Vec<(Door, SocketAddr, Vec<u8>)> {
        let (mut got, end) = (Vec::new(), Instant::now() + Duration::from_secs(10));
        one.flush(out);
        while got.len() < count && Instant::now() < end {
            for net in [&mut *one, &mut *other] {
                net.wait(Duration::from_millis(2));
            }
            one.receive(|_, _, _| ());
            other.receive(|door, from, bytes| got.push((door, from, bytes.to_vec())));
            one.flush(out);
        }
        got
    }

    #[test]
    fn datagrams_of_both_families_arrive_with_and_without_offload() {
        for (host, offload) in [("127.0.0.1", false), ("127.0.0.1", true), ("[::1]", false)] {
            let open = || Net::open(&[wanted(loopback(host), Means::Udp)], offload).expect("open");
            let (mut one, mut other) = (open(), open());
            let to = other.address(0).expect("bound");
            let mut out = Outbox::default();
            // Equal lengths may travel as one, others must not be joined to them.
            let texts: Vec<Vec<u8>> =
                (0..200u8).map(|n| vec![n; 500 + usize::from(n / 50)]).collect();
            let calls = (0..).zip(&texts);
            calls.for_each(|(call, text)| out.copy(Door::default(), to, call, text));
            let got = exchange((&mut one, &mut other), &mut out, 200);
            let from = one.address(0).expect("bound");
            assert!(got.iter().all(|(_, sender, _)| *sender == from));
            let got: Vec<Vec<u8>> = got.into_iter().map(|(_, _, bytes)| bytes).collect();
            assert_eq!(got, texts, "{host} {offload}");
            let batches = if offload { 4..=20 } else { 4..=200 };
            assert!(batches.contains(&one.traffic.sends), "{:?}", one.traffic);
        }
    }

    #[test]
    fn messages_of_a_stream_arrive_cut_and_are_answered_on_their_connection() {
        let mut callee =
            Net::open(&[wanted(loopback("127.0.0.1"), Means::Listen)], false).expect("open");
        let to = callee.address(0).expect("bound");
        let dial = [wanted(loopback("127.0.0.1"), Means::Dial(to))];
        let mut caller = Net::open(&dial, false).expect("open");
        let mut out = Outbox::default();
        let text = |n: usize| format!("BYE sip:{n} SIP/2.0\r\nContent-Length: 3\r\n\r\nabc");
        for n in 0..100 {
            out.copy(Door::default(), to, 0, text(n).as_bytes());
        }
        let got = exchange((&mut caller, &mut callee), &mut out, 100);
        assert_eq!(got.len(), 100);
        assert!((0..).zip(&got).all(|(n, (_, _, bytes))| *bytes == text(n).into_bytes()));
        let (door, from, _) = got[0];
        assert_ne!(door.link, 0);
        out.copy(door, from, 0, text(7).as_bytes());
        let back = exchange((&mut callee, &mut caller), &mut out, 1);
        assert_eq!(back[0].2, text(7).into_bytes());
        assert_eq!((caller.traffic.unsent, callee.traffic.unsent), (0, 0));
    }

    #[test]
    fn a_port_in_use_is_named() {
        let one = Net::open(&[wanted(loopback("127.0.0.1"), Means::Udp)], false).expect("open");
        let taken = one.address(0).expect("bound");
        let error = Net::open(&[wanted(taken, Means::Udp)], false).err().expect("in use");
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }
}
