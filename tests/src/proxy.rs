//! The proxy as a black box: started with a command line, read by its printed lines.
//!
//! For: every end-to-end test; the one place that knows how the binary words its output.
//! Not here: where the binary comes from (`binary.rs`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::binary;
use crate::process::{Process, Signal};

/// The keys of a shard's summary line.
pub mod key {
    /// The number of the shard; a line with it is a summary line.
    pub const SHARD: &str = "shard";
    /// Datagrams that came from the network.
    pub const IN: &str = "in";
    /// Datagrams that went to the network.
    pub const OUT: &str = "out";
    /// Datagrams that another shard had to handle.
    pub const HANDED_OVER: &str = "handed_over";
    /// What was refused because a lane between shards was full.
    pub const SHED: &[&str] = &["shed", "peers_shed"];
    /// Datagrams that were no SIP message.
    pub const RUBBISH: &str = "rubbish_dropped";
    /// Messages that broke the grammar and could not be answered.
    pub const MALFORMED: &str = "malformed_dropped";
    /// What is left in the tables: all of these are 0 on an idle proxy.
    pub const CENSUS: &[&str] =
        &["server_transactions", "client_transactions", "waiting_routings", "timers"];
}

/// The stock binary on a free loopback port.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    address: SocketAddr,
}

impl Proxy {
    /// Starts `strowger` with two shards on a port that the kernel picks, and these arguments.
    ///
    /// # Panics
    /// When it does not say on which address it listens.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_at("udp:127.0.0.1:0", arguments)
    }

    /// The same on an address that is known.
    ///
    /// # Panics
    /// When it does not say that it listens.
    #[must_use]
    pub fn start_at(listen: &str, arguments: &[&str]) -> Self {
        let mut process = run(&[&["--listen", listen, "--shards", "2"], arguments]);
        let address = process.wait_until("the address it listens on", listening);
        Self { process, address }
    }

    /// As [`Proxy::start`], with everything relayed to a port of 127.0.0.1.
    #[must_use]
    pub fn relaying_to(port: u16) -> Self {
        Self::start(&["--next-hop", &format!("sip:127.0.0.1:{port}")])
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens over `transport` at an address that begins like this.
    ///
    /// # Panics
    /// When it does not listen there.
    #[must_use]
    pub fn address_of(&mut self, transport: &str, host: &str) -> SocketAddr {
        let prefix = format!("{transport}:{host}:");
        self.process.wait_until("one of its addresses", |output| {
            output
                .split_whitespace()
                .find(|word| word.starts_with(&prefix))
                .and_then(|word| word.strip_prefix(transport)?.strip_prefix(':')?.parse().ok())
        })
    }

    /// The process, to signal it or read it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks the running proxy for its summary.
    ///
    /// # Panics
    /// When no shard has answered by then.
    pub fn summary(&mut self) -> Summary {
        let shards = Summary::of(&self.process.output()).shards.len().max(2);
        let before = summary_lines(&self.process.output()).count();
        self.process.signal(Signal::Usr1);
        let output = self.process.wait_until("a summary line of every shard", |output| {
            (summary_lines(output).count() >= before + shards).then(|| output.to_owned())
        });
        Summary::of(&output)
    }

    /// Asks the running proxy how its storage is: the values of its summary line.
    ///
    /// # Panics
    /// When it has no storage, or does not answer.
    pub fn storage(&mut self) -> BTreeMap<String, String> {
        let before = storage_lines(&self.process.output()).count();
        self.process.signal(Signal::Usr1);
        self.process.wait_until("a line of storage", |output| {
            let lines = storage_lines(output);
            (lines.count() > before).then(|| storage_lines(output).next_back())?
        })
    }

    /// Memory of the process that is in use, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.pid());
        let status = std::fs::read_to_string(status).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("the kernel's count") * 1024
    }

    /// Drains it, waits for its end and returns the summary that it leaves.
    ///
    /// # Panics
    /// When it does not end by itself in time, or prints no summary.
    pub fn stop(mut self, limit: Duration) -> (ExitStatus, Summary) {
        self.process.signal(Signal::Term);
        self.ended(limit)
    }

    /// Waits for an end that was asked for before and returns the summary.
    ///
    /// # Panics
    /// When it does not end by itself in time, or prints no summary.
    pub fn ended(&mut self, limit: Duration) -> (ExitStatus, Summary) {
        let status = self.process.wait(limit);
        let summary = Summary::of(&self.process.output());
        assert!(!summary.shards.is_empty(), "no summary line at exit");
        (status, summary)
    }
}

