//! Fuzz targets: functions of bytes that must not panic, and what must hold of every input.
//!
//! For: cargo-fuzz (`fuzz_targets/`), the driver (`driver.rs`), and `cargo test` (`tests/fuzz.rs`).
//! Not here: input with a known answer (`tests/torture/`).
//! Invariants: a target is a function of its input: what it finds once it finds again.

pub mod driver;
pub mod engine;
pub mod header;
pub mod message;
pub mod mutate;
pub mod reginfo;
pub mod stream;
pub mod uri;

/// A target's name and the target.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("message", message::run),
    ("uri", uri::run),
    ("header", header::run),
    ("stream", stream::run),
    ("reginfo", reginfo::run),
    ("engine", engine::run),
];
