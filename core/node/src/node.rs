//! A node: sockets bound, shards started, each on its core with its engine.
//!
//! For: going from settings to running shards, or to one clear reason why not.
//! Not here: signals and stopping (`control.rs`), the loop of a shard (`shard.rs`).
//! Invariants: nothing is started before everything is bound.

use crate::clock::Clock;
use crate::command::{Answer, Command};
use crate::cores;
use crate::doorbell::{self, Chime, Doorbell};
use crate::engine::ShardEngine;
use crate::kernel::{self, KernelRefusal};
use crate::lists::{self, ListFaults, Lists};
use crate::mesh::{self, Mesh};
use crate::reload::{Reload, Renewal};
use crate::resolve::{self, Asker, Resolver};
use crate::settings::NodeSettings;
use crate::shard::Shard;
use crate::storage::{self, Outlet, Ring, Storage, StorageError, StorageSettings};
use crate::stream::{StreamSettings, Streams, listen};
use crate::udp::mmsg::Mmsg;
use crate::udp::socket::{self, BindError};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use socket2::Socket;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use strowger_sip::module::Notes;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::storage::Rows;
use strowger_sip::transport::{Listener, ListenerId, Listeners, Transport};

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
    /// No socket for waking a shard.
    Doorbell(io::Error),
    /// Names cannot be looked up, whoever could be asked.
    Resolver(String),
    /// Storage cannot be used.
    Storage(StorageError),
    /// A list cannot be used.
    Lists(ListFaults),
    /// A shard's thread did not get going.
    Shard(ShardId, String),
}

