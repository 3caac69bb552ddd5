//! Names instead of addresses, through the real binary and a name server on loopback (RFC 3263).
//!
//! For: NAPTR, SRV and addresses end to end, failover, negative answers, name servers that are
//! slow.
//! Not here: each rule of the procedure (`core/node/src/resolve/procedure.rs`), what a shard does
//! while it waits (`flows/name-*.flow`).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::Proxy;

#[path = "dns/zone.rs"]
mod zone;

use zone::NameServer;

const HOPS: &str = "Max-Forwards: 70\r\n";
/// Shorter than RFC 3261's, so that a dead target is given up after a second.
const SHORT_TIMERS: &str = "[tm]\nretr_timer1 = 100\nfr_timer = 1000\nwt_timer = 1000\n";

/// A proxy that asks this name server and nobody else.
struct Rig {
    proxy: Proxy,
    servers: NameServer,
    _folder: Folder,
}

fn rig(zone: &str) -> Rig {
    let servers = NameServer::start(zone);
    let folder = Folder::new("dns");
    let nameserver = servers.address();
    // A held answer is slow, not lost: it must not be given up while the test is busy.
    let text = format!(
        "{SHORT_TIMERS}[dns]\nnameservers = [\"{nameserver}\"]\n\
         dns_retr_time = 20\ndns_retr_no = 0\n"
    );
    let file = folder.write("strowger.toml", &text);
    let proxy = Proxy::start(&["-f", file.to_str().expect("a path in ASCII")]);
    Rig { proxy, servers, _folder: folder }
}

impl Rig {
    /// The status with which a request to this URI ends.
    fn ask(&self, method: &str, uri: &str) -> Option<u16> {
        let mut peer = Peer::new(self.proxy.address());
        let request = peer.request(method, uri, HOPS);
        let response = peer.ask(&request, PATIENCE);
        datagram::status(&response)
    }
}

/// A user agent that answers 200 to every request but ACK, until it is dropped.
struct Callee {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _alive: mpsc::Sender<()>,
}

impl Callee {
    fn start() -> Callee {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a positive time-out");
        let address = socket.local_addr().expect("a bound socket has an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, (_alive, alive)) = (Arc::clone(&requests), mpsc::channel::<()>());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while alive.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let request = String::from_utf8_lossy(&buffer[..length]);
                if !request.starts_with("ACK ") {
                    count.fetch_add(1, Ordering::SeqCst);
                    socket.send_to(answer(&request).as_bytes(), from).expect("sent");
                }
            }
        });
        Callee { address, requests, _alive }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(request: &str) -> String {
    let mut response = "SIP/2.0 200 OK\r\n".to_owned();
    for line in request.lines().skip(1).take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"].contains(&name) {
            let tag = if name == "To" { ";tag=callee" } else { "" };
            response += &format!("{line}{tag}\r\n");
        }
    }
    response + "Contact: <sip:callee@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"
}

#[test]
fn a_call_goes_on_to_the_second_srv_target_when_the_first_is_dead() {
    let (callee, dead) = (Callee::start(), ports::free());
    let port = callee.port();
    let mut rig = rig(&format!(
        "_sip._udp.example.test. SRV 10 50 {dead} dead.example.test.\n\
         _sip._udp.example.test. SRV 20 50 {port} alive.example.test.\n\
         dead.example.test. A 127.0.0.1\nalive.example.test. A 127.0.0.1"
    ));
    assert_eq!(rig.ask("INVITE", "sip:bob@example.test"), Some(200));
    assert_eq!(rig.ask("OPTIONS", "sip:bob@example.test"), Some(200));
    assert!(callee.requests() >= 2);
    let summary = rig.proxy.summary();
    assert_eq!(summary.counted("failovers"), 2);
    // The second shard that asks finds what the first has learned.
    assert_eq!(rig.servers.count("SRV _sip._udp.example.test."), 1);
}

#[test]
fn naptr_and_aliases_are_followed() {
    let callee = Callee::start();
    let port = callee.port();
    let rig = rig(&format!(
        "naptr.test. NAPTR 10 10 \"s\" \"SIP+D2T\" \"\" _sip._tcp.naptr.test.\n\
         naptr.test. NAPTR 20 10 \"s\" \"SIP+D2U\" \"\" elsewhere.test.\n\
         elsewhere.test. SRV 0 0 {port} alias.test.\n\
         alias.test. CNAME host.test.\n\
         _sip._udp.moved.test. CNAME elsewhere.test.\n\
         host.test. A 127.0.0.1"
    ));
    assert_eq!(rig.ask("OPTIONS", "sip:bob@naptr.test"), Some(200));
    assert_eq!(rig.servers.count("SRV _sip._tcp.naptr.test."), 0, "no listener has TCP");
    assert_eq!(rig.ask("OPTIONS", "sip:bob@moved.test"), Some(200), "{:?}", rig.servers.asked());
    // A port means an address, whatever else there is.
    assert_eq!(rig.ask("OPTIONS", &format!("sip:bob@host.test:{port}")), Some(200));
    assert_eq!(rig.servers.count("SRV _sip._udp.host.test."), 0);
    assert_eq!(callee.requests(), 3);
}

