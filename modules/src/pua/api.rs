//! What other modules and routings say to this one, and what they hear from it.
//!
//! For: `send_publish`, `send_subscribe`, `register_puacb` and the handling of NOTIFY as values and
//! events. A module of the same shard publishes [`SendPublish`] or [`SendSubscribe`] by
//! [`strowger_sip::module::Host::publish`]; it listens for [`Report`] and for [`Notified`]:
//!
//! ```text
//! host.publish(SendPublish(publication));            // any shard: the record's owner is found
//! ...
//! fn event(&mut self, host: &mut impl Host<Self>, event: &Event) {
//!     if let Some(report) = event.of::<Report>() && report.source == Source::ReginfoPublish { .. }
//!     if let Some(notified) = event.of::<Rc<Notified>>()
//!         && notified.subscription.source == Source::ReginfoSubscribe
//!     {
//!         // Without a word the NOTIFY gets 200.
//!         notified.answer(Reply::new(400));
//!     }
//! }
//! ```
//! Not here: what is sent (`publish.rs`, `subscribe.rs`).
//! Invariants: a call that wants a report gets exactly one, on the shard where it was made.

use super::package::EventId;
use super::source::Source;
use std::cell::RefCell;
use strowger_sip::routing::Reply;

/// How long a state or a subscription is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Not at all: it is removed.
    Not,
    /// For so many seconds, at least 1.
    Seconds(u32),
    /// Until it is removed; each refresh asks for `default_expires`.
    Forever,
}

impl Wanted {
    /// As numbers say it: 0 removes, a negative one is for ever.
    pub fn from_number(seconds: i64) -> Wanted {
        match seconds {
            0 => Wanted::Not,
            1.. => Wanted::Seconds(u32::try_from(seconds).unwrap_or(u32::MAX)),
            i64::MIN..0 => Wanted::Forever,
        }
    }
}

/// Whether a call may change what is there (`flag`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// `UPDATE_TYPE`, or no flag: what is there is changed; if there is nothing, it is made.
    #[default]
    Update,
    /// `INSERT_TYPE`: a new publication or dialog in any case; the former one is removed after it.
    Insert,
}

/// One state of one resource (`publ_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Names one series of publications of the presentity; empty for none.
    pub id: String,
    /// The presentity's URI: Request-URI, To and From.
    pub presentity: String,
    /// The document; without one, only the lifetime changes.
    pub body: Option<Vec<u8>>,
    /// How long it is wanted.
    pub wanted: Wanted,
    /// See [`Mode`].
    pub mode: Mode,
    /// Who asks.
    pub source: Source,
    /// The package.
    pub event: EventId,
    /// In place of the package's own.
    pub content_type: Option<String>,
    /// The entity tag that the publication must have.
    pub etag: Option<String>,
    /// The next hop; else the parameter `outbound_proxy`, else the presentity's URI.
    pub outbound_proxy: Option<String>,
    /// Whole header lines, each with its CRLF; repeated in refreshes.
    pub extra_headers: String,
    /// With a number, a [`Report`] with the same number follows.
    pub cookie: Option<u64>,
}

impl Publication {
    /// A publication for `default_expires` and longer, until it is removed.
    pub fn new(source: Source, event: EventId, presentity: &str, id: &str) -> Publication {
        Publication {
            id: id.to_owned(),
            presentity: presentity.to_owned(),
            body: None,
            wanted: Wanted::Forever,
            mode: Mode::Update,
            source,
            event,
            content_type: None,
            etag: None,
            outbound_proxy: None,
            extra_headers: String::new(),
            cookie: None,
        }
    }
}

/// A wish to follow a resource (`subs_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Names one series of subscriptions; empty for none.
    pub id: String,
    /// The presentity's URI: To, and Request-URI unless `remote_target` is set.
    pub presentity: String,
    /// The watcher's URI: From.
    pub watcher: String,
    /// The URI in Contact; it must lead here.
    pub contact: String,
    /// The Request-URI of the first request.
    pub remote_target: Option<String>,
    /// The next hop of requests outside of a dialog.
    pub outbound_proxy: Option<String>,
    /// The package.
    pub event: EventId,
    /// How long it is wanted.
    pub wanted: Wanted,
    /// See [`Mode`].
    pub mode: Mode,
    /// Who asks.
    pub source: Source,
    /// Whole header lines, each with its CRLF; repeated in refreshes.
    pub extra_headers: String,
    /// Do nothing when there is a subscription already (`internal_update_flag`).
    pub only_if_none: bool,
    /// With a number, a [`Report`] with the same number follows.
    pub cookie: Option<u64>,
}

impl Subscription {
    /// A subscription until it is removed; the watcher's URI is the contact too.
    pub fn new(source: Source, event: EventId, presentity: &str, watcher: &str) -> Subscription {
        Subscription {
            id: String::new(),
            presentity: presentity.to_owned(),
            watcher: watcher.to_owned(),
            contact: watcher.to_owned(),
            remote_target: None,
            outbound_proxy: None,
            event,
            wanted: Wanted::Forever,
            mode: Mode::Update,
            source,
            extra_headers: String::new(),
            only_if_none: false,
            cookie: None,
        }
    }
}

/// An event: publish this.
#[derive(Clone, Debug)]
pub struct SendPublish(pub Publication);

/// An event: subscribe to this.
#[derive(Clone, Debug)]
pub struct SendSubscribe(pub Subscription);

