//! Bytes that an established dialog takes, and what its listing costs: what the process grows by,
//! divided.
//!
//! For: `cargo run --release -p strowger-benches --bin dialogs [count]`.
//! Not here: instructions of a tracked call (`relay`), storage.

use std::time::{Duration, Instant};
use strowger_modules::dialog::{Dialog, DialogRequest, Settings};
use strowger_sip::message::MethodKind;
use strowger_sip::module::Command;
use strowger_sip::rig::Load;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::time::{ms, secs};

/// Calls that the process makes before it is measured, so that what is reserved once is there.
const WARM_UP: u32 = 10_000;
/// What a page of memory holds on every machine that this runs on.
const PAGE_BYTES: usize = 4096;

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

fn main() {
    let count =
        std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000u32);
    let settings = Settings { most: 1 << 21, ..Settings::default() };
    let mut load = Load::new(Tracked, (Dialog::new(settings, b"secret"),));
    for _ in 0..WARM_UP {
        load.call();
        load.skip(ms(4));
    }
    load.skip(secs(60));
    let before = resident_bytes();
    let start = Instant::now();
    for _ in 0..count {
        load.establish();
        load.skip(ms(4));
    }
    let taken = start.elapsed();
    load.skip(secs(60));
    let grown = resident_bytes().saturating_sub(before);
    let active = load.metric("dialog_active_dialogs").unwrap_or(0);
    println!("{active} established dialogs, each with a membership and its timer:");
    println!("{} bytes a dialog ({grown} in all)", grown / usize::try_from(active).unwrap_or(1));
    println!("{} ns a call of 4 messages", taken.as_nanos() / u128::from(count.max(1)));
    list(&mut load);
}

/// Every page of the whole list, as an operator's tool asks for it.
fn list(load: &mut Load<Tracked>) {
    let (mut pages, mut longest, mut all) = (0, Duration::ZERO, Duration::ZERO);
    let mut next = Some("0".to_owned());
    while let Some(from) = next {
        let arguments = vec!["ftcFT".to_owned(), "0".to_owned(), from];
        let command = Command { name: "dlg.briefing".to_owned(), arguments };
        let start = Instant::now();
        let text = load.command(&command).and_then(Result::ok).unwrap_or_default();
        let taken = start.elapsed();
        (pages, longest, all) = (pages + 1, longest.max(taken), all + taken);
        let tail = text.rsplit_once("\"next\":").map(|(_, tail)| tail.trim_end_matches('}'));
        next = tail.map(str::to_owned);
    }
    println!("dlg.briefing: {pages} pages in {all:?}, the longest took {longest:?}");
}

/// Memory of this process that is in use, from the kernel's count.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
