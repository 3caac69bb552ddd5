//! Lists from files and from a database, through the real binary with two shards.
//!
//! For: the dispatcher's list file and table, reload by SIGHUP while SIPp calls, a bad list at
//! start and while running; allow and deny files.
//! Not here: what a line or a row may say (`modules/src/{dispatcher,permissions}`).
//! Needs: Debian's `sip-tester`, `sqlite3`, `postgresql` and `mariadb-server`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use strowger_modules::dispatcher::{Algorithm, Dispatcher, DispatcherRequest};
use strowger_modules::permissions::Permissions;
use strowger_node::lists::Lists;
use strowger_node::node::{Node, Seat};
use strowger_node::settings::NodeSettings;
use strowger_sip::date::Epoch;
use strowger_sip::engine::{Engine, Settings, Setup};
use strowger_sip::message::MethodKind;
use strowger_sip::module::{ConfiguredModules, NodeFacts};
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_tests::database::{self, Server};
use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::{PATIENCE, Process, Signal};
use strowger_tests::proxy::{self, Proxy};
use strowger_tests::sipp::Sipp;

/// Calls of the load, at this rate: half a minute.
const CALLS: u64 = 1500;
const RATE: &str = "50";
/// `EX_CONFIG` of sysexits(3).
const BAD_CONFIGURATION: i32 = 78;

/// Replaces a file at once: whoever reads it finds the old text or the new one.
fn replace(folder: &Folder, name: &str, text: &str) {
    let new = folder.write("new", text);
    std::fs::rename(new, folder.path().join(name)).expect("renamed");
}

fn start(folder: &Folder, configuration: &str) -> Proxy {
    let file = folder.write("strowger.toml", configuration);
    Proxy::start(&["-f", file.to_str().expect("a readable path")])
}

/// Has the lists read again, and waits for the line that says how that went.
fn reload(proxy: &mut Proxy, expected: &str) {
    let count = |output: &str| output.lines().filter(|line| line.contains(expected)).count();
    let before = count(&proxy.process().output());
    proxy.process().signal(Signal::Hup);
    proxy.process().wait_until(expected, |output| (count(output) > before).then_some(()));
}

fn sqlite(database: &Path, sql: &str) {
    let mut command = Command::new("sqlite3");
    let mut process = Process::start("sqlite3", command.arg(database).arg(sql));
    assert!(process.wait(PATIENCE).success(), "{sql}: {}", process.output());
}

/// Sends a request to a trunk's number; which of these peers gets it. One caller for all: another
/// might get the port, and so the Call-ID, of one that is remembered.
fn goes_to<'p>(caller: &mut Peer, peers: &[&'p Peer]) -> Option<&'p Peer> {
    let options = caller.request("OPTIONS", "sip:1@example.net", "Max-Forwards: 70\r\n");
    let call_id = datagram::header(&options, "Call-ID").expect("written above").to_owned();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        caller.send(options.as_bytes());
        for peer in peers {
            let resend = Instant::now() + Duration::from_millis(100);
            while let Some(heard) = peer.receive(resend) {
                if datagram::header(&heard, "Call-ID") == Some(&call_id) {
                    peer.send(answer(&heard).as_bytes());
                    return Some(peer);
                }
            }
        }
    }
    None
}

fn answer(request: &str) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.split("\r\n");
    let lines = lines.filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 200 OK\r\n{head}Content-Length: 0\r\n\r\n")
}

