//! Where the `strowger` binary under test is, built when it is missing or stale.
//!
//! For: tests of this package, to which cargo gives no `CARGO_BIN_EXE_strowger`.
//! Not here: starting it (`proxy.rs`).
//! Invariants: the binary is up to date with the sources before the first test uses it, and has
//! the profile of the test that runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of an up-to-date `strowger`, built at most once per test process.
///
/// # Panics
/// When cargo cannot build it: there is nothing to test then.
pub fn strowger() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("strowger"))
}

/// The same of the load generator.
///
/// # Panics
/// As [`strowger`].
pub fn strowger_load() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("strowger-load"))
}

/// The root of the workspace, found from where this package was compiled.
///
/// # Panics
/// When the package has been moved since: its manifest's folder then has no parent.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies inside the workspace")
}

fn build(binary: &str) -> PathBuf {
    let folder = profile_folder();
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a profile's folder");
    // Cargo calls the folder of profile `dev` "debug"; every other folder has its profile's name.
    let profile = if name == "debug" { "dev" } else { name };
    let target = folder.parent().expect("the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // `--workspace` gives the features that `cargo test --workspace` gave: nothing is built twice.
    let status = Command::new(cargo)
        .current_dir(workspace())
        .args(["build", "--quiet", "--workspace", "--bin", binary, "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .status()
        .expect("cargo starts");
    assert!(status.success(), "cargo build of {binary}: {status}");
    let binary = folder.join(binary);
    assert!(binary.is_file(), "cargo built no {}", binary.display());
    binary
}

/// `target/debug` of `target/debug/deps/sipp-0123456789abcdef`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned()
}
