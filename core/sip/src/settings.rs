//! How routings, modules and the node read their configuration: sections of typed values.
//!
//! For: reading one `[section]` with defaults and ranges, and gathering every problem with its
//! place.
//! Not here: files and TOML (`core/node/src/config.rs`), command lines (`core/strowger`).
//! Invariants: reading never stops at a problem; a bad value leaves its default and a [`Problem`].
//! A section that is dropped reports every key nobody asked for, so no reader can forget to.

use crate::time::Duration;
use std::fmt;
use std::ops::RangeInclusive;

/// Where a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Place {
    /// Nowhere in particular: a key or a section that is missing altogether.
    #[default]
    Source,
    /// A line of the file, counted from 1.
    Line(u32),
    /// An argument of the command line, for example `--listen`.
    Argument(&'static str),
}

/// A value as the configuration holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `"text"`.
    String(String),
    /// `42`.
    Integer(i64),
    /// `4.2`.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `[1, 2]`; also the sections of a `[[name]]`.
    List(Vec<(Place, Value)>),
    /// `[name]` or `{ key = value }`.
    Table(Table),
    /// Something that no key takes, for example a date; holds its name.
    Other(&'static str),
}

impl Value {
    const fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "a boolean",
            Value::List(_) => "a list",
            Value::Table(_) => "a section",
            Value::Other(kind) => kind,
        }
    }
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// Where it was written.
    pub place: Place,
    /// What it is set to.
    pub value: Value,
}

/// Keys and values of one section.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    /// Where the section begins.
    pub place: Place,
    /// Its keys, each once.
    pub entries: Vec<Entry>,
}

static EMPTY: Table = Table { place: Place::Source, entries: Vec::new() };

impl Table {
    fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Sets a key, replacing what it was set to.
    pub fn set(&mut self, key: &str, place: Place, value: Value) {
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry { key: key.to_owned(), place, value });
    }
}

/// Something wrong with a configuration: where, what, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key with its section, for example `node.listen`; empty for a mistake of syntax.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What is allowed instead; may be empty.
    pub allowed: String,
}

/// Every problem of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    source: String,
    list: Vec<Problem>,
}

impl Problems {
    /// None so far, for a configuration that was read from `source` (a file's name).
    pub fn new(source: &str) -> Problems {
        Problems { source: source.to_owned(), list: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in the order of their places.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut list: Vec<&Problem> = self.list.iter().collect();
        list.sort_by_key(|problem| problem.place);
        list
    }
}

impl fmt::Display for Problems {
    /// One line each: `file:line: key: what is wrong; allowed: what`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.sorted() {
            match problem.place {
                Place::Source => write!(f, "{}: ", self.source)?,
                Place::Line(line) => write!(f, "{}:{line}: ", self.source)?,
                Place::Argument(name) => write!(f, "{name}: ")?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.what)?;
            if !problem.allowed.is_empty() {
                write!(f, "; allowed: {}", problem.allowed)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A whole configuration: where it came from and its sections.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The file's name, or what stands for it in messages.
    pub source: String,
    /// The sections.
    pub root: Table,
}

impl Configuration {
    /// An empty one: every key has its default.
    pub fn empty(source: &str) -> Configuration {
        Configuration { source: source.to_owned(), root: Table::default() }
    }

    /// Sets `[section] key`, as an argument of the command line does.
    pub fn set(&mut self, section: &str, key: &str, place: Place, value: Value) {
        match self.root.entries.iter_mut().find(|entry| entry.key == section) {
            Some(Entry { value: Value::Table(table), .. }) => table.set(key, place, value),
            Some(_) => {} // not a section: reading it reports that
            None => {
                let mut table = Table { place, entries: Vec::new() };
                table.set(key, place, value);
                self.root.set(section, place, Value::Table(table));
            }
        }
    }

    /// Reads it. Every section must be asked for within this one call; the others are reported as
    /// unknown.
    pub fn read<T>(&self, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Problems) {
        let mut problems = Problems::new(&self.source);
        let mut root = Section::new(String::new(), &self.root, &mut problems);
        let value = read(&mut root);
        drop(root);
        (value, problems)
    }
}

/// What an integer without a unit means where a duration is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `30` is half a minute.
    Seconds,
    /// `500` is half a second.
    Milliseconds,
}

/// A string with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Where.
    pub place: Place,
    /// What.
    pub value: String,
}

