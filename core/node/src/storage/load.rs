//! Reading whole tables at start, batch by batch.
//!
//! For: handing every row to the shards before they answer anybody; rows that are of no use are
//! counted and reported.
//! Not here: whose a row is, whether it has expired (the modules).
//! Invariants: memory holds a few batches, however long the table.

use super::connection::{Connection, Failure};
use super::value::{Texts, Value, record};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use strowger_sip::date::UnixTime;
use strowger_sip::storage::{Datum, Note, Place, Reader, Record, RowCause, RowFault, Rows, Table};

/// Faults that are reported one by one; the others are counted.
const REPORTED_MAX: usize = 20;

/// What a shard gets while it starts.
#[derive(Clone, Debug)]
pub enum Loaded<W> {
    /// Some rows.
    Rows(Vec<W>),
    /// The table cannot be read: the node must not start.
    Failed(String),
}

/// How the loading went.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadReport {
    pub(super) rows: u64,
    pub(super) skipped: u64,
    /// What is wrong with the first of those that were skipped.
    pub(super) faults: Vec<String>,
}

impl LoadReport {
    pub(super) fn skip(&mut self, fault: &RowFault) {
        self.skipped += 1;
        if self.faults.len() < REPORTED_MAX {
            self.faults.push(fault.to_string());
        }
    }
}

/// Reads a table and gives its rows, as the module at `place` wants them, to every shard.
pub(super) async fn table<W: Rows>(
    connection: &mut Connection,
    (place, table): (Place, &'static Table),
    fetch_rows: u32,
    shards: &[flume::Sender<Loaded<W>>],
    report: &mut LoadReport,
) -> Result<(), Failure> {
    let sql: Arc<str> = connection.dialect().page(table, fetch_rows).into();
    let mut after = i64::MIN;
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let now = UnixTime::from_secs(now.as_secs());
    loop {
        let values = [Value::Integer(Some(after))];
        let page = connection.fetch(Arc::clone(&sql), &values).await?;
        let Some(last) = page.last().and_then(serial) else { return Ok(()) };
        let mut rows = Vec::with_capacity(page.len());
        let mut ended_rows = Vec::new();
        for mut texts in page {
            texts.remove(0);
            let mut ended = None;
            let row = record(table, texts).and_then(|record| {
                ended = end_of(table, &record, now);
                W::from_note(place, Note::Loaded(table, record))
            });
            match row {
                // Told all the same: whose it is may want to delete it.
                Ok(Some(row)) => match ended {
                    Some(fault) => {
                        report.skip(&fault);
                        ended_rows.push(row);
                    }
                    None => rows.push(row),
                },
                Ok(None) => {}
                Err(fault) => report.skip(&fault),
            }
        }
        report.rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        rows.extend(ended_rows);
        for shard in shards {
            // A shard that is gone shows elsewhere.
            let _ = shard.send_async(Loaded::Rows(rows.clone())).await;
        }
        after = last;
    }
}

/// That a row's time is over, if it is.
fn end_of(table: &'static Table, record: &Record, now: UnixTime) -> Option<RowFault> {
    let column = table.ends?;
    let Some(Datum::Date(end)) = record.get(table.place(column)?) else { return None };
    let is_over = *end > UnixTime::default() && *end <= now;
    let key = table.key.first().copied().unwrap_or_default();
    is_over.then(|| Reader::new(table, record, key).fault(column, RowCause::Ended))
}

fn serial(texts: &Texts) -> Option<i64> {
    std::str::from_utf8(texts.first()?.as_deref()?).ok()?.parse().ok()
}
