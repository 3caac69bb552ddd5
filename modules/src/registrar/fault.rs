//! Why a REGISTER was refused, and with which response.
//!
//! For: one mapping from reasons to status codes and headers.
//! Invariants: a refused REGISTER has changed nothing.

use crate::location::Refusal;
use std::fmt;
use strowger_sip::routing::{Answer, Reply};

/// Why a REGISTER was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSaved {
    /// The reason.
    pub cause: SaveFault,
    /// What a 5xx asks the agent to wait, in seconds; 0 for nothing.
    pub retry_after_seconds: u32,
}

/// The reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveFault {
    /// Something of the request cannot be read; what.
    Malformed(&'static str),
    /// The user may not change this address (RFC 3261 §10.3 step 4).
    Forbidden,
    /// The address is not one of this domain (step 5).
    UnknownAddress,
    /// The request requires extensions that this registrar has not (step 2).
    Unsupported(Vec<String>),
    /// A Path came through, but the agent does not support it (RFC 3327 §5.3).
    PathUnsupported,
    /// This registrar wants RFC 5626, the agent does not have it.
    OutboundRequired,
    /// The agent wants RFC 5626, the first hop does not have it (§6).
    FirstHopLacksOutbound,
    /// A lifetime is too short.
    TooBrief {
        /// The shortest allowed, in seconds.
        min_expires: u32,
    },
    /// The owner of the address has refused.
    Refused(Refusal),
}

impl fmt::Display for SaveFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaveFault::Malformed(what) => write!(f, "cannot be read: {what}"),
            SaveFault::Forbidden => f.write_str("not the user's own address"),
            SaveFault::UnknownAddress => f.write_str("not an address of this domain"),
            SaveFault::Unsupported(tags) => write!(f, "requires {}", tags.join(", ")),
            SaveFault::PathUnsupported => f.write_str("a Path that the agent does not support"),
            SaveFault::OutboundRequired => f.write_str("outbound is required"),
            SaveFault::FirstHopLacksOutbound => f.write_str("the first hop lacks outbound"),
            SaveFault::TooBrief { min_expires } => write!(f, "less than {min_expires} s"),
            SaveFault::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for NotSaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for NotSaved {}

impl SaveFault {
    fn status(&self) -> u16 {
        match self {
            SaveFault::Malformed(_) => 400,
            SaveFault::Forbidden => 403,
            SaveFault::UnknownAddress => 404,
            SaveFault::Unsupported(_) | SaveFault::PathUnsupported => 420,
            SaveFault::OutboundRequired => 421,
            SaveFault::FirstHopLacksOutbound => 439,
            SaveFault::TooBrief { .. } => 423,
            SaveFault::Refused(Refusal::OutOfOrder) => 400,
            SaveFault::Refused(Refusal::TooMany { .. } | Refusal::Full) => 503,
            SaveFault::Refused(Refusal::NotDurable | Refusal::Unavailable) => 503,
            SaveFault::Refused(Refusal::NoAor | Refusal::NoContact) => 404,
        }
    }
}

impl From<NotSaved> for Reply {
    fn from(not_saved: NotSaved) -> Reply {
        let NotSaved { cause, retry_after_seconds } = not_saved;
        let status = cause.status();
        let mut reply = Reply::new(status);
        if status == 400 {
            reply = reply.header("P-Registrar-Error", &cause.to_string());
        }
        if status >= 500 && retry_after_seconds > 0 {
            reply = reply.header("Retry-After", &retry_after_seconds.to_string());
        }
        match cause {
            SaveFault::Unsupported(tags) => reply.header("Unsupported", &tags.join(", ")),
            SaveFault::PathUnsupported => reply.header("Unsupported", "path"),
            SaveFault::OutboundRequired => reply.header("Require", "outbound"),
            SaveFault::FirstHopLacksOutbound => reply.reason("First Hop Lacks Outbound Support"),
            SaveFault::TooBrief { min_expires } => {
                reply.header("Min-Expires", &min_expires.to_string())
            }
            SaveFault::Malformed(_)
            | SaveFault::Forbidden
            | SaveFault::UnknownAddress
            | SaveFault::Refused(_) => reply,
        }
    }
}

impl From<NotSaved> for Answer {
    fn from(not_saved: NotSaved) -> Answer {
        Answer::Reply(not_saved.into())
    }
}
