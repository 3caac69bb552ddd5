//! Table `location`: what storage keeps of a contact, with Kamailio's columns.
//!
//! For: turning contacts into records and back, orders with and without a ticket.
//! Not here: when a row is written (`apply.rs`), SQL (`core/node/src/storage`).
//! Dates are in UTC. Another registrar on the same table has to keep them so too: Kamailio takes
//! the time of its machine's zone (run it with `TZ=UTC`), and in SQLite numbers where text stands
//! here.
//! Invariants: a record that cannot be used is a fault with table and key, never a panic.

use super::aor::Aor;
use super::attributes::{self, AttributeRow, Attributes, LOCATION_ATTRS, Loaded};
use super::contact::{Contact, Facts, Origin, Texts};
use super::methods::Methods;
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::message::Uri;
use strowger_sip::storage::{
    Action, Column, Datum, Haste, Kind, Note, Order, Outcome, Place, Reader, Record, RowCause,
    RowFault, Rows, Table, Ticket, Version,
};

/// Table `location`, version 9.
pub static LOCATION: Table = Table {
    name: "location",
    version: 9,
    columns: &[
        column("ruid", Kind::Text(64), false, ""),
        column("username", Kind::Text(64), false, ""),
        column("domain", Kind::Text(64), true, ""),
        column("contact", Kind::Text(512), false, ""),
        column("received", Kind::Text(128), true, ""),
        column("path", Kind::Text(512), true, ""),
        column("expires", Kind::Date, false, "2030-05-28 21:32:15"),
        column("q", Kind::Real, false, "1.0"),
        column("callid", Kind::Text(255), false, "Default-Call-ID"),
        column("cseq", Kind::Integer, false, "1"),
        column("last_modified", Kind::Date, false, "2000-01-01 00:00:01"),
        column("flags", Kind::Integer, false, "0"),
        column("cflags", Kind::Integer, false, "0"),
        column("user_agent", Kind::Text(255), false, ""),
        column("socket", Kind::Text(64), true, ""),
        column("methods", Kind::Integer, true, ""),
        column("instance", Kind::Text(255), true, ""),
        column("reg_id", Kind::Integer, false, "0"),
        column("server_id", Kind::Integer, false, "0"),
        column("connection_id", Kind::Integer, false, "0"),
        column("keepalive", Kind::Integer, false, "0"),
        column("partition", Kind::Integer, false, "0"),
    ],
    key: &["ruid"],
    indexes: &[&["username", "domain"], &["expires"]],
    ends: Some("expires"),
    loaded_at_start: true,
};

const fn column(name: &'static str, kind: Kind, nullable: bool, default: &'static str) -> Column {
    Column { name, kind, nullable, default }
}

/// One row: a contact and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct LocationRow {
    /// Whose contact.
    pub aor: Aor,
    /// The listener as `udp:192.0.2.1:5060`; empty when unknown.
    pub socket: String,
    /// The contact.
    pub contact: Contact,
}

/// What the location says to storage and hears from it.
#[derive(Clone, Debug)]
pub enum Row {
    /// To storage: insert or update.
    Put {
        /// What.
        row: Box<LocationRow>,
        /// Whether somebody waits.
        ticket: Option<Ticket>,
        /// How soon.
        haste: Haste,
    },
    /// To storage: delete.
    Remove {
        /// Which.
        ruid: Box<str>,
        /// Of this removal.
        version: Version,
        /// Whether somebody waits.
        ticket: Option<Ticket>,
        /// How soon.
        haste: Haste,
    },
    /// To storage: the attributes of a contact in place of those that are there.
    PutAttributes {
        /// What.
        attributes: Box<Attributes>,
        /// Of this change.
        version: Version,
        /// Whether somebody waits.
        ticket: Option<Ticket>,
        /// How soon.
        haste: Haste,
    },
    /// To storage: which contacts has this address?
    Find(Aor, Ticket),
    /// To storage: which attributes have its contacts?
    FindAttributes(Aor, Ticket),
    /// To storage: delete what has ended by this date.
    RemoveEnded(UnixTime, Version),
    /// From storage: a row that was there at start.
    Loaded(Arc<LocationRow>),
    /// From storage: an attribute of a contact that was there at start.
    LoadedAttribute(Loaded),
    /// From storage: the answer to [`Row::FindAttributes`].
    FoundAttributes {
        /// To which.
        ticket: Ticket,
        /// What there is.
        rows: Vec<AttributeRow>,
        /// How many rows could not be used.
        faulty: usize,
    },
    /// From storage: the answer to [`Row::Find`].
    Found {
        /// To which.
        ticket: Ticket,
        /// What there is.
        rows: Vec<LocationRow>,
        /// How many rows could not be used.
        faulty: usize,
    },
    /// From storage: an order with a ticket has ended.
    Settled(Ticket, Outcome),
    /// From storage: changes were dropped; say again what there is.
    Resync,
}

