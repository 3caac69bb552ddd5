//! What the location's instances on different shards tell each other.
//!
//! For: one question and one answer per operation on an address that is at home elsewhere.
//! Invariants: both are owned values; an answer names the question by the asker's own id.

use super::aor::Aor;
use super::change::{Change, Refusal};
use super::contact::Contact;
use crate::ask::AskId;
use strowger_sip::shard::ShardId;
use strowger_sip::transport::ConnectionId;

/// A message between shards.
#[derive(Clone, Debug)]
pub enum Peer {
    /// To the owner of an address.
    Ask {
        /// The asker's id.
        ask: AskId,
        /// What is to be done.
        operation: Box<Operation>,
    },
    /// To everybody: this connection has ended.
    Lost(ConnectionId),
    /// From shard to shard: no contact before is reached over this connection any more. Where it
    /// began, it is ended.
    Unused {
        /// Which.
        connection: ConnectionId,
        /// Where it began.
        first: ShardId,
    },
    /// Back to the asker.
    Answer {
        /// Its id.
        ask: AskId,
        /// What was done.
        answer: Answer,
    },
}

/// An operation on one address.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Which contacts are there?
    Find {
        /// Of which address.
        aor: Aor,
        /// Also those whose time is over, while they are kept (`use_expired_contacts`).
        expired_too: bool,
    },
    /// Change them.
    Change(Change),
}

impl Operation {
    /// The address.
    pub fn aor(&self) -> &Aor {
        match self {
            Operation::Find { aor, .. } => aor,
            Operation::Change(change) => &change.aor,
        }
    }
}

/// What an operation led to.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The contacts, best first.
    Found(Vec<Contact>),
    /// The change was made.
    Changed(Done),
    /// It was not made.
    Refused(Refusal),
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Done {
    /// How many contacts were added.
    pub added: usize,
    /// How many were updated.
    pub updated: usize,
    /// How many were removed.
    pub removed: usize,
    /// All contacts of the address afterwards, best first.
    pub bindings: Vec<Contact>,
}
