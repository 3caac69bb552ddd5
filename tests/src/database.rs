//! Database servers of a test's own: PostgreSQL and MariaDB in a folder and on a port of their own.
//!
//! For: starting, freezing, killing and starting again; no cluster of the system is touched.
//! Not here: what is stored in them.
//! Invariants: servers run as an unprivileged user, which they insist on; they are stopped by pid.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::folder::Folder;
use crate::process::{PATIENCE, Process};

/// Held while a server's files are laid out.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    port: u16,
    // Before the folder: dropped in this order.
    process: Process,
    folder: Folder,
}

impl Server {
    /// Starts an empty one.
    ///
    /// # Panics
    /// When its package is not installed, or it does not start.
    #[must_use]
    pub fn start(kind: Kind) -> Self {
        let folder = Folder::new("database");
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("the folder is nobody's");
        }
        let data = folder.path().join("data");
        let mut install = match kind {
            Kind::Postgres => {
                let mut command = unprivileged(&postgres("initdb"));
                let arguments = ["-A", "trust", "-U", "strowger", "-E", "UTF8", "--no-sync", "-D"];
                command.args(arguments).arg(&data);
                command
            }
            Kind::MariaDb => {
                folder.write(
                    "init.sql",
                    "CREATE DATABASE IF NOT EXISTS sip;\n\
                     CREATE USER IF NOT EXISTS 'strowger'@'%' IDENTIFIED BY 'secret';\n\
                     GRANT ALL ON sip.* TO 'strowger'@'%';\n",
                );
                let mut command = unprivileged(Path::new("mariadb-install-db"));
                command.args(["--no-defaults", "--skip-test-db"]);
                command.arg("--auth-root-authentication-method=normal");
                command.arg(format!("--datadir={}", data.display()));
                command
            }
        };
        {
            // Two installations at a time disturb each other.
            let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
            let mut installing = Process::start("install", install.current_dir(folder.path()));
            let status = installing.wait(PATIENCE);
            assert!(status.success(), "{install:?}: {}", installing.output());
        }
        let port = free_port();
        let process = launch(kind, &folder, port);
        let mut server = Self { kind, port, process, folder };
        server.await_connections();
        server
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://strowger@127.0.0.1:{}/postgres", self.port),
            Kind::MariaDb => format!("mysql://strowger:secret@127.0.0.1:{}/sip", self.port),
        }
    }

    /// Has it carry out some SQL, by its own client.
    ///
    /// # Panics
    /// When it refuses.
    pub fn run(&self, sql: &str) {
        let _ = self.ask(sql);
    }

    /// The same; what it prints, without a frame around it.
    ///
    /// # Panics
    /// When it refuses.
    #[must_use]
    pub fn ask(&self, sql: &str) -> String {
        let mut client = match self.kind {
            Kind::Postgres => {
                let mut client = Command::new("psql");
                client.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).arg(self.url());
                client
            }
            Kind::MariaDb => {
                let mut client = Command::new("mariadb");
                client.args(["--no-defaults", "-h", "127.0.0.1", "-N", "-B"]);
                client.args([&format!("-P{}", self.port), "-ustrowger", "-psecret", "sip"]);
                client
            }
        };
        let file = self.folder.write("ask.sql", sql);
        let file = std::fs::File::open(file).expect("the file that was written");
        let done = client.stdin(file).output().expect("its client is installed");
        let (said, wrong) = (&done.stdout, String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{sql}: {wrong}");
        String::from_utf8_lossy(said).trim_end().to_owned()
    }

    /// Stops all its processes where they are.
    pub fn freeze(&mut self) {
        self.signal_all("STOP");
    }

    /// Lets them go on.
    pub fn thaw(&mut self) {
        self.signal_all("CONT");
    }

    /// Ends it without any care for what it does.
    pub fn crash(&mut self) {
        // With SIGKILL PostgreSQL's children would outlive it; this ends them as rudely.
        let signal = match self.kind {
            Kind::Postgres => "QUIT",
            Kind::MariaDb => "KILL",
        };
        kill(signal, self.process.pid());
        self.process.wait(PATIENCE);
    }

    /// Starts it again after a crash.
    pub fn start_again(&mut self) {
        self.process = launch(self.kind, &self.folder, self.port);
        self.await_connections();
    }

    fn signal_all(&self, signal: &str) {
        let parent = self.process.pid();
        kill(signal, parent);
        children(parent).into_iter().for_each(|child| kill(signal, child));
    }

    fn await_connections(&mut self) {
        match self.kind {
            Kind::Postgres => self.process.wait_for("ready to accept connections"),
            Kind::MariaDb => self.process.wait_for("ready for connections"),
        };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.process.is_running() {
            return;
        }
        // A frozen process does not hear the end; PostgreSQL takes its children along.
        self.thaw();
        kill("QUIT", self.process.pid());
        let end = Instant::now() + PATIENCE;
        while self.kind == Kind::Postgres && self.process.is_running() && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

fn launch(kind: Kind, folder: &Folder, port: u16) -> Process {
    let data = folder.path().join("data");
    let mut command = match kind {
        Kind::Postgres => {
            let mut command = unprivileged(&postgres("postgres"));
            command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-F"]);
            for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="] {
                command.args(["-c", setting]);
            }
            command
        }
        Kind::MariaDb => {
            let mut command = unprivileged(Path::new("/usr/sbin/mariadbd"));
            let path = |name: &str| folder.path().join(name).display().to_string();
            command.args(["--no-defaults", "--bind-address=127.0.0.1"]);
            command.arg(format!("--port={port}"));
            command.arg(format!("--datadir={}", data.display()));
            command.arg(format!("--socket={}", path("socket")));
            command.arg(format!("--pid-file={}", path("pid")));
            command.arg(format!("--init-file={}", path("init.sql")));
            command
        }
    };
    Process::start("database", command.current_dir(folder.path()))
}

/// A command that is run as nobody when this process is root: both servers refuse to be root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    // The owner of the processes' own folder in /proc is who they run as.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0
}

/// Debian keeps PostgreSQL's programs beside their version, out of the path.
fn postgres(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut versions: Vec<PathBuf> =
        versions.filter_map(|entry| Some(entry.ok()?.path().join("bin").join(program))).collect();
    versions.retain(|path| path.exists());
    versions.sort();
    versions.pop().expect("a version of PostgreSQL with a server")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free TCP port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn kill(signal: &str, pid: u32) {
    // A child of the server may have ended by itself.
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {pid} 2>&1")]).output();
}
