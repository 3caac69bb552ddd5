//! What a machine can check of the style guide, over every file of the tree.
//!
//! For: sizes, headers, names, purity of the engine, manifests, the READMEs' paths.
//! Not here: what rustc, clippy and rustfmt check already.
//! Invariants: a fault is reported as `path:line: what`, and all faults at once.

#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/readme.rs"]
mod readme;
#[path = "tidy/rust.rs"]
mod rust;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/tree.rs"]
mod tree;

use tree::{Faults, File};

/// Runs one check over the files that `wanted` picks.
fn check(wanted: impl Fn(&File) -> bool, rule: impl Fn(&File, &mut Faults)) {
    let mut faults = Faults::default();
    let files = tree::files();
    let picked: Vec<&File> = files.iter().filter(|file| wanted(file)).collect();
    assert!(!picked.is_empty(), "the check looked at no file");
    for file in picked {
        rule(file, &mut faults);
    }
    faults.report();
}

fn pure(file: &File) -> bool {
    let folders = ["core/sip/src/", "modules/src/"];
    file.is_rust() && folders.iter().any(|folder| file.path.starts_with(folder))
}

#[test]
fn functions_fit_a_screen() {
    check(File::is_rust, rust::function_length);
}

#[test]
fn files_hold_one_idea() {
    check(File::is_rust, rust::file_length);
}

#[test]
fn files_open_by_saying_what_they_are_for() {
    check(File::is_rust, rust::header);
}

#[test]
fn lines_fit_in_100_columns() {
    check(File::is_rust, text::line_width);
}

#[test]
fn unsafe_lives_in_the_udp_folder_only() {
    let elsewhere = |file: &File| !file.path.starts_with("core/node/src/udp");
    check(|file| file.is_rust() && elsewhere(file), rust::no_unsafe);
}

#[test]
fn nothing_is_left_for_later() {
    check(File::is_rust, rust::nothing_ignored_or_unfinished);
    check(|_| true, text::no_marks);
}

#[test]
fn files_are_named_for_what_they_hold() {
    check(|_| true, text::names);
}

#[test]
fn the_tree_speaks_of_the_product_only() {
    check(|_| true, text::no_words_of_the_workplace);
}

#[test]
fn the_engine_is_pure() {
    check(pure, rust::no_edge);
}

#[test]
fn the_engine_depends_on_nothing_of_the_edge() {
    let mut faults = Faults::default();
    manifests::pure_dependencies(&mut faults);
    faults.report();
}

#[test]
fn every_crate_inherits_the_lints() {
    let mut faults = Faults::default();
    manifests::lints(&mut faults);
    faults.report();
}

#[test]
fn every_test_file_is_run() {
    let mut faults = Faults::default();
    manifests::test_files(&mut faults);
    manifests::flows(&mut faults);
    faults.report();
}

#[test]
fn the_readmes_name_what_exists() {
    check(|file| file.path.ends_with("README.md"), readme::paths_exist);
    assert!(tree::root().join("README.md").is_file(), "README.md is missing");
}
