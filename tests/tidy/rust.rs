//! Checks of Rust source, on its tokens and syntax tree: comments and strings cannot fool them.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::tree::{Faults, File};

const FUNCTION_LINES_MAX: usize = 70; // a screen, says the style guide
const FILE_CODE_LINES_MAX: usize = 500; // one idea, says the style guide

/// What the engine may not name: clocks, sockets, files, threads, locks, printing.
const EDGE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// The macros that print.
const PRINTING: &[&str] = &["dbg", "eprint", "eprintln", "print", "println"];

/// A file begins with `//!`.
pub(crate) fn header(file: &File, faults: &mut Faults) {
    if !file.text.starts_with("//! ") {
        faults.add(&file.path, 1, "a file opens with `//! ` and what it is for");
    }
}

/// A function has at most 70 lines, from `fn` to its closing brace.
pub(crate) fn function_length(file: &File, faults: &mut Faults) {
    struct Functions<'a> {
        path: &'a str,
        faults: &'a mut Faults,
    }
    impl Functions<'_> {
        fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
            let first = signature.span().start().line;
            let lines = body.span().end().line - first + 1;
            if lines > FUNCTION_LINES_MAX {
                let name = &signature.ident;
                let what = format!("fn {name}: {lines} lines, {FUNCTION_LINES_MAX} allowed");
                self.faults.add(self.path, first, what);
            }
        }
    }
    impl<'ast> Visit<'ast> for Functions<'_> {
        fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
            self.measure(&function.sig, &function.block);
            visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
            self.measure(&function.sig, &function.block);
            visit::visit_impl_item_fn(self, function);
        }
        fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
            if let Some(body) = &function.default {
                self.measure(&function.sig, body);
            }
            visit::visit_trait_item_fn(self, function);
        }
    }
    let Some(syntax) = parse(file, faults) else { return };
    Functions { path: &file.path, faults }.visit_file(&syntax);
}

/// A file has at most 500 lines with code on them, its `#[cfg(test)]` items not counted.
pub(crate) fn file_length(file: &File, faults: &mut Faults) {
    let Some(syntax) = parse(file, faults) else { return };
    let mut lines = BTreeSet::new();
    code_lines(tokens(file), &mut lines);
    for item in syntax.items.iter().filter(|item| is_test(item)) {
        let (first, last) = (item.span().start().line, item.span().end().line);
        lines.retain(|line| !(first..=last).contains(line));
    }
    if lines.len() > FILE_CODE_LINES_MAX {
        let what = format!("{} lines of code, {FILE_CODE_LINES_MAX} allowed", lines.len());
        faults.add(&file.path, 1, what);
    }
}

/// The word `unsafe` is not used, in macros neither.
pub(crate) fn no_unsafe(file: &File, faults: &mut Faults) {
    for word in words(file).iter().filter(|word| word.text == "unsafe") {
        faults.add(&file.path, word.line, "unsafe belongs in core/node/src/udp/");
    }
}

/// No test is switched off and nothing is a stub.
pub(crate) fn nothing_ignored_or_unfinished(file: &File, faults: &mut Faults) {
    for three in words(file).windows(3) {
        let line = three[1].line;
        match [&*three[0].text, &*three[1].text, &*three[2].text] {
            ["#", "[", "ignore"] => faults.add(&file.path, line, "a test that does not run"),
            [_, "todo" | "unimplemented", "!"] => faults.add(&file.path, line, "a stub"),
            _ => {}
        }
    }
}

/// The engine and the modules name nothing of the edge, imported or in full.
pub(crate) fn no_edge(file: &File, faults: &mut Faults) {
    let Some(syntax) = parse(file, faults) else { return };
    for (path, line) in paths(&syntax) {
        let path = path.trim_start_matches("::");
        let found = EDGE.iter().find(|edge| {
            path.strip_prefix(**edge).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        if let Some(edge) = found {
            faults.add(&file.path, line, format!("{edge} belongs to the edge (core/node)"));
        }
    }
    for two in words(file).windows(2) {
        if PRINTING.contains(&&*two[0].text) && two[1].text == "!" {
            let what = format!("{}! belongs to the edge (core/node)", two[0].text);
            faults.add(&file.path, two[0].line, what);
        }
    }
}

/// Every path and every import of a file, written out in full, with its line.
fn paths(syntax: &syn::File) -> Vec<(String, usize)> {
    struct Paths(Vec<(String, usize)>);
    impl<'ast> Visit<'ast> for Paths {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            let parts: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.0.push((parts.join("::"), path.span().start().line));
            visit::visit_path(self, path);
        }
        fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
            imports(&item.tree, "", &mut self.0);
        }
    }
    let mut paths = Paths(Vec::new());
    paths.visit_file(syntax);
    paths.0
}

/// `use std::{fs, net::UdpSocket}` as `std::fs` and `std::net::UdpSocket`.
fn imports(tree: &syn::UseTree, before: &str, found: &mut Vec<(String, usize)>) {
    let mut leaf = |name: &syn::Ident| {
        // `use std::net::{self}` imports `std::net`.
        let path = if name == "self" { before.to_owned() } else { format!("{before}::{name}") };
        found.push((path, name.span().start().line));
    };
    match tree {
        syn::UseTree::Name(name) => leaf(&name.ident),
        syn::UseTree::Rename(rename) => leaf(&rename.ident),
        syn::UseTree::Glob(glob) => found.push((before.to_owned(), glob.span().start().line)),
        syn::UseTree::Path(path) => {
            imports(&path.tree, &format!("{before}::{}", path.ident), found);
        }
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| imports(tree, before, found));
        }
    }
}