#[test]
fn a_list_is_reloaded_under_load_without_a_lost_call() {
    let (mut one, mut two) = (Sipp::callee("callee.xml"), Sipp::callee("callee.xml"));
    let line = |callee: &Sipp| format!("1 sip:127.0.0.1:{}\n", callee.port());
    let folder = Folder::new("lists");
    folder.write("trunks.list", &line(&one));
    let configuration = "[routing]\ntrunk_set = 1\ntrunk_algorithm = 4\n\
                         [dispatcher]\nlist_file = \"trunks.list\"\n";
    let mut proxy = start(&folder, configuration);
    let count = CALLS.to_string();
    let options = ["-r", RATE, "-m", &count, "-d", "200"];
    let mut caller = Sipp::caller("caller.xml", proxy.address(), &options);
    let lists = [line(&two), format!("{}{}", line(&one), line(&two)), line(&one)];
    let mut reloads = 0;
    for list in lists.iter().cycle() {
        std::thread::sleep(Duration::from_secs(1));
        if !caller.is_running() {
            break;
        }
        replace(&folder, "trunks.list", list);
        reload(&mut proxy, "lists: reloaded: dispatcher");
        reloads += 1;
        replace(&folder, "trunks.list", &format!("{list}1 sip:127.0.0.1:5060 weight\n"));
        reload(&mut proxy, "lists: not reloaded, the old ones stay in force");
    }
    let counts = caller.finish(Duration::from_secs(60));
    assert_eq!((counts.successful, counts.failed), (CALLS, 0), "{counts:?}");
    let shares = [&mut one, &mut two].map(|callee| callee.stop(PATIENCE).successful);
    println!("{reloads} reloads, {shares:?} calls, {counts:?}");
    assert!(reloads >= 5 && shares.iter().all(|share| *share > 0), "{reloads}: {shares:?}");
    let said = proxy.process().output();
    assert!(said.contains("trunks.list:2: flags \"weight\""), "{said}");
    let (status, summary) = proxy.stop(PATIENCE);
    assert!(status.success(), "{status}");
    summary.assert_nothing_shed();
}

#[test]
fn a_table_is_a_list_too_and_a_bad_row_leaves_the_old_one_in_force() {
    let folder = Folder::new("lists-sqlite");
    let database = folder.path().join("state.db");
    let configuration = format!(
        "[storage]\nurl = \"sqlite:{}\"\n[routing]\ntrunk_set = 1\n\
         [node]\ndrain_timeout = \"1s\"\n",
        database.display()
    );
    // The first start makes the tables, empty.
    let proxy = start(&folder, &configuration);
    let (status, _) = proxy.stop(PATIENCE);
    assert!(status.success(), "{status}");

    let [first, second] = [ports::free(), ports::free()];
    let row = |set: u16, port: u16, flags: u16| {
        format!(
            "INSERT INTO dispatcher (setid, destination, flags, priority, attrs, description) \
             VALUES ({set}, 'sip:127.0.0.1:{port}', {flags}, 0, '', 'a trunk');"
        )
    };
    sqlite(&database, &row(1, first, 0));
    let mut proxy = start(&folder, &configuration);
    let said = proxy.process().wait_for("lists: dispatcher from table dispatcher (1 rows)");
    println!("{said}");
    let mut caller = Peer::new(proxy.address());
    let one = Peer::at(first, proxy.address());
    let two = Peer::at(second, proxy.address());
    let is_one = |peer: Option<&Peer>| peer.map(Peer::address) == Some(one.address());
    let is_two = |peer: Option<&Peer>| peer.map(Peer::address) == Some(two.address());
    // On either shard: Call-IDs differ.
    for _ in 0..8 {
        assert!(is_one(goes_to(&mut caller, &[&one, &two])));
    }
    sqlite(&database, &format!("DELETE FROM dispatcher; {}", row(1, second, 0)));
    reload(&mut proxy, "lists: reloaded: dispatcher from table dispatcher (1 rows)");
    for _ in 0..8 {
        assert!(is_two(goes_to(&mut caller, &[&two, &one])));
    }
    sqlite(&database, &format!("DELETE FROM dispatcher; {}{}", row(1, first, 0), row(1, 1, 64)));
    reload(&mut proxy, "lists: not reloaded, the old ones stay in force");
    let fault = "table dispatcher, row sip:127.0.0.1:1: flags 64";
    assert!(proxy.process().stderr().contains(fault), "{}", proxy.process().stderr());
    for _ in 0..8 {
        assert!(is_two(goes_to(&mut caller, &[&two, &one])));
    }
    drop(proxy);
    // With such a row it does not start.
    let file = folder.path().join("strowger.toml");
    let file = file.to_str().expect("a readable path");
    let mut refused = proxy::run(&[&["--listen", "udp:127.0.0.1:0", "-f", file]]);
    assert_eq!(refused.wait(PATIENCE).code(), Some(BAD_CONFIGURATION), "{}", refused.output());
    assert!(refused.stderr().contains(fault), "{}", refused.stderr());
}

