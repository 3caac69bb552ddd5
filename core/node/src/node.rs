//! A node: sockets bound, shards started, each on its core with its engine.
//!
//! For: going from settings to running shards, or to one clear reason why not.
//! Not here: signals and stopping (`control.rs`), the loop of a shard (`shard.rs`).
//! Invariants: nothing is started before everything is bound.

use crate::bell::Bell;
use crate::clock::Clock;
use crate::cores;
use crate::engine::ShardEngine;
use crate::kernel::{self, KernelRefusal};
use crate::mesh::{self, Endpoint, Mesh};
use crate::settings::NodeSettings;
use crate::shard::{Answer, Command, Shard};
use crate::udp::mmsg::Mmsg;
use crate::udp::socket::{self, BindError};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use socket2::Socket;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::transport::{Listener, Listeners, Transport};

/// How long a busy loop keeps its executor from looking after lanes and commands. A guess: short beside a
/// retransmission, long beside the few microseconds that a look costs.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// glommio reserves this for files, which no shard touches; its smallest.
const FILE_BUFFER_BYTES: usize = 65_536;

/// Why a node did not start.
#[derive(Debug)]
pub enum StartError {
    /// The kernel refuses what a shard needs.
    Kernel(KernelRefusal),
    /// A listener could not be bound.
    Bind(BindError),
    /// The system has no randomness to give.
    Entropy(String),
    /// A shard's thread did not get going.
    Shard(ShardId, String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Kernel(refusal) => refusal.fmt(f),
            StartError::Bind(error) => error.fmt(f),
            StartError::Entropy(cause) => write!(f, "no random seed from the system: {cause}"),
            StartError::Shard(shard, cause) => write!(f, "shard {} did not start: {cause}", shard.0),
        }
    }
}

impl std::error::Error for StartError {}

/// What an engine is built from on its shard's thread.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Which shard it is.
    pub shard: ShardId,
    /// Who owns what.
    pub map: ShardMap,
    /// Every listener of the node, ports filled in.
    pub listeners: Listeners,
    /// Randomness of this shard alone.
    pub seed: (u64, u64),
}

/// A node whose sockets are bound and whose shards have not started.
#[derive(Debug)]
pub struct Node {
    settings: NodeSettings,
    listeners: Listeners,
    // By shard, then by listener.
    sockets: Vec<Vec<Socket>>,
    cores: Vec<Option<usize>>,
    notices: Vec<String>,
}

impl Node {
    /// Asks the kernel for everything a node needs.
    pub fn bind(settings: NodeSettings) -> Result<Node, StartError> {
        kernel::check().map_err(StartError::Kernel)?;
        let shards = usize::from(settings.shards);
        let mut sockets: Vec<Vec<Socket>> = (0..shards).map(|_| Vec::new()).collect();
        let mut listeners = Vec::new();
        let mut notices = Vec::new();
        for listen in &settings.listen {
            let group = socket::bind_group(listen.address, shards, &settings.udp)
                .map_err(StartError::Bind)?;
            notices.extend(group.notices);
            for (shard, socket) in sockets.iter_mut().zip(group.sockets) {
                shard.push(socket);
            }
            let advertised = listen.advertised(group.bound);
            listeners.push(Listener { transport: Transport::Udp, bound: group.bound, advertised });
        }
        let seating = cores::seat(shards, &settings.cores, cores::allowed().as_deref());
        notices.extend(seating.notices);
        let listeners = Listeners::new(listeners);
        Ok(Node { settings, listeners, sockets, cores: seating.cores, notices })
    }

