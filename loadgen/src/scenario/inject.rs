//! Fields of a CSV file, one line for a call.
//!
//! For: `[field0]`, `--inject FILE`; and users that are numbered instead of listed (`--users`).
//! Not here: writing the fields (`desk/render.rs`).

use super::ScenarioError;
use super::action::Names;
use super::keyword::Site;
use super::template::Template;
use std::io::Write as _;
use strowger_sip::entropy::Entropy;

/// Most lines of a file.
const LINES_MAX: usize = 10_000_000;

/// The lines of one file.
#[derive(Debug)]
pub(crate) struct Fields {
    /// As keywords name it.
    pub(crate) name: String,
    order: Order,
    rows: Rows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Sequential,
    Random,
}

#[derive(Debug)]
enum Rows {
    /// Cells that hold keywords are templates.
    Listed(Vec<Vec<Cell>>),
    /// `field0` is the name with its number, `field1` the password.
    Numbered { name: String, count: u64, password: String },
}

#[derive(Debug)]
enum Cell {
    Plain(Box<[u8]>),
    Template(Box<Template>),
}

/// What stands in a field.
pub(crate) enum Field<'a> {
    Written,
    Template(&'a Template),
    Missing,
}

impl Fields {
    /// Reads a file in SIPp's format: an order, then a line for each call, cells set apart by
    /// semicolons.
    pub(crate) fn read(name: &str, text: &str) -> Result<Fields, ScenarioError> {
        let error = |line: u32, what: String| ScenarioError { source: name.to_owned(), line, what };
        let mut lines = (1..).zip(text.lines());
        let (_, first) = lines.next().unwrap_or((1, ""));
        let order = match first.trim() {
            "SEQUENTIAL" | "USER" => Order::Sequential,
            "RANDOM" => Order::Random,
            other => {
                let known = "SEQUENTIAL, RANDOM or USER";
                return Err(error(1, format!("{other:?} is not {known}")));
            }
        };
        let mut rows = Vec::new();
        for (number, line) in lines {
            let line = line.trim_end_matches('\r');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if rows.len() == LINES_MAX {
                return Err(error(number, format!("more than {LINES_MAX} lines")));
            }
            let cells = line.split(';').map(|cell| Cell::read(cell, number));
            rows.push(cells.collect::<Result<_, _>>().map_err(|wrong| error(number, wrong.what))?);
        }
        if rows.is_empty() {
            return Err(error(1, "there is no line after the first".to_owned()));
        }
        Ok(Fields { name: name.to_owned(), order, rows: Rows::Listed(rows) })
    }

    /// `count` users, `name` followed by a number from 1.
    pub(crate) fn numbered(name: &str, count: u64, password: &str, random: bool) -> Fields {
        let (name, password) = (name.to_owned(), password.to_owned());
        let order = if random { Order::Random } else { Order::Sequential };
        let rows = Rows::Numbered { name, count: count.max(1), password };
        Fields { name: "users".to_owned(), order, rows }
    }

    /// The line for a call.
    pub(crate) fn line(&self, call: u64, entropy: &mut Entropy) -> u64 {
        let count = match &self.rows {
            Rows::Listed(rows) => u64::try_from(rows.len()).unwrap_or(1).max(1),
            Rows::Numbered { count, .. } => *count,
        };
        match self.order {
            Order::Sequential => call % count,
            Order::Random => entropy.below(count),
        }
    }

    /// Writes a field if it is plain text.
    pub(crate) fn write(&self, line: u64, column: usize, out: &mut Vec<u8>) -> Field<'_> {
        match &self.rows {
            Rows::Listed(rows) => {
                let row = usize::try_from(line).ok().and_then(|line| rows.get(line));
                match row.and_then(|row| row.get(column)) {
                    Some(Cell::Plain(text)) => out.extend_from_slice(text),
                    Some(Cell::Template(template)) => return Field::Template(template),
                    None => return Field::Missing,
                }
            }
            Rows::Numbered { name, password, .. } => match column {
                // Writing to a vector does not fail.
                0 => drop(write!(out, "{name}{}", line + 1)),
                1 => out.extend_from_slice(password.as_bytes()),
                _ => return Field::Missing,
            },
        }
        Field::Written
    }
}

impl Cell {
    fn read(text: &str, line: u32) -> Result<Cell, ScenarioError> {
        if !text.contains('[') {
            return Ok(Cell::Plain(text.as_bytes().into()));
        }
        let mut names = Names::default();
        let template = Template::inline(text, Site { line, step: 0 }, &mut names)?;
        if !names.into_names().is_empty() {
            return Err(ScenarioError::new(line, "a field cannot hold variables"));
        }
        Ok(Cell::Template(Box::new(template)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &Fields, line: u64, column: usize) -> Option<String> {
        let mut out = Vec::new();
        match fields.write(line, column, &mut out) {
            Field::Written => String::from_utf8(out).ok(),
            Field::Template(template) => Some(format!("{} keywords", template.keywords().len())),
            Field::Missing => None,
        }
    }

    #[test]
    fn a_file_is_read_and_begins_again_at_its_end() {
        let text = "SEQUENTIAL\n# users\nann;[authentication username=ann password=x]\nbob;\n";
        let fields = Fields::read("users.csv", text).expect("read");
        let mut entropy = Entropy::new((1, 2));
        assert_eq!(fields.line(3, &mut entropy), 1);
        assert_eq!(written(&fields, 0, 0).as_deref(), Some("ann"));
        assert_eq!(written(&fields, 0, 1).as_deref(), Some("1 keywords"));
        assert_eq!(written(&fields, 1, 1).as_deref(), Some(""));
        assert_eq!(written(&fields, 1, 2), None);
    }

    #[test]
    fn numbered_users_need_no_file() {
        let fields = Fields::numbered("user", 40, "secret", true);
        let mut entropy = Entropy::new((1, 2));
        assert!((0..1000).all(|call| fields.line(call, &mut entropy) < 40));
        assert_eq!(written(&fields, 0, 0).as_deref(), Some("user1"));
        assert_eq!(written(&fields, 39, 1).as_deref(), Some("secret"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert_eq!(Fields::read("a", "ANY\nx\n").expect_err("order").line, 1);
        assert_eq!(Fields::read("a", "RANDOM\nx\n[y]\n").expect_err("keyword").line, 3);
        assert!(Fields::read("a", "RANDOM\n").is_err());
    }
}
