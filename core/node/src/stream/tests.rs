//! Connections over loopback at a pace of the test's own: the clock is a number.
//!
//! For: what takes minutes or a full lane to happen.
//! Not here: whole nodes (`tests/tcp.rs`).

use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use strowger_sip::actions::Origin;
use strowger_sip::time::{Duration, Instant, ms, secs};
use strowger_sip::transport::{Flow, Lifespan, ListenerId, Transport};

const HOME: ListenerId = ListenerId(3);
const PATIENCE: Duration = secs(20);
const BYE: &[u8] = b"BYE sip:h SIP/2.0\r\nl: 0\r\n\r\n";
const OK: &[u8] = b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n";

/// The connections of one shard, and what they have brought.
struct Rig {
    streams: Streams,
    bound: SocketAddr,
    now: Instant,
    full: bool,
    arrived: Vec<(Flow, Vec<u8>)>,
    unsent: Vec<u64>,
}

impl Rig {
    fn new(settings: StreamSettings) -> Rig {
        let group = listen::bind_group(SocketAddr::from(([127, 0, 0, 1], 0)), 1, &settings);
        let group = group.expect("bound");
        let doors = group.sockets.into_iter().map(|socket| (HOME, socket)).collect();
        let streams = Streams::new((ShardId(1), 2), doors, settings).expect("a poll");
        let (arrived, unsent) = (Vec::new(), Vec::new());
        Rig { streams, bound: group.bound, now: Instant::START, full: false, arrived, unsent }
    }

    /// One turn, as the shard loop has it.
    fn turn(&mut self) {
        let Rig { streams, now, full, arrived, unsent, .. } = self;
        streams.wake();
        streams.turn(*now);
        // No connection comes twice in one turn if nobody floods.
        for _ in 0..8 {
            let served = streams.serve(*now, |flow, arrival| match arrival {
                Arrival::Message(_) | Arrival::Broken(..) if *full => Taken::NoRoom,
                Arrival::Message(bytes) | Arrival::Broken(bytes, _) => {
                    arrived.push((*flow, bytes.to_vec()));
                    Taken::Yes
                }
            });
            if !served {
                break;
            }
        }
        streams.flush(*now);
        while let Some(sender) = streams.next_unsent() {
            assert_eq!(sender.shard, ShardId(0));
            if let Origin::Client(id) = sender.origin {
                unsent.push(id);
            }
        }
    }

    /// Turns until something is true.
    fn until(&mut self, what: &str, is_true: impl Fn(&Rig) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !is_true(self) {
            assert!(std::time::Instant::now() < end, "never: {what}, {:?}", self.counters());
            self.turn();
            std::thread::sleep(ms(1));
        }
    }

    fn passes(&mut self, span: Duration) {
        self.now = self.now + span;
        self.turn();
    }

    /// A peer that has connected and said something, and the flow over which it did.
    fn peer(&mut self) -> (TcpStream, Flow) {
        let mut peer = TcpStream::connect(self.bound).expect("connected");
        peer.set_read_timeout(Some(PATIENCE)).expect("set");
        peer.write_all(BYE).expect("written");
        self.until("a message", |rig| !rig.arrived.is_empty());
        let (flow, bytes) = self.arrived.pop().expect("a message");
        assert_eq!((bytes.as_slice(), flow.listener, owner(named(&flow))), (BYE, HOME, ShardId(1)));
        (peer, flow)
    }

    fn send(&mut self, id: u64, flow: &Flow, bytes: &[u8]) {
        let sender = Sender { shard: ShardId(0), origin: Origin::Client(id) };
        self.streams.send(self.now, sender, flow, bytes);
    }

    fn counters(&self) -> StreamCounters {
        self.streams.counters()
    }
}

fn named(flow: &Flow) -> ConnectionId {
    flow.connection.expect("a connection")
}

fn to(remote: SocketAddr) -> Flow {
    Flow { transport: Transport::Tcp, listener: HOME, remote, connection: None }
}

fn reads(peer: &mut TcpStream, bytes: &[u8]) {
    let mut buffer = vec![0; bytes.len()];
    peer.read_exact(&mut buffer).expect("what was sent");
    assert_eq!(buffer, bytes);
}

#[test]
fn a_connections_name_leads_back_to_it() {
    for shard in [0, 1, 1023] {
        for (slot, generation) in [(0, 0), (7, 3), ((1 << SLOT_BITS) - 1, u32::MAX)] {
            let kept: Place = Id::from_u64(u64::from(generation) << 32 | slot);
            let name = name(ShardId(shard), kept);
            assert_eq!((owner(name), place(name)), (ShardId(shard), kept));
        }
    }
}