/// Lists of a server that is asked, frozen, asked again.
fn of_a_server(kind: database::Kind) {
    let mut server = Server::start(kind);
    let folder = Folder::new("lists-server");
    let storage = format!("[storage]\nurl = \"{}\"\ntimeout = \"2s\"\n", server.url());
    let configuration = format!("{storage}[routing]\ntrunk_set = 1\n");
    let file = folder.write("strowger.toml", &configuration);
    let file = file.to_str().expect("a readable path");
    let mut create = proxy::run(&[&["db", "create", "-f", file]]);
    assert!(create.wait(PATIENCE).success(), "{}", create.output());
    let port = ports::free();
    server.run(&format!(
        "INSERT INTO dispatcher (setid, destination, flags, priority, attrs, description) \
         VALUES (1, 'sip:127.0.0.1:{port}', 0, -5, 'weight=9', '')"
    ));
    server.run("INSERT INTO address (grp, ip_addr, mask, port) VALUES (3, '10.0.0.0', 8, 5060)");
    // A table that was never made, as in a database made by another program.
    server.run("DROP TABLE trusted");
    let mut proxy = start(&folder, &configuration);
    for line in [
        "note: there is no table trusted",
        "lists: permissions addresses from table address (1 rows)",
        "lists: dispatcher from table dispatcher (1 rows)",
    ] {
        proxy.process().wait_for(line);
    }
    let mut caller = Peer::new(proxy.address());
    let trunk = Peer::at(port, proxy.address());
    assert!(goes_to(&mut caller, &[&trunk]).is_some());
    server.run("UPDATE address SET mask = 33");
    reload(&mut proxy, "lists: not reloaded, the old ones stay in force");
    let fault = "table address, row 10.0.0.0: mask 33 is too long for 10.0.0.0";
    assert!(proxy.process().stderr().contains(fault), "{}", proxy.process().stderr());
    server.run("UPDATE address SET mask = 16");
    server.freeze();
    proxy.process().signal(Signal::Hup);
    // Nobody waits for a database that does not answer.
    assert!(goes_to(&mut caller, &[&trunk]).is_some());
    proxy.process().wait_for("no answer within 2s");
    server.thaw();
    reload(&mut proxy, "lists: reloaded: permissions addresses from table address (1 rows)");
    assert!(goes_to(&mut caller, &[&trunk]).is_some());
}

#[test]
fn tables_of_postgres_are_read_and_a_frozen_server_leaves_the_old_lists() {
    of_a_server(database::Kind::Postgres);
}

#[test]
fn tables_of_mariadb_are_read_and_a_frozen_server_leaves_the_old_lists() {
    of_a_server(database::Kind::MariaDb);
}

/// MESSAGE has the list read again, everything else goes to it.
struct Reloading;

type Modules = (Permissions, Dispatcher);

impl Routing for Reloading {
    type Modules = Modules;

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if request.method() == MethodKind::Message {
            request.dispatcher().reload();
            return Ok(Reply::new(200).into());
        }
        Ok(request.dispatcher().relay(1, Algorithm::RoundRobin).await?.into())
    }
}

