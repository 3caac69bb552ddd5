//! TCP: connections that carry SIP messages, one table of them per shard.
//!
//! For: a small interface to the shard loop, [`Streams`]: whole messages come out, messages go in.
//! Here: sockets to listen on (`listen.rs`), accepting (`accept.rs`), opening, sending and losing
//! (`outgoing.rs`), one connection (`connection.rs`) with what comes in (`inbox.rs`) and goes out
//! (`outbox.rs`), `[tcp]` (`settings.rs`).
//! Not here: what messages mean, which shard they belong to (`shard.rs`).
//! Invariants: nothing waits: every call takes what is there. Every table, queue and connection is
//! bounded in number, bytes and time.
//!
//! Sockets are watched by epoll (through mio) and not by glommio's ring: a shard blocks in one
//! plain system call for all its sockets (`Shard::nap`), which glommio 0.9 cannot do for it, and an
//! idle connection costs neither a task nor a buffer.

mod accept;
mod connection;
mod inbox;
pub(crate) mod listen;
mod outbox;
mod outgoing;
pub(crate) mod settings;
mod streams;

pub(crate) use connection::Arrival;
pub(crate) use inbox::Taken;
pub(crate) use outbox::Sender;
pub use settings::StreamSettings;
pub use streams::StreamCounters;
pub(crate) use streams::Streams;

use strowger_sip::shard::ShardId;
use strowger_sip::transaction::Id;
use strowger_sip::transport::ConnectionId;

/// Marks ids of connections within their shard.
#[derive(Debug)]
pub(super) enum Mark {}

/// A connection of one shard.
type Place = Id<Mark>;

/// Bits of a connection's number for its slot; the generation has 32, the rest is the shard's.
const SLOT_BITS: u32 = 22;
/// Connections that one shard can name.
const SLOTS_MAX: usize = 1 << SLOT_BITS;

/// Names a connection to the whole node: shard, slot, generation.
fn name(shard: ShardId, place: Place) -> ConnectionId {
    let (slot, generation) = (place.as_u64() & u64::from(u32::MAX), place.as_u64() >> 32);
    ConnectionId(u64::from(shard.0) << (32 + SLOT_BITS) | slot << 32 | generation)
}

/// The shard that owns a connection.
pub(crate) fn owner(connection: ConnectionId) -> ShardId {
    ShardId(u16::try_from(connection.0 >> (32 + SLOT_BITS)).unwrap_or(u16::MAX))
}

/// Where its shard keeps it.
fn place(connection: ConnectionId) -> Place {
    let slot = connection.0 >> 32 & ((1 << SLOT_BITS) - 1);
    Id::from_u64(connection.0 << 32 | slot)
}

#[cfg(test)]
mod tests;
