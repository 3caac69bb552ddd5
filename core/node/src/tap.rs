//! A shard's side of tracing: copies of the messages that somebody wants to see.
//!
//! For: one look at each message while somebody does, nothing at all otherwise.
//! Not here: who wants what and what becomes of the copies (`trace/`).
//! Invariants: a shard never waits: a copy that finds no room is counted and lost.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;
use strowger_sip::message::scan_call_id;
use strowger_sip::time::Instant;
use strowger_sip::transport::{Flow, Transport};

/// How much of a message is searched for a user: its start line and the first headers.
const SEARCHED_BYTES: usize = 2048;

/// Which messages are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those of a call.
    CallId(Vec<u8>),
    /// Those that name a user of a SIP URI.
    User(Vec<u8>),
    /// Those that come from or go to an address.
    Source(IpAddr),
}

impl Wanted {
    fn fits(&self, remote: IpAddr, bytes: &[u8]) -> bool {
        match self {
            Wanted::CallId(wanted) => scan_call_id(bytes) == Some(wanted.as_slice()),
            Wanted::Source(wanted) => remote == *wanted,
            Wanted::User(wanted) => {
                let searched = bytes.get(..SEARCHED_BYTES).unwrap_or(bytes);
                let ends = |at: usize| matches!(searched.get(at), Some(b'@' | b';' | b':'));
                let found = |at: usize| {
                    let start = at + 4;
                    let end = start + wanted.len();
                    searched.get(start..end) == Some(wanted.as_slice()) && ends(end)
                };
                let mut places = searched.windows(4).enumerate();
                places.any(|(at, window)| window.eq_ignore_ascii_case(b"sip:") && found(at))
            }
        }
    }
}

/// A wish, for a time.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: u64,
    pub(crate) wanted: Wanted,
    pub(crate) until: std::time::Instant,
}

/// All wishes, and where copies go.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Every message is wanted.
    pub(crate) all: bool,
    pub(crate) to: flume::Sender<Packet>,
}

/// A copy of a message.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) at: SystemTime,
    pub(crate) transport: Transport,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) is_incoming: bool,
    pub(crate) bytes: Vec<u8>,
    /// A rule wanted it, beside whoever wants everything.
    pub(crate) is_traced: bool,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// What a shard keeps of it.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    rules: Option<Arc<Rules>>,
    // By listener.
    local: Vec<SocketAddr>,
    pub(crate) copied: u64,
    pub(crate) lost: u64,
}

impl Tap {
    pub(crate) fn new(local: Vec<SocketAddr>) -> Tap {
        Tap { local, ..Tap::default() }
    }

    /// Takes what is wanted from here on.
    pub(crate) fn set(&mut self, rules: Option<Arc<Rules>>) {
        self.rules = rules;
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.rules.is_some()
    }

    /// Shows it a message.
    #[inline]
    pub(crate) fn see(&mut self, _now: Instant, way: Way, flow: &Flow, bytes: &[u8]) {
        if self.rules.is_some() {
            self.look(way, flow, bytes);
        }
    }

    #[cold]
    fn look(&mut self, way: Way, flow: &Flow, bytes: &[u8]) {
        let Some(rules) = &self.rules else { return };
        let now = std::time::Instant::now();
        let mut wishes = rules.rules.iter().filter(|rule| rule.until > now);
        let is_traced = wishes.any(|rule| rule.wanted.fits(flow.remote.ip(), bytes));
        if !is_traced && !rules.all {
            return;
        }
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let own = self.local.get(usize::from(flow.listener.0)).copied().unwrap_or(nowhere);
        let (from, to) = match way {
            Way::In => (flow.remote, own),
            Way::Out => (own, flow.remote),
        };
        let packet = Packet {
            at: SystemTime::now(),
            transport: flow.transport,
            from,
            to,
            is_incoming: way == Way::In,
            bytes: bytes.to_vec(),
            is_traced,
        };
        match rules.to.try_send(packet) {
            Ok(()) => self.copied += 1,
            Err(_) => self.lost += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use strowger_sip::transport::ListenerId;

    const MESSAGE: &[u8] = b"INVITE sip:bob@example.com SIP/2.0\r\nCall-ID: a@b\r\n\r\n";

    fn flow() -> Flow {
        Flow::udp(ListenerId(0), "192.0.2.7:5060".parse().expect("an address"))
    }

    fn tapped(wanted: Wanted, room: usize) -> (Tap, flume::Receiver<Packet>) {
        let (to, packets) = flume::bounded(room);
        let until = std::time::Instant::now() + Duration::from_secs(600);
        let rules = vec![Rule { id: 1, wanted, until }];
        let mut tap = Tap::new(vec!["192.0.2.1:5060".parse().expect("an address")]);
        tap.set(Some(Arc::new(Rules { rules, all: false, to })));
        (tap, packets)
    }

    fn sees(wanted: Wanted) -> bool {
        let (mut tap, packets) = tapped(wanted, 4);
        tap.see(Instant::START, Way::In, &flow(), MESSAGE);
        packets.try_recv().is_ok_and(|packet| packet.is_traced && packet.bytes == MESSAGE)
    }

    #[test]
    fn a_call_a_user_or_an_address_is_wanted() {
        assert!(sees(Wanted::CallId(b"a@b".to_vec())));
        assert!(!sees(Wanted::CallId(b"a@bc".to_vec())));
        assert!(sees(Wanted::User(b"bob".to_vec())));
        assert!(!sees(Wanted::User(b"bo".to_vec())), "not a part of a name");
        assert!(sees(Wanted::Source(flow().remote.ip())));
        assert!(!sees(Wanted::Source([192, 0, 2, 8].into())));
    }

    #[test]
    fn a_full_queue_loses_copies_and_counts_them() {
        let (mut tap, packets) = tapped(Wanted::CallId(b"a@b".to_vec()), 2);
        for way in [Way::In, Way::Out, Way::Out] {
            tap.see(Instant::START, way, &flow(), MESSAGE);
        }
        assert_eq!((tap.copied, tap.lost), (2, 1));
        let ways: Vec<String> =
            packets.drain().map(|it| format!("{}>{}", it.from, it.to)).collect();
        assert_eq!(ways[0], "192.0.2.7:5060>192.0.2.1:5060");
        assert_eq!(ways[1], "192.0.2.1:5060>192.0.2.7:5060");
        tap.set(None);
        tap.see(Instant::START, Way::In, &flow(), MESSAGE);
        assert_eq!((tap.copied, tap.lost), (2, 1));
    }
}
