//! `/metrics` read by Prometheus itself.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use strowger_tests::datagram::Peer;
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::{PATIENCE, Process};

use crate::plane::{Controlled, ask, get, start};

const MORE: &str = "compat_names = true\n[routing]\nregistrar = true\ndialog = true\n\
                    domains = [\"example.com\"]\n";

/// Something of everything: a REGISTER that is taken, an INVITE that is refused.
fn traffic(proxy: SocketAddr) {
    let mut peer = Peer::new(proxy);
    let register = peer.request("REGISTER", "sip:example.com", "Expires: 600\r\n");
    let register = register.replace("To: <sip:example.com>", "To: <sip:alice@example.com>");
    assert!(peer.ask(&register, PATIENCE).starts_with("SIP/2.0 200"));
    let uri = format!("sip:nobody@{proxy}");
    let invite = peer.request("INVITE", &uri, "Max-Forwards: 70\r\n");
    let refused = peer.ask(&invite, PATIENCE);
    peer.acknowledge(&invite, &refused);
}

/// What promtool says of a page.
fn checked(page: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of the package prometheus");
    promtool.stdin.take().expect("its input").write_all(page.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("ended");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let Controlled { proxy, control } = start(MORE);
    traffic(proxy.address());
    let (status, page) = get(control, "/metrics");
    assert_eq!(status, 200);
    // The names of Kamailio's exporters are as they are.
    let own: String = page
        .lines()
        .filter(|line| !line.contains("kamailio_"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(checked(&own), (true, String::new()));
    assert!(checked("x_total 1\n").1.contains("x_total"), "it does complain");
    let unnoted: Vec<&str> = page.lines().filter(|line| line.contains(" untyped")).collect();
    assert!(unnoted.is_empty(), "a note for each, in its module's `METRICS`: {unnoted:?}");
}

#[test]
fn what_rfc_6076_wants_is_measured() {
    let Controlled { proxy, control } = start(MORE);
    traffic(proxy.address());
    let (_, page) = get(control, "/metrics");
    let sum = |name: &str| -> f64 {
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    assert_eq!(sum("strowger_registration_request_delay_seconds_count"), 1.0, "{page}");
    assert_eq!(sum("strowger_session_request_delay_seconds_count"), 1.0);
    assert_eq!(sum("strowger_session_setup_seconds_count"), 0.0);
    assert_eq!(sum("strowger_session_establishment_ratio"), 0.0);
    assert!(page.contains("strowger_session_establishment_ratio 0\n"), "{page}");
    assert!(page.contains("method=\"INVITE\",code=\"404\"} 1"), "{page}");
    assert!(sum("strowger_queueing_delay_seconds_count") >= 2.0);
    assert!(sum("strowger_shard_cpu_seconds_total") > 0.0);
    assert!(sum("process_resident_memory_bytes") > 1e6);
    assert!(sum("strowger_memory_bytes") > 1e6);
}

#[test]
fn open_metrics_is_spoken_to_who_asks_for_it() {
    let Controlled { proxy, control } = start(MORE);
    traffic(proxy.address());
    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let (status, page) = ask(control, "GET /metrics", accept, "");
    assert_eq!(status, 200);
    assert!(page.ends_with("# EOF\n"), "{page}");
    let families: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().expect("a name");
        let ends = ["", "_total", "_bucket", "_sum", "_count"];
        let found = ends
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|family| families.contains(family)));
        assert!(found, "{line}");
    }
    assert!(!families.iter().any(|family| family.ends_with("_total")), "{families:?}");
}

#[test]
fn prometheus_scrapes_it_without_a_word() {
    let Controlled { proxy, control } = start(MORE);
    traffic(proxy.address());
    let folder = Folder::new("prometheus");
    let file = folder.write(
        "prometheus.yml",
        &format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: strowger\n    \
             static_configs:\n      - targets: ['{control}']\n"
        ),
    );
    let web = format!("127.0.0.1:{}", ports::free());
    let mut prometheus = Process::start(
        "prometheus",
        Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={web}"))
            .arg("--log.level=debug"),
    );
    prometheus.wait_for("Server is ready to receive web requests");
    let web: SocketAddr = web.parse().expect("an address");
    let end = std::time::Instant::now() + PATIENCE;
    let query = "/api/v1/query?query=strowger_registrar_accepted_regs_total";
    let found = loop {
        let (_, body) = get(web, query);
        let body: Value = serde_json::from_str(unchunked(&body)).unwrap_or_default();
        let results = body["data"]["result"].as_array().cloned().unwrap_or_default();
        if !results.is_empty() {
            break results;
        }
        assert!(std::time::Instant::now() < end, "{body} {}", prometheus.output());
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let sum: u64 = found.iter().filter_map(|it| it["value"][1].as_str()?.parse::<u64>().ok()).sum();
    assert_eq!(sum, 1, "{found:?}");
    let (_, targets) = get(web, "/api/v1/targets");
    assert!(targets.contains("\"health\":\"up\""), "{targets}");
    assert!(targets.contains("\"lastError\":\"\""), "{targets}");
    let output = prometheus.output();
    for line in output.lines().map(str::to_ascii_lowercase) {
        let is_bad = line.contains("level=warn") || line.contains("level=error");
        let is_about_us =
            ["scrape", "append", "ingest", "parse"].iter().any(|it| line.contains(it));
        assert!(!(is_bad && is_about_us), "{line}");
    }
}

/// The JSON in a body that may come in chunks.
fn unchunked(body: &str) -> &str {
    let start = body.find('{').unwrap_or(0);
    let end = body.rfind('}').map_or(body.len(), |end| end + 1);
    body.get(start..end).unwrap_or_default()
}

#[test]
fn the_dashboard_asks_for_what_is_there_and_prometheus_understands_it() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../tuning/grafana/strowger.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let folder = Folder::new("dashboard");
    let more = format!(
        "{MORE}[storage]\nurl = \"sqlite:{}\"\n",
        folder.path().join("strowger.db").display()
    );
    let listen = "[node]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\nshards = 2\n";
    let file = format!("{listen}[control]\nlisten = \"127.0.0.1:0\"\n{more}");
    let file = folder.write("strowger.toml", &file);
    let mut process = Process::start(
        "strowger",
        Command::new(strowger_tests::binary::strowger()).arg("-f").arg(file),
    );
    let control = process.wait_until("where the control plane is", |output| {
        let line = output.lines().find_map(|line| line.strip_prefix("control plane on http://"))?;
        line.parse().ok()
    });
    process.wait_for("ready, shards: 2");
    let (_, page) = get(control, "/metrics");
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    for (n, target) in targets.enumerate() {
        let asked = target["expr"].as_str().expect("an expression");
        let words = asked.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for name in words.filter(|it| it.starts_with("strowger_") || it.starts_with("process_")) {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            // Counts by code begin with the first of the code.
            let is_there = page.contains(&format!("# TYPE {family} "));
            assert!(is_there || family == "strowger_sip_final_responses_total", "{name}: {asked}");
        }
        let asked = asked.replace("$__rate_interval", "5m").replace("$instance", ".*");
        rules.push_str(&format!("  - record: dashboard:{n}\n    expr: '{asked}'\n"));
    }
    let rules = folder.write("rules.yml", &rules);
    let checked = Command::new("promtool").args(["check", "rules"]).arg(rules).output();
    let checked = checked.expect("promtool, of the package prometheus");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
