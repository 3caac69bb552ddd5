//! Transactions: RFC 3261 §17 as amended by RFC 6026 and RFC 4320.
//!
//! For: the four machines, one type each, and what they share: a step of a machine, how it ended.
//! Not here: matching messages to transactions, CANCEL, forking, timer C (`proxy/`), reading
//! messages (`message/`): a machine handles finished bytes and status codes only.
//! Invariants: a machine ends only by a [`Report`] whose fate says so; every buffer that it kept
//! goes back to the pool, at the latest with `recycle`; after `expire` its deadline lies ahead.

pub mod client_invite;
pub mod client_non_invite;
#[cfg(test)]
mod harness;
pub mod server_invite;
pub mod server_non_invite;
pub mod table;
pub mod timer;

pub use client_invite::{ClientInvite, Phase as ClientPhase, Received as ClientReceived};
pub use client_non_invite::{ClientNonInvite, Received as NonInviteReceived};
pub use server_invite::{Acknowledged, ServerInvite};
pub use server_non_invite::ServerNonInvite;
pub use table::{Full, Id, KeyedMap, Slab, TransactionKey};
pub use timer::{TimerFault, TimerSettings, Timers};

use crate::actions::Sends;
use crate::buffer::{Kept, Pool};
use crate::time::Instant;
use crate::transport::Flow;

/// What a machine may use during one call of it.
#[derive(Debug)]
pub struct Step<'a> {
    /// The time of the call.
    pub now: Instant,
    /// The timers' lengths; they may differ from one transaction to the next.
    pub timers: &'a Timers,
    /// Where messages to send go.
    pub out: &'a mut Sends,
    /// Where kept bytes come from and go back to.
    pub pool: &'a mut Pool,
}

impl Step<'_> {
    fn resend(&mut self, kept: &Kept) {
        self.out.send(kept.flow, &kept.bytes);
    }

    fn release(&mut self, kept: Kept) {
        self.pool.put(kept.bytes);
    }

    /// Sends what `write` appends, and keeps a copy for the retransmissions.
    fn send_and_keep(&mut self, flow: Flow, write: impl FnOnce(&mut Vec<u8>)) -> Kept {
        let before = self.out.len();
        self.out.send_with(flow, write);
        let written = if self.out.len() > before { self.out.last() } else { None };
        Kept { flow, bytes: self.pool.copy(written.unwrap_or_default()) }
    }
}

/// Whether the table keeps the transaction.
#[must_use = "a terminated transaction must leave its table"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The transaction goes on; its deadline may have moved.
    Alive,
    /// The transaction is over: recycle it and free its slot.
    Terminated,
}

/// Why a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered in time (timers B, F and H).
    Timeout,
    /// The transport could not send (§17.1.4, §17.2.4).
    Transport,
}

/// What became of a transaction: for the table, and, a separate fact, for the transaction user.
#[must_use = "the fate is for the table, the failure for the transaction user"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// For the table.
    pub fate: Fate,
    /// For the transaction user.
    pub failure: Option<Failure>,
}

impl Report {
    const ALIVE: Report = Report { fate: Fate::Alive, failure: None };
    const ENDED: Report = Report { fate: Fate::Terminated, failure: None };

    const fn failed(fate: Fate, failure: Failure) -> Report {
        Report { fate, failure: Some(failure) }
    }
}

/// What a server transaction did with a response of the transaction user.
#[must_use = "a refused response was not sent"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responded {
    /// It was sent.
    Sent,
    /// The state forbids it, for example a second final response; nothing was written.
    Refused,
}

/// The three kinds of response that the machines tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Provisional,
    Success,
    NonSuccess,
}

impl Class {
    const fn of(status: u16) -> Class {
        match status {
            0..200 => Class::Provisional,
            200..300 => Class::Success,
            300.. => Class::NonSuccess,
        }
    }
}

/// The earlier of a retransmission and the end of waiting.
fn earlier(resend: Option<timer::Backoff>, end: Instant) -> Instant {
    resend.map_or(end, |backoff| backoff.due().min(end))
}