/// One section while it is being read.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    table: &'a Table,
    asked: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Section<'a> {
    fn new(path: String, table: &'a Table, problems: &'a mut Problems) -> Section<'a> {
        Section { path, table, asked: Vec::new(), problems }
    }

    /// Whether the key is set; counts as asking for it.
    pub fn is_set(&mut self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// A string, if it is set.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.text(key).map(|text| text.value)
    }

    /// A string, or `default`.
    pub fn string_or(&mut self, key: &'static str, default: &str) -> String {
        self.string(key).unwrap_or_else(|| default.to_owned())
    }

    /// A string with its place, if it is set: for a value that the caller checks further.
    pub fn text(&mut self, key: &'static str) -> Option<Text> {
        let entry = self.entry(key)?;
        let Value::String(value) = &entry.value else {
            return self.wrong_kind(key, entry.place, &entry.value, "a string");
        };
        Some(Text { place: entry.place, value: value.clone() })
    }

    /// A string that `parse` makes something of; its error says what is allowed.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(allowed) => {
                self.report(text.place, key, format!("{:?} cannot be used", text.value), allowed);
                None
            }
        }
    }

    /// One of a few words, or `default`.
    pub fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let Some(text) = self.text(key) else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return *value;
        }
        let allowed: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let what = format!("{:?} is not known", text.value);
        self.report(text.place, key, what, allowed.join(", "));
        default
    }

    /// One of a few words, or its place in the list: Kamailio numbers its modes. Or `default`.
    pub fn mode<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let Some(Entry { value: Value::Integer(number), .. }) = self.entry(key) else {
            return self.choice(key, default, words);
        };
        let place = usize::try_from(*number).ok();
        if let Some((_, value)) = place.and_then(|place| words.get(place)) {
            return *value;
        }
        let allowed: Vec<String> =
            words.iter().zip(0..).map(|((word, _), n)| format!("{n} or \"{word}\"")).collect();
        self.problem(key, format!("{number} is not known"), &allowed.join(", "));
        default
    }

    /// An integer within `allowed`, or `default`.
    pub fn integer(
        &mut self,
        key: &'static str,
        default: u64,
        allowed: RangeInclusive<u64>,
    ) -> u64 {
        self.integer_if_set(key, allowed).unwrap_or(default)
    }

    /// An integer within `allowed`, if it is set.
    pub fn integer_if_set(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        let entry = self.entry(key)?;
        self.checked_integer(key, entry.place, &entry.value, &allowed)
    }

    /// An integer that may be negative, within `allowed`, or `default`.
    pub fn signed(&mut self, key: &'static str, default: i64, allowed: RangeInclusive<i64>) -> i64 {
        let Some(entry) = self.entry(key) else { return default };
        let range = format!("an integer from {} to {}", allowed.start(), allowed.end());
        let Value::Integer(number) = &entry.value else {
            return self.wrong_kind(key, entry.place, &entry.value, &range).unwrap_or(default);
        };
        if !allowed.contains(number) {
            self.report(entry.place, key, format!("{number} is out of range"), range);
            return default;
        }
        *number
    }

    /// A list of integers, each within `allowed`, if it is set.
    pub fn integers(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Option<Vec<u64>> {
        let entry = self.entry(key)?;
        let Value::List(items) = &entry.value else {
            return self.wrong_kind(key, entry.place, &entry.value, "a list of integers");
        };
        let read =
            items.iter().filter_map(|(at, item)| self.checked_integer(key, *at, item, &allowed));
        Some(read.collect())
    }

    /// `true` or `false`, or `default`.
    pub fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else { return default };
        let Value::Boolean(value) = &entry.value else {
            let allowed = "true or false";
            return self.wrong_kind(key, entry.place, &entry.value, allowed).unwrap_or(default);
        };
        *value
    }

    /// A switch, or `default`: `true` and `false`, or 1 and 0 as Kamailio writes them.
    pub fn switch(&mut self, key: &'static str, default: bool) -> bool {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Integer(0)) => false,
            Some(Value::Integer(1)) => true,
            Some(_) | None => self.boolean(key, default),
        }
    }

    /// A span of time within `allowed`, or `default`: `"500ms"`, `"1h30m"`, or an integer in `bare`
    /// units.
    pub fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        allowed: RangeInclusive<Duration>,
        bare: Unit,
    ) -> Duration {
        self.duration_if_set(key, allowed, bare).unwrap_or(default)
    }

    /// The same, if it is set.
    pub fn duration_if_set(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<Duration>,
        bare: Unit,
    ) -> Option<Duration> {
        let entry = self.entry(key)?;
        let range = show_range(&allowed);
        let (written, span) = match (&entry.value, bare) {
            (Value::Integer(n), Unit::Seconds) => {
                (n.to_string(), u64::try_from(*n).ok().map(Duration::from_secs))
            }
            (Value::Integer(n), Unit::Milliseconds) => {
                (n.to_string(), u64::try_from(*n).ok().map(Duration::from_millis))
            }
            (Value::String(text), _) => (format!("{text:?}"), parse_duration(text)),
            (_, _) => return self.wrong_kind(key, entry.place, &entry.value, &range),
        };
        let what = match span {
            Some(span) if allowed.contains(&span) => return Some(span),
            Some(_) => format!("{written} is out of range"),
            None => format!("{written} is not a span of time"),
        };
        let unit = match bare {
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
        };
        self.report(entry.place, key, what, format!("{range}, or an integer in {unit}"));
        None
    }

    /// A list of strings (a single string is a list of one), if it is set.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<Text>> {
        let entry = self.entry(key)?;
        if let Value::String(value) = &entry.value {
            return Some(vec![Text { place: entry.place, value: value.clone() }]);
        }
        let Value::List(items) = &entry.value else {
            return self.wrong_kind(key, entry.place, &entry.value, "a list of strings");
        };
        let mut texts = Vec::with_capacity(items.len());
        for (place, item) in items {
            if let Value::String(value) = item {
                texts.push(Text { place: *place, value: value.clone() });
            } else {
                let _: Option<()> = self.wrong_kind(key, *place, item, "a list of strings");
            }
        }
        Some(texts)
    }

    /// The section of this name within this one; an empty one when it is missing.
    pub fn section(&mut self, key: &'static str) -> Section<'_> {
        let path = self.path_of(key);
        let table = match self.entry(key) {
            None => &EMPTY,
            Some(Entry { value: Value::Table(table), .. }) => table,
            Some(Entry { value, place, .. }) => {
                let _: Option<()> = self.wrong_kind(key, *place, value, &format!("[{path}]"));
                &EMPTY
            }
        };
        Section::new(path, table, self.problems)
    }

    /// Reads every section of a `[[name]]`, in order.
    pub fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let path = self.path_of(key);
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Value::List(items) = &entry.value else {
            let allowed = format!("[[{path}]]");
            return self.wrong_kind(key, entry.place, &entry.value, &allowed).unwrap_or_default();
        };
        let mut results = Vec::with_capacity(items.len());
        for (place, item) in items {
            let Value::Table(table) = item else {
                let _: Option<()> = self.wrong_kind(key, *place, item, &format!("[[{path}]]"));
                continue;
            };
            results.push(read(&mut Section::new(path.clone(), table, self.problems)));
        }
        results
    }

    /// Reports something about a key that only its reader can see; the place is the key's own.
    pub fn problem(&mut self, key: &'static str, what: impl fmt::Display, allowed: &str) {
        let place = self.entry(key).map_or(self.table.place, |entry| entry.place);
        self.report(place, key, what.to_string(), allowed.to_owned());
    }

    /// The same at a place of its own, for example of one item of a list.
    pub fn problem_at(&mut self, at: Place, key: &str, what: impl fmt::Display, allowed: &str) {
        self.report(at, key, what.to_string(), allowed.to_owned());
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    fn checked_integer(
        &mut self,
        key: &str,
        place: Place,
        value: &Value,
        allowed: &RangeInclusive<u64>,
    ) -> Option<u64> {
        let range = match allowed {
            all if *all.end() == u64::MAX => format!("an integer of at least {}", all.start()),
            all => format!("an integer from {} to {}", all.start(), all.end()),
        };
        let Value::Integer(number) = value else {
            return self.wrong_kind(key, place, value, &range);
        };
        match u64::try_from(*number) {
            Ok(number) if allowed.contains(&number) => Some(number),
            Ok(_) | Err(_) => {
                self.report(place, key, format!("{number} is out of range"), range);
                None
            }
        }
    }

    fn wrong_kind<T>(&mut self, key: &str, at: Place, value: &Value, allowed: &str) -> Option<T> {
        self.report(at, key, format!("{} cannot be used here", value.kind()), allowed.to_owned());
        None
    }

    fn report(&mut self, place: Place, key: &str, what: String, allowed: String) {
        let key = self.path_of(key);
        self.problems.add(Problem { place, key, what, allowed });
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for entry in &self.table.entries {
            if self.asked.contains(&entry.key.as_str()) {
                continue;
            }
            let is_section = matches!(entry.value, Value::Table(_));
            let what = match (is_section, nearest(&entry.key, &self.asked)) {
                (true, None) => "unknown section".to_owned(),
                (true, Some(near)) => format!("unknown section; did you mean [{near}]?"),
                (false, None) => "unknown key".to_owned(),
                (false, Some(near)) => format!("unknown key; did you mean \"{near}\"?"),
            };
            let mut known = self.asked.clone();
            known.sort_unstable();
            let key = self.path_of(&entry.key);
            let allowed = known.join(", ");
            self.problems.add(Problem { place: entry.place, key, what, allowed });
        }
    }
}

