//! The guide for those who come from Kamailio: every name of its documents has a row, and what the
//! row sends its reader to exists.
//!
//! For: `core/strowger/from_kamailio`, against the names in `tests/host/names` (a file for each
//! module: kind and name) and against the configuration, the commands, the metrics and the code.
//! Not here: whether the remarks are right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use strowger::stock::Stock;
use strowger_modules::dialog::Dialog;
use strowger_modules::location::Location;
use strowger_modules::pua::Pua;
use strowger_modules::pua_reginfo::PuaReginfo;
use strowger_modules::uac::Uac;
use strowger_node::config;
use strowger_sip::date::Epoch;
use strowger_sip::module::{CommandNote, ConfiguredModules, MetricNote, Module, NodeFacts};
use strowger_sip::settings::Section;
use strowger_tests::binary;

/// The modules of the guide, in one tuple.
type Guided = (Dialog, Location, Uac, Pua, PuaReginfo);
/// Their sections, and those below them.
const SECTIONS: &[&str] = &["dialog", "dialog.database", "uac", "pua", "pua_reginfo"];

const KINDS: &[&str] =
    &["parameter", "function", "statistic", "command", "variable", "event", "call"];
const PROBE: &str = "strowger_tests_probe";
/// Functions of the standard library in examples.
const STANDARD: &[&str] = &["into", "is_ok", "is_some"];
/// Instead of a reference: there is nothing, for the reason that follows.
const NOTHING: &str = "nothing";

/// A row of a table: what it is called there, what it is, where it went, what is different.
#[derive(Debug)]
struct Row {
    place: String,
    name: String,
    kind: String,
    strowger: String,
    remark: String,
}

fn folder() -> PathBuf {
    binary::workspace().join("core/strowger/from_kamailio")
}

