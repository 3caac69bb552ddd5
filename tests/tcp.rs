//! TCP peers, honest and hostile, through the real binary with two shards.
//!
//! For: streams cut anywhere, streams that break, peers that come and go, stall or flood; the
//! process stays up, others are served, memory stays bounded; connections used again, lost and
//! replaced.
//! Not here: calls (`sipp.rs`), what each malformed message is worth in detail (`core/sip`).

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::Proxy;
use strowger_tests::stream::Connection;

const HOPS: &str = "Max-Forwards: 70\r\n";
/// What a hostile peer may cost: the largest message, a write queue and buffers, many times over.
const MEMORY_BYTES_MAX: u64 = 100 << 20;

/// A proxy with a UDP and a TCP listener, and where the latter is.
fn proxy(arguments: &[&str]) -> (Proxy, SocketAddr) {
    let mut proxy = Proxy::start(&[&["--listen", "tcp:127.0.0.1:0"], arguments].concat());
    let address = proxy.address_of("tcp", "127.0.0.1");
    (proxy, address)
}

/// The same with a configuration file; the folder keeps it.
fn configured(text: &str) -> (Proxy, SocketAddr, Folder) {
    let folder = Folder::new("tcp");
    let file = folder.path().join("strowger.toml");
    std::fs::write(&file, text).expect("a file in an own folder");
    let (proxy, address) = proxy(&["--file", file.to_str().expect("a path in plain letters")]);
    (proxy, address, folder)
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn uri(address: SocketAddr) -> String {
    format!("sip:{address};transport=tcp")
}

/// Both shards still answer, over both transports: sixteen Call-IDs all hash to one of two once in
/// 32,768 runs.
fn still_answers(proxy: &mut Proxy, tcp: SocketAddr) {
    let mut peer = Peer::new(proxy.address());
    let mut connection = Connection::open(tcp);
    for _ in 0..16 {
        let options = peer.request("OPTIONS", &format!("sip:{}", proxy.address()), HOPS);
        assert_eq!(datagram::status(&peer.ask(&options, PATIENCE)), Some(200));
        let options = connection.request("OPTIONS", &uri(tcp), HOPS);
        connection.send(options.as_bytes());
        assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
    }
    assert!(proxy.process().is_running());
}

/// Waits until a sum over the shards is what it should be.
fn comes_true(proxy: &mut Proxy, what: &str, is_true: impl Fn(u64) -> bool) {
    let end = soon();
    loop {
        let value = proxy.summary().total(what);
        if is_true(value) {
            return;
        }
        assert!(Instant::now() < end, "{what}={value}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the proxy has in memory, as the kernel counts it.
fn memory(proxy: &mut Proxy) -> u64 {
    let file = format!("/proc/{}/status", proxy.process().pid());
    let status = std::fs::read_to_string(file).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    kilobytes.expect("a number") * 1024
}

#[test]
fn a_request_arrives_octet_by_octet_and_cut_anywhere() {
    let (mut proxy, tcp) = proxy(&[]);
    let mut connection = Connection::open(tcp);
    let request = connection.request("OPTIONS", &uri(tcp), HOPS);
    request.as_bytes().iter().for_each(|octet| connection.send(&[*octet]));
    assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
    for cut in 1..request.len() {
        let request = connection.request("OPTIONS", &uri(tcp), HOPS);
        let (before, after) = request.split_at(cut);
        connection.send(before.as_bytes());
        // The two halves would often be read as one: a moment for the proxy to read the first.
        std::thread::sleep(Duration::from_micros(500));
        connection.send(after.as_bytes());
        let answer = connection.answer(soon());
        assert_eq!(datagram::status(&answer), Some(200), "cut at {cut}: {answer}");
        assert_eq!(datagram::header(&answer, "Call-ID"), datagram::header(&request, "Call-ID"));
    }
    assert_eq!(proxy.summary().total("tcp_accepted"), 1);
}

#[test]
fn a_hundred_requests_in_one_write_are_all_answered() {
    let (mut proxy, tcp) = proxy(&[]);
    let mut connection = Connection::open(tcp);
    let all: Vec<String> =
        (0..100).map(|_| connection.request("OPTIONS", &uri(tcp), HOPS)).collect();
    connection.send(all.concat().as_bytes());
    let mut answered: Vec<String> = (0..100)
        .map(|_| {
            let answer = connection.answer(soon());
            assert_eq!(datagram::status(&answer), Some(200), "{answer}");
            datagram::header(&answer, "Call-ID").expect("a Call-ID").to_owned()
        })
        .collect();
    answered.sort();
    answered.dedup();
    assert_eq!(answered.len(), 100);
    still_answers(&mut proxy, tcp);
}

#[test]
fn keep_alives_are_answered_and_blank_lines_skipped() {
    let (_proxy, tcp) = proxy(&[]);
    let mut connection = Connection::open(tcp);
    connection.send(b"\r\n\r\n");
    connection.expect(b"\r\n", soon());
    let request = connection.request("OPTIONS", &uri(tcp), HOPS);
    connection.send(format!("\r\n{request}\r\n\r\n\r\n").as_bytes());
    // A ping is answered where it is read, a request by its home: in any order.
    assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
}

#[test]
fn a_broken_stream_gets_its_answer_and_is_closed() {
    let (mut proxy, tcp) = proxy(&[]);
    let cut = |request: String, by: &str| request.replace("Content-Length: 0\r\n", by);
    let cases: [(u16, &str); 5] = [
        (400, ""),
        (400, "Content-Length: 0\r\nContent-Length: 0\r\n"),
        (400, "Content-Length: -1\r\n"),
        (400, "Content-Length: 99999999999999999999\r\n"),
        (513, "Content-Length: 100000000\r\n"),
    ];
    for (status, by) in cases {
        let mut connection = Connection::open(tcp);
        let request = cut(connection.request("MESSAGE", "sip:callee@example.net", HOPS), by);
        connection.send(request.as_bytes());
        let answer = connection.answer(soon());
        assert_eq!(datagram::status(&answer), Some(status), "{by}: {answer}");
        connection.expect_end(soon());
    }
    // A header without end: as much as a head may have, then some.
    let mut connection = Connection::open(tcp);
    let request = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
    connection.send(request.trim_end().as_bytes());
    connection.send_if_taken("\r\nX-Fill: yyyyyyyyyyyyyyyy".repeat(4_000).as_bytes(), PATIENCE);
    let answer = connection.answer(soon());
    assert_eq!(datagram::status(&answer), Some(513), "{answer}");
    connection.expect_end(soon());
    assert_eq!(proxy.summary().total("tcp_broken"), 6);
    still_answers(&mut proxy, tcp);
}

#[test]
fn what_is_no_sip_gets_no_answer_and_is_closed() {
    let (mut proxy, tcp) = proxy(&[]);
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03abcdefghijklmnopqrstuvwxyz";
    let strange: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n",
        b"POST /rpc HTTP/1.1\r\nHost: example.net\r\nContent-Length: 2\r\n\r\n{}",
        hello,
        &[0; 3000],
    ];
    for bytes in &strange[..1] {
        let mut connection = Connection::open(tcp);
        connection.send(bytes);
        connection.expect_end(soon());
    }
    for bytes in &strange[2..] {
        let mut connection = Connection::open(tcp);
        connection.send_if_taken(bytes, PATIENCE);
        connection.expect_end(soon());
    }
    // One with a Content-Length is cut like a message, and dropped.
    let mut connection = Connection::open(tcp);
    connection.send(strange[1]);
    connection.send(b"\r\n\r\n");
    connection.expect(b"\r\n", soon());
    comes_true(&mut proxy, "tcp_broken", |broken| broken == 3);
    still_answers(&mut proxy, tcp);
}

/// A proxy that relays to a socket of the test, which answers when the test wants.
fn relaying() -> (Proxy, SocketAddr, UdpSocket) {
    let next_hop = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
    next_hop.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
    let to = format!("sip:{};transport=udp", next_hop.local_addr().expect("bound"));
    let (proxy, tcp) = proxy(&["--next-hop", &to]);
    (proxy, tcp, next_hop)
}

/// Reads this request as it was relayed; its answer goes to whom it came from.
fn relayed(next_hop: &UdpSocket, sent: &str) -> (String, SocketAddr) {
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, from) = next_hop.recv_from(&mut buffer).expect("the relayed request");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        // Others may be repeated over UDP meanwhile.
        if datagram::header(&text, "Call-ID") == datagram::header(sent, "Call-ID") {
            return (text, from);
        }
    }
}

/// A response with what it repeats of its request (RFC 3261 §8.2.6).
fn response(status: &str, request: &str) -> String {
    let copied = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines = request
        .split("\r\n")
        .filter(|line| line.split_once(':').is_some_and(|(name, _)| copied.contains(&name.trim())));
    let mut text = format!("SIP/2.0 {status}\r\n");
    lines.for_each(|line| {
        text.push_str(line);
        if line.starts_with("To:") && !line.contains(";tag=") {
            text.push_str(";tag=callee");
        }
        text.push_str("\r\n");
    });
    text.push_str("Content-Length: 0\r\n\r\n");
    text
}

#[test]
fn a_peer_that_ended_its_side_still_gets_its_answer() {
    let (mut proxy, tcp, next_hop) = relaying();
    let mut connection = Connection::open(tcp);
    let request = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
    connection.send(request.as_bytes());
    connection.end();
    let (request, from) = relayed(&next_hop, &request);
    std::thread::sleep(Duration::from_millis(500));
    next_hop.send_to(response("200 OK", &request).as_bytes(), from).expect("sent");
    assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
    // Nothing more is owed.
    connection.expect_end(soon());
    comes_true(&mut proxy, "tcp_connections", |alive| alive == 0);
}

#[test]
fn a_response_whose_connection_is_gone_goes_where_the_via_says() {
    let (mut proxy, tcp, next_hop) = relaying();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free TCP port");
    let named = listener.local_addr().expect("bound");
    for resets in [false, true] {
        let mut connection = Connection::open(tcp).naming(named);
        let sent = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
        connection.send(sent.as_bytes());
        let (request, from) = relayed(&next_hop, &sent);
        if resets {
            connection.reset();
        } else {
            drop(connection);
        }
        std::thread::sleep(Duration::from_millis(500));
        next_hop.send_to(response("200 OK", &request).as_bytes(), from).expect("sent");
        let mut back = Connection::accept(&listener, soon());
        let answer = back.answer(soon());
        assert_eq!(datagram::status(&answer), Some(200), "{answer}");
        assert_eq!(datagram::header(&answer, "Call-ID"), datagram::header(&sent, "Call-ID"));
    }
    assert!(proxy.summary().total("tcp_opened") >= 2);
}

#[test]
fn a_refused_connection_is_told_upstream_at_once() {
    let closed = ports::free();
    let (mut proxy, tcp) = proxy(&["--next-hop", &format!("sip:127.0.0.1:{closed};transport=tcp")]);
    let mut connection = Connection::open(tcp);
    for method in ["MESSAGE", "INVITE"] {
        // Both shards.
        for _ in 0..8 {
            let request = connection.request(method, "sip:callee@example.net", HOPS);
            connection.send(request.as_bytes());
            let answer = connection.answer(Instant::now() + Duration::from_secs(20));
            let status = datagram::status(&answer);
            assert!(matches!(status, Some(500 | 503)), "{answer}");
        }
    }
    assert!(proxy.summary().total("tcp_unsent") >= 16);
    still_answers(&mut proxy, tcp);
}

#[test]
fn one_connection_carries_many_requests() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free TCP port");
    let to = format!("sip:{};transport=tcp", listener.local_addr().expect("bound"));
    let (mut proxy, tcp) = proxy(&["--next-hop", &to]);
    let mut connection = Connection::open(tcp);
    let request = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
    connection.send(request.as_bytes());
    let mut callee = Connection::accept(&listener, soon());
    for number in 2..20 {
        let relayed = callee.receive(soon()).expect("the relayed request");
        assert!(relayed.contains("Via: SIP/2.0/TCP"), "{relayed}");
        callee.send(response("200 OK", &relayed).as_bytes());
        assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
        // One Call-ID, so one shard: it has its connection already.
        let next = request
            .replace("CSeq: 1 ", &format!("CSeq: {number} "))
            .replace("branch=z9hG4bK", &format!("branch=z9hG4bK-again-{number}"));
        connection.send(next.as_bytes());
    }
    let another = Connection::accept_before(&listener, Instant::now() + Duration::from_secs(1));
    assert!(another.is_none(), "a second connection was opened");
    assert_eq!(proxy.summary().total("tcp_opened"), 1);
}