/// Marks the tickets of questions for attributes. Tickets carry ids of jobs, whose generations do
/// not come so far.
const OF_ATTRIBUTES: u64 = 1 << 63;

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        visit(first, &LOCATION);
        // After the contacts, so that those are there when their attributes come.
        visit(first, &LOCATION_ATTRS);
    }

    fn into_order(self) -> Option<(Place, Order)> {
        let order = match self {
            Row::Put { row, ticket, haste } => Order {
                table: &LOCATION,
                version: row.contact.facts.version,
                action: Action::Put(record(&row)),
                ticket,
                haste,
            },
            Row::Remove { ruid, version, ticket, haste } => Order {
                table: &LOCATION,
                version,
                action: Action::Remove(vec![Datum::Text(ruid.into())]),
                ticket,
                haste,
            },
            Row::PutAttributes { attributes, version, ticket, haste } => {
                attributes.order(version, ticket, haste)
            }
            Row::FindAttributes(aor, ticket) => Order {
                table: &LOCATION_ATTRS,
                version: Version::default(),
                action: Action::Find(owner(&aor)),
                ticket: Some(Ticket(ticket.0 | OF_ATTRIBUTES)),
                haste: Haste::Now,
            },
            Row::Find(aor, ticket) => Order {
                table: &LOCATION,
                version: Version::default(),
                action: Action::Find(owner(&aor)),
                ticket: Some(ticket),
                haste: Haste::Now,
            },
            Row::RemoveEnded(date, version) => Order {
                table: &LOCATION,
                version,
                action: Action::RemoveEnded(date),
                ticket: None,
                haste: Haste::Later,
            },
            Row::Loaded(_)
            | Row::LoadedAttribute(_)
            | Row::Found { .. }
            | Row::FoundAttributes { .. }
            | Row::Settled(..)
            | Row::Resync => return None,
        };
        Some((0, order))
    }

    fn check(_: Place, table: &'static Table, record: &Record) -> Result<(), RowFault> {
        if std::ptr::eq(table, &LOCATION_ATTRS) {
            return attributes::read(record).map(|_| ());
        }
        read(record).map(|_| ())
    }

    fn from_note(_: Place, note: Note) -> Result<Option<Row>, RowFault> {
        Ok(Some(match note {
            Note::Loaded(table, record) if std::ptr::eq(table, &LOCATION) => {
                Row::Loaded(Arc::new(read(&record)?))
            }
            Note::Loaded(table, record) if std::ptr::eq(table, &LOCATION_ATTRS) => {
                Row::LoadedAttribute(Arc::new(attributes::read(&record)?))
            }
            Note::Loaded(..) => return Ok(None),
            Note::Found(ticket, records) if ticket.0 & OF_ATTRIBUTES != 0 => {
                let rows: Vec<AttributeRow> =
                    records.iter().filter_map(|record| attributes::read(record).ok()).collect();
                let faulty = records.len() - rows.len();
                Row::FoundAttributes { ticket: Ticket(ticket.0 & !OF_ATTRIBUTES), rows, faulty }
            }
            Note::Found(ticket, records) => {
                let rows: Vec<LocationRow> =
                    records.iter().filter_map(|record| read(record).ok()).collect();
                let faulty = records.len() - rows.len();
                Row::Found { ticket, rows, faulty }
            }
            Note::Settled(ticket, outcome) => {
                Row::Settled(Ticket(ticket.0 & !OF_ATTRIBUTES), outcome)
            }
            Note::Resync => Row::Resync,
        }))
    }
}