    /// Where the node listens, ports filled in.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// What the operator should know: small buffers, missing cores.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Starts every shard; `make` builds each engine on the thread it stays on.
    pub fn start<E, F>(self, make: F) -> Result<Running, StartError>
    where
        E: ShardEngine,
        F: Fn(Seat) -> E + Send + Sync + 'static,
    {
        let Node { settings, listeners, sockets, cores, .. } = self;
        let map = ShardMap::new(settings.shards, random()?);
        let (answer, answers) = flume::unbounded();
        let (make, clock) = (Arc::new(make), Clock::start());
        let mut running = Running { commands: Vec::new(), answers, handles: Vec::new() };
        let endpoints = mesh::lanes(settings.shards, &settings.mesh);
        let mut ready = Vec::new();
        for (((id, sockets), core), endpoint) in (0..).zip(sockets).zip(cores).zip(endpoints) {
            let (command, commands) = flume::unbounded();
            let (tell_ready, is_ready) = flume::bounded(1);
            let seat = Seat { shard: ShardId(id), map, listeners: listeners.clone(), seed: random()? };
            let berth = Berth {
                seat,
                core,
                clock,
                sockets,
                batch: settings.udp.batch,
                endpoint,
                commands,
                answers: answer.clone(),
                ready: tell_ready,
            };
            running.handles.push(launch(berth, Arc::clone(&make))?);
            running.commands.push(command);
            ready.push(is_ready);
        }
        for (id, is_ready) in (0..).map(ShardId).zip(ready) {
            match is_ready.recv() {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => return Err(StartError::Shard(id, cause)),
                Err(_) => return Err(StartError::Shard(id, running.cause_of(id))),
            }
        }
        Ok(running)
    }
}

/// What a shard's thread takes along.
struct Berth<P: Send> {
    seat: Seat,
    core: Option<usize>,
    clock: Clock,
    sockets: Vec<Socket>,
    batch: usize,
    endpoint: Endpoint<P>,
    commands: flume::Receiver<Command>,
    answers: flume::Sender<Answer>,
    ready: flume::Sender<Result<(), String>>,
}

fn launch<E, F>(berth: Berth<E::Peer>, make: Arc<F>) -> Result<ExecutorJoinHandle<()>, StartError>
where
    E: ShardEngine,
    F: Fn(Seat) -> E + Send + Sync + 'static,
{
    let id = berth.seat.shard;
    let placement = berth.core.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{}", id.0))
        .io_memory(FILE_BUFFER_BYTES)
        .preempt_timer(LOOK_EVERY)
        .spawn(move || inhabit(berth, make))
        .map_err(|cause| StartError::Shard(id, cause.to_string()))
}

async fn inhabit<E, F>(berth: Berth<E::Peer>, make: Arc<F>)
where
    E: ShardEngine,
    F: Fn(Seat) -> E,
{
    let Berth { seat, core, clock, sockets, batch, endpoint, commands, answers, ready } = berth;
    let bell = Rc::new(Bell::default());
    let listeners = u16::try_from(sockets.len()).unwrap_or(u16::MAX);
    let mesh = Mesh::connect(endpoint, Rc::clone(&bell)).await;
    let (id, map) = (seat.shard, seat.map);
    let (engine, udp) = (make(seat), Mmsg::new(sockets, batch));
    let shard =
        Shard { id, core, map, clock, engine, udp, listeners, mesh, bell, commands, answers };
    let tell = ready.clone();
    let ended = shard.run(move || drop(tell.send(Ok(())))).await;
    if let Err(cause) = ended {
        let _ = ready.send(Err(format!("cannot wait for its sockets: {cause}")));
    }
}

/// A node whose shards run.
#[derive(Debug)]
pub struct Running {
    pub(crate) commands: Vec<flume::Sender<Command>>,
    pub(crate) answers: flume::Receiver<Answer>,
    pub(crate) handles: Vec<ExecutorJoinHandle<()>>,
}

impl Running {
    /// Why a thread ended before its shard was ready.
    fn cause_of(mut self, shard: ShardId) -> String {
        let handle = self.handles.swap_remove(usize::from(shard.0));
        match handle.join() {
            Ok(()) => "its thread ended".to_owned(),
            Err(cause) => cause.to_string(),
        }
    }
}

