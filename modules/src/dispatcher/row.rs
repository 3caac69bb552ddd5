//! Table `dispatcher`, version 4, and the list file: destinations from outside the configuration.
//!
//! For: turning what the edge has read into destinations, all of them or none.
//! Not here: reading files and databases (the edge), a line of the file (`list.rs`).
//! Invariants: nothing writes the table. A list with a fault yields every fault and no list.

use super::destination::{Attributes, Destination, DestinationId, State};
use super::list::{DESTINATIONS_MAX, parse_list};
use strowger_sip::lists::{FileText, List, ListFault, ListFile, ListId, Listing};
use strowger_sip::settings::Section;
use strowger_sip::storage::{
    Column, Kind, Note, Order, Place, Reader, Record, RowFault, Rows, Table,
};

/// Table `dispatcher`, version 4.
pub static DISPATCHER: Table = Table {
    name: "dispatcher",
    version: 4,
    columns: &[
        column("setid", Kind::Integer, "0"),
        column("destination", Kind::Text(192), ""),
        column("flags", Kind::Integer, "0"),
        column("priority", Kind::Integer, "0"),
        column("attrs", Kind::Text(128), ""),
        column("description", Kind::Text(64), ""),
    ],
    key: &[],
    indexes: &[],
    ends: None,
    loaded_at_start: false,
};

const fn column(name: &'static str, kind: Kind, default: &'static str) -> Column {
    Column { name, kind, nullable: false, default }
}

/// The module's only list.
const LIST: u8 = 0;

/// What storage, or whoever reads files again, tells the module, and what it asks.
#[derive(Clone, Debug)]
pub enum Row {
    /// To the edge: the destinations are wanted again, on every shard.
    Wanted,
    /// From the edge: all destinations of file and table.
    Destinations(Vec<Destination>),
}

/// What `[dispatcher]` wants read: `list_file`, and the table where there is storage.
pub(super) fn lists(section: &mut Section<'_>) -> Vec<List> {
    let file = ListFile::of(section, "dispatcher", "list_file", "");
    let rows_max = u32::try_from(DESTINATIONS_MAX).unwrap_or(u32::MAX);
    let files = file.into_iter().collect();
    vec![List { number: LIST, name: "dispatcher", files, table: Some(&DISPATCHER), rows_max }]
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        visit(first, &DISPATCHER);
    }
    fn into_order(self) -> Option<(Place, Order)> {
        None
    }
    fn from_note(_: Place, _: Note) -> Result<Option<Self>, RowFault> {
        Ok(None)
    }
    fn wants(&self) -> Option<ListId> {
        match self {
            Row::Wanted => Some(ListId { place: 0, number: LIST }),
            Row::Destinations(_) => None,
        }
    }
    fn from_list(_: Place, listing: &Listing) -> Result<Option<Self>, Vec<ListFault>> {
        let (mut list, mut faults) = (Vec::new(), Vec::new());
        for file in &listing.files {
            from_file(file, &mut list, &mut faults);
        }
        for record in &listing.records {
            match read(record) {
                Ok(destination) => list.push((destination, None)),
                Err(fault) => faults.push(fault),
            }
        }
        faults.extend(twice(&list));
        if list.len() > DESTINATIONS_MAX {
            let what = format!("more than {DESTINATIONS_MAX} destinations");
            faults.push(ListFault::with("dispatcher", what));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Some(Row::Destinations(list.into_iter().map(|(destination, _)| destination).collect())))
    }
}

/// Where a destination was listed; `None` for the table.
type Line<'f> = Option<(&'f FileText, usize)>;

fn from_file<'f>(
    file: &'f FileText,
    list: &mut Vec<(Destination, Line<'f>)>,
    faults: &mut Vec<ListFault>,
) {
    match parse_list(&file.text) {
        Ok(lines) => {
            list.extend(lines.into_iter().map(|(line, row)| (row, Some((file, line)))));
        }
        Err(problems) => faults
            .extend(problems.into_iter().map(|(line, what)| ListFault::in_line(file, line, what))),
    }
}