#[test]
fn targets_of_one_priority_share_the_load() {
    let callees = [(); 3].map(|()| Callee::start());
    let [one, two, spare] = callees.each_ref().map(Callee::port);
    let rig = rig(&format!(
        "_sip._udp.shared.test. SRV 1 10 {one} host.test.\n\
         _sip._udp.shared.test. SRV 1 10 {two} host.test.\n\
         _sip._udp.shared.test. SRV 2 90 {spare} host.test.\n\
         host.test. A 127.0.0.1"
    ));
    // One of two equal targets gets none of 40 requests once in 10^12 runs.
    for _ in 0..40 {
        assert_eq!(rig.ask("OPTIONS", "sip:bob@shared.test"), Some(200));
    }
    let counts = callees.each_ref().map(Callee::requests);
    assert!(counts[0] > 0 && counts[1] > 0 && counts[2] == 0, "{counts:?}");
}

#[test]
fn names_without_an_address_are_not_found_and_failures_are_unavailable() {
    let rig = rig("no-address.test. TXT nothing\n\
                   _sip._udp.refused.test. SRV 0 0 0 .\nrefused.test. A 127.0.0.1\n\
                   broken.test. broken\n_sip._udp.broken.test. broken\n\
                   six.test. AAAA ::1");
    // Only IPv4 has a listener here.
    for name in ["unknown.test", "no-address.test", "refused.test", "six.test"] {
        assert_eq!(rig.ask("OPTIONS", &format!("sip:bob@{name}")), Some(404), "{name}");
    }
    assert_eq!(rig.servers.count("AAAA six.test."), 0);
    assert_eq!(rig.ask("OPTIONS", "sip:bob@broken.test"), Some(503));
    assert_eq!(rig.ask("OPTIONS", "sip:bob@unknown.test;transport=tcp"), Some(503));
    for _ in 0..8 {
        assert_eq!(rig.ask("INVITE", "sip:bob@unknown.test"), Some(404));
    }
    // Once for each shard: without an SOA record the resolver does not remember it for both.
    let asked = rig.servers.count("A unknown.test.");
    assert!(asked <= 2, "what does not exist is remembered: {asked}");
}

#[test]
fn a_slow_name_server_delays_nobody_else() {
    let callee = Callee::start();
    let port = callee.port();
    let mut rig = rig(&format!(
        "slow.test. held\nhost.slow.test. A 127.0.0.1\nfast.test. A 127.0.0.1\n\
         _sip._udp.host.slow.test. SRV 0 0 {port} host.slow.test."
    ));
    let mut slow = Peer::new(rig.proxy.address());
    let held = slow.request("INVITE", "sip:bob@host.slow.test", HOPS);
    slow.send(held.as_bytes());
    rig.servers.wait_for("NAPTR host.slow.test.");
    // Sixteen requests are at home on one shard of two once in 32,768 runs.
    for _ in 0..16 {
        assert_eq!(rig.ask("OPTIONS", &format!("sip:bob@fast.test:{port}")), Some(200));
    }
    while let Some(response) = slow.receive(Instant::now() + Duration::from_millis(1)) {
        assert_eq!(datagram::status(&response), Some(100), "{response}");
    }
    rig.servers.release();
    assert_eq!(datagram::status(&slow.ask(&held, PATIENCE)), Some(200));
    assert_eq!(rig.proxy.summary().counted("names_failed"), 0);
}

#[test]
fn a_flood_of_names_that_nobody_answers_is_refused_and_the_node_goes_on() {
    let callee = Callee::start();
    let port = callee.port();
    let mut rig = rig("slow.test. held\nfast.test. A 127.0.0.1");
    let known = format!("sip:bob@fast.test:{port}");
    // Each shard has to learn it: sixteen requests are all at home on one of two once in 32,768
    // runs.
    for _ in 0..16 {
        assert_eq!(rig.ask("OPTIONS", &known), Some(200));
    }
    let mut peer = Peer::new(rig.proxy.address());
    for n in 0..4_000 {
        let request = peer.request("OPTIONS", &format!("sip:bob@n{n}.slow.test"), HOPS);
        peer.send(request.as_bytes());
        if n % 100 == 0 {
            // The sockets' buffers hold few datagrams.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert_eq!(rig.ask("OPTIONS", &known), Some(200));
    let summary = rig.proxy.summary();
    assert!(summary.counted("names_refused") > 0, "{summary:?}");
    assert!(summary.counted("names_asked") >= 1_024, "{summary:?}");
    let refused = peer.receive(Instant::now() + PATIENCE).expect("an answer");
    assert_eq!(datagram::status(&refused), Some(503), "{refused}");
    rig.servers.release();
    // Once the backlog has gone, names are asked for again.
    let end = Instant::now() + PATIENCE;
    let fresh = |rig: &Rig| format!("sip:bob@other{}.test", rig.servers.asked().len());
    while rig.ask("OPTIONS", &fresh(&rig)) != Some(404) {
        assert!(Instant::now() < end, "still refused: {:?}", rig.proxy.summary());
    }
}
