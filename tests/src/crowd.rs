//! A crowd of user agents behind a few sockets: tens of thousands of REGISTERs, each repeated until
//! it is answered.
//!
//! For: filling a registrar and asking it afterwards what it still knows; nothing else is fast
//! enough at it, and says of each user what became of him.
//! Not here: what a test expects of the answers.
//! Invariants: a bounded number of requests is open at any time; a copy is the same to the octet.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::datagram;

/// Sockets: enough for the kernel to spread them over the shards.
const SOCKETS: u32 = 8;
/// Requests that one socket has open at most: what its receive buffer holds answers for.
const WINDOW: usize = 128;
/// T1 and T2 of RFC 3261 §17.1.2.2.
const RESEND_FIRST: Duration = Duration::from_millis(500);
const RESEND_LONGEST: Duration = Duration::from_secs(4);
/// Timer F, and some more for a machine that freezes.
const GIVE_UP: Duration = Duration::from_secs(40);
const WAKE: Duration = Duration::from_millis(50);

/// What everybody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To be bound for an hour.
    Bind,
    /// Which bindings there are.
    Query,
}

/// How far a crowd has got, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    good: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// How many have got the answer that they wanted.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Nobody asks any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// What became of everybody.
#[derive(Debug, Default)]
pub struct Tally {
    /// Who got what he wanted, and when.
    pub good: Vec<(u32, Instant)>,
    /// How many got another answer, by its status; 0 is an answer without the user's binding, 408
    /// is none at all.
    pub other: BTreeMap<u16, u64>,
    /// Copies that were sent.
    pub resent: u64,
    /// How long it took.
    pub took: Duration,
}

impl Tally {
    /// How many a second got what they wanted.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.good.len() as f64 / self.took.as_secs_f64()
    }
}

/// The contact that a user binds.
#[must_use]
pub fn contact(user: u32) -> String {
    format!("sip:u{user}@127.0.0.1:{}", 10_000 + user % 50_000)
}

/// Has everybody ask, the lowest numbers first, until all are answered or it is stopped. `cseq` is
/// the same for all.
///
/// # Panics
/// When this machine has no sockets left.
#[must_use]
pub fn ask(
    proxy: SocketAddr,
    users: Range<u32>,
    ask: Ask,
    cseq: u32,
    progress: &Progress,
) -> Tally {
    let begin = Instant::now();
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let agents: Vec<_> = (0..SOCKETS)
            .map(|number| {
                let users = (users.start + number..users.end).step_by(SOCKETS as usize);
                let users: Vec<u32> = users.collect();
                scope.spawn(move || Agents::new(proxy, ask, cseq).run(&users, progress))
            })
            .collect();
        for agents in agents {
            let part = agents.join().expect("a thread of the crowd");
            tally.good.extend(part.good);
            tally.resent += part.resent;
            for (status, count) in part.other {
                *tally.other.entry(status).or_default() += count;
            }
        }
    });
    tally.took = begin.elapsed();
    tally
}

struct Open {
    since: Instant,
    resend_at: Instant,
    interval: Duration,
}

/// Those behind one socket.
struct Agents {
    socket: UdpSocket,
    proxy: SocketAddr,
    here: SocketAddr,
    ask: Ask,
    cseq: u32,
    open: HashMap<u32, Open>,
    tally: Tally,
}

impl Agents {
    fn new(proxy: SocketAddr, ask: Ask, cseq: u32) -> Agents {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
        socket.set_read_timeout(Some(WAKE)).expect("a positive time-out");
        let here = socket.local_addr().expect("a bound socket has an address");
        Agents { socket, proxy, here, ask, cseq, open: HashMap::new(), tally: Tally::default() }
    }

    fn run(mut self, users: &[u32], progress: &Progress) -> Tally {
        let mut users = users.iter().copied();
        let mut next_look = Instant::now() + WAKE;
        let mut buffer = vec![0; 4096];
        let mut all_sent = false;
        loop {
            let stopped = progress.stopped.load(Ordering::Relaxed);
            if stopped || (all_sent && self.open.is_empty()) {
                return self.tally;
            }
            while !all_sent && self.open.len() < WINDOW {
                match users.next() {
                    Some(user) => self.begin(user),
                    None => all_sent = true,
                }
            }
            if let Ok(length) = self.socket.recv(&mut buffer)
                && let Ok(text) = std::str::from_utf8(&buffer[..length])
            {
                self.hear(text, progress);
            }
            if next_look <= Instant::now() {
                next_look = Instant::now() + WAKE;
                self.resend();
            }
        }
    }

    fn begin(&mut self, user: u32) {
        let since = Instant::now();
        let open = Open { since, resend_at: since + RESEND_FIRST, interval: RESEND_FIRST };
        self.open.insert(user, open);
        self.send(user);
    }

    fn send(&self, user: u32) {
        let (here, cseq) = (self.here, self.cseq);
        let (purpose, more) = match self.ask {
            Ask::Bind => ("b", format!("Contact: <{}>\r\nExpires: 3600\r\n", contact(user))),
            Ask::Query => ("q", String::new()),
        };
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP {here};branch=z9hG4bK-{user}-{purpose}-{cseq}\r\n\
             From: <sip:u{user}@example.com>;tag=u{user}\r\n\
             To: <sip:u{user}@example.com>\r\n\
             Call-ID: {user}-{purpose}@127.0.0.1\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Max-Forwards: 70\r\n\
             User-Agent: one of a crowd\r\n\
             {more}Content-Length: 0\r\n\r\n"
        );
        // What does not fit into the socket's buffer is sent again like all that is lost.
        let _ = self.socket.send_to(text.as_bytes(), self.proxy);
    }

    fn hear(&mut self, text: &str, progress: &Progress) {
        let Some(status) = datagram::status(text).filter(|status| *status >= 200) else { return };
        let call_id = datagram::header(text, "Call-ID").unwrap_or_default();
        let user = call_id.split_once('-').and_then(|(user, _)| user.parse().ok());
        let Some(user) = user.filter(|user| self.open.remove(user).is_some()) else { return };
        let bound = text.contains(&format!("<{}>", contact(user)));
        if status == 200 && bound {
            self.tally.good.push((user, Instant::now()));
            progress.good.fetch_add(1, Ordering::Relaxed);
        } else {
            let status = if status == 200 { 0 } else { status };
            *self.tally.other.entry(status).or_default() += 1;
        }
    }

    fn resend(&mut self) {
        let now = Instant::now();
        let late: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| open.since + GIVE_UP <= now)
            .map(|(user, _)| *user)
            .collect();
        for user in late {
            self.open.remove(&user);
            *self.tally.other.entry(408).or_default() += 1;
        }
        let mut due = Vec::new();
        for (user, open) in self.open.iter_mut().filter(|(_, open)| open.resend_at <= now) {
            open.interval = (open.interval * 2).min(RESEND_LONGEST);
            open.resend_at = now + open.interval;
            due.push(*user);
        }
        self.tally.resent += due.len() as u64;
        due.into_iter().for_each(|user| self.send(user));
    }
}