#[test]
fn a_peer_that_restarted_is_connected_to_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free TCP port");
    let to = format!("sip:{};transport=tcp", listener.local_addr().expect("bound"));
    let (_proxy, tcp) = proxy(&["--next-hop", &to]);
    let mut connection = Connection::open(tcp);
    for _ in 0..6 {
        let request = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
        connection.send(request.as_bytes());
        let mut callee = Connection::accept(&listener, soon());
        let relayed = callee.receive(soon()).expect("the relayed request");
        callee.send(response("200 OK", &relayed).as_bytes());
        assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
        drop(callee);
        // The end of the connection reaches the proxy.
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_request_lost_with_its_connection_fails_at_once() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free TCP port");
    let to = format!("sip:{};transport=tcp", listener.local_addr().expect("bound"));
    let (_proxy, tcp) = proxy(&["--next-hop", &to]);
    let mut connection = Connection::open(tcp);
    let request = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
    connection.send(request.as_bytes());
    let mut callee = Connection::accept(&listener, soon());
    assert!(callee.receive(soon()).is_some());
    drop(callee);
    // Without the news, timer F would take 32 s.
    let answer = connection.answer(Instant::now() + Duration::from_secs(20));
    assert!(matches!(datagram::status(&answer), Some(500 | 503)), "{answer}");
}

