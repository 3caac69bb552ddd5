//! Calls that the real binary tracks, with two shards, over loopback.
//!
//! For: BYEs of the proxy to both parties, a limit of calls by caller, calls that the proxy sets up
//! between two others, calls that outlive the process, answers that wait for the database.
//! Not here: the rules of dialogs one by one; those are tested in `modules`.
//! Needs: Debian's `sip-tester`, `sqlite3`, `postgresql`, `kamailio`, `kamailio-postgres-modules`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
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

/// Where the control plane is.
fn control(proxy: &mut Proxy) -> SocketAddr {
    proxy.process().wait_until("where the control plane is", |output| {
        let line = output.lines().find(|line| line.starts_with("control plane on http://"))?;
        line.strip_prefix("control plane on http://")?.parse().ok()
    })
}

/// Asks the control plane; the answer's text.
fn rpc(control: SocketAddr, method: &str, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|text| format!("{text:?}")).collect();
    let list = arguments.join(",");
    let call = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":[{list}],"id":1}}"#);
    let mut stream = TcpStream::connect(control).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
    let request = format!(
        "POST /rpc HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{call}",
        call.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

/// A proxy that sets calls up, and where it is commanded.
fn controller(folder: &Folder, mode: &str) -> (Proxy, SocketAddr) {
    let port = ports::free();
    let text = format!(
        "[control]\nlisten = \"127.0.0.1:0\"\n[dialog]\nbridge_mode = \"{mode}\"\n\
         bridge_wait = \"notify\"\nbridge_contact = \"sip:controller@127.0.0.1:{port}\"\n"
    );
    let mut proxy = configured(folder, port, ports::free(), &text);
    let control = control(&mut proxy);
    (proxy, control)
}

/// Begins a bridge and waits until it is over; what is said of it then.
fn bridge(control: SocketAddr, from: &str, to: &str) -> String {
    let begun = rpc(control, "dlg.bridge_dlg", &[from, to]);
    let (_, rest) = begun.split_once(r#""bridge":""#).unwrap_or_else(|| panic!("{begun}"));
    let handle = rest.split('"').next().expect("a name");
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = rpc(control, "dlg.bridge_status", &[handle]);
        if shown.contains(r#""stage":"over""#) {
            return shown;
        }
        assert!(Instant::now() < end, "{shown}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_party_is_called_and_told_to_call_another() {
    let folder = Folder::new("dialog-refer");
    let mut party = Sipp::callee("transferee.xml");
    let (_proxy, control) = controller(&folder, "refer");
    let from = format!("sip:party@127.0.0.1:{}", party.port());
    let over = bridge(control, &from, "sip:second@127.0.0.1");
    assert!(over.contains(r#""status":200"#), "{over}");
    let counts = party.stop(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (1, 0), "{counts:?}");
}

#[test]
fn two_parties_are_brought_together_without_refer() {
    let folder = Folder::new("dialog-bridge");
    let mut first = Sipp::callee("bridge-first.xml");
    let mut second = Sipp::callee("bridge-second.xml");
    let (_proxy, control) = controller(&folder, "3pcc");
    let of = |party: &Sipp| format!("sip:party@127.0.0.1:{}", party.port());
    for _ in 0..3 {
        let over = bridge(control, &of(&first), &of(&second));
        assert!(over.contains(r#""status":200"#), "{over}");
    }
    for party in [&mut first, &mut second] {
        let counts = party.stop(PATIENCE);
        assert_eq!((counts.successful, counts.failed), (3, 0), "{counts:?}");
    }
    // Nobody is there any more.
    let over = bridge(control, &of(&first), &of(&second));
    assert!(over.contains(r#""status":503"#) || over.contains(r#""status":408"#), "{over}");
}

/// A caller, its INVITE, and that as it has reached the callee.
fn ringing(proxy: &Proxy, callee: &Peer) -> (Peer, String, String) {
    ringing_unless_refused(proxy, callee).expect("it rings")
}

/// The 200 of a callee for this INVITE.
fn answer(invite: &str, callee: SocketAddr) -> String {
    let mut text = "SIP/2.0 200 OK\r\n".to_owned();
    for line in invite.lines() {
        let copied = ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"];
        if copied.iter().any(|name| line.starts_with(name)) {
            text += &format!("{line}\r\n");
        } else if line.starts_with("To:") {
            text += &format!("{line};tag=b\r\n");
        }
    }
    text + &format!("Contact: <sip:b@{callee}>\r\nContent-Length: 0\r\n\r\n")
}

/// What arrives first of what is wanted.
fn next(peer: &Peer, wanted: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "it does not come");
        if let Some(message) = peer.receive(Instant::now() + Duration::from_millis(200))
            && wanted(&message)
        {
            return message;
        }
    }
}

#[test]
fn an_answer_that_the_database_does_not_keep_is_refused() {
    let mut server = Server::start(Kind::Postgres);
    let folder = Folder::new("dialog-refused");
    let text = format!("[storage]\nurl = \"{}\"\n[dialog.database]\ndb_mode = 1\n", server.url());
    let file = folder.write("migrate.toml", &text);
    let mut command = Command::new(binary::strowger());
    command.args(["db", "create", "-f"]).arg(file);
    let _ = Process::start("strowger", &mut command).wait(PATIENCE);
    let port = ports::free();
    let callee = Peer::at(ports::free(), SocketAddr::from(([127, 0, 0, 1], port)));
    let callee_at = callee.address();
    let mut proxy = configured(&folder, port, callee_at.port(), &text);
    let is_final = |text: &str| datagram::status(text).is_some_and(|status| status >= 200);

    // As long as the database answers, calls are answered, and it knows of them.
    let (caller, _, request) = ringing(&proxy, &callee);
    callee.send(answer(&request, callee_at).as_bytes());
    assert_eq!(datagram::status(&next(&caller, is_final)), Some(200));
    assert_eq!(server.ask("SELECT count(*) FROM dialog"), "1");

    server.freeze();
    // Nobody's phone rings in vain for long: a shard that was refused refuses the next call itself.
    let end = Instant::now() + Duration::from_secs(60);
    let mut rang = 0;
    while let Some((caller, invite, request)) = ringing_unless_refused(&proxy, &callee) {
        rang += 1;
        callee.send(answer(&request, callee_at).as_bytes());
        let refused = next(&caller, is_final);
        assert_eq!(datagram::status(&refused), Some(503), "{refused}");
        caller.acknowledge(&invite, &refused);
        next(&callee, |text| text.starts_with("ACK"));
        let bye = next(&callee, |text| text.starts_with("BYE"));
        callee.send(answer(&bye, callee_at).as_bytes());
        assert!(Instant::now() < end, "{rang} calls, and none is refused before it rings");
    }
    assert!(rang > 0, "the first one was refused before the database had kept anybody waiting");

    server.thaw();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let (caller, invite, request) = match ringing_unless_refused(&proxy, &callee) {
            Some(ringing) => ringing,
            None => {
                assert!(Instant::now() < end, "calls do not come back");
                std::thread::sleep(Duration::from_millis(500));
                continue;
            }
        };
        callee.send(answer(&request, callee_at).as_bytes());
        let last = next(&caller, is_final);
        if datagram::status(&last) == Some(200) {
            break;
        }
        caller.acknowledge(&invite, &last);
        assert!(Instant::now() < end, "calls do not come back: {last}");
    }
    let summary = proxy.summary();
    assert_eq!(summary.counted("dialog_active_dialogs"), 2, "{summary:#?}");
    assert!(summary.counted("dialog_answers_not_durable") > 0, "{summary:#?}");
}

/// The same as `ringing`, or nothing when the proxy refuses the call.
fn ringing_unless_refused(proxy: &Proxy, callee: &Peer) -> Option<(Peer, String, String)> {
    let mut caller = Peer::new(proxy.address());
    let invite = caller.request("INVITE", "sip:b@example.net", "Max-Forwards: 70\r\n");
    caller.send(invite.as_bytes());
    let own = datagram::header(&invite, "Call-ID").expect("its own").to_owned();
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "neither refused nor relayed");
        if let Some(response) = caller.receive(Instant::now() + Duration::from_millis(50))
            && datagram::status(&response) == Some(503)
        {
            caller.acknowledge(&invite, &response);
            return None;
        }
        if let Some(request) = callee.receive(Instant::now() + Duration::from_millis(50))
            && request.starts_with("INVITE")
            && datagram::header(&request, "Call-ID") == Some(&own)
        {
            return Some((caller, invite, request));
        }
    }
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
