//! Trusted requests: source, transport, and patterns over From and Request-URI.
//!
//! For: `allow_trusted` (Kamailio's table `trusted`, version 6).
//! Not here: plain address lists (`address.rs`).
//! Invariants: patterns are matched in time linear in the text, whatever they say (`regex-lite`);
//! a row whose pattern cannot be used matches nothing.

use super::address::{Allowed, Group};
use super::prefix::{Prefix, PrefixTable};
use regex_lite::Regex;
use std::net::IpAddr;
use std::rc::Rc;
use strowger_sip::transport::Transport;

/// Longest pattern, in bytes. Kamailio's columns hold 64.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// The transports that a row speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// `any`
    Any,
    /// `none`: the row is switched off.
    None,
    /// One transport.
    Only(Transport),
}

impl Proto {
    /// Reads `any`, `none`, `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub fn parse(text: &str) -> Option<Proto> {
        match text {
            "any" => Some(Proto::Any),
            "none" => Some(Proto::None),
            name => Transport::from_name(name.as_bytes()).map(Proto::Only),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Proto::Any => "any",
            Proto::None => "none",
            Proto::Only(transport) => transport.uri_name(),
        }
    }

    fn matches(self, transport: Transport) -> bool {
        match self {
            Proto::Any => true,
            Proto::None => false,
            Proto::Only(own) => own == transport,
        }
    }
}

/// A regular expression that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks an expression; `None` when it is none or too long.
    pub fn new(text: &str) -> Option<Pattern> {
        let fits = text.len() <= PATTERN_BYTES_MAX && Regex::new(text).is_ok();
        fits.then(|| Pattern(text.to_owned()))
    }
}

/// One row, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The source; `None` for any.
    pub source: Option<Prefix>,
    /// The transport.
    pub proto: Proto,
    /// What the From URI must match.
    pub from_pattern: Option<Pattern>,
    /// What the Request-URI must match.
    pub ruri_pattern: Option<Pattern>,
    /// What a routing learns of a match, if anything.
    pub tag: Option<String>,
    /// Rows of higher priority are tried first.
    pub priority: u32,
}

/// What is asked of the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) ip: IpAddr,
    pub(super) transport: Transport,
    pub(super) from: &'a [u8],
    pub(super) request_uri: &'a [u8],
}

/// A pattern in use. Each shard compiles its own: a shared one would share its scratch memory.
#[derive(Debug)]
struct Matcher(Option<Regex>);

impl Matcher {
    fn new(pattern: Option<&Pattern>) -> Result<Matcher, regex_lite::Error> {
        pattern.map(|Pattern(text)| Regex::new(text)).transpose().map(Matcher)
    }

    /// A text that is not UTF-8 matches no pattern.
    fn matches(&self, text: &[u8]) -> bool {
        self.0
            .as_ref()
            .is_none_or(|regex| std::str::from_utf8(text).is_ok_and(|text| regex.is_match(text)))
    }

    fn text(&self) -> &str {
        self.0.as_ref().map_or("", Regex::as_str)
    }
}

#[derive(Debug)]
struct Row {
    source: Option<Prefix>,
    proto: Proto,
    from: Matcher,
    request_uri: Matcher,
    tag: Option<Rc<str>>,
    priority: u32,
}

impl Row {
    fn new(trusted: &Trusted) -> Result<Row, regex_lite::Error> {
        Ok(Row {
            source: trusted.source,
            proto: trusted.proto,
            from: Matcher::new(trusted.from_pattern.as_ref())?,
            request_uri: Matcher::new(trusted.ruri_pattern.as_ref())?,
            tag: trusted.tag.as_deref().map(Rc::from),
            priority: trusted.priority,
        })
    }

    fn matches(&self, asked: &Question<'_>) -> bool {
        self.proto.matches(asked.transport)
            && self.from.matches(asked.from)
            && self.request_uri.matches(asked.request_uri)
    }
}

/// A list that is in use, by falling priority.
#[derive(Debug)]
pub(super) struct TrustedList {
    rows: Vec<Row>,
    by_source: PrefixTable<usize>,
    of_any_source: Vec<usize>,
}

