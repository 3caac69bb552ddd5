//! Table `subscriber`, version 7: accounts in storage, with Kamailio's columns.
//!
//! For: asking for one user's row and reading it. This module never writes it.
//! Invariants: a row that cannot be used is as good as none, and counted.

use super::account::Secret;
use crate::ask::AskId;
use strowger_sip::storage::{
    Action, Column, Datum, Haste, Kind, Note, Order, Outcome, Place, Reader, Record, RowCause,
    RowFault, Rows, Table, Ticket, Version,
};

/// Table `subscriber`, version 7.
pub static SUBSCRIBER: Table = Table {
    name: "subscriber",
    version: 7,
    columns: &[
        column("username", 64),
        column("domain", 64),
        column("password", 64),
        column("ha1", 128),
        column("ha1b", 128),
    ],
    key: &["username", "domain"],
    indexes: &[],
    ends: None,
    loaded_at_start: false,
};

const fn column(name: &'static str, characters: u16) -> Column {
    Column { name, kind: Kind::Text(characters), nullable: false, default: "" }
}

/// One row.
#[derive(Clone, PartialEq, Eq)]
pub struct SubscriberRow {
    /// The user.
    pub username: Box<str>,
    /// Its domain; the realm of its hashes.
    pub domain: Box<str>,
    /// The password, where the operator keeps it.
    pub password: Box<str>,
    /// The hash of user, realm and password.
    pub ha1: Box<str>,
    /// The same with the user as `user@domain`.
    pub ha1b: Box<str>,
}

impl std::fmt::Debug for SubscriberRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.username, self.domain)
    }
}

impl SubscriberRow {
    /// What its user's proof is checked against: with `plain`, the password (`calculate_ha1`);
    /// `with_domain` says that the user called itself `user@domain`.
    pub fn secret(&self, plain: bool, with_domain: bool) -> Option<Secret> {
        if plain {
            return (!self.password.is_empty()).then(|| Secret::Password(self.password.clone()));
        }
        Secret::from_ha1(if with_domain { &self.ha1b } else { &self.ha1 })
    }
}

/// What digest says to storage and hears from it.
#[derive(Clone, Debug)]
pub enum Row {
    /// To storage: what is this user's row?
    Find {
        /// The user.
        username: Box<str>,
        /// Its domain, where that counts.
        domain: Option<Box<str>>,
        /// Whose question it is.
        ask: AskId,
    },
    /// From storage: the rows of that user.
    Found {
        /// Whose question it was.
        ask: AskId,
        /// What there is.
        rows: Vec<SubscriberRow>,
        /// How many rows could not be used.
        faulty: usize,
    },
    /// From storage: it cannot say.
    Unknown {
        /// Whose question it was.
        ask: AskId,
    },
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        visit(first, &SUBSCRIBER);
    }

    fn into_order(self) -> Option<(Place, Order)> {
        let Row::Find { username, domain, ask } = self else { return None };
        let mut by = vec![("username", Datum::Text(username.into()))];
        by.extend(domain.map(|domain| ("domain", Datum::Text(domain.into()))));
        let order = Order {
            table: &SUBSCRIBER,
            action: Action::Find(by),
            version: Version::default(),
            ticket: Some(Ticket(ask.as_u64())),
            haste: Haste::Now,
        };
        Some((0, order))
    }

    fn check(_: Place, _: &'static Table, record: &Record) -> Result<(), RowFault> {
        read(record).map(|_| ())
    }

    fn from_note(_: Place, note: Note) -> Result<Option<Row>, RowFault> {
        Ok(match note {
            Note::Found(ticket, records) => {
                let rows: Vec<SubscriberRow> =
                    records.iter().filter_map(|record| read(record).ok()).collect();
                let faulty = records.len() - rows.len();
                Some(Row::Found { ask: AskId::from_u64(ticket.0), rows, faulty })
            }
            Note::Settled(ticket, Outcome::Refused) => {
                Some(Row::Unknown { ask: AskId::from_u64(ticket.0) })
            }
            Note::Settled(_, Outcome::Durable) | Note::Loaded(..) | Note::Resync => None,
        })
    }
}

/// Reads a record.
///
/// # Errors
/// When a value is of another kind or too long, or the user is missing.
fn read(record: &Record) -> Result<SubscriberRow, RowFault> {
    let reader = Reader::new(&SUBSCRIBER, record, "username");
    let text = |column| Ok(reader.text(column)?.unwrap_or_default().into());
    let username = reader.required_text("username")?;
    if username.is_empty() {
        return Err(reader.fault("username", RowCause::Unreadable));
    }
    Ok(SubscriberRow {
        username: username.into(),
        domain: text("domain")?,
        password: text("password")?,
        ha1: text("ha1")?,
        ha1b: text("ha1b")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_user_and_bad_ones_are_counted() {
        let ask = AskId::from_u64(7);
        let find = Row::Find { username: "bob".into(), domain: None, ask };
        let (_, order) = find.into_order().expect("an order");
        assert_eq!(order.ticket, Some(Ticket(7)));
        let text = |text: &str| Datum::Text(text.to_owned());
        let good = vec![text("bob"), text("h"), text("x"), Datum::Null, text("")];
        let bad = vec![Datum::Null, text("h"), text("x"), text(""), text("")];
        let found = Row::from_note(0, Note::Found(Ticket(7), vec![good, bad]));
        let Ok(Some(Row::Found { rows, faulty, .. })) = found else { panic!("{found:?}") };
        assert_eq!((rows.len(), faulty), (1, 1));
        assert!(rows[0].secret(true, false).is_some());
        assert!(rows[0].secret(false, false).is_none());
        assert!(!format!("{rows:?}").contains('x'));
    }
}
