//! Addresses and socket options as the kernel wants them.
//!
//! For: `sockaddr_storage` to and from [`SocketAddr`], and the options that socket2 does not know.

use super::Woken;
use std::io;
use std::mem::{size_of, size_of_val};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Length of a `sockaddr_storage` as the kernel counts it.
pub(super) const STORAGE_LENGTH: libc::socklen_t =
    size_of::<libc::sockaddr_storage>() as libc::socklen_t;

/// An address of no family.
pub(super) fn no_address() -> libc::sockaddr_storage {
    // SAFETY: sockaddr_storage is plain integers; all zero is a value of it (family AF_UNSPEC).
    unsafe { std::mem::zeroed() }
}

/// Writes an address and says how many octets of it count.
pub(super) fn write_address(
    address: &SocketAddr,
    storage: &mut libc::sockaddr_storage,
) -> libc::socklen_t {
    let to: *mut libc::sockaddr_storage = storage;
    match address {
        SocketAddr::V4(v4) => {
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is as large as any socket address and at least as aligned.
            unsafe { to.cast::<libc::sockaddr_in>().write(value) };
            size_of_val(&value) as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { to.cast::<libc::sockaddr_in6>().write(value) };
            size_of_val(&value) as libc::socklen_t
        }
    }
}

/// Reads an address that the kernel wrote.
pub(super) fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let from: *const libc::sockaddr_storage = storage;
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which of the smaller types it is; any bits are a value of it.
            let v4 = unsafe { from.cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { from.cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Sets a buffer's size past the system's limit; needs CAP_NET_ADMIN.
pub(super) fn force_buffer(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    bytes: usize,
) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the length are those of a live integer; the kernel only reads it.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel note when each datagram arrives. A socket that cannot has no queueing delay to
/// show.
pub(super) fn note_arrivals(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length are those of a live integer; the kernel only reads it.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
}

/// Room for the control message with a datagram's time of arrival.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    // Aligned as a cmsghdr is; the message is a header and a timespec.
    room: [u64; 8],
}

impl Arrival {
    /// Points a header of a message that is to be received at the room.
    pub(super) fn point(&mut self, header: &mut libc::msghdr) {
        self.room = [0; 8];
        header.msg_control = self.room.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&self.room) as _;
    }

    /// How long the datagram of this header lay in its socket; nothing when the kernel did not say,
    /// or the wall clock was set back meanwhile.
    pub(super) fn waited(&self, header: &libc::msghdr) -> Duration {
        if header.msg_control.cast_const() != self.room.as_ptr().cast() {
            return Duration::ZERO;
        }
        // SAFETY: the header points at `room`, which is alive, aligned and as long as the kernel
        // was told; the kernel has written whole control messages and how much of the room they
        // take.
        let found = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() };
        let Some(control) = found else { return Duration::ZERO };
        let kind = (control.cmsg_level, control.cmsg_type);
        let length = size_of::<libc::cmsghdr>() + size_of::<libc::timespec>();
        if kind != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) || control.cmsg_len < length {
            return Duration::ZERO;
        }
        // SAFETY: the control message is of this kind and long enough, so a timespec follows it;
        // where it lies need not be aligned.
        let arrived = unsafe { libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = u64::try_from(arrived.tv_sec).unwrap_or(u64::MAX);
        let nanos = u32::try_from(arrived.tv_nsec).unwrap_or(0);
        now.saturating_sub(Duration::new(seconds, nanos.min(999_999_999)))
    }
}

/// Numbers of SO_MEMINFO, and which of them counts drops (linux/sock_diag.h).
const MEMINFO_NUMBERS: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// Datagrams that this socket dropped since it was made. SO_MEMINFO is asked when somebody wants to
/// know; SO_RXQ_OVFL would say the same with a control message on every datagram.
pub(super) fn drops(socket: BorrowedFd<'_>) -> u32 {
    let mut numbers = [0u32; MEMINFO_NUMBERS];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets, the size of the array.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer == 0 { numbers[MEMINFO_DROPS] } else { 0 }
}

/// Waits until one of the sockets has something to receive, or the time is over.
pub(super) fn wait_readable(
    sockets: impl Iterator<Item = RawFd>,
    polls: &mut Vec<libc::pollfd>,
    span: Duration,
) -> Woken {
    polls.clear();
    polls.extend(sockets.map(|socket| libc::pollfd {
        fd: socket,
        events: libc::POLLIN,
        revents: 0,
    }));
    let span = libc::timespec {
        tv_sec: libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(span.subsec_nanos().cast_signed()),
    };
    // SAFETY: the pointer and the count are those of a live vector; the span lives through the
    // call; no mask of signals is given.
    let ready = unsafe {
        libc::ppoll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, &raw const span, ptr::null())
    };
    // Interrupted counts as early: the caller looks.
    if ready == 0 { Woken::InTime } else { Woken::Early }
}

/// Waits until a full send buffer has room again, or the time is over.
pub(super) fn wait_writable(socket: BorrowedFd<'_>, millis: i32) {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one live pollfd, and a count of one.
    unsafe { libc::poll(&raw mut poll, 1, millis) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for written in ["192.0.2.1:5060", "[2001:db8::1]:5061", "[fe80::1%7]:5060"] {
            let address: SocketAddr = written.parse().expect("an address");
            let mut storage = no_address();
            write_address(&address, &mut storage);
            assert_eq!(read_address(&storage), Some(address));
        }
        assert_eq!(read_address(&no_address()), None);
    }
}
