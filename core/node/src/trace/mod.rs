//! Tracing of calls, and mirrors: what becomes of the copies that shards make.
//!
//! For: messages of one call, user or address in the log for some minutes; a HEP3 collector; a
//! pcapng file; all switched while the node runs.
//! Not here: which message fits (`tap.rs`).
//! Invariants: wishes, packets and files are bounded; shards copy nothing when nobody wants
//! anything, and never wait when somebody does.

mod hep;
mod pcapng;

use crate::command::Command;
use crate::log::say;
use crate::node::Desk;
use crate::tap::{Packet, Rule, Rules, Wanted};
use pcapng::Capture;
use serde_json::{Value, json};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wishes at one time.
const RULES_MAX: usize = 64;
/// Copies on their way to the thread. A guess: a second of a busy shard.
const PACKETS_MAX: usize = 16_384;
/// The longest that a wish may last.
const MINUTES_MAX: u64 = 24 * 60;
/// The largest file, in MiB.
const MIB_MAX: u64 = 16 * 1024;
/// Lines of one message in the log: a bound against a flood of headers.
const LINES_MAX: usize = 100;

/// What is counted here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) logged: u64,
    pub(crate) mirrored: u64,
    pub(crate) captured: u64,
    /// Packets that a mirror or a file could not take.
    pub(crate) lost: u64,
}

#[derive(Debug)]
struct Mirror {
    socket: UdpSocket,
    to: SocketAddr,
    all: bool,
}

#[derive(Debug)]
struct CaptureTo {
    capture: Capture,
    path: PathBuf,
    all: bool,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    last_id: u64,
    mirror: Option<Mirror>,
    capture: Option<CaptureTo>,
    counts: Counts,
    /// The queue of the thread, once it runs.
    queue: Option<flume::Sender<Packet>>,
}

/// Who traces. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    desks: Vec<Desk>,
    state: Arc<Mutex<State>>,
}

impl Tracer {
    pub(crate) fn new(desks: &[Desk]) -> Tracer {
        Tracer { desks: desks.to_vec(), state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Traces what is wanted for some minutes; its number.
    pub(crate) fn start(&self, kind: &str, value: &str, minutes: u64) -> Result<u64, String> {
        let bytes = value.as_bytes().to_vec();
        let wanted = match kind {
            "callid" if !value.is_empty() => Wanted::CallId(bytes),
            "user" if !value.is_empty() => Wanted::User(bytes),
            "source" => {
                let address = value.parse().map_err(|_| format!("{value:?} is no address"))?;
                Wanted::Source(address)
            }
            _ => return Err("kind and value: callid, user or source, and which".to_owned()),
        };
        if !(1..=MINUTES_MAX).contains(&minutes) {
            return Err(format!("minutes: 1 to {MINUTES_MAX}"));
        }
        let mut state = self.lock();
        let now = Instant::now();
        state.rules.retain(|rule| rule.until > now);
        if state.rules.len() >= RULES_MAX {
            return Err(format!("{RULES_MAX} traces run already"));
        }
        state.last_id += 1;
        let (id, until) = (state.last_id, now + Duration::from_secs(60 * minutes));
        state.rules.push(Rule { id, wanted, until });
        self.publish(&mut state)?;
        drop(state);
        self.end_later(until);
        Ok(id)
    }

    /// Has shards copy nothing any more once the last wish is over.
    fn end_later(&self, until: Instant) {
        let tracer = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            let mut state = tracer.lock();
            let now = Instant::now();
            state.rules.retain(|rule| rule.until > now);
            // It runs already: nothing to fail at.
            let _ = tracer.publish(&mut state);
        });
    }

    /// Ends a trace, or all.
    pub(crate) fn stop(&self, id: Option<u64>) -> Result<usize, String> {
        let mut state = self.lock();
        let before = state.rules.len();
        state.rules.retain(|rule| id.is_some_and(|id| rule.id != id));
        let ended = before - state.rules.len();
        self.publish(&mut state)?;
        Ok(ended)
    }

