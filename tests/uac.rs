//! The real binary as a client: accounts at other registrars, trunks that challenge.
//!
//! For: Kamailio as a provider that wants credentials for everything and numbers that rise; SIPp as
//! registrars with habits of their own; many accounts at once.
//! Not here: what a record does step by step; that is tested in `modules`.
//! Needs: Debian's `kamailio`, `sip-tester` and `sqlite3`.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use strowger_tests::binary;
use strowger_tests::datagram::{Peer, header, status};
use strowger_tests::folder::Folder;
use strowger_tests::kamailio::Kamailio;
use strowger_tests::ports;
use strowger_tests::process::{PATIENCE, Signal};
use strowger_tests::proxy::Proxy;
use strowger_tests::sipp::Sipp;

/// Account `trunk01` at `provider.example`, whose proxy is there.
fn account(number: usize, at: u16) -> String {
    format!(
        "[[uac.registration]]\nl_uuid = \"u{number}\"\nl_username = \"bob\"\n\
         l_domain = \"local.example\"\nr_username = \"trunk01\"\nr_domain = \"provider.example\"\n\
         realm = \"provider.example\"\nauth_username = \"trunk01\"\nauth_password = \"pw1\"\n\
         auth_proxy = \"sip:127.0.0.1:{at}\"\nexpires = 600\n"
    )
}

fn start(folder: &Folder, text: &str) -> Proxy {
    let file = folder.write("strowger.toml", text);
    Proxy::start(&["-f", file.to_str().expect("a readable path")])
}