#[test]
fn an_answer_goes_back_over_its_connection() {
    let mut rig = Rig::new(StreamSettings::default());
    let (mut peer, flow) = rig.peer();
    // The address to fall back to is not looked at.
    rig.send(1, &Flow { remote: SocketAddr::from(([192, 0, 2, 1], 9)), ..flow }, OK);
    rig.turn();
    reads(&mut peer, OK);
    assert_eq!((rig.counters().sent, rig.counters().opened), (1, 0));
}

#[test]
fn a_peer_is_sent_to_over_the_connection_that_is_there() {
    let mut rig = Rig::new(StreamSettings::default());
    let (mut peer, flow) = rig.peer();
    rig.send(1, &to(flow.remote), BYE);
    rig.turn();
    reads(&mut peer, BYE);
    assert_eq!(rig.counters().opened, 0);
}

#[test]
fn a_name_of_one_that_is_gone_reaches_nobody_else() {
    let mut rig = Rig::new(StreamSettings::default());
    let (peer, old) = rig.peer();
    drop(peer);
    rig.send(1, &old, OK);
    rig.until("it is closed", |rig| rig.counters().connections == 0);
    rig.unsent.clear();
    let (mut peer, new) = rig.peer();
    assert_ne!(named(&old), named(&new));
    // The old peer cannot be connected to either.
    rig.send(2, &old, OK);
    rig.until("it is refused", |rig| rig.unsent == [2]);
    rig.send(3, &new, BYE);
    rig.turn();
    reads(&mut peer, BYE);
}

#[test]
fn what_finds_no_room_waits_and_holds_back_what_follows() {
    let mut rig = Rig::new(StreamSettings::default());
    let (mut peer, _) = rig.peer();
    rig.full = true;
    peer.write_all(&BYE.repeat(3)).expect("written");
    rig.until("it stalls", |rig| rig.counters().stalled > 0);
    assert!(!rig.streams.is_busy(), "a full lane is no reason to spin");
    rig.full = false;
    rig.until("all have come", |rig| rig.arrived.len() == 3);
}

#[test]
fn a_connection_that_is_not_answered_is_given_up() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let full = full.expect("a socket");
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    full.listen(0).expect("listening");
    let address = full.local_addr().ok().and_then(|own| own.as_socket()).expect("an address");
    // With its queue full, the kernel answers nobody.
    let _first = TcpStream::connect(address).expect("connected");
    let mut rig = Rig::new(StreamSettings::default());
    rig.send(1, &to(address), BYE);
    rig.send(2, &to(address), BYE);
    rig.passes(ms(3999));
    assert_eq!((rig.counters().opened, rig.unsent.len()), (1, 0));
    rig.passes(ms(10));
    assert_eq!(rig.unsent, [2, 1]);
    assert_eq!((rig.counters().connect_failed, rig.counters().connections), (1, 0));
}

#[test]
fn a_refused_connection_fails_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    let mut rig = Rig::new(StreamSettings::default());
    rig.send(1, &to(closed), BYE);
    rig.until("it is refused", |rig| rig.unsent == [1]);
    assert_eq!(rig.counters().connections, 0);
}

#[test]
fn a_queue_is_bounded_and_what_never_left_is_told() {
    let mut rig = Rig::new(StreamSettings::default());
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let flow = to(listener.local_addr().expect("an address"));
    // More than the kernel's buffers of both sides take.
    let (message, mut id) = (vec![b'x'; 50_000], 0);
    while rig.unsent.is_empty() {
        id += 1;
        rig.send(id, &flow, &message);
        rig.turn();
        assert!(id < 1000, "nothing is bounded");
    }
    assert_eq!(rig.unsent, [id]);
    rig.unsent.clear();
    assert_eq!(rig.counters().connections, 1);
    rig.passes(secs(11));
    assert_eq!((rig.counters().blocked, rig.counters().connections), (1, 0));
    // Those in the queue, and those that the peer's kernel has and the peer never looked at.
    rig.unsent.sort_unstable();
    assert_eq!(rig.unsent, (1..id).collect::<Vec<u64>>());
}

