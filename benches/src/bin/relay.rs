//! What a relayed call costs the pure engine: user-space time, and instructions under callgrind.
//!
//! For: INVITE, 180, 200, ACK, BYE, 200 with Record-Route through one shard in a steady load, that
//! is, with the timers of finished calls firing meanwhile.
//! Not here: sockets, the mesh, other cores (`loadgen`, `versus`).
//! Use: `relay [calls] [returned|awaited|idle]`; `idle` makes the messages and leaves the engine
//! alone, which is what the load itself costs.

use std::process::ExitCode;
use std::time::Instant;
use strowger_sip::rig::{Load, MESSAGES_PER_CALL};
use strowger_sip::routing::{Answer, Outcome, Reply, Request, Routing};
use strowger_sip::time::{Duration, ms};

/// Calls that are measured unless the command says otherwise.
const CALLS: u32 = 200_000;
/// Calls before that: longer than a transaction lingers, at the pace below.
const WARM_UP: u32 = 10_000;
/// Time between two calls: 250 calls/s, 8,000 of them lingering at once.
const PACE: Duration = ms(4);

/// Returns its relay as the answer.
struct Returned;

impl Routing for Returned {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        request.record_route();
        Ok(request.relay_to_target().into())
    }
}

/// Awaits its relay.
struct Awaited;

impl Routing for Awaited {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        request.record_route();
        match request.relay_to_target().await {
            Outcome::Answered(_) => Ok(Answer::Done),
            Outcome::Failed(failed) => Ok(failed.into()),
        }
    }
}

fn run<R: Routing<Modules = ()>>(routing: R, calls: u32) {
    let mut load = Load::new(routing, ());
    for _ in 0..WARM_UP {
        load.call();
        load.skip(PACE);
    }
    let start = Instant::now();
    for _ in 0..calls {
        load.call();
        load.skip(PACE);
    }
    let total = start.elapsed().as_nanos();
    let a_call = total / u128::from(calls.max(1));
    println!(
        "{calls} calls: {a_call} ns a call, {} ns a message, {} alive: {:?}",
        a_call / u128::from(MESSAGES_PER_CALL),
        load.census().server_transactions,
        load.census()
    );
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let calls = arguments.next().map_or(Ok(CALLS), |text| text.parse());
    let kind = arguments.next().unwrap_or_else(|| "returned".to_owned());
    match (calls, kind.as_str()) {
        (Ok(calls), "returned") => run(Returned, calls),
        (Ok(calls), "awaited") => run(Awaited, calls),
        (_, _) => {
            eprintln!("usage: relay [calls] [returned|awaited]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
