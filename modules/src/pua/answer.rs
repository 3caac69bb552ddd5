//! What an answer to a request of ours means.
//!
//! For: one table of statuses for PUBLISH (RFC 3903 §4) and SUBSCRIBE (RFC 6665 §4.1).
//! Not here: what follows (`drive.rs`).

use super::api::Kind;
use super::record::Purpose;
use strowger_sip::message::{HeaderName, Message};
use strowger_sip::module::Heard;
use strowger_sip::time::{Duration, secs};

/// The longest wait that a server can ask for. A guess: a day is an outage, more is a mistake.
const RETRY_AFTER_MAX: Duration = secs(86_400);

/// What to do about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Provisional,
    /// It is done.
    Done,
    /// Prove who asks.
    Challenged,
    /// Ask for at least so many seconds.
    TooBrief(u32),
    /// What the request was about is not there.
    Gone,
    /// Try again, after this long if the server says so.
    Later(Option<Duration>),
    /// Ask there.
    Elsewhere(String),
    /// Do not try again.
    Refused,
}

/// The status of what was heard: 408 for silence, 503 for what could not be sent.
pub(super) fn status(heard: Heard<'_>) -> u16 {
    match heard {
        Heard::Response(message) => message.status().map_or(500, |status| status.code()),
        Heard::Timeout => 408,
        Heard::Transport => 503,
    }
}

pub(super) fn judge(kind: Kind, purpose: Purpose, heard: Heard<'_>) -> Verdict {
    let Heard::Response(message) = heard else { return Verdict::Later(None) };
    let in_dialog = match (kind, purpose) {
        (Kind::Publication, _) | (Kind::Subscription, Purpose::Begin) => false,
        (Kind::Subscription, _) => true,
    };
    match (status(heard), kind) {
        (100..=199, _) => Verdict::Provisional,
        (200..=299, _) => Verdict::Done,
        (300..=399, _) => elsewhere(message),
        (401 | 407, _) => Verdict::Challenged,
        (423, _) => match message.number(HeaderName::MinExpires, u32::MAX) {
            Ok(Some(least)) => Verdict::TooBrief(least),
            Ok(None) | Err(_) => Verdict::Refused,
        },
        (412, Kind::Publication) if purpose != Purpose::Begin => Verdict::Gone,
        // RFC 5057 §5.1: these end the dialog, not the wish to follow.
        (404 | 410 | 416 | 481..=485, Kind::Subscription) if in_dialog => Verdict::Gone,
        (481, _) => Verdict::Gone,
        (408 | 429 | 480 | 486 | 491 | 500 | 502..=504 | 580 | 600 | 603, _) => {
            Verdict::Later(retry_after(message))
        }
        (_, _) => Verdict::Refused,
    }
}

fn elsewhere(message: Message<'_>) -> Verdict {
    let contact = message.name_addrs(HeaderName::Contact).next().and_then(Result::ok);
    let uri = contact.and_then(|contact| std::str::from_utf8(contact.uri).ok());
    match uri.filter(|uri| super::write::is_writable_uri(uri)) {
        Some(uri) => Verdict::Elsewhere(uri.to_owned()),
        None => Verdict::Refused,
    }
}

/// Retry-After: seconds, then perhaps a comment and parameters (RFC 3261 §20.33).
fn retry_after(message: Message<'_>) -> Option<Duration> {
    let value = message.header(HeaderName::RetryAfter)?.value.trim_ascii();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = std::str::from_utf8(value.get(..digits)?).ok()?;
    let seconds: u64 = digits.parse().unwrap_or(if digits.is_empty() { 0 } else { u64::MAX });
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX)).filter(|wait| *wait > Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::limits::Limits;
    use strowger_sip::message::Head;

    fn judged(status: u16, more: &str, kind: Kind, purpose: Purpose) -> Verdict {
        let text = format!("SIP/2.0 {status} x\r\n{more}Content-Length: 0\r\n\r\n");
        let mut head = Head::default();
        // Without Via and its kin the message cannot be used otherwise, but its fields are read.
        let _ = head.parse(text.as_bytes(), &Limits::STREAM);
        judge(kind, purpose, Heard::Response(head.message(text.as_bytes())))
    }

    #[test]
    fn every_class_of_answer_has_its_meaning() {
        use Kind::{Publication as P, Subscription as S};
        use Purpose::{Begin, Modify, Refresh};
        for (status, more, kind, purpose, verdict) in [
            (100, "", P, Begin, Verdict::Provisional),
            (200, "", P, Begin, Verdict::Done),
            (202, "", S, Begin, Verdict::Done),
            (
                302,
                "Contact: <sip:p@192.0.2.9>\r\n",
                P,
                Begin,
                Verdict::Elsewhere("sip:p@192.0.2.9".into()),
            ),
            (302, "", P, Begin, Verdict::Refused),
            (401, "", P, Modify, Verdict::Challenged),
            (407, "", S, Begin, Verdict::Challenged),
            (412, "", P, Modify, Verdict::Gone),
            (412, "", P, Begin, Verdict::Refused),
            (423, "Min-Expires: 600\r\n", S, Begin, Verdict::TooBrief(600)),
            (423, "", S, Begin, Verdict::Refused),
            (404, "", S, Begin, Verdict::Refused),
            (404, "", S, Refresh, Verdict::Gone),
            (404, "", P, Refresh, Verdict::Refused),
            (481, "", S, Refresh, Verdict::Gone),
            (489, "", S, Begin, Verdict::Refused),
            (403, "", P, Begin, Verdict::Refused),
            (
                503,
                "Retry-After: 18 (soon);duration=3\r\n",
                P,
                Begin,
                Verdict::Later(Some(secs(18))),
            ),
            (
                503,
                "Retry-After: 99999999999999999999999\r\n",
                P,
                Begin,
                Verdict::Later(Some(RETRY_AFTER_MAX)),
            ),
            (500, "Retry-After: soon\r\n", P, Begin, Verdict::Later(None)),
        ] {
            assert_eq!(judged(status, more, kind, purpose), verdict, "{status} {more}");
        }
        assert_eq!(judge(P, Begin, Heard::Timeout), Verdict::Later(None));
        assert_eq!(status(Heard::Transport), 503);
    }
}
