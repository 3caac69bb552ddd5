//! The desk of one worker: all its calls, driven by messages and by time.
//!
//! For: carrying scenarios out. Bytes and time come in; messages leave through the outbox.
//! Not here: sockets (`net/`), threads (`worker.rs`), when calls begin (`schedule.rs`).
//! Invariants: reads no clock and opens nothing, so that a test plays a run by hand; what a peer
//! sends neither panics nor grows anything without bound.

mod abort;
mod act;
pub(crate) mod call;
mod digest;
mod hear;
pub(crate) mod outbox;
mod render;
mod steps;
pub(crate) mod tally;
#[cfg(test)]
mod tests;

use crate::scenario::inject::Fields;
use crate::scenario::{Does, Scenario, Step, Template, Value};
use call::{Call, CallKey, Calls, Role};
use outbox::{Door, Outbox};
use std::cell::Cell;
use std::net::SocketAddr;
pub(crate) use steps::describe;
use strowger_sip::entropy::Entropy;
use strowger_sip::message::Head;
use strowger_sip::time::{Duration, Instant};
use strowger_sip::wheel::Wheel;
use tally::{Cause, Counters, Times, What};

/// Everything that workers share and nobody changes.
#[derive(Debug)]
pub(crate) struct Parties {
    pub(crate) callers: Party,
    pub(crate) callees: Party,
    pub(crate) fields: Vec<Fields>,
    /// Names of the times measured, of all scenarios.
    pub(crate) timings: Vec<String>,
    pub(crate) target: SocketAddr,
    /// The target's address as messages name it.
    pub(crate) remote_ip: String,
    pub(crate) service: Vec<u8>,
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
    /// The length of a `pause` that says none.
    pub(crate) hold: Duration,
    /// How long a caller waits in a `recv` that does not say.
    pub(crate) patience: Option<Duration>,
    /// A call that begins later than this is late.
    pub(crate) late_after: Duration,
    /// Most calls of a worker that are under way at once.
    pub(crate) calls_max: usize,
}

/// One role with its scenarios.
#[derive(Debug, Default)]
pub(crate) struct Party {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) weights: Vec<u32>,
    /// For each scenario, its times as indices of `Parties::timings`.
    pub(crate) timing_ids: Vec<Vec<usize>>,
}

impl Parties {
    pub(crate) fn of(&self, role: Role) -> &Party {
        match role {
            Role::Caller => &self.callers,
            Role::Callee => &self.callees,
        }
    }

    /// The scenario of a call.
    fn scenario(&self, call: &Call) -> &Scenario {
        &self.of(call.role).scenarios[call.scenario]
    }
}

/// An address of a worker's own.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) role: Role,
    /// As messages name it: IPv6 in brackets.
    pub(crate) ip: String,
    pub(crate) port: u16,
    /// `UDP` or `TCP`.
    pub(crate) transport: &'static str,
}

/// What tells this run, and this worker, from others.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: u32,
    pub(crate) pid: u32,
    pub(crate) nonce: u64,
    pub(crate) dynamic_ids: Cell<u64>,
    /// Seconds since 1970 at the run's start.
    pub(crate) began: u64,
    /// This worker and how many there are: numbers of calls are unique among them.
    pub(crate) worker: u64,
    pub(crate) workers: u64,
}

impl Run {
    fn date(&self, now: Instant) -> String {
        rfc1123(self.began + now.as_millis() / 1000)
    }
}

