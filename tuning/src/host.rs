//! The host as files and tools, below a root that a test may choose.
//!
//! For: reading and writing /proc and /sys, running ethtool and nft.
//! Not here: what the values mean (`knobs/`).
//! Invariants: with another root than `/` nothing outside of it is read, written or run.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where tools are looked for when the host is the real one: not every PATH has the last two.
const TOOL_FOLDERS: &[&str] = &["usr/sbin", "usr/bin", "sbin", "bin"];

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

/// Why a tool said nothing useful.
#[derive(Debug)]
pub(crate) enum ToolError {
    /// It is not installed; holds its name.
    Missing(String),
    /// It ended with a fault; holds its name and what it wrote.
    Failed(String, String),
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToolError::Missing(tool) => write!(f, "{tool} is not installed"),
            ToolError::Failed(tool, said) => write!(f, "{tool}: {said}"),
        }
    }
}

impl Host {
    /// The host whose /proc and /sys are below this folder; `/` is the one that this runs on.
    pub fn below(root: &Path) -> Host {
        Host { root: root.to_owned() }
    }

    /// Whether it is the one that this runs on.
    pub fn is_this_one(&self) -> bool {
        self.root == Path::new("/")
    }

    /// What a file says, without the white space at its ends; none when it cannot be read.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.place(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Whether something is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.place(path).exists()
    }

    /// The names in a folder, numbers in them counted; empty when it cannot be read.
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.place(path)).into_iter().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// Writes a value into a file that is there.
    pub(crate) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(self.place(path))?;
        io::Write::write_all(&mut file, format!("{value}\n").as_bytes())
    }

    /// Runs a tool and returns what it printed.
    pub(crate) fn tool(&self, tool: &str, arguments: &[&str]) -> Result<String, ToolError> {
        let folders = TOOL_FOLDERS.iter().map(|folder| self.root.join(folder).join(tool));
        let Some(program) = folders.into_iter().find(|program| program.is_file()) else {
            return Err(ToolError::Missing(tool.to_owned()));
        };
        let failed = |said: String| ToolError::Failed(tool.to_owned(), said);
        let done = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .output()
            .map_err(|cause| failed(cause.to_string()))?;
        let said = String::from_utf8_lossy(&done.stderr);
        // ethtool says of some things that they cannot be done, and ends as if they were.
        let is_silent = done.stdout.is_empty() && !said.trim().is_empty();
        if done.status.success() && !is_silent {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("no word why");
        Err(failed(line.trim().to_owned()))
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A host made of files in a folder that disappears with it.

    use super::Host;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    pub(crate) struct Folder {
        path: PathBuf,
    }

    impl Folder {
        pub(crate) fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("strowger-host-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).expect("a new folder");
            Folder { path }
        }

        pub(crate) fn host(&self) -> Host {
            Host::below(&self.path)
        }

        /// Lays out files, a path and its content each.
        pub(crate) fn with(self, files: &[(&str, &str)]) -> Folder {
            for (path, text) in files {
                self.set(path, text);
            }
            self
        }

        pub(crate) fn set(&self, path: &str, text: &str) {
            let place = self.path.join(path.trim_start_matches('/'));
            fs::create_dir_all(place.parent().expect("a file in a folder")).expect("its folder");
            fs::write(place, format!("{text}\n")).expect("a file");
        }

        pub(crate) fn get(&self, path: &str) -> String {
            let text = fs::read_to_string(self.path.join(path.trim_start_matches('/')));
            text.expect("a file").trim().to_owned()
        }

        /// A tool that is this shell script; it runs in the folder.
        pub(crate) fn with_tool(self, name: &str, script: &str) -> Folder {
            let path = format!("usr/sbin/{name}");
            self.set(&path, &format!("#!/bin/sh\ncd {}\n{script}", self.path.display()));
            let place = self.path.join(path);
            fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("executable");
            self
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // A folder that cannot be removed is litter, not a failed test.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Folder;

    #[test]
    fn a_tool_that_complains_has_failed_however_it_ends() {
        let complains = "echo 'Cannot change: Operation not supported' >&2; exit 0";
        let folder = Folder::new().with_tool("ethtool", complains).with_tool("nft", "exit 3");
        let host = folder.host();
        let said = host.tool("ethtool", &[]).expect_err("failed").to_string();
        assert_eq!(said, "ethtool: Cannot change: Operation not supported");
        assert_eq!(host.tool("nft", &[]).expect_err("failed").to_string(), "nft: no word why");
        assert_eq!(host.tool("tc", &[]).expect_err("none").to_string(), "tc is not installed");
    }
}
