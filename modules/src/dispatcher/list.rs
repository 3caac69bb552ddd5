//! Kamailio's list file: `setid uri [flags [priority [attrs]]]`, a line each.
//!
//! For: moving over with the lists one has; the edge reads the file, this reads its text.
//! Not here: TOML (`settings.rs`).

use super::destination::{Attributes, Destination, State};

/// Most destinations of all sets together. A guess, far above any list in use.
pub const DESTINATIONS_MAX: usize = 1 << 16;

/// A destination and the line it stands in, counted from 1.
pub type Numbered = (usize, Destination);

/// Reads the text of a list file. Lines that begin with `#` are comments.
///
/// # Errors
/// Every line that cannot be read, with its number.
pub fn parse_list(text: &str) -> Result<Vec<Numbered>, Vec<(usize, String)>> {
    let (mut list, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok(_) if list.len() == DESTINATIONS_MAX => {
                problems.push((number, format!("more than {DESTINATIONS_MAX} destinations")));
                break;
            }
            Ok(destination) => list.push((number, destination)),
            Err(problem) => problems.push((number, problem)),
        }
    }
    if problems.is_empty() { Ok(list) } else { Err(problems) }
}

fn parse_line(line: &str) -> Result<Destination, String> {
    let (line, comment) = line.split_once(" #").unwrap_or((line, ""));
    let _ = comment;
    let mut words = line.split_whitespace();
    let set = words.next().unwrap_or("");
    let set: u32 = set.parse().map_err(|_| format!("{set:?} is no set id"))?;
    let uri = words.next().ok_or_else(|| "the URI is missing".to_owned())?;
    let mut destination = Destination::new(set, uri)?;
    if let Some(flags) = words.next() {
        let bits: u8 =
            flags.parse().ok().filter(|bits| *bits < 64).ok_or_else(|| {
                format!("flags {flags:?}: allowed are sums of 1, 2, 4, 8, 16 and 32")
            })?;
        destination.state = State::from_bits(bits);
    }
    if let Some(priority) = words.next() {
        let number = priority.parse();
        destination.priority = number.map_err(|_| format!("{priority:?} is no priority"))?;
    }
    if let Some(attributes) = words.next() {
        destination.attributes = Attributes::parse(attributes.trim_matches('"'))?;
    }
    match words.next() {
        Some(more) => Err(format!("{more:?} is one word too many")),
        None => Ok(destination),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_length() {
        let list = parse_list(
            "# a comment\n1 sip:192.0.2.1\n\n1 sip:192.0.2.2:5080 8 10 duid=b;weight=50 # second\n\
             2 sip:[2001:db8::1];transport=tcp 1 -5\n",
        )
        .expect("a list");
        let shown: Vec<String> = list
            .iter()
            .map(|(line, row)| {
                format!("{line}: {} {} {} {}", row.set.0, row.uri, row.state, row.priority)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "2: 1 sip:192.0.2.1 AX 0",
                "4: 1 sip:192.0.2.2:5080 AP 10",
                "5: 2 sip:[2001:db8::1];transport=tcp IX -5",
            ]
        );
        assert_eq!(list[1].1.attributes.weight, 50);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text =
            "x sip:192.0.2.1\n1\n1 tel:+39\n1 sip:a 99\n1 sip:a 0 0 weight=200\n1 sip:a 0 0 a b\n";
        let problems = parse_list(text).expect_err("problems");
        let lines: Vec<usize> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
    }
}
