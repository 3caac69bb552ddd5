//! The database goes away for half a minute, calls and registrations go on, and it comes back.
//!
//! For: PostgreSQL stopped where it stands and shut down, under the real binary with SIPp's calls
//! through registered contacts and a crowd that registers.
//! Not here: the storage thread alone (`storage.rs`), the node's own death (`survival.rs`).
//! Needs: Debian's `postgresql` and `sip-tester`.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::time::{Duration, Instant};

use strowger_tests::binary;
use strowger_tests::crowd::{self, Ask, Progress, Tally};
use strowger_tests::database::{Kind, Server};
use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Process, Signal};
use strowger_tests::proxy::Proxy;
use strowger_tests::sipp::Sipp;

/// Who is registered before, and who wants to be during the outage.
const BEFORE: u32 = 5_000;
const DURING: u32 = 10_000;
const OUTAGE: Duration = Duration::from_secs(30);
/// Far less than all rows take in delayed mode: some have to be said again afterwards.
const QUEUE_MIB: u64 = 4;
/// What the process may grow by during the outage: the queue, new contacts, and above all the
/// transactions, which linger for 32 s whatever the database does.
const GROWTH_BYTES_MAX: u64 = 128 << 20;
/// Between the rounds of the crowd.
const PAUSE: Duration = Duration::from_secs(6);
/// Calls a second, from some seconds before to some seconds after.
const CALLS: u64 = 40;
const CALLS_FOR_SECONDS: u64 = 45;

fn assert_bounded(storage: &BTreeMap<String, String>) {
    let queued: u64 = storage["waiting_bytes"].parse().expect("a number");
    // Removals may have a fourth more.
    assert!(queued <= (QUEUE_MIB << 20) / 4 * 5, "{storage:?}");
}

struct Stage {
    server: Server,
    proxy: Proxy,
    file: String,
    // Removed at the end.
    _folder: Folder,
}

impl Stage {
    fn new(db_mode: u32) -> Stage {
        let server = Server::start(Kind::Postgres);
        let folder = Folder::new("outage");
        let text = format!(
            "[routing]\nregistrar = true\ndomains = [\"example.com\", \"example.net\"]\n\
             [usrloc]\ndb_mode = {db_mode}\n\
             [storage]\nurl = \"{}\"\nqueue_mib = {QUEUE_MIB}\n",
            server.url()
        );
        let file = folder.write("strowger.toml", &text);
        let file = file.to_str().expect("a readable path").to_owned();
        let mut command = Command::new(binary::strowger());
        let mut create = Process::start("strowger", command.args(["db", "create", "-f", &file]));
        assert!(create.wait(PATIENCE).success(), "{}", create.output());
        let proxy = Proxy::start(&["-f", &file]);
        Stage { server, proxy, file, _folder: folder }
    }

    fn register(&self, users: std::ops::Range<u32>, cseq: u32) -> Tally {
        crowd::ask(self.proxy.address(), users, Ask::Bind, cseq, &Progress::default())
    }

    /// A callee that is reached by its registration.
    fn register_callee(&self) -> Sipp {
        let callee = Sipp::callee("callee.xml");
        let mut peer = Peer::new(self.proxy.address());
        let register = peer.request("REGISTER", "sip:example.net", "Expires: 3600\r\n");
        let here = format!("<sip:peer@{}>", peer.address());
        let register = register
            .replace(
                &format!("Contact: {here}"),
                &format!("Contact: <sip:c@127.0.0.1:{}>", callee.port()),
            )
            .replace("To: <sip:example.net>", "To: <sip:callee@example.net>");
        assert_eq!(datagram::status(&peer.ask(&register, PATIENCE)), Some(200));
        callee
    }

    fn start_calls(&self) -> Sipp {
        let (rate, count) = (CALLS.to_string(), (CALLS * CALLS_FOR_SECONDS).to_string());
        Sipp::caller("caller.xml", self.proxy.address(), &["-r", &rate, "-m", &count, "-d", "500"])
    }