    /// Mirrors to a collector, or ends that.
    pub(crate) fn mirror(&self, to: Option<(&str, bool)>) -> Result<(), String> {
        let mirror = match to {
            None => None,
            Some((to, all)) => {
                let to: SocketAddr =
                    to.parse().map_err(|_| format!("{to:?} is not ADDRESS:PORT"))?;
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).map_err(|cause| cause.to_string())?;
                socket.set_nonblocking(true).map_err(|cause| cause.to_string())?;
                Some(Mirror { socket, to, all })
            }
        };
        let mut state = self.lock();
        state.mirror = mirror;
        self.publish(&mut state)
    }

    /// Writes a file of so many MiB at most, or ends that.
    pub(crate) fn capture(&self, to: Option<(&str, u64, bool)>) -> Result<(), String> {
        let capture = match to {
            None => None,
            Some((path, mib, all)) => {
                if !(1..=MIB_MAX).contains(&mib) {
                    return Err(format!("max_mib: 1 to {MIB_MAX}"));
                }
                let failed = |cause| format!("{path}: {cause}");
                let capture = Capture::create(Path::new(path), mib << 20).map_err(failed)?;
                Some(CaptureTo { capture, path: PathBuf::from(path), all })
            }
        };
        let mut state = self.lock();
        state.capture = capture;
        self.publish(&mut state)
    }

    /// What runs.
    pub(crate) fn list(&self) -> Value {
        let state = self.lock();
        let now = Instant::now();
        let rules = state.rules.iter().filter(|rule| rule.until > now).map(|rule| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (kind, value) = match &rule.wanted {
                Wanted::CallId(id) => ("callid", text(id)),
                Wanted::User(user) => ("user", text(user)),
                Wanted::Source(address) => ("source", address.to_string()),
            };
            let left = rule.until.saturating_duration_since(now).as_secs();
            json!({"id": rule.id, "kind": kind, "value": value, "seconds_left": left})
        });
        let Counts { logged, mirrored, captured, lost } = state.counts;
        json!({
            "hep": state.mirror.as_ref().map(|it| it.to.to_string()),
            "pcap": state.capture.as_ref().map(|it| it.path.display().to_string()),
            "logged": logged, "mirrored": mirrored, "captured": captured, "lost": lost,
            "traces": rules.collect::<Vec<Value>>(),
        })
    }

    /// Tells every shard what is wanted.
    fn publish(&self, state: &mut State) -> Result<(), String> {
        let mirror = state.mirror.as_ref().is_some_and(|it| it.all);
        let all = mirror || state.capture.as_ref().is_some_and(|it| it.all);
        let rules = if state.rules.is_empty() && !all {
            None
        } else {
            let to = self.queue(state)?;
            Some(Arc::new(Rules { rules: state.rules.clone(), all, to }))
        };
        self.desks.iter().for_each(|desk| desk.tell(Command::Tap(rules.clone())));
        Ok(())
    }

    /// The thread's queue; the first wish starts it.
    fn queue(&self, state: &mut State) -> Result<flume::Sender<Packet>, String> {
        if let Some(queue) = &state.queue {
            return Ok(queue.clone());
        }
        let (queue, packets) = flume::bounded::<Packet>(PACKETS_MAX);
        let tracer = self.clone();
        let thread = std::thread::Builder::new().name("trace".to_owned());
        let work = move || packets.iter().for_each(|packet| tracer.take(&packet));
        thread.spawn(work).map_err(|cause| cause.to_string())?;
        state.queue = Some(queue.clone());
        Ok(queue)
    }

    fn take(&self, packet: &Packet) {
        let mut state = self.lock();
        let State { mirror, capture, counts, .. } = &mut *state;
        if let Some(mirror) = mirror.as_ref().filter(|it| it.all || packet.is_traced) {
            let sent = hep::encode(packet)
                .is_some_and(|bytes| mirror.socket.send_to(&bytes, mirror.to).is_ok());
            *(if sent { &mut counts.mirrored } else { &mut counts.lost }) += 1;
        }
        if let Some(to) = capture.as_mut().filter(|it| it.all || packet.is_traced) {
            let added = to.capture.add(packet).unwrap_or(false);
            *(if added { &mut counts.captured } else { &mut counts.lost }) += 1;
        }
        counts.logged += u64::from(packet.is_traced);
        drop(state);
        if packet.is_traced {
            log(packet);
        }
    }
}

/// One entry of the log: where it went, and the message.
fn log(packet: &Packet) {
    let Packet { transport, from, to, bytes, is_incoming, .. } = packet;
    let text = String::from_utf8_lossy(bytes);
    let way = if *is_incoming { "received" } else { "sent" };
    let lines: Vec<&str> = text.lines().take(LINES_MAX).collect();
    say(&format!("trace: {way} {transport} {from} > {to}\n{}", lines.join("\n")));
}
