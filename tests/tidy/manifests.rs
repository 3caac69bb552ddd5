//! Checks of the manifests: who depends on what, lints, and that every test file runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use toml::{Table, Value};

use crate::tree::{self, Faults};

/// Crates that reach a socket, a clock, a file, a thread or the kernel. `core/sip` and `modules`
/// may not have them, not even through another crate.
const EDGE: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "clap",
    "crossbeam-channel",
    "flume",
    "futures-lite",
    "getrandom",
    "glommio",
    "hickory-client",
    "hickory-resolver",
    "hyper",
    "io-uring",
    "libc",
    "log",
    "mio",
    "nix",
    "parking_lot",
    "rand",
    "reqwest",
    "rustix",
    "rustls",
    "sd-notify",
    "smol",
    "socket2",
    "sqlx",
    "strowger",
    "strowger-node",
    "time",
    "tokio",
    "tracing",
];

const PURE: &[(&str, &str)] = &[("strowger-sip", "core/sip"), ("strowger-modules", "modules")];

/// `core/sip` and `modules` depend on nothing of the edge, directly or through others.
pub(crate) fn pure_dependencies(faults: &mut Faults) {
    for (package, folder) in PURE {
        let path = format!("{folder}/Cargo.toml");
        for name in declared(&manifest(&path)).iter().chain(&resolved(package)) {
            if EDGE.contains(&name.as_str()) {
                faults.add(&path, 1, format!("{package} depends on {name}, which is of the edge"));
            }
        }
    }
}

/// Every member, and only members, take their lints from the workspace.
pub(crate) fn lints(faults: &mut Faults) {
    let root = manifest("Cargo.toml");
    let members = root["workspace"]["members"].as_array().expect("workspace.members");
    let members: BTreeSet<&str> = members.iter().filter_map(Value::as_str).collect();
    for member in &members {
        let path = format!("{member}/Cargo.toml");
        let inherits = manifest(&path).get("lints").and_then(|lints| lints.get("workspace"))
            == Some(&Value::Boolean(true));
        if !inherits {
            faults.add(&path, 1, "[lints] workspace = true is missing");
        }
    }
    for file in tree::files() {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else { continue };
        let excluded = folder.starts_with("tests/fuzz") || folder.contains("/template");
        if !members.contains(folder) && !excluded {
            faults.add(&file.path, 1, "not a member of the workspace");
        }
    }
}

/// Every `.rs` file directly in `tests/` is an entry `[[test]]`: `autotests` is off.
pub(crate) fn test_files(faults: &mut Faults) {
    let entries = test_entries();
    for file in tree::files() {
        let Some(name) = file.path.strip_prefix("tests/") else { continue };
        if name.ends_with(".rs") && !name.contains('/') && !entries.contains(name) {
            faults.add(&file.path, 1, "no [[test]] of tests/Cargo.toml has this path");
        }
    }
}

/// Every flow script is run: by name, or because the runner reads the whole folder.
pub(crate) fn flows(faults: &mut Faults) {
    let files = tree::files();
    let runners: Vec<_> =
        files.iter().filter(|file| file.is_rust() && file.text.contains("tests/flows")).collect();
    let reads_folder = runners.iter().any(|file| file.text.contains("read_dir"));
    for flow in files.iter().filter(|file| file.path.ends_with(".flow")) {
        let name = Path::new(&flow.path).file_name().and_then(|name| name.to_str()).unwrap_or("");
        if !flow.path.starts_with("tests/flows/") {
            faults.add(&flow.path, 1, "a flow belongs in tests/flows/");
        } else if !reads_folder && !runners.iter().any(|file| file.text.contains(name)) {
            faults.add(&flow.path, 1, "no test runs this flow");
        }
    }
}

/// The paths of the entries `[[test]]`, relative to `tests/`.
fn test_entries() -> BTreeSet<String> {
    let tests = manifest("tests/Cargo.toml");
    let entries = tests.get("test").and_then(Value::as_array).cloned().unwrap_or_default();
    entries.iter().filter_map(|entry| entry.get("path")?.as_str().map(str::to_owned)).collect()
}

fn manifest(path: &str) -> Table {
    let text = std::fs::read_to_string(tree::root().join(path));
    let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The crates that a manifest names, for every target, optional ones too; not its tests' own.
fn declared(manifest: &Table) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let mut found = BTreeSet::new();
    for table in targets.chain([manifest]) {
        for kind in ["dependencies", "build-dependencies"] {
            let dependencies = table.get(kind).and_then(Value::as_table);
            found.extend(dependencies.into_iter().flat_map(Table::keys).cloned());
        }
    }
    found
}

/// The crates that cargo would build for a package with all its features.
fn resolved(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(tree::root())
        .args(["tree", "--package", package, "--all-features", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
