//! `strowger new`: a crate with a routing, its configuration, its tests and its packaging.
//!
//! For: going from nothing to a call through one's own routing.
//! Not here: the routings (`core/strowger/template`, files as they are written).
//! Invariants: nothing that exists is changed; a name that cargo would refuse is refused here.

use crate::start::{EXIT_SYSTEM, EXIT_USAGE};
use clap::{Args, ValueEnum};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strowger_node::control::say;

/// What stands in the template where the crate's name goes, as a package and as a module.
const NAME: &str = "my-proxy";
const MODULE: &str = "my_proxy";
/// Names that cargo or the compiler keeps for itself, or that would hide a crate in use.
const TAKEN: [&str; 12] = [
    "strowger",
    "core",
    "std",
    "alloc",
    "test",
    "proc_macro",
    "self",
    "super",
    "crate",
    "build",
    "deps",
    "examples",
];

/// Where to write the crate, and what it is made of.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct NewCrate {
    /// The folder to make; its last part is the crate's name
    folder: PathBuf,
    /// The routing that its binary runs
    #[arg(long, value_enum, default_value_t = Worked::LeastCost)]
    routing: Worked,
    /// Take strowger from this folder (default: the source of this binary, where that is here)
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["git", "release"])]
    path: Option<PathBuf>,
    /// Take strowger from this repository
    #[arg(long, value_name = "URL", conflicts_with = "release")]
    git: Option<String>,
    /// The commit of the repository
    #[arg(long, value_name = "COMMIT", requires = "git")]
    rev: Option<String>,
    /// Take strowger from the registry, in this version
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,
}

/// A worked routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Worked {
    /// Trunks by price, with failover and limits of each customer
    LeastCost,
    /// Users at home who register, call and are called; told to a presence server (reginfo)
    Registrar,
    /// An account at a provider, kept registered, its challenges answered (uac)
    Edge,
}

impl Worked {
    /// Its file, and its type.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Worked::LeastCost => ("least_cost", "LeastCost"),
            Worked::Registrar => ("registrar", "Residential"),
            Worked::Edge => ("edge", "Edge"),
        }
    }
}

/// Every file of the template but the manifest.
const FILES: [(&str, &str); 16] = [
    ("README.md", include_str!("../template/README.md")),
    ("src/main.rs", include_str!("../template/src/main.rs")),
    ("src/lib.rs", include_str!("../template/src/lib.rs")),
    ("src/least_cost.rs", include_str!("../template/src/least_cost.rs")),
    ("src/registrar.rs", include_str!("../template/src/registrar.rs")),
    ("src/edge.rs", include_str!("../template/src/edge.rs")),
    ("tests/edge.rs", include_str!("../template/tests/edge.rs")),
    ("config/edge.toml", include_str!("../template/config/edge.toml")),
    ("tests/least_cost.rs", include_str!("../template/tests/least_cost.rs")),
    ("tests/registrar.rs", include_str!("../template/tests/registrar.rs")),
    ("config/least_cost.toml", include_str!("../template/config/least_cost.toml")),
    ("config/registrar.toml", include_str!("../template/config/registrar.toml")),
    ("packaging/my-proxy.service", include_str!("../template/packaging/my-proxy.service")),
    ("packaging/sysusers.conf", include_str!("../template/packaging/sysusers.conf")),
    ("packaging/postinst", include_str!("../template/packaging/postinst")),
    ("packaging/Dockerfile", include_str!("../template/packaging/Dockerfile")),
];
const MANIFEST: &str = include_str!("../template/Cargo.manifest");

/// Why no crate was written.
#[derive(Debug)]
enum Refusal {
    Name(String),
    Exists(PathBuf),
    System(PathBuf, std::io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Name(name) => write!(
                f,
                "{name:?} is no name for a crate: lower-case letters, digits and - are, a letter \
                 first, and none that Rust keeps for itself",
            ),
            Refusal::Exists(path) => write!(f, "{} exists already", path.display()),
            Refusal::System(path, cause) => write!(f, "{}: {cause}", path.display()),
        }
    }
}

