//! A hundred thousand registrations, then `kill -9`: what was promised is there after the restart.
//!
//! For: the real binary with two shards on SQLite, PostgreSQL and MariaDB, in both durable modes.
//! Not here: the storage thread alone (`storage.rs`), outages of the database (`outage.rs`).
//! Needs: Debian's `postgresql` and `mariadb-server`.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use strowger_tests::binary;
use strowger_tests::crowd::{self, Ask, Progress, Tally};
use strowger_tests::database::{Kind, Server};
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Process, Signal};
use strowger_tests::proxy::Proxy;

/// What the issue asks for.
const CONTACTS: u32 = 100_000;
/// Further users, who still ask when the node is killed.
const STILL_ASKING: u32 = 20_000;
/// `[storage] flush_interval` here, as by default.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// What a row may take on its way after that: this machine freezes, and so does a database.
const SLACK: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Realtime,
    Delayed,
    DatabaseOnly,
}

fn configuration(folder: &Folder, url: &str, mode: Mode) -> String {
    let mode = match mode {
        Mode::Realtime => 1,
        Mode::Delayed => 2,
        Mode::DatabaseOnly => 3,
    };
    let text = format!(
        "[routing]\nregistrar = true\ndomains = [\"example.com\"]\n\
         [usrloc]\ndb_mode = {mode}\n\
         [storage]\nurl = \"{url}\"\nflush_interval = {}\n",
        FLUSH_INTERVAL.as_secs()
    );
    let file = folder.write("strowger.toml", &text);
    file.to_str().expect("a readable path").to_owned()
}

fn create(file: &str) {
    let mut command = std::process::Command::new(binary::strowger());
    let mut create = Process::start("strowger", command.args(["db", "create", "-f", file]));
    assert!(create.wait(PATIENCE).success(), "{}", create.output());
}

fn sqlite(path: &Path) -> String {
    format!("sqlite:{}", path.join("state.db").display())
}

#[test]
fn sqlite_brings_a_hundred_thousand_back() {
    let folder = Folder::new("survival");
    let file = configuration(&folder, &sqlite(folder.path()), Mode::Realtime);
    survives(&file, Mode::Realtime, CONTACTS);
}

#[test]
fn sqlite_brings_a_hundred_thousand_back_up_to_the_flush_interval() {
    let folder = Folder::new("survival");
    let file = configuration(&folder, &sqlite(folder.path()), Mode::Delayed);
    survives(&file, Mode::Delayed, CONTACTS);
}

#[test]
fn postgres_brings_a_hundred_thousand_back() {
    on_server(Kind::Postgres, Mode::Realtime, CONTACTS);
}

#[test]
fn postgres_brings_a_hundred_thousand_back_up_to_the_flush_interval() {
    on_server(Kind::Postgres, Mode::Delayed, CONTACTS);
}

#[test]
fn sqlite_alone_knows_ten_thousand() {
    let folder = Folder::new("survival");
    let file = configuration(&folder, &sqlite(folder.path()), Mode::DatabaseOnly);
    survives(&file, Mode::DatabaseOnly, CONTACTS / 10);
}

#[test]
fn postgres_alone_knows_ten_thousand() {
    on_server(Kind::Postgres, Mode::DatabaseOnly, CONTACTS / 10);
}

#[test]
fn mariadb_alone_knows_ten_thousand() {
    on_server(Kind::MariaDb, Mode::DatabaseOnly, CONTACTS / 10);
}

#[test]
fn mariadb_brings_ten_thousand_back() {
    on_server(Kind::MariaDb, Mode::Realtime, CONTACTS / 10);
}

fn on_server(kind: Kind, mode: Mode, contacts: u32) {
    let server = Server::start(kind);
    let folder = Folder::new("survival");
    let file = configuration(&folder, &server.url(), mode);
    create(&file);
    survives(&file, mode, contacts);
}

fn survives(file: &str, mode: Mode, contacts: u32) {
    let mut proxy = Proxy::start(&["-f", file]);
    let (told, killed) = register_and_kill(&mut proxy, contacts, mode);
    assert!(told.other.is_empty(), "{:?}", told.other);

    let begin = Instant::now();
    let mut proxy = Proxy::start(&["-f", file]);
    let loaded = begin.elapsed();
    let must = |at: Instant| match mode {
        Mode::Realtime | Mode::DatabaseOnly => at <= killed,
        Mode::Delayed => at + FLUSH_INTERVAL + SLACK <= killed,
    };
    let promised: HashSet<u32> =
        told.good.iter().filter(|(_, at)| must(*at)).map(|(user, _)| *user).collect();
    let found = crowd::ask(proxy.address(), 0..contacts, Ask::Query, 1, &Progress::default());
    let back: HashSet<u32> = found.good.iter().map(|(user, _)| *user).collect();
    let asked = promised.iter().filter(|user| **user < contacts);
    let lost: Vec<&u32> = asked.filter(|user| !back.contains(user)).collect();
    println!(
        "{} resent, {} told, {} promised, {} back of the first {contacts}, loaded in {loaded:?}, \
         {:.0} look-ups a second",
        told.resent,
        told.good.len(),
        promised.len(),
        back.len(),
        found.rate()
    );
    assert!(lost.is_empty(), "{} lost, such as {:?}", lost.len(), &lost[..lost.len().min(9)]);
    // In delayed mode the youngest do not count.
    assert!(promised.len() >= contacts as usize, "only {} were promised", promised.len());
    let kept = proxy.summary();
    assert!(kept.counted("usrloc_location_contacts") >= promised.len() as u64, "{kept:?}");
    assert!(kept.each("usrloc_location_contacts").iter().all(|count| *count > 0), "{kept:?}");
}

/// Registers, and kills the node while others still ask; what everybody was told, and when it was
/// killed.
fn register_and_kill(proxy: &mut Proxy, contacts: u32, mode: Mode) -> (Tally, Instant) {
    let (first, others) = match mode {
        Mode::Realtime | Mode::DatabaseOnly => (0, 0..contacts + STILL_ASKING),
        Mode::Delayed => (contacts, contacts..contacts + STILL_ASKING),
    };
    let mut told = crowd::ask(proxy.address(), 0..first, Ask::Bind, 1, &Progress::default());
    let rate = told.rate();
    assert_eq!(told.good.len(), first as usize, "{:?}", told.other);
    if mode == Mode::Delayed {
        std::thread::sleep(FLUSH_INTERVAL + SLACK);
    }
    let enough = u64::from(contacts - first).max(1000);
    let (rest, killed) = kill_while_they_ask(proxy, others, enough);
    println!("{mode:?}: {:.0} registrations a second", rate.max(rest.rate()));
    told.good.extend(rest.good);
    told.other.extend(rest.other);
    told.resent += rest.resent;
    (told, killed)
}

fn kill_while_they_ask(proxy: &mut Proxy, users: Range<u32>, enough: u64) -> (Tally, Instant) {
    let address = proxy.address();
    let progress = Progress::default();
    let end = Instant::now() + Duration::from_secs(180);
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd::ask(address, users, Ask::Bind, 1, &progress));
        while progress.good() < enough && !crowd.is_finished() {
            let good = progress.good();
            if Instant::now() >= end {
                progress.stop();
                panic!("only {good} in time: {:?}", crowd.join().map(|tally| tally.other));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Whatever is answered from here on does not count: the signal may overtake it.
        let killed = Instant::now();
        proxy.process().signal(Signal::Kill);
        proxy.process().wait(PATIENCE);
        progress.stop();
        (crowd.join().expect("the crowd"), killed)
    })
}