/// A node of two shards whose lists lie in this folder.
fn node(folder: &Folder) -> (Node, Lists, impl Fn(Seat) -> Engine<Reloading> + use<>) {
    let text = "[node]\nlisten = [\"udp:127.0.0.1:0\"]\nshards = 2\n\
                [dispatcher]\nlist_file = \"trunks.list\"\n";
    let (configuration, problems) = strowger_node::config::parse("t.toml", text);
    assert!(problems.is_empty(), "{problems}");
    let (settings, _) = configuration.read(NodeSettings::read);
    let (lists, _) = configuration.read(Modules::lists);
    let lists = Lists::new(lists, "t.toml", Some(&folder.path().join("t.toml")));
    let make = move |seat: Seat| {
        let Seat { shard, map, listeners, seed } = seat;
        let epoch = Epoch::new(0);
        let facts =
            NodeFacts { name: "n", secret: b"s", has_storage: false, lasting_secret: b"l", epoch };
        let (modules, _) = configuration.read(|root| Modules::configured(root, &facts));
        let (settings, routing) = (Settings::default(), Reloading);
        Engine::new(Setup { shard, map, listeners, seed, settings, routing, modules })
    };
    (Node::bind(settings).expect("bound"), lists, make)
}

#[test]
fn a_routing_has_the_list_read_again_for_every_shard() {
    let (folder, ports) = (Folder::new("lists-wanted"), [ports::free(), ports::free()]);
    let lines = ports.map(|port| format!("1 sip:127.0.0.1:{port}\n"));
    folder.write("trunks.list", &lines[0]);
    let (node, lists, make) = node(&folder);
    let address = node.listeners().iter().next().expect("a listener").1.bound;
    let running = node.start_with(lists, make).expect("started");
    let [one, two] = ports.map(|port| Peer::at(port, address));
    let mut caller = Peer::new(address);
    // Eight Call-IDs: on either shard.
    let all_go_to = |wanted: &Peer, caller: &mut Peer| {
        (0..8).all(|_| {
            let peer = goes_to(caller, &[&one, &two]);
            peer.map(Peer::address) == Some(wanted.address())
        })
    };
    assert!(all_go_to(&one, &mut caller));
    replace(&folder, "trunks.list", &lines[1]);
    let message = caller.request("MESSAGE", "sip:reload@example.net", "Max-Forwards: 70\r\n");
    assert_eq!(datagram::status(&caller.ask(&message, PATIENCE)), Some(200));
    let until = Instant::now() + PATIENCE;
    while !all_go_to(&two, &mut caller) {
        assert!(Instant::now() < until, "the new list is not in force on every shard");
    }
    running.stop().expect("stopped");
}

#[test]
fn a_bad_file_is_refused_with_all_its_lines() {
    let folder = Folder::new("lists-bad");
    folder.write("trunks.list", "1 sip:127.0.0.1:5080\nx sip:127.0.0.1\n\n1 tel:+39\n");
    folder.write("address.list", "1 10.0.0.0 33\n");
    folder.write("permissions.allow", "ALL : ALL\nALL EXCEPT : ALL\n");
    let text = "[dispatcher]\nlist_file = \"trunks.list\"\n[permissions]\n\
                address_file = \"address.list\"\ndefault_allow_file = \"permissions.allow\"\n\
                default_deny_file = \"permissions.deny\"\n";
    let file = folder.write("strowger.toml", text);
    let file = file.to_str().expect("a readable path");
    for action in ["check", "run"] {
        let mut process = proxy::run(&[&[action, "-f", file, "--listen", "udp:127.0.0.1:0"]]);
        assert_eq!(process.wait(PATIENCE).code(), Some(BAD_CONFIGURATION), "{action}");
        let said = process.stderr();
        for place in [
            "/trunks.list:2: \"x\" is no set id",
            "/trunks.list:4: \"tel:+39\" is no SIP URI",
            "/address.list:1: ",
            "/permissions.allow:2: ",
            "strowger.toml:6: permissions.default_deny_file: ",
        ] {
            assert!(said.contains(place), "{action}: nothing says {place}\n{said}");
        }
        assert_eq!(said.lines().count(), 5, "{said}");
    }
}
