//! Comparing a message with what a script expects of it.
//!
//! For: the first difference, in words.
//! Not here: whether a message came at all (`runner.rs`).

use super::script::{Check, Wanted};
use super::template::{Known, Names};
use super::text::Text;

/// Headers whose values are lists in daily use: each member counts as a value.
const LISTS: [&str; 5] = ["via", "route", "record-route", "contact", "unsupported"];

/// `None` when the message is as expected; `Err` when the script itself is wrong.
pub(super) fn compare(
    text: &Text,
    wanted: &Wanted,
    checks: &[Check],
    names: &mut Names,
    known: Known<'_>,
) -> Result<Option<String>, String> {
    if let Some(difference) = start(text, wanted, names, known)? {
        return Ok(Some(difference));
    }
    for check in checks {
        let difference = match check {
            Check::Values(name, values) => compare_values(text, name, values, names, known)?,
            Check::Has(name) if text.get(name).is_none() => Some(format!("a {name} header")),
            Check::Lacks(name) if text.get(name).is_some() => Some(format!("no {name} header")),
            Check::Has(_) | Check::Lacks(_) => None,
            Check::Body(lines) => {
                let body = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
                let same = names.matches(&body, &text.body, known)?;
                (!same).then(|| format!("this body:\n{body}"))
            }
        };
        if difference.is_some() {
            return Ok(difference);
        }
    }
    Ok(None)
}

fn start(
    text: &Text,
    wanted: &Wanted,
    names: &mut Names,
    known: Known<'_>,
) -> Result<Option<String>, String> {
    let (what, rest) = match text.status() {
        Some(code) => (code.to_string(), text.reason()),
        None => (text.method().to_owned(), text.uri()),
    };
    if what != wanted.what {
        return Ok(Some(wanted.what.clone()));
    }
    if let Some(method) = &wanted.answering
        && text.method() != method
    {
        return Ok(Some(format!("{} for {method}", wanted.what)));
    }
    match &wanted.rest {
        Some(template) if !names.matches(template, rest, known)? => {
            Ok(Some(format!("{} {}", wanted.what, show(template, names, known))))
        }
        Some(_) | None => Ok(None),
    }
}

fn compare_values(
    text: &Text,
    name: &str,
    wanted: &[String],
    names: &mut Names,
    known: Known<'_>,
) -> Result<Option<String>, String> {
    let is_list = LISTS.contains(&name.to_ascii_lowercase().as_str()) || name == "v" || name == "m";
    let values: Vec<String> =
        if is_list { text.list(name) } else { text.all(name).map(str::to_owned).collect() };
    let mut same = values.len() == wanted.len();
    for (value, template) in values.iter().zip(wanted) {
        same = same && names.matches(template, value, known)?;
    }
    if same {
        return Ok(None);
    }
    let all: Vec<String> = wanted.iter().map(|value| show(value, names, known)).collect();
    Ok(Some(all.iter().map(|value| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")))
}

/// A template with what is known of it filled in.
fn show(template: &str, names: &Names, known: Known<'_>) -> String {
    names.fill(template, known).unwrap_or_else(|_| template.to_owned())
}
