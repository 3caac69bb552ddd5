//! Texts with blanks to fill in: `<sip:bob@192.0.2.20>;tag=$b`.
//!
//! For: writing values into what is sent (`$x`), comparing what is read, and capturing parts of it.
//! Invariants: a name captures once; from then on it stands for what it captured.
//!
//! In both: `$name` or `${name}`, `\r \n \t \0 \xNN`, and a backslash before any other character
//! means that character. In what is read, `*` stands for any text. A new name that is the whole
//! template captures the whole text, within a template up to where a parameter or an address ends.

use super::text::octet;
use std::collections::BTreeMap;

/// What names stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    captured: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(char),
    Any,
    Name(String),
}

/// Looks up the names that are not captured but known, for example `A.tag`.
pub(super) type Known<'k> = &'k dyn Fn(&str) -> Option<String>;

impl Names {
    /// Fills the names in.
    pub(super) fn fill(&self, template: &str, known: Known<'_>) -> Result<String, String> {
        let mut filled = String::new();
        for piece in pieces(template)? {
            match piece {
                Piece::Literal(character) => filled.push(character),
                Piece::Any => filled.push('*'),
                Piece::Name(name) => {
                    let value = self.value(&name, known);
                    filled.push_str(&value.ok_or_else(|| format!("${name} is not known"))?);
                }
            }
        }
        Ok(filled)
    }

    /// Compares a text with a template; names that are new capture what stands in their place.
    pub(super) fn matches(
        &mut self,
        template: &str,
        text: &str,
        known: Known<'_>,
    ) -> Result<bool, String> {
        let mut wanted = pieces(template)?;
        // What is known already is compared like any other text.
        let mut index = 0;
        while let Some(piece) = wanted.get(index) {
            if let Piece::Name(name) = piece
                && let Some(value) = self.value(name, known)
            {
                let literal: Vec<Piece> = value.chars().map(Piece::Literal).collect();
                let length = literal.len();
                wanted.splice(index..=index, literal);
                index += length;
            } else {
                index += 1;
            }
        }
        if let [Piece::Name(name)] = wanted.as_slice() {
            self.captured.insert(name.clone(), text.to_owned());
            return Ok(true);
        }
        let text: Vec<char> = text.chars().collect();
        let mut captures = Vec::new();
        let found = fits(&wanted, &text, &mut captures);
        if found {
            self.captured.extend(captures);
        }
        Ok(found)
    }

    fn value(&self, name: &str, known: Known<'_>) -> Option<String> {
        self.captured.get(name).cloned().or_else(|| known(name))
    }
}

/// Whether the text is what the pieces say; shortest captures first.
fn fits(wanted: &[Piece], text: &[char], captures: &mut Vec<(String, String)>) -> bool {
    let Some((piece, rest)) = wanted.split_first() else { return text.is_empty() };
    match piece {
        Piece::Literal(character) => {
            text.first() == Some(character) && fits(rest, &text[1..], captures)
        }
        Piece::Any => (0..=text.len()).any(|length| fits(rest, &text[length..], captures)),
        Piece::Name(name) => {
            let longest = text.iter().take_while(|c| !";,<>\" \t".contains(**c)).count();
            (1..=longest).any(|length| {
                let value: String = text[..length].iter().collect();
                let earlier = captures.iter().find(|(other, _)| other == name);
                if earlier.is_some_and(|(_, other)| *other != value) {
                    return false;
                }
                let mark = captures.len();
                captures.push((name.clone(), value));
                let found = fits(rest, &text[length..], captures);
                if !found {
                    captures.truncate(mark);
                }
                found
            })
        }
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '*' => pieces.push(Piece::Any),
            '\\' => pieces.push(Piece::Literal(escape(&mut rest)?)),
            '$' => {
                let braces = rest.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(next) = rest.next_if(|c| c.is_alphanumeric() || "_.".contains(*c)) {
                    name.push(next);
                }
                if name.is_empty() || (braces && rest.next_if_eq(&'}').is_none()) {
                    return Err(format!("`{template}`: write $name, ${{name}} or \\$"));
                }
                pieces.push(Piece::Name(name));
            }
            other => pieces.push(Piece::Literal(other)),
        }
    }
    Ok(pieces)
}

fn escape(rest: &mut impl Iterator<Item = char>) -> Result<char, String> {
    match rest.next() {
        Some('r') => Ok('\r'),
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('0') => Ok('\0'),
        Some('x') => {
            let digits: String = rest.take(2).collect();
            u8::from_str_radix(&digits, 16)
                .map(octet)
                .map_err(|_| format!("\\x{digits}: two hexadecimal digits are wanted"))
        }
        Some(other) => Ok(other),
        None => Err("a backslash at the end of the line".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_name_captures_once() {
        let mut names = Names::default();
        let template = "SIP/2.0/UDP 192.0.2.1;branch=$b;rport";
        let text = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx;rport";
        assert_eq!(names.matches(template, text, &nothing), Ok(true));
        assert_eq!(names.fill("<${b}>", &nothing).as_deref(), Ok("<z9hG4bKx>"));
        assert_eq!(names.matches("$b", "other", &nothing), Ok(false));
    }

    #[test]
    fn a_star_is_anything_and_a_backslash_takes_its_meaning() {
        let mut names = Names::default();
        assert_eq!(names.matches("<sip:*>;tag=*", "<sip:a@b>;tag=", &nothing), Ok(true));
        assert_eq!(names.matches(r"\*", "x", &nothing), Ok(false));
        assert_eq!(names.matches(r"\*", "*", &nothing), Ok(true));
        assert_eq!(names.fill(r"a\x41\r\\", &nothing).as_deref(), Ok("aA\r\\"));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let names = Names::default();
        assert_eq!(names.fill("$x", &nothing), Err("$x is not known".to_owned()));
        assert_eq!(names.fill("$A.tag", &|name| Some(name.to_owned())).as_deref(), Ok("A.tag"));
    }
}
