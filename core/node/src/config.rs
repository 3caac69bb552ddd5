//! Configuration files: TOML into the sections that `strowger_sip::settings` reads.
//!
//! For: keeping line numbers, and reporting every mistake of syntax at once.
//! Not here: what keys mean (each reader of a section).

use std::fs;
use std::path::Path;
use strowger_sip::settings::{Configuration, Entry, Place, Problem, Problems, Table, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file; what is wrong with its syntax comes with what could be read all the same.
pub fn read_file(path: &Path) -> (Configuration, Problems) {
    let source = path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => parse(&source, &String::from_utf8_lossy(&bytes)),
        Err(cause) => {
            let mut problems = Problems::new(&source);
            problems.add(syntax(Place::Source, format!("cannot be read: {cause}")));
            (Configuration::empty(&source), problems)
        }
    }
}

/// Reads TOML from memory; `source` names it in problems.
pub fn parse(source: &str, text: &str) -> (Configuration, Problems) {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems = Problems::new(source);
    for error in errors {
        let place = error.span().map_or(Place::Source, |span| lines.place(span.start));
        problems.add(syntax(place, error.message().to_owned()));
    }
    let root = table(Place::Source, document.get_ref(), &lines);
    (Configuration { source: source.to_owned(), root }, problems)
}

fn syntax(place: Place, what: String) -> Problem {
    Problem { place, key: String::new(), what, allowed: String::new() }
}

fn table(place: Place, from: &DeTable<'_>, lines: &Lines) -> Table {
    let entries = from.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        place: lines.place(key.span().start),
        value: convert(value, lines),
    });
    Table { place, entries: entries.collect() }
}

fn convert(from: &Spanned<DeValue<'_>>, lines: &Lines) -> Value {
    let place = lines.place(from.span().start);
    match from.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("an integer past 64 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::Other("a number out of range"),
        },
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| (lines.place(item.span().start), convert(item, lines)))
                .collect(),
        ),
        DeValue::Table(inner) => Value::Table(table(place, inner, lines)),
    }
}

/// Where each line of a text begins.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Lines {
        let after_ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines { starts: std::iter::once(0).chain(after_ends).collect() }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        Place::Line(u32::try_from(line).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind_with_their_lines() {
        let text =
            "[a]\nx = 1\ny = \"two\"\n\nz = [true,\n 2.5, 0x1F]\n[[b]]\nk = 1\n[[b]]\nk = 2\n";
        let (configuration, problems) = parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (seen, problems) = configuration.read(|root| {
            let numbers = root.sections("b", |b| b.integer("k", 0, 0..=9));
            let mut a = root.section("a");
            let x = a.integer("x", 0, 0..=9);
            (x, a.string("y"), a.strings("z"), numbers)
        });
        assert_eq!(seen, (1, Some("two".into()), Some(vec![]), vec![1, 2]));
        let lines: Vec<Place> = problems.sorted().iter().map(|problem| problem.place).collect();
        assert_eq!(lines, [Place::Line(5), Place::Line(6), Place::Line(6)]);
    }

    #[test]
    fn every_mistake_of_syntax_is_reported() {
        let (_, problems) = parse("t.toml", "[a]\nx = \ny = 1\nz = tru\n");
        let lines: Vec<Place> = problems.sorted().iter().map(|problem| problem.place).collect();
        assert_eq!(lines, [Place::Line(2), Place::Line(4)], "{problems}");
    }

    #[test]
    fn a_key_given_twice_is_reported() {
        let (_, problems) = parse("t.toml", "[a]\nx = 1\nx = 2\n");
        assert!(problems.to_string().starts_with("t.toml:3: duplicate key"), "{problems}");
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        let (_, problems) = read_file(Path::new("/nonexistent/strowger.toml"));
        assert!(problems.to_string().starts_with("/nonexistent/strowger.toml: cannot be read"));
    }
}
