//! Table `pua`: what storage keeps of a record, with Kamailio's columns and a few more.
//!
//! For: turning records into rows and back.
//! Not here: when a row is written (`store.rs`), SQL (`core/node/src/storage`).
//! Version 8 has what version 7 has, and: `series` names the row whatever its tag is; the proxy,
//! the content type and the body make it possible to begin anew; `unsent` says that the body is
//! newer than the tag; `remote_target` is where a subscription began; `server_id` tells nodes of
//! one table apart. A row of version 7 lacks them and is read all the same.
//! Invariants: a record that cannot be used is a fault with table and key, never a panic.

use super::api::Kind;
use super::package::EventId;
use super::series::Series;
use super::source::Source;
use super::subscribe::ROUTES_BYTES_MAX;
use super::write::{EXTRA_BYTES_MAX, are_header_lines, is_content_type, is_writable_uri};
use std::sync::Arc;
use strowger_sip::storage::{
    Action, Column, Datum, Haste, Kind as Of, Note, Order, Place, Reader, Record, RowCause,
    RowFault, Rows, Table, Ticket, Version,
};

/// Table `pua`, version 8.
pub static PUA: Table = Table {
    name: "pua",
    version: 8,
    columns: &[
        column("pres_uri", Of::Text(255), false, ""),
        column("pres_id", Of::Text(255), false, ""),
        column("event", Of::Integer, false, ""),
        column("expires", Of::Integer, false, ""),
        column("desired_expires", Of::Integer, false, ""),
        column("flag", Of::Integer, false, ""),
        column("etag", Of::Text(128), false, ""),
        column("tuple_id", Of::Text(64), true, ""),
        column("watcher_uri", Of::Text(255), false, ""),
        column("call_id", Of::Text(255), false, ""),
        column("to_tag", Of::Text(128), false, ""),
        column("from_tag", Of::Text(128), false, ""),
        column("cseq", Of::Integer, false, ""),
        column("record_route", Of::Text(ROUTES_MAX), true, ""),
        column("contact", Of::Text(255), false, ""),
        column("remote_contact", Of::Text(255), false, ""),
        column("version", Of::Integer, false, ""),
        column("extra_headers", Of::Text(EXTRA_MAX), true, ""),
        column("series", Of::Text(64), true, ""),
        column("outbound_proxy", Of::Text(255), true, ""),
        column("content_type", Of::Text(255), true, ""),
        column("body", Of::Text(u16::MAX), true, ""),
        column("unsent", Of::Integer, true, ""),
        column("remote_target", Of::Text(255), true, ""),
        column("server_id", Of::Integer, true, ""),
    ],
    key: &["series"],
    indexes: &[&["expires"], &["pres_id", "pres_uri"], &["call_id", "from_tag"]],
    ends: None,
    loaded_at_start: true,
};

const ROUTES_MAX: u16 = ROUTES_BYTES_MAX as u16;
const EXTRA_MAX: u16 = EXTRA_BYTES_MAX as u16;

const fn column(name: &'static str, kind: Of, nullable: bool, default: &'static str) -> Column {
    Column { name, kind, nullable, default }
}

/// One row. Dates are seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct PuaRow {
    pub(super) series: Series,
    /// The row's own name: the record's, and in memory mode the node's number where it has one;
    /// empty in a row of version 7.
    pub(super) name: String,
    pub(super) expires: i64,
    /// 0 is for ever.
    pub(super) desired: i64,
    pub(super) etag: String,
    pub(super) tuple_id: String,
    pub(super) call_id: String,
    pub(super) peer_tag: String,
    pub(super) own_tag: String,
    pub(super) cseq: u32,
    pub(super) routes: String,
    pub(super) contact: String,
    pub(super) target: String,
    pub(super) version: u32,
    pub(super) extra_headers: String,
    pub(super) outbound_proxy: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) body: Option<String>,
    pub(super) is_unsent: bool,
    pub(super) remote_target: Option<String>,
    pub(super) server_id: u32,
}