#[test]
fn a_message_lost_with_its_connection_goes_where_else_it_may() {
    let mut rig = Rig::new(StreamSettings::default());
    let (peer, flow) = rig.peer();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    drop(peer);
    // Whether the peer has ended both sides or one shows only after writing.
    let is_usable = |rig: &Rig| rig.streams.table.iter().any(|(_, one)| one.is_usable());
    rig.until("its end is seen", |rig| !is_usable(rig));
    let otherwise = listener.local_addr().expect("an address");
    rig.send(1, &Flow { remote: otherwise, ..flow }, OK);
    rig.until("it is opened", |rig| rig.counters().opened == 1);
    rig.until("it is sent", |rig| rig.counters().sent == 2);
    let (mut back, _) = listener.accept().expect("accepted");
    reads(&mut back, OK);
    assert!(rig.unsent.is_empty());
}

#[test]
fn who_says_nothing_for_long_is_closed() {
    let mut rig = Rig::new(StreamSettings::default());
    let (mut talker, _) = rig.peer();
    let mut mute = TcpStream::connect(rig.bound).expect("connected");
    mute.set_read_timeout(Some(PATIENCE)).expect("set");
    rig.until("both are there", |rig| rig.counters().connections == 2);
    rig.passes(secs(19));
    assert_eq!(rig.counters().connections, 2);
    rig.passes(secs(2));
    assert_eq!((rig.counters().connections, rig.counters().slow), (1, 1));
    assert_eq!(mute.read(&mut [0]).expect("the end"), 0);
    talker.write_all(b"\r\n\r\n").expect("written");
    rig.until("it is answered", |rig| rig.counters().sent > 0);
    rig.passes(secs(119));
    assert_eq!(rig.counters().connections, 1);
    rig.passes(secs(2));
    assert_eq!((rig.counters().connections, rig.counters().idle), (0, 1));
    reads(&mut talker, b"\r\n");
}

#[test]
fn a_connection_that_somebody_wants_may_be_idle() {
    let mut rig = Rig::new(StreamSettings::default());
    let (_kept, flow) = rig.peer();
    let (_other, _) = rig.peer();
    let until = |seconds| Lifespan::Until(Instant::START + secs(seconds));
    rig.streams.set_lifespan(rig.now, named(&flow), until(600));
    rig.streams.set_lifespan(rig.now, named(&flow), until(10));
    rig.passes(secs(121));
    assert_eq!((rig.counters().connections, rig.counters().idle), (1, 1));
    rig.passes(secs(478));
    assert_eq!(rig.counters().connections, 1);
    rig.passes(secs(2));
    assert_eq!((rig.counters().connections, rig.counters().idle), (0, 2));
    // Nobody keeps one that is gone, nor any for ever.
    rig.streams.set_lifespan(rig.now, named(&flow), until(10_000));
    let (_late, flow) = rig.peer();
    rig.streams.set_lifespan(rig.now, named(&flow), until(10_000_000));
    rig.passes(secs(86_399));
    assert_eq!(rig.counters().connections, 1);
    rig.passes(secs(2));
    assert_eq!(rig.counters().connections, 0);
}

#[test]
fn a_connection_that_is_over_says_its_last_words() {
    let mut rig = Rig::new(StreamSettings::default());
    let (mut peer, flow) = rig.peer();
    rig.send(1, &flow, OK);
    rig.streams.set_lifespan(rig.now, named(&flow), Lifespan::Over);
    rig.until("it is sent", |rig| rig.counters().sent == 1);
    reads(&mut peer, OK);
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
    drop(peer);
    rig.until("it has gone", |rig| rig.counters().connections == 0);
    assert_eq!(rig.streams.next_closed(), flow.connection);
}

#[test]
fn a_begun_message_has_its_time_whatever_trickles_in() {
    let mut rig = Rig::new(StreamSettings::default());
    let (mut peer, _) = rig.peer();
    for octet in b"BYE sip:h SIP/2.0\r\n" {
        peer.write_all(&[*octet]).expect("written");
        std::thread::sleep(ms(2));
        rig.passes(secs(1));
    }
    assert_eq!(rig.counters().connections, 1);
    rig.passes(secs(2));
    assert_eq!((rig.counters().connections, rig.counters().slow), (0, 1));
}

#[test]
fn the_table_and_each_source_are_bounded() {
    let settings = StreamSettings { connections_max: 6, source_max: 2, ..Default::default() };
    let mut rig = Rig::new(settings);
    let peers: Vec<TcpStream> =
        (0..5).map(|_| TcpStream::connect(rig.bound).expect("connected")).collect();
    rig.until("all were met", |rig| rig.counters().accepted + rig.counters().refused == 5);
    assert_eq!((rig.counters().connections, rig.counters().refused), (2, 3));
    drop(peers);
    rig.until("all have gone", |rig| rig.counters().connections == 0);
    let (_peer, _) = rig.peer();
}
