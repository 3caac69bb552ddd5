//! What a relayed call costs the pure engine: user-space time, and instructions under callgrind.
//!
//! For: INVITE, 180, 200, ACK, BYE, 200 with Record-Route through one shard in a steady load, that
//! is, with the timers of finished calls firing meanwhile.
//! Not here: sockets, the mesh, other cores (`loadgen`, `versus`).
//! Use: `relay [calls] [returned|awaited|tracked] [calls to warm up]`; `tracked` is `returned` with
//! the dialog module and a profile. `benches/counts.py` runs it under callgrind.

use std::process::ExitCode;
use std::time::Instant;
use strowger_modules::dialog::{Dialog, DialogRequest, Settings};
use strowger_sip::message::MethodKind;
use strowger_sip::rig::{Load, MESSAGES_PER_CALL};
use strowger_sip::routing::{Answer, Outcome, Reply, Request, Routing};
use strowger_sip::time::{Duration, secs};

/// Calls that are measured unless the command says otherwise.
const CALLS: u32 = 200_000;
/// Calls before that unless the command says otherwise: 100 calls/s, 3,200 of them lingering at once.
const WARM_UP: u32 = 10_000;
/// How long warming up lasts, whatever the number of calls: longer than a transaction or a dialog
/// that has ended is kept.
const WARMING: Duration = secs(100);

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

/// Returns its relay, and keeps a dialog with a profile.
struct Tracked;

impl Routing for Tracked {
    type Modules = (Dialog,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        request.record_route();
        if request.method() == MethodKind::Invite {
            request.dialog().reserve("caller", "alice", u32::MAX).await.or(Reply::busy_here())?;
        }
        Ok(request.relay_to_target().into())
    }
}

fn run<R: Routing>(routing: R, modules: R::Modules, (calls, warm_up): (u32, u32)) {
    let mut load = Load::new(routing, modules);
    let pace = WARMING / warm_up.max(1);
    for _ in 0..warm_up {
        load.call();
        load.skip(pace);
    }
    let start = Instant::now();
    for _ in 0..calls {
        load.call();
        load.skip(pace);
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
    let warm_up = arguments.next().map_or(Ok(WARM_UP), |text| text.parse());
    let (Ok(calls), Ok(warm_up)) = (calls, warm_up) else { return usage() };
    match kind.as_str() {
        "returned" => run(Returned, (), (calls, warm_up)),
        "awaited" => run(Awaited, (), (calls, warm_up)),
        "tracked" => {
            let dialog = Dialog::new(Settings::default(), b"secret");
            run(Tracked, (dialog,), (calls, warm_up));
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: relay [calls] [returned|awaited|tracked] [calls to warm up]");
    ExitCode::FAILURE
}