#[test]
fn two_hundred_slow_peers_cost_little_and_are_given_up() {
    let (mut proxy, tcp, _folder) = configured("[tcp]\ntcp_msg_read_timeout = 6\n");
    still_answers(&mut proxy, tcp);
    let before = memory(&mut proxy);
    let mut slow: Vec<Connection> = (0..200).map(|_| Connection::open(tcp)).collect();
    let request = slow[0].request("OPTIONS", &uri(tcp), HOPS);
    let (head, _) = request.split_at(request.len() - 4);
    let start = Instant::now();
    for piece in head.as_bytes().chunks(head.len() / 3 + 1) {
        for connection in &mut slow {
            connection.send(piece);
        }
        still_answers(&mut proxy, tcp);
    }
    assert!(memory(&mut proxy) < before + MEMORY_BYTES_MAX);
    slow.iter_mut().for_each(|connection| connection.expect_end(soon()));
    assert!(start.elapsed() > Duration::from_secs(4), "given up after {:?}", start.elapsed());
    assert_eq!(proxy.summary().total("tcp_slow"), 200);
    still_answers(&mut proxy, tcp);
}

#[test]
fn a_thousand_resets_leave_nothing() {
    let (mut proxy, tcp) = proxy(&[]);
    still_answers(&mut proxy, tcp);
    let before = memory(&mut proxy);
    for round in 0..1000 {
        Connection::open(tcp).reset();
        if round % 250 == 0 {
            still_answers(&mut proxy, tcp);
        }
    }
    comes_true(&mut proxy, "tcp_connections", |alive| alive == 0);
    let summary = proxy.summary();
    assert!(summary.total("tcp_accepted") >= 1000, "{summary:?}");
    assert_eq!(summary.total("tcp_accepted"), summary.total("tcp_closed"));
    assert!(memory(&mut proxy) < before + MEMORY_BYTES_MAX);
    still_answers(&mut proxy, tcp);
}