/// Destinations of one set with the same `duid` or, without one, the same URI.
fn twice(list: &[(Destination, Line<'_>)]) -> Vec<ListFault> {
    let mut ids: Vec<(DestinationId, usize)> =
        list.iter().map(|(row, _)| row.id()).zip(0..).collect();
    ids.sort_unstable();
    let again = |pair: &[(DestinationId, usize)]| match pair {
        [(one, _), (other, at)] if one == other => list.get(*at),
        _ => None,
    };
    let fault = |(row, line): &(Destination, Line<'_>)| {
        let what = format!("set {}: {:?} is listed twice", row.set.0, row.uri);
        match line {
            Some((file, line)) => ListFault::in_line(file, *line, what),
            None => ListFault::in_row(&DISPATCHER, &row.uri, what),
        }
    };
    ids.windows(2).filter_map(again).map(fault).collect()
}

/// Reads a record.
///
/// # Errors
/// What is wrong with it.
fn read(record: &Record) -> Result<Destination, ListFault> {
    let reader = Reader::new(&DISPATCHER, record, "destination");
    let set = reader.integer("setid")?.unwrap_or(0);
    let uri = reader.required_text("destination")?;
    let fault = |what: String| ListFault::in_row(&DISPATCHER, uri, what);
    let destination = Destination::new(set, uri).map_err(fault)?;
    let flags: u32 = reader.integer("flags")?.unwrap_or(0);
    let bits = u8::try_from(flags).ok().filter(|bits| *bits < 64);
    let bits = bits.ok_or_else(|| {
        fault(format!("flags {flags}: allowed are sums of 1, 2, 4, 8, 16 and 32"))
    })?;
    let attributes = Attributes::parse(reader.text("attrs")?.unwrap_or_default()).map_err(fault)?;
    let priority = reader.integer("priority")?.unwrap_or(0);
    Ok(Destination { state: State::from_bits(bits), priority, attributes, ..destination })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::storage::Datum;

    fn file(text: &str) -> FileText {
        FileText { role: String::new(), name: "trunks.list".to_owned(), text: text.to_owned() }
    }

    fn record(set: i64, uri: &str, flags: i64, attrs: &str) -> Record {
        let text = |text: &str| Datum::Text(text.to_owned());
        let number = Datum::Integer;
        vec![number(set), text(uri), number(flags), number(-7), text(attrs), text("a gateway")]
    }

    fn from(text: &str, records: Vec<Record>) -> Result<Vec<String>, Vec<String>> {
        let listing = Listing { number: LIST, files: vec![file(text)], records };
        match Row::from_list(0, &listing) {
            Ok(Some(Row::Destinations(list))) => {
                let show =
                    |row: &Destination| format!("{} {} {}", row.uri, row.state, row.priority);
                Ok(list.iter().map(show).collect())
            }
            Ok(other) => panic!("{other:?}"),
            Err(faults) => Err(faults.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn file_and_table_make_one_list() {
        let list = from("1 sip:192.0.2.1 8 3\n", vec![record(1, "sip:192.0.2.2", 1, "weight=9")]);
        assert_eq!(list.expect("a list"), ["sip:192.0.2.1 AP 3", "sip:192.0.2.2 IX -7"]);
    }

    #[test]
    fn every_fault_of_both_is_named_and_nothing_is_used() {
        let records = vec![
            record(1, "sip:192.0.2.1", 0, ""),
            record(1, "sip:192.0.2.3", 64, ""),
            record(1, "sip:192.0.2.4", 0, "weight=x"),
            record(-1, "sip:192.0.2.5", 0, ""),
            record(1, "tel:+39", 0, ""),
        ];
        let faults = from("1 sip:192.0.2.1\n\n1 nothing\n", records.clone()).expect_err("faults");
        let starts = [
            "trunks.list:3: \"nothing\" is no SIP URI",
            "table dispatcher, row sip:192.0.2.3: flags 64",
            "table dispatcher, row sip:192.0.2.4: attribute weight",
            "table dispatcher, row sip:192.0.2.5, column setid: out of range",
            "table dispatcher, row tel:+39: \"tel:+39\" is no SIP URI",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
        let one = records.into_iter().take(1).collect();
        let faults = from("1 sip:192.0.2.1\n", one).expect_err("a fault");
        let twice = "row sip:192.0.2.1: set 1: \"sip:192.0.2.1\" is listed twice";
        assert_eq!(faults, [format!("table dispatcher, {twice}")]);
        let faults = from("1 sip:192.0.2.1\n1 sip:192.0.2.1 0 5\n", Vec::new());
        let twice = "trunks.list:2: set 1: \"sip:192.0.2.1\" is listed twice";
        assert_eq!(faults, Err(vec![twice.to_owned()]));
    }
}
