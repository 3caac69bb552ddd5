//! Lists from files and tables: read before the first shard answers, and again while it runs.
//!
//! For: `dispatcher.reload` and its kin on every shard, SIGHUP.
//! Not here: what a list means (the modules, through [`strowger_sip::lists`]), reading a table
//! (`storage/whole.rs`).
//! Invariants: a list that has a fault is not used: every shard gets the new one, or every shard
//! keeps the old one. Nobody waits for the thread that reads.

use crate::log::{complain, say};
use crate::storage::{Ring, StorageSettings, Whole, existing, read_whole};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use strowger_sip::lists::{FileText, List, ListFault, ListFile, ListId, Listing};
use strowger_sip::settings;
use strowger_sip::storage::{Place, Rows, Table};

/// Orders that wait for the thread; what finds no room is covered by those that wait.
const ORDERS_MAX: usize = 64;
/// New lists on their way to a shard. The thread waits for a shard that is behind.
const BATCHES_MAX: usize = 4;
/// How long the thread gathers orders before it reads: a command given to all shards is one reload.
const GATHER_FOR: Duration = Duration::from_millis(50);
/// Longest file of a list. A guess, far above any in use.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Faults that are reported one by one.
const REPORTED_MAX: usize = 50;

/// The lists of a node and where they come from.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    source: String,
    folder: PathBuf,
    lists: Vec<(Place, List)>,
}

/// What is wrong with lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFaults(Vec<ListFault>);

impl fmt::Display for ListFaults {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().take(REPORTED_MAX).enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{fault}")?;
        }
        match self.0.len().checked_sub(REPORTED_MAX) {
            Some(more @ 1..) => write!(f, "\nand {more} more"),
            Some(_) | None => Ok(()),
        }
    }
}

impl std::error::Error for ListFaults {}

impl Lists {
    /// The lists that modules want read. Paths that are not absolute count from the folder of the
    /// configuration file.
    pub fn new(lists: Vec<(Place, List)>, source: &str, file: Option<&Path>) -> Lists {
        let folder = file.and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
        Lists { source: source.to_owned(), folder, lists }
    }

    /// Reads the files alone, for an answer before anything is bound.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check_files<W: Rows>(&self) -> Result<(), ListFaults> {
        self.read::<W>(None, |_| true).map(|_| ())
    }

    /// Leaves those tables alone that the database has not: their lists have other sources.
    fn without_missing(mut self, storage: Option<&StorageSettings>) -> Result<Lists, ListFaults> {
        let tables: Vec<_> = self.lists.iter().filter_map(|(_, list)| list.table).collect();
        let Some(settings) = storage.filter(|_| !tables.is_empty()) else { return Ok(self) };
        let there = existing(settings, &tables)
            .map_err(|error| ListFaults(vec![ListFault::with("lists", error.to_string())]))?;
        for (_, list) in &mut self.lists {
            let missing = list.table.filter(|table| !there.contains(&table.name));
            if let Some(Table { name, .. }) = missing {
                list.table = None;
                say(&format!("note: there is no table {name}; `strowger db create` makes it"));
            }
        }
        Ok(self)
    }

    /// Reads the lists that are wanted, each whole.
    fn read<W: Rows>(
        &self,
        storage: Option<&StorageSettings>,
        is_wanted: impl Fn(ListId) -> bool,
    ) -> Result<News<W>, ListFaults> {
        let (mut news, mut faults) = (News { rows: Vec::new(), said: Vec::new() }, Vec::new());
        for (place, list) in &self.lists {
            let id = ListId { place: *place, number: list.number };
            let has_table = storage.is_some() && list.table.is_some();
            if !is_wanted(id) || (list.files.is_empty() && !has_table) {
                continue;
            }
            let before = faults.len();
            let listing = self.listing(list, storage, &mut faults);
            match W::from_list(*place, &listing) {
                Ok(row) => news.rows.extend(row),
                // A text that could not be read has been complained about.
                Err(more) => faults.extend(more),
            }
            if faults.len() == before {
                let texts = listing.files.iter().map(|file| file.name.clone());
                let tables = list.table.filter(|_| has_table);
                let rows = listing.records.len();
                let tables = tables.map(|table| format!("table {} ({rows} rows)", table.name));
                let sources: Vec<String> = texts.chain(tables).collect();
                news.said.push(format!("{} from {}", list.name, sources.join(", ")));
            }
        }
        if faults.is_empty() { Ok(news) } else { Err(ListFaults(faults)) }
    }

    fn listing(
        &self,
        list: &List,
        storage: Option<&StorageSettings>,
        faults: &mut Vec<ListFault>,
    ) -> Listing {
        let mut listing = Listing { number: list.number, ..Listing::default() };
        for file in &list.files {
            match self.text(file) {
                Ok(text) => listing.files.push(text),
                Err(fault) => faults.push(fault),
            }
        }
        if let (Some(settings), Some(table)) = (storage, list.table) {
            match read_whole(settings, table, list.rows_max) {
                Ok(Whole { more: true, .. }) => {
                    let what = format!("more than {} rows", list.rows_max);
                    faults.push(ListFault::with(format!("table {}", table.name), what));
                }
                Ok(whole) => {
                    faults.extend(whole.faults.into_iter().map(ListFault::from));
                    listing.records = whole.records;
                }
                Err(error) => {
                    let table = format!("table {}", table.name);
                    faults.push(ListFault::with(table, error.to_string()));
                }
            }
        }
        listing
    }

    fn text(&self, file: &ListFile) -> Result<FileText, ListFault> {
        let path = self.folder.join(&file.path.value);
        let name = path.display().to_string();
        let text = read_text(&path).map_err(|cause| {
            let place = match file.path.place {
                settings::Place::Line(line) => format!("{}:{line}", self.source),
                settings::Place::Source | settings::Place::Argument(_) => self.source.clone(),
            };
            ListFault::with(place, format!("{}: {name} cannot be read: {cause}", file.key))
        })?;
        Ok(FileText { role: file.role.clone(), name, text })
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    // What is no UTF-8 is no URI and no address either: its line says so.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lists that are good.
#[derive(Debug)]
struct News<W> {
    rows: Vec<W>,
    said: Vec<String>,
}

/// What is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    All,
    One(ListId),
}

