//! What the shard loop does about rows each turn, and once before the first.
//!
//! For: rows of the engine out, rows from storage in, what was stored before this start first.
//! Not here: the queues (`outlet.rs`).
//! Invariants: but for the loading, when nobody is answered yet, nothing here waits.

use super::load::Loaded;
use super::outlet::Outlet;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::engine::ShardEngine;
use strowger_sip::actions::Actions;
use strowger_sip::engine::Input;
use strowger_sip::storage::Rows;
use strowger_sip::time::Instant;

/// Rows taken in one turn, so that the sockets get theirs. A guess.
const ROWS_PER_TURN: usize = 256;

/// Whether the next turn has something to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    No,
    Perhaps,
}

impl<W: Rows> Outlet<W> {
    /// Has the engine take in what was stored before this start, and waits for it; what it wants
    /// done is for the first turn.
    pub(crate) fn load<E: ShardEngine<Row = W>>(
        &mut self,
        clock: &Clock,
        engine: &mut E,
    ) -> Result<Actions<E::Peer, W>, String> {
        let mut out = Actions::default();
        while let Some(loaded) = self.next_loaded() {
            let rows = match loaded {
                Loaded::Rows(rows) => rows,
                Loaded::Failed(cause) => return Err(cause),
            };
            let now = clock.now();
            rows.into_iter().for_each(|row| engine.handle(now, Input::Row(row), &mut out));
            self.give(&mut out.rows);
        }
        while let Some(row) = self.next_list() {
            engine.handle(clock.now(), Input::Row(row), &mut out);
        }
        Ok(out)
    }

    /// Gives the engine what storage says.
    pub(crate) fn hear<E: ShardEngine<Row = W>>(
        &mut self,
        now: Instant,
        engine: &mut E,
        out: &mut Actions<E::Peer, W>,
        counters: &mut Counters,
    ) -> More {
        for _ in 0..ROWS_PER_TURN {
            let Some(row) = self.next_row() else { return More::No };
            counters.rows_received += 1;
            engine.handle(now, Input::Row(row), out);
        }
        More::Perhaps
    }

    /// Gives storage what the engine wants stored.
    pub(crate) fn give_all(&mut self, rows: &mut Vec<W>, counters: &mut Counters) -> More {
        let given = self.give(rows);
        counters.rows_dropped += given.dropped;
        counters.rows_refused += given.refused;
        // What was refused is heard in the next turn.
        if given.refused == 0 { More::No } else { More::Perhaps }
    }
}