/// `Fri, 20 Nov 2026 21:39:06 GMT`, from seconds since 1970.
pub(crate) fn rfc1123(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (mut day, clock) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[usize::try_from(day % 7).unwrap_or(0)];
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while let Some(length) = lengths.get(month).filter(|length| day >= **length) {
        day -= length;
        month += 1;
    }
    let (month, day) = (MONTHS.get(month).unwrap_or(&"Dec"), day + 1);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Names a call whose timer ran out.
type Alarm = CallKey;

/// See the file's head.
pub(crate) struct Desk<'p> {
    parties: &'p Parties,
    places: Vec<Place>,
    /// Those from which callers call, in turn.
    callers_places: Vec<u16>,
    next_place: usize,
    run: Run,
    calls: Calls,
    wheel: Wheel<Alarm>,
    pub(crate) out: Outbox,
    pub(crate) counters: Counters,
    /// The times of the present interval, and those of the whole run.
    pub(crate) recent: Vec<Times>,
    pub(crate) timings: Vec<Times>,
    /// How late calls began and pauses ended.
    pub(crate) lateness: Times,
    /// Templates with what never changes written already: by place, scenario and step.
    baked: Vec<Vec<Vec<Template>>>,
    pickers: [Picker; 2],
    entropy: Entropy,
    /// Indices of stored messages that are looked back at.
    stored: [Head; 2],
    answered: u64,
    scratch: Vec<u8>,
    /// A scenario wants the run to stop.
    pub(crate) stop_asked: bool,
    /// Callees take no more calls.
    pub(crate) closed: bool,
}

/// More places than this write their messages from scratch, lest the templates fill the memory.
const BAKED_PLACES_MAX: usize = 256;

/// The templates of a place: those of its role's scenarios, an empty one for other steps.
fn bake(parties: &Parties, place: &Place, run: &Run) -> Vec<Vec<Template>> {
    let (call, now) = (Call::unused(), Instant::START);
    let template = |step: &Step| match &step.does {
        Does::Send(send) => {
            let (last, first) = (None, None);
            let call = &call;
            let site = render::Site { parties, call, place, run, now, last, first };
            render::bake(site, &send.template)
        }
        Does::Receive(_) | Does::Pause(_) | Does::Linger(_) | Does::Act(_) => Template::default(),
    };
    let scenarios = parties.of(place.role).scenarios.iter();
    let steps = |scenario: &Scenario| scenario.steps.iter().map(template).collect();
    scenarios.map(steps).collect()
}