#[test]
fn a_peer_that_never_reads_is_held_back_and_given_up() {
    let (mut proxy, tcp, _folder) = configured("[tcp]\ntcp_send_timeout = 5\n");
    still_answers(&mut proxy, tcp);
    let before = memory(&mut proxy);
    let mut greedy = Connection::open(tcp);
    let mut many = String::new();
    for _ in 0..500 {
        many.push_str(&greedy.request("OPTIONS", &uri(tcp), HOPS));
    }
    let mut rounds = 0;
    while !greedy.send_if_taken(many.as_bytes(), Duration::from_secs(2)) {
        rounds += 1;
        assert!(rounds < 1000, "the proxy takes everything from a peer that takes nothing");
        many = many.replace(";branch=z9hG4bK-", ";branch=z9hG4bK-x");
    }
    still_answers(&mut proxy, tcp);
    // Its requests are transactions as any others; beyond those, it holds a queue.
    assert!(memory(&mut proxy) < before + 3 * MEMORY_BYTES_MAX);
    comes_true(&mut proxy, "tcp_connections", |alive| alive <= 1);
    still_answers(&mut proxy, tcp);
}

#[test]
fn one_source_gets_its_share_of_connections_and_no_more() {
    let (mut proxy, tcp, _folder) = configured("[tcp]\ntcp_max_connections_per_source = 5\n");
    let connections: Vec<Connection> = (0..60).map(|_| Connection::open(tcp)).collect();
    comes_true(&mut proxy, "tcp_refused", |refused| refused >= 50);
    assert!(proxy.summary().total("tcp_connections") <= 10);
    drop(connections);
    comes_true(&mut proxy, "tcp_connections", |alive| alive == 0);
    still_answers(&mut proxy, tcp);
}