/// The columns that say whose row it is.
fn owner(aor: &Aor) -> Vec<(&'static str, Datum)> {
    let (user, domain) = aor.parts();
    let mut by = vec![("username", text(user.as_bytes()))];
    by.extend(domain.map(|domain| ("domain", text(domain.as_bytes()))));
    by
}

fn text(bytes: &[u8]) -> Datum {
    Datum::Text(String::from_utf8_lossy(bytes).into_owned())
}

/// Text, or NULL when there is none.
fn optional(bytes: &[u8]) -> Datum {
    if bytes.is_empty() { Datum::Null } else { text(bytes) }
}

/// The values in the order of the table's columns.
fn record(row: &LocationRow) -> Record {
    let (texts, facts) = (row.contact.texts(), &row.contact.facts);
    let (user, domain) = row.aor.parts();
    let connection = facts.flow.and_then(|flow| flow.connection).map_or(0, |id| id.0);
    let methods = match facts.methods {
        Methods::ALL => Datum::Null,
        some => Datum::Integer(i64::from(some.bits())),
    };
    vec![
        text(texts.ruid),
        text(user.as_bytes()),
        domain.map_or(Datum::Null, |domain| text(domain.as_bytes())),
        text(texts.uri),
        optional(texts.received),
        optional(texts.path),
        Datum::Date(facts.expires.unwrap_or_default()),
        Datum::Real(facts.q.map_or(-1.0, |q| f64::from(q) / 1000.0)),
        text(texts.call_id),
        Datum::Integer(i64::from(facts.cseq)),
        Datum::Date(facts.modified),
        Datum::Integer(i64::from(facts.flags)),
        Datum::Integer(i64::from(facts.cflags)),
        text(texts.user_agent),
        optional(row.socket.as_bytes()),
        methods,
        optional(texts.instance),
        Datum::Integer(i64::from(facts.reg_id)),
        Datum::Integer(i64::from(facts.server_id)),
        // Kamailio's column has 32 bits.
        Datum::Integer(i64::try_from(connection & 0x7fff_ffff).unwrap_or(0)),
        Datum::Integer(i64::from(facts.natted)),
        Datum::Integer(0),
    ]
}

/// Reads a record.
///
/// # Errors
/// When a value is missing, of another kind, too long or absurd.
fn read(record: &Record) -> Result<LocationRow, RowFault> {
    let reader = Reader::new(&LOCATION, record, "ruid");
    let user = reader.required_text("username")?;
    let key = match reader.text("domain")?.filter(|domain| !domain.is_empty()) {
        Some(domain) => format!("{user}@{domain}"),
        None => user.to_owned(),
    };
    let aor = Aor::new(&key).map_err(|_| reader.fault("username", RowCause::Unreadable))?;
    let ruid = reader.required_text("ruid")?;
    if ruid.is_empty() {
        return Err(reader.fault("ruid", RowCause::Unreadable));
    }
    let uri = reader.required_text("contact")?;
    Uri::parse(uri.as_bytes()).map_err(|_| reader.fault("contact", RowCause::Unreadable))?;
    let texts = Texts {
        uri: uri.as_bytes(),
        call_id: reader.required_text("callid")?.as_bytes(),
        ruid: ruid.as_bytes(),
        user_agent: reader.text("user_agent")?.unwrap_or_default().as_bytes(),
        path: reader.text("path")?.unwrap_or_default().as_bytes(),
        received: reader.text("received")?.unwrap_or_default().as_bytes(),
        instance: reader.text("instance")?.unwrap_or_default().as_bytes(),
        attributes: b"",
    };
    let socket = reader.text("socket")?.unwrap_or_default().to_owned();
    Ok(LocationRow { aor, socket, contact: Contact::new(&texts, facts(&reader)?) })
}

