//! Checks of the READMEs: what they name exists, and their commands can be typed.

use std::path::Path;

use crate::tree::{self, Faults, File};

/// First parts of what looks like a path and is not one: media types.
const NOT_FOLDERS: &[&str] = &["application", "audio", "image", "message", "multipart", "text"];

/// Every relative path in a link, in backticks or in a shell command exists.
pub(crate) fn paths_exist(file: &File, faults: &mut Faults) {
    let mut language = None;
    for (index, line) in file.text.lines().enumerate() {
        let mut missing = |what: &str| faults.add(&file.path, index + 1, format!("no {what}"));
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            language = language.is_none().then(|| fence.trim());
            continue;
        }
        let named = match language {
            Some("sh" | "bash" | "console" | "shell") => command_paths(line),
            Some(_) => Vec::new(),
            None => [links(line), quoted_paths(line)].concat(),
        };
        named.iter().filter(|path| !exists(file, path)).for_each(|path| missing(path));
        for test in named_tests(line).iter().filter(|test| !is_test(test)) {
            missing(&format!("test {test:?}"));
        }
    }
}

/// The targets of `[text](target)` that are neither an address nor a place in the same file.
fn links(line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
    targets.filter(|target| !target.is_empty() && !target.contains(':')).map(Into::into).collect()
}

/// What looks like a path between backticks.
fn quoted_paths(line: &str) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| is_path(text)).map(Into::into).collect()
}

/// The words of a shell command that are paths inside the tree.
fn command_paths(line: &str) -> Vec<String> {
    let command = line.trim_start_matches(['$', '#', ' ']);
    let words = command.split(" #").next().unwrap_or_default().split_whitespace();
    words.filter(|word| is_path(word)).map(Into::into).collect()
}

/// The names after `--test` in a command of cargo.
fn named_tests(line: &str) -> Vec<String> {
    let rests = line.split("--test ").skip(1);
    let names = rests.filter_map(|rest| rest.split([' ', '`']).next());
    names.filter(|name| !name.is_empty()).map(Into::into).collect()
}

fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let first = text.trim_start_matches("./").split('/').next().unwrap_or_default();
    let is_number = first.chars().all(|c| c.is_ascii_digit());
    let elsewhere = text.starts_with(['/', '-']) || first == "target" || is_number;
    text.contains('/')
        && text.chars().all(plain)
        && !elsewhere
        && !NOT_FOLDERS.contains(&first)
        && !text.contains("...")
}

/// Whether a path is there, seen from the README's folder or from the root.
fn exists(file: &File, path: &str) -> bool {
    let beside = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    tree::root().join(beside).join(path).exists() || tree::root().join(path).exists()
}

fn is_test(name: &str) -> bool {
    let manifest = std::fs::read_to_string(tree::root().join("tests/Cargo.toml"));
    manifest.is_ok_and(|text| text.contains(&format!("name = \"{name}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_its_line() {
        let text = "`core/sip` and `core/nowhere` and `application/sdp` and [a](b.md#c)\n\
                    ```sh\n$ tests/run\n$ ./tests/walk --fast\n```\n`a b/c`, `/etc/hosts`\n\
                    cargo test -p strowger-tests --test nothing\n";
        let file = File { path: "README.md".to_owned(), text: text.to_owned() };
        let mut faults = Faults::default();
        paths_exist(&file, &mut faults);
        let found = faults.found();
        let expected = [
            "README.md:1: no b.md",
            "README.md:1: no core/nowhere",
            "README.md:4: no ./tests/walk",
            "README.md:7: no test \"nothing\"",
        ];
        assert_eq!(found, expected);
    }
}