/// What the module says to storage and hears from it.
#[derive(Clone, Debug)]
pub enum Row {
    /// To storage: insert or update.
    Put(Box<PuaRow>, Version, Haste),
    /// To storage: delete the row of this name.
    Remove(String, Version, Haste),
    /// To storage: what is there of this name?
    Find(String, Ticket),
    /// From storage: a row that was there at start.
    Loaded(Arc<PuaRow>),
    /// From storage: the answer to [`Row::Find`], and how many rows could not be used.
    Found(Ticket, Vec<PuaRow>, usize),
    /// From storage: changes were dropped; say again what there is.
    Resync,
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        visit(first, &PUA);
    }

    fn into_order(self) -> Option<(Place, Order)> {
        let order = match self {
            Row::Put(row, version, haste) => {
                let action = Action::Put(record(&row));
                Order { table: &PUA, action, version, ticket: None, haste }
            }
            Row::Remove(name, version, haste) => {
                let action = Action::Remove(vec![Datum::Text(name)]);
                Order { table: &PUA, action, version, ticket: None, haste }
            }
            Row::Find(name, ticket) => Order {
                table: &PUA,
                action: Action::Find(vec![("series", Datum::Text(name))]),
                version: Version::default(),
                ticket: Some(ticket),
                haste: Haste::Now,
            },
            Row::Loaded(_) | Row::Found(..) | Row::Resync => return None,
        };
        Some((0, order))
    }

    fn from_note(_: Place, note: Note) -> Result<Option<Row>, RowFault> {
        Ok(Some(match note {
            Note::Loaded(table, record) if std::ptr::eq(table, &PUA) => {
                Row::Loaded(Arc::new(read(&record)?))
            }
            Note::Loaded(..) | Note::Settled(..) => return Ok(None),
            Note::Found(ticket, records) => {
                let rows: Vec<PuaRow> = records.iter().filter_map(|it| read(it).ok()).collect();
                let faulty = records.len() - rows.len();
                Row::Found(ticket, rows, faulty)
            }
            Note::Resync => Row::Resync,
        }))
    }

    fn check(_: Place, _: &'static Table, record: &Record) -> Result<(), RowFault> {
        read(record).map(drop)
    }
}

fn record(row: &PuaRow) -> Record {
    let text = |text: &str| Datum::Text(text.to_owned());
    let optional = |text: &Option<String>| text.clone().map_or(Datum::Null, Datum::Text);
    let series = &row.series;
    vec![
        text(&series.presentity),
        text(&series.id),
        Datum::Integer(i64::from(series.event.0)),
        Datum::Integer(row.expires),
        Datum::Integer(row.desired),
        Datum::Integer(i64::from(series.source.bit())),
        text(&row.etag),
        text(&row.tuple_id),
        text(&series.watcher),
        text(&row.call_id),
        text(&row.peer_tag),
        text(&row.own_tag),
        // The columns have 32 bits with a sign.
        Datum::Integer(i64::from(row.cseq & 0x7fff_ffff)),
        text(&row.routes),
        text(&row.contact),
        text(&row.target),
        Datum::Integer(i64::from(row.version & 0x7fff_ffff)),
        text(&row.extra_headers),
        text(&row.name),
        optional(&row.outbound_proxy),
        optional(&row.content_type),
        optional(&row.body),
        Datum::Integer(i64::from(row.is_unsent)),
        optional(&row.remote_target),
        Datum::Integer(i64::from(row.server_id)),
    ]
}

/// Reads a record.
///
/// # Errors
/// When a value is missing, of another kind, too long or absurd.
fn read(record: &Record) -> Result<PuaRow, RowFault> {
    let reader = Reader::new(&PUA, record, "pres_uri");
    let bad = |column| reader.fault(column, RowCause::Unreadable);
    let text = |column| Ok(reader.text(column)?.unwrap_or_default().to_owned());
    let watcher: String = text("watcher_uri")?;
    let source = reader.integer::<u32>("flag")?.and_then(Source::from_bit);
    let kind = if watcher.is_empty() { Kind::Publication } else { Kind::Subscription };
    let series = Series {
        presentity: reader.required_text("pres_uri")?.into(),
        watcher: watcher.as_str().into(),
        id: text("pres_id")?.into(),
        event: EventId(reader.integer("event")?.ok_or_else(|| bad("event"))?),
        source: source.ok_or_else(|| bad("flag"))?.kept_as(),
        kind,
    };
    let optional =
        |column| Ok(reader.text(column)?.filter(|text| !text.is_empty()).map(str::to_owned));
    let row = PuaRow {
        name: text("series")?,
        expires: reader.integer("expires")?.unwrap_or(0),
        desired: reader.integer("desired_expires")?.unwrap_or(0),
        etag: text("etag")?,
        tuple_id: text("tuple_id")?,
        call_id: text("call_id")?,
        peer_tag: text("to_tag")?,
        own_tag: text("from_tag")?,
        cseq: reader.integer("cseq")?.unwrap_or(0),
        routes: text("record_route")?,
        contact: text("contact")?,
        target: text("remote_contact")?,
        version: reader.integer("version")?.unwrap_or(0),
        extra_headers: text("extra_headers")?,
        outbound_proxy: optional("outbound_proxy")?,
        content_type: optional("content_type")?,
        body: optional("body")?,
        is_unsent: reader.integer::<i64>("unsent")?.unwrap_or(0) != 0,
        remote_target: optional("remote_target")?,
        server_id: reader.integer("server_id")?.unwrap_or(0),
        series,
    };
    if row.is_named() && !row.name.starts_with(&row.series.name()) {
        return Err(bad("series"));
    }
    row.check().map_or(Ok(row), |column| Err(bad(column)))
}

