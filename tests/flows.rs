//! Runs every script of `tests/flows/`, each as a test case of its own.
//!
//! For: `cargo test -p strowger-tests --test flows`, or some of them by a part of their names.
//! The node has the plain routing of the script's `route` lines, or, where the set-up has settings
//! of sections (`set registrar.min_expires 60`), the stock routing with its modules.
//! Not here: the language (`tests/flows/README.md`), its interpreter (`core/sip/src/rig/flow/`).
//! Invariants: a flow says at its top what it covers; one that is named after an acceptance example
//! of the specification (`25-03-...`) cites that example.

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strowger::stock::Stock;
use strowger_sip::date::Epoch;
use strowger_sip::module::{ConfiguredModules, NodeFacts};
use strowger_sip::rig::flow::{self, Fault, Node, Setting, Setup};
use strowger_sip::settings::{Configuration, Place, Value};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = scripts().into_iter().map(|path| {
        let name = name(&path);
        Trial::test(name, move || run(&path))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn scripts() -> Vec<PathBuf> {
    let folder = folder("flows");
    let entries = std::fs::read_dir(&folder).expect("the folder tests/flows");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of tests/flows").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "flow"))
        .collect();
    assert!(!paths.is_empty(), "no flows in {}", folder.display());
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn run(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let shown = format!("tests/flows/{}.flow", name(path));
    covers(&name(path), &text)?;
    let files = |file: &str| std::fs::read(folder("messages").join(file)).ok();
    flow::run(&shown, &text, &files, &node)?;
    Ok(())
}

/// The sections of the stock routing and its modules.
const SECTIONS: [&str; 9] = [
    "routing",
    "auth",
    "usrloc",
    "registrar",
    "dispatcher",
    "permissions",
    "pike",
    "dialog",
    "uac",
];

/// The node of a script: plain, or stock where one of the stock routing's sections is set.
fn node(setup: &Setup) -> Result<Box<dyn Node>, Fault> {
    let is_of_section = |setting: &Setting| {
        let section = setting.words.first().and_then(|name| name.split_once('.'));
        setting.kind == "set" && section.is_some_and(|(section, _)| SECTIONS.contains(&section))
    };
    let (sections, engine): (Vec<Setting>, Vec<Setting>) =
        setup.settings.iter().cloned().partition(is_of_section);
    if sections.is_empty() {
        return flow::plain(setup);
    }
    let mut configuration = Configuration::empty("set");
    for setting in &sections {
        let [name, value] = &setting.words[..] else {
            let what = "write `set SECTION.KEY VALUE`".to_owned();
            return Err(Fault { line: setting.line, what });
        };
        let (section, key) = name.split_once('.').unwrap_or_default();
        configuration.set(
            section,
            key,
            Place::Line(u32::try_from(setting.line).unwrap_or(0)),
            value_of(value),
        );
    }
    let facts = NodeFacts {
        name: "flow",
        secret: b"a secret",
        lasting_secret: b"another secret",
        has_storage: false,
        epoch: Epoch::new(1_800_000_000_000_000),
    };
    let ((routing, modules), problems) = configuration.read(|root| {
        let routing = Stock::from_config(&mut root.section("routing"));
        (routing, ConfiguredModules::configured(root, &facts))
    });
    if !problems.is_empty() {
        let line = sections.first().map_or(1, |setting| setting.line);
        return Err(Fault { line, what: problems.to_string() });
    }
    let setup = Setup { settings: engine, ..setup.clone() };
    Ok(Box::new(flow::bench(&setup, routing, modules)?))
}

fn value_of(text: &str) -> Value {
    match (text.parse(), text) {
        (Ok(number), _) => Value::Integer(number),
        (Err(_), "true") => Value::Boolean(true),
        (Err(_), "false") => Value::Boolean(false),
        // Lists are texts of several lines.
        (Err(_), text) => Value::String(text.replace("\\n", "\n")),
    }
}

/// What a flow covers stands in the comment at its top.
fn covers(name: &str, text: &str) -> Result<(), Failed> {
    let top: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let top = top.join("\n");
    if !top.contains("RFC ") && !top.contains("base.md §") {
        return Err("the comment at the top names no section of an RFC or of base.md".into());
    }
    if let Some(rest) = name.strip_prefix("25-") {
        let number = rest.split('-').next().unwrap_or_default().trim_start_matches('0');
        let cited = format!("base.md §25.{number}");
        let whole = |place: usize| {
            !top[place + cited.len()..].starts_with(|next: char| next.is_ascii_digit())
        };
        if !top.match_indices(&cited).any(|(place, _)| whole(place)) {
            return Err(format!("the comment at the top does not cite {cited}").into());
        }
    }
    Ok(())
}
