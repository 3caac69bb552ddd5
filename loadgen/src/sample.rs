//! What the machine and the system under test do meanwhile.
//!
//! For: `--pid` (any process with its children: CPU and memory), `--control` (a Prometheus page),
//! stolen time.
//! Not here: the generator's own threads, which say themselves what they used (`worker.rs`).
//! Invariants: what cannot be read is left out, never guessed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// The kernel counts processor time in hundredths of a second (`USER_HZ`), whatever its own ticks.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a page may take; a second is the distance between samples.
const PAGE_PATIENCE: Duration = Duration::from_millis(500);
/// Longest page.
const PAGE_BYTES_MAX: u64 = 4 << 20;
/// Most numbers kept of a page.
const NUMBERS_MAX: usize = 2000;

/// A process with its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Seconds of processor time since their start.
    pub(crate) cpu: f64,
    /// Resident memory.
    pub(crate) memory_bytes: u64,
}

/// The numbers of a metrics page, by name with labels.
pub(crate) type Numbers = BTreeMap<String, f64>;

/// Reads what a process and its descendants have used; `None` when it is gone.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let all = processes();
    all.iter().find(|process| process.pid == pid)?;
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let children = all.iter().filter(|process| process.parent == parent);
        family.extend(children.map(|child| child.pid).filter(|child| *child != parent));
        at += 1;
    }
    let members = all.iter().filter(|process| family.contains(&process.pid));
    Some(members.fold(Usage::default(), |sum, process| Usage {
        cpu: sum.cpu + process.ticks as f64 / TICKS_PER_SECOND,
        memory_bytes: sum.memory_bytes + process.memory_bytes,
    }))
}

struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
    memory_bytes: u64,
}

fn processes() -> Vec<Process> {
    let Ok(folder) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        process(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    })
    .collect()
}

/// Reads `pid (name) state ppid ... utime stime ... rss`; the name may hold anything.
fn process(pid: u32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| words.get(index)?.trim().parse::<u64>().ok();
    Some(Process {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        memory_bytes: number(21)? * PAGE_BYTES,
    })
}

/// Pages of memory on the machines that this runs on.
const PAGE_BYTES: u64 = 4096;

/// Seconds that the hypervisor gave to others, over all cores.
pub(crate) fn stolen() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
    ticks.map_or(0.0, |ticks: f64| ticks / TICKS_PER_SECOND)
}

/// Where a metrics page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    host: String,
    path: String,
}

impl Page {
    /// Reads `http://HOST:PORT[/PATH]`; without a path it is `/metrics`.
    pub(crate) fn new(url: &str) -> Result<Page, String> {
        let wrong = || format!("{url:?} is not http://HOST:PORT[/PATH]");
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = if path.is_empty() { "metrics" } else { path };
        if host.is_empty() {
            return Err(wrong());
        }
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        Ok(Page { host, path: format!("/{path}") })
    }

    /// The numbers on the page; `None` when it cannot be had in time.
    pub(crate) fn fetch(&self) -> Option<Numbers> {
        let address = self.host.to_socket_addrs().ok()?.next()?;
        let mut stream = TcpStream::connect_timeout(&address, PAGE_PATIENCE).ok()?;
        stream.set_read_timeout(Some(PAGE_PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PAGE_PATIENCE)).ok()?;
        let ask = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
            self.path, self.host
        );
        stream.write_all(ask.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.take(PAGE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?;
        (status == "200").then(|| numbers(body))
    }
}

/// Lines `name{labels} value [timestamp]`; others, such as lengths of chunks, are passed over.
fn numbers(body: &str) -> Numbers {
    let number = |line: &str| {
        let line = line.trim();
        let end = line.rfind('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1))?;
        let (name, value) = line.split_at(end);
        let value = value.split_whitespace().next()?.parse().ok()?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        is_name.then(|| (name.to_owned(), value))
    };
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(number)
        .filter(|(_, value): &(_, f64)| value.is_finite())
        .take(NUMBERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 9 1000 25 1 1";
        let found = process(7, stat).expect("a process");
        assert_eq!((found.parent, found.ticks, found.memory_bytes), (1, 200, 25 * 4096));
    }

    #[test]
    fn this_process_uses_memory_and_its_children_count() {
        let alone = usage(std::process::id()).expect("this process");
        assert!(alone.memory_bytes > 0);
        let mut child = std::process::Command::new("sleep").arg("30").spawn().expect("sleep");
        let child_alone = usage(child.id()).expect("the child");
        let family = usage(std::process::id()).expect("this process");
        assert!(family.memory_bytes >= child_alone.memory_bytes);
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert_eq!(usage(u32::MAX), None);
    }

    #[test]
    fn a_page_of_metrics_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let page = Page::new(&format!("http://{address}")).expect("a page");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut ask = [0; 1000];
            let length = stream.read(&mut ask).expect("a question");
            let body =
                "# HELP a b\ncalls_total 7\nmessages{shard=\"0\",way=\"in\"} 1.5e3\nbad NaN\n";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
            stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
            String::from_utf8_lossy(&ask[..length]).into_owned()
        });
        let numbers = page.fetch().expect("numbers");
        assert!(server.join().expect("served").starts_with("GET /metrics HTTP/1.1\r\n"));
        let expected = [("calls_total", 7.0), ("messages{shard=\"0\",way=\"in\"}", 1500.0)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pages_are_named_by_their_address() {
        assert_eq!(Page::new("http://a").map(|page| page.host), Ok("a:80".to_owned()));
        assert!(Page::new("https://a").is_err() && Page::new("http:///x").is_err());
    }
}