/// What became of a call at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is sent, or will be when what is under way has been answered.
    Accepted,
    /// There was nothing to do: what is to be removed is not there, or what is wanted is.
    Nothing,
    /// Another shard owns the record and carries it out; only a [`Report`] says what became of it.
    Handed,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// -1: nobody has added this package.
    UnknownEvent,
    /// -10: nothing is published yet, and there is no body to begin with.
    NoBody,
    /// 418: the publication has not this entity tag.
    UnknownEtag,
    /// A URI, header or content type that cannot be written into a request.
    Unwritable,
    /// The document cannot be published; the package's processor says so.
    BadBody,
    /// It is longer than `body_max`.
    TooLong,
    /// There are `records_max` on this shard already.
    Full,
    /// Storage does not answer, and it is what counts.
    NoStorage,
}

impl Refused {
    /// The number that stands for it.
    pub const fn code(self) -> i32 {
        match self {
            Refused::NoBody => -10,
            Refused::UnknownEtag => 418,
            Refused::UnknownEvent
            | Refused::Unwritable
            | Refused::BadBody
            | Refused::TooLong
            | Refused::Full
            | Refused::NoStorage => -1,
        }
    }
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A publication.
    Publication,
    /// A subscription.
    Subscription,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A 2xx: the state is published or removed, the subscription is there or ended.
    Done {
        /// The status.
        status: u16,
        /// The entity tag; empty for subscriptions.
        etag: String,
        /// How long the server keeps it, in seconds; 0 when it is removed.
        expires: u32,
    },
    /// The server refused for good; the record is gone.
    Failed {
        /// The status.
        status: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// Nothing was heard or sent, or the server asked to come later, until the state's time was
    /// over.
    TimedOut,
    /// Nothing had to be sent.
    Nothing,
    /// A later call took its place before it was sent.
    Superseded,
    /// It was refused here.
    Refused(Refused),
}

/// An event: a call has ended (`pua_cb`). Automatic refreshes are not reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it was about.
    pub kind: Kind,
    /// Who asked; those that others asked for are none of a listener's business.
    pub source: Source,
    /// The package.
    pub event: EventId,
    /// The presentity's URI.
    pub presentity: String,
    /// The watcher's URI; empty for publications.
    pub watcher: String,
    /// The id of the call.
    pub id: String,
    /// The number of the call.
    pub cookie: u64,
    /// How it ended.
    pub ended: Ended,
}

/// Which subscription a NOTIFY belongs to (`ua_pres`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Who asked for it.
    pub source: Source,
    /// The package.
    pub event: EventId,
    /// The presentity's URI.
    pub presentity: String,
    /// The watcher's URI.
    pub watcher: String,
    /// The id of the call.
    pub id: String,
    /// The Call-ID of the dialog: another one means that the server may count versions anew.
    pub call_id: String,
}

/// Whether a subscription is there (`is_dialog`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// 0: it is.
    Established,
    /// 1: its first request is not answered yet.
    Temporary,
    /// -1: there is none.
    Unknown,
}

/// What a NOTIFY says of its subscription (RFC 6665 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is accepted.
    Active,
    /// It is not decided yet.
    Pending,
    /// It is over, for this reason; what follows from it is done already.
    Terminated(Option<String>),
}

/// An event, as `Rc<Notified>`: a NOTIFY of one of our subscriptions, checked and in order.
#[derive(Debug)]
pub struct Notified {
    /// Of which subscription.
    pub subscription: Dialog,
    /// How that stands.
    pub standing: Standing,
    /// The Content-Type; empty without a body.
    pub content_type: String,
    /// The document; may be empty.
    pub body: Vec<u8>,
    answer: RefCell<Option<Reply>>,
}

impl Notified {
    /// A NOTIFY of this subscription that nobody has answered yet.
    pub fn new(
        subscription: Dialog,
        standing: Standing,
        content_type: String,
        body: Vec<u8>,
    ) -> Notified {
        Notified { subscription, standing, content_type, body, answer: RefCell::default() }
    }

    /// What the NOTIFY gets instead of 200; of two the first one counts.
    pub fn answer(&self, reply: Reply) {
        self.answer.borrow_mut().get_or_insert(reply);
    }

    /// Takes what was said by [`Notified::answer`].
    pub fn take_answer(&self) -> Option<Reply> {
        self.answer.borrow_mut().take()
    }
}

/// An event, before anything is done about it: an answer came to a request of ours
/// (`event_route[pua:reply]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What the request was about.
    pub kind: Kind,
    /// Who asked for the record.
    pub source: Source,
    /// The package.
    pub event: EventId,
    /// The presentity's URI.
    pub presentity: String,
    /// The status; 408 for none in time, 503 when it could not be sent.
    pub status: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_how_long() {
        assert_eq!(Wanted::from_number(0), Wanted::Not);
        assert_eq!(Wanted::from_number(-1), Wanted::Forever);
        assert_eq!(Wanted::from_number(3600), Wanted::Seconds(3600));
        assert_eq!(Wanted::from_number(i64::MAX), Wanted::Seconds(u32::MAX));
    }

    #[test]
    fn of_two_answers_the_first_counts() {
        let dialog = Dialog {
            source: Source::Routing,
            event: EventId::REG,
            presentity: "sip:a@h".into(),
            watcher: "sip:w@h".into(),
            id: String::new(),
            call_id: "c".into(),
        };
        let notified = Notified::new(dialog, Standing::Active, String::new(), Vec::new());
        notified.answer(Reply::new(400));
        notified.answer(Reply::new(500));
        assert_eq!(notified.take_answer().map(|reply| reply.status().code()), Some(400));
    }
}
