//! One change of the host with its way back, and the file that holds the ways back.
//!
//! For: `apply` and `undo`.
//! Not here: which changes are needed (`knobs/`).
//! Invariants: the file names only what this program changes; anything else in it is refused, for
//! who can write it could otherwise write anywhere.

use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// The layout of the undo file.
const VERSION: u32 = 1;
/// Where `apply` writes.
const FOLDERS: &[&str] = &["/proc/sys/", "/proc/irq/", "/sys/"];
/// What `apply` runs.
const TOOLS: &[&str] = &["ethtool", "nft"];

/// One change, and what undoes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub(crate) enum Change {
    /// A file of the kernel's gets another value.
    Write {
        /// The file.
        path: String,
        /// The value.
        value: String,
        /// What it says before.
        before: String,
    },
    /// A tool is run.
    Run {
        /// Its name and arguments.
        command: Vec<String>,
        /// Those that undo it.
        undo: Vec<String>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Write { path, value, .. } => write!(f, "write {value} to {path}"),
            Change::Run { command, .. } => write!(f, "{}", command.join(" ")),
        }
    }
}

impl Change {
    /// Makes it.
    pub(crate) fn make(&self, host: &Host) -> Result<(), String> {
        match self {
            Change::Write { path, value, .. } => write(host, path, value),
            Change::Run { command, .. } => run(host, command),
        }
    }

    /// Puts back what was there before.
    fn undo(&self, host: &Host) -> Result<(), String> {
        match self {
            Change::Write { path, before, .. } => write(host, path, before),
            Change::Run { undo, .. } => run(host, undo),
        }
    }

    /// Whether it is one that this program makes.
    fn is_ours(&self) -> bool {
        match self {
            Change::Write { path, .. } => {
                let plain = !path.split('/').any(|part| part == "..");
                plain && FOLDERS.iter().any(|folder| path.starts_with(folder))
            }
            Change::Run { command, undo } => [command, undo].iter().all(|words| {
                words.first().is_some_and(|tool| TOOLS.contains(&tool.as_str()))
                    && !words.iter().any(|word| word == "-f" || word == "--file")
            }),
        }
    }
}

fn write(host: &Host, path: &str, value: &str) -> Result<(), String> {
    host.write(path, value).map_err(|cause| format!("{path}: cannot write {value}: {cause}"))
}

fn run(host: &Host, command: &[String]) -> Result<(), String> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let Some((tool, arguments)) = words.split_first() else { return Ok(()) };
    let done = host.tool(tool, arguments);
    done.map(drop).map_err(|cause| format!("{}: {cause}", command.join(" ")))
}

/// Every change that was made since the host was as it came.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndoFile {
    version: u32,
    changes: Vec<Change>,
}

impl UndoFile {
    /// Adds changes behind those that the file has, and waits until the disk has them.
    pub(crate) fn add(path: &Path, changes: &[&Change]) -> Result<(), String> {
        let fault = |cause: &dyn fmt::Display| format!("{}: {cause}", path.display());
        let mut file = match fs::exists(path) {
            Ok(true) => UndoFile::read(path)?,
            Ok(false) | Err(_) => UndoFile { version: VERSION, changes: Vec::new() },
        };
        file.changes.extend(changes.iter().map(|change| (*change).clone()));
        let text = serde_json::to_string_pretty(&file).map_err(|cause| fault(&cause))?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|cause| fault(&cause))?;
        }
        // Beside it first: a file cut short by a crash would be no way back.
        let beside = path.with_extension("new");
        let written = fs::File::create(&beside).and_then(|mut new| {
            new.write_all(text.as_bytes())?;
            new.sync_all()
        });
        written.and_then(|()| fs::rename(&beside, path)).map_err(|cause| fault(&cause))
    }

    /// Reads one.
    pub(crate) fn read(path: &Path) -> Result<UndoFile, String> {
        let fault = |cause: &dyn fmt::Display| format!("{}: {cause}", path.display());
        let text = fs::read_to_string(path).map_err(|cause| fault(&cause))?;
        let file: UndoFile = serde_json::from_str(&text).map_err(|cause| fault(&cause))?;
        if file.version != VERSION {
            return Err(fault(&format_args!("version {}, {VERSION} expected", file.version)));
        }
        match file.changes.iter().find(|change| !change.is_ours()) {
            Some(change) => Err(fault(&format_args!("not a change of this program: {change}"))),
            None => Ok(file),
        }
    }

    /// Undoes all of it, the last change first; what cannot be undone is said and passed over.
    pub(crate) fn undo(&self, host: &Host) -> (usize, Vec<String>) {
        let results = self.changes.iter().rev().map(|change| change.undo(host));
        let faults: Vec<String> = results.filter_map(Result::err).collect();
        (self.changes.len() - faults.len(), faults)
    }

    /// Removes the file once nothing of it is left to undo.
    pub(crate) fn remove(path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Folder;

    fn of(path: &str, value: &str, before: &str) -> Change {
        Change::Write { path: path.into(), value: value.into(), before: before.into() }
    }

    #[test]
    fn two_rounds_are_undone_back_to_the_beginning() {
        let folder = Folder::new().with(&[("proc/sys/a", "1")]);
        let host = folder.host();
        let file = std::env::temp_dir().join(format!("strowger-undo-{}.json", std::process::id()));
        for (value, before) in [("2", "1"), ("3", "2")] {
            let change = of("/proc/sys/a", value, before);
            UndoFile::add(&file, &[&change]).expect("written");
            change.make(&host).expect("made");
        }
        assert_eq!(folder.get("proc/sys/a"), "3");
        let (undone, faults) = UndoFile::read(&file).expect("read").undo(&host);
        assert_eq!((undone, faults), (2, vec![]));
        assert_eq!(folder.get("proc/sys/a"), "1");
        UndoFile::remove(&file).expect("removed");
    }

    #[test]
    fn an_undo_file_with_foreign_changes_is_refused() {
        let run = |undo: &[&str]| Change::Run {
            command: vec!["ethtool".into()],
            undo: undo.iter().map(|word| (*word).to_owned()).collect(),
        };
        for wrong in [
            of("/etc/passwd", "x", "y"),
            of("/sys/../etc/passwd", "x", "y"),
            run(&["sh", "-c", "true"]),
            run(&[]),
            run(&["nft", "-f", "/tmp/rules"]),
        ] {
            assert!(!wrong.is_ours(), "{wrong:?}");
        }
        assert!(of("/sys/a", "x", "y").is_ours());
        assert!(run(&["ethtool", "-L", "eth0", "combined", "1"]).is_ours());
    }
}
