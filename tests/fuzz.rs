//! Every fuzz target on a bounded number of inputs, under a minute each, the same in every run.
//!
//! For: CI: a target that no longer builds, or that breaks early, is noticed at once. What a long
//! run found stands here by name, with its input.
//! Not here: long runs (`tests/fuzz/run`), the targets (`tests/fuzz/src/`).

#[path = "fuzz/src/lib.rs"]
#[expect(unreachable_pub, dead_code, reason = "a package of its own for cargo-fuzz")]
mod targets;

use targets::driver::drive;

/// # Panics
/// When an input breaks the target; it is printed.
fn run(target: &str, count: u64) {
    if let Err(broken) = drive(target, count, 1) {
        let input = broken.input.escape_ascii();
        panic!("{target}: input {} breaks it: {input}", broken.iteration);
    }
}

#[test]
fn messages() {
    run("message", 12_000_000);
}

#[test]
fn uris() {
    run("uri", 60_000_000);
}

#[test]
fn headers() {
    run("header", 3_000_000);
}

#[test]
fn streams() {
    run("stream", 3_000_000);
}

#[test]
fn documents() {
    run("reginfo", 400_000);
}

#[test]
fn engines() {
    run("engine", 1_800_000);
}
