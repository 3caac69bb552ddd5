//! The control plane of the real binary with two shards, over HTTP on loopback.
//!
//! For: metrics, JSON-RPC, health and readiness, who may ask, hostile requests; base.md §22.2,
//! §22.3, §25.24 and §25.25.
//! Not here: what modules answer to their commands (their own tests).

#[path = "control/browser.rs"]
mod browser;
#[path = "control/metrics.rs"]
mod metrics;
#[path = "control/page.rs"]
mod page;
#[path = "control/plane.rs"]
mod plane;
#[path = "control/reload.rs"]
mod reload;
#[path = "control/remote.rs"]
mod remote;
#[path = "control/rpc.rs"]
mod rpc;
#[path = "control/trace.rs"]
mod trace;

use std::fmt::Write as _;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use plane::{Controlled, ask, call, get, sample, start};
use strowger_tests::datagram::Peer;
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Signal};

#[test]
fn acceptance_25_25_metrics_count_invites_under_both_names() {
    let Controlled { proxy, control } = start("compat_names = true\n");
    let mut peer = Peer::new(proxy.address());
    for _ in 0..7 {
        // For the node itself, where nobody of this name is: 404 at once.
        let uri = format!("sip:nobody@{}", proxy.address());
        let invite = peer.request("INVITE", &uri, "Max-Forwards: 70\r\n");
        let refused = peer.ask(&invite, PATIENCE);
        peer.acknowledge(&invite, &refused);
    }
    let (status, page) = get(control, "/metrics");
    assert_eq!(status, 200);
    let invites = sample(&page, "kamailio_core_rcv_requests_invite");
    // A slow machine has them repeated.
    assert!(invites >= Some(7), "{page}");
    let own: u64 = (0..2)
        .filter_map(|shard| {
            let labels = format!("{{shard=\"{shard}\",method=\"INVITE\"}}");
            sample(&page, &format!("strowger_sip_requests_received_total{labels}"))
        })
        .sum();
    assert_eq!(Some(own), invites);
    assert!(sample(&page, "strowger_server_transactions{shard=\"0\"}").is_some());
    for module in ["auth", "dialog", "dispatcher", "permissions", "pike", "registrar", "usrloc"] {
        assert!(page.contains(&format!("# TYPE strowger_{module}_")), "{module}: {page}");
    }
}

