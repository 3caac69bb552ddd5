//! What the kernel must permit before a shard can start: io_uring and a little locked memory.
//!
//! For: finding out first, and saying exactly what is refused and how to allow it.
//! Not here: using io_uring (glommio).

use io_uring::{IoUring, Probe, opcode};
use rlimit::Resource;
use std::fmt;
use std::fs;
use std::io;

/// Bytes of locked memory that glommio asks for (`MIN_MEMLOCK_LIMIT` of its 0.9).
const MEMLOCK_MIN: u64 = 512 * 1024;

/// Why no shard can run here.
#[derive(Debug)]
pub enum KernelRefusal {
    /// The kernel has no io_uring, or one that is too old; holds what is missing.
    Missing(String),
    /// `kernel.io_uring_disabled` forbids it; holds its value.
    Disabled(String),
    /// A filter of system calls forbids it, as containers do by default.
    Filtered(io::Error),
    /// Too little memory may be locked; holds the limit.
    Memlock(u64),
    /// Anything else.
    Other(io::Error),
}

impl fmt::Display for KernelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelRefusal::Missing(what) => write!(
                f,
                "io_uring is not usable: {what}. Linux 5.8 or later is needed, with CONFIG_IO_URING"
            ),
            KernelRefusal::Disabled(value) => write!(
                f,
                "io_uring is disabled: kernel.io_uring_disabled is {value}. Allow it with \
                 `sysctl -w kernel.io_uring_disabled=0` (1 allows it to CAP_SYS_ADMIN and to the \
                 group of kernel.io_uring_group)"
            ),
            KernelRefusal::Filtered(cause) => write!(
                f,
                "io_uring is refused ({cause}): a filter of system calls forbids io_uring_setup. \
                 In a container, allow io_uring_setup, io_uring_enter and io_uring_register: \
                 `docker run --security-opt seccomp=profile.json` or `=unconfined`; under systemd, \
                 check SystemCallFilter="
            ),
            KernelRefusal::Memlock(limit) => write!(
                f,
                "io_uring needs {MEMLOCK_MIN} bytes of locked memory, the limit is {limit}. Raise \
                 it: `ulimit -l 8192`, LimitMEMLOCK=8M in a systemd unit, `docker run --ulimit \
                 memlock=8388608`"
            ),
            KernelRefusal::Other(cause) => write!(f, "io_uring cannot be set up: {cause}"),
        }
    }
}

impl std::error::Error for KernelRefusal {}

/// Checks what a shard needs; raises the soft limit of locked memory to the hard one on the way.
pub fn check() -> Result<(), KernelRefusal> {
    let limit = raise_memlock().map_err(KernelRefusal::Other)?;
    if limit < MEMLOCK_MIN {
        return Err(KernelRefusal::Memlock(limit));
    }
    // On a thread of its own: the kernel winds a ring up by interrupting the thread that made it.
    std::thread::scope(|scope| match scope.spawn(|| probe(limit)).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn probe(memlock: u64) -> Result<(), KernelRefusal> {
    let ring = IoUring::new(2).map_err(|cause| explain(cause, memlock))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|cause| {
        KernelRefusal::Missing(format!("it does not tell its operations ({cause})"))
    })?;
    let needed = [
        ("RECV", opcode::Recv::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("TIMEOUT", opcode::Timeout::CODE),
        ("ACCEPT", opcode::Accept::CODE),
        ("STATX", opcode::Statx::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        Some((name, _)) => Err(KernelRefusal::Missing(format!("operation {name} is missing"))),
        None => Ok(()),
    }
}

/// Descriptors beside those of connections: sockets, rings, files. A guess, well above what was
/// seen.
const DESCRIPTORS_BESIDE: u64 = 256;

/// Raises the soft limit of descriptors to the hard one; says when connections will not all fit.
pub(crate) fn raise_descriptors(connections: usize) -> Option<String> {
    let (soft, hard) = Resource::NOFILE.get().ok()?;
    let limit = if soft < hard && Resource::NOFILE.set(hard, hard).is_ok() { hard } else { soft };
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(DESCRIPTORS_BESIDE);
    (limit < wanted).then(|| {
        format!(
            "tcp: {connections} connections wanted, the limit of open files is {limit}: raise it \
             with `ulimit -n {wanted}` or LimitNOFILE={wanted} in a systemd unit"
        )
    })
}

fn raise_memlock() -> io::Result<u64> {
    let (soft, hard) = Resource::MEMLOCK.get()?;
    if soft < hard && Resource::MEMLOCK.set(hard, hard).is_ok() { Ok(hard) } else { Ok(soft) }
}

fn explain(cause: io::Error, memlock: u64) -> KernelRefusal {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (cause.raw_os_error(), disabled.trim()) {
        (Some(libc::ENOSYS), _) => KernelRefusal::Missing("the kernel does not know it".to_owned()),
        (Some(libc::EPERM | libc::EACCES), value @ ("1" | "2")) => {
            KernelRefusal::Disabled(value.to_owned())
        }
        (Some(libc::EPERM | libc::EACCES), _) => KernelRefusal::Filtered(cause),
        (Some(libc::ENOMEM), _) => KernelRefusal::Memlock(memlock),
        (Some(_) | None, _) => KernelRefusal::Other(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_how_to_allow_it() {
        let filtered = explain(io::Error::from_raw_os_error(libc::EPERM), 0).to_string();
        assert!(filtered.contains("seccomp") || filtered.contains("io_uring_disabled"));
        let memlock = explain(io::Error::from_raw_os_error(libc::ENOMEM), 65_536).to_string();
        assert!(memlock.contains("65536") && memlock.contains("ulimit -l"));
    }
}
