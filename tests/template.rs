//! `strowger new`: what it writes builds, and its tests pass, at once.
//!
//! For: the template (`core/strowger/template`), which nothing else compiles.
//! Not here: the harness that its tests use (`core/strowger/src/testing`), packages of it.
//! Invariants: the crate is built beside the workspace's own crates, from links to their folders,
//! with the target folder of the tests: what cargo has built already is not built again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use strowger_tests::binary::{strowger, workspace};

/// A folder of this test's own, empty.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

/// A copy of the workspace, made of links, with one more member.
fn workspace_with(member: &str) -> PathBuf {
    let root = fresh("template");
    for entry in fs::read_dir(workspace()).expect("the workspace") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let skipped = ["target", ".git", "Cargo.toml", "Cargo.lock"];
        if !skipped.iter().any(|skipped| name == *skipped) {
            symlink(entry.path(), root.join(name)).expect("a link");
        }
    }
    fs::copy(workspace().join("Cargo.lock"), root.join("Cargo.lock")).expect("copied");
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).expect("the manifest");
    let with = manifest.replacen("members = [", &format!("members = [\"{member}\", "), 1);
    fs::write(root.join("Cargo.toml"), with).expect("written");
    root
}

#[test]
fn what_it_writes_builds_and_its_tests_pass() {
    let root = workspace_with("my-proxy");
    let crate_folder = root.join("my-proxy");
    let source = root.join("core/strowger");
    run(Command::new(strowger()).arg("new").arg(&crate_folder).arg("--path").arg(source));
    // It is no workspace of its own here.
    let manifest = crate_folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    assert!(text.contains("\n[workspace]\n"), "{text}");
    fs::write(&manifest, text.replace("\n[workspace]\n", "\n")).expect("written");

    let target = strowger().ancestors().nth(2).expect("the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut test = Command::new(cargo);
    test.current_dir(&crate_folder).args(["test", "--offline", "--target-dir"]).arg(target);
    let output = run(&mut test);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok"));
    assert!(passed.count() >= 15, "{text}");

    for file in ["least_cost", "registrar", "edge"] {
        assert!(crate_folder.join(format!("tests/{file}.rs")).is_file(), "no tests of {file}");
    }
    let check = |file: &str| {
        let file = crate_folder.join("config").join(file);
        run(Command::new(target.join("debug/my-proxy")).arg("check").arg("-f").arg(file));
    };
    check("least_cost.toml");
}

#[test]
fn nothing_that_exists_is_changed_and_a_wrong_name_is_refused() {
    let folder = fresh("refused");
    let refused = |name: &str| {
        let output = Command::new(strowger()).arg("new").arg(folder.join(name)).output();
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(64), "{name}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    fs::create_dir(folder.join("there")).expect("a folder");
    assert!(refused("there").contains("exists already"));
    assert!(refused("My").contains("is no name for a crate"));
    assert!(!folder.join("My").exists());
}
