//! Mistakes that a routing's author makes once, and the compiler's answers to them.
//!
//! For: each file of `cases/` is a routing with one mistake that would else show under traffic. It
//! must not compile, and what the compiler says must hold the lines that the file's head cites.
//! Not here: that right routings compile (`core/strowger`, whose template has some).
//! Invariants: only the cited lines count, for compilers word the rest in ways of their own, and
//! name what else there is in the tree. `.stderr` shows a whole answer to who reads the cases; all
//! are written anew by `TRYBUILD=overwrite cargo test -p strowger-compile-fail`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// As few as the list may shrink to.
const CASES_MIN: usize = 20;
/// Tells this program, started by itself, where the cases are.
const ELSEWHERE: &str = "STROWGER_CASES";

fn main() -> ExitCode {
    if let Some(folder) = env::var_os(ELSEWHERE) {
        check_all(Path::new(&folder));
        return ExitCode::SUCCESS;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let renewed = env::var_os("TRYBUILD").is_some();
    let answers = if renewed {
        check_all(&folder);
        folder
    } else {
        answered_in_a_copy(&folder)
    };
    let mut wrong = Vec::new();
    let cases = cases(&answers);
    for case in &cases {
        wrong.extend(not_said(case));
    }
    assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    println!("test result: ok. {} passed; 0 failed", cases.len());
    ExitCode::SUCCESS
}

/// None compiles; trybuild writes each answer beside its case.
fn check_all(folder: &Path) {
    trybuild::TestCases::new().compile_fail(folder.join("*.rs"));
}

/// A copy of the cases with the answers of this compiler.
fn answered_in_a_copy(folder: &Path) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cases");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(&copy).expect("a folder");
    for case in cases(folder) {
        fs::copy(&case, copy.join(case.file_name().expect("a name"))).expect("copied");
    }
    let own = env::current_exe().expect("this program");
    let status =
        Command::new(own).env(ELSEWHERE, &copy).env("TRYBUILD", "overwrite").status().expect("run");
    assert!(status.success(), "a case compiles");
    copy
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of the cases");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    cases.sort();
    cases
}

/// What the head of a case cites and the compiler does not say.
fn not_said(case: &Path) -> Vec<String> {
    let text = fs::read_to_string(case).expect("a case");
    let answer = fs::read_to_string(case.with_extension("stderr")).unwrap_or_default();
    let cited: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("//! Says: ")).collect();
    let name = case.display();
    if cited.is_empty() {
        return vec![format!("{name}: its head cites nothing")];
    }
    let missing = cited.into_iter().filter(|cited| !answer.contains(cited));
    missing.map(|cited| format!("{name}: the compiler does not say: {cited}\n{answer}")).collect()
}