impl StartError {
    /// Whether it is for the operator to mend, as a bad configuration is.
    pub const fn is_configuration(&self) -> bool {
        match self {
            StartError::Storage(error) => error.is_configuration(),
            StartError::Lists(_) => true,
            StartError::Kernel(_)
            | StartError::Bind(_)
            | StartError::Entropy(_)
            | StartError::Doorbell(_)
            | StartError::Resolver(_)
            | StartError::Shard(..) => false,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Kernel(refusal) => refusal.fmt(f),
            StartError::Bind(error) => error.fmt(f),
            StartError::Entropy(cause) => write!(f, "no random seed from the system: {cause}"),
            StartError::Doorbell(cause) => write!(f, "cannot make a pair of sockets: {cause}"),
            StartError::Resolver(cause) => write!(f, "cannot look names up: {cause}"),
            StartError::Storage(error) => error.fmt(f),
            StartError::Lists(faults) => faults.fmt(f),
            StartError::Shard(shard, cause) => {
                write!(f, "shard {} did not start: {cause}", shard.0)
            }
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
    // By shard.
    sockets: Vec<Sockets>,
    cores: Vec<Option<usize>>,
    resolver: Resolver,
    notices: Vec<String>,
}

/// The listening sockets of one shard.
#[derive(Debug, Default)]
struct Sockets {
    udp: Vec<(ListenerId, Socket)>,
    tcp: Vec<(ListenerId, Socket)>,
}

impl Node {
    /// Asks the kernel for everything a node needs.
    pub fn bind(settings: NodeSettings) -> Result<Node, StartError> {
        kernel::check().map_err(StartError::Kernel)?;
        let shards = usize::from(settings.shards);
        let mut sockets: Vec<Sockets> = (0..shards).map(|_| Sockets::default()).collect();
        let mut listeners = Vec::new();
        let mut notices = Vec::new();
        for (listen, id) in settings.listen.iter().zip((0..).map(ListenerId)) {
            let transport = listen.transport;
            let bound = if transport == Transport::Tcp {
                let group = listen::bind_group(listen.address, shards, &settings.tcp)
                    .map_err(StartError::Bind)?;
                let each = sockets.iter_mut().zip(group.sockets);
                each.for_each(|(shard, socket)| shard.tcp.push((id, socket)));
                group.bound
            } else {
                let group = socket::bind_group(listen.address, shards, &settings.udp)
                    .map_err(StartError::Bind)?;
                notices.extend(group.notices);
                let each = sockets.iter_mut().zip(group.sockets);
                each.for_each(|(shard, socket)| shard.udp.push((id, socket)));
                group.bound
            };
            listeners.push(Listener { transport, bound, advertised: listen.advertised(bound) });
        }
        if settings.listen.iter().any(|listen| listen.transport == Transport::Tcp) {
            notices.extend(kernel::raise_descriptors(settings.tcp.connections_max));
        }
        let seating = cores::seat(shards, &settings.cores, cores::allowed().as_deref());
        notices.extend(seating.notices);
        let listeners = Listeners::new(listeners);
        let (resolver, notice) =
            Resolver::new(&settings.dns, &listeners).map_err(StartError::Resolver)?;
        notices.extend(notice);
        Ok(Node { settings, listeners, sockets, cores: seating.cores, resolver, notices })
    }

    /// Where the node listens, ports filled in.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// What the operator should know: small buffers, missing cores, no name servers.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Starts every shard; `make` builds each engine on the thread it stays on.
    pub fn start<E, F>(self, make: F) -> Result<Running, StartError>
    where
        E: ShardEngine,
        F: Fn(Seat) -> E + Send + Sync + 'static,
    {
        self.start_with(Lists::default(), make)
    }

    /// The same with lists, which every shard has before it answers anybody.
    pub fn start_with<E, F>(self, lists: Lists, make: F) -> Result<Running, StartError>
    where
        E: ShardEngine,
        F: Fn(Seat) -> E + Send + Sync + 'static,
    {
        let Node { settings, listeners, sockets, cores, resolver, .. } = self;
        let map = ShardMap::new(settings.shards, random()?);
        let (answer, answers) = mpsc::channel();
        let (make, clock) = (Arc::new(make), Clock::start());
        let mut running = Running {
            desks: Vec::new(),
            answers,
            handles: Vec::new(),
            storage: None,
            lists: None,
            notes: Arc::new(E::notes()),
            reload: None,
            listeners: listeners.clone(),
        };
        let doors: Vec<(Doorbell, Chime)> = (0..settings.shards)
            .map(|_| doorbell::pair())
            .collect::<io::Result<_>>()
            .map_err(StartError::Doorbell)?;
        let (bells, chimes): (Vec<Arc<Doorbell>>, Vec<Chime>) =
            doors.into_iter().map(|(bell, chime)| (Arc::new(bell), chime)).unzip();
        let meshes = mesh::lanes(&bells, &settings.mesh);
        let askers = resolve::start(resolver, &bells)
            .map_err(|cause| StartError::Resolver(cause.to_string()))?;
        let (storage, outlets) = open(settings.storage.as_ref(), &bells)?;
        running.storage = storage;
        let (reader, shelves) = lists::start(lists, settings.storage.clone(), rings(&bells))
            .map_err(StartError::Lists)?;
        running.lists = Some(reader);
        let outlets: Vec<Outlet<E::Row>> =
            outlets.into_iter().zip(shelves).map(|(way, shelf)| way.with_lists(shelf)).collect();
        let mut ready = Vec::new();
        let parts = sockets.into_iter().zip(cores).zip(meshes).zip(bells).zip(chimes);
        let parts = parts.zip(askers).zip(outlets);
        for (id, ((((((sockets, core), mesh), doorbell), chime), names), storage)) in
            (0..).map(ShardId).zip(parts)
        {
            let (command, commands) = mpsc::channel();
            let (tell_ready, is_ready) = mpsc::channel();
            running.desks.push(Desk::new(command, Arc::clone(&doorbell)));
            let berth = Berth {
                seat: Seat { shard: id, map, listeners: listeners.clone(), seed: random()? },
                core,
                clock,
                sockets,
                batch: settings.udp.batch,
                tcp: settings.tcp,
                mesh,
                commands,
                doorbell,
                chime,
                names,
                storage,
                answers: answer.clone(),
                ready: tell_ready,
            };
            running.handles.push(launch(berth, Arc::clone(&make))?);
            ready.push((id, is_ready));
        }
        running.await_ready(ready)
    }
}

/// Starts storage, if there is to be any; an outlet for each shard.
fn open<W: Rows>(
    settings: Option<&StorageSettings>,
    bells: &[Arc<Doorbell>],
) -> Result<(Option<Storage>, Vec<Outlet<W>>), StartError> {
    let Some(settings) = settings else {
        return Ok((None, bells.iter().map(|_| Outlet::nowhere()).collect()));
    };
    let started = storage::start(settings, rings(bells));
    started.map(|(storage, outlets)| (Some(storage), outlets)).map_err(StartError::Storage)
}

/// What wakes each shard.
fn rings(bells: &[Arc<Doorbell>]) -> Vec<Ring> {
    let ring = |bell: &Arc<Doorbell>| {
        let bell = Arc::clone(bell);
        Arc::new(move || bell.ring()) as Ring
    };
    bells.iter().map(ring).collect()
}

/// What a shard's thread takes along.
struct Berth<P, W> {
    seat: Seat,
    core: Option<usize>,
    clock: Clock,
    sockets: Sockets,
    batch: usize,
    tcp: StreamSettings,
    mesh: Mesh<P>,
    commands: mpsc::Receiver<Command>,
    doorbell: Arc<Doorbell>,
    chime: Chime,
    names: Asker,
    storage: Outlet<W>,
    answers: mpsc::Sender<Answer>,
    ready: mpsc::Sender<Result<(), String>>,
}

fn launch<E, F>(
    berth: Berth<E::Peer, E::Row>,
    make: Arc<F>,
) -> Result<ExecutorJoinHandle<()>, StartError>
where
    E: ShardEngine,
    F: Fn(Seat) -> E + Send + Sync + 'static,
{
    let id = berth.seat.shard;
    let placement = berth.core.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{}", id.0))
        .io_memory(FILE_BUFFER_BYTES)
        .spawn(move || inhabit(berth, make))
        .map_err(|cause| StartError::Shard(id, cause.to_string()))
}

async fn inhabit<E, F>(berth: Berth<E::Peer, E::Row>, make: Arc<F>)
where
    E: ShardEngine,
    F: Fn(Seat) -> E + 'static,
{
    let Berth { seat, core, clock, sockets, batch, tcp, mesh, commands, doorbell, .. } = berth;
    let Berth { chime, names, storage, answers, ready, .. } = berth;
    let listeners = sockets.udp.iter().map(|(listener, _)| *listener).collect();
    let (id, map) = (seat.shard, seat.map);
    let doors = Some(sockets.tcp).filter(|doors| !doors.is_empty());
    let streams = doors.map(|doors| Streams::new((id, map.count()), doors, tcp)).transpose();
    let streams = match streams {
        Ok(streams) => streams,
        Err(cause) => {
            let _ = ready.send(Err(format!("cannot watch its connections: {cause}")));
            return;
        }
    };
    let local = seat.listeners.iter().map(|(_, listener)| listener.bound).collect();
    let again = Box::new({
        let (make, seat) = (Arc::clone(&make), seat.clone());
        move || make(seat.clone())
    });
    let (engine, udp) = (make(seat), Mmsg::new(sockets.udp, batch));
    let mut shard = Shard {
        id,
        core,
        map,
        clock,
        engine,
        udp,
        listeners,
        streams,
        mesh,
        commands,
        doorbell,
        chime,
        names,
        storage,
        answers,
        local,
        again,
    };
    let out = match shard.storage.load(&clock, &mut shard.engine) {
        Ok(out) => out,
        Err(cause) => return drop(ready.send(Err(cause))),
    };
    let tell = ready.clone();
    let ended = shard.run(out, move || drop(tell.send(Ok(())))).await;
    if let Err(cause) = ended {
        let _ = ready.send(Err(format!("cannot wait for its sockets: {cause}")));
    }
}

/// A node whose shards run.
#[derive(Debug)]
pub struct Running {
    pub(crate) desks: Vec<Desk>,
    pub(crate) answers: mpsc::Receiver<Answer>,
    pub(crate) handles: Vec<ExecutorJoinHandle<()>>,
    pub(crate) storage: Option<Storage>,
    pub(crate) lists: Option<lists::Reader>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) reload: Option<Arc<Reload>>,
    pub(crate) listeners: Listeners,
}

/// Where commands for one shard are put.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    command: mpsc::Sender<Command>,
    doorbell: Arc<Doorbell>,
}

