//! Reading a script: lines, blocks, and the set-up at its top.
//!
//! For: turning text into a [`Script`], or saying in which line it is wrong.
//! Not here: the events (`event.rs`), the meaning of routes and settings (`routing.rs`, `node.rs`).

use super::event;
use super::script::{Block, Endpoint, Fault, PartyAddress, Script, Setting, Setup};
use crate::time::Duration;

/// Reads a script.
///
/// # Errors
/// The first line that cannot be understood.
pub fn parse(text: &str) -> Result<Script, Fault> {
    let covers = text
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .map(|line| line.trim().to_owned())
        .collect();
    let mut script = Script { covers, setup: Setup::default(), events: Vec::new() };
    for block in blocks(text)? {
        let line = block.line;
        let words = words(&block.text).map_err(|what| Fault { line, what })?;
        match set_up(&mut script.setup, &block, &words) {
            Some(_) if !script.events.is_empty() => {
                let what =
                    "nodes, parties, settings and routes come before what happens".to_owned();
                return Err(Fault { line, what });
            }
            Some(Ok(())) => {}
            Some(Err(what)) => return Err(Fault { line, what }),
            None => {
                let event = event::parse(&block, &words)?;
                script.events.push((block, event));
            }
        }
    }
    Ok(script)
}

/// Gathers the lines with what is indented below them; comments and empty lines go.
fn blocks(text: &str) -> Result<Vec<Block>, Fault> {
    let mut blocks: Vec<Block> = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let line = index + 1;
        let content = whole.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if whole.starts_with([' ', '\t']) {
            let Some(block) = blocks.last_mut() else {
                let what = "an indented line belongs to a line above it".to_owned();
                return Err(Fault { line, what });
            };
            // Blanks at the end of a body's line are part of it.
            let detail = whole.trim_start();
            let detail = if detail.starts_with('|') { detail } else { content };
            block.details.push((line, detail.to_owned()));
        } else {
            let text = content.split_once("  #").map_or(content, |(before, _)| before.trim_end());
            blocks.push(Block { line, text: text.to_owned(), details: Vec::new() });
        }
    }
    Ok(blocks)
}

/// Splits a line at blanks; what stands in double quotes is one word.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quotation mark is missing")?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// `None` when the line is no part of the set-up.
fn set_up(setup: &mut Setup, block: &Block, words: &[String]) -> Option<Result<(), String>> {
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match texts.as_slice() {
        ["node", address] => address.parse().map(|address| setup.listeners.push(address)),
        ["alias", names @ ..] => {
            setup.aliases.extend(names.iter().map(|name| (*name).to_owned()));
            Ok(())
        }
        ["party", name, rest @ ..] => party(name, rest).map(|party| setup.parties.push(party)),
        [kind @ ("timer" | "timers" | "set"), ..] => {
            let words = words.get(1..).unwrap_or(&[]).to_vec();
            setup.settings.push(Setting { line: block.line, kind: (*kind).to_owned(), words });
            Ok(())
        }
        ["route", ..] => {
            setup.routes.push(block.clone());
            return Some(Ok(()));
        }
        ["node", ..] => Err("write `node 192.0.2.1:5060`, a line for each address".to_owned()),
        _ => return None,
    };
    if !block.details.is_empty() {
        return Some(Err("nothing can be indented below this line".to_owned()));
    }
    Some(result)
}

fn party(name: &str, rest: &[&str]) -> Result<PartyAddress, String> {
    let (inside, outside) = match rest {
        [inside] => (inside, inside),
        [inside, "nat", outside] => (inside, outside),
        _ => return Err("write `party A 192.0.2.10:5060` or `... nat 203.0.113.7:40000`".into()),
    };
    if !name.starts_with(|c: char| c.is_ascii_uppercase())
        || !name.chars().all(|c| c.is_ascii_alphanumeric())
    {
        return Err(format!("{name}: a party's name is a capital letter, then letters or digits"));
    }
    let (inside, outside): (Endpoint, Endpoint) = (inside.parse()?, outside.parse()?);
    Ok(PartyAddress { name: name.to_owned(), inside, outside })
}

/// `500ms`, `1.5s`, `3m`, `2h`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1000.0,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3600e6,
        _ => return Err(format!("{text} is no span of time; write 500ms, 1.5s, 3m or 2h")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{text}: {digits:?} is no number"))?;
    Duration::try_from_secs_f64(number * unit / 1e6)
        .map_err(|_| format!("{text} is no span of time"))
        // Timers count whole milliseconds; a fraction of a float must not move them.
        .map(|span| Duration::from_micros((span.as_secs_f64() * 1e6).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ms, secs};

    #[test]
    fn spans() {
        assert_eq!(span("500ms"), Ok(ms(500)));
        assert_eq!(span("1.1s"), Ok(ms(1100)));
        assert_eq!(span("3m"), Ok(secs(180)));
        assert!(span("5").is_err() && span("s").is_err() && span("-1s").is_err());
    }

    #[test]
    fn a_mistake_names_its_line() {
        let line = |text| parse(text).expect_err(text).line;
        assert_eq!(line("# RFC\n\nnode here\n"), 3);
        assert_eq!(line("node 192.0.2.1:5060\nparty a 192.0.2.10:5060\n"), 2);
        assert_eq!(line("wait 1s\nnode 192.0.2.1:5060\n"), 2);
        assert_eq!(line("wait 1s\n\nwhat\n"), 3);
        assert_eq!(line("  X: 1\n"), 1);
    }

    #[test]
    fn words_may_be_quoted() {
        assert_eq!(
            words("A <- 404 \"Not Found\""),
            Ok(vec!["A".into(), "<-".into(), "404".into(), "Not Found".into()])
        );
        assert!(words("\"a").is_err());
    }
}
