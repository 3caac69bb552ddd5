//! Users register with digest through the real binary with two shards, and are called.
//!
//! For: registrar, location, digest and routing together, over sockets, with SIPp as user agents.
//! Not here: their rules one by one; those are tested in `modules`.
//! Needs: Debian's `sip-tester`.

use std::fmt::Write;
use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Signal};
use strowger_tests::proxy::Proxy;
use strowger_tests::sipp::Sipp;
use strowger_tests::stream::Connection;

const USERS: usize = 40;

fn registrar(folder: &Folder, more: &str) -> Proxy {
    let mut file = String::from("[routing]\nregistrar = true\nrealm = \"example.com\"\n");
    file.push_str(more);
    for user in 1..=USERS {
        write!(file, "[[auth.account]]\nuser = \"user{user}\"\npassword = \"secret\"\n")
            .expect("a string takes everything");
    }
    let file = folder.write("strowger.toml", &file);
    let file = file.to_str().expect("a readable path");
    Proxy::start(&["-f", file])
}

/// SIPp's list: a line for each call, its fields named in the scenario.
fn users() -> String {
    (1..=USERS).fold(String::from("SEQUENTIAL\n"), |mut list, user| {
        let credentials = format!("[authentication username=user{user} password=secret]");
        writeln!(list, "user{user};{credentials}").expect("a string takes everything");
        list
    })
}

#[test]
fn users_register_with_digest_and_are_called() {
    let folder = Folder::new("register");
    let mut proxy = registrar(&folder, "");
    let count = USERS.to_string();
    let list = folder.write("users.csv", &users());
    let list = list.to_str().expect("a readable path");
    let options = ["-r", "10", "-m", &count, "-inf", list];
    let mut agents = Sipp::caller("register.xml", proxy.address(), &options);
    let address = agents.port();
    let counts = agents.finish(Duration::from_secs(90));
    drop(agents);
    assert_eq!((counts.successful, counts.failed), (USERS as u64, 0), "{counts:?}");

    let summary = proxy.summary();
    assert_eq!(summary.total("usrloc_location_contacts"), USERS as u64, "{summary:?}");
    assert_eq!(summary.total("auth_accepted"), USERS as u64, "{summary:?}");
    // Addresses and Call-IDs are at home on different shards: some had to ask the other one.
    assert!(summary.each("peers_sent").iter().all(|sent| *sent > 0), "{summary:?}");

    let callee = Peer::at(address, proxy.address());
    for user in [1, 2, 3, 17, USERS] {
        let mut peer = Peer::new(proxy.address());
        let uri = format!("sip:user{user}@{}", proxy.address());
        let options = peer.request("OPTIONS", &uri, "Max-Forwards: 70\r\n");
        peer.send(options.as_bytes());
        let got = callee.receive(Instant::now() + PATIENCE).expect("the request");
        let expected = format!("OPTIONS sip:user{user}@127.0.0.1:{address} SIP/2.0");
        assert!(got.starts_with(&expected), "{got}");
    }
}

#[test]
fn a_temporary_gruu_leads_to_its_contact_after_a_restart() {
    let folder = Folder::new("register-gruu");
    let file = folder.write(
        "strowger.toml",
        &format!(
            "[routing]\nregistrar = true\ndomains = [\"example.com\"]\n[usrloc]\ndb_mode = 1\n\
             [storage]\nurl = \"sqlite:{}/state.db\"\n",
            folder.path().display()
        ),
    );
    let file = file.to_str().expect("a readable path");
    let mut proxy = Proxy::start(&["-f", file]);
    let mut agent = Peer::new(proxy.address());
    let contact = format!("<sip:bob@{}>;+sip.instance=\"<urn:uuid:1>\"", agent.address());
    let more = "Supported: gruu\r\n";
    let register = agent
        .request("REGISTER", "sip:example.com", more)
        .replace(
            &format!("<sip:peer@{}>\r\n{more}", agent.address()),
            &format!("{contact}\r\n{more}"),
        )
        .replace("To: <sip:example.com>", "To: <sip:bob@example.com>");
    let answer = agent.ask(&register, PATIENCE);
    let gruu = answer.split("temp-gruu=\"").nth(1).and_then(|rest| rest.split('"').next());
    let gruu = gruu.unwrap_or_else(|| panic!("no GRUU: {answer}")).to_owned();
    assert!(!gruu.contains("bob"), "{gruu}");

    proxy.process().signal(Signal::Kill);
    proxy.process().wait(PATIENCE);
    let proxy = Proxy::start(&["-f", file]);
    let mut peer = Peer::new(proxy.address());
    let options = peer.request("OPTIONS", &gruu, "Max-Forwards: 70\r\n");
    peer.send(options.as_bytes());
    let got = agent.receive(Instant::now() + PATIENCE).expect("the request");
    assert!(got.starts_with(&format!("OPTIONS sip:bob@{} SIP/2.0", agent.address())), "{got}");
}

