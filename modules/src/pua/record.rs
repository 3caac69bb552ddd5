//! A record: what is wanted of one series, what the server holds, and what is under way.
//!
//! For: the state behind every publication and subscription.
//! Not here: what follows from it (`drive.rs`).
//! Invariants: what is wanted and what the server has acknowledged are kept apart; at most one
//! request is under way; everything that varies in number has a bound.

use super::api::{Kind, Wanted};
use super::series::Series;
use crate::uac::Session;
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant};
use strowger_sip::transaction::{Id, Slab};
use strowger_sip::wheel::TimerId;

/// Marks ids of records.
#[derive(Debug)]
pub enum RecordMark {}

/// Names a record on its shard.
pub type RecordId = Id<RecordMark>;

pub(super) type Records = Slab<Box<Record>, RecordMark>;

/// Most publications of one series that wait for their removal after they were replaced. A guess.
pub(super) const ORPHANS_MAX: usize = 4;

/// Until when a state is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// It is to be removed.
    Gone,
    At(Instant),
    Forever,
}

impl Until {
    pub(super) fn of(wanted: Wanted, now: Instant) -> Until {
        match wanted {
            Wanted::Not => Until::Gone,
            Wanted::Seconds(seconds) => Until::At(now + Duration::from_secs(u64::from(seconds))),
            Wanted::Forever => Until::Forever,
        }
    }

    /// Whether nothing is wanted any longer.
    pub(super) fn is_over(self, now: Instant) -> bool {
        match self {
            Until::Gone => true,
            Until::At(end) => end <= now,
            Until::Forever => false,
        }
    }

    /// How much longer than this it is wanted.
    pub(super) fn is_after(self, moment: Instant) -> bool {
        match self {
            Until::Gone => false,
            Until::At(end) => end > moment,
            Until::Forever => true,
        }
    }
}

/// Who hears how a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) shard: ShardId,
    pub(super) cookie: u64,
    /// The source that the call named: not always the one that the record is kept under.
    pub(super) source: super::source::Source,
}

/// What the server holds of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) etag: Box<str>,
    pub(super) until: Instant,
    pub(super) refresh_at: Instant,
    /// Which of the wanted bodies it is.
    pub(super) body: u32,
    /// Which of the wanted lifetimes.
    pub(super) life: u32,
}

/// The part of a record that only publications have.
#[derive(Clone, Debug, Default)]
pub(super) struct Publishing {
    pub(super) body: Option<Box<[u8]>>,
    /// In place of the package's own.
    pub(super) content_type: Option<Box<str>>,
    pub(super) held: Option<Held>,
    /// Tags of what was replaced.
    pub(super) orphans: Vec<Box<str>>,
    pub(super) tuple_id: String,
    /// The number of the next document.
    pub(super) version: u32,
}

/// A dialog with a notifier, or the beginning of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) call_id: String,
    pub(super) own_tag: String,
    /// Empty until the notifier has answered or notified.
    pub(super) peer_tag: String,
    /// The last number used.
    pub(super) cseq: u32,
    /// The last one heard.
    pub(super) peer_cseq: Option<u32>,
    pub(super) target: String,
    /// As Route values.
    pub(super) routes: String,
    pub(super) until: Instant,
    pub(super) refresh_at: Instant,
    pub(super) life: u32,
    pub(super) began: Instant,
}

impl Leg {
    pub(super) fn is_established(&self) -> bool {
        !self.peer_tag.is_empty()
    }
}

/// The part of a record that only subscriptions have.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscribing {
    pub(super) contact: Box<str>,
    pub(super) remote_target: Option<Box<str>>,
    pub(super) leg: Option<Leg>,
    /// The dialog that was replaced and is to be ended.
    pub(super) former: Option<Leg>,
    /// It ended by the notifier's word, and nothing is to follow.
    pub(super) is_refused: bool,
}

/// What makes the two kinds of record different.
#[derive(Clone, Debug)]
pub(super) enum Matter {
    Publishing(Publishing),
    Subscribing(Box<Subscribing>),
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// PUBLISH with a body and no tag; SUBSCRIBE outside of a dialog.
    Begin,
    /// PUBLISH with a body and a tag.
    Modify,
    /// Only the lifetime.
    Refresh,
    /// Expires 0.
    End,
    /// Expires 0 for what was replaced.
    EndFormer,
}

