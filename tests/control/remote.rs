//! `strowger rpc`, `top`, completions and man pages, by the binary itself.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use strowger_tests::binary;
use strowger_tests::folder::Folder;

use crate::plane::{Controlled, start};

fn strowger(arguments: &[&str]) -> Output {
    Command::new(binary::strowger()).args(arguments).output().expect("started")
}

fn asked(control: SocketAddr, arguments: &[&str]) -> (Option<i32>, String, String) {
    let control = control.to_string();
    let output = strowger(&[&["--control", &control], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_command_line_asks_a_node_that_runs() {
    let Controlled { proxy, control } = start("");
    let (status, said, _) = asked(control, &["rpc", "core.version"]);
    assert_eq!((status, said.trim()), (Some(0), concat!("strowger ", env!("CARGO_PKG_VERSION"))));
    // A table for people.
    let (status, said, _) = asked(control, &["rpc", "core.sockets_list"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((status, lines.len()), (Some(0), 2), "{said}");
    assert!(lines[0].starts_with("proto") && lines[0].contains("port"), "{said}");
    assert!(lines[1].contains(&proxy.address().port().to_string()), "{said}");
    // JSON for scripts, parameters by name.
    let named = ["rpc", "--json", "stats.get_statistics", "what=core:rcv_requests"];
    let (status, said, _) = asked(control, &named);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((status, answer), (Some(0), serde_json::json!(["core:rcv_requests = 0"])));
    // A refusal, and nobody there.
    let (status, _, cause) = asked(control, &["rpc", "no.such"]);
    assert_eq!((status, cause.trim()), (Some(1), "strowger: no command \"no.such\" (-32601)"));
    let nobody = SocketAddr::from(([127, 0, 0, 1], strowger_tests::ports::free()));
    let (status, _, cause) = asked(nobody, &["rpc", "core.version"]);
    assert_eq!(status, Some(69), "{cause}");
    assert!(cause.contains("no answer from 127.0.0.1"), "{cause}");
}

#[test]
fn the_configuration_says_where_the_node_is_and_its_token() {
    let folder = Folder::new("remote");
    let socket = folder.path().join("control.sock");
    let file = folder.write(
        "strowger.toml",
        &format!(
            "[control]\nlisten = \"unix:{}\"\ntoken = \"0123456789abcdef0123\"\n",
            socket.display()
        ),
    );
    let file = file.to_str().expect("a readable path");
    let mut proxy = strowger_tests::proxy::Proxy::start(&["-f", file]);
    proxy.process().wait_for("control plane on unix:");
    let output = strowger(&["-f", file, "rpc", "core.uptime"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("up_since"));
    let wrong = ["-f", file, "--token", "wrong", "rpc", "core.uptime"];
    assert_eq!(strowger(&wrong).status.code(), Some(1));
}

#[test]
fn one_look_shows_shards_and_rates() {
    let Controlled { proxy: _proxy, control } = start("");
    let (status, said, cause) = asked(control, &["top", "--once"]);
    assert_eq!(status, Some(0), "{cause}");
    for wanted in ["calls/s 0.0", "set-up within no calls", "drops:", "shard", "busy"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(said.lines().count(), 9, "two shards: {said}");
}

#[test]
fn completions_and_man_pages_come_from_the_command_line() {
    let folder = Folder::new("manual");
    for shell in ["bash", "zsh", "fish"] {
        let script = strowger(&["completions", shell]).stdout;
        let script = String::from_utf8_lossy(&script).into_owned();
        assert!(script.contains("dry-run") && script.contains("next-hop"), "{shell}");
        if shell == "bash" {
            let file = folder.write("completions", &script);
            assert!(Command::new("bash").arg("-n").arg(file).status().expect("bash").success());
        }
    }
    let pages = folder.path().join("man");
    std::fs::create_dir(&pages).expect("made");
    let made = strowger(&["man", pages.to_str().expect("a readable path")]);
    assert!(made.status.success(), "{made:?}");
    for page in ["strowger.1", "strowger-rpc.1", "strowger-top.1", "strowger-reload.1"] {
        let text = std::fs::read_to_string(Path::new(&pages).join(page)).expect(page);
        assert!(text.contains(".TH strowger"), "{page}: {text}");
    }
}
