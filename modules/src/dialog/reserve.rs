//! Limits: a place in a profile, checked and taken at once, wherever the profile is counted.
//!
//! For: `reserve` and `profile_size` as awaited methods of a request.
//! Not here: counting (`profile.rs`).
//! Invariants: a place that was taken is a dialog's, or is given back when the request is over.

use super::limits::PATIENCE;
use super::profile::{Group, Peer};
use super::request::DialogOf;
use super::{Dialog, NotManaged, Timer};
use crate::ask::{self, AskId, Asks};
use strowger_sip::module::{Has, Host};
use strowger_sip::routing::{ListOf, Reply, Routing};

/// What the owner of a group has said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) size: Option<u32>,
    pub(super) granted: bool,
}

/// Whether a place was taken.
#[must_use = "a limit that nobody looks at limits nothing"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Yes.
    Taken,
    /// There are as many as there may be.
    Full,
    /// There is no such profile, a value is missing, or the request begins no call.
    Impossible,
    /// Nobody could say.
    Unavailable,
}

impl Reserved {
    /// Goes on when a place was taken, and answers with this otherwise.
    ///
    /// # Errors
    /// The reply, when there is no place; 503 when nobody could say.
    pub fn or(self, reply: Reply) -> Result<(), Reply> {
        match self {
            Reserved::Taken => Ok(()),
            Reserved::Full => Err(reply),
            Reserved::Impossible => Err(Reply::server_error()),
            Reserved::Unavailable => Err(Reply::unavailable(5)),
        }
    }
}

/// A profile's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sized {
    /// So many memberships.
    Count(u32),
    /// There is no such profile, or a value is missing.
    Unknown,
    /// Nobody could say.
    Unavailable,
}

/// What asking has led to.
enum Begun {
    Waits(AskId),
    Done(Reserved),
}

impl<R: Routing, N> DialogOf<'_, '_, R, N>
where
    ListOf<R>: Has<Dialog, N>,
{
    /// Takes a place in a profile if fewer than `limit` are taken, and tracks the call. Of any
    /// number of calls that ask at the same time, on whichever shards, no more than `limit` get
    /// one. The place is free again when the call ends, or when the request is answered without
    /// one.
    pub async fn reserve(&mut self, profile: &str, value: &str, limit: u32) -> Reserved {
        let begun = self.with(|dialog, host, ids| {
            let Some(group) = dialog.group(profile, value) else {
                return Begun::Done(Reserved::Impossible);
            };
            let Some(transaction) = ids.transaction else {
                return Begun::Done(Reserved::Impossible);
            };
            if dialog.is_member(host, transaction, &group) {
                return Begun::Done(Reserved::Taken);
            }
            let asked = dialog.asks.open(host, ids.context, PATIENCE, Timer::Ask);
            let Some(ask) = asked else { return Begun::Done(Reserved::Unavailable) };
            dialog.send_to_home(host, group, |group| Peer::Reserve {
                ask,
                transaction,
                group,
                limit,
            });
            Begun::Waits(ask)
        });
        let reserved = match begun {
            Begun::Done(reserved) => reserved,
            Begun::Waits(ask) => match ask::answer(self.request(), ask, Dialog::asks).await {
                None => Reserved::Unavailable,
                Some(Answer { granted: true, .. }) => Reserved::Taken,
                Some(Answer { granted: false, .. }) => Reserved::Full,
            },
        };
        if reserved != Reserved::Taken {
            return reserved;
        }
        match self.manage() {
            Ok(()) => reserved,
            Err(NotManaged::NoStorage) => Reserved::Unavailable,
            Err(
                NotManaged::NotInvite
                | NotManaged::NoContact
                | NotManaged::TooLong
                | NotManaged::Full
                | NotManaged::Unknown,
            ) => Reserved::Impossible,
        }
    }

    /// How many memberships a profile has, with this value (`get_profile_size`).
    pub async fn profile_size(&self, profile: &str, value: &str) -> Sized {
        let asked = self.with(|dialog, host, ids| {
            let Some(group) = dialog.group(profile, value) else { return Err(Sized::Unknown) };
            let asked = dialog.asks.open(host, ids.context, PATIENCE, Timer::Ask);
            let Some(ask) = asked else { return Err(Sized::Unavailable) };
            dialog.send_to_home(host, group, |group| Peer::Count(ask, group));
            Ok(ask)
        });
        let ask = match asked {
            Ok(ask) => ask,
            Err(sized) => return sized,
        };
        match ask::answer(self.request(), ask, Dialog::asks).await {
            Some(Answer { size: Some(size), .. }) => Sized::Count(size),
            Some(Answer { size: None, .. }) | None => Sized::Unavailable,
        }
    }
}

impl Dialog {
    fn asks(&mut self) -> &mut Asks<Answer> {
        &mut self.asks
    }

    /// Sends a message to the owner of a group, which may be this shard.
    fn send_to_home(
        &mut self,
        host: &mut impl Host<Dialog>,
        group: Group,
        message: impl FnOnce(Group) -> Peer,
    ) {
        let home = self.home_of(host, &group);
        self.tell_shard(host, home, message(group));
    }
}
