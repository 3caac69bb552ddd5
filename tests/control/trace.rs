//! Messages in the log, at a collector and in a file, switched while the node runs.

use std::net::UdpSocket;
use std::process::Command;

use serde_json::{Value, json};
use strowger_tests::datagram::{Peer, header};
use strowger_tests::folder::Folder;
use strowger_tests::process::PATIENCE;

use crate::plane::{Controlled, call, get, start};

fn result(control: std::net::SocketAddr, name: &str, params: &Value) -> Value {
    let text = json!({"jsonrpc": "2.0", "method": name, "params": params, "id": 1}).to_string();
    let (status, body) = call(control, &text);
    assert_eq!(status, 200, "{name}: {body}");
    serde_json::from_str::<Value>(&body).expect("JSON")["result"].clone()
}

/// An OPTIONS that is answered; its Call-ID.
fn options(peer: &mut Peer, to: std::net::SocketAddr) -> String {
    let options = peer.request("OPTIONS", &format!("sip:{to}"), "");
    assert!(peer.ask(&options, PATIENCE).starts_with("SIP/2.0 200"));
    header(&options, "Call-ID").expect("a Call-ID").to_owned()
}

#[test]
fn a_traced_source_is_in_the_log_until_the_trace_ends() {
    let Controlled { mut proxy, control } = start("[log]\nformat = \"text\"\n");
    let mut peer = Peer::new(proxy.address());
    let before = options(&mut peer, proxy.address());
    let id = result(control, "trace.start", &json!(["source", "127.0.0.1", 1]))["id"].clone();
    let traced = options(&mut peer, proxy.address());
    let output = proxy.process().wait_until("request and answer", |output| {
        let lines = output.lines().filter(|line| line.contains(&traced));
        (lines.count() >= 2).then(|| output.to_owned())
    });
    assert!(output.contains("trace: received"), "{output}");
    assert!(output.contains("trace: sent"), "{output}");
    assert!(!output.contains(&before), "before, nobody wanted it");
    let listed = result(control, "trace.list", &json!([]));
    assert_eq!(listed["traces"][0]["value"], "127.0.0.1", "{listed}");
    assert_eq!(result(control, "trace.stop", &json!([id]))["ended"], 1);
    let after = options(&mut peer, proxy.address());
    let (_, page) = get(control, "/metrics");
    let logged = page.lines().find_map(|it| it.strip_prefix("strowger_trace_logged_total "));
    // A slow machine has them repeated.
    assert!(logged.is_some_and(|it| it.parse::<u32>().is_ok_and(|n| n >= 2)), "{page}");
    assert!(!proxy.process().output().contains(&after));
    let refused = r#"{"jsonrpc":"2.0","method":"trace.start","params":["source","x"],"id":1}"#;
    assert_eq!(call(control, refused).0, 400);
}

#[test]
fn a_collector_gets_hep_and_tshark_reads_the_file() {
    let Controlled { proxy, control } = start("");
    let collector = UdpSocket::bind("127.0.0.1:0").expect("bound");
    collector.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
    let to = collector.local_addr().expect("an address").to_string();
    let folder = Folder::new("pcapng");
    let path = folder.path().join("calls.pcapng");
    result(control, "trace.hep", &json!({"address": to}));
    result(control, "trace.pcap", &json!({"path": path, "max_mib": 1}));
    let mut peer = Peer::new(proxy.address());
    let ids: Vec<String> = (0..5).map(|_| options(&mut peer, proxy.address())).collect();
    let mut payloads = String::new();
    let all_came = |text: &str| ids.iter().all(|id| text.matches(id.as_str()).count() >= 2);
    while !all_came(&payloads) {
        let mut bytes = [0; 4096];
        let length = collector.recv(&mut bytes).expect("a packet");
        assert_eq!(&bytes[..4], b"HEP3");
        assert_eq!(usize::from(u16::from_be_bytes([bytes[4], bytes[5]])), length);
        payloads.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    result(control, "trace.hep", &json!([]));
    let ended = result(control, "trace.pcap", &json!([]));
    assert!(ended["captured"].as_u64() >= Some(10) && ended["lost"] == 0, "{ended}");

    let port = proxy.address().port();
    let shown = Command::new("tshark")
        .args(["-r", path.to_str().expect("a readable path"), "-d"])
        .arg(format!("udp.port=={port},sip"))
        .args(["-Y", "sip", "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"])
        .args(["-e", "sip.Call-ID", "-e", "ip.dst", "-e", "_ws.malformed"])
        .output()
        .expect("tshark");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.lines().count() >= 10, "{text} {}", String::from_utf8_lossy(&shown.stderr));
    for id in &ids {
        assert!(text.contains(&format!("OPTIONS\t\t{id}\t127.0.0.1\t")), "{id}: {text}");
        assert!(text.contains(&format!("\t200\t{id}\t127.0.0.1\t")), "{id}: {text}");
    }
    assert!(!text.contains("alformed"), "{text}");
}

#[test]
fn json_lines_are_json_and_the_level_changes() {
    let folder = Folder::new("json");
    let file = "[control]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    let file = folder.write("strowger.toml", file);
    let mut process = strowger_tests::process::Process::start(
        "strowger",
        Command::new(strowger_tests::binary::strowger())
            .args(["--listen", "udp:127.0.0.1:0", "--shards", "1", "-f"])
            .arg(&file),
    );
    let control = process.wait_until("where the control plane is", |output| {
        let rest = output.split("control plane on http://").nth(1)?;
        rest.split('"').next()?.parse().ok()
    });
    process.wait_for("ready, shards: 1");
    for line in process.stdout().lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(line["message"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert_eq!(result(control, "log.level", &json!([]))["level"], "info");
    assert_eq!(result(control, "log.level", &json!(["error"]))["level"], "error");
    let lines = process.stdout().lines().count();
    process.signal(strowger_tests::process::Signal::Usr1);
    // The summary is information; what is asked afterwards is answered after it.
    result(control, "core.ps", &json!([]));
    assert_eq!(process.stdout().lines().count(), lines);
}