/// Reads `500ms`, `32s`, `5m`, `12h`, `1d` and sums such as `1h30m`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total_millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match rest.get(..letters)?.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        rest = rest.get(letters..)?;
        total_millis = total_millis.checked_add(number.checked_mul(millis)?)?;
    }
    Some(Duration::from_millis(total_millis))
}

/// The largest unit that divides it, so that what is printed can be pasted into a file.
pub fn show_duration(span: Duration) -> String {
    const UNITS: [(u128, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let millis = span.as_millis();
    let unit = UNITS.iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size));
    match unit {
        Some((size, name)) => format!("{}{name}", millis / size),
        None => format!("{millis}ms"),
    }
}

fn show_range(allowed: &RangeInclusive<Duration>) -> String {
    format!("\"{}\" to \"{}\"", show_duration(*allowed.start()), show_duration(*allowed.end()))
}

/// The known key that differs from `key` by the fewest slips, if they are few for its length.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|word| (slips(key, word), *word)).min()?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn slips(one: &str, two: &str) -> usize {
    let (one, two) = (one.as_bytes(), two.as_bytes());
    let mut before_last = vec![0; two.len() + 1];
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1; two.len() + 1];
        for (j, b) in two.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == two[j - 1] && one[i - 1] == *b {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ms, secs};

    fn configuration(entries: &[(&str, Value)]) -> Configuration {
        let mut table = Table { place: Place::Line(1), entries: Vec::new() };
        for (line, (key, value)) in (2..).zip(entries) {
            table.set(key, Place::Line(line), value.clone());
        }
        let mut configuration = Configuration::empty("test.toml");
        configuration.root.set("tm", Place::Line(1), Value::Table(table));
        configuration
    }

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    fn read<T>(
        entries: &[(&str, Value)],
        reader: impl FnOnce(&mut Section<'_>) -> T,
    ) -> (T, Vec<String>) {
        let (value, problems) = configuration(entries).read(|root| reader(&mut root.section("tm")));
        (value, problems.to_string().lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_missing_section_has_every_default() {
        let (value, problems) = Configuration::empty("none").read(|root| {
            let mut tm = root.section("tm");
            (tm.integer("most", 7, 1..=9), tm.boolean("on", true), tm.string("name"))
        });
        assert_eq!(value, (7, true, None));
        assert!(problems.is_empty());
    }

    #[test]
    fn spans_of_time_in_every_spelling() {
        let spellings = [("500ms", 500), ("32s", 32_000), ("1h30m", 5_400_000), ("1d", 86_400_000)];
        for (spelling, millis) in spellings {
            let (span, problems) = read(&[("t", text(spelling))], |tm| {
                tm.duration("t", secs(1), ms(1)..=secs(200_000), Unit::Seconds)
            });
            assert_eq!((span, problems.len()), (ms(millis), 0), "{spelling}");
        }
        let (span, _) = read(&[("t", Value::Integer(500))], |tm| {
            tm.duration("t", secs(1), ms(1)..=secs(9), Unit::Milliseconds)
        });
        assert_eq!(span, ms(500));
    }

    #[test]
    fn all_problems_come_at_once_with_line_and_what_is_allowed() {
        let entries = [
            ("t", text("soon")),
            ("u", text("2h")),
            ("n", Value::Integer(-4)),
            ("b", text("yes")),
            ("max_trasnactions", Value::Integer(1)),
        ];
        let (_, problems) = read(&entries, |tm| {
            tm.duration("t", secs(1), ms(100)..=secs(60), Unit::Milliseconds);
            tm.duration("u", secs(1), ms(100)..=secs(60), Unit::Milliseconds);
            tm.integer("n", 1, 0..=u64::MAX);
            tm.boolean("b", false);
            tm.integer("max_transactions", 1, 0..=9);
        });
        let expected = [
            "test.toml:2: tm.t: \"soon\" is not a span of time; allowed: \"100ms\" to \"1m\", \
             or an integer in milliseconds",
            "test.toml:3: tm.u: \"2h\" is out of range; allowed: \"100ms\" to \"1m\", \
             or an integer in milliseconds",
            "test.toml:4: tm.n: -4 is out of range; allowed: an integer of at least 0",
            "test.toml:5: tm.b: a string cannot be used here; allowed: true or false",
            "test.toml:6: tm.max_trasnactions: unknown key; did you mean \"max_transactions\"?; \
             allowed: b, max_transactions, n, t, u",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn an_unknown_section_is_named() {
        let (_, problems) = configuration(&[]).read(|root| drop(root.section("tn")));
        assert_eq!(
            problems.to_string(),
            "test.toml:1: tm: unknown section; did you mean [tn]?; allowed: tn\n"
        );
    }

    #[test]
    fn an_argument_overrides_the_file_and_is_named_in_problems() {
        let mut configuration = configuration(&[("n", Value::Integer(1))]);
        configuration.set("tm", "n", Place::Argument("--n"), Value::Integer(100));
        let (value, problems) =
            configuration.read(|root| root.section("tm").integer("n", 5, 1..=10));
        assert_eq!(value, 5);
        assert_eq!(
            problems.to_string(),
            "--n: tm.n: 100 is out of range; allowed: an integer from 1 to 10\n"
        );
    }

    #[test]
    fn lists_and_repeated_sections() {
        let list = vec![(Place::Line(3), text("a")), (Place::Line(4), Value::Integer(1))];
        let (texts, problems) = read(&[("names", Value::List(list))], |tm| tm.strings("names"));
        assert_eq!(texts, Some(vec![Text { place: Place::Line(3), value: "a".into() }]));
        assert_eq!(problems.len(), 1);
        let table = |n| {
            let entry = Entry { key: "n".into(), place: Place::Line(9), value: Value::Integer(n) };
            (Place::Line(8), Value::Table(Table { place: Place::Line(8), entries: vec![entry] }))
        };
        let trunks = Value::List(vec![table(1), table(2)]);
        let (numbers, problems) = read(&[("trunk", trunks)], |tm| {
            tm.sections("trunk", |trunk| trunk.integer("n", 0, 0..=9))
        });
        assert_eq!((numbers, problems.len()), (vec![1, 2], 0));
    }

    #[test]
    fn slips_count_swaps_as_one() {
        assert_eq!(slips("lisetn", "listen"), 1);
        assert_eq!(slips("", "abc"), 3);
        assert_eq!(nearest("zzzz", &["listen"]), None);
    }
}
