//! Table `uacreg`, version 6: registrations from outside of the configuration.
//!
//! For: turning what the edge has read into records.
//! Not here: reading databases (the edge), what is done with records (`mod.rs`).
//! Invariants: nothing writes the table. A row that cannot be used is left out and named, unlike a
//! list's: one bad account is no reason to let all others lapse.

use super::REGISTRATIONS_MAX;
use super::registration::{Fields, Registration};
use strowger_sip::lists::{List, ListFault, ListId, Listing};
use strowger_sip::storage::{
    Column, Kind, Note, Order, Place, Reader, Record, RowFault, Rows, Table,
};

/// Table `uacreg`, version 6.
pub static UACREG: Table = Table {
    name: "uacreg",
    version: 6,
    columns: &[
        text("l_uuid", 64),
        text("l_username", 64),
        text("l_domain", 64),
        text("r_username", 64),
        text("r_domain", 64),
        text("realm", 64),
        text("auth_username", 64),
        text("auth_password", 64),
        text("auth_ha1", 128),
        text("auth_proxy", 255),
        number("expires"),
        number("flags"),
        number("reg_delay"),
        text("contact_addr", 255),
        text("contact_user", 255),
        text("socket", 128),
    ],
    key: &[],
    indexes: &[&["l_uuid"]],
    ends: None,
    loaded_at_start: false,
};

const fn text(name: &'static str, characters: u16) -> Column {
    Column { name, kind: Kind::Text(characters), nullable: true, default: "" }
}

const fn number(name: &'static str) -> Column {
    Column { name, kind: Kind::Integer, nullable: true, default: "0" }
}

/// The module's only list.
const LIST: u8 = 0;

/// What storage tells the module, and what it asks.
#[derive(Clone, Debug)]
pub enum Row {
    /// To the edge: the table is wanted again, on every shard.
    Wanted,
    /// From the edge: the records of the table, and what is wrong with the others.
    Registrations(Vec<Registration>, Vec<String>),
}

/// The table, where there is storage.
pub(in super::super) fn lists() -> Vec<List> {
    let rows_max = u32::try_from(REGISTRATIONS_MAX).unwrap_or(u32::MAX);
    vec![List { number: LIST, name: "uac", files: Vec::new(), table: Some(&UACREG), rows_max }]
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        visit(first, &UACREG);
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
            Row::Registrations(..) => None,
        }
    }
    fn from_list(_: Place, listing: &Listing) -> Result<Option<Self>, Vec<ListFault>> {
        let (mut list, mut faults): (Vec<Registration>, Vec<String>) = (Vec::new(), Vec::new());
        for record in &listing.records {
            match read(record) {
                Ok(registration) => list.push(registration),
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        // The column is unique in the table as it is made; one made by hand may repeat an id.
        list.sort_by(|one, other| one.l_uuid.cmp(&other.l_uuid));
        list.dedup_by(|later, kept| {
            let again = later.l_uuid == kept.l_uuid;
            if again {
                let what = format!("l_uuid {:?} is there twice", kept.l_uuid);
                faults.push(ListFault::in_row(&UACREG, &kept.l_uuid, what).to_string());
            }
            again
        });
        Ok(Some(Row::Registrations(list, faults)))
    }
}

fn read(record: &Record) -> Result<Registration, ListFault> {
    let reader = Reader::new(&UACREG, record, "l_uuid");
    let text = |column| -> Result<String, RowFault> {
        Ok(reader.text(column)?.unwrap_or_default().to_owned())
    };
    let number =
        |column| -> Result<u64, RowFault> { Ok(reader.integer(column)?.unwrap_or_default()) };
    let fields = Fields {
        l_uuid: text("l_uuid")?,
        l_username: text("l_username")?,
        l_domain: text("l_domain")?,
        r_username: text("r_username")?,
        r_domain: text("r_domain")?,
        realm: text("realm")?,
        auth_username: text("auth_username")?,
        auth_password: text("auth_password")?,
        auth_ha1: text("auth_ha1")?,
        auth_proxy: text("auth_proxy")?,
        expires: number("expires")?,
        flags: number("flags")?,
        reg_delay: number("reg_delay")?,
        contact_addr: text("contact_addr")?,
        contact_user: text("contact_user")?,
        socket: text("socket")?,
    };
    let uuid = fields.l_uuid.clone();
    fields.check().map_err(|fault| {
        let what = format!("column {}: allowed: {}", fault.column, fault.allowed);
        ListFault::in_row(&UACREG, &uuid, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::storage::Datum;

    fn record(uuid: &str, proxy: &str) -> Record {
        let text = |text: &str| Datum::Text(text.to_owned());
        let first = [uuid, "bob", "local.example", "trunk01", "p.example", "", "trunk01", "pw", ""];
        let mut record: Record = first.into_iter().map(text).collect();
        record.push(text(proxy));
        record.extend([360, 0, 0].map(Datum::Integer));
        record.extend([Datum::Null, Datum::Null, Datum::Null]);
        record
    }

    #[test]
    fn bad_rows_are_named_and_left_out() {
        let mut null = record("u3", "sip:192.0.2.7");
        null[1] = Datum::Null;
        let mut kind = record("u4", "sip:192.0.2.7");
        kind[10] = Datum::Text("soon".to_owned());
        let records = vec![
            record("u2", "sip:192.0.2.7"),
            record("u1", "nowhere"),
            null,
            kind,
            record("u2", "sip:192.0.2.8"),
        ];
        let listing = Listing { number: LIST, files: Vec::new(), records };
        let Ok(Some(Row::Registrations(list, faults))) = Row::from_list(0, &listing) else {
            panic!("no records");
        };
        assert_eq!(list.iter().map(Registration::uuid).collect::<Vec<_>>(), ["u2"]);
        let starts = [
            "table uacreg, row u1: column auth_proxy",
            "table uacreg, row u3: column l_username",
            "table uacreg, row u4, column expires",
            "table uacreg, row u2: l_uuid \"u2\" is there twice",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }
}
