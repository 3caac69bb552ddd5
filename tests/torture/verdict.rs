//! What a proxy owes a message of a torture RFC, and the check that it gives it.
//!
//! For: the tables of `rfc4475.rs` and `rfc5118.rs`: one verdict a file, none left out.
//! Not here: input of our own invention (the other files of this folder).
//! Invariants: what is relayed differs from what came only where RFC 3261 §16.6 says so.

use crate::proxy::{self, CALLER, CALLER_V6, Mail, Proxy, unfolded, values};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use strowger_sip::limits::Limits;
use strowger_sip::message::{Head, HeaderName, Message, StartLine};

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It goes on as it came, to this host name or address.
    Relayed(&'static str),
    /// The same, by way of a strict router: its URI and the Request-URI change places (§16.6 step
    /// 6).
    RelayedStrictly(&'static str),
    /// It is refused with this status.
    Refused(u16),
    /// Nothing is sent; this counter says why.
    Dropped(&'static str),
}

/// A file, its verdict and the reason: a section of the RFC and what it asks for.
pub(crate) type Case = (&'static str, Verdict, &'static str);

/// Checks every file of a folder of `tests/messages` against its line of the table.
///
/// # Panics
/// When a verdict is not met, a file has no verdict, or a verdict no file.
pub(crate) fn check(folder: &str, cases: &[Case]) {
    let listed: BTreeSet<String> = cases.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(listed.len(), cases.len(), "a file is listed twice");
    assert_eq!(listed, files(folder), "table and folder differ");
    for (name, verdict, why) in cases {
        let what = format!("{folder}/{name} ({why}): {verdict:?}");
        one(&what, &file(folder, name), folder == "rfc5118", *verdict);
    }
}

fn path(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("messages").join(folder)
}

/// A message's octets.
pub(crate) fn file(folder: &str, name: &str) -> Vec<u8> {
    let path = path(folder).join(format!("{name}.sip"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path(folder)).expect("a folder of tests/messages");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let messages = paths.filter(|path| path.extension().is_some_and(|text| text == "sip"));
    messages.map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into()).collect()
}

fn one(what: &str, bytes: &[u8], is_v6: bool, verdict: Verdict) {
    let mut proxy = Proxy::new();
    let mut sent = proxy.hear_from(if is_v6 { CALLER_V6 } else { CALLER }, bytes);
    let head = read(bytes);
    let message = head.message(bytes);
    match verdict {
        Verdict::Relayed(to) | Verdict::RelayedStrictly(to) => {
            sent.retain(|mail| mail.status() != 100);
            let [mail] = sent.as_slice() else { panic!("{what}: sent {}", sent.len()) };
            let goes_to = proxy.asked.first().cloned().unwrap_or_else(|| mail.to.to_string());
            assert_eq!(goes_to, to, "{what}");
            let is_strict = matches!(verdict, Verdict::RelayedStrictly(_));
            relayed(what, message, mail.message(), is_strict);
            answered_through(what, &mut proxy, message, mail);
        }
        Verdict::Refused(status) => {
            let [mail] = sent.as_slice() else { panic!("{what}: sent {}", sent.len()) };
            assert_eq!(mail.status(), status, "{what}");
            refused(what, message, mail.message());
        }
        Verdict::Dropped(counter) => {
            assert!(sent.is_empty(), "{what}: sent {}", sent.len());
            assert_eq!(proxy.count(counter), 1, "{what}");
        }
    }
    proxy.rest();
}

/// What can be read of a message, faults or not.
fn read(bytes: &[u8]) -> Head {
    let mut head = Head::default();
    let _ = head.parse(bytes, &Limits::DATAGRAM);
    head
}

fn relayed(what: &str, before: Message<'_>, after: Message<'_>, is_strict: bool) {
    let uri = |message: Message<'_>| unfolded(message.request_uri().unwrap_or_default());
    let route = |message: Message<'_>| values(message, HeaderName::Route).join(", ");
    assert_eq!(before.method(), after.method(), "{what}");
    if is_strict {
        assert_eq!(route(before), format!("<{}>", uri(after)), "{what}");
        assert_eq!(route(after), format!("<{}>", uri(before)), "{what}");
    } else {
        assert_eq!(uri(before), uri(after), "{what}");
        assert_eq!(route(before), route(after), "{what}");
    }
    assert_eq!(others(before), others(after), "{what}");
    assert_eq!(before.body(), after.body(), "{what}");
    assert_eq!(after.content_length(), Ok(Some(before.body().len())), "{what}");
    let hops = before.max_forwards().expect("a number").map_or(70, |hops| (hops - 1).min(70));
    assert_eq!(after.max_forwards(), Ok(Some(hops)), "{what}");
    let via = |message: Message<'_>, nth: usize| {
        let via = message.vias().nth(nth).expect("a Via").expect("a good Via");
        let transport = unfolded(via.transport.as_bytes());
        (transport, unfolded(via.version), unfolded(via.sent_by), via.branch().map(unfolded))
    };
    let count = before.vias().count();
    assert_eq!(after.vias().count(), count + 1, "{what}");
    for nth in 0..count {
        assert_eq!(via(before, nth), via(after, nth + 1), "{what}");
    }
}

/// The headers that a proxy passes on as they came, in their order.
fn others(message: Message<'_>) -> Vec<(String, String)> {
    let changed = |name| {
        let changed = [HeaderName::Via, HeaderName::MaxForwards, HeaderName::Route];
        changed.contains(&name) || name == HeaderName::ContentLength
    };
    let others = message.fields().filter(|field| !changed(field.name));
    others.map(|field| (unfolded(field.name_bytes), unfolded(field.value))).collect()
}

/// An answer comes back to who asked, without the proxy's Via.
fn answered_through(what: &str, proxy: &mut Proxy, request: Message<'_>, relayed: &Mail) {
    let status = 404;
    let answer = proxy::answer_to(relayed.message(), status);
    let from = relayed.to.to_string();
    let sent = proxy.hear_from(&from, &answer);
    let upstream: Vec<&Mail> = sent.iter().filter(|mail| mail.status() == status).collect();
    let [mail] = upstream.as_slice() else { panic!("{what}: the answer is not relayed") };
    assert_eq!(mail.message().vias().count(), request.vias().count(), "{what}");
}

/// An answer of the proxy itself repeats what the caller needs to know it by (§8.2.6.2).
fn refused(what: &str, request: Message<'_>, answer: Message<'_>) {
    for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        let first = values(request, name).into_iter().next();
        assert_eq!(values(answer, name).into_iter().next(), first, "{what}");
    }
    let branch = |message: Message<'_>| {
        let via = message.top_via().expect("a top Via");
        (unfolded(via.sent_by), via.branch().map(unfolded))
    };
    assert_eq!(branch(answer), branch(request), "{what}");
    let to = values(request, HeaderName::To).into_iter().next();
    let answered = values(answer, HeaderName::To).into_iter().next();
    match (to, answered) {
        (Some(to), Some(answered)) => assert!(answered.starts_with(&to), "{what}: {answered}"),
        (None, None) => {}
        (to, answered) => panic!("{what}: To {to:?} became {answered:?}"),
    }
    let is_answer = matches!(answer.start_line(), StartLine::Response { .. });
    assert!(is_answer && answer.body().is_empty(), "{what}");
}
