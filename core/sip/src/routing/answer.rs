//! What a routing answers with: relay, reply, or that all is done.
//!
//! For: making each decision a value that the compiler sees. A routing cannot forget to answer,
//! since its function returns one of these.
//! Not here: recording a relay's targets (`request.rs`), carrying it out (`proxy/`).

use crate::engine::incoming::Incoming;
use crate::message::{EditError, Message, StatusCode};
use crate::transport::Flow;
use std::rc::Rc;

/// The end of a routing.
#[must_use = "a routing ends by returning its answer"]
#[derive(Debug)]
pub enum Answer {
    /// Forward to the recorded targets; the best response goes upstream by itself.
    Relay(Planned),
    /// Answer with this.
    Reply(Reply),
    /// Answer with this and keep no transaction: `sl_send_reply`. A repeated request is routed
    /// anew.
    Stateless(Reply),
    /// All is done: a relay was awaited and its 2xx went upstream. When no final response was sent,
    /// the best one that came is; when none came, 500.
    Done,
    /// Send nothing (RFC 3261 has no such answer for a request; for floods and attacks).
    Drop,
}

/// Proof that targets were recorded; only `Request::relay` and its kin make one.
#[derive(Debug)]
pub struct Planned(pub(super) ());

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer::Reply(reply)
    }
}

/// A response made by the routing: status, and optionally reason, headers and a body.
///
/// ```
/// use strowger_sip::routing::Reply;
/// let reply = Reply::new(503).reason("Draining").header("Retry-After", "30");
/// assert_eq!(reply.status().code(), 503);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    reason: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<(String, Vec<u8>)>,
}

impl Reply {
    /// A response with this status and its usual reason phrase. What is no status (RFC 3261 §7.2:
    /// 100 to 699) becomes 500.
    pub fn new(status: u16) -> Reply {
        let status = StatusCode::new(status).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
        Reply { status, reason: None, headers: Vec::new(), body: None }
    }

    /// 400 Bad Request.
    pub fn bad_request() -> Reply {
        Reply::new(400)
    }

    /// 403 Forbidden.
    pub fn forbidden() -> Reply {
        Reply::new(403)
    }

    /// 404 Not Found.
    pub fn not_found() -> Reply {
        Reply::new(404)
    }

    /// 480 Temporarily Unavailable.
    pub fn temporarily_unavailable() -> Reply {
        Reply::new(480)
    }

    /// 486 Busy Here.
    pub fn busy_here() -> Reply {
        Reply::new(486)
    }

    /// 500 Server Internal Error.
    pub fn server_error() -> Reply {
        Reply::new(500)
    }

    /// 503 Service Unavailable, to be tried again after so many seconds (RFC 3261 §21.5.4).
    pub fn unavailable(retry_after_seconds: u32) -> Reply {
        Reply::new(503).header("Retry-After", &retry_after_seconds.to_string())
    }

    /// Another reason phrase than the usual one. CR, LF and NUL are left out.
    pub fn reason(mut self, phrase: &str) -> Reply {
        self.reason = Some(one_line(phrase));
        self
    }

    /// One more header. CR, LF and NUL are left out of its value, so that nothing splits it.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((one_line(name), one_line(value)));
        self
    }

    /// A body of this type.
    pub fn body(mut self, content_type: &str, bytes: &[u8]) -> Reply {
        self.body = Some((one_line(content_type), bytes.to_vec()));
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn reason_phrase(&self) -> Option<&[u8]> {
        self.reason.as_deref().map(str::as_bytes)
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn body_parts(&self) -> Option<(&str, &[u8])> {
        self.body.as_ref().map(|(content_type, bytes)| (content_type.as_str(), bytes.as_slice()))
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}

/// A provisional response, 101 to 199: what may be sent before the answer.
///
/// ```
/// use strowger_sip::routing::{Progress, Reply};
/// let queued = Progress::of(Reply::new(182).reason("Two calls before you"));
/// assert!(queued.is_some() && Progress::of(Reply::busy_here()).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress(Reply);

impl Progress {
    /// 180 Ringing.
    pub fn ringing() -> Progress {
        Progress(Reply::new(180))
    }

    /// 183 Session Progress.
    pub fn session() -> Progress {
        Progress(Reply::new(183))
    }

    /// This reply; `None` when it is final, or 100, which the node sends by itself.
    pub fn of(reply: Reply) -> Option<Progress> {
        let fits = reply.status().is_provisional() && reply.status().code() != 100;
        fits.then_some(Progress(reply))
    }

    /// The reply that it is.
    pub fn reply(&self) -> &Reply {
        &self.0
    }
}

impl From<EditError> for Reply {
    /// An edit that was refused is a fault of the routing: 500.
    fn from(_: EditError) -> Reply {
        Reply::server_error()
    }
}

/// How an awaited relay ended.
#[must_use]
#[derive(Debug)]
pub enum Outcome {
    /// A 2xx went upstream with this status: the routing has nothing left to answer.
    Answered(StatusCode),
    /// No branch answered with 2xx; nothing final was sent upstream yet.
    Failed(Failed),
}

/// A relay that failed: the moment for another target, credentials, or another answer.
#[derive(Debug)]
pub struct Failed {
    pub(crate) status: StatusCode,
    pub(crate) response: Option<Rc<Incoming>>,
    pub(crate) cancelled: bool,
}

impl Failed {
    /// The status of the best response (RFC 3261 §16.7 step 6).
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The best response, unless it was made here (timeout, unreachable).
    pub fn response(&self) -> Option<Message<'_>> {
        self.response.as_deref().map(Incoming::message)
    }

    /// The socket pair that the best response came over, unless it was made here.
    pub fn source(&self) -> Option<Flow> {
        self.response.as_deref().map(Incoming::flow)
    }

    /// 401 or 407: the next hop wants credentials.
    pub fn is_challenge(&self) -> bool {
        matches!(self.status.code(), 401 | 407)
    }

    /// No branch gave any answer.
    pub fn is_timeout(&self) -> bool {
        self.response.is_none() && self.status.code() == 408
    }

    /// The caller has cancelled; no further branch can be tried.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

impl From<Outcome> for Answer {
    /// A 2xx is upstream already; of a failure the best response goes there.
    fn from(outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Answered(_) | Outcome::Failed(_) => Answer::Done,
        }
    }
}

impl From<Failed> for Answer {
    /// The best response goes upstream.
    fn from(_: Failed) -> Answer {
        Answer::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_splits_a_header() {
        let reply = Reply::new(302).header("Contact", "<sip:a@b>\r\nX-Evil: 1").reason("a\r\nb");
        assert_eq!(reply.headers()[0].1, "<sip:a@b>X-Evil: 1");
        assert_eq!(reply.reason_phrase(), Some(&b"ab"[..]));
    }

    #[test]
    fn what_is_no_status_becomes_500() {
        assert_eq!(Reply::new(42).status().code(), 500);
        assert_eq!(Reply::new(700).status().code(), 500);
    }
}