impl Desk {
    pub(crate) fn new(command: mpsc::Sender<Command>, doorbell: Arc<Doorbell>) -> Desk {
        Desk { command, doorbell }
    }

    /// Gives the shard a command.
    pub(crate) fn tell(&self, command: Command) {
        // A shard that is gone shows when its answer is missing.
        let _ = self.command.send(command);
        self.doorbell.ring();
    }
}

impl Running {
    /// Says how the node comes by a new configuration.
    pub fn renew_by(&mut self, renewal: Renewal) {
        let reload = Reload::new(renewal, self.desks.clone(), self.lists.clone());
        self.reload = Some(Arc::new(reload));
    }

    /// Waits until every shard listens.
    fn await_ready(
        self,
        ready: Vec<(ShardId, mpsc::Receiver<Result<(), String>>)>,
    ) -> Result<Running, StartError> {
        for (id, is_ready) in ready {
            match is_ready.recv() {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => return Err(StartError::Shard(id, cause)),
                Err(_) => return Err(StartError::Shard(id, self.cause_of(id))),
            }
        }
        Ok(self)
    }

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
    use crate::log::LogSettings;
    use crate::settings::Listen;
    use crate::{DnsSettings, MeshSettings, UdpSettings};
    use std::net::{SocketAddr, UdpSocket};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
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
        fn answer(&self, flow: Flow, out: &mut Actions<Flow, ()>) {
            out.sends.send(flow, self.seat.shard.0.to_string().as_bytes());
        }
    }

    impl ShardEngine for Echo {
        type Peer = Flow;
        type Row = ();

        fn handle(
            &mut self,
            now: Instant,
            input: Input<'_, Flow, ()>,
            out: &mut Actions<Flow, ()>,
        ) {
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
                Input::Row(())
                | Input::Unsent(_)
                | Input::Closed(_)
                | Input::Resolved(_, _)
                | Input::Waited(_)
                | Input::Broken { .. }
                | Input::Stop => {}
                Input::Drain => self.draining += 1,
            }
        }

        fn expire(&mut self, now: Instant, out: &mut Actions<Flow, ()>) {
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
            transport: Transport::Udp,
            address: address.parse().expect("an address"),
            advertise: None,
        };
        let settings = NodeSettings {
            secret: None,
            secret_file: None,
            listen: vec![listen("127.0.0.1:0"), listen("[::1]:0")],
            shards: 2,
            cores: Vec::new(),
            mhomed: false,
            drain_timeout: PATIENCE,
            udp: UdpSettings::default(),
            udp_mtu: None,
            tcp: StreamSettings::default(),
            dns: DnsSettings::default(),
            control: None,
            log: LogSettings::default(),
            storage: None,
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
        let until = std::time::Instant::now() + PATIENCE;
        peers.iter().for_each(|peer| peer.set_nonblocking(true).expect("set"));
        while !peers.iter().any(|peer| peer.recv(&mut [0]).is_ok()) {
            assert!(std::time::Instant::now() < until, "no answer");
        }
        stalled.store(false, Ordering::SeqCst);
        // Whatever was not shed arrives.
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let summaries = running.report().expect("reported");
            let handed_over = sum(&summaries, |s| s.counters.handed_over);
            if handed_over > 0 && handed_over == sum(&summaries, |s| s.counters.taken_over) {
                assert!(sum(&summaries, |s| s.counters.shed) > 0);
                break;
            }
            assert!(std::time::Instant::now() < until, "{summaries:?}");
        }
        running.stop().expect("stopped");
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
        assert!(turns(&after) - turns(&before) < 60, "{after:?}");
    }
}
