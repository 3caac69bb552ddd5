//! A shard's end of storage.
//!
//! For: giving rows away without ever waiting, and taking in what comes back.
//! Not here: what becomes of them (`thread.rs`).
//! Invariants: a row that finds no room and carries a ticket is answered here and at once; one
//! without is counted, and its module will be asked to say again what there is.

use super::load::Loaded;
use super::thread::Event;
use std::collections::{BTreeSet, VecDeque};
use strowger_sip::storage::{Note, Outcome, Place, Rows};

/// Rows of one parcel: with the places in the queue of the thread, a bound for what waits there.
const PARCEL_ROWS: usize = 64;

/// Rows that a shard has for storage.
#[derive(Debug)]
pub(super) struct Parcel<W> {
    pub(super) shard: usize,
    pub(super) rows: Vec<W>,
    /// Modules whose rows found no room before.
    pub(super) lost: Vec<Place>,
}

/// What became of the rows that a shard gave away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Rows dropped.
    pub dropped: u64,
    /// Rows that carried a ticket, refused.
    pub refused: u64,
}

/// One shard's end.
#[derive(Debug)]
pub struct Outlet<W> {
    way: Option<Way<W>>,
    refused: VecDeque<W>,
    lost: BTreeSet<Place>,
}

#[derive(Debug)]
struct Way<W> {
    shard: usize,
    thread: flume::Sender<Event<W>>,
    notes: flume::Receiver<W>,
    loading: Option<flume::Receiver<Loaded<W>>>,
}

impl<W: Rows> Outlet<W> {
    /// One that leads nowhere, for a node without storage: whoever waits is refused at once.
    pub fn nowhere() -> Outlet<W> {
        Outlet { way: None, refused: VecDeque::new(), lost: BTreeSet::new() }
    }

    pub(super) fn new(
        shard: usize,
        thread: flume::Sender<Event<W>>,
        notes: flume::Receiver<W>,
        loading: flume::Receiver<Loaded<W>>,
    ) -> Outlet<W> {
        let way = Way { shard, thread, notes, loading: Some(loading) };
        Outlet { way: Some(way), ..Outlet::nowhere() }
    }

    /// Gives rows away; none is left.
    pub fn give(&mut self, rows: &mut Vec<W>) -> Given {
        let mut given = Given::default();
        while !rows.is_empty() {
            let parcel = match rows.len() {
                few if few <= PARCEL_ROWS => std::mem::take(rows),
                _ => rows.drain(..PARCEL_ROWS).collect(),
            };
            self.send(parcel, &mut given);
        }
        given
    }

    fn send(&mut self, rows: Vec<W>, given: &mut Given) {
        let Some(way) = &self.way else { return self.refuse(rows, given) };
        let lost = self.lost.iter().copied().collect();
        let parcel = Parcel { shard: way.shard, rows, lost };
        match way.thread.try_send(Event::Parcel(parcel)) {
            Ok(()) => self.lost.clear(),
            Err(error) => {
                let (flume::TrySendError::Full(event) | flume::TrySendError::Disconnected(event)) =
                    error;
                if let Event::Parcel(parcel) = event {
                    self.refuse(parcel.rows, given);
                }
            }
        }
    }

    fn refuse(&mut self, rows: Vec<W>, given: &mut Given) {
        for row in rows {
            let Some((place, order)) = row.into_order() else { continue };
            let Some(ticket) = order.ticket else {
                given.dropped += 1;
                self.lost.insert(place);
                continue;
            };
            given.refused += 1;
            let note = W::from_note(place, Note::Settled(ticket, Outcome::Refused));
            self.refused.extend(note.ok().flatten());
        }
    }

    /// The next row from storage that has come.
    pub fn next_row(&mut self) -> Option<W> {
        let refused = self.refused.pop_front();
        refused.or_else(|| self.way.as_ref()?.notes.try_recv().ok())
    }

    /// What was stored before this start, for as long as there is more of it: waits, and so is for
    /// a shard that has not begun yet.
    pub fn next_loaded(&mut self) -> Option<Loaded<W>> {
        let way = self.way.as_mut()?;
        let loaded = way.loading.as_ref()?.recv().ok();
        if loaded.is_none() {
            way.loading = None;
        }
        loaded
    }
}
