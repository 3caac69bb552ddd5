//! The listing of commands, names of parameters, lists in pages.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use strowger::stock::Stock;
use strowger_node::http::command_table;
use strowger_sip::engine::Engine;
use strowger_tests::datagram::Peer;
use strowger_tests::process::PATIENCE;

use crate::plane::{Controlled, call, start};

const BEGIN: &str = "<!-- begin of the commands -->\n";
const END: &str = "<!-- end of the commands -->\n";

fn result(control: std::net::SocketAddr, name: &str, params: &Value) -> Value {
    let text = json!({"jsonrpc": "2.0", "method": name, "params": params, "id": 1}).to_string();
    let (status, body) = call(control, &text);
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200, "{name}: {body}");
    answer["result"].clone()
}

#[test]
fn every_command_of_the_binary_is_in_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/README.md");
    let readme = std::fs::read_to_string(&path).expect("core/README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("where the commands begin");
    let (written, after) = rest.split_once(END).expect("where the commands end");
    let table = command_table(&Engine::<Stock>::notes());
    if std::env::var_os("STROWGER_WRITE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("written");
        return;
    }
    assert_eq!(written, table, "run this test with STROWGER_WRITE=1 to write the table anew");
}

#[test]
fn every_listed_command_answers_to_its_name() {
    let Controlled { proxy: _proxy, control } = start("");
    let found = result(control, "rpc.discover", &json!([]));
    let methods = found["methods"].as_array().expect("a list").clone();
    assert!(methods.len() > 60, "{}", methods.len());
    let names: BTreeSet<&str> = methods.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names.len(), methods.len(), "each once");
    // What ends the node, or writes a file, has tests of its own.
    for name in names.iter().filter(|name| **name != "core.kill") {
        let text = json!({"jsonrpc": "2.0", "method": name, "id": 1}).to_string();
        let (_, body) = call(control, &text);
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_ne!(answer["error"]["code"], -32601, "{name}: {body}");
        let help = result(control, "system.methodHelp", &json!([name]));
        assert!(help.as_str().is_some_and(|help| help.ends_with('.')), "{name}: {help}");
    }
    let listed = result(control, "system.listMethods", &json!([]));
    assert_eq!(listed.as_array().map(Vec::len), Some(names.len()));
}

#[test]
fn parameters_by_name_and_lists_in_pages() {
    let Controlled { proxy, control } =
        start("[routing]\nregistrar = true\ndomains = [\"example.com\"]\n");
    let mut peer = Peer::new(proxy.address());
    for n in 0..25 {
        let register = peer.request("REGISTER", "sip:example.com", "Expires: 600\r\n");
        let user = format!("To: <sip:user{n}@example.com>");
        let register = register.replace("To: <sip:example.com>", &user);
        assert!(peer.ask(&register, PATIENCE).starts_with("SIP/2.0 200"));
    }
    let params = json!({"aor": "user7", "table": "location"});
    let found = result(control, "ul.lookup", &params);
    assert!(found.to_string().contains("user7"), "{found}");
    let wrong = r#"{"jsonrpc":"2.0","method":"ul.lookup","params":{"who":1},"id":1}"#;
    let (status, body) = call(control, wrong);
    assert!(status == 400 && body.contains("-32602"), "{status} {body}");

    let whole = result(control, "ul.dump", &json!([]));
    assert_eq!(whole["AoRs"].as_array().map(Vec::len), Some(25), "{whole}");
    assert_eq!(whole["Stats"]["Records"], 25);
    let (mut seen, mut next, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = result(control, "ul.dump", &json!({"limit": 10, "next": next}));
        let list = page["AoRs"].as_array().expect("a list");
        assert!(list.len() <= 10);
        seen.extend(list.iter().map(ToString::to_string));
        pages += 1;
        match page["next"].as_str() {
            Some(more) => next = more.to_owned(),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (25, 3), "each once");
}

#[test]
fn statistics_can_be_reset_and_gauges_stay() {
    let Controlled { proxy, control } =
        start("[routing]\nregistrar = true\ndomains = [\"example.com\"]\n");
    let mut peer = Peer::new(proxy.address());
    let register = peer.request("REGISTER", "sip:example.com", "Expires: 600\r\n");
    let register = register.replace("To: <sip:example.com>", "To: <sip:alice@example.com>");
    assert!(peer.ask(&register, PATIENCE).starts_with("SIP/2.0 200"));
    let of = |name: &str| result(control, "stats.fetchn", &json!([name]));
    assert_eq!(of("registrar:accepted_regs")["registrar.accepted_regs"], 1);
    let cleared = result(control, "stats.clear_statistics", &json!(["all"]));
    assert!(cleared.to_string().contains("registrar:accepted_regs = 1"), "{cleared}");
    assert_eq!(of("registrar:accepted_regs")["registrar.accepted_regs"], 0);
    assert_eq!(of("usrloc:registered_users")["usrloc.registered_users"], 1, "it is alive");
}

#[test]
fn the_engine_shows_what_it_keeps() {
    let Controlled { proxy, control } = start("");
    let silent = Peer::new(proxy.address());
    let mut peer = Peer::new(proxy.address());
    let uri = format!("sip:nobody@{}", silent.address());
    let invite = peer.request("INVITE", &uri, "Max-Forwards: 70\r\n");
    peer.send(invite.as_bytes());
    silent.receive(std::time::Instant::now() + PATIENCE).expect("the INVITE");
    let list = result(control, "tm.list", &json!([]));
    assert_eq!(list["transactions"][0]["method"], "INVITE", "{list}");
    assert_eq!(list["transactions"][0]["ruri"], uri);
    let stats = result(control, "tm.stats", &json!([]));
    assert_eq!(stats["current"], 1, "{stats}");
    let sockets = result(control, "core.sockets_list", &json!([]));
    assert_eq!(sockets[0]["port"], proxy.address().port(), "{sockets}");
    let modules = result(control, "core.modules", &json!([]));
    assert!(modules.to_string().contains("\"dialog\""), "{modules}");
    let ps = result(control, "core.ps", &json!([]));
    assert_eq!(ps.as_array().map(Vec::len), Some(2), "{ps}");
}