/// 128 bits of the system's randomness.
fn random() -> Result<(u64, u64), StartError> {
    let number = || getrandom::u64().map_err(|cause| StartError::Entropy(cause.to_string()));
    Ok((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Summary;
    use crate::settings::Listen;
    use crate::{MeshSettings, UdpSettings};
    use std::net::{SocketAddr, UdpSocket};
    use std::sync::atomic::{AtomicBool, Ordering};
    use strowger_sip::actions::Actions;
    use strowger_sip::engine::{Census, Input};
    use strowger_sip::message::scan_call_id;
    use strowger_sip::time::Instant;
    use strowger_sip::transport::Flow;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Answers each datagram with the number of its shard, or has the other shard answer ("pass").
    struct Echo {
        seat: Seat,
        stalled: Arc<AtomicBool>,
        draining: u64,
        misplaced: u64,
        alarm: Option<(Instant, Flow)>,
    }

    impl Echo {
        fn answer(&self, flow: Flow, out: &mut Actions<Flow>) {
            out.sends.send(flow, self.seat.shard.0.to_string().as_bytes());
        }
    }

    impl ShardEngine for Echo {
        type Peer = Flow;

        fn handle(&mut self, now: Instant, input: Input<'_, Flow>, out: &mut Actions<Flow>) {
            while self.stalled.load(Ordering::SeqCst) && self.seat.shard == ShardId(1) {
                std::thread::sleep(Duration::from_millis(1));
            }
            match input {
                Input::Datagram { flow, bytes } if bytes.starts_with(b"late") => {
                    self.alarm = Some((now + Duration::from_millis(20), flow));
                }
                Input::Datagram { flow, bytes } => {
                    let home = scan_call_id(bytes).map(|call_id| self.seat.map.home(call_id));
                    self.misplaced += u64::from(home.is_some_and(|home| home != self.seat.shard));
                    match bytes.starts_with(b"pass") {
                        true => out.peers.push((ShardId(1 - self.seat.shard.0), flow)),
                        false => self.answer(flow, out),
                    }
                }
                Input::Peer { message, .. } => self.answer(message, out),
                Input::Drain => self.draining += 1,
            }
        }

        fn expire(&mut self, now: Instant, out: &mut Actions<Flow>) {
            if let Some((at, flow)) = self.alarm.take_if(|(at, _)| *at <= now) {
                assert!(at <= now);
                self.answer(flow, out);
            }
        }

        fn next_deadline(&self) -> Option<Instant> {
            self.alarm.map(|(at, _)| at)
        }

        fn census(&self) -> Census {
            Census::default()
        }

        fn each_metric(&self, each: &mut dyn FnMut(&'static str, u64)) {
            each("draining", self.draining);
            each("misplaced", self.misplaced);
        }
    }

    fn start(capacity: usize) -> (Running, SocketAddr, Arc<AtomicBool>) {
        let listen = |address: &str| Listen {
            address: address.parse().expect("an address"),
            advertise: None,
        };
        let settings = NodeSettings {
            listen: vec![listen("127.0.0.1:0"), listen("[::1]:0")],
            shards: 2,
            cores: Vec::new(),
            drain_timeout: PATIENCE,
            udp: UdpSettings::default(),
            mesh: MeshSettings { capacity },
        };
        let node = Node::bind(settings).expect("bound");
        let bound = node.listeners().iter().next().expect("a listener").1.bound;
        let stalled = Arc::new(AtomicBool::new(false));
        let handle = Arc::clone(&stalled);
        let running = node.start(move |seat| Echo {
            seat,
            stalled: Arc::clone(&handle),
            draining: 0,
            misplaced: 0,
            alarm: None,
        });
        (running.expect("started"), bound, stalled)
    }

    fn peers(count: usize) -> Vec<UdpSocket> {
        let open = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            socket
        };
        (0..count).map(open).collect()
    }

    fn answer(peer: &UdpSocket) -> String {
        let mut buffer = [0; 9];
        let length = peer.recv(&mut buffer).expect("an answer");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn sum(summaries: &[Summary], of: impl Fn(&Summary) -> u64) -> u64 {
        summaries.iter().map(of).sum()
    }

    fn metric(summary: &Summary, name: &str) -> u64 {
        summary.metrics.iter().filter(|(known, _)| *known == name).map(|(_, n)| n).sum()
    }

    #[test]
    fn a_call_is_handled_by_its_home_wherever_it_comes_in() {
        let (running, to, _) = start(16);
        let peers = peers(8);
        let mut seen = std::collections::BTreeSet::new();
        for call in 0..20 {
            let datagram = format!("OPTIONS sip:x SIP/2.0\r\nCall-ID: {call}@test\r\n\r\n");
            let answers: Vec<String> = peers
                .iter()
                .map(|peer| {
                    peer.send_to(datagram.as_bytes(), to).expect("sent");
                    answer(peer)
                })
                .collect();
            assert!(answers.iter().all(|shard| *shard == answers[0]), "{answers:?}");
            seen.insert(answers[0].clone());
        }
        assert_eq!(seen.len(), 2);
        let summaries = running.stop().expect("stopped");
        assert_eq!(sum(&summaries, |s| s.counters.received), 160);
        assert_eq!(sum(&summaries, |s| s.counters.sent), 160);
        assert_eq!(sum(&summaries, |s| metric(s, "misplaced")), 0);
        let handed_over = sum(&summaries, |s| s.counters.handed_over);
        assert!(handed_over > 0);
        assert_eq!(handed_over, sum(&summaries, |s| s.counters.taken_over));
        assert_eq!(sum(&summaries, |s| s.counters.shed + s.counters.kernel_drops), 0);
    }

    #[test]
    fn engines_talk_and_timers_fire() {
        let (running, to, _) = start(16);
        for peer in peers(4) {
            for word in ["pass", "late", "pass"] {
                peer.send_to(word.as_bytes(), to).expect("sent");
                answer(&peer);
            }
        }
        let summaries = running.stop().expect("stopped");
        assert_eq!(sum(&summaries, |s| s.counters.peers_sent), 8);
        assert_eq!(sum(&summaries, |s| s.counters.peers_received), 8);
    }

    #[test]
    fn a_shard_that_stalls_costs_what_does_not_fit_and_the_other_goes_on() {
        let (running, to, stalled) = start(1);
        stalled.store(true, Ordering::SeqCst);
        let peers = peers(8);
        for call in 0..2000 {
            let datagram = format!("OPTIONS sip:x SIP/2.0\r\nCall-ID: {call}@test\r\n\r\n");
            peers.iter().for_each(|peer| drop(peer.send_to(datagram.as_bytes(), to)));
        }
        // The shard that is well answers what is its own.
        assert!(peers.iter().any(|peer| answer(peer) == "0"));
        stalled.store(false, Ordering::SeqCst);
        let summaries = running.report().expect("reported");
        let stopped = running.stop().expect("stopped");
        assert!(sum(&summaries, |s| s.counters.shed) > 0);
        assert_eq!(
            sum(&stopped, |s| s.counters.handed_over),
            sum(&stopped, |s| s.counters.taken_over),
            "what was handed over arrived"
        );
    }

    #[test]
    fn draining_reaches_every_shard_and_an_idle_node_sleeps() {
        let (running, _, _) = start(16);
        running.drain();
        let before = running.report().expect("reported");
        assert!(before.iter().all(|summary| metric(summary, "draining") == 1));
        std::thread::sleep(Duration::from_secs(1));
        let after = running.stop().expect("stopped");
        let turns = |summaries: &[Summary]| sum(summaries, |s| s.counters.turns);
        assert!(turns(&after) - turns(&before) < 20, "{after:?}");
    }
}