#[test]
fn a_contact_ends_with_its_connection_where_that_is_wanted() {
    for handle_lost_tcp in [1, 0] {
        let folder = Folder::new("register-lost");
        let file = folder.write(
            "strowger.toml",
            &format!(
                "[routing]\nregistrar = true\ndomains = [\"example.com\"]\n\
                 [usrloc]\nhandle_lost_tcp = {handle_lost_tcp}\n"
            ),
        );
        let file = file.to_str().expect("a readable path");
        let mut proxy = Proxy::start(&["--listen", "tcp:127.0.0.1:0", "-f", file]);
        // Connections fall on either shard, and so do addresses.
        let mut agents: Vec<Connection> =
            (0..8).map(|_| Connection::open(proxy.address_of("tcp", "127.0.0.1"))).collect();
        for (number, agent) in agents.iter_mut().enumerate() {
            let register = agent.request("REGISTER", "sip:example.com", "");
            let to = format!("To: <sip:user{number}@example.com>");
            agent.send(register.replace("To: <sip:example.com>", &to).as_bytes());
            let answer = agent.answer(Instant::now() + PATIENCE);
            assert_eq!(datagram::status(&answer), Some(200), "{answer}");
        }
        assert_eq!(proxy.summary().counted("usrloc_location_contacts"), 8);
        agents.truncate(3);
        let left = if handle_lost_tcp == 1 { 3 } else { 8 };
        let until = Instant::now() + PATIENCE;
        loop {
            let summary = proxy.summary();
            let is_closed = summary.counted("tcp_connections") == 3;
            if is_closed && summary.counted("usrloc_location_contacts") == left {
                break;
            }
            assert!(Instant::now() < until, "{summary:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_connection_lives_as_long_as_its_contact_where_that_is_wanted() {
    // What is registered for long keeps its connection, and what has expired ends it, both
    // against what `tcp_connection_lifetime` says.
    for (lifetime, settings, expires, left) in [
        ("1s", "[registrar]\ntcp_persistent_flag = 2\n", 600, 8),
        ("1s", "", 600, 0),
        ("1h", "[registrar]\nmin_expires = 1\n[usrloc]\nclose_expired_tcp = 1\n", 2, 0),
    ] {
        let folder = Folder::new("register-kept");
        let text = format!(
            "[routing]\nregistrar = true\ndomains = [\"example.com\"]\n\
             [tcp]\ntcp_connection_lifetime = \"{lifetime}\"\n{settings}"
        );
        let file = folder.write("strowger.toml", &text);
        let file = file.to_str().expect("a readable path");
        let mut proxy = Proxy::start(&["--listen", "tcp:127.0.0.1:0", "-f", file]);
        let mut agents: Vec<Connection> =
            (0..8).map(|_| Connection::open(proxy.address_of("tcp", "127.0.0.1"))).collect();
        for (number, agent) in agents.iter_mut().enumerate() {
            let expires = format!("Expires: {expires}\r\n");
            let register = agent.request("REGISTER", "sip:example.com", &expires);
            let to = format!("To: <sip:user{number}@example.com>");
            agent.send(register.replace("To: <sip:example.com>", &to).as_bytes());
            let answer = agent.answer(Instant::now() + PATIENCE);
            assert_eq!(datagram::status(&answer), Some(200), "{answer}");
        }
        // Long enough for every connection to be idle several times over.
        std::thread::sleep(Duration::from_secs(5));
        let until = Instant::now() + PATIENCE;
        loop {
            let summary = proxy.summary();
            if summary.counted("tcp_connections") == left {
                break;
            }
            assert!(Instant::now() < until, "{text} {summary:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn who_is_not_registered_or_has_no_password_is_refused() {
    let folder = Folder::new("register-refused");
    let proxy = registrar(&folder, "domains = [\"example.com\"]\n");
    let mut peer = Peer::new(proxy.address());
    let uri = format!("sip:user1@{}", proxy.address());
    let options = peer.request("OPTIONS", &uri, "Max-Forwards: 70\r\n");
    assert_eq!(datagram::status(&peer.ask(&options, PATIENCE)), Some(404));

    let register = peer.request("REGISTER", "sip:example.com", "Contact: <sip:a@127.0.0.1>\r\n");
    let challenge = peer.ask(&register, PATIENCE);
    assert_eq!(datagram::status(&challenge), Some(401), "{challenge}");
    let header = datagram::header(&challenge, "WWW-Authenticate").expect("a challenge");
    assert!(header.contains("realm=\"example.com\""), "{header}");

    let forged = "Contact: <sip:a@127.0.0.1>\r\nAuthorization: Digest username=\"user1\", \
                  realm=\"example.com\", nonce=\"bm9uY2U=\", uri=\"sip:example.com\", \
                  response=\"0123456789abcdef0123456789abcdef\"\r\n";
    let register = peer.request("REGISTER", "sip:example.com", forged);
    let refused = peer.ask(&register, PATIENCE);
    assert!(matches!(datagram::status(&refused), Some(400 | 401 | 403)), "{refused}");
}
