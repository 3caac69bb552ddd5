//! The secret that outlives a restart: what a node has sealed before, it can read again.
//!
//! For: `[node] secret` and `secret_file`; temporary GRUUs above all (RFC 5627 §3.2).
//! Not here: what is sealed with it (the modules), the keys of hash tables, which are new at each
//! start.
//! Invariants: a file that is made here can be read by its owner alone.

use crate::settings::NodeSettings;
use crate::storage::Database;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a secret that is made here: as many as HMAC-SHA-256 has use for.
const SECRET_BYTES: usize = 32;
/// The shortest that is taken: 64 bits, if each character has four.
pub(crate) const SECRET_CHARACTERS_MIN: usize = 16;

/// Why there is none.
#[derive(Debug)]
pub struct SecretError {
    /// Where it was to be.
    pub path: PathBuf,
    /// What the system says.
    pub cause: io::Error,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[node] secret_file {}: {}", self.path.display(), self.cause)
    }
}

impl std::error::Error for SecretError {}

/// The node's secret; `None` when nobody said where to keep one, and there is no file beside which
/// it could lie.
pub fn lasting(settings: &NodeSettings) -> Result<Option<Vec<u8>>, SecretError> {
    if let Some(secret) = &settings.secret {
        return Ok(Some(secret.as_bytes().to_vec()));
    }
    let beside = || match &settings.storage.as_ref()?.database {
        // The first start makes both, and no step is left to the user.
        Database::Sqlite(path) => Some(path.with_added_extension("secret")),
        Database::Postgres(_) | Database::MySql(_) => None,
    };
    let Some(path) = settings.secret_file.clone().or_else(beside) else { return Ok(None) };
    match read_or_make(&path) {
        Ok(secret) => Ok(Some(secret)),
        Err(cause) => Err(SecretError { path, cause }),
    }
}

fn read_or_make(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(secret) => {
            let secret = secret.trim_ascii().to_vec();
            let long = secret.len() >= SECRET_CHARACTERS_MIN;
            let short = || format!("shorter than {SECRET_CHARACTERS_MIN} characters");
            long.then_some(secret)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, short()))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => make(path),
        Err(cause) => Err(cause),
    }
}

fn make(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|cause| io::Error::other(cause.to_string()))?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Under another name first: a node that dies while it writes leaves no half a secret.
    let unfinished = path.with_added_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(secret.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("strowger-secret-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).expect("a folder");
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn settings(text: &str) -> NodeSettings {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (settings, problems) = configuration.read(NodeSettings::read);
        assert!(problems.is_empty(), "{problems}");
        settings
    }

    #[test]
    fn a_file_is_made_once_and_for_its_owner_alone() {
        let folder = Folder::new("made");
        let path = folder.0.join("state.db.secret");
        for text in [
            format!("[node]\nsecret_file = \"{}\"\n", path.display()),
            format!("[storage]\nurl = \"sqlite:{}/state.db\"\n", folder.0.display()),
        ] {
            let settings = settings(&text);
            let made = lasting(&settings).expect("a secret").expect("one");
            assert_eq!(made.len(), 2 * SECRET_BYTES);
            assert_eq!(lasting(&settings).expect("a secret"), Some(made));
            let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(&folder.0).expect("the folder").count(), 1);
    }

    #[test]
    fn what_is_said_counts_and_nothing_is_made_without_a_word() {
        let said = lasting(&settings("[node]\nsecret = \"0123456789abcdef\"\n"));
        assert_eq!(said.expect("a secret").as_deref(), Some(&b"0123456789abcdef"[..]));
        assert_eq!(lasting(&settings("")).expect("nothing"), None);
        let remote = "[storage]\nurl = \"postgres://u@h/d\"\n";
        assert_eq!(lasting(&settings(remote)).expect("nothing"), None);
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused_by_name() {
        let folder = Folder::new("short");
        let path = folder.0.join("key");
        std::fs::write(&path, "short\n").expect("written");
        let settings = settings(&format!("[node]\nsecret_file = \"{}\"\n", path.display()));
        let error = lasting(&settings).expect_err("too short").to_string();
        assert!(error.contains("key") && error.contains("16 characters"), "{error}");
    }
}
