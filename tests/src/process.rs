//! A child process that cannot outlive its test, with its output kept for reading.
//!
//! For: the proxy and SIPp alike.
//! Not here: what their output means (`proxy.rs`, `sipp.rs`).
//! Invariants: signals go to a pid that has not been reaped yet; a failing test shows the output.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::folder::Folder;

/// How long a line or an ending is waited for: these machines freeze for up to a second now and
/// then, and a cold start compiles nothing but may read a lot.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const SHOWN_BYTES_MAX: usize = 8_000;

/// The signals that the tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Drain and leave.
    Term,
    /// Print the summary and go on (the proxy); finish the running calls and leave (SIPp).
    Usr1,
    /// Read lists again (the proxy).
    Hup,
    /// Leave at once.
    Kill,
    /// Stand still, as on a machine that freezes.
    Stop,
    /// Go on after that.
    Continue,
}

/// A running child, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    folder: Folder,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the command with nothing on standard input and its output in files.
    ///
    /// # Panics
    /// When the command cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let folder = Folder::new(name);
        let output = |file: &str| File::create(folder.path().join(file)).expect("an output file");
        let child = command
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, folder, status: None }
    }

    /// Sends a signal, by pid.
    ///
    /// # Panics
    /// When the process has ended already.
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.is_running(), "{} has ended: {:?}", self.name, self.status);
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Usr1 => "USR1",
            Signal::Hup => "HUP",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        // The shell's own `kill`: a fresh Debian has no other, and this crate has no `unsafe`.
        let command = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("sh starts");
        assert!(status.success(), "{command}: {status}");
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status.is_none()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        while self.is_running() {
            assert!(Instant::now() < end, "{} still runs after {limit:?}", self.name);
            std::thread::sleep(POLL);
        }
        self.status.expect("a process that does not run has a status")
    }

    /// Waits for a line that contains `needle`, on either output, and returns the whole line.
    ///
    /// # Panics
    /// When no such line has come in [`PATIENCE`], or the process ended without writing it.
    pub fn wait_for(&mut self, needle: &str) -> String {
        self.wait_until(&format!("a line with {needle:?}"), |output| {
            output.lines().find(|line| line.contains(needle)).map(str::to_owned)
        })
    }

    /// Waits until `look` finds what it wants in the output so far.
    ///
    /// # Panics
    /// When it has not after [`PATIENCE`], or not by the end of the process.
    pub fn wait_until<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            // Asked first: what an ended process wrote is complete when it is read.
            let running = self.is_running();
            if let Some(found) = look(&self.output()) {
                return found;
            }
            assert!(running, "{} ended ({:?}) without {what}", self.name, self.status);
            assert!(Instant::now() < end, "{}: no {what} in {PATIENCE:?}", self.name);
            std::thread::sleep(POLL);
        }
    }

    /// Everything written so far: whole lines of standard output, then of standard error.
    #[must_use]
    pub fn output(&self) -> String {
        let mut all = whole_lines(self.stdout());
        all.push_str(&whole_lines(self.stderr()));
        all
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn read(&self, file: &str) -> String {
        let path: PathBuf = self.folder.path().join(file);
        String::from_utf8_lossy(&std::fs::read(path).expect("the output file")).into_owned()
    }

    fn show(&self) {
        for (file, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let mut from = text.len().saturating_sub(SHOWN_BYTES_MAX);
            while !text.is_char_boundary(from) {
                from += 1;
            }
            eprintln!("--- {} {file}\n{}", self.name, &text[from..]);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        if self.status.is_none() {
            // Both fail only when the process is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The text up to its last line feed: half a line may still grow.
fn whole_lines(mut text: String) -> String {
    text.truncate(text.rfind('\n').map_or(0, |last| last + 1));
    text
}