/// The rows of one module's page.
fn rows(module: &str) -> Vec<Row> {
    let path = folder().join(format!("{module}.md"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{module}.md: {error}"));
    let lines = (1..).zip(text.lines()).filter(|(_, line)| line.starts_with("| `"));
    lines
        .map(|(number, line)| {
            let cells: Vec<&str> = line.trim_matches('|').split(" |").map(str::trim).collect();
            let [name, kind, strowger, remark] = cells[..] else {
                panic!("{module}.md:{number}: four columns are wanted: {line}");
            };
            Row {
                place: format!("{module}.md:{number}"),
                name: name.trim_matches('`').to_owned(),
                kind: kind.to_owned(),
                strowger: strowger.to_owned(),
                remark: remark.to_owned(),
            }
        })
        .collect()
}

/// The lists of names, by module.
fn lists() -> BTreeMap<String, Vec<(String, String)>> {
    let entries = fs::read_dir(binary::workspace().join("tests/host/names")).expect("the lists");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let read = |path: PathBuf| {
        let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a readable list");
        let names = text.lines().map(|line| {
            let (kind, name) = line.split_once(' ').expect("kind and name");
            (kind.to_owned(), name.to_owned())
        });
        (module, names.collect())
    };
    paths.map(read).collect()
}

#[test]
fn every_name_of_the_documents_has_one_row() {
    let mut faults = Vec::new();
    for (module, names) in lists() {
        let rows = rows(&module);
        for (kind, name) in &names {
            let found = rows.iter().filter(|row| (&row.kind, &row.name) == (kind, name)).count();
            if found != 1 {
                faults.push(format!("{module}: {found} rows for the {kind} {name}"));
            }
        }
        faults.extend(
            rows.iter()
                .filter(|row| !KINDS.contains(&row.kind.as_str()))
                .map(|row| format!("{}: {:?} is no kind", row.place, row.kind)),
        );
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Everything that a row may refer to.
struct Existing {
    keys: BTreeSet<String>,
    commands: BTreeSet<String>,
    metrics: BTreeSet<String>,
    items: BTreeSet<String>,
}

impl Existing {
    fn now() -> Existing {
        let of_each = [notes::<Dialog>(), notes::<Uac>(), notes::<Pua>(), notes::<PuaReginfo>()];
        let commands = of_each.iter().flat_map(|(commands, _)| *commands);
        let metrics = of_each.iter().flat_map(|(_, metrics)| *metrics);
        let mut items = BTreeSet::new();
        for crate_folder in ["core/sip/src", "core/strowger/src", "modules/src"] {
            collect(&binary::workspace().join(crate_folder), &mut items);
        }
        Existing {
            keys: known_keys(),
            commands: commands.map(|note| note.name.to_owned()).collect(),
            metrics: metrics.map(|note| note.name.to_owned()).collect(),
            items,
        }
    }

    fn has(&self, reference: &str) -> bool {
        match reference.strip_prefix('[') {
            Some(_) => self.keys.contains(reference),
            None => [&self.commands, &self.metrics, &self.items]
                .iter()
                .any(|set| set.contains(reference)),
        }
    }
}

/// What a module says about itself.
fn notes<M: Module>() -> (&'static [CommandNote], &'static [MetricNote]) {
    (M::COMMANDS, M::METRICS)
}

/// `[section] key` of everything that the modules and the stock routing read.
fn known_keys() -> BTreeSet<String> {
    let mut text = String::new();
    for section in SECTIONS.iter().chain(&["routing"]) {
        text.push_str(&format!("[{section}]\n{PROBE} = 1\n"));
    }
    let (configuration, _) = config::parse("probe", &text);
    let (_, problems) = configuration.read(read_sections);
    let mut keys = BTreeSet::new();
    for problem in problems.sorted() {
        let Some(section) = problem.key.strip_suffix(PROBE) else { continue };
        let section = section.trim_end_matches('.');
        for key in problem.allowed.split(", ") {
            keys.insert(format!("[{section}] {key}"));
        }
    }
    keys
}

fn read_sections(root: &mut Section<'_>) {
    let facts = NodeFacts {
        name: "guide",
        secret: b"guide",
        lasting_secret: b"guide",
        has_storage: true,
        epoch: Epoch::new(0),
    };
    drop(Guided::configured(root, &facts));
    drop(Stock::from_config(&mut root.section("routing")));
}

/// `Type::function` and `Enum::Variant` of all that is public below a folder.
fn collect(folder: &Path, items: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, items);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("readable source");
            let syntax = syn::parse_file(&text).expect("source that compiles");
            syntax.items.iter().for_each(|item| note(item, items));
        }
    }
}

fn note(item: &syn::Item, items: &mut BTreeSet<String>) {
    let is_public = |visibility: &syn::Visibility| matches!(visibility, syn::Visibility::Public(_));
    if let syn::Item::Enum(item) = item {
        items.extend(
            item.variants.iter().map(|variant| format!("{}::{}", item.ident, variant.ident)),
        );
    } else if let syn::Item::Trait(item) = item {
        for part in &item.items {
            if let syn::TraitItem::Fn(function) = part {
                items.insert(format!("{}::{}", item.ident, function.sig.ident));
            }
        }
    } else if let syn::Item::Impl(item) = item
        && let syn::Type::Path(path) = &*item.self_ty
        && let Some(of) = path.path.segments.last()
    {
        for part in &item.items {
            if let syn::ImplItem::Fn(function) = part
                && is_public(&function.vis)
            {
                items.insert(format!("{}::{}", of.ident, function.sig.ident));
            }
        }
    }
}

#[test]
fn what_the_guide_sends_its_reader_to_exists() {
    let existing = Existing::now();
    assert!(existing.has("[dialog] default_timeout") && existing.has("DialogOf::manage"));
    assert!(existing.has("dlg.list") && !existing.has("DialogOf::no_such_function"));
    let mut faults = Vec::new();
    for module in lists().keys() {
        for row in rows(module) {
            if row.strowger == NOTHING {
                if row.remark.len() < 10 {
                    faults.push(format!("{}: nothing, and no word why", row.place));
                }
                continue;
            }
            let references: Vec<&str> = row.strowger.split('`').skip(1).step_by(2).collect();
            if references.is_empty() {
                faults.push(format!("{}: {:?} refers to nothing", row.place, row.strowger));
            }
            let missing = references.iter().filter(|reference| !existing.has(reference));
            faults.extend(missing.map(|missing| format!("{}: no {missing}", row.place)));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The table of the base modules names calls as a routing writes them: each exists by its name.
#[test]
fn the_calls_of_the_base_modules_exist() {
    let mut items = BTreeSet::new();
    for crate_folder in ["core/sip/src", "core/strowger/src", "modules/src"] {
        collect(&binary::workspace().join(crate_folder), &mut items);
    }
    let functions: BTreeSet<&str> =
        items.iter().filter_map(|item| item.split_once("::")).map(|(_, name)| name).collect();
    let page = binary::workspace().join("core/sip/src/routing/from_kamailio.md");
    let text = fs::read_to_string(page).expect("the table");
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.starts_with("| ")) {
        let cells = line.replace("\\|", "");
        let Some(here) = cells.split(" | ").nth(1) else { continue };
        for (at, _) in here.match_indices('(') {
            let before = &here[..at];
            let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next();
            let name = name.filter(|name| !STANDARD.contains(name));
            let is_call = name.is_some_and(|name| {
                let dot = before.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
                dot && !functions.contains(name)
            });
            if is_call {
                faults.push(format!("line {number}: no function {name:?}"));
            }
        }
    }
    let is_checked = text.contains("request.relay_to(") && functions.contains("relay_to");
    assert!(is_checked && faults.is_empty(), "{faults:#?}");
}
