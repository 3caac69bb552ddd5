//! What happened in a run, kept for the day on which it fails.
//!
//! For: showing the last events of one call, one a line.
//! Not here: judging them (`judge.rs`).

use crate::mail::Mail;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use strowger_sip::shard::ShardId;
use strowger_sip::time::Instant;

/// How many events of the failing call are shown.
const SHOWN_MAX: usize = 60;

/// What happened to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It went on its way and arrives at so many moments; none when it is lost.
    Sent { copies: usize },
    /// It reached a party.
    Arrived,
    /// It reached the node's socket of this shard.
    Received(ShardId),
    /// A shard, its home, took it.
    Handled(ShardId),
}

/// One event.
#[derive(Debug)]
struct Event {
    at: Instant,
    from: SocketAddr,
    to: SocketAddr,
    fate: Fate,
    mail: Rc<Mail>,
}

/// The events of a run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    events: Vec<Event>,
}

impl Trace {
    /// Adds one.
    pub(crate) fn add(
        &mut self,
        at: Instant,
        (from, to): (SocketAddr, SocketAddr),
        fate: Fate,
        mail: &Rc<Mail>,
    ) {
        self.events.push(Event { at, from, to, fate, mail: Rc::clone(mail) });
    }

    /// The call of the message that the node took last; empty when a timer has fired since.
    pub(crate) fn last_call(&self) -> String {
        let handled = |event: &&Event| matches!(event.fate, Fate::Handled(_));
        let last = self.events.last().filter(handled);
        last.map_or(String::new(), |event| event.mail.call_id().to_owned())
    }

    /// The last events of a call; of all calls where none is named.
    pub(crate) fn of_call(&self, call_id: &str) -> String {
        let wanted = |event: &&Event| call_id.is_empty() || event.mail.call_id() == call_id;
        let events: Vec<_> = self.events.iter().filter(wanted).collect();
        let mut text = String::new();
        for event in events.iter().skip(events.len().saturating_sub(SHOWN_MAX)) {
            let fate = match event.fate {
                Fate::Sent { copies: 0 } => "lost".to_owned(),
                Fate::Sent { copies: 1 } => "sent".to_owned(),
                Fate::Sent { copies } => format!("sent {copies}x"),
                Fate::Arrived => "arrives".to_owned(),
                Fate::Received(shard) => format!("at {}", shard.0),
                Fate::Handled(shard) => format!("in {}", shard.0),
            };
            let (from, to) = (event.from.ip().to_string(), event.to.ip().to_string());
            let at = format!("{:?}", event.at);
            let _ = writeln!(text, "{at:>14} {fate:8} {from:>12} > {to:12} {}", event.mail);
        }
        if let Some(event) = events.last() {
            let _ = writeln!(text, "the last message:\n{}", event.mail.bytes.escape_ascii());
        }
        text
    }
}
