//! Which dialog a message belongs to, and from which side it comes.
//!
//! For: requests within a dialog by their cookie, by Call-ID and tags, or by one after the other;
//! initial INVITEs that were here before.
//! Not here: what a match leads to (`within.rs`).

use super::cookie::{Found, Key};
use super::record::{Flags, Side};
use super::settings::MatchMode;
use super::state::State;
use super::table::{DialogId, Table};
use super::texts::Field;
use strowger_sip::message::Message;

/// A dialog and who of it has sent the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) dialog: DialogId,
    pub(super) from: Side,
}

/// What looking for a dialog has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// This one.
    Found(Match),
    /// The cookie or the tags name none.
    Missed,
    /// There is nothing to look for.
    Nothing,
}

impl Table {
    /// Looks for the dialog of a request within it.
    pub(super) fn seek(&self, message: Message<'_>, cookie: Found, mode: MatchMode) -> Sought {
        let by_cookie = match (mode, cookie) {
            (MatchMode::Tags, _) => return self.seek_by_tags(message),
            (_, Found::None) => Sought::Nothing,
            (_, Found::Malformed) => Sought::Missed,
            (_, Found::Good(key)) => self.seek_by_cookie(message, key, false),
            (_, Found::Unsigned(key)) => self.seek_by_cookie(message, key, true),
        };
        match (by_cookie, mode) {
            (Sought::Found(_), _) | (_, MatchMode::Cookie) => by_cookie,
            (_, MatchMode::CookieThenTags | MatchMode::Tags) => self.seek_by_tags(message),
        }
    }

    /// A cookie that was not signed since the start may be of a dialog that storage has brought.
    fn seek_by_cookie(&self, message: Message<'_>, key: Key, only_loaded: bool) -> Sought {
        let (Ok(call_id), from, to) =
            (message.call_id(), message.from_tag(), message.to_tag().unwrap_or(&[]))
        else {
            return Sought::Missed;
        };
        self.of_call(call_id)
            .filter(|(_, record)| record.cookie == key)
            .filter(|(_, record)| !only_loaded || record.flags.has(Flags::LOADED))
            .filter_map(|(dialog, record)| {
                let from = record.sender(from.unwrap_or(&[]), to)?;
                Some((record.knows_callee(), Match { dialog, from }))
            })
            // One that knows its callee wins over one that may still be anybody's.
            .max_by_key(|(knows, _)| *knows)
            .map_or(Sought::Missed, |(_, found)| Sought::Found(found))
    }

    fn seek_by_tags(&self, message: Message<'_>) -> Sought {
        let call_id = message.call_id().unwrap_or(&[]);
        let (from, to) = (message.from_tag().unwrap_or(&[]), message.to_tag().unwrap_or(&[]));
        self.by_tags(call_id, from, to).map_or(Sought::Missed, Sought::Found)
    }

    /// The dialog of a Call-ID and two tags, from whichever side.
    pub(super) fn by_tags(&self, call_id: &[u8], from: &[u8], to: &[u8]) -> Option<Match> {
        self.of_call(call_id)
            .filter_map(|(dialog, record)| {
                let from = record.sender(from, to)?;
                Some((record.knows_callee(), Match { dialog, from }))
            })
            .max_by_key(|(knows, _)| *knows)
            .map(|(_, found)| found)
    }

    /// The dialog that an initial INVITE has begun already.
    pub(super) fn begun_by(&self, call_id: &[u8], from_tag: &[u8]) -> Option<DialogId> {
        self.of_call(call_id)
            .filter(|(_, record)| record.state != State::Deleted)
            .find(|(_, record)| record.text(Field::FromTag) == from_tag)
            .map(|(id, _)| id)
    }
}
