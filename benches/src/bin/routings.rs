//! Cases a second that `strowger::testing` runs: each a node made from its configuration, a call
//! set up and ended, and an hour of lingering.
//!
//! For: `cargo run --release -p strowger-benches --bin routings [cases]`.
//! Not here: what a call costs a node that runs (`relay.rs`).

use std::time::Instant;
use strowger::stock::Stock;
use strowger::testing::Proxy;

const TOML: &str = "[node]\nlisten = [\"udp:192.0.2.1:5060\"]\n[routing]\ndialog = true\n";

const CALL: &str = "
    Alice -> INVITE sip:bob@192.0.2.20
    Alice <- 100
    Bob <- INVITE
    Bob -> 180
    Alice <- 180
    Bob -> 200
    Alice <- 200
    Alice -> ACK
    Bob <- ACK
    wait 30m
    Bob -> BYE
    Alice <- BYE
    Alice -> 200
    Bob <- 200
";

fn main() {
    let cases: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(5_000);
    let begin = Instant::now();
    for _ in 0..cases {
        let mut proxy = Proxy::new(TOML, Stock::from_config)
            .party("Alice", "192.0.2.10:5060")
            .party("Bob", "192.0.2.20:5060");
        proxy.play(CALL);
        proxy.end();
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{cases} cases in {seconds:.2} s: {:.0} a second", f64::from(cases) / seconds);
}
