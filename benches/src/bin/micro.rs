//! What the pieces of a call cost alone: nanoseconds for one of each.
//!
//! For: `cargo run --release -p strowger-benches --bin micro [name]`; a name runs that piece only,
//! so that callgrind sees nothing else.
//! Not here: whole calls (`relay`), the mesh, whose hop needs two cores (`core/node`).

use std::hint::black_box;
use std::time::Instant as Clock;
use strowger_modules::auth::Hash;
use strowger_sip::entropy::Entropy;
use strowger_sip::limits::Limits;
use strowger_sip::message::{
    Head, NO_EDITS, RequestChanges, RouteChanges, TopVia, Uri, Via, scan_call_id,
    write_forwarded_request,
};
use strowger_sip::time::{Instant, ms};
use strowger_sip::transaction::{Id, KeyedMap, TransactionKey};
use strowger_sip::wheel::Wheel;

const INVITE: &[u8] = include_bytes!("../../../tests/messages/invite.sip");
/// Runs of a piece that are measured.
const RUNS: u32 = 200_000;
/// Transactions and timers that are there meanwhile.
const ALIVE: u32 = 100_000;

/// A piece and its name.
type Piece = (&'static str, fn(&str));

fn main() {
    let wanted = std::env::args().nth(1);
    let pieces: [Piece; 7] = [
        ("parse", parse),
        ("call-id", call_id),
        ("forward", forward),
        ("match", transaction_match),
        ("timer", timer),
        ("digest", digest),
        ("values", values),
    ];
    for (name, piece) in pieces {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            piece(name);
        }
    }
}

/// Runs a piece and prints what one run took.
fn measure(name: &str, mut piece: impl FnMut(u32)) {
    (0..RUNS / 10).for_each(&mut piece);
    let start = Clock::now();
    (0..RUNS).for_each(&mut piece);
    let nanos = start.elapsed().as_nanos() / u128::from(RUNS);
    println!("{name:<10}{nanos:>8} ns");
}

fn parse(name: &str) {
    let mut head = Head::default();
    measure(name, |_| {
        black_box(head.parse(black_box(INVITE), &Limits::DATAGRAM).is_ok());
    });
}

fn call_id(name: &str) {
    measure(name, |_| {
        black_box(scan_call_id(black_box(INVITE)));
    });
}

fn forward(name: &str) {
    let mut head = Head::default();
    head.parse(INVITE, &Limits::DATAGRAM).expect("a message");
    let mut out = Vec::with_capacity(2048);
    measure(name, |_| {
        out.clear();
        let message = head.message(black_box(INVITE));
        let changes = RequestChanges {
            request_uri: b"sip:bob@192.0.2.20",
            max_forwards: 69,
            max_breadth: None,
            vias: &[b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKT00000000000000010000000000000002"],
            top_via: TopVia::Stamp { received: Some([192, 0, 2, 10].into()), rport: Some(5060) },
            record_routes: &[b"<sip:192.0.2.1;lr>"],
            routes: RouteChanges::default(),
            edits: &NO_EDITS,
        };
        write_forwarded_request(message, &changes, &mut out);
        black_box(&out);
    });
}

/// The keys are hashes already: what is measured is the look-up, most of it one miss of the cache.
fn transaction_match(name: &str) {
    let mut entropy = Entropy::new((1, 2));
    let mut map = KeyedMap::<u32>::with_capacity(ALIVE as usize);
    let keys: Vec<TransactionKey> =
        (0..ALIVE).map(|_| TransactionKey(u128::from(entropy.next_u64()))).collect();
    for (number, key) in (0u64..).zip(&keys) {
        map.insert(*key, Id::from_u64(number));
    }
    measure(name, |run| {
        let key = keys.get((run.wrapping_mul(7919) % ALIVE) as usize);
        black_box(key.and_then(|key| map.get(*key)));
    });
}

/// Armed and, as nearly always, cancelled.
fn timer(name: &str) {
    let mut wheel = Wheel::with_capacity(ALIVE as usize + 1);
    for key in 0..ALIVE {
        wheel.arm(Instant::START + ms(u64::from(key)), key);
    }
    measure(name, |run| {
        let id = wheel.arm(Instant::START + ms(500 + u64::from(run % 32_000)), run);
        black_box(wheel.cancel(id));
    });
}

/// The three hashes of an answer to a challenge (RFC 7616 §3.4.1).
fn digest(name: &str) {
    let md5 = Hash::Md5;
    measure(name, |_| {
        let first = md5.of(&[b"alice", b"example.com", black_box(b"secret")]);
        let second = md5.of(&[b"REGISTER", b"sip:example.com"]);
        let nonce = b"5f2ec0a2b1d34e7f";
        let parts = [first.as_bytes(), nonce, b"00000001", b"0a4f", b"auth", second.as_bytes()];
        black_box(md5.of(&parts));
    });
}

/// A Via value and a URI.
fn values(name: &str) {
    let via = b"SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK776asdhds";
    measure(name, |_| {
        black_box(Via::parse(black_box(via)).is_ok());
        black_box(Uri::parse(black_box(b"sip:alice@192.0.2.10:5060;transport=udp")).is_ok());
    });
}