impl Purpose {
    /// Whether a PUBLISH for it carries a document.
    pub(super) fn has_body(self) -> bool {
        match self {
            Purpose::Begin | Purpose::Modify => true,
            Purpose::Refresh | Purpose::End | Purpose::EndFormer => false,
        }
    }
}

/// A request that is under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// Tells its answer from those of earlier ones.
    pub(super) number: u32,
    pub(super) purpose: Purpose,
    pub(super) call_id: String,
    pub(super) own_tag: String,
    pub(super) cseq: u32,
    pub(super) sent: Instant,
    pub(super) expires: u32,
    pub(super) body: u32,
    pub(super) life: u32,
    pub(super) waiter: Option<Waiter>,
    /// Answers that were acted upon by sending it again, each once.
    pub(super) proofs: u8,
    pub(super) was_brief: bool,
    pub(super) redirect: Option<String>,
}

impl Flight {
    /// A request with this Call-ID, tag and number; `again` is the one that it repeats.
    pub(super) fn new(
        (number, purpose): (u32, Purpose),
        (call_id, own_tag, cseq): (String, String, u32),
        sent: Instant,
        again: Option<&Flight>,
    ) -> Flight {
        Flight {
            number,
            purpose,
            call_id,
            own_tag,
            cseq,
            sent,
            expires: 0,
            body: 0,
            life: 0,
            waiter: None,
            proofs: again.map_or(0, |again| again.proofs),
            was_brief: again.is_some_and(|again| again.was_brief),
            redirect: again.and_then(|again| again.redirect.clone()),
        }
    }
}

/// A record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) series: Series,
    pub(super) name: String,
    pub(super) until: Until,
    /// Counts wanted bodies and lifetimes.
    pub(super) body: u32,
    pub(super) life: u32,
    pub(super) outbound_proxy: Option<Box<str>>,
    pub(super) extra_headers: Box<str>,
    pub(super) matter: Matter,
    pub(super) flight: Option<Flight>,
    /// Who hears of the newest call, once its request goes out.
    pub(super) waiter: Option<Waiter>,
    /// Nothing is sent before.
    pub(super) pause: Option<Instant>,
    /// Failures in a row that time may heal.
    pub(super) failures: u32,
    /// How often in a row it had to begin anew.
    pub(super) rebuilds: u32,
    pub(super) timer: Option<(TimerId, Instant)>,
    /// What the server has said is the least.
    pub(super) least_expires: u32,
    /// What answers the last challenge.
    pub(super) session: Option<Box<Session>>,
    pub(super) flights: u32,
    pub(super) is_dirty: bool,
    pub(super) is_stored: bool,
}

impl Record {
    pub(super) fn kind(&self) -> Kind {
        self.series.kind
    }

    pub(super) fn publishing(&self) -> Option<&Publishing> {
        match &self.matter {
            Matter::Publishing(publishing) => Some(publishing),
            Matter::Subscribing(_) => None,
        }
    }

    pub(super) fn publishing_mut(&mut self) -> Option<&mut Publishing> {
        match &mut self.matter {
            Matter::Publishing(publishing) => Some(publishing),
            Matter::Subscribing(_) => None,
        }
    }

    pub(super) fn subscribing(&self) -> Option<&Subscribing> {
        match &self.matter {
            Matter::Publishing(_) => None,
            Matter::Subscribing(subscribing) => Some(subscribing),
        }
    }

    pub(super) fn subscribing_mut(&mut self) -> Option<&mut Subscribing> {
        match &mut self.matter {
            Matter::Publishing(_) => None,
            Matter::Subscribing(subscribing) => Some(subscribing),
        }
    }

    pub(super) fn held(&self) -> Option<&Held> {
        self.publishing()?.held.as_ref()
    }

    pub(super) fn leg(&self) -> Option<&Leg> {
        self.subscribing()?.leg.as_ref()
    }

    pub(super) fn leg_mut(&mut self) -> Option<&mut Leg> {
        self.subscribing_mut()?.leg.as_mut()
    }
}