/// The thread that reads, as control keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    orders: SyncSender<Order>,
}

impl Reader {
    /// Has every list read again.
    pub(crate) fn reload(&self) {
        // Full of orders that wait, it reads anyway.
        let _ = self.orders.try_send(Order::All);
    }
}

/// A shard's end.
#[derive(Debug)]
pub(crate) struct Shelf<W> {
    orders: SyncSender<Order>,
    news: Receiver<Vec<W>>,
    taken: std::vec::IntoIter<W>,
}

impl<W: Rows> Shelf<W> {
    /// Passes on that a list is wanted again; rows of another kind are left alone.
    pub(crate) fn ask(&self, rows: &mut Vec<W>) {
        rows.retain(|row| {
            let Some(list) = row.wants() else { return true };
            match self.orders.try_send(Order::One(list)) {
                Ok(()) => {}
                // So many wait that this one may be among them; the operator can ask again.
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
            false
        });
    }

    /// The next list that has come.
    pub(crate) fn next_row(&mut self) -> Option<W> {
        if let Some(row) = self.taken.next() {
            return Some(row);
        }
        self.taken = self.news.try_recv().ok()?.into_iter();
        self.taken.next()
    }
}

/// Reads every list, and starts the thread that reads them again; a shelf for each ring, with the
/// lists on it.
pub(crate) fn start<W: Rows>(
    lists: Lists,
    storage: Option<StorageSettings>,
    rings: Vec<Ring>,
) -> Result<(Reader, Vec<Shelf<W>>), ListFaults> {
    let lists = lists.without_missing(storage.as_ref())?;
    let news = lists.read::<W>(storage.as_ref(), |_| true)?;
    news.said.iter().for_each(|line| say(&format!("lists: {line}")));
    let (orders, inbox) = sync_channel(ORDERS_MAX);
    let (mut shelves, mut shards) = (Vec::new(), Vec::new());
    for ring in rings {
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        // It has room for the first one, and the shard is there to be.
        let _ = sender.try_send(news.rows.clone());
        let taken = Vec::new().into_iter();
        shelves.push(Shelf { orders: orders.clone(), news: receiver, taken });
        shards.push((sender, ring));
    }
    let thread = std::thread::Builder::new().name("lists".to_owned());
    let read_again = move || serve(&lists, storage.as_ref(), &inbox, &shards);
    if let Err(cause) = thread.spawn(read_again) {
        let what = format!("cannot start the thread that reads lists: {cause}");
        return Err(ListFaults(vec![ListFault::with("lists", what)]));
    }
    Ok((Reader { orders }, shelves))
}

/// Reads lists again as it is told to, until nobody is left to tell it.
fn serve<W: Rows>(
    lists: &Lists,
    storage: Option<&StorageSettings>,
    inbox: &Receiver<Order>,
    shards: &[(SyncSender<Vec<W>>, Ring)],
) {
    while let Ok(first) = inbox.recv() {
        std::thread::sleep(GATHER_FOR);
        let orders: Vec<Order> = std::iter::once(first).chain(inbox.try_iter()).collect();
        let is_wanted =
            |id| orders.iter().any(|order| [Order::All, Order::One(id)].contains(order));
        match lists.read::<W>(storage, is_wanted) {
            Ok(news) if news.said.is_empty() => say("lists: none comes from a file or a table"),
            Ok(news) => {
                for (shard, ring) in shards {
                    // A shard that has ended needs no list.
                    if shard.send(news.rows.clone()).is_ok() {
                        ring();
                    }
                }
                news.said.iter().for_each(|line| say(&format!("lists: reloaded: {line}")));
            }
            Err(faults) => {
                for line in faults.to_string().lines() {
                    complain(&format!("lists: {line}"));
                }
                complain("lists: not reloaded, the old ones stay in force");
            }
        }
    }
}

#[cfg(test)]
mod tests;
