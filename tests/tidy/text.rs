//! Checks that need no parser: width, marks, names, words.

use crate::tree::{Faults, File};

const COLUMNS_MAX: usize = 100; // the style guide's number, and `rustfmt.toml`'s

/// No line is wider than the style guide allows; rustfmt leaves comments and strings alone.
pub(crate) fn line_width(file: &File, faults: &mut Faults) {
    for (number, line) in numbered(&file.text) {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            faults.add(&file.path, number, format!("{columns} columns, {COLUMNS_MAX} allowed"));
        }
    }
}

/// No mark that something is unfinished.
pub(crate) fn no_marks(file: &File, faults: &mut Faults) {
    // Put together here, so that this file does not contain them.
    let marks = [concat!("FIX", "ME"), concat!("X", "XX")];
    for (number, line) in numbered(&file.text) {
        for mark in marks {
            if contains_word(line, mark) {
                faults.add(&file.path, number, format!("{mark}: do it, or file an issue"));
            }
        }
    }
}

/// No file or folder whose name says nothing.
pub(crate) fn names(file: &File, faults: &mut Faults) {
    let banned = ["util", "utils", "common", "helper", "helpers", "misc"];
    for part in file.path.split('/') {
        let stem = part.split('.').next().unwrap_or_default().to_ascii_lowercase();
        if banned.contains(&stem.as_str()) {
            faults.add(&file.path, 1, format!("{part:?}: its contents belong next to their users"));
        }
    }
}

/// Nothing about the place in which the tree was written.
pub(crate) fn no_words_of_the_workplace(file: &File, faults: &mut Faults) {
    // Put together here, so that this file does not contain them.
    let words = [
        concat!("/wo", "rk/"),
        concat!("/fa", "rm/"),
        concat!("farm-", "bench"),
        concat!(".lib", "rary"),
        concat!("sub", "agent"),
    ];
    for (number, line) in numbered(&file.text) {
        for word in words {
            if line.to_ascii_lowercase().contains(word) {
                faults.add(&file.path, number, format!("{word:?} says nothing to a reader"));
            }
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn contains_word(line: &str, word: &str) -> bool {
    let part_of_word = |found: Option<char>| found.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !part_of_word(before) && !part_of_word(after)
    })
}