/// Waits until a count of all shards together is at least this.
fn wait_for(proxy: &mut Proxy, name: &str, wanted: u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let summary = proxy.summary();
        if summary.counted(name) >= wanted {
            return;
        }
        assert!(Instant::now() < end, "{name} is not {wanted}: {summary:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// One party of a call: what it needs for requests within the dialog.
struct Party {
    peer: Peer,
    /// Its From, and the other party's.
    own: String,
    remote: String,
    routes: Vec<String>,
    target: String,
    call_id: String,
    sent: u32,
}

fn headers<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let prefix = format!("{name}: ");
    message.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
}

/// The number in CSeq.
fn number(message: &str) -> u32 {
    let cseq = header(message, "CSeq").expect("a CSeq");
    cseq.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn uri(address: &str) -> String {
    let inner = address.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or(address, |(uri, _)| uri).to_owned()
}

impl Party {
    /// The next request within the call, or an ACK with the number of `of`.
    fn request(&mut self, method: &str, cseq: u32) -> String {
        self.sent += 1;
        let (here, branch) = (self.peer.address(), self.sent);
        let Party { target, own, remote, call_id, .. } = self;
        let mut text = format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {here};branch=z9hG4bK-{method}-{branch}-{cseq}\r\n"
        );
        for route in &self.routes {
            write!(text, "Route: {route}\r\n").expect("a string takes everything");
        }
        write!(
            text,
            "From: {own}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:x@{here}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        .expect("a string takes everything");
        text
    }

    /// Waits for a request of this method with another number than those seen before.
    fn hears(&self, method: &str, after: u32) -> String {
        let end = Instant::now() + PATIENCE;
        let start = format!("{method} ");
        while let Some(message) = self.peer.receive(end) {
            if message.starts_with(&start) && number(&message) > after {
                return message;
            }
        }
        panic!("no {method} beyond {after}");
    }

    fn answers(&self, request: &str, status: &str) {
        let here = self.peer.address();
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in headers(request, name) {
                write!(text, "{name}: {value}\r\n").expect("a string takes everything");
            }
        }
        let to = header(request, "To").expect("a To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=callee" };
        write!(text, "To: {to}{tag}\r\nContact: <sip:x@{here}>\r\nContent-Length: 0\r\n\r\n")
            .expect("a string takes everything");
        self.peer.send(text.as_bytes());
    }

    /// Sends a request, has the other party answer it with 200, and sees its own number again.
    fn asks(&mut self, method: &str, cseq: u32, other: &Party, after: u32) -> String {
        let request = self.request(method, cseq);
        self.peer.send(request.as_bytes());
        let heard = other.hears(method, after);
        other.answers(&heard, "200 OK");
        let answer = self.peer.ask(&request, PATIENCE);
        assert_eq!(status(&answer), Some(200), "{answer}");
        assert_eq!(header(&answer, "CSeq"), Some(&*format!("{cseq} {method}")), "{answer}");
        if method == "INVITE" {
            let ack = self.request("ACK", cseq);
            self.peer.send(ack.as_bytes());
            assert_eq!(number(&other.hears("ACK", after)), number(&heard));
        }
        heard
    }
}

/// A caller, a proxy with a challenging trunk, Kamailio behind it, and a callee.
struct Stage {
    proxy: Proxy,
    caller: Party,
    callee: Party,
    /// The numbers that the callee saw of the caller.
    seen: Vec<u32>,
    _kamailio: Kamailio,
    _folder: Folder,
}

fn party(peer: Peer) -> Party {
    let (own, remote) = (String::new(), String::new());
    let (routes, target, call_id) = (Vec::new(), String::new(), String::new());
    Party { peer, own, remote, routes, target, call_id, sent: 0 }
}

fn stage(name: &str) -> Stage {
    let folder = Folder::new(name);
    let port = ports::free();
    let kamailio = Kamailio::provider(port);
    let text = format!(
        "[routing]\ndialog = true\nuac_trunk = \"u1\"\n\
         uac_from = \"\\\"Main\\\" <sip:trunk01@provider.example>\"\n{}",
        account(1, kamailio.address().port())
    );
    let mut proxy = start(&folder, &text);
    wait_for(&mut proxy, "uac_regactive", 1);
    let callee = party(Peer::at(port, kamailio.address()));
    let caller = party(Peer::new(proxy.address()));
    Stage { proxy, caller, callee, seen: Vec::new(), _kamailio: kamailio, _folder: folder }
}

impl Stage {
    /// A call that is answered and acknowledged.
    fn call(&mut self, call_id: &str) {
        let here = self.caller.peer.address();
        let caller = &mut self.caller;
        caller.own = format!("\"Alice\" <sip:alice@{here}>;tag=caller");
        caller.remote = "<sip:4711@example.net>".to_owned();
        caller.target = "sip:4711@example.net".to_owned();
        (caller.call_id, caller.routes) = (call_id.to_owned(), Vec::new());
        let invite = caller.request("INVITE", 1);
        caller.peer.send(invite.as_bytes());
        let heard = self.callee.hears("INVITE", 0);
        assert!(heard.starts_with("INVITE sip:4711@provider.example "), "{heard}");
        let from = header(&heard, "From").expect("a From");
        assert_eq!(from, "\"Main\" <sip:trunk01@provider.example>;tag=caller");
        // The callee's route set is that of the INVITE, in its order.
        let callee = &mut self.callee;
        callee.routes = headers(&heard, "Record-Route").into_iter().map(str::to_owned).collect();
        callee.target = uri(header(&heard, "Contact").expect("a Contact"));
        callee.remote = from.to_owned();
        callee.own = format!("{};tag=callee", header(&heard, "To").expect("a To"));
        callee.call_id = call_id.to_owned();
        callee.answers(&heard, "200 OK");
        let answer = caller.peer.ask(&invite, PATIENCE);
        assert_eq!(status(&answer), Some(200), "{answer}");
        assert_eq!(header(&answer, "CSeq"), Some("1 INVITE"));
        assert_eq!(header(&answer, "From"), Some(&*caller.own));
        caller.routes =
            headers(&answer, "Record-Route").into_iter().rev().map(str::to_owned).collect();
        caller.target = uri(header(&answer, "Contact").expect("a Contact"));
        caller.remote = header(&answer, "To").expect("a To").to_owned();
        let ack = caller.request("ACK", 1);
        caller.peer.send(ack.as_bytes());
        let acknowledged = callee.hears("ACK", 0);
        assert_eq!(number(&acknowledged), number(&heard));
        self.seen = vec![number(&heard)];
    }

    /// A request of the caller; the number that the callee saw is greater than all before.
    fn caller_asks(&mut self, method: &str, cseq: u32) {
        let last = self.seen.last().copied().unwrap_or_default();
        let heard = self.caller.asks(method, cseq, &self.callee, last);
        assert_eq!(
            header(&heard, "From"),
            Some("\"Main\" <sip:trunk01@provider.example>;tag=caller"),
            "{heard}"
        );
        self.seen.push(number(&heard));
    }
}

#[test]
fn a_call_through_a_challenging_provider_that_the_caller_ends() {
    let mut stage = stage("uac-call");
    stage.call("call-1@127.0.0.1");
    stage.caller_asks("INVITE", 2);
    // The callee is not challenged, its numbers are its own; the caller sees its own name.
    let heard = stage.callee.asks("INVITE", 1, &stage.caller, 0);
    assert_eq!(header(&heard, "To"), Some(&*stage.caller.own), "{heard}");
    stage.caller_asks("INFO", 3);
    stage.caller_asks("BYE", 4);
    assert!(stage.seen.is_sorted_by(|one, next| one < next), "{:?}", stage.seen);
    // Each of the four was challenged once, and so raised the numbers by one.
    assert_eq!(stage.seen, [2, 4, 6, 8]);
    assert_eq!(stage.proxy.summary().counted("uac_challenges_answered"), 4);
}

#[test]
fn a_call_through_a_challenging_provider_that_the_callee_ends() {
    let mut stage = stage("uac-call-callee");
    stage.call("call-2@127.0.0.1");
    stage.caller_asks("INVITE", 2);
    let heard = stage.callee.asks("BYE", 1, &stage.caller, 0);
    assert_eq!(header(&heard, "To"), Some(&*stage.caller.own), "{heard}");
    assert_eq!(stage.seen, [2, 4]);
    wait_for(&mut stage.proxy, "dialog_ended_callee_bye", 1);
}

#[test]
fn a_call_that_comes_in_by_an_account_reaches_its_local_user() {
    let folder = Folder::new("uac-inbound");
    let (callee, user) = (ports::free(), ports::free());
    let kamailio = Kamailio::provider(callee);
    let text = format!(
        "[routing]\nuac_registrations = true\nnext_hop = \"sip:127.0.0.1:{user}\"\n{}",
        account(1, kamailio.address().port())
    );
    let mut proxy = start(&folder, &text);
    wait_for(&mut proxy, "uac_regactive", 1);
    let mut outside = Peer::at(callee, kamailio.address());
    let inside = party(Peer::at(user, proxy.address()));
    let invite = outside.request("INVITE", "sip:trunk01@provider.example", "Max-Forwards: 70\r\n");
    outside.send(invite.as_bytes());
    let heard = inside.hears("INVITE", 0);
    assert!(heard.starts_with("INVITE sip:bob@local.example "), "{heard}");
    inside.answers(&heard, "486 Busy Here");
    let answer = outside.ask(&invite, PATIENCE);
    assert_eq!(status(&answer), Some(486), "{answer}");
    outside.acknowledge(&invite, &answer);
    assert!(!proxy.process().output().contains("pw1"), "a password is shown");
}

#[test]
fn proofs_of_every_kind_that_kamailio_checks_are_good() {
    for (name, value) in [("qop", "auth-int"), ("algorithm", "SHA-256"), ("algorithm", "MD5")] {
        let folder = Folder::new("uac-proofs");
        let setting = format!("modparam(\"auth\", \"{name}\", \"{value}\")\n");
        let kamailio = Kamailio::provider_with(9, &setting);
        let mut proxy = start(&folder, &account(1, kamailio.address().port()));
        wait_for(&mut proxy, "uac_regactive", 1);
        assert_eq!(proxy.summary().counted("uac_reg_failures"), 0, "{name} {value}");
    }
}

#[test]
fn registrars_with_habits_of_their_own() {
    for scenario in ["registrar-auth-int.xml", "registrar-sha256.xml"] {
        let folder = Folder::new("uac-odd");
        let mut registrar = Sipp::callee(scenario);
        let mut proxy = start(&folder, &account(1, registrar.port()));
        wait_for(&mut proxy, "uac_regactive", 1);
        let counts = registrar.stop(PATIENCE);
        assert_eq!((counts.successful, counts.failed), (1, 0), "{scenario}: {counts:?}");
        assert_eq!(proxy.summary().counted("uac_reg_failures"), 0, "{scenario}");
    }
}

#[test]
fn a_registrar_whose_nonces_are_never_good_is_given_up_for_a_while() {
    let folder = Folder::new("uac-stale");
    let mut registrar = Sipp::callee("registrar-stale.xml");
    let mut proxy = start(&folder, &account(1, registrar.port()));
    wait_for(&mut proxy, "uac_reg_auth_failures", 1);
    let summary = proxy.summary();
    assert_eq!(summary.counted("uac_registers_sent"), 5, "{summary:#?}");
    assert_eq!(summary.counted("uac_reg_waiting"), 1, "{summary:#?}");
    let counts = registrar.stop(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (1, 0), "{counts:?}");
}

#[test]
fn a_registrar_without_time_is_asked_when_it_says() {
    let folder = Folder::new("uac-busy");
    let mut registrar = Sipp::callee("registrar-busy.xml");
    let text = format!("[uac]\nreg_retry_interval = 1\n{}", account(1, registrar.port()));
    let mut proxy = start(&folder, &text);
    wait_for(&mut proxy, "uac_reg_failures", 1);
    let before = Instant::now();
    wait_for(&mut proxy, "uac_reg_failures", 2);
    // The first failure was seen a little after it had happened.
    assert!(before.elapsed() >= Duration::from_secs(2), "{:?}", before.elapsed());
    let summary = proxy.summary();
    assert_eq!(summary.counted("uac_regdisabled"), 0, "{summary:#?}");
    let counts = registrar.stop(PATIENCE);
    assert_eq!(counts.failed, 0, "{counts:?}");
}

#[test]
fn a_registrar_that_was_silent_is_registered_at_when_it_speaks() {
    let folder = Folder::new("uac-silence");
    let port = ports::free();
    let silent = Peer::at(port, SocketAddr::from(([127, 0, 0, 1], 9)));
    let text =
        format!("[tm]\nfr_timer = \"2s\"\n[uac]\nreg_retry_interval = 1\n{}", account(1, port));
    let mut proxy = start(&folder, &text);
    wait_for(&mut proxy, "uac_reg_timeouts", 1);
    drop(silent);
    let speaking = party(Peer::at(port, proxy.address()));
    let register = speaking.hears("REGISTER", 0);
    let contact = header(&register, "Contact").expect("a Contact");
    assert!(contact.contains("sip:u1@127.0.0.1:"), "{register}");
    // Its contact stands in the answer too, as a registrar repeats it.
    let answer = |request: &str| {
        let mut text = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["Via", "From", "To", "Call-ID", "CSeq", "Contact"] {
            for value in headers(request, name) {
                write!(text, "{name}: {value}\r\n").expect("a string takes everything");
            }
        }
        text + "Expires: 60\r\nContent-Length: 0\r\n\r\n"
    };
    speaking.peer.send(answer(&register).as_bytes());
    wait_for(&mut proxy, "uac_regactive", 1);
}

/// Has SQLite do something.
fn sqlite(database: &Path, sql: &str) {
    let done = Command::new("sqlite3").arg(database).arg(sql).output().expect("sqlite3 runs");
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_row_that_goes_is_unregistered_and_the_others_are_left_alone() {
    let folder = Folder::new("uac-table");
    let mut registrar = Sipp::callee("registrar.xml");
    let database = folder.path().join("state.db");
    let text = format!("[storage]\nurl = \"sqlite:{}\"\n", database.display());
    let file = folder.write("strowger.toml", &text);
    let made = Command::new(binary::strowger()).args(["db", "create", "-f"]).arg(&file).output();
    assert!(made.expect("strowger runs").status.success());
    let row = |uuid: &str, proxy: &str| {
        format!(
            "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, realm, \
             auth_username, auth_password, auth_ha1, auth_proxy, expires) VALUES ('{uuid}', 'bob', \
             'local.example', 'trunk01', 'provider.example', '', 'trunk01', 'pw1', '', '{proxy}', \
             600);"
        )
    };
    let proxy = format!("sip:127.0.0.1:{}", registrar.port());
    sqlite(&database, &(row("u1", &proxy) + &row("u2", &proxy) + &row("u3", "nowhere")));
    let mut node = Proxy::start(&["-f", file.to_str().expect("a readable path")]);
    wait_for(&mut node, "uac_regactive", 2);
    assert_eq!(node.summary().counted("uac_regtotal"), 2, "a row that cannot be used is left out");
    let before = node.summary().counted("uac_registers_sent");
    sqlite(&database, "DELETE FROM uacreg WHERE l_uuid = 'u2'");
    node.process().signal(Signal::Hup);
    // A challenged REGISTER with Expires 0, or two, and nothing else.
    wait_for(&mut node, "uac_reg_successes", 3);
    let summary = node.summary();
    assert_eq!((summary.counted("uac_regtotal"), summary.counted("uac_reg_leaving")), (1, 0));
    assert_eq!(summary.counted("uac_regactive"), 1, "{summary:#?}");
    assert!(summary.counted("uac_registers_sent") - before <= 2, "{summary:#?}");
    let counts = registrar.stop(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (3, 0), "{counts:?}");
}

#[test]
fn a_thousand_accounts_come_online_over_two_shards() {
    const ACCOUNTS: usize = 1000;
    let folder = Folder::new("uac-many");
    let mut registrar = Sipp::callee("registrar.xml");
    let mut text = "[uac]\nreg_random_delay = \"5s\"\n".to_owned();
    (0..ACCOUNTS).for_each(|number| text += &account(number, registrar.port()));
    let mut proxy = start(&folder, &text);
    let all = ACCOUNTS as u64;
    wait_for(&mut proxy, "uac_regactive", all);
    let summary = proxy.summary();
    assert!(summary.each("uac_regactive").iter().all(|own| *own > all / 3), "{summary:#?}");
    assert_eq!(summary.counted("uac_reg_auth_failures"), 0, "{summary:#?}");
    let counts = registrar.stop(PATIENCE);
    assert_eq!((counts.successful, counts.failed), (all, 0), "{counts:?}");
}
