//! Contacts that are reached over a connection of theirs: they may end with it
//! (`handle_lost_tcp`), or it with them (`close_expired_tcp`).
//!
//! For: finding the contacts of a connection without looking through the table.
//! Not here: connections themselves (`core/node/src/stream`).
//! Invariants: a connection is listed while a contact here is reached over it, and no longer. It is
//! kept where its contacts are at home; the shard that owned the connection tells all others.

use super::contact::Contact;
use super::event::ContactEventKind;
use super::peer::Peer;
use super::table::RecordId;
use super::{Aor, Location};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use strowger_sip::module::Host;
use strowger_sip::shard::ShardId;
use strowger_sip::transport::{ConnectionId, Lifespan};

/// Which addresses have contacts over which connection: an edge proxy carries many over one.
#[derive(Debug, Default)]
pub(super) struct Streams {
    addresses: BTreeMap<ConnectionId, SmallVec<[RecordId; 1]>>,
}

/// The connections of some contacts.
pub(super) type Connections = SmallVec<[ConnectionId; 2]>;

/// The connections over which contacts are reached.
pub(super) fn of(contacts: &[Contact]) -> Connections {
    contacts.iter().filter_map(|contact| contact.facts.flow?.connection).collect()
}

impl Streams {
    /// An address has contacts over other connections than before.
    pub(super) fn change(&mut self, record: RecordId, before: &Connections, after: &Connections) {
        for gone in before.iter().filter(|connection| !after.contains(connection)) {
            if let Some(addresses) = self.addresses.get_mut(gone) {
                addresses.retain(|known| *known != record);
                if addresses.is_empty() {
                    self.addresses.remove(gone);
                }
            }
        }
        for new in after.iter().filter(|connection| !before.contains(connection)) {
            let addresses = self.addresses.entry(*new).or_default();
            if !addresses.contains(&record) {
                addresses.push(record);
            }
        }
    }

    fn contains(&self, connection: ConnectionId) -> bool {
        self.addresses.contains_key(&connection)
    }

    fn take(&mut self, connection: ConnectionId) -> SmallVec<[RecordId; 1]> {
        self.addresses.get(&connection).cloned().unwrap_or_default()
    }
}

impl Location {
    /// A connection of this shard has ended: contacts over it may be at home anywhere.
    pub(super) fn tell_lost(&mut self, host: &mut impl Host<Location>, connection: ConnectionId) {
        if !self.settings.handle_lost_tcp {
            return;
        }
        for shard in (0..host.map().count()).map(ShardId) {
            if shard != host.shard() {
                host.tell(shard, Peer::Lost(connection));
            }
        }
        self.lost(host, connection);
    }

    /// A contact over a connection has expired: it is ended if no other needs it, which takes a
    /// word with every shard (`close_expired_tcp`).
    pub(super) fn expired_over(
        &mut self,
        host: &mut impl Host<Location>,
        connection: ConnectionId,
    ) {
        let first = host.shard();
        self.pass_on(host, connection, first);
    }

    /// The shards before this one do not need a connection.
    pub(super) fn unused(
        &mut self,
        host: &mut impl Host<Location>,
        connection: ConnectionId,
        first: ShardId,
    ) {
        if first == host.shard() && !self.streams.contains(connection) {
            host.set_lifespan(connection, Lifespan::Over);
        } else if first != host.shard() {
            self.pass_on(host, connection, first);
        }
    }

    fn pass_on(
        &mut self,
        host: &mut impl Host<Location>,
        connection: ConnectionId,
        first: ShardId,
    ) {
        if !self.streams.contains(connection) {
            let next = ShardId((host.shard().0 + 1) % host.map().count());
            host.tell(next, Peer::Unused { connection, first });
        }
    }

    /// Keeps the connection that contacts were registered over while one of them lasts
    /// (`tcp_persistent_flag`).
    pub(crate) fn keep_connection(
        &self,
        host: &mut impl Host<Location>,
        connection: ConnectionId,
        contacts: &[Contact],
    ) {
        let over_it = contacts.iter().filter(|contact| {
            contact.facts.flow.is_some_and(|flow| flow.connection == Some(connection))
        });
        if let Some(end) = over_it.filter_map(|contact| contact.facts.expires).max() {
            host.set_lifespan(connection, Lifespan::Until(self.epoch.instant(end)));
        }
    }

    /// Removes the contacts of this shard that were reached over a connection.
    pub(super) fn lost(&mut self, host: &mut impl Host<Location>, connection: ConnectionId) {
        for id in self.streams.take(connection) {
            let Some(record) = self.table.as_ref().and_then(|table| table.get(id)) else {
                continue;
            };
            let aor: Aor = record.aor.clone();
            let is_over = |contact: &Contact| {
                contact.facts.flow.is_some_and(|flow| flow.connection == Some(connection))
            };
            let (gone, kept): (Vec<Contact>, Vec<Contact>) =
                record.contacts.iter().cloned().partition(is_over);
            self.counters.lost += gone.len() as u64;
            self.drop_contacts(host, &aor, gone, kept, ContactEventKind::Delete);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_while_a_contact_is_reached_over_it() {
        let connections = |numbers: &[u64]| -> Connections {
            numbers.iter().map(|number| ConnectionId(*number)).collect()
        };
        let (one, two) = (RecordId::from_u64(1), RecordId::from_u64(2));
        let mut streams = Streams::default();
        streams.change(one, &connections(&[]), &connections(&[7, 8]));
        streams.change(two, &connections(&[]), &connections(&[7]));
        streams.change(one, &connections(&[7, 8]), &connections(&[8, 9]));
        assert_eq!(streams.take(ConnectionId(7)).as_slice(), [two]);
        assert_eq!(streams.take(ConnectionId(9)).as_slice(), [one]);
        streams.change(one, &connections(&[8, 9]), &connections(&[]));
        streams.change(two, &connections(&[7]), &connections(&[]));
        assert!(streams.addresses.is_empty());
    }
}
