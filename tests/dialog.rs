//! Calls that the real binary tracks, with two shards, over loopback.
//!
//! For: BYEs of the proxy to both parties, a limit of calls by caller, calls that outlive the
//! process.
//! Not here: the rules of dialogs one by one; those are tested in `modules`.
//! Needs: Debian's `sip-tester`, `sqlite3`, `postgresql`, `kamailio`, `kamailio-postgres-modules`.

use std::process::Command;
use std::time::{Duration, Instant};

use strowger_tests::binary;
use strowger_tests::database::{Kind, Server};
use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::kamailio::Kamailio;
use strowger_tests::ports;
use strowger_tests::process::{PATIENCE, Process, Signal};
use strowger_tests::proxy::Proxy;
use strowger_tests::sipp::Sipp;

fn configured(folder: &Folder, port: u16, callee: u16, text: &str) -> Proxy {
    let text = format!("[routing]\nnext_hop = \"sip:127.0.0.1:{callee}\"\ndialog = true\n{text}");
    let file = folder.write("strowger.toml", &text);
    let listen = format!("udp:127.0.0.1:{port}");
    Proxy::start_at(&listen, &["-f", file.to_str().expect("a readable path")])
}

/// Waits until a count of all shards together is this.
fn wait_for(proxy: &mut Proxy, name: &str, wanted: u64, limit: Duration) {
    let end = Instant::now() + limit;
    loop {
        let summary = proxy.summary();
        if summary.counted(name) == wanted {
            return;
        }
        assert!(Instant::now() < end, "{name} is not {wanted}: {summary:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_lifetime_ends_in_a_bye_to_both_parties() {
    const CALLS: u64 = 100;
    let folder = Folder::new("dialog-bye");
    let mut callee = Sipp::callee("callee.xml");
    let text = "[dialog]\ndefault_timeout = \"3s\"\nsend_bye = 1\nprofiles_no_value = \"all\"\n";
    let mut proxy = configured(&folder, 0, callee.port(), text);
    let (rate, count) = ("20", CALLS.to_string());
    let options = ["-r", rate, "-m", &count];
    let mut caller = Sipp::caller("caller-hung-up.xml", proxy.address(), &options);
    let counts = caller.finish(Duration::from_secs(120));
    assert_eq!((counts.successful, counts.failed), (CALLS, 0), "{counts:?}");
    let counts = callee.stop(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (CALLS, 0), "{counts:?}");
    let summary = proxy.summary();
    for (name, wanted) in [
        ("dialog_processed_dialogs", CALLS),
        ("dialog_expired_dialogs", CALLS),
        ("dialog_ended_timeout", CALLS),
        ("dialog_active_dialogs", 0),
        ("dialog_early_dialogs", 0),
        ("dialog_failed_dialogs", 0),
        ("dialog_overdue_dialogs", 0),
    ] {
        assert_eq!(summary.counted(name), wanted, "{name}: {summary:#?}");
    }
    assert!(summary.each("dialog_processed_dialogs").iter().all(|own| *own > 0), "{summary:#?}");
}

#[test]
fn a_call_whose_callee_is_gone_ends() {
    let folder = Folder::new("dialog-keepalive");
    let callee = Sipp::callee("callee.xml");
    let text = "[dialog]\nsend_bye = 1\nka_timer = 1\nka_interval = \"30s\"\nka_jitter = 0\n\
                ka_sides = \"callee\"\n";
    let mut proxy = configured(&folder, 0, callee.port(), text);
    let mut caller = Sipp::caller("caller-hung-up.xml", proxy.address(), &["-r", "5", "-m", "5"]);
    wait_for(&mut proxy, "dialog_active_dialogs", 5, PATIENCE);
    // It has answered, and is never heard of again.
    drop(callee);
    // Half a minute until it is asked, another one until that is given up, and ten seconds.
    let counts = caller.finish(Duration::from_secs(150));
    assert_eq!((counts.successful, counts.failed), (5, 0), "{counts:?}");
    assert_eq!(proxy.summary().counted("dialog_ended_keepalive"), 5);
}

#[test]
fn one_caller_has_no_more_calls_than_allowed() {
    let folder = Folder::new("dialog-limit");
    let callee = Peer::at(ports::free(), "127.0.0.1:9".parse().expect("an address"));
    let mut proxy = configured(&folder, 0, callee.address().port(), "caller_limit = 5\n");
    let mut peer = Peer::new(proxy.address());
    let mut refused = 0;
    for _ in 0..12 {
        let invite = peer.request("INVITE", "sip:b@example.net", "Max-Forwards: 70\r\n");
        peer.send(invite.as_bytes());
        let own = datagram::header(&invite, "Call-ID").expect("its own").to_owned();
        // Whoever is refused hears it; the others' INVITE reaches the callee.
        let end = Instant::now() + PATIENCE;
        loop {
            let short = Instant::now() + Duration::from_millis(20);
            if let Some(response) = peer.receive(short)
                && datagram::header(&response, "Call-ID") == Some(&own)
                && datagram::status(&response) == Some(486)
            {
                peer.acknowledge(&invite, &response);
                refused += 1;
                break;
            }
            let short = Instant::now() + Duration::from_millis(20);
            if let Some(request) = callee.receive(short)
                && datagram::header(&request, "Call-ID") == Some(&own)
            {
                break;
            }
            assert!(Instant::now() < end, "neither refused nor relayed");
        }
    }
    assert_eq!(refused, 7);
    assert_eq!(proxy.summary().counted("dialog_processed_dialogs"), 5);
}

/// What SQLite says.
fn query(folder: &Folder, sql: &str) -> String {
    let file = folder.path().join("calls.db");
    let output = Command::new("sqlite3").arg(file).arg(sql).output().expect("sqlite3 runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_thousand_calls_outlive_their_process() {
    const CALLS: u64 = 1000;
    let folder = Folder::new("dialog-restart");
    let mut callee = Sipp::callee("callee.xml");
    let file = folder.path().join("calls.db");
    let text =
        format!("[storage]\nurl = \"sqlite:{}\"\n[dialog.database]\ndb_mode = 1\n", file.display());
    let port = ports::free();
    let mut proxy = configured(&folder, port, callee.port(), &text);
    let count = CALLS.to_string();
    let options = ["-r", "50", "-m", &count, "-d", "45000"];
    let mut caller = Sipp::caller("caller.xml", proxy.address(), &options);
    wait_for(&mut proxy, "dialog_active_dialogs", CALLS, Duration::from_secs(60));
    let end = Instant::now() + PATIENCE;
    while query(&folder, "select count(*) from dialog where state = 4") != CALLS.to_string() {
        assert!(Instant::now() < end, "not all calls are stored");
        std::thread::sleep(Duration::from_millis(200));
    }
    proxy.process().signal(Signal::Kill);
    let _ = proxy.process().wait(PATIENCE);

    let mut proxy = configured(&folder, port, callee.port(), &text);
    wait_for(&mut proxy, "dialog_active_dialogs", CALLS, PATIENCE);
    let counts = caller.finish(Duration::from_secs(180));
    assert_eq!((counts.successful, counts.failed), (CALLS, 0), "{counts:?}");
    let counts = callee.stop(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (CALLS, 0), "{counts:?}");
    let summary = proxy.summary();
    for (name, wanted) in [
        ("dialog_active_dialogs", 0),
        ("dialog_ended_caller_bye", CALLS),
        ("dialog_processed_dialogs", 0),
        ("dialog_rows_refused", 0),
        ("dialog_unmatched_requests", 0),
    ] {
        assert_eq!(summary.counted(name), wanted, "{name}: {summary:#?}");
    }
    // A row goes when nobody can ask for its call any more.
    let end = Instant::now() + Duration::from_secs(60);
    while query(&folder, "select count(*) from dialog") != "0" {
        assert!(Instant::now() < end, "rows are left");
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn calls_of_kamailio_go_on_here() {
    const CALLS: u64 = 20;
    let server = Server::start(Kind::Postgres);
    Kamailio::make_dialog_tables(&server);
    let mut callee = Sipp::callee("callee.xml");
    let kamailio = Kamailio::tracking(&server, callee.port());
    let address = kamailio.address();
    let count = CALLS.to_string();
    let mut caller =
        Sipp::caller("caller.xml", address, &["-r", "10", "-m", &count, "-d", "30000"]);
    let end = Instant::now() + PATIENCE;
    let all = CALLS.to_string();
    while server.ask("SELECT count(*) FROM dialog WHERE state = 4") != all {
        assert!(Instant::now() < end, "not all calls are stored");
        std::thread::sleep(Duration::from_millis(200));
    }
    // It stops; what it wrote is all that is left of its calls.
    drop(kamailio);

    let folder = Folder::new("dialog-kamailio");
    let text = format!(
        "[storage]\nurl = \"{}\"\n[dialog]\ncookie = \"plain\"\ndlg_match_mode = 0\n\
         [dialog.database]\ndb_mode = 1\n",
        server.url()
    );
    let file = folder.write("migrate.toml", &text);
    let mut command = Command::new(binary::strowger());
    command.args(["db", "migrate", "-f"]).arg(file);
    let mut migrate = Process::start("strowger", &mut command);
    // Its tables lack what other modules of the binary need; dialogs need a unique key.
    let _ = migrate.wait(PATIENCE);
    let mut proxy = configured(&folder, address.port(), callee.port(), &text);
    wait_for(&mut proxy, "dialog_active_dialogs", CALLS, PATIENCE);
    let counts = caller.finish(Duration::from_secs(120));
    assert_eq!((counts.successful, counts.failed), (CALLS, 0), "{counts:?}");
    let counts = callee.stop(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (CALLS, 0), "{counts:?}");
    let summary = proxy.summary();
    for (name, wanted) in [
        ("dialog_active_dialogs", 0),
        ("dialog_ended_caller_bye", CALLS),
        ("dialog_unmatched_requests", 0),
        ("dialog_rows_refused", 0),
    ] {
        assert_eq!(summary.counted(name), wanted, "{name}: {summary:#?}");
    }
}
