//! A ladder diagram of a flow, in text.
//!
//! For: showing what went over the wire until a flow failed.

use super::script::Endpoint;
use crate::time::Instant;

/// Width of the space between two lifelines: room for `SUBSCRIBE` and an arrow.
const GAP: usize = 22;

/// What went over the wire.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    columns: Vec<String>,
    rungs: Vec<Rung>,
}

#[derive(Debug)]
struct Rung {
    at: Instant,
    from: Option<usize>,
    to: Option<usize>,
    label: String,
}

impl Ladder {
    /// A ladder with these lifelines, in order.
    pub(super) fn new(columns: Vec<String>) -> Ladder {
        Ladder { columns, rungs: Vec::new() }
    }

    /// A message goes from one to another; `None` is somebody without a lifeline.
    pub(super) fn add(&mut self, at: Instant, (from, to): (&str, &str), label: String) {
        let place = |name: &str| self.columns.iter().position(|column| column == name);
        let (from, to) = (place(from), place(to));
        self.rungs.push(Rung { at, from, to, label });
    }

    /// Draws it.
    pub(super) fn draw(&self) -> String {
        let mut text = format!("{:>10} ", "");
        for column in &self.columns {
            text.push_str(&format!("{column:<width$}", width = GAP + 1));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        for rung in &self.rungs {
            let micros = rung.at.as_micros();
            let time = format!("{}.{:03}s", micros / 1_000_000, micros % 1_000_000 / 1000);
            text.push_str(&format!("{time:>10} {}\n", self.draw_rung(rung).trim_end()));
        }
        text
    }

    fn draw_rung(&self, rung: &Rung) -> String {
        let mut line: Vec<char> = Vec::new();
        for _ in &self.columns {
            line.push('|');
            line.resize(line.len() + GAP, ' ');
        }
        let (left, right, mark) = match (rung.from, rung.to) {
            (Some(from), Some(to)) if from < to => (from, to, '>'),
            (Some(from), Some(to)) => (to, from, '<'),
            (Some(from), None) | (None, Some(from)) => (from, from + 1, '?'),
            (None, None) => return line.into_iter().collect::<String>() + &rung.label,
        };
        let (start, end) = (left * (GAP + 1) + 1, right * (GAP + 1));
        if end > line.len() {
            line.resize(end, ' ');
        }
        line[start..end].fill('-');
        let tip = if mark == '<' { start } else { end - 1 };
        for (place, character) in rung.label.chars().take(end - start - 3).enumerate() {
            let shown = if character.is_ascii_graphic() { character } else { ' ' };
            line[start + 2 + place] = shown;
        }
        line[tip] = mark;
        line.into_iter().collect()
    }
}

/// How an address without a party is called.
pub(super) fn stranger(endpoint: Endpoint) -> String {
    format!("nobody at {endpoint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ms;

    #[test]
    fn arrows_point_from_sender_to_receiver() {
        let mut ladder = Ladder::new(vec!["A".into(), "node".into(), "B".into()]);
        ladder.add(Instant::START, ("A", "node"), "INVITE".into());
        ladder.add(Instant::START + ms(1500), ("node", "A"), "100 INVITE".into());
        ladder.add(Instant::START + ms(1500), ("node", "x"), "BYE".into());
        let drawn = ladder.draw();
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[1], "    0.000s |--INVITE------------->|                      |");
        assert_eq!(lines[2], "    1.500s |<-100 INVITE----------|                      |");
        assert!(lines[3].contains("-BYE-"), "{}", lines[3]);
    }
}
