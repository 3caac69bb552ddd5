//! The command line of the stock binary: first start, `check`, listeners.
//!
//! For: what a person sees who has typed `strowger` and has read nothing.
//! Not here: traffic beyond one OPTIONS.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Process};
use strowger_tests::{binary, ports, proxy};

/// `EX_CONFIG` of sysexits(3).
const BAD_CONFIGURATION: i32 = 78;

/// Starts `strowger` in a folder of its own, where there is no file to find by chance.
fn strowger(folder: &Folder, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary::strowger());
    Process::start("strowger", command.args(arguments).current_dir(folder.path()))
}

fn answers_options(address: SocketAddr) {
    let mut peer = Peer::new(address);
    let options = peer.request("OPTIONS", &format!("sip:{address}"), "Max-Forwards: 70\r\n");
    let answer = peer.ask(&options, PATIENCE);
    assert_eq!(datagram::status(&answer), Some(200), "{answer}");
}

#[test]
fn with_no_file_it_starts_and_says_in_two_lines_how_to_go_on() {
    let folder = Folder::new("empty");
    let elsewhere = format!("udp:127.0.0.1:{}", ports::free());
    // Somebody else's proxy on this machine is no fault of this one.
    let taken = ports::is_taken(5060);
    let arguments: &[&str] = if taken { &["--listen", &elsewhere] } else { &[] };
    let mut process = strowger(&folder, arguments);
    let address = process.wait_until("the address it listens on", proxy::listening);
    if !taken {
        assert_eq!(address, SocketAddr::from((Ipv4Addr::LOCALHOST, 5060)));
    }
    answers_options(address);
    let said = process.stdout();
    let help = said.lines().filter(|line| !line.starts_with("listening on "));
    assert_eq!(help.count(), 2, "{said}");
    assert!(said.contains("--listen"), "how to open it up is not said: {said}");
}

#[test]
fn every_listener_answers() {
    let folder = Folder::new("empty");
    let listeners = [ports::free(), ports::free()].map(|port| format!("udp:127.0.0.1:{port}"));
    let [first, second] = &listeners;
    let arguments = ["--listen", first, "--listen", second, "--shards", "2"];
    let mut process = strowger(&folder, &arguments);
    for listener in &listeners {
        process.wait_for(listener);
        let address = listener.trim_start_matches("udp:").parse().expect("an address");
        answers_options(address);
    }
}

#[test]
fn a_bad_file_is_refused_with_all_its_errors_and_their_lines() {
    let folder = Folder::new("bad");
    let text = "[routing]\nnext_hop = 5\nnext_hope = \"sip:127.0.0.1:5080\"\n\n[nonsense]\na = 1\n";
    let file = folder.write("strowger.toml", text);
    let file = file.to_str().expect("a path in ASCII");
    for command in [&["check", "-f", file][..], &["run", "-f", file], &["-f", file]] {
        let mut process = strowger(&folder, command);
        let status = process.wait(PATIENCE);
        let said = process.output();
        assert_eq!(status.code(), Some(BAD_CONFIGURATION), "{command:?}: {said}");
        for (place, key) in [(":2: ", "next_hop"), (":3: ", "next_hope"), (":5: ", "nonsense")] {
            let place = format!("strowger.toml{place}");
            let named = said.lines().any(|line| line.contains(&place) && line.contains(key));
            assert!(named, "{command:?}: nothing says {place}{key}\n{said}");
        }
        assert_eq!(proxy::listening(&said), None, "{command:?}: {said}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_refused_by_name() {
    let folder = Folder::new("bad");
    folder.write("broken.toml", "[routing]\nnext_hop = \"sip:127.0.0.1\n");
    for (file, named) in [("absent.toml", "absent.toml"), ("broken.toml", "broken.toml:2")] {
        let mut process = strowger(&folder, &["check", "-f", file]);
        let status = process.wait(PATIENCE);
        let said = process.output();
        assert_eq!(status.code(), Some(BAD_CONFIGURATION), "{file}: {said}");
        assert!(said.contains(named), "{file}: {said}");
    }
}

#[test]
fn check_binds_nothing() {
    let folder = Folder::new("good");
    let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
    let listener = format!("udp:{}", ours.local_addr().expect("a bound socket has an address"));
    let file = folder.write("strowger.toml", "[routing]\nnext_hop = \"sip:127.0.0.1:5080\"\n");
    let file = file.to_str().expect("a path in ASCII");

    // The port is taken: whoever binds it fails.
    let mut check = strowger(&folder, &["check", "-f", file, "--listen", &listener]);
    assert!(check.wait(PATIENCE).success(), "{}", check.output());
    let mut run = strowger(&folder, &["run", "-f", file, "--listen", &listener]);
    assert!(!run.wait(PATIENCE).success(), "{}", run.output());
    let said = run.output();
    assert!(said.contains(listener.trim_start_matches("udp:")), "which address? {said}");
}

#[test]
fn the_readmes_configuration_is_good() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let (_, rest) = readme.split_once("```toml\n").expect("a configuration in the README");
    let (configuration, _) = rest.split_once("```").expect("its end");
    let folder = Folder::new("readme");
    let file = folder.write("strowger.toml", configuration);
    let file = file.to_str().expect("a path in ASCII");
    let mut check = strowger(&folder, &["check", "-f", file]);
    assert!(check.wait(PATIENCE).success(), "{}", check.output());
}