/// Runs `strowger` with these arguments as they are.
#[must_use]
pub fn run(arguments: &[&[&str]]) -> Process {
    Process::start("strowger", Command::new(binary::strowger()).args(arguments.concat()))
}

/// The first UDP address that the output says it listens on.
#[must_use]
pub fn listening(output: &str) -> Option<SocketAddr> {
    output.lines().filter(|line| line.contains("listening on")).find_map(|line| {
        let address = line.split_once("udp:")?.1;
        address.split_whitespace().next()?.trim_end_matches([',', ';', '.']).parse().ok()
    })
}

/// What every shard said about itself last.
#[derive(Debug, Default)]
pub struct Summary {
    shards: BTreeMap<String, BTreeMap<String, String>>,
}

impl Summary {
    /// Reads the last summary line of every shard.
    #[must_use]
    pub fn of(output: &str) -> Self {
        let mut shards = BTreeMap::new();
        for pairs in summary_lines(output) {
            shards.insert(pairs[key::SHARD].clone(), pairs);
        }
        Self { shards }
    }

    /// How many shards have reported.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The value of a key on each shard.
    ///
    /// # Panics
    /// When a shard does not report it as a number: a missing key must not pass for 0.
    #[must_use]
    pub fn each(&self, name: &str) -> Vec<u64> {
        let value = |pairs: &BTreeMap<String, String>| {
            let text = pairs.get(name).unwrap_or_else(|| panic!("no {name}= in {pairs:?}"));
            text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number"))
        };
        self.shards.values().map(value).collect()
    }

    /// The sum over the shards of a key that a shard leaves out when it is 0.
    ///
    /// # Panics
    /// When a shard reports something that is not a number.
    #[must_use]
    pub fn counted(&self, name: &str) -> u64 {
        let values = self.shards.values().filter_map(|pairs| pairs.get(name));
        let number = |text: &String| -> u64 {
            text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number"))
        };
        values.map(number).sum()
    }

    /// The sum of a key over the shards.
    #[must_use]
    pub fn total(&self, name: &str) -> u64 {
        self.each(name).iter().sum()
    }

    /// Checks that no lane between shards was ever too short.
    ///
    /// # Panics
    /// When something was shed.
    pub fn assert_nothing_shed(&self) {
        for name in key::SHED {
            assert_eq!(self.total(name), 0, "{name}: {self:#?}");
        }
    }

    /// Checks that every table is empty.
    ///
    /// # Panics
    /// When a table of some shard still holds something.
    pub fn assert_empty(&self) {
        for name in key::CENSUS {
            assert_eq!(self.total(name), 0, "{name} are left over: {self:#?}");
        }
    }
}

/// The key=value pairs of every line that has a `shard=`.
fn summary_lines(output: &str) -> impl DoubleEndedIterator<Item = BTreeMap<String, String>> + '_ {
    lines_with(output, key::SHARD)
}

/// The same of every line that has a `storage=`.
fn storage_lines(output: &str) -> impl DoubleEndedIterator<Item = BTreeMap<String, String>> + '_ {
    lines_with(output, "storage")
}

fn lines_with<'o>(
    output: &'o str,
    key: &'static str,
) -> impl DoubleEndedIterator<Item = BTreeMap<String, String>> + 'o {
    output.lines().filter_map(move |line| {
        let pairs: BTreeMap<String, String> = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_end_matches([',', ';']).to_owned()))
            .collect();
        pairs.contains_key(key).then_some(pairs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_summary_of_a_shard_counts() {
        let output = "shard=0 in=1 shed=0\nshard=1 in=2 shed=0\n\
                      INFO summary shard=0 in=7, shed=1\nlistening\n";
        let summary = Summary::of(output);
        assert_eq!(summary.each(key::IN), [7, 2]);
        assert_eq!(summary.total("shed"), 1);
    }

    #[test]
    fn the_address_is_read_from_the_start_line() {
        let output = "strowger 0.1.0\nlistening on udp:127.0.0.1:40123, 2 shards\n";
        assert_eq!(listening(output), "127.0.0.1:40123".parse().ok());
        assert_eq!(listening("listening on tcp:127.0.0.1:1\n"), None);
    }
}
