//! Table `location_attrs`: what contacts say beside what `location` has columns for.
//!
//! For: parameters of a Contact that mean nothing here, kept for those who publish contacts, in
//! Kamailio's table of them: a row for each, with the contact's `ruid`.
//! Not here: the contacts (`row.rs`), when they are written (`apply.rs`).
//! Invariants: the rows of one contact are replaced as a whole; what cannot stand in a Contact
//! header is a fault, never part of one.

use super::aor::Aor;
use super::contact::{Contact, Texts};
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::storage::{
    Action, Column, Datum, Haste, Kind, Order, Reader, Record, RowCause, RowFault, Table, Ticket,
    Version,
};

/// Table `location_attrs`, version 1.
pub static LOCATION_ATTRS: Table = Table {
    name: "location_attrs",
    version: 1,
    columns: &[
        column("ruid", Kind::Text(64), false, ""),
        column("username", Kind::Text(64), false, ""),
        column("domain", Kind::Text(64), true, ""),
        column("aname", Kind::Text(64), false, ""),
        column("atype", Kind::Integer, false, "0"),
        column("avalue", Kind::Text(512), false, ""),
        column("last_modified", Kind::Date, false, "2000-01-01 00:00:01"),
    ],
    key: &[],
    indexes: &[&["ruid"], &["username", "domain"]],
    ends: None,
    loaded_at_start: true,
};

const fn column(name: &'static str, kind: Kind, nullable: bool, default: &'static str) -> Column {
    Column { name, kind, nullable, default }
}

/// All attributes of one contact, in bytes: more than the registrar keeps of a Contact.
const ATTRIBUTES_BYTES_MAX: usize = 1024;
/// `atype` of a parameter without a value, and of one with text.
const BARE: i64 = 0;
const TEXT: i64 = 2;

/// The attributes of a contact, on their way to storage.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// Whose contact; nobody's when there are none any more.
    pub aor: Option<Aor>,
    /// Which contact.
    pub ruid: Box<str>,
    /// As in the Contact header: `;name=value`; empty when there are none any more.
    pub text: Box<[u8]>,
    /// When they were told.
    pub modified: UnixTime,
}

impl Attributes {
    /// Those of a contact.
    pub(super) fn of(aor: &Aor, contact: &Contact) -> Attributes {
        Attributes {
            aor: Some(aor.clone()),
            ruid: contact.ruid().into(),
            text: contact.texts().attributes.into(),
            modified: contact.facts.modified,
        }
    }

    /// What storage is to do.
    pub(super) fn order(&self, version: Version, ticket: Option<Ticket>, haste: Haste) -> Order {
        let text = |text: &[u8]| Datum::Text(String::from_utf8_lossy(text).into_owned());
        let ruid = Datum::Text(self.ruid.as_ref().to_owned());
        let (user, domain) = self.aor.as_ref().map_or(("", None), Aor::parts);
        let row = |param: &[u8]| -> Record {
            let (name, value) = match param.iter().position(|byte| *byte == b'=') {
                Some(at) => (param.get(..at), param.get(at + 1..)),
                None => (Some(param), None),
            };
            vec![
                ruid.clone(),
                text(user.as_bytes()),
                domain.map_or(Datum::Null, |domain| text(domain.as_bytes())),
                text(name.unwrap_or_default()),
                Datum::Integer(if value.is_some() { TEXT } else { BARE }),
                text(value.unwrap_or_default()),
                Datum::Date(self.modified),
            ]
        };
        let rows = params(&self.text).map(row).collect();
        let action = Action::Replace(vec![ruid.clone()], rows);
        Order { table: &LOCATION_ATTRS, action, version, ticket, haste }
    }
}

/// The parameters of `;a=b;c`, without a semicolon that a quoted text has.
fn params(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |byte| {
        let is_quote = *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
        quoted ^= is_quote;
        *byte == b';' && !quoted
    });
    parts.filter(|param| !param.is_empty())
}

/// One attribute, as storage has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeRow {
    /// Whose contact.
    pub aor: Aor,
    /// Which contact.
    pub ruid: Box<str>,
    /// `;name=value`.
    text: Box<[u8]>,
}