impl PuaRow {
    /// Whether it has a name: one of version 7 has none.
    pub(super) fn is_named(&self) -> bool {
        !self.name.is_empty()
    }

    /// The first column whose text must not get into a request.
    fn check(&self) -> Option<&'static str> {
        let is_token = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let optional =
            |text: &Option<String>, is_good: fn(&str) -> bool| text.as_deref().is_none_or(is_good);
        let follows = self.series.kind == Kind::Subscription;
        let is_uri = |text: &str| (!follows && text.is_empty()) || is_writable_uri(text);
        let target = self.target.is_empty() || is_writable_uri(&self.target);
        let checks = [
            ("pres_uri", super::write::is_writable_name(&self.series.presentity)),
            ("watcher_uri", is_uri(&self.series.watcher)),
            ("etag", is_token(&self.etag)),
            ("call_id", is_token(&self.call_id)),
            ("to_tag", is_token(&self.peer_tag)),
            ("from_tag", is_token(&self.own_tag)),
            ("record_route", !self.routes.bytes().any(|byte| byte < b' ')),
            ("contact", is_uri(&self.contact)),
            ("remote_contact", target),
            ("extra_headers", are_header_lines(&self.extra_headers)),
            ("outbound_proxy", optional(&self.outbound_proxy, is_writable_uri)),
            ("content_type", optional(&self.content_type, is_content_type)),
            ("remote_target", optional(&self.remote_target, is_writable_uri)),
        ];
        checks.into_iter().find(|(_, is_good)| !is_good).map(|(column, _)| column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> PuaRow {
        let series = Series {
            presentity: "sip:bob@example.com".into(),
            watcher: "".into(),
            id: "UL_PUBLISH.c1".into(),
            event: EventId::PRESENCE,
            source: Source::UsrlocPublish,
            kind: Kind::Publication,
        };
        PuaRow {
            name: format!("{}.3", series.name()),
            series,
            expires: 2_000_000_000,
            desired: 0,
            etag: "a.1.2".into(),
            tuple_id: "t1".into(),
            call_id: String::new(),
            peer_tag: String::new(),
            own_tag: String::new(),
            cseq: 0,
            routes: String::new(),
            contact: String::new(),
            target: String::new(),
            version: 7,
            extra_headers: "X-A: 1\r\n".into(),
            outbound_proxy: Some("sip:192.0.2.20".into()),
            content_type: None,
            body: Some("<presence/>".into()),
            is_unsent: true,
            remote_target: None,
            server_id: 3,
        }
    }

    #[test]
    fn a_row_comes_back_as_it_went() {
        let record = record(&row());
        assert_eq!(record.len(), PUA.columns.len());
        assert_eq!(read(&record), Ok(row()));
    }

    #[test]
    fn a_row_of_version_7_is_read() {
        let mut record = record(&row());
        for name in ["series", "outbound_proxy", "content_type", "body", "unsent", "server_id"] {
            record[PUA.place(name).expect("a column")] = Datum::Null;
        }
        let read = read(&record).expect("a row");
        assert!(!read.is_named() && !read.is_unsent && read.body.is_none());
        assert_eq!(read.series, row().series);
    }

    #[test]
    fn what_would_spoil_a_request_is_refused() {
        for (column, value) in [
            ("pres_uri", Datum::Text("sip:a@h\r\nX: y".into())),
            ("pres_uri", Datum::Null),
            ("etag", Datum::Text("a\r\nb".into())),
            ("extra_headers", Datum::Text("Via: x\r\n".into())),
            ("outbound_proxy", Datum::Text("nowhere".into())),
            ("content_type", Datum::Text("a/b\r\nX: y".into())),
            ("flag", Datum::Integer(3)),
            ("event", Datum::Integer(-1)),
            ("series", Datum::Text("other".into())),
            ("watcher_uri", Datum::Text("not a uri".into())),
        ] {
            let mut record = record(&row());
            record[PUA.place(column).expect("a column")] = value;
            let fault = read(&record).expect_err(column);
            // Another kind of row has another name.
            assert!(fault.column == column || fault.column == "series", "{fault}");
        }
        assert!(read(&Vec::new()).is_err());
    }
}