impl TrustedList {
    pub(super) fn new(list: &[Trusted]) -> TrustedList {
        let mut rows: Vec<Row> = list.iter().filter_map(|row| Row::new(row).ok()).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.priority));
        let sourced = |(index, row): (usize, &Row)| row.source.map(|source| (source, index));
        let by_source = PrefixTable::new(rows.iter().enumerate().filter_map(sourced));
        let any = rows.iter().enumerate().filter(|(_, row)| row.source.is_none());
        let of_any_source = any.map(|(index, _)| index).collect();
        TrustedList { rows, by_source, of_any_source }
    }

    /// The row of the highest priority that a request matches.
    pub(super) fn find(&self, asked: &Question<'_>) -> Option<Allowed> {
        let candidates = self.by_source.matches(asked.ip).chain(&self.of_any_source);
        let index = candidates
            .filter(|&&index| self.rows.get(index).is_some_and(|row| row.matches(asked)))
            .min()?;
        let row = self.rows.get(*index)?;
        Some(Allowed::new(Group(0), row.tag.clone()))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row, by falling priority, as texts for an operator.
    pub(super) fn rows(&self) -> impl Iterator<Item = Shown<'_>> {
        self.rows.iter().map(|row| Shown {
            source: row.source.map_or_else(|| "any".to_owned(), |source| source.to_string()),
            proto: row.proto.name(),
            from_pattern: row.from.text(),
            ruri_pattern: row.request_uri.text(),
            tag: row.tag.as_deref().unwrap_or(""),
            priority: row.priority,
        })
    }
}

/// A row as an operator sees it.
pub(super) struct Shown<'l> {
    pub(super) source: String,
    pub(super) proto: &'static str,
    pub(super) from_pattern: &'l str,
    pub(super) ruri_pattern: &'l str,
    pub(super) tag: &'l str,
    pub(super) priority: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(source: Option<&str>, from: Option<&str>, ruri: Option<&str>, tag: &str) -> Trusted {
        Trusted {
            source: source.and_then(Prefix::parse),
            proto: Proto::Only(Transport::Udp),
            from_pattern: from.and_then(Pattern::new),
            ruri_pattern: ruri.and_then(Pattern::new),
            tag: Some(tag.to_owned()),
            priority: 0,
        }
    }

    fn ask<'a>(ip: &str, from: &'a [u8], request_uri: &'a [u8]) -> Question<'a> {
        let ip = ip.parse().expect("an address");
        Question { ip, transport: Transport::Udp, from, request_uri }
    }

    fn tag(list: &TrustedList, asked: &Question<'_>) -> Option<String> {
        list.find(asked).map(|allowed| allowed.tag().unwrap_or("").to_owned())
    }

    #[test]
    fn source_and_both_patterns_must_match() {
        let list = TrustedList::new(&[
            row(Some("192.0.2.0/24"), Some("^sip:.*@example\\.com$"), Some("^sip:\\+39"), "a"),
            row(Some("192.0.2.9"), None, None, "b"),
        ]);
        let from = b"sip:x@example.com".as_slice();
        assert_eq!(tag(&list, &ask("192.0.2.1", from, b"sip:+390@a")), Some("a".into()));
        assert_eq!(tag(&list, &ask("192.0.2.1", from, b"sip:0039@a")), None);
        assert_eq!(tag(&list, &ask("192.0.2.9", from, b"sip:0039@a")), Some("b".into()));
        assert_eq!(tag(&list, &ask("192.0.3.1", from, b"sip:+390@a")), None);
        assert_eq!(tag(&list, &ask("192.0.2.1", b"sip:\xff@example.com", b"sip:+39@a")), None);
        let tcp = Question { transport: Transport::Tcp, ..ask("192.0.2.9", from, b"sip:a@a") };
        assert_eq!(tag(&list, &tcp), None);
    }

    #[test]
    fn a_higher_priority_is_tried_first() {
        let mut any = row(None, None, None, "any");
        any.priority = 5;
        let mut off = row(None, None, None, "off");
        (off.priority, off.proto) = (9, Proto::None);
        let list = TrustedList::new(&[row(Some("192.0.2.9"), None, None, "one"), any, off]);
        assert_eq!(tag(&list, &ask("192.0.2.9", b"", b"")), Some("any".into()));
    }

    #[test]
    fn a_pattern_is_checked_when_it_is_made() {
        assert!(Pattern::new("^sip:(").is_none());
        assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_none());
    }

    #[test]
    fn a_hostile_text_takes_linear_time() {
        let list = TrustedList::new(&[row(None, Some("^(a+)+$"), None, "slow")]);
        let mut text = vec![b'a'; 1000];
        text.push(b'!');
        assert_eq!(tag(&list, &ask("192.0.2.1", &text, b"")), None);
    }
}
