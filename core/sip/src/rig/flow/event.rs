//! Reading what happens: one event a line, with details indented below.
//!
//! For: `A -> INVITE sip:bob@192.0.2.20`, `B <- INVITE`, `wait 1s` and their kin.
//! Not here: carrying them out (`runner.rs`).

use super::parse::span;
use super::script::{
    Block, Change, Check, Endpoint, Event, Fault, Found, Options, Outgoing, Wanted,
};

const EVENTS: &str = "an event is `A -> MESSAGE`, `A <- MESSAGE`, `wait SPAN`, `at TIME`, \
    `skip SPAN`, `skip to TIME`, `quiet`, `empty`, `drain`, `waited SPAN`, `asks NAME`, \
    `name NAME ADDRESS ...`, `count NAME N`, `alive NAME N` or `expect $x = $y`";

/// Reads an event.
pub(super) fn parse(block: &Block, words: &[String]) -> Result<Event, Fault> {
    let fault = |what: String| Fault { line: block.line, what };
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    let event = match texts.as_slice() {
        [party, "->", rest @ ..] => return send(party, rest, block),
        [party, "<-", rest @ ..] => return read(party, rest, block),
        ["wait", time] => span(time).map(Event::Wait),
        ["at", time] => span(time).map(Event::At),
        ["skip", "to", time] => span(time).map(Event::SkipTo),
        ["skip", time] => span(time).map(Event::Skip),
        ["quiet"] => Ok(Event::Quiet),
        ["empty"] => Ok(Event::Empty),
        ["drain"] => Ok(Event::Drain),
        ["waited", delay] => span(delay).map(Event::Waited),
        ["asks", name] => Ok(Event::Asks((*name).to_owned())),
        ["name", name, rest @ ..] => {
            found(rest).map(|found| Event::Name((*name).to_owned(), found))
        }
        ["count", name, value] => {
            number(value).map(|value| Event::Count { name: (*name).to_owned(), value })
        }
        ["alive", name, value] => {
            number(value).map(|value| Event::Alive { name: (*name).to_owned(), value })
        }
        ["expect", left, sign @ ("=" | "!="), right] => Ok(Event::Compare {
            left: (*left).to_owned(),
            same: *sign == "=",
            right: (*right).to_owned(),
        }),
        _ => Err(EVENTS.to_owned()),
    };
    match block.details.first() {
        Some((line, _)) if event.is_ok() => {
            Err(Fault { line: *line, what: "nothing can be indented below this event".to_owned() })
        }
        Some(_) | None => event.map_err(fault),
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn found(words: &[&str]) -> Result<Found, String> {
    match words {
        ["unknown"] => Ok(Found::Unknown),
        ["failed"] => Ok(Found::Failed),
        [] => Err("write the addresses of the name, or `unknown`, or `failed`".to_owned()),
        _ => {
            let places: Result<Vec<Endpoint>, String> =
                words.iter().map(|word| word.parse()).collect();
            places.map(Found::Places)
        }
    }
}

/// A method name in capitals, as opposed to a keyword.
fn is_method(word: &str) -> bool {
    word.chars().any(|c| c.is_ascii_uppercase()) && !word.chars().any(|c| c.is_ascii_lowercase())
}

fn send(party: &str, rest: &[&str], block: &Block) -> Result<Event, Fault> {
    let fault = |what: String| Fault { line: block.line, what };
    let Some((first, mut rest)) = rest.split_first() else {
        return Err(fault("what is sent?".to_owned()));
    };
    let mut options = Options::default();
    let mut changes = Vec::new();
    let what = match *first {
        "again" => {
            let of = rest.first().filter(|word| !is_option(word)).map(|word| (*word).to_owned());
            rest = rest.get(usize::from(of.is_some())..).unwrap_or(&[]);
            Outgoing::Again(of)
        }
        "raw" => Outgoing::Raw(raw(block)?),
        "file" => {
            let Some((name, after)) = rest.split_first() else {
                return Err(fault("write `A -> file invite.sip`".to_owned()));
            };
            rest = after;
            Outgoing::File((*name).to_owned())
        }
        code if code.starts_with(|c: char| c.is_ascii_digit()) => {
            let reason =
                rest.first().filter(|word| !is_option(word)).map(|word| (*word).to_owned());
            rest = rest.get(usize::from(reason.is_some())..).unwrap_or(&[]);
            Outgoing::Response { code: number(code).map_err(fault)?, reason }
        }
        method => {
            let uri = rest.first().filter(|word| !is_option(word)).map(|word| (*word).to_owned());
            rest = rest.get(usize::from(uri.is_some())..).unwrap_or(&[]);
            Outgoing::Request { method: method.to_owned(), uri }
        }
    };
    read_options(rest, &mut options).map_err(fault)?;
    match what {
        Outgoing::Request { .. } | Outgoing::Response { .. } => changes = read_changes(block)?,
        Outgoing::Raw(_) => {}
        Outgoing::Again(_) | Outgoing::File(_) => no_details(block)?,
    }
    Ok(Event::Send { party: party.to_owned(), what, options, changes })
}

fn no_details(block: &Block) -> Result<(), Fault> {
    match block.details.first() {
        Some((line, _)) => {
            Err(Fault { line: *line, what: "this message is sent as it is".to_owned() })
        }
        None => Ok(()),
    }
}

fn raw(block: &Block) -> Result<Vec<String>, Fault> {
    let lines = block.details.iter().map(|(line, text)| match text.strip_prefix('|') {
        Some(rest) => Ok(rest.strip_prefix(' ').unwrap_or(rest).to_owned()),
        None => Err(Fault { line: *line, what: "a raw line begins with `|`".to_owned() }),
    });
    lines.collect()
}

fn is_option(word: &str) -> bool {
    ["from", "to", "call", "with", "for", "tag"].contains(&word)
}

fn read_options(mut rest: &[&str], options: &mut Options) -> Result<(), String> {
    while let Some((key, after)) = rest.split_first() {
        let Some((value, after)) = after.split_first() else {
            return Err(format!("`{key}`: what follows it is missing or not known"));
        };
        let text = Some((*value).to_owned());
        match *key {
            "from" => options.from = Some(value.parse()?),
            "to" => options.to = Some(value.parse()?),
            "call" => options.call = text,
            "with" => options.with = text,
            "for" => options.answering = text,
            "tag" => options.tag = text,
            other => {
                let allowed =
                    "from ADDRESS, to ADDRESS, call NAME, with PARTY, for METHOD, tag TAG";
                return Err(format!("`{other}` is not known here; allowed: {allowed}"));
            }
        }
        rest = after;
    }
    Ok(())
}

/// The name and the value of a header line.
fn header(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(':')?;
    let name = name.trim_end();
    let token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~$".contains(c);
    (!name.is_empty() && name.chars().all(token))
        .then(|| (name.to_owned(), value.trim().to_owned()))
}

fn body_line(text: &str) -> Option<String> {
    let rest = text.strip_prefix('|')?;
    Some(rest.strip_prefix(' ').unwrap_or(rest).to_owned())
}

fn read_changes(block: &Block) -> Result<Vec<Change>, Fault> {
    let mut changes = Vec::new();
    let mut body = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for (line, text) in &block.details {
        let wrong = || Fault {
            line: *line,
            what: "write `Name: value`, `+ Name: value`, `- Name`, `start LINE` or `| body`".into(),
        };
        if let Some(text) = body_line(text) {
            body.push(text);
        } else if let Some(rest) = text.strip_prefix("start ") {
            changes.push(Change::Start(rest.to_owned()));
        } else if let Some(name) = text.strip_prefix("- ") {
            changes.push(Change::Remove(name.trim().to_owned()));
        } else if let Some(rest) = text.strip_prefix("+ ") {
            let (name, value) = header(rest).ok_or_else(wrong)?;
            changes.push(Change::Add(name, value));
        } else {
            let (name, value) = header(text).ok_or_else(wrong)?;
            let key = name.to_ascii_lowercase();
            // The first line of a name replaces what would be written, further ones join it.
            if seen.contains(&key) {
                changes.push(Change::Add(name, value));
            } else {
                changes.push(Change::Set(name, value));
                seen.push(key);
            }
        }
    }
    if !body.is_empty() {
        changes.push(Change::Body(body));
    }
    Ok(changes)
}

fn read(party: &str, rest: &[&str], block: &Block) -> Result<Event, Fault> {
    let fault = |what: &str| Fault { line: block.line, what: what.to_owned() };
    let Some((what, rest)) = rest.split_first() else {
        return Err(fault("what is read? A method or a status code"));
    };
    if !is_method(what) && !what.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(fault("a message is named by its method, in capitals, or by its status code"));
    }
    let refused = rest.last() == Some(&"refused");
    let rest = rest.get(..rest.len() - usize::from(refused)).unwrap_or(&[]);
    let own = rest.first().filter(|word| !is_option(word));
    let mut options = Options::default();
    let after = rest.get(usize::from(own.is_some())..).unwrap_or(&[]);
    read_options(after, &mut options).map_err(|what| fault(&what))?;
    let Options { from, to: None, call: None, with: None, answering, tag: None } = options else {
        return Err(fault("only `from ADDRESS` and `for METHOD` can be said of what is read"));
    };
    let wanted = Wanted {
        what: (*what).to_owned(),
        rest: own.map(|word| (*word).to_owned()),
        from,
        answering,
        refused,
    };
    Ok(Event::Read { party: party.to_owned(), wanted, checks: read_checks(block)? })
}

fn read_checks(block: &Block) -> Result<Vec<Check>, Fault> {
    let mut checks: Vec<Check> = Vec::new();
    let mut body = None;
    for (line, text) in &block.details {
        if let Some(text) = body_line(text) {
            body.get_or_insert_with(Vec::new).push(text);
        } else if text == "no body" {
            body = Some(Vec::new());
        } else if let Some(name) = text.strip_prefix("has ") {
            checks.push(Check::Has(name.trim().to_owned()));
        } else if let Some(name) = text.strip_prefix("lacks ") {
            checks.push(Check::Lacks(name.trim().to_owned()));
        } else if let Some((name, value)) = header(text) {
            let earlier = checks.iter_mut().find_map(|check| match check {
                Check::Values(have, values) if have.eq_ignore_ascii_case(&name) => Some(values),
                Check::Values(..) | Check::Has(_) | Check::Lacks(_) | Check::Body(_) => None,
            });
            match earlier {
                Some(values) => values.push(value),
                None => checks.push(Check::Values(name, vec![value])),
            }
        } else {
            let what = "write `Name: value`, `has Name`, `lacks Name`, `| body` or `no body`";
            return Err(Fault { line: *line, what: what.to_owned() });
        }
    }
    checks.extend(body.map(Check::Body));
    Ok(checks)
}

impl Wanted {
    /// Whether the addresses fit.
    pub(super) fn is_from(&self, sender: Endpoint) -> bool {
        self.from.is_none_or(|from| from == sender)
    }
}
