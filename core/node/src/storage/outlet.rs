//! A shard's end of storage.
//!
//! For: giving rows away without ever waiting, and taking in what comes back.
//! Not here: what becomes of them (`thread.rs`).
//! Invariants: rows leave in the order in which they came. A row that finds no room and carries a
//! ticket is answered here and at once; one without is counted, and its module will be asked to say
//! again what there is.

use super::load::Loaded;
use super::thread::Event;
use crate::lists::Shelf;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use strowger_sip::storage::{Note, Outcome, Place, Rows};

/// Rows of one parcel: with the places in the queue of the thread, a bound for what waits there.
const PARCEL_ROWS: usize = 64;
/// Rows that wait here while that queue is full, which takes a thread that got no time for a while.
/// A guess: what a shard gives in a second.
const BACKLOG_ROWS: usize = 16_384;
/// What a shard that ends gives the thread for each parcel that is left.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(1);

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
    backlog: VecDeque<W>,
    refused: VecDeque<W>,
    lost: BTreeSet<Place>,
    // What is no row of storage but a list of files and tables.
    lists: Option<Shelf<W>>,
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
        Outlet::leading(None)
    }

    pub(super) fn new(
        shard: usize,
        thread: flume::Sender<Event<W>>,
        notes: flume::Receiver<W>,
        loading: flume::Receiver<Loaded<W>>,
    ) -> Outlet<W> {
        Outlet::leading(Some(Way { shard, thread, notes, loading: Some(loading) }))
    }

    fn leading(way: Option<Way<W>>) -> Outlet<W> {
        let (backlog, refused) = (VecDeque::new(), VecDeque::new());
        Outlet { way, backlog, refused, lost: BTreeSet::new(), lists: None }
    }

    /// Has lists come and be asked for this way too.
    pub(crate) fn with_lists(mut self, shelf: Shelf<W>) -> Outlet<W> {
        self.lists = Some(shelf);
        self
    }

    /// The next list that has come.
    pub(super) fn next_list(&mut self) -> Option<W> {
        self.lists.as_mut()?.next_row()
    }

    /// Gives rows away; none is left.
    pub fn give(&mut self, rows: &mut Vec<W>) -> Given {
        let mut given = Given::default();
        if let Some(lists) = self.lists.as_ref().filter(|_| !rows.is_empty()) {
            lists.ask(rows);
        }
        if self.way.is_none() {
            rows.drain(..).for_each(|row| self.refuse(row, &mut given));
            return given;
        }
        self.backlog.extend(rows.drain(..));
        while let Some(parcel) = self.next_parcel() {
            let Some(way) = &self.way else { break };
            let Err(error) = way.thread.try_send(Event::Parcel(parcel)) else {
                self.lost.clear();
                continue;
            };
            let (flume::TrySendError::Full(event) | flume::TrySendError::Disconnected(event)) =
                error;
            if let Event::Parcel(parcel) = event {
                parcel.rows.into_iter().rev().for_each(|row| self.backlog.push_front(row));
            }
            break;
        }
        while self.backlog.len() > BACKLOG_ROWS {
            // The newest: what is older may be waited for longer already.
            if let Some(row) = self.backlog.pop_back() {
                self.refuse(row, &mut given);
            }
        }
        given
    }

    fn refuse(&mut self, row: W, given: &mut Given) {
        let Some((place, order)) = row.into_order() else { return };
        let Some(ticket) = order.ticket else {
            given.dropped += 1;
            self.lost.insert(place);
            return;
        };
        given.refused += 1;
        let note = W::from_note(place, Note::Settled(ticket, Outcome::Refused));
        self.refused.extend(note.ok().flatten());
    }

    /// The next row from storage that has come.
    pub fn next_row(&mut self) -> Option<W> {
        let refused = self.refused.pop_front();
        let note = refused.or_else(|| self.way.as_ref()?.notes.try_recv().ok());
        note.or_else(|| self.next_list())
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

impl<W> Outlet<W> {
    fn next_parcel(&mut self) -> Option<Parcel<W>> {
        let shard = self.way.as_ref()?.shard;
        let rows: Vec<W> = self.backlog.drain(..self.backlog.len().min(PARCEL_ROWS)).collect();
        let lost = self.lost.iter().copied().collect();
        (!rows.is_empty()).then_some(Parcel { shard, rows, lost })
    }
}

impl<W> Drop for Outlet<W> {
    /// The shard has ended: nobody is kept waiting any more.
    fn drop(&mut self) {
        while let Some(parcel) = self.next_parcel() {
            let Some(way) = &self.way else { return };
            if way.thread.send_timeout(Event::Parcel(parcel), LAST_WORD_WITHIN).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Row, promised, put};
    use super::*;
    use strowger_sip::storage::Ticket;

    fn rows(orders: std::ops::Range<u64>) -> Vec<Row> {
        let row = |n: u64| match n.is_multiple_of(2) {
            true => Row::To(promised(put(&n.to_string(), 1, n), n)),
            false => Row::To(put(&n.to_string(), 1, n)),
        };
        orders.map(row).collect()
    }

    fn versions(events: impl Iterator<Item = Event<Row>>) -> Vec<u64> {
        let rows = events.flat_map(|event| {
            if let Event::Parcel(parcel) = event { parcel.rows } else { Vec::new() }
        });
        rows.filter_map(|row| Some(row.into_order()?.1.version.0)).collect()
    }

    #[test]
    fn while_the_thread_gets_no_time_rows_wait_and_then_the_newest_are_refused() {
        let (events, thread) = flume::bounded(2);
        let (_notes, outlet_notes) = flume::bounded(1);
        let (_loaded, loading) = flume::bounded(1);
        let mut outlet = Outlet::new(0, events, outlet_notes, loading);
        let room = 2 * PARCEL_ROWS + BACKLOG_ROWS;
        let room = u64::try_from(room).expect("small");
        assert_eq!(outlet.give(&mut rows(0..room)), Given::default());
        let given = outlet.give(&mut rows(room..room + 2));
        assert_eq!(given, Given { dropped: 1, refused: 1 });
        let refused = outlet.next_row();
        let Some(Row::From(Note::Settled(Ticket(ticket), Outcome::Refused))) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(ticket, room);
        // When it has time again it gets everything else, in order, also from a shard that ends.
        let mut seen = versions(thread.drain());
        assert_eq!(outlet.give(&mut Vec::new()), Given::default());
        let end = std::thread::spawn(move || drop(outlet));
        seen.extend(versions(thread.into_iter()));
        end.join().expect("ended");
        assert_eq!(seen, (0..room).collect::<Vec<_>>());
    }

    #[test]
    fn without_storage_whoever_waits_is_refused_at_once() {
        let mut outlet = Outlet::nowhere();
        let mut rows = rows(3..5);
        let given = outlet.give(&mut rows);
        assert_eq!((given, rows.len()), (Given { dropped: 1, refused: 1 }, 0));
        let note = outlet.next_row();
        let Some(Row::From(Note::Settled(Ticket(4), Outcome::Refused))) = note else {
            panic!("{note:?}")
        };
        assert!(outlet.next_row().is_none() && outlet.next_loaded().is_none());
    }
}
