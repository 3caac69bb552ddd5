//! The files of the tree and the list of what is wrong with them.

use std::fmt::Write as _;
use std::path::Path;

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/` between the parts.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

impl File {
    /// Whether it is Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    strowger_tests::binary::workspace()
}

/// Every text file below the root: what git tracks and what it would, without build output.
pub(crate) fn files() -> Vec<File> {
    let mut files = Vec::new();
    walk(root(), &mut files);
    files.sort_by(|left, right| left.path.cmp(&right.path));
    files
}

fn walk(folder: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name, ".git" | "target" | "corpus" | "artifacts") {
                walk(&path, files);
            }
        } else if let Some(text) = text_of(&path) {
            let path = path.strip_prefix(root()).expect("below the root");
            files.push(File { path: path.to_string_lossy().into_owned(), text });
        }
    }
}

/// The text of a file; `None` for what is not text and for a link to nowhere.
fn text_of(path: &Path) -> Option<String> {
    String::from_utf8(std::fs::read(path).ok()?).ok()
}

/// What is wrong, all of it.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    found: Vec<String>,
}

impl Faults {
    /// Notes one fault.
    pub(crate) fn add(&mut self, path: &str, line: usize, what: impl std::fmt::Display) {
        self.found.push(format!("{path}:{line}: {what}"));
    }

    /// All of them, in the order in which they were found.
    pub(crate) fn found(&self) -> &[String] {
        &self.found
    }

    /// # Panics
    /// When there is any fault: the message lists them all.
    pub(crate) fn report(self) {
        let mut list = String::new();
        for fault in self.found() {
            writeln!(list, "{fault}").expect("a string grows");
        }
        assert!(self.found.is_empty(), "{} faults\n{list}", self.found.len());
    }
}
