//! Documents of event packages: read, changed, written again.
//!
//! For: cargo-fuzz; built without it, a driver of our own runs the same target (`src/driver.rs`).
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| strowger_fuzz::reginfo::run(data));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    strowger_fuzz::driver::main("reginfo")
}
