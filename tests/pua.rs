//! Strowger's presence user agent and a real presence server: Kamailio's.
//!
//! For: publications that arrive there whole, once and in order, and that outlive a kill; a
//! watcher of SIPp that is told of them; a subscription of this node.
//! Not here: what a hostile network does (the module's simulation), the examples of the
//! specification (its acceptance tests).
//! Needs: Debian's `kamailio`, `kamailio-presence-modules`, `kamailio-sqlite-modules`, `sqlite3`
//! and `sip-tester`.

#[path = "control/plane.rs"]
mod plane;

use std::time::{Duration, Instant};

use plane::{Controlled, call, get, sample, start};
use serde_json::{Value, json};
use strowger_tests::folder::Folder;
use strowger_tests::kamailio::Kamailio;
use strowger_tests::process::{PATIENCE, Signal};
use strowger_tests::sipp::Sipp;

/// A document that says this.
fn pidf(basic: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@127.0.0.1\">\
         <tuple><status><basic>{basic}</basic></status></tuple></presence>"
    )
}

fn settings(server: &Kamailio, more: &str) -> String {
    format!("[pua]\noutbound_proxy = \"sip:{}\"\n{more}", server.address())
}

fn rpc(node: &Controlled, method: &str, params: &[&str]) -> Value {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let (status, body) = call(node.control, &text.to_string());
    assert_eq!(status, 200, "{method}: {body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    answer["result"].clone()
}

fn publish(node: &Controlled, expires: &str, body: &str) -> Value {
    let content_type = if body.is_empty() { "." } else { "application/pidf+xml" };
    let alice = "sip:alice@127.0.0.1";
    let params = [alice, expires, "presence", content_type, "t", ".", ".", ".", body];
    rpc(node, "pua.publish", &params)
}

/// The sum of a count over all shards.
fn count(node: &Controlled, name: &str) -> u64 {
    let (_, page) = get(node.control, "/metrics");
    let of = |shard: usize| {
        let of =
            |suffix: &str| sample(&page, &format!("strowger_{name}{suffix}{{shard=\"{shard}\"}}"));
        of("").or_else(|| of("_total"))
    };
    assert!(of(0).is_some(), "{name}: {page}");
    (0..).map_while(of).sum()
}

fn wait<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_watcher_of_a_real_presence_server_gets_what_is_published_here() {
    let server = Kamailio::presence();
    let node = start(&settings(&server, ""));
    let answer = publish(&node, "300", &pidf("open"));
    assert!(answer["SIP-ETag"].is_string(), "{answer}");
    assert!(answer["Expires"].as_u64().is_some_and(|it| (290..=300).contains(&it)), "{answer}");
    let folder = Folder::new("watcher");
    let users = folder.write("users.csv", "SEQUENTIAL\nalice@127.0.0.1\n");
    let log = folder.path().join("log");
    let options = [
        "-m",
        "1",
        "-inf",
        users.to_str().expect("a readable path"),
        "-trace_logs",
        "-log_file",
        log.to_str().expect("a readable path"),
    ];
    let mut watcher = Sipp::caller("watcher.xml", server.address(), &options);
    wait("the watcher sees `open`", || {
        let seen = std::fs::read_to_string(&log).ok()?;
        seen.contains("open").then_some(())
    });
    let again = publish(&node, "300", &pidf("closed"));
    assert_ne!(again["SIP-ETag"], answer["SIP-ETag"]);
    let counts = watcher.finish(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (1, 0), "{counts:?}");
    let published = server.published("alice");
    assert_eq!(published.len(), 1, "{published:?}");
    assert!(
        published[0].contains("closed") && published[0].contains("tuple id=\"t"),
        "{published:?}"
    );
    let removed = publish(&node, "0", "");
    assert_eq!(removed["Expires"], 0, "{removed}");
    assert_eq!(server.published("alice").len(), 0);
}

#[test]
fn what_is_published_outlives_a_kill() {
    let server = Kamailio::presence();
    let folder = Folder::new("pua");
    let file = folder.path().join("strowger.sqlite");
    let storage = format!("db_mode = 2\n[storage]\nurl = \"sqlite:{}\"\n", file.display());
    let mut node = start(&settings(&server, &storage));
    let _ = publish(&node, "300", &pidf("open"));
    let _ = publish(&node, "300", &pidf("closed"));
    assert_eq!(server.published("alice").len(), 1);
    node.proxy.process().signal(Signal::Kill);
    node.proxy.process().wait(PATIENCE);
    let node = start(&settings(&server, &storage));
    let _ = publish(&node, "300", &pidf("open"));
    let published = server.published("alice");
    assert_eq!(published.len(), 1, "changed, not published anew: {published:?}");
    assert!(published[0].contains("open"), "{published:?}");
    assert_eq!(count(&node, "pua_publishes_412"), 0);
    // The server forgets: it is published anew.
    drop(server);
    let server = Kamailio::presence();
    let proxy = format!("sip:{}", server.address());
    let alice = "sip:alice@127.0.0.1";
    let body = pidf("closed");
    let params = [alice, "300", "presence", "application/pidf+xml", "t", ".", &proxy, ".", &body];
    let answer = rpc(&node, "pua.publish", &params);
    assert!(answer["SIP-ETag"].is_string(), "{answer}");
    assert_eq!(count(&node, "pua_publishes_412"), 1);
    assert_eq!(server.published("alice").len(), 1);
}

#[test]
fn this_node_follows_a_real_presence_server() {
    let server = Kamailio::presence();
    let node = start(&settings(&server, ""));
    let presentity = format!("sip:alice@{}", server.address());
    let watcher = format!("sip:strowger@{}", node.proxy.address());
    let subscribe = |expires: &str| {
        rpc(&node, "pua.subscribe", &[&presentity, &watcher, "reg", expires]);
    };
    subscribe("300");
    wait("a confirmed subscription", || {
        (count(&node, "pua_subs_active") == 1 && count(&node, "pua_notifies") >= 1).then_some(())
    });
    let before = count(&node, "pua_notifies");
    let reginfo = "<?xml version=\"1.0\"?>\
        <reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"0\" state=\"full\">\
        <registration aor=\"sip:alice@127.0.0.1\" id=\"a\" state=\"active\">\
        <contact id=\"c\" state=\"active\" event=\"registered\"><uri>sip:alice@192.0.2.9</uri>\
        </contact></registration></reginfo>";
    let alice = "sip:alice@127.0.0.1";
    let params = [alice, "300", "reg", "application/reginfo+xml", ".", ".", ".", ".", reginfo];
    let answer = rpc(&node, "pua.publish", &params);
    assert!(answer["SIP-ETag"].is_string(), "{answer}");
    wait("a NOTIFY of what was published", || {
        (count(&node, "pua_notifies") > before).then_some(())
    });
    // A refresh stays within the dialog, and the end is an end.
    subscribe("200");
    wait("a refresh", || (count(&node, "pua_subscribes_ok") == 2).then_some(()));
    assert_eq!(count(&node, "pua_subs_active"), 1);
    subscribe("0");
    wait("the end", || (count(&node, "pua_subscriptions") == 0).then_some(()));
    assert_eq!(count(&node, "pua_failed"), 0);
}