/// Reads a record.
///
/// # Errors
/// When a value is missing, of another kind, or cannot stand in a Contact header.
pub(super) fn read(record: &Record) -> Result<AttributeRow, RowFault> {
    let reader = Reader::new(&LOCATION_ATTRS, record, "ruid");
    let user = reader.required_text("username")?;
    let key = match reader.text("domain")?.filter(|domain| !domain.is_empty()) {
        Some(domain) => format!("{user}@{domain}"),
        None => user.to_owned(),
    };
    let aor = Aor::new(&key).map_err(|_| reader.fault("username", RowCause::Unreadable))?;
    let name = reader.required_text("aname")?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(reader.fault("aname", RowCause::Unreadable));
    }
    let value = reader.text("avalue")?.unwrap_or_default();
    let mut text = format!(";{name}");
    if reader.integer::<i64>("atype")? != Some(BARE) || !value.is_empty() {
        if !is_value(value) {
            return Err(reader.fault("avalue", RowCause::Unreadable));
        }
        text = format!("{text}={value}");
    }
    Ok(AttributeRow {
        aor,
        ruid: reader.required_text("ruid")?.into(),
        text: text.into_bytes().into(),
    })
}

/// Whether a text can stand as a parameter's value: a word, or a quoted string.
fn is_value(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\";,<>\\".contains(&byte);
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match inner {
        None => text.bytes().all(plain),
        Some(inner) => {
            let mut escaped = false;
            let fits = inner.bytes().all(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                !ends && (byte == b' ' || !byte.is_ascii_control())
            });
            fits && !escaped
        }
    }
}

/// The contact with one more attribute; `None` when it has that, or too many.
pub(super) fn joined(contact: &Contact, row: &AttributeRow) -> Option<Contact> {
    let texts = contact.texts();
    let has = params(texts.attributes).any(|param| row.text.get(1..) == Some(param));
    if has || texts.attributes.len() + row.text.len() > ATTRIBUTES_BYTES_MAX {
        return None;
    }
    let attributes = [texts.attributes, &row.text].concat();
    Some(Contact::new(&Texts { attributes: &attributes, ..texts }, contact.facts))
}

/// A loaded attribute, shared by the shards that all hear of it.
pub(super) type Loaded = Arc<AttributeRow>;

#[cfg(test)]
mod tests {
    use super::super::contact::Facts;
    use super::*;

    fn contact(attributes: &[u8]) -> Contact {
        let texts = Texts { uri: b"sip:b@h", ruid: b"n-0-1", attributes, ..Texts::default() };
        Contact::new(&texts, Facts::new(UnixTime::from_secs(1_900_000_000), None))
    }

    fn rows(attributes: &[u8]) -> Vec<Record> {
        let aor = Aor::new("bob@example.com").expect("a key");
        let order =
            Attributes::of(&aor, &contact(attributes)).order(Version(1), None, Haste::Later);
        let Action::Replace(group, rows) = order.action else { panic!("a replacement") };
        assert_eq!(group, [Datum::Text("n-0-1".into())]);
        rows
    }

    #[test]
    fn attributes_come_back_as_they_went() {
        let text = b";+sip.rendering=\"no;yes\";mobility=fixed;audio";
        let rows = rows(text);
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.len() == LOCATION_ATTRS.columns.len()));
        let mut read_back = contact(b"");
        for row in &rows {
            read_back = joined(&read_back, &read(row).expect("good")).expect("room");
        }
        assert_eq!(read_back.texts().attributes, text);
        // The same row once more changes nothing.
        assert!(joined(&read_back, &read(&rows[1]).expect("good")).is_none());
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_a_fault() {
        let good = rows(b";a=b");
        for (name, value) in [
            ("aname", Datum::Text("a b".into())),
            ("aname", Datum::Null),
            ("avalue", Datum::Text("x\r\nVia: y".into())),
            ("avalue", Datum::Text("x;y".into())),
            ("avalue", Datum::Text("\"x".into())),
            ("avalue", Datum::Text("\"x\" \"y\"".into())),
            ("avalue", Datum::Text("\"x\\\"".into())),
            ("username", Datum::Null),
        ] {
            let mut row = good[0].clone();
            row[LOCATION_ATTRS.place(name).expect("a column")] = value;
            assert_eq!(read(&row).expect_err(name).column, name);
        }
        assert!(read(&Vec::new()).is_err());
    }
}
