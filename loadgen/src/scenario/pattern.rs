//! Regular expressions as scenarios write them: POSIX extended, on bytes that need not be text.
//!
//! For: `ereg`, `regexp_match`.
//! Not here: what is searched and where the matches go (`desk/act.rs`).

use regex_lite::Regex;
use std::fmt;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// POSIX syntax is nearly a subset of the library's: only a brace that opens no counted
    /// repetition must be escaped.
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        let regex = Regex::new(&escape_braces(text));
        regex.map(|regex| Pattern { regex }).map_err(|error| format!("{text:?}: {error}"))
    }

    pub(crate) fn is_match(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(&String::from_utf8_lossy(bytes))
    }

    /// The match and its groups; `None` for a group that took no part.
    pub(crate) fn captures(&self, bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
        let text = String::from_utf8_lossy(bytes);
        let captures = self.regex.captures(&text)?;
        let groups = captures.iter();
        Some(groups.map(|group| group.map(|found| found.as_str().as_bytes().to_vec())).collect())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.regex.as_str())
    }
}

fn escape_braces(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let (mut rest, mut in_class) = (text, false);
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        match next {
            '\\' => {
                let taken = 1 + after.chars().next().map_or(0, char::len_utf8);
                escaped.push_str(&rest[..taken]);
                rest = &rest[taken..];
                continue;
            }
            '[' if rest.starts_with("[:") && in_class => {
                // A named class: `[:alnum:]`.
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                escaped.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            '[' if in_class => escaped.push_str("\\["),
            '[' => {
                in_class = true;
                escaped.push('[');
            }
            ']' if in_class && !escaped.ends_with('[') && !escaped.ends_with("[^") => {
                in_class = false;
                escaped.push(']');
            }
            '{' if !in_class && !after.starts_with(|c: char| c.is_ascii_digit()) => {
                escaped.push_str("\\{");
            }
            other => escaped.push(other),
        }
        rest = after;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posix_expressions_of_scenarios_are_understood() {
        let address = "[0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}[:][0-9]{1,5}";
        let pattern = Pattern::new(address).expect("a pattern");
        let found = pattern.captures(b"Via: SIP/2.0/UDP 127.0.0.1:5060;x").expect("a match");
        assert_eq!(found[0].as_deref(), Some(&b"127.0.0.1:5060"[..]));
        let origin = "o=([[:alnum:]]*) ([[:alnum:]]*) ([[:alnum:]]*)";
        let found = Pattern::new(origin).expect("a pattern").captures(b"o=user1 53 23 IN");
        assert_eq!(found.expect("a match").len(), 4);
        assert!(Pattern::new("[^ ].*").expect("a pattern").is_match(b" x"));
        assert!(Pattern::new("a{b}").expect("a pattern").is_match(b"a{b}"));
        assert!(Pattern::new("(").is_err());
    }
}