    fn wait_until_all_is_written(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let storage = self.proxy.storage();
            if ["degraded", "waiting", "resyncs_due"].iter().all(|key| storage[*key] == "0") {
                return;
            }
            assert!(Instant::now() < until, "{storage:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Who is known to the node after `kill -9` and a new start: what the database has.
    fn found_after_a_restart(&mut self, users: u32) -> HashSet<u32> {
        self.proxy.process().signal(Signal::Kill);
        self.proxy.process().wait(PATIENCE);
        self.proxy = Proxy::start(&["-f", &self.file]);
        let progress = Progress::default();
        let found = crowd::ask(self.proxy.address(), 0..users, Ask::Query, 1, &progress);
        found.good.into_iter().map(|(user, _)| user).collect()
    }
}

#[test]
fn promises_are_refused_while_postgres_is_frozen_and_calls_go_on() {
    let mut stage = Stage::new(1);
    let mut callee = stage.register_callee();
    let before = stage.register(0..BEFORE, 1);
    assert_eq!(before.good.len(), BEFORE as usize, "{:?}", before.other);
    let mut calls = stage.start_calls();
    std::thread::sleep(Duration::from_secs(3));
    let resident = stage.proxy.resident_bytes();

    stage.server.freeze();
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < OUTAGE {
        // The second half is new, the first has promises that must not be lost.
        let during = stage.register(0..DURING, 2 + rounds);
        assert!(during.good.is_empty(), "{} were promised something", during.good.len());
        assert_eq!(during.other.keys().copied().collect::<Vec<_>>(), [503], "{:?}", during.other);
        rounds += 1;
        std::thread::sleep(PAUSE);
    }
    let grown = stage.proxy.resident_bytes().saturating_sub(resident);
    let storage = stage.proxy.storage();
    println!("{rounds} rounds refused, grown by {} KiB, {storage:?}", grown >> 10);
    assert_eq!(storage["degraded"], "1", "{storage:?}");
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
    assert_bounded(&storage);

    stage.server.thaw();
    stage.proxy.process().wait_for("storage is back");
    let passed = calls.finish(Duration::from_secs(60) + PATIENCE);
    assert_eq!((passed.successful, passed.failed), (CALLS * CALLS_FOR_SECONDS, 0), "{passed:?}");
    callee.stop(PATIENCE);
    stage.wait_until_all_is_written();
    let after = stage.register(BEFORE..BEFORE + 1000, 100);
    assert_eq!(after.good.len(), 1000, "{:?}", after.other);
    let found = stage.found_after_a_restart(DURING);
    let lost = (0..BEFORE + 1000).filter(|user| !found.contains(user)).count();
    assert_eq!((lost, found.len()), (0, BEFORE as usize + 1000), "what was refused is not there");
}

#[test]
fn everything_is_said_again_after_postgres_was_shut_down_and_calls_go_on() {
    let mut stage = Stage::new(2);
    let mut callee = stage.register_callee();
    let before = stage.register(0..BEFORE, 1);
    assert_eq!(before.good.len(), BEFORE as usize, "{:?}", before.other);
    let mut calls = stage.start_calls();
    std::thread::sleep(Duration::from_secs(3));
    let resident = stage.proxy.resident_bytes();

    stage.server.crash();
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < OUTAGE {
        let during = stage.register(0..DURING, 2 + rounds);
        assert_eq!(during.good.len(), DURING as usize, "{:?}", during.other);
        rounds += 1;
        std::thread::sleep(PAUSE);
    }
    let grown = stage.proxy.resident_bytes().saturating_sub(resident);
    let storage = stage.proxy.storage();
    println!("{rounds} rounds taken, grown by {} KiB, {storage:?}", grown >> 10);
    assert_eq!(storage["degraded"], "1", "{storage:?}");
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
    assert_bounded(&storage);
    assert_ne!(storage["dropped"], "0", "{storage:?}");

    stage.server.start_again();
    stage.proxy.process().wait_for("storage is back");
    let passed = calls.finish(Duration::from_secs(60) + PATIENCE);
    assert_eq!((passed.successful, passed.failed), (CALLS * CALLS_FOR_SECONDS, 0), "{passed:?}");
    callee.stop(PATIENCE);
    stage.wait_until_all_is_written();
    let found = stage.found_after_a_restart(DURING);
    assert_eq!(found.len(), DURING as usize);
}
