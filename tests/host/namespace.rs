//! `strowger tune` and `tuning/nic.sh` on an interface of the test's own, in a network namespace.
//!
//! For: real queues, RPS and connection tracking, changed and put back.
//! Not here: what a virtual interface has not (hashing, interrupts): the unit tests in `tuning/`.
//! Needs: root, `iproute2`, `ethtool`, `nftables`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use strowger_tests::binary;
use strowger_tests::folder::Folder;

/// A namespace with a pair of interfaces of four queues; both go with it.
struct Namespace {
    name: String,
}

impl Namespace {
    /// None, said aloud, when this host does not let an ordinary user make one.
    fn new(purpose: &str) -> Option<Namespace> {
        let name = format!("strowger-{purpose}-{}", std::process::id());
        let made = ip(&["netns", "add", &name]);
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            assert!(!is_root(), "root may make network namespaces: {said}");
            println!("not tested: a network namespace takes root here ({})", said.trim());
            return None;
        }
        let namespace = Namespace { name };
        let four = ["numrxqueues", "4", "numtxqueues", "4"];
        let pair = [&["-n", &namespace.name, "link", "add", "near"], &four[..], &["type", "veth"]];
        let far = [&["peer", "name", "far"], &four[..]];
        let made = ip(&[pair.concat(), far.concat()].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(namespace)
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).args(arguments);
        command.output().expect("ip runs")
    }

    /// What a shell prints there.
    fn shell(&self, script: &str) -> String {
        let done = self.run(Path::new("sh"), &["-c", script]);
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn tune(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let done = self.run(binary::strowger(), &[&["tune"], arguments].concat());
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Everything that the test changes, as the kernel shows it.
    fn state(&self) -> String {
        self.shell(
            "cat /sys/class/net/near/queues/rx-*/rps_cpus; ethtool -l near; nft list ruleset",
        )
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left over shows in `ip netns`, and is no failed test.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Output {
    Command::new("ip").args(arguments).output().expect("Debian's iproute2 is installed")
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0
}

/// What a namespace has of its own; the rest is the whole host's, and not a test's to change.
const SCOPE: &[&str] =
    &["--interface", "near", "--knob", "rps", "--knob", "nic-queues", "--knob", "conntrack"];

#[test]
fn check_writes_nothing_apply_changes_and_undo_puts_back() {
    let Some(namespace) = Namespace::new("tune") else { return };
    let folder = Folder::new("tune");
    let undo_file = folder.path().join("undo.json");
    let undo_file = undo_file.to_str().expect("a path in ASCII");
    namespace.shell("echo 1 > /sys/class/net/near/queues/rx-1/rps_cpus");
    namespace.shell(
        "nft 'table inet stateful { chain in { type filter hook input priority 0; policy accept; \
         ct state established accept; }; }'",
    );
    let before = namespace.state();

    let shards = ["--shards", "2"];
    let (status, said) = namespace.tune(&[&["check", "--json"], SCOPE, &shards].concat());
    assert_eq!(status, Some(1), "{said}");
    let findings: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    let of = |place: &str| {
        let found = findings.iter().find(|finding| finding["place"] == place);
        found.unwrap_or_else(|| panic!("nothing of {place}: {said}")).clone()
    };
    let rps = of("near rx-1 rps_cpus");
    assert_eq!(
        (&rps["state"], &rps["found"], &rps["wanted"]),
        (&"change".into(), &"1".into(), &"0".into())
    );
    for part in ["why", "effect"] {
        assert!(rps[part].as_str().is_some_and(|text| text.len() > 20), "{rps}");
    }
    assert_eq!(of("near rx-0 rps_cpus")["state"], "good");
    assert_eq!(of("near rx queues")["wanted"], "2");
    assert_eq!(of("udp port 5060")["state"], "change", "{said}");
    let (status, said) = namespace
        .tune(&[&["apply", "--dry-run", "--undo-file", undo_file], SCOPE, &shards].concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("would run ethtool -L near rx 2"), "{said}");
    assert_eq!(namespace.state(), before, "check and --dry-run change nothing");
    assert!(!Path::new(undo_file).exists());

    let (status, said) =
        namespace.tune(&[&["apply", "--undo-file", undo_file], SCOPE, &shards].concat());
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = namespace.tune(&[&["check"], SCOPE, &shards].concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(namespace.state().contains("udp dport 5060 notrack"));
    let (status, said) = namespace.tune(&["undo", undo_file]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(namespace.state(), before);
    assert!(!Path::new(undo_file).exists(), "nothing is left to undo");
}

#[test]
fn the_script_for_the_boot_does_what_apply_does() {
    let Some(namespace) = Namespace::new("script") else { return };
    namespace.shell("echo 3 > /sys/class/net/near/queues/rx-0/rps_cpus");
    let scope = [&["check", "--shards", "2"], SCOPE].concat();
    assert_eq!(namespace.tune(&scope).0, Some(1));
    let script = binary::workspace().join("tuning/nic.sh");
    let done = namespace.run(&script, &["near", "0", "1"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert!(said.contains("rx-flow-hash"), "what a virtual interface cannot do is said: {said}");
    let (status, said) = namespace.tune(&scope);
    assert_eq!(status, Some(0), "{said}");
}
