//! Two registrars on the same tables: Strowger and Kamailio share `location` and `subscriber`.
//!
//! For: moving over from one to the other, or running both: who registers at one is found at the
//! other, with the same accounts.
//! Not here: either's own rules.
//! Needs: Debian's `postgresql`, `kamailio`, `kamailio-postgres-modules` and `sip-tester`.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use strowger_tests::database::{Kind, Server};
use strowger_tests::datagram::Peer;
use strowger_tests::folder::Folder;
use strowger_tests::kamailio::Kamailio;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::{self, Proxy};
use strowger_tests::sipp::Sipp;

/// Half of them register here, the others there.
const USERS: usize = 20;
/// Of `USER:example.com:secret`, as PostgreSQL computes it.
const ACCOUNTS: &str = "INSERT INTO subscriber (username, domain, ha1) \
                        SELECT 'user' || n, 'example.com', \
                        md5('user' || n || ':example.com:secret') \
                        FROM generate_series(1, 20) n";

struct Stage {
    folder: Folder,
    proxy: Proxy,
    kamailio: Kamailio,
    server: Server,
}

fn stage(db_mode: u32) -> Stage {
    let server = Server::start(Kind::Postgres);
    Kamailio::make_tables(&server);
    server.run(ACCOUNTS);
    let folder = Folder::new("two-registrars");
    let text = format!(
        "[routing]\nregistrar = true\nrealm = \"example.com\"\n\
         [auth]\nuse_subscriber = true\nuse_domain = true\n\
         [usrloc]\ndb_mode = {db_mode}\n\
         [storage]\nurl = \"{}\"\n",
        server.url()
    );
    let file = folder.write("strowger.toml", &text);
    // What the other does not have: tables of modules that it does not load.
    let mut create =
        proxy::run(&[&["db", "create", "-f", file.to_str().expect("a readable path")]]);
    assert!(create.wait(PATIENCE).success());
    let kamailio = Kamailio::start(&server);
    let proxy = Proxy::start(&["-f", file.to_str().expect("a readable path")]);
    Stage { folder, proxy, kamailio, server }
}

impl Stage {
    /// These users register at one of the two with digest; the port that they are reached at.
    fn register(&self, at: SocketAddr, users: std::ops::RangeInclusive<usize>) -> u16 {
        let count = users.clone().count();
        let list = users.fold(String::from("SEQUENTIAL\n"), |mut list, user| {
            let credentials = format!("[authentication username=user{user} password=secret]");
            writeln!(list, "user{user};{credentials}").expect("a string takes everything");
            list
        });
        let list = self.folder.write("users.csv", &list);
        let list = list.to_str().expect("a readable path");
        let options = ["-r", "10", "-m", &count.to_string(), "-inf", list];
        let mut agents = Sipp::caller("register.xml", at, &options);
        let counts = agents.finish(Duration::from_secs(60));
        assert_eq!((counts.successful, counts.failed), (count as u64, 0), "{counts:?}");
        agents.port()
    }

    /// A request for this user, sent to one of the two, arrives at this port.
    fn reaches(&self, through: SocketAddr, user: usize, callee: &Peer, port: u16) {
        let mut peer = Peer::new(through);
        let uri = format!("sip:user{user}@{through}");
        let message = peer.request("INFO", &uri, "Max-Forwards: 70\r\n");
        peer.send(message.as_bytes());
        let expected = format!("INFO sip:user{user}@127.0.0.1:{port}");
        let until = Instant::now() + PATIENCE;
        // Copies for the users before may still arrive.
        while let Some(got) = callee.receive(until) {
            if got.starts_with(&expected) {
                return;
            }
        }
        panic!("user{user} is not reached through {through}");
    }

    fn count(&self) -> String {
        self.server.ask("SELECT count(*) FROM location")
    }
}

#[test]
fn who_registers_at_one_is_found_at_the_other() {
    let stage = stage(3);
    let (here, there) = (stage.proxy.address(), stage.kamailio.address());
    let (ours, theirs) = (1..=USERS / 2, USERS / 2 + 1..=USERS);
    let port = stage.register(here, ours.clone());
    let callee = Peer::at(port, here);
    for user in ours.clone() {
        stage.reaches(there, user, &callee, port);
    }
    drop(callee);
    let port = stage.register(there, theirs.clone());
    let callee = Peer::at(port, here);
    for user in theirs {
        stage.reaches(here, user, &callee, port);
    }
    assert_eq!(stage.count(), USERS.to_string());
}

#[test]
fn contacts_of_the_other_are_there_after_a_start_on_its_tables() {
    let mut stage = stage(1);
    let there = stage.kamailio.address();
    let port = stage.register(there, 1..=USERS);
    let (status, _) = {
        stage.proxy.process().signal(strowger_tests::process::Signal::Term);
        stage.proxy.ended(PATIENCE)
    };
    assert!(status.success(), "{status}");
    let file = stage.folder.path().join("strowger.toml");
    stage.proxy = Proxy::start(&["-f", file.to_str().expect("a readable path")]);
    let here = stage.proxy.address();
    let callee = Peer::at(port, here);
    for user in [1, 7, USERS] {
        stage.reaches(here, user, &callee, port);
    }
}