#[test]
fn acceptance_25_24_json_rpc_answers_and_refuses() {
    let Controlled { proxy: _proxy, control } = start("");
    let text = r#"{"jsonrpc":"2.0","method":"stats.get_statistics","params":["core:"],"id":1}"#;
    let (status, body) = call(control, text);
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"core:rcv_requests_invite = 0\""), "{body}");
    assert!(!body.contains("tmx:"), "{body}");

    let text = r#"{"jsonrpc":"2.0","method":"stats.get_statistics","params":["dialog:"],"id":1}"#;
    let (_, body) = call(control, text);
    for name in ["active", "early", "expired", "failed", "processed"] {
        assert!(body.contains(&format!("\"dialog:{name}_dialogs = 0\"")), "{body}");
    }
    assert_eq!(body.matches("dialog:").count(), 5, "{body}");
    // An unknown dialog: the fault's number is the code and the HTTP status.
    let text = r#"{"jsonrpc":"2.0","method":"dlg.end_dlg","params":["1","1"],"id":1}"#;
    let (status, body) = call(control, text);
    assert!(status == 404 && body.contains("\"code\":404"), "{status} {body}");

    let (status, body) = call(control, r#"{"jsonrpc":"2.0","method":"no.such","id":"x"}"#);
    assert_eq!(status, 404);
    assert!(body.contains("-32601") && body.contains("\"id\":\"x\""), "{body}");
    let (status, body) = call(control, r#"{"jsonrpc":"2.0","method":"#);
    assert!(status == 400 && body.contains("-32700"), "{status} {body}");
    let (status, body) = call(control, r#"{"method":"core.version","id":1}"#);
    assert!(status == 400 && body.contains("-32600"), "{status} {body}");
    // A fault of a command is the error's code and the HTTP status.
    let text = r#"{"jsonrpc":"2.0","method":"tm.cancel","params":["x"],"id":1}"#;
    let (status, body) = call(control, text);
    assert!(status == 400 && body.contains("\"code\":400"), "{status} {body}");

    let calls = r#"[{"jsonrpc":"2.0","method":"core.echo","params":["a",1],"id":1},
        {"jsonrpc":"2.0","method":"core.version","id":2}]"#;
    let (status, body) = call(control, calls);
    assert!(status == 200 && body.contains("[\"a\",\"1\"]"), "{body}");
    assert!(body.contains("strowger "), "{body}");
    let (status, body) = call(control, r#"{"jsonrpc":"2.0","method":"core.version"}"#);
    assert_eq!((status, body.as_str()), (204, ""), "a notification");
}

#[test]
fn readiness_ends_with_the_drain_and_health_does_not() {
    let Controlled { mut proxy, control } = start("");
    assert_eq!(get(control, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(control, "/ready"), (200, "ready\n".to_owned()));
    // Something that keeps the node from being done at once.
    let mut peer = Peer::new(proxy.address());
    let silent = Peer::new(proxy.address());
    let uri = format!("sip:nobody@{}", silent.address());
    let invite = peer.request("INVITE", &uri, "Max-Forwards: 70\r\n");
    peer.send(invite.as_bytes());
    silent.receive(Instant::now() + PATIENCE).expect("the INVITE");
    proxy.process().signal(Signal::Term);
    let end = Instant::now() + PATIENCE;
    while get(control, "/ready").0 != 503 {
        assert!(Instant::now() < end, "still ready while it drains");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(get(control, "/healthz").0, 200);
}

#[test]
fn with_a_token_nobody_else_may_ask() {
    let token = "0123456789abcdef0123";
    let Controlled { proxy: _proxy, control } = start(&format!("token = \"{token}\"\n"));
    for path in ["/metrics", "/ready"] {
        assert_eq!(get(control, path).0, 401);
        let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
        assert_eq!(ask(control, &format!("GET {path}"), &with("wrong"), "").0, 401);
        assert_eq!(ask(control, &format!("GET {path}"), &with(token), "").0, 200);
    }
    assert_eq!(call(control, "{}").0, 401);
    assert_eq!(get(control, "/healthz").0, 200, "a load balancer has no token");
}

#[test]
fn hostile_requests_are_bounded_and_harm_nobody() {
    let Controlled { mut proxy, control } = start("");
    assert_eq!(get(control, "/nothing").0, 404);
    assert_eq!(get(control, "/rpc").0, 405);
    assert_eq!(ask(control, "POST /metrics", "", "").0, 405);
    let huge = "x".repeat(2 << 20);
    assert_eq!(call(control, &huge).0, 413);
    let deep = "[".repeat(100_000);
    assert_eq!(call(control, &deep).0, 400);

    // Heads that never end take places, and then their time is over.
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(control).expect("connected");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").expect("written");
            stream
        })
        .collect();
    assert_eq!(get(control, "/healthz").0, 200);
    let mut many = String::new();
    (0..20_000).for_each(|n| write!(many, "X-{n}: y\r\n").expect("a string takes everything"));
    let (status, _) = ask(control, "GET /healthz", &many, "");
    assert!(matches!(status, 400 | 431), "{status}");
    drop(slow);
    let mut peer = Peer::new(proxy.address());
    let options = peer.request("OPTIONS", &format!("sip:{}", proxy.address()), "");
    assert!(peer.ask(&options, PATIENCE).starts_with("SIP/2.0 200"));
    assert!(proxy.process().is_running());
}

#[test]
fn the_database_is_counted_where_there_is_one() {
    let folder = Folder::new("control-storage");
    let file = folder.path().join("strowger.db");
    let more = format!(
        "[storage]\nurl = \"sqlite:{}\"\n[routing]\nregistrar = true\n\
         domains = [\"example.com\"]\n[usrloc]\ndb_mode = 1\n",
        file.display()
    );
    let Controlled { proxy, control } = start(&more);
    let mut peer = Peer::new(proxy.address());
    for user in ["alice", "bob", "carol"] {
        let register = peer.request("REGISTER", "sip:example.com", "Expires: 600\r\n");
        let register =
            register.replace("To: <sip:example.com>", &format!("To: <sip:{user}@example.com>"));
        assert!(peer.ask(&register, PATIENCE).starts_with("SIP/2.0 200"));
    }
    for (command, count) in
        [("ul.db_users", 3), ("ul.db_contacts", 3), ("ul.db_expired_contacts", 0)]
    {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{command}","id":1}}"#);
        let (status, body) = call(control, &text);
        assert_eq!(status, 200, "{body}");
        assert!(body.contains(&format!("\"result\":{count}")), "{command}: {body}");
    }
    // The shards' lists are joined.
    let (_, body) = call(control, r#"{"jsonrpc":"2.0","method":"ul.dump","id":1}"#);
    assert!(["alice", "bob", "carol"].iter().all(|user| body.contains(user)), "{body}");
}
