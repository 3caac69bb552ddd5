//! `tuning/package/strowger.toml`: every key that the program knows, and no other.
//!
//! For: a file that an operator can trust to be complete.
//! Not here: what single keys mean (their readers' own tests).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use strowger_tests::binary;
use strowger_tests::folder::Folder;

/// A key that no section has, so that the program lists those which it has.
const PROBE: &str = "strowger_tests_probe";
/// Comments that name keys which are refused.
const ELSEWHERE: &str = "# Elsewhere: ";
/// Where the package keeps files, and which of them the file's examples name.
const HOME: &str = "/etc/strowger/";
const LISTS: &[&str] = &[
    "address.list",
    "dispatcher.list",
    "permissions.allow",
    "permissions.deny",
    "premium.allow",
    "premium.deny",
];

fn shipped() -> String {
    let path = binary::workspace().join("tuning/package/strowger.toml");
    fs::read_to_string(path).expect("the package's configuration")
}

/// The file with the # before every key and section taken away, its folders moved into one of ours.
fn with_everything_set(folder: &Folder) -> String {
    for list in LISTS {
        folder.write(list, "");
    }
    let here = format!("{}/", folder.path().display());
    let lines = shipped();
    let lines = lines.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
        Some(_) | None => line,
    });
    let text: Vec<&str> = lines.collect();
    text.join("\n").replace(HOME, &here).replace("/var/lib/strowger/", &here)
}

/// What `strowger check` says about a text, and whether it was good.
fn check(folder: &Folder, text: &str) -> (bool, String) {
    let file = folder.write("strowger.toml", text);
    let mut command = Command::new(binary::strowger());
    let done = command.args(["check", "-f"]).arg(file).output().expect("strowger runs");
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The name of a `[section]` or `[[section]]` line.
fn section(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix('[')?.strip_suffix(']').map(|name| name.trim_matches(['[', ']']))
}

/// Keys by their sections, as a text of TOML has them.
fn keys(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = section(line) {
            current = name.to_owned();
            found.entry(current.clone()).or_default();
        } else if let Some((key, _)) = line.split_once('=') {
            found.entry(current.clone()).or_default().insert(key.trim().to_owned());
        }
    }
    found
}

/// The same of comments that name keys which are refused.
fn refused(text: &str) -> Vec<(String, String)> {
    let mut current = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = section(line.trim_start_matches('#')) {
            current = name.to_owned();
        } else if let Some(names) = line.strip_prefix(ELSEWHERE) {
            found.extend(names.split(", ").map(|name| (current.clone(), name.to_owned())));
        }
    }
    found
}

/// The keys that the program says it knows, by sections.
fn known(folder: &Folder, text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut probing = String::new();
    let mut probed = BTreeSet::new();
    for line in text.lines() {
        probing.push_str(line);
        probing.push('\n');
        if let Some(name) = section(line).filter(|name| probed.insert((*name).to_owned())) {
            assert!(!name.is_empty());
            probing.push_str(&format!("{PROBE} = 1\n"));
        }
    }
    probing.push_str(&format!("[{PROBE}]\n"));
    let (good, said) = check(folder, &probing);
    assert!(!good, "a file with unknown keys is refused: {said}");
    let answers = said.lines().filter_map(|line| {
        let (before, allowed) = line.split_once("; allowed: ")?;
        let key = before.split(": ").nth(1)?;
        let name = key.strip_suffix(PROBE)?.trim_end_matches('.');
        Some((name.to_owned(), allowed.split(", ").map(str::to_owned).collect()))
    });
    answers.collect()
}

#[test]
fn the_shipped_configuration_is_good_as_it_is_and_with_every_key_set() {
    let folder = Folder::new("shipped");
    for text in [shipped(), with_everything_set(&folder)] {
        let (good, said) = check(&folder, &text);
        assert!(good, "{said}");
    }
}

#[test]
fn every_key_of_the_program_stands_in_the_shipped_configuration() {
    let folder = Folder::new("shipped");
    let text = with_everything_set(&folder);
    let (there, known) = (keys(&text), known(&folder, &text));
    let elsewhere = refused(&shipped());
    let sections = known.get("").expect("the program lists its sections");
    let mut missing = Vec::new();
    for name in sections.iter().filter(|name| !there.contains_key(*name)) {
        missing.push(format!("[{name}]"));
    }
    for (name, keys) in known.iter().filter(|(name, _)| !name.is_empty()) {
        for key in keys {
            let full = format!("{name}.{key}");
            let is_there = there.get(name).is_some_and(|keys| keys.contains(key))
                || there.contains_key(&full)
                || elsewhere.iter().any(|(section, other)| section == name && other == key);
            if !is_there {
                missing.push(full);
            }
        }
    }
    assert!(missing.is_empty(), "not in tuning/package/strowger.toml: {missing:#?}");
    assert_eq!(there.len(), known.len() - 1, "every section was asked for");
}

#[test]
fn what_is_said_to_be_elsewhere_is_refused_with_a_word_on_where() {
    let folder = Folder::new("shipped");
    let all = refused(&shipped());
    assert!(all.len() > 20, "{all:?}");
    for (name, key) in all {
        // A text and a number: one of the two is of the right kind, and nobody's default.
        let said: Vec<String> = ["\"strowger_tests\"", "77"]
            .iter()
            .map(|value| check(&folder, &format!("[{name}]\n{key} = {value}\n")).1)
            .collect();
        let is_refused = said.iter().any(|said| {
            said.contains(&format!(": {name}.{key}: "))
                && !said.contains("unknown key")
                && !said.contains("good")
        });
        assert!(is_refused, "{name}.{key}: {said:?}");
    }
}

#[test]
fn every_key_is_explained() {
    let text = shipped();
    let mut explained = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || section(line.trim_start_matches('#')).is_some() {
            // Rows of a table are explained by the line above their section.
            explained = explained && !line.is_empty();
        } else if line.starts_with("# ") {
            explained = true;
        } else {
            assert!(explained, "line {number}: {line}");
        }
    }
}
