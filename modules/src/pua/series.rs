//! What names a record: one rule in memory, in storage and among shards.
//!
//! For: finding the record that a call means, its owner, and its row.
//! Invariants: two calls mean one record exactly when kind, presentity, watcher, package, source
//! and id agree, byte for byte.

use super::api::{Kind, Publication, Subscription};
use super::package::EventId;
use super::source::Source;
use sha2::{Digest, Sha256};
use strowger_sip::shard::{ShardId, ShardMap};

/// The name of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) presentity: Box<str>,
    /// Empty for publications.
    pub(super) watcher: Box<str>,
    pub(super) id: Box<str>,
    pub(super) event: EventId,
    pub(super) source: Source,
    pub(super) kind: Kind,
}

impl Series {
    pub(super) fn of_publication(publication: &Publication) -> Series {
        Series {
            presentity: publication.presentity.as_str().into(),
            watcher: "".into(),
            id: publication.id.as_str().into(),
            event: publication.event,
            source: publication.source.kept_as(),
            kind: Kind::Publication,
        }
    }

    pub(super) fn of_subscription(subscription: &Subscription) -> Series {
        Series {
            presentity: subscription.presentity.as_str().into(),
            watcher: subscription.watcher.as_str().into(),
            id: subscription.id.as_str().into(),
            event: subscription.event,
            source: subscription.source.kept_as(),
            kind: Kind::Subscription,
        }
    }

    /// The name as one text of fixed length: the column `series`, and what operators call it by.
    pub(super) fn name(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(match self.kind {
            Kind::Publication => b"p",
            Kind::Subscription => b"s",
        });
        hash.update(self.event.0.to_be_bytes());
        hash.update(self.source.bit().to_be_bytes());
        for text in [&self.presentity, &self.watcher, &self.id] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        // 160 bits name more records than there will be.
        hash.finalize().iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The shard that owns the record of this name.
    pub(super) fn home(map: ShardMap, name: &str) -> ShardId {
        map.home(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_tells_names_apart() {
        let series = |presentity: &str, watcher: &str, id: &str| Series {
            presentity: presentity.into(),
            watcher: watcher.into(),
            id: id.into(),
            event: EventId::REG,
            source: Source::Routing,
            kind: Kind::Publication,
        };
        let first = series("sip:a@h", "", "x");
        let mut names = vec![
            first.name(),
            series("sip:a@hx", "", "").name(),
            series("sip:a@h", "x", "").name(),
            Series { event: EventId::DIALOG, ..first.clone() }.name(),
            Series { source: Source::RpcPublish, ..first.clone() }.name(),
            Series { kind: Kind::Subscription, ..first.clone() }.name(),
        ];
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6);
        assert_eq!(first.name(), first.clone().name());
        assert_eq!(first.name().len(), 40);
    }
}
