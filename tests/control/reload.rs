//! A changed configuration taken over by a node that runs; what the service manager is told.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use strowger_tests::binary;
use strowger_tests::datagram::Peer;
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Process, Signal};
use strowger_tests::proxy::Proxy;

fn file(next_hop: u16, limit: u32, drain: u32) -> String {
    format!(
        "[node]\ndrain_timeout = \"{drain}s\"\n[control]\nlisten = \"127.0.0.1:0\"\n\
         [routing]\nnext_hop = \"sip:127.0.0.1:{next_hop}\"\n[pike]\nretry_after = {limit}\n"
    )
}

fn reload(file: &str, control: &str, more: &[&str]) -> Output {
    let arguments = [&["-f", file, "--control", control, "reload", "--json"], more].concat();
    Command::new(binary::strowger()).args(arguments).output().expect("started")
}

/// Whether a call from a new caller arrives here.
fn arrives(proxy: &Proxy, callee: &Peer) -> bool {
    let mut caller = Peer::new(proxy.address());
    let message = caller.request("MESSAGE", "sip:bob@example.com", "Max-Forwards: 70\r\n");
    caller.send(message.as_bytes());
    callee.receive(Instant::now() + Duration::from_secs(3)).is_some()
}

#[test]
fn what_can_change_changes_on_all_shards_and_a_mistake_changes_nothing() {
    let folder = Folder::new("reload");
    let any = "127.0.0.1:9".parse().expect("an address");
    let (first, second) = (Peer::new(any), Peer::new(any));
    let ports = [first.address().port(), second.address().port()];
    let path = folder.write("strowger.toml", &file(ports[0], 10, 40));
    let path = path.to_str().expect("a readable path");
    let mut proxy = Proxy::start(&["-f", path]);
    let control = proxy.process().wait_until("where the control plane is", |output| {
        let line = output.lines().find_map(|line| line.strip_prefix("control plane on http://"))?;
        Some(line.to_owned())
    });
    assert!(arrives(&proxy, &first));

    folder.write("strowger.toml", &file(ports[1], 20, 41));
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).replace(['\n', ' '], "");
    let live = "\"live\":[\"pike.retry_after\",\"routing.next_hop\"]";
    let restart = "\"restart\":[\"node.drain_timeout\"]";
    let dry = reload(path, &control, &["--dry-run"]);
    assert!(said(&dry).contains(live) && said(&dry).contains(restart), "{dry:?}");
    assert!(arrives(&proxy, &first), "it was only asked");
    let done = reload(path, &control, &[]);
    assert!(said(&done).contains(live) && said(&done).contains(restart), "{done:?}");
    // Whichever shard a call is at home on.
    (0..6).for_each(|_| assert!(arrives(&proxy, &second)));

    // One mistake, and everything stays; by the signal as well as by the command.
    let bad = file(ports[0], 10, 40).replace("retry_after", "retry_afetr");
    folder.write("strowger.toml", &bad);
    let refused = reload(path, &control, &[]);
    // The command reads the file too, to find the node.
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    proxy.process().signal(Signal::Hup);
    proxy.process().wait_for("not reloaded, the old one stays in force");
    (0..6).for_each(|_| assert!(arrives(&proxy, &second)));
    folder.write("strowger.toml", &file(ports[0], 10, 40));
    proxy.process().signal(Signal::Hup);
    proxy.process().wait_for("configuration: changed: pike.retry_after, routing.next_hop");
    (0..6).for_each(|_| assert!(arrives(&proxy, &first)));
}

#[test]
fn systemd_hears_ready_signs_of_life_and_the_end() {
    let folder = Folder::new("systemd");
    let place = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&place).expect("bound");
    manager.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
    let mut proxy = Process::start(
        "strowger",
        Command::new(binary::strowger())
            .args(["--listen", "udp:127.0.0.1:0", "--shards", "2"])
            .env("NOTIFY_SOCKET", &place)
            .env("WATCHDOG_USEC", "1000000"),
    );
    let hear = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).expect("a word");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut heard = Vec::new();
    while heard.iter().filter(|word| *word == "WATCHDOG=1").count() < 3 {
        heard.push(hear());
    }
    assert!(heard.iter().any(|word| word == "READY=1\nSTATUS=2 shards"), "{heard:?}");
    proxy.signal(Signal::Hup);
    while !hear().starts_with("RELOADING=1\nMONOTONIC_USEC=") {}
    while !hear().starts_with("READY=1") {}
    proxy.signal(Signal::Term);
    while !hear().starts_with("STOPPING=1") {}
    assert!(proxy.wait(PATIENCE).success());
}
