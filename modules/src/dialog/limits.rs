//! Bounds of the dialog module.
//!
//! For: one place for every limit, each with where its number comes from.

use strowger_sip::time::{Duration, ms, secs};

/// All texts of one dialog, in bytes. A guess: several times what carriers send; fits 16 bits.
pub(super) const TEXTS_BYTES_MAX: usize = 16_384;
/// Variables of one dialog: Strowger's specification, h.2 (18).
pub(super) const VARIABLES_MAX: usize = 64;
/// One variable's or membership's value, in bytes: likewise.
pub(super) const VALUE_BYTES_MAX: usize = 4096;
/// Memberships of one dialog: likewise.
pub(super) const MEMBERSHIPS_MAX: usize = 32;
/// Early dialogs of one call beside the first. A guess: a fork of 8 is a large one.
pub(super) const EARLY_LEGS_MAX: usize = 8;
/// Profiles of a node. A guess.
pub(super) const PROFILES_MAX: usize = 256;
/// Values of all profiles that one shard counts. A guess: as many as there may be dialogs.
pub(super) const VALUES_MAX: usize = 1 << 20;
/// Calls that this node sets up between two others at the same time. A guess.
pub(super) const BRIDGES_MAX: usize = 1024;
/// Bridges that are over and of which one can still ask. A guess.
pub(super) const BRIDGES_REMEMBERED_MAX: usize = 256;
/// How long a party may take with what ends its call, the timeout of a transaction and some more.
pub(super) const BRIDGE_LEAVE: Duration = secs(40);
/// Free memory that a shard retains, in pieces, and the size of one, in bytes. Guesses: the dialogs
/// that end within a second, of usual length.
pub(super) const RETAINED_MAX: usize = 65_536;
pub(super) const RETAINED_BYTES_MAX: usize = 2048;
/// Dialogs of one page of a listing: what a shard writes in well under a millisecond.
pub(super) const PAGE_MAX: usize = 100;
/// Slots that one command walks through at most.
pub(super) const WALK_MAX: usize = 20_000;
/// Dialogs that one turn of a timer writes to storage.
pub(super) const FLUSH_MAX: usize = 500;
/// Slots of storage that one such turn asks for.
pub(super) const TAKE_MAX: usize = 16;
/// Answers that wait for storage. A guess: seconds of a busy shard.
pub(super) const PROMISES_MAX: usize = 32_768;
/// How long storage may take with an answer's rows: longer than its own `timeout`, so that it says
/// no by itself; this is for a storage that died.
pub(super) const STORAGE_PATIENCE: Duration = secs(4);
/// How long new calls are refused after storage has said no. A guess: soon enough that calls come
/// back with the database, seldom enough that few are answered in vain.
pub(super) const STORAGE_PAUSE: Duration = secs(2);
/// How long until the next such turn.
pub(super) const FLUSH_PAUSE: Duration = ms(20);
/// The end of life of a dialog whose party is gone (keep-alive, no ACK): Kamailio's.
pub(super) const LAST_MOMENTS: Duration = secs(10);
/// How long a challenged BYE may take to come again: the specification, h.2 (6).
pub(super) const CHALLENGED_BYE: Duration = secs(10);
/// How often, and how soon, the next hop of a local request is looked up again.
pub(super) const REACH_ATTEMPTS: u8 = 10;
pub(super) const REACH_PAUSE: Duration = ms(500);
/// How long a shard waits before it says what has come, and before it says again what has not been
/// heard of. Guesses: long beside a lane's delay, short beside a routing's patience.
pub(super) const LINK_PAUSE: Duration = ms(300);
pub(super) const LINK_RESEND_AFTER: Duration = ms(900);
/// Messages that one turn sends again.
pub(super) const LINK_RESEND_MAX: usize = 1000;
/// Messages that wait for one shard to be heard of. A guess: seconds of a busy shard.
pub(super) const LINK_WAITING_MAX: usize = 1 << 17;
/// How long a routing waits for a profile's owner. A guess: a shard that is alive answers in less.
pub(super) const PATIENCE: Duration = secs(3);
/// CSeq numbers are below this (RFC 3261 §8.1.1.5).
pub(super) const CSEQ_LIMIT: u32 = 1 << 31;
