//! A driver without a fuzzing engine: good input, damaged from a seed, so many times.
//!
//! For: stable compilers and `cargo test`, where a run is bounded by a count and not by a clock.
//! Not here: guidance by coverage (cargo-fuzz).
//! Invariants: a run is a function of target, count and seed; a failure prints its input.

use super::mutate::{Random, damage};
use super::{TARGETS, engine, reginfo};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// An input that broke a target.
#[derive(Debug)]
pub struct Broken {
    /// Which iteration it was.
    pub iteration: u64,
    /// The input.
    pub input: Vec<u8>,
}

/// Runs a target so often.
///
/// # Errors
/// The first input that makes it panic.
///
/// # Panics
/// When there is no target of this name, or no message to begin with.
pub fn drive(name: &str, count: u64, seed: u64) -> Result<(), Broken> {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.unwrap_or_else(|| panic!("no target {name}"));
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "no seeds for {name}");
    let mut random = Random::new(seed);
    let run = |iteration, input: &[u8]| {
        let caught = catch_unwind(AssertUnwindSafe(|| target(input)));
        caught.map_err(|_| Broken { iteration, input: input.to_vec() })
    };
    for seed in &seeds {
        run(0, seed)?;
    }
    let mut input = Vec::new();
    for iteration in 1..=count {
        input.clear();
        input.extend_from_slice(&seeds[random.below(seeds.len())]);
        let other = random.below(seeds.len());
        damage(&mut input, &seeds[other], &mut random);
        run(iteration, &input)?;
    }
    Ok(())
}

/// The target's program: `name [count [seed]]`, `name FILE` to run one input again, or `name seeds
/// FOLDER` to write what it begins with.
pub fn main(name: &str) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = arguments.as_slice()
        && word == "seeds"
    {
        for (index, seed) in seeds(name).iter().enumerate() {
            let path = Path::new(folder).join(format!("seed-{index}"));
            std::fs::write(&path, seed).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
        return ExitCode::SUCCESS;
    }
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<u64>().ok());
    if let (Some(path), None) = (arguments.first(), number(0)) {
        let input = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        TARGETS.iter().filter(|(target, _)| *target == name).for_each(|(_, run)| run(&input));
        return ExitCode::SUCCESS;
    }
    let (count, seed) = (number(0).unwrap_or(100_000), number(1).unwrap_or(1));
    match drive(name, count, seed) {
        Ok(()) => {
            println!("{name}: {count} inputs from seed {seed}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            let Broken { iteration, input } = broken;
            eprintln!("{name}: input {iteration} of seed {seed}: {}", input.escape_ascii());
            let path = format!("{name}-{seed}-{iteration}.input");
            std::fs::write(&path, &input).unwrap_or_else(|error| eprintln!("{path}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What a target begins with: the messages of `tests/messages`, or parts of them.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Built as a part of `tests` or as the package `tests/fuzz`.
    let folder = folder.ancestors().map(|folder| folder.join("messages")).find(|at| at.is_dir());
    gather(&folder.expect("the folder tests/messages"), &mut messages);
    let lines = || {
        let lines = messages.iter().flat_map(|message| message.split(|byte| *byte == b'\n'));
        lines.filter_map(|line| line.strip_suffix(b"\r")).filter(|line| !line.is_empty())
    };
    match name {
        "uri" => lines().flat_map(uris).collect(),
        "header" => lines().map(<[u8]>::to_vec).collect(),
        "stream" => messages.iter().map(|message| [message, &message[..]].concat()).collect(),
        "reginfo" => reginfo::documents(),
        "engine" => messages.iter().map(|message| engine::script(message)).collect(),
        _ => messages,
    }
}

/// What looks like a URI.
fn uris(line: &[u8]) -> Vec<Vec<u8>> {
    let ends = |byte: &u8| b" <>\"".contains(byte);
    let words = line.split(ends).filter(|word| word.contains(&b':') && word.len() > 4);
    words.map(<[u8]>::to_vec).collect()
}

fn gather(folder: &Path, messages: &mut Vec<Vec<u8>>) {
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, messages);
        } else if path.extension().is_some_and(|extension| extension == "sip") {
            messages.push(std::fs::read(&path).expect("a readable message"));
        }
    }
}
