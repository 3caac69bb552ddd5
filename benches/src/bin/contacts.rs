//! Bytes that a registered contact takes: what the process grows by, divided.
//!
//! For: `cargo run --release -p strowger-benches --bin contacts [count]`.
//! Not here: the table's own count, piece by piece (a test of `modules/src/location`).

use std::sync::Arc;
use strowger_modules::location::{
    Aor, Contact, DbMode, Facts, Location, LocationRow, Row, Settings, Texts,
};
use strowger_sip::date::{Epoch, UnixTime};
use strowger_sip::engine::{Input, RowOf, Settings as EngineSettings};
use strowger_sip::module::Has;
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, ListOf, Reply, Request, Routing};
use strowger_sip::time::secs;

/// When the shard under measurement began, in seconds of Unix time.
const BEGIN: u64 = 1_800_000_000;
/// What a page of memory holds on every machine that this runs on.
const PAGE_BYTES: usize = 4096;

struct Refusing;

impl Routing for Refusing {
    type Modules = (Location,);

    async fn request(&self, _: Request<'_, Self>) -> Result<Answer, Reply> {
        Err(Reply::not_found())
    }
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let settings = Settings { db_mode: DbMode::LoadOnly, ..Settings::default() };
    let location = Location::new(settings, "node1", Epoch::new(BEGIN * 1_000_000));
    let settings = EngineSettings::default();
    let mut bench = Bench::alone(&["192.0.2.1:5060"], settings, Refusing, (location,));
    let before = resident_bytes();
    for n in 0..count {
        bench.input(Input::Row(as_listed(Row::Loaded(Arc::new(row(n))))));
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("{count} contacts, each of its own address, with its timer:");
    println!("{} bytes a contact ({grown} in all)", grown / count.max(1));
}

/// The location's row as one of the routing's.
fn as_listed<N>(row: Row) -> RowOf<Refusing>
where
    ListOf<Refusing>: Has<Location, N>,
{
    <ListOf<Refusing> as Has<Location, N>>::row(row)
}

fn row(n: usize) -> LocationRow {
    let uri = format!("sip:subscriber{n}@10.20.30.40:5062;transport=udp");
    let call_id = format!("{n:08x}-aaaa-bbbb-cccc@10.20.30.40");
    let ruid = format!("node1-0-{n:013x}");
    let texts = Texts {
        uri: uri.as_bytes(),
        call_id: call_id.as_bytes(),
        ruid: ruid.as_bytes(),
        user_agent: b"Some Vendor Phone 12.34.56.78",
        received: b"sip:203.0.113.7:40000",
        ..Texts::default()
    };
    let now = UnixTime::from_secs(BEGIN);
    let contact = Contact::new(&texts, Facts::new(now, Some(now + secs(3600))));
    let aor = Aor::new(&format!("subscriber{n}")).expect("a key");
    LocationRow { aor, socket: "udp:192.0.2.1:5060".to_owned(), contact }
}

/// Memory of this process that is in use, from the kernel's count.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
