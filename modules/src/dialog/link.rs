//! Messages between the shards' instances that must arrive, each once and in order.
//!
//! For: counts that stay right though a lane between two shards sheds what it has no room for.
//! Not here: what the messages say (`profile.rs`).
//! Invariants: a message is kept until its receiver has said that it came; what came is done once,
//! in the order of sending.

use super::limits::{LINK_PAUSE, LINK_RESEND_AFTER, LINK_RESEND_MAX, LINK_WAITING_MAX};
use super::profile::Peer;
use super::{Dialog, Timer};
use std::collections::VecDeque;
use strowger_sip::module::Host;
use strowger_sip::shard::ShardId;
use strowger_sip::time::Instant;

/// What goes from shard to shard.
#[derive(Clone, Debug)]
pub enum Letter {
    /// A message with its number, counted from 1.
    Message(u64, Peer),
    /// Every message up to this number has come.
    Heard(u64),
}

/// Both directions between this shard and one other.
#[derive(Debug, Default)]
struct Link {
    /// Sent and not heard of, in order.
    sent: VecDeque<(u64, Peer)>,
    last_sent: u64,
    /// When the oldest of them went out last.
    since: Instant,
    last_heard: u64,
    owes: bool,
}

/// The links of a shard.
#[derive(Debug, Default)]
pub(super) struct Links {
    list: Vec<Link>,
    is_armed: bool,
}

impl Dialog {
    /// Tells a shard something; this one at once.
    pub(super) fn tell_shard(&mut self, host: &mut impl Host<Dialog>, to: ShardId, message: Peer) {
        if to == host.shard() {
            return self.on_message(host, to, message);
        }
        let now = host.now();
        let Some(link) = self.link(host, to) else { return };
        if link.sent.len() >= LINK_WAITING_MAX {
            // That shard has not been heard of for long: nothing that it counts is right any more.
            self.counters.refused += 1;
            return;
        }
        link.last_sent += 1;
        if link.sent.is_empty() {
            link.since = now;
        }
        let number = link.last_sent;
        link.sent.push_back((number, message.clone()));
        host.tell(to, Letter::Message(number, message));
        self.arm_links(host);
    }

    pub(super) fn on_letter(
        &mut self,
        host: &mut impl Host<Dialog>,
        from: ShardId,
        letter: Letter,
    ) {
        let Some(link) = self.link(host, from) else { return };
        match letter {
            Letter::Message(number, message) => {
                link.owes = true;
                // One that was lost before it is sent again, and this one after it.
                let next = number == link.last_heard + 1;
                if next {
                    link.last_heard = number;
                }
                self.arm_links(host);
                if next {
                    self.on_message(host, from, message);
                }
            }
            Letter::Heard(last) => {
                while link.sent.front().is_some_and(|(number, _)| *number <= last) {
                    link.sent.pop_front();
                    link.since = host.now();
                }
            }
        }
    }

    /// Says what has come, and says again what has not.
    pub(super) fn tend_links(&mut self, host: &mut impl Host<Dialog>) {
        self.links.is_armed = false;
        let now = host.now();
        for (number, link) in (0u16..).zip(&mut self.links.list) {
            let to = ShardId(number);
            if std::mem::take(&mut link.owes) {
                host.tell(to, Letter::Heard(link.last_heard));
            }
            if link.sent.is_empty() || now.since(link.since) < LINK_RESEND_AFTER {
                continue;
            }
            link.since = now;
            for (number, message) in link.sent.iter().take(LINK_RESEND_MAX) {
                host.tell(to, Letter::Message(*number, message.clone()));
            }
        }
        if self.links.list.iter().any(|link| !link.sent.is_empty()) {
            self.arm_links(host);
        }
    }

    fn arm_links(&mut self, host: &mut impl Host<Dialog>) {
        if !std::mem::replace(&mut self.links.is_armed, true) {
            host.arm(host.now() + LINK_PAUSE, Timer::Links);
        }
    }

    fn link(&mut self, host: &impl Host<Dialog>, other: ShardId) -> Option<&mut Link> {
        let count = usize::from(host.map().count());
        if self.links.list.len() < count {
            self.links.list.resize_with(count, Link::default);
        }
        self.links.list.get_mut(usize::from(other.0))
    }
}
