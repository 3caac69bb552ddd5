//! What the dialog module tells: the routing, and every module that listens.
//!
//! For: accounting, dialog-info, a routing's own log; Kamailio's event routes and callbacks as one
//! closed list.
//! Invariants: one `Start` and one `End`, or one `Failed`, for each dialog; `Destroyed` is the
//! last.

use super::cookie::Key;
use super::record::{Cause, Record, Side};
use super::state::State;
use super::texts::Field;
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::message::{MethodKind, StatusCode};

/// What has happened to a dialog; the names of Kamailio's callbacks and event routes in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogEventKind {
    /// An initial INVITE has begun it (`CREATED`).
    Created,
    /// The INVITE came by here again (`SPIRALED`).
    Spiraled,
    /// A provisional response goes upstream (`EARLY`).
    Early(StatusCode),
    /// A response to the INVITE goes upstream (`RESPONSE_FWDED`).
    Response(StatusCode),
    /// It was answered; both legs are known (`CONFIRMED_NA`, `dialog:start`).
    Start,
    /// The ACK was seen (`CONFIRMED`).
    Confirmed,
    /// Another request within it (`REQ_WITHIN`).
    Within(MethodKind, Side),
    /// A response to such a request goes back (`RESPONSE_WITHIN`).
    ResponseWithin(MethodKind, StatusCode),
    /// A party has named another contact.
    Refreshed(Side),
    /// It will not be answered (`FAILED`, `dialog:failed`).
    Failed(StatusCode),
    /// Its end begins: a BYE was received, or is being sent (`TERMINATED`).
    Ending(Cause),
    /// It is over (`dialog:end`).
    End(Cause),
    /// A BYE was answered finally (`TERMINATED_CONFIRMED`).
    EndConfirmed(StatusCode),
    /// Its lifetime is over; the texts name the timeout route (`dialog:timeout`).
    Timeout,
    /// Its lifetime is over and no BYE is sent (`EXPIRED`); whether it was acknowledged.
    Expired(bool),
    /// Storage has brought it (`LOADED`).
    Loaded,
    /// A REFER that was sent from here has come so far.
    ReferProgress(StatusCode),
    /// It is forgotten (`DESTROY`).
    Destroyed,
}

/// One leg, as it was when the event happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegFacts {
    /// The party's URI.
    pub uri: String,
    /// Its tag.
    pub tag: String,
    /// Its contact.
    pub contact: String,
    /// The way to it, as one Route header.
    pub routes: String,
    /// The number of its last request.
    pub cseq: Option<u32>,
}

/// A dialog, as it was when the event happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub key: Key,
    /// Its Call-ID.
    pub call_id: String,
    /// The Request-URI of its INVITE.
    pub request_uri: String,
    /// How far it has come.
    pub state: State,
    /// The caller's leg.
    pub caller: LegFacts,
    /// The callee's leg, empty until it is known.
    pub callee: LegFacts,
    /// When the INVITE came.
    pub init: UnixTime,
    /// When it was answered; zero for not yet.
    pub start: UnixTime,
    /// When it ended; zero for not yet.
    pub end: UnixTime,
    /// Its lifetime in seconds.
    pub lifetime_seconds: u32,
    /// The timeout route's name.
    pub timeout_route: String,
    /// The flags that a routing has set.
    pub script_flags: u32,
    /// Its variables.
    pub variables: Vec<(String, String)>,
}

/// An event, published on the shard of the dialog.
#[derive(Clone, Debug)]
pub struct DialogEvent {
    /// What happened.
    pub kind: DialogEventKind,
    /// To which dialog.
    pub dialog: Arc<Facts>,
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Record {
    fn leg_facts(&self, side: Side) -> LegFacts {
        let of = |field| text(self.text(field));
        LegFacts {
            uri: of(side.uri()),
            tag: of(side.tag()),
            contact: of(side.contact()),
            routes: of(side.routes()),
            cseq: self.leg(side).cseq,
        }
    }

    /// What is told of it.
    pub(super) fn facts(&self) -> Facts {
        let callee = match self.knows_callee() || self.state == State::Early {
            true => self.leg_facts(Side::Callee),
            false => LegFacts { uri: text(self.text(Field::ToUri)), ..LegFacts::default() },
        };
        Facts {
            key: self.key,
            call_id: text(self.text(Field::CallId)),
            request_uri: text(self.text(Field::RequestUri)),
            state: self.state,
            caller: self.leg_facts(Side::Caller),
            callee,
            init: self.init,
            start: self.start,
            end: self.end,
            lifetime_seconds: self.lifetime_seconds,
            timeout_route: text(self.text(Field::TimeoutRoute)),
            script_flags: self.script_flags,
            variables: self
                .pairs
                .variables()
                .map(|(key, value)| (text(key), text(value)))
                .collect(),
        }
    }
}