impl<'p> Desk<'p> {
    pub(crate) fn new(
        parties: &'p Parties,
        places: Vec<Place>,
        run: Run,
        seed: (u64, u64),
    ) -> Desk<'p> {
        let callers = places.iter().zip(0..).filter(|(place, _)| place.role == Role::Caller);
        let callers_places = callers.map(|(_, index)| index).collect();
        let picker = |party: &Party| Picker::new(&party.weights);
        let few = places.len() <= BAKED_PLACES_MAX;
        let baking = places.iter().filter(|_| few);
        let baked = baking.map(|place| bake(parties, place, &run)).collect();
        Desk {
            baked,
            parties,
            callers_places,
            places,
            next_place: 0,
            run,
            calls: Calls::new(),
            wheel: Wheel::default(),
            out: Outbox::default(),
            counters: Counters::default(),
            recent: parties.timings.iter().map(|_| tally::no_short_times()).collect(),
            timings: parties.timings.iter().map(|_| tally::no_times()).collect(),
            lateness: tally::no_times(),
            pickers: [picker(&parties.callers), picker(&parties.callees)],
            entropy: Entropy::new(seed),
            stored: [Head::default(), Head::default()],
            answered: 0,
            scratch: Vec::new(),
            stop_asked: false,
            closed: false,
        }
    }

    /// Begins the call with this number, which should have begun at `intended`.
    pub(crate) fn begin(&mut self, number: u64, intended: Instant, now: Instant) {
        let late = now.since(intended);
        tally::record(&mut self.lateness, late);
        self.counters.late_starts += u64::from(late > self.parties.late_after);
        let Some(place) = self.turn() else { return };
        if self.calls.active[Role::Caller as usize] >= self.parties.calls_max {
            self.counters.not_begun += 1;
            return;
        }
        let mut call_id = std::mem::take(&mut self.scratch);
        call_id.clear();
        render::hex(&mut call_id, number, 8);
        call_id.push(b'-');
        render::hex(&mut call_id, self.run.id.into(), 8);
        call_id.push(b'@');
        if let Some(place) = self.places.get(usize::from(place)) {
            call_id.extend_from_slice(place.ip.as_bytes());
        }
        let door = Door { place, link: 0 };
        let remote = self.parties.target;
        let role = Role::Caller;
        let scenario = self.pickers[role as usize].pick();
        let slot = self.open(role, scenario, &call_id, number, (door, remote), intended);
        self.scratch = call_id;
        self.proceed(slot, now, None);
    }

    /// The place from which the next call is made.
    fn turn(&mut self) -> Option<u16> {
        let place = self.callers_places.get(self.next_place).copied()?;
        self.next_place = (self.next_place + 1) % self.callers_places.len();
        Some(place)
    }

    /// Makes a call of either role.
    fn open(
        &mut self,
        role: Role,
        scenario: usize,
        call_id: &[u8],
        number: u64,
        (door, remote): (Door, SocketAddr),
        due: Instant,
    ) -> u32 {
        let party = self.parties.of(role);
        let slot = self.calls.open(role, call_id);
        self.counters.outcomes[role as usize].begun += 1;
        let entropy = &mut self.entropy;
        let call = self.calls.get_mut(slot);
        call.scenario = scenario;
        call.number = number;
        call.door = door;
        call.remote = remote;
        call.due = due;
        if let Some(scenario) = party.scenarios.get(scenario) {
            call.variables.resize(scenario.variables.len(), Value::Unset);
            call.starts.resize(scenario.timings.len(), due);
        }
        let fields = self.parties.fields.iter();
        call.lines.extend(fields.map(|fields| fields.line(number.saturating_sub(1), entropy)));
        slot
    }

    /// Lets time pass: pauses end, waits are over, what was not answered is sent again.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(key) = self.wheel.pop_due(now) {
            if let Some(slot) = self.calls.alive(key) {
                self.alarm(slot, now);
            }
        }
    }

    /// When to call [`Desk::expire`] next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// How many calls of a role are under way.
    pub(crate) fn active(&self, role: Role) -> usize {
        self.calls.active[role as usize]
    }

    /// Ends every call that is still under way: the run is over.
    pub(crate) fn give_up(&mut self, now: Instant) {
        for slot in self.calls.all() {
            if self.calls.get(slot).lingers {
                self.calls.close(slot, now);
            } else {
                self.fail(slot, What::Unfinished, now);
            }
        }
    }

    /// The call has failed at its present step.
    fn fail(&mut self, slot: u32, what: What, now: Instant) {
        let call = self.calls.get_mut(slot);
        let (role, scenario, step) = (call.role, call.scenario, call.step);
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        // One that lingers has succeeded already.
        if !call.lingers {
            self.counters.fail(Cause { role, scenario, step, what });
        }
        self.calls.close(slot, now);
    }

    /// The call has come to its end.
    fn succeed(&mut self, slot: u32, now: Instant) {
        let call = self.calls.get_mut(slot);
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        if !call.lingers {
            self.counters.outcomes[call.role as usize].succeeded += 1;
        }
        self.calls.close(slot, now);
    }

    fn is_reliable(&self, door: Door) -> bool {
        self.places.get(usize::from(door.place)).is_some_and(|place| place.transport == "TCP")
    }
}

/// Picks scenarios by weight, evenly: of 100 picks with weights 99 and 1, exactly one is the other.
#[derive(Debug)]
struct Picker {
    weights: Vec<i64>,
    credits: Vec<i64>,
    total: i64,
}

impl Picker {
    fn new(weights: &[u32]) -> Picker {
        let weights: Vec<i64> = weights.iter().map(|weight| i64::from(*weight)).collect();
        Picker { total: weights.iter().sum(), credits: vec![0; weights.len()], weights }
    }

    fn pick(&mut self) -> usize {
        if self.weights.len() < 2 {
            return 0;
        }
        let credited = self.credits.iter_mut().zip(&self.weights);
        credited.for_each(|(credit, weight)| *credit += weight);
        let richest = self.credits.iter().enumerate().max_by_key(|(_, credit)| **credit);
        let index = richest.map_or(0, |(index, _)| index);
        if let Some(credit) = self.credits.get_mut(index) {
            *credit -= self.total;
        }
        index
    }
}
