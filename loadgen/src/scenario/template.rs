//! The text of a message with its keywords, cut into pieces once so that sending only copies.
//!
//! For: `send`, `assignstr`, `log`, fields of a CSV file.
//! Not here: what keywords are written as (`desk/render.rs`).
//! Invariants: a message has exactly one empty line between head and body, all line ends are CRLF.

use super::ScenarioError;
use super::action::Names;
use super::keyword::{self, Keyword, Site};
use strowger_sip::message::{Method, MethodKind};

/// A text with keywords.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    /// Up to and including the empty line, if this is a message.
    pub(crate) head: Vec<Part>,
    /// What follows the empty line.
    pub(crate) body: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(Box<[u8]>),
    Key(Keyword),
}

impl Template {
    /// A whole message as it stands in a `send`.
    pub(super) fn message(
        text: &str,
        site: Site,
        names: &mut Names,
    ) -> Result<Template, ScenarioError> {
        let blank_lines = text.lines().take_while(|line| line.trim().is_empty()).count();
        let lines: Vec<&str> = text.lines().skip(blank_lines).map(str::trim).collect();
        let first = site.line + u32::try_from(blank_lines).unwrap_or(0);
        let end = lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len());
        let (head, body) = lines.split_at(end);
        if head.is_empty() {
            return Err(ScenarioError::new(site.line, "this message is empty"));
        }
        let body = body
            .iter()
            .rposition(|line| !line.is_empty())
            .map_or(&[][..], |last| body.get(1..=last).unwrap_or(&[]));
        let mut template = Template::default();
        for (line, number) in head.iter().zip(first..) {
            cut(line, Site { line: number, ..site }, names, &mut template.head)?;
            push(&mut template.head, b"\r\n");
        }
        push(&mut template.head, b"\r\n");
        let body_line = first + u32::try_from(head.len()).unwrap_or(0) + 1;
        for (line, number) in body.iter().zip(body_line..) {
            cut(line, Site { line: number, ..site }, names, &mut template.body)?;
            push(&mut template.body, b"\r\n");
        }
        Ok(template)
    }

    /// A text inside a line.
    pub(super) fn inline(
        text: &str,
        site: Site,
        names: &mut Names,
    ) -> Result<Template, ScenarioError> {
        let mut template = Template::default();
        cut(text, site, names, &mut template.head)?;
        Ok(template)
    }

    /// The method, if it begins like a request.
    pub(super) fn method(&self) -> Option<MethodKind> {
        match self.head.first()? {
            Part::Text(text) if text.starts_with(b"SIP/2.0") => None,
            Part::Text(text) => {
                let method = text.split(|byte| *byte == b' ').next().unwrap_or(&[]);
                Some(Method::from_bytes(method).kind())
            }
            Part::Key(_) => Some(MethodKind::Other),
        }
    }

    /// Whether it has no text at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// Its keywords, with those inside of others.
    pub(crate) fn keywords(&self) -> Vec<&Keyword> {
        let mut found = Vec::new();
        for part in self.head.iter().chain(&self.body) {
            let Part::Key(key) = part else { continue };
            found.push(key);
            if let Keyword::Authentication(credentials) = key {
                found.extend(credentials.user.keywords());
                found.extend(credentials.password.keywords());
            }
        }
        found
    }
}

/// Cuts one line at its keywords.
fn cut(
    line: &str,
    site: Site,
    names: &mut Names,
    parts: &mut Vec<Part>,
) -> Result<(), ScenarioError> {
    let mut rest = line;
    while let Some(open) = rest.find('[') {
        let (before, from) = rest.split_at(open);
        let inside = &from[1..];
        push(parts, before.as_bytes());
        if !keyword::begins(inside) {
            push(parts, b"[");
            rest = inside;
            continue;
        }
        let Some(close) = closing(inside) else {
            return Err(ScenarioError::new(site.line, format!("[{inside}: no closing bracket")));
        };
        parts.push(Part::Key(keyword::parse(&inside[..close], site, names)?));
        rest = &inside[close + 1..];
    }
    push(parts, rest.as_bytes());
    Ok(())
}

/// The bracket that closes, with regard to those inside.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, letter)| {
        match letter {
            '[' => depth += 1,
            ']' if depth == 0 => return Some(at),
            ']' => depth -= 1,
            _ => {}
        }
        None
    })
}

/// Appends text, to the text that stands there already if possible.
pub(crate) fn push(parts: &mut Vec<Part>, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    if let Some(Part::Text(last)) = parts.last_mut() {
        *last = [&**last, text].concat().into_boxed_slice();
    } else {
        parts.push(Part::Text(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Template, ScenarioError> {
        Template::message(text, Site { line: 1, step: 0 }, &mut Names::default())
    }

    fn shape(parts: &[Part]) -> Vec<String> {
        let text = |part: &Part| match part {
            Part::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Part::Key(key) => format!("{key:?}"),
        };
        parts.iter().map(text).collect()
    }

    #[test]
    fn indents_go_and_line_ends_are_made() {
        let template = read("\n\n  BYE sip:[service]@[::1] SIP/2.0\n  To: x\n\n ").expect("read");
        let expected = ["BYE sip:", "Service", "@[::1] SIP/2.0\r\nTo: x\r\n\r\n"];
        assert_eq!(shape(&template.head), expected);
        assert!(template.body.is_empty());
        assert_eq!(template.method(), Some(MethodKind::Bye));
    }

    #[test]
    fn a_missing_empty_line_is_added_and_a_body_kept() {
        let template = read("SIP/2.0 200 OK\nContent-Length: [len]\n\nv=0\ns=-\n\n").expect("read");
        assert_eq!(shape(&template.body), ["v=0\r\ns=-\r\n"]);
        assert_eq!(template.method(), None);
        let template = read("ACK sip:a SIP/2.0\nTo: x").expect("read");
        assert_eq!(shape(&template.head), ["ACK sip:a SIP/2.0\r\nTo: x\r\n\r\n"]);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert_eq!(read("BYE sip:a SIP/2.0\nTo: [nothing]").expect_err("unknown").line, 2);
        assert_eq!(read("\nBYE sip:[service").expect_err("open").line, 2);
        assert!(read(" \n ").is_err());
    }
}