fn facts(reader: &Reader<'_>) -> Result<Facts, RowFault> {
    let modified = reader.date("last_modified")?.unwrap_or_default();
    let expires = match reader.date("expires")? {
        None => return Err(reader.fault("expires", RowCause::Null)),
        // Kamailio's zero: a permanent contact.
        Some(date) => (date > UnixTime::default()).then_some(date),
    };
    let q = reader.real("q")?.filter(|q| *q >= 0.0);
    if q.is_some_and(|q| q > 1.0) {
        return Err(reader.fault("q", RowCause::OutOfRange));
    }
    let methods = match reader.integer::<i64>("methods")? {
        None => Methods::ALL,
        // Some writers store the set as a signed number.
        Some(bits) => Methods::from_bits((bits & 0xffff_ffff) as u32),
    };
    Ok(Facts {
        cseq: reader.integer("cseq")?.unwrap_or(1),
        q: q.map(|q| (q * 1000.0).round() as u16),
        methods,
        flags: reader.integer("flags")?.unwrap_or(0),
        cflags: reader.integer("cflags")?.unwrap_or(0),
        reg_id: reader.integer("reg_id")?.unwrap_or(0),
        server_id: reader.integer("server_id")?.unwrap_or(0),
        natted: reader.integer::<i64>("keepalive")?.unwrap_or(0) != 0,
        origin: Origin::of_ruid(reader.required_text("ruid")?),
        ..Facts::new(modified, expires)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> LocationRow {
        let texts = Texts {
            uri: b"sip:bob@192.0.2.20:5070",
            call_id: b"c1",
            ruid: b"n-0-1",
            user_agent: b"phone",
            received: b"sip:192.0.2.9:4000",
            instance: b"urn:uuid:1",
            ..Texts::default()
        };
        let end = UnixTime::from_secs(2_000_000_000);
        let mut facts = Facts::new(UnixTime::from_secs(1_900_000_000), Some(end));
        facts.q = Some(500);
        facts.cseq = 7;
        facts.reg_id = 2;
        facts.methods = Methods::from_bits(5);
        let aor = Aor::new("bob@example.com").expect("a key");
        LocationRow {
            aor,
            socket: "udp:192.0.2.1:5060".into(),
            contact: Contact::new(&texts, facts),
        }
    }

    #[test]
    fn a_row_comes_back_as_it_went() {
        let record = record(&row());
        assert_eq!(record.len(), LOCATION.columns.len());
        assert_eq!(read(&record), Ok(row()));
    }

    #[test]
    fn bad_rows_are_faults_with_their_key() {
        let place = |name| LOCATION.place(name).expect("a column");
        let long = Datum::Text("x".repeat(5000));
        for (name, value, cause) in [
            ("contact", Datum::Null, RowCause::Null),
            ("contact", Datum::Text("no uri".into()), RowCause::Unreadable),
            ("contact", long, RowCause::TooLong { length: 5000, limit: 2048 }),
            ("expires", Datum::Null, RowCause::Null),
            ("expires", Datum::Text("later".into()), RowCause::Unreadable),
            ("q", Datum::Real(7.0), RowCause::OutOfRange),
            ("cseq", Datum::Integer(-1), RowCause::OutOfRange),
            ("username", Datum::Integer(1), RowCause::WrongKind),
        ] {
            let mut record = record(&row());
            record[place(name)] = value;
            let fault = read(&record).expect_err(name);
            assert_eq!((fault.column, fault.key.as_str(), fault.cause), (name, "n-0-1", cause));
        }
        assert!(read(&Vec::new()).is_err());
    }

    #[test]
    fn orders_name_their_row_and_version() {
        let mut written = row();
        written.contact.facts.version = Version(9);
        let put = Row::Put { row: Box::new(written), ticket: Some(Ticket(3)), haste: Haste::Now };
        let (place, order) = put.into_order().expect("an order");
        assert_eq!((place, order.version, order.ticket), (0, Version(9), Some(Ticket(3))));
        assert!(Row::Resync.into_order().is_none());
        let found = Note::Found(Ticket(1), vec![record(&row()), Vec::new()]);
        let Ok(Some(Row::Found { rows, faulty, .. })) = Row::from_note(0, found) else {
            panic!("found rows")
        };
        assert_eq!((rows.len(), faulty), (1, 1));
    }
}
