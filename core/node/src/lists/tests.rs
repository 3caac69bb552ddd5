//! Tests of reading lists: from the folder of the configuration, again, and not with a fault.

use super::*;
use crate::storage::testing::Folder;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;
use strowger_sip::settings::Text;
use strowger_sip::storage::{Note, Order as StorageOrder, RowFault, Table};

const PATIENCE: Duration = Duration::from_secs(20);

/// A list of numbers, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    Wanted,
    Numbers(Vec<u32>),
}

impl Rows for Row {
    fn tables(_: Place, _: &mut dyn FnMut(Place, &'static Table)) {}
    fn into_order(self) -> Option<(Place, StorageOrder)> {
        None
    }
    fn from_note(_: Place, _: Note) -> Result<Option<Row>, RowFault> {
        Ok(None)
    }
    fn wants(&self) -> Option<ListId> {
        match self {
            Row::Wanted => Some(ListId { place: 0, number: 0 }),
            Row::Numbers(_) => None,
        }
    }
    fn from_list(_: Place, listing: &Listing) -> Result<Option<Row>, Vec<ListFault>> {
        let (mut numbers, mut faults) = (Vec::new(), Vec::new());
        for file in &listing.files {
            for (number, line) in (1..).zip(file.text.lines()) {
                match line.parse() {
                    Ok(value) => numbers.push(value),
                    Err(_) => faults.push(ListFault::in_line(file, number, "no number")),
                }
            }
        }
        if faults.is_empty() { Ok(Some(Row::Numbers(numbers))) } else { Err(faults) }
    }
}

fn lists(folder: &Folder) -> Lists {
    let path = Text { place: settings::Place::Line(7), value: "numbers".to_owned() };
    let files = vec![ListFile { role: String::new(), key: "m.file".to_owned(), path }];
    let list = List { number: 0, name: "numbers", files, table: None, rows_max: 0 };
    Lists::new(vec![(0, list)], "t.toml", Some(&folder.path().join("t.toml")))
}

/// Replaces the file at once: whoever reads finds the old text or the new one.
fn write(folder: &Folder, text: &str) {
    let (new, path) = (folder.path().join("new"), folder.path().join("numbers"));
    fs::write(&new, text).and_then(|()| fs::rename(new, path)).expect("written");
}

fn next(shelf: &mut Shelf<Row>) -> Row {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(row) = shelf.next_row() {
            return row;
        }
        assert!(Instant::now() < until, "no list came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_shard_gets_the_list_at_start_and_again_when_one_wants_it() {
    let folder = Folder::new();
    write(&folder, "1\n2\n");
    let (ring, rung) = mpsc::channel();
    let rings = (0..2).map(|shard| {
        let ring = ring.clone();
        Arc::new(move || ring.send(shard).unwrap_or_default()) as Ring
    });
    let (reader, mut shelves) = start::<Row>(lists(&folder), None, rings.collect()).expect("good");
    for shelf in &mut shelves {
        assert_eq!(next(shelf), Row::Numbers(vec![1, 2]));
    }
    write(&folder, "3\n");
    let mut rows = vec![Row::Numbers(vec![]), Row::Wanted];
    shelves[1].ask(&mut rows);
    assert_eq!(rows, [Row::Numbers(vec![])]);
    for shelf in &mut shelves {
        assert_eq!(next(shelf), Row::Numbers(vec![3]));
    }
    assert_eq!(rung.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(rung.recv_timeout(PATIENCE), Ok(1));
    // With a fault nobody gets anything; the next good one is the next to come.
    write(&folder, "4\nx\n");
    reader.reload();
    std::thread::sleep(4 * GATHER_FOR);
    write(&folder, "5\n");
    reader.reload();
    assert_eq!(next(&mut shelves[0]), Row::Numbers(vec![5]));
}

#[test]
fn faults_name_the_line_or_the_key() {
    let folder = Folder::new();
    let missing = lists(&folder).check_files::<Row>().expect_err("no file").to_string();
    assert!(missing.starts_with("t.toml:7: m.file: "), "{missing}");
    assert!(missing.contains("numbers cannot be read: No such file"), "{missing}");
    write(&folder, "1\nx\n\n");
    let faults = lists(&folder).check_files::<Row>().expect_err("faults").to_string();
    let lines: Vec<&str> = faults.lines().collect();
    assert_eq!(lines.len(), 2, "{faults}");
    assert!(lines[0].ends_with("/numbers:2: no number"), "{faults}");
}