impl NewCrate {
    /// Writes the crate and says how to go on.
    pub(crate) fn run(&self) -> ExitCode {
        match self.write() {
            Ok(()) => {
                let (file, _) = self.routing.names();
                let folder = self.folder.display();
                say(&format!("{folder}: a routing, its configuration, its tests, its packaging"));
                say(&format!("next: cd {folder} && cargo test"));
                say(&format!("then: cargo run -- -f config/{file}.toml"));
                ExitCode::SUCCESS
            }
            Err(refusal) => {
                eprintln!("strowger: new: {refusal}");
                ExitCode::from(match refusal {
                    Refusal::Name(_) | Refusal::Exists(_) => EXIT_USAGE,
                    Refusal::System(..) => EXIT_SYSTEM,
                })
            }
        }
    }

    fn write(&self) -> Result<(), Refusal> {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_name(&name) {
            return Err(Refusal::Name(name));
        }
        if self.folder.exists() {
            return Err(Refusal::Exists(self.folder.clone()));
        }
        let (file, routing) = self.routing.names();
        let manifest = MANIFEST.replace("@STROWGER@", &self.source()).replace("@CONFIG@", file);
        put(&self.folder, "Cargo.toml", &named(&manifest, &name))?;
        put(&self.folder, ".gitignore", "/target\n")?;
        for (path, text) in FILES {
            let text = match path {
                "src/main.rs" => text.replace("least_cost", file).replace("LeastCost", routing),
                "packaging/Dockerfile" => text.replace("least_cost", file),
                _ => text.to_owned(),
            };
            put(&self.folder, &path.replace(NAME, &name), &named(&text, &name))?;
        }
        Ok(())
    }

    /// The dependency, as its line in the manifest says it.
    fn source(&self) -> String {
        if let Some(url) = &self.git {
            let rev = self.rev.as_ref().map(|rev| format!(", rev = {rev:?}"));
            return format!("{{ git = {url:?}{} }}", rev.unwrap_or_default());
        }
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let here = own.join("Cargo.toml").is_file().then(|| own.to_owned());
        match self.path.clone().or(here.filter(|_| self.release.is_none())) {
            Some(path) => {
                let path = std::path::absolute(&path).unwrap_or(path);
                format!("{{ path = {:?} }}", path.display().to_string())
            }
            None => {
                let version = self.release.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
                format!("{version:?}")
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        && !TAKEN.contains(&name)
}

fn named(text: &str, name: &str) -> String {
    text.replace(NAME, name).replace(MODULE, &name.replace('-', "_"))
}

fn put(folder: &Path, path: &str, text: &str) -> Result<(), Refusal> {
    let path = folder.join(path);
    let failed = |cause| Refusal::System(path.clone(), cause);
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::write(&path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(arguments: &[&str]) -> String {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            new: NewCrate,
        }
        let line = ["strowger", "my-edge"].iter().chain(arguments);
        let line: Line = clap::Parser::try_parse_from(line).expect("parsed");
        line.new.source()
    }

    #[test]
    fn strowger_comes_from_where_it_is_said() {
        let git = ["--git", "https://example.com/s.git", "--rev", "abc"];
        assert_eq!(source(&git), r#"{ git = "https://example.com/s.git", rev = "abc" }"#);
        assert_eq!(source(&["--release", "0.1"]), r#""0.1""#);
        assert_eq!(source(&["--path", "/nowhere"]), r#"{ path = "/nowhere" }"#);
        assert!(source(&[]).contains("core/strowger"));
    }

    #[test]
    fn a_name_is_one_that_cargo_takes() {
        for right in ["my-proxy", "edge2", "a_b"] {
            assert!(is_name(right), "{right}");
        }
        for wrong in ["", "2edge", "My", "strowger", "test", "a b", "a.b", "-a"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }

    #[test]
    fn every_file_of_the_template_is_written_and_named() {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("template");
        let mut found = vec![String::from("Cargo.manifest")];
        found.extend(FILES.iter().map(|(path, _)| (*path).to_owned()));
        let mut there = Vec::new();
        let mut folders = vec![template.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let path = path.strip_prefix(&template).expect("below");
                    there.push(path.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        there.sort();
        assert_eq!(found, there);
        let named = named("use my_proxy::x; my-proxy", "big-edge");
        assert_eq!(named, "use big_edge::x; big-edge");
    }
}