/// A token and where it stands; the brackets of a group are tokens too.
struct Word {
    text: String,
    line: usize,
}

fn words(file: &File) -> Vec<Word> {
    fn flatten(tokens: TokenStream, words: &mut Vec<Word>) {
        for token in tokens {
            let (text, line) = match &token {
                TokenTree::Group(group) => {
                    let open = match group.delimiter() {
                        proc_macro2::Delimiter::Parenthesis => "(",
                        proc_macro2::Delimiter::Brace => "{",
                        proc_macro2::Delimiter::Bracket => "[",
                        proc_macro2::Delimiter::None => "",
                    };
                    (open.to_owned(), group.span_open().start().line)
                }
                TokenTree::Ident(ident) => (ident.to_string(), ident.span().start().line),
                TokenTree::Punct(punct) => (punct.to_string(), punct.span().start().line),
                TokenTree::Literal(literal) => (literal.to_string(), literal.span().start().line),
            };
            words.push(Word { text, line });
            if let TokenTree::Group(group) = token {
                flatten(group.stream(), words);
            }
        }
    }
    let mut words = Vec::new();
    flatten(tokens(file), &mut words);
    words
}

/// The lines on which a token stands that is not a comment.
fn code_lines(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                tokens.next_if(|next| is_punct(next, '!'));
                if tokens.next_if(is_documentation).is_none() {
                    lines.insert(punct.span().start().line);
                }
            }
            TokenTree::Group(group) => {
                lines.insert(group.span_open().start().line);
                lines.insert(group.span_close().end().line);
                code_lines(group.stream(), lines);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
                lines.extend(token.span().start().line..=token.span().end().line);
            }
        }
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// `[doc = "..."]`: what the lexer makes of `///` and `//!`.
fn is_documentation(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(name)) if name == "doc")
}

fn is_test(item: &syn::Item) -> bool {
    let syn::Item::Mod(module) = item else { return false };
    let is_cfg_test = |attribute: &syn::Attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    };
    module.attrs.iter().any(is_cfg_test)
}

fn tokens(file: &File) -> TokenStream {
    file.text.parse().unwrap_or_default()
}

fn parse(file: &File, faults: &mut Faults) -> Option<syn::File> {
    let syntax = syn::parse_file(&file.text);
    syntax.inspect_err(|error| faults.add(&file.path, error.span().start().line, error)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rule: fn(&File, &mut Faults), text: &str) -> String {
        let mut faults = Faults::default();
        rule(&File { path: "a.rs".to_owned(), text: text.to_owned() }, &mut faults);
        format!("{faults:?}")
    }

    #[test]
    fn a_long_function_is_found_and_a_brace_in_a_string_is_not_its_end() {
        let body = "    let _ = (\"}\", '}', r#\"}\"#); // }\n".repeat(69);
        let text = format!("//! A.\nfn long() {{\n{body}}}\n");
        assert!(faults(function_length, &text).contains("a.rs:2: fn long: 71 lines"));
        let shorter = text.replacen("    let _ = (\"}\", '}', r#\"}\"#); // }\n", "", 1);
        assert_eq!(faults(function_length, &shorter), format!("{:?}", Faults::default()));
    }

    #[test]
    fn comments_and_tests_are_not_code() {
        let text = "//! A.\n\n// c\n/// d\nfn a() {\n    b();\n\n}\n#[cfg(test)]\nmod tests {\n}\n";
        let mut lines = BTreeSet::new();
        let file = File { path: "a.rs".to_owned(), text: text.to_owned() };
        code_lines(tokens(&file), &mut lines);
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), [5, 6, 8, 9, 10, 11]);
        let long = format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(501));
        assert!(faults(file_length, &long).contains("501 lines of code"));
        let long = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "// a\nfn b() {}\n");
        assert!(!faults(file_length, &long).contains("lines of code"));
    }

    #[test]
    fn the_edge_is_found_however_it_is_named() {
        for text in ["use std::{fmt, fs};", "use std::net::{IpAddr, UdpSocket as U};"] {
            assert!(faults(no_edge, text).contains("a.rs:1: std::"), "{text}");
        }
        for text in ["fn a() { ::std::thread::yield_now() }", "fn a() { println!() }"] {
            assert!(faults(no_edge, text).contains("a.rs:1: "), "{text}");
        }
        for text in ["use std::net::IpAddr;", "// std::fs\nconst A: &str = \"std::fs\";"] {
            assert!(!faults(no_edge, text).contains("a.rs"), "{text}");
        }
    }

    #[test]
    fn unsafe_and_stubs_are_found_in_macros_too() {
        // Put together here, so that a plain search of the tree for either finds none.
        let (stub, skip) = (["to", "do!()"].concat(), ["#[ig", "nore = \"slow\"]"].concat());
        let text = format!("fn a() {{ m!(unsafe {{ b() }}); {stub} }}\n{skip}\nfn c() {{}}");
        assert!(faults(no_unsafe, &text).contains("a.rs:1: unsafe"));
        assert!(faults(nothing_ignored_or_unfinished, &text).contains("a.rs:1: a stub"));
        assert!(faults(nothing_ignored_or_unfinished, &text).contains("a.rs:2: a test"));
    }
}
