//! Heap allocations of the engine in a steady load: none.
//!
//! For: the promise "zero heap allocation per message in steady state", for a call that is relayed:
//! INVITE, 180, 200, ACK, BYE, 200, with Record-Route, in the three shapes a routing gives it.
//! Not here: allocations at start and while tables still grow (the warm-up), the edge.
//! Invariants: virtual time moves between calls, so that lingering transactions end, and their
//! slots are used again, while the counter runs.

use allocation_counter::AllocationInfo;
use strowger_modules::dialog::{Dialog, DialogRequest, Settings as DialogSettings};
use strowger_sip::message::{Edits, MethodKind};
use strowger_sip::module::{Arrived, Departing, Host, Module, Outgoing, Verdict};
use strowger_sip::rig::{Load, MESSAGES_PER_CALL};
use strowger_sip::routing::{Answer, Outcome, Reply, Request, Routing};
use strowger_sip::time::{Duration, ms, secs};

/// Calls before counting: longer than any transaction lingers, at the pace below.
const WARM_UP_CALLS: u32 = 2_000;
/// Calls while counting.
const COUNTED_CALLS: u32 = 4_000;
/// Time between two calls: about 1,000 of them linger at once.
const PACE: Duration = ms(33);

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

/// Lets a module see and change every message.
struct Watched;

impl Routing for Watched {
    type Modules = (Counter,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        request.record_route();
        Ok(request.relay_to_target().into())
    }
}

/// A module with every hook of the message path.
#[derive(Default)]
struct Counter {
    open: u32,
}

impl Module for Counter {
    const NAME: &'static str = "counter";
    type Attached = Option<u32>;
    type Peer = ();
    type Timer = u32;
    type Token = ();
    type Row = ();

    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        let timer = host.now() + secs(5);
        host.arm(timer, self.open);
        if let Some(transaction) = request.transaction
            && let Some(attached) = host.attached(transaction)
        {
            *attached = Some(self.open);
            self.open += 1;
        }
        Verdict::Continue
    }

    fn forward(&mut self, _: &mut impl Host<Self>, _: &Arrived<'_>, outgoing: &mut Outgoing<'_>) {
        outgoing.record_route_params.extend_from_slice(b";did=1a2.3b4");
        outgoing.edits.append(b"X-Counted", b"yes").expect("a header");
    }

    fn response(&mut self, _: &mut impl Host<Self>, _: &Departing<'_>, edits: &mut Edits) {
        edits.append(b"X-Counted", b"yes").expect("a header");
    }

    fn transaction_end(&mut self, _: &mut impl Host<Self>, attached: Option<u32>) {
        self.open -= u32::from(attached.is_some());
    }
}

/// Tracks its calls, with a limit, a variable and a lifetime.
struct Tracked;

impl Routing for Tracked {
    type Modules = (Dialog,);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        request.record_route();
        if request.method() == MethodKind::Invite {
            let mut dialog = request.dialog().timeout(secs(3600)).bye_on_timeout();
            dialog.set_variable("account", "gold");
            dialog.reserve("caller", "alice@example.com", 1000).await.or(Reply::busy_here())?;
        }
        Ok(request.relay_to_target().into())
    }
}

/// What `COUNTED_CALLS` calls in a steady load allocate.
fn measure<R: Routing>(routing: R, modules: R::Modules) -> AllocationInfo {
    let mut load = Load::new(routing, modules);
    for _ in 0..WARM_UP_CALLS {
        load.call();
        load.skip(PACE);
    }
    let info = allocation_counter::measure(|| {
        for _ in 0..COUNTED_CALLS {
            load.call();
            load.skip(PACE);
        }
    });
    load.skip(secs(300));
    assert!(load.census().is_empty(), "{:?}", load.census());
    info
}

fn assert_none(name: &str, info: &AllocationInfo) {
    let messages = COUNTED_CALLS * MESSAGES_PER_CALL;
    println!(
        "{name}: {} allocations, {} bytes in {messages} messages",
        info.count_total, info.bytes_total
    );
    assert_eq!((info.count_total, info.bytes_total), (0, 0), "{name} allocates");
}

#[test]
fn a_relay_that_is_returned_allocates_nothing() {
    assert_none("returned", &measure(Returned, ()));
}

#[test]
fn a_relay_that_is_awaited_allocates_nothing() {
    assert_none("awaited", &measure(Awaited, ()));
}

#[test]
fn a_relay_that_a_module_watches_allocates_nothing() {
    assert_none("watched", &measure(Watched, (Counter::default(),)));
}

#[test]
fn a_call_that_is_tracked_allocates_nothing() {
    let dialog = Dialog::new(DialogSettings::default(), b"secret");
    assert_none("tracked", &measure(Tracked, (dialog,)));
}