#[test]
fn a_long_request_goes_over_tcp_or_after_all_over_udp() {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, ports::free())).expect("a free port");
    udp.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
    let address = udp.local_addr().expect("bound");
    let (mut proxy, tcp) = proxy(&["--next-hop", &format!("sip:{address}")]);
    let mut connection = Connection::open(tcp);
    let long = format!("{HOPS}Subject: {}\r\n", "x".repeat(1300));
    let request = connection.request("MESSAGE", "sip:callee@example.net", &long);
    connection.send(request.as_bytes());
    let (request, from) = relayed(&udp, &request);
    assert!(request.contains("Via: SIP/2.0/UDP"), "{request}");
    udp.send_to(response("200 OK", &request).as_bytes(), from).expect("sent");
    assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
    let summary = proxy.summary();
    assert_eq!(summary.counted("switched_to_tcp"), 1, "{summary:?}");
    assert_eq!(summary.counted("switched_back_to_udp"), 1, "{summary:?}");

    // With TCP on the same port it is TCP; another proxy, for this one has a memory.
    let (_other, tcp) = self::proxy(&["--next-hop", &format!("sip:{address}")]);
    let listener = TcpListener::bind(address).expect("a port that is free over TCP");
    let mut connection = Connection::open(tcp);
    let request = connection.request("MESSAGE", "sip:callee@example.net", &long);
    connection.send(request.as_bytes());
    let mut callee = Connection::accept(&listener, soon());
    let relayed = callee.receive(soon()).expect("the relayed request");
    assert!(relayed.contains("Via: SIP/2.0/TCP"), "{relayed}");
    callee.send(response("200 OK", &relayed).as_bytes());
    assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
}

#[test]
fn a_large_message_goes_through_whole() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free TCP port");
    let to = format!("sip:{};transport=tcp", listener.local_addr().expect("bound"));
    let (mut proxy, tcp) = proxy(&["--next-hop", &to]);
    let mut connection = Connection::open(tcp);
    let body = "y".repeat(200_000);
    let request = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
    let request = request.replace("Content-Length: 0", "Content-Length: 200000") + &body;
    connection.send(request.as_bytes());
    let mut callee = Connection::accept(&listener, soon());
    let relayed = callee.receive(soon()).expect("the relayed request");
    assert!(relayed.ends_with(&body));
    callee.send(response("200 OK", &relayed).as_bytes());
    assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
    still_answers(&mut proxy, tcp);
}

#[test]
fn a_draining_proxy_takes_no_connections_and_finishes_what_runs() {
    use strowger_tests::process::Signal;
    let (mut proxy, tcp, next_hop) = relaying();
    let mut connection = Connection::open(tcp);
    let request = connection.request("MESSAGE", "sip:callee@example.net", HOPS);
    connection.send(request.as_bytes());
    let (request, from) = relayed(&next_hop, &request);
    proxy.process().signal(Signal::Term);
    let end = soon();
    loop {
        // What is accepted while the signal is on its way is closed by the end at the latest.
        match std::net::TcpStream::connect(tcp) {
            Err(_) => break,
            Ok(mut early) => {
                let _ = early.set_read_timeout(Some(Duration::from_millis(100)));
                let _ = early.read(&mut [0]);
            }
        }
        assert!(Instant::now() < end, "it still accepts");
    }
    next_hop.send_to(response("200 OK", &request).as_bytes(), from).expect("sent");
    assert_eq!(datagram::status(&connection.answer(soon())), Some(200));
    let (status, _) = proxy.ended(Duration::from_secs(60));
    assert!(status.success(), "{status}");
}
