//! The calls of a run: who calls whom, by which route, and what should come of it.
//!
//! For: drawing a call from the seed, and predicting its outcome where nothing goes wrong.
//! Not here: how the parties carry it out (`agent.rs`), the routes themselves (`policy.rs`).

use crate::agent::{Agent, Task};
use crate::habits::{self, Habits, once_in, span};
use crate::node;
use std::net::{Ipv4Addr, SocketAddr};
use strowger_sip::entropy::Entropy;
use strowger_sip::message::MethodKind;
use strowger_sip::time::{Instant, secs};

/// The node's timers B and C, and the longest that a routing may last.
const NO_RESPONSE_SECONDS: u64 = 30;
const RINGING_SECONDS: u64 = 120;
const LIFETIME_SECONDS: u64 = 180;

/// Routes with how many callees each takes. Those that come twice are drawn twice as often.
const ROUTES: [(&str, u64); 20] = [
    ("direct", 1),
    ("direct", 1),
    ("direct", 1),
    ("plain", 1),
    ("fork", 3),
    ("fork", 3),
    ("fork", 2),
    ("await", 1),
    ("await", 2),
    ("serial", 3),
    ("serial", 3),
    ("serial", 2),
    ("both", 3),
    ("pause", 1),
    ("after", 2),
    ("refuse", 0),
    ("blocked", 0),
    ("own", 0),
    ("hold", 0),
    ("silence", 0),
];

/// One call.
pub(crate) struct Call {
    pub(crate) caller: Agent,
    pub(crate) callees: Vec<Agent>,
    /// What the caller may hear on a calm day; `None` where anything may happen.
    pub(crate) expected: Option<Vec<u16>>,
    pub(crate) starts: Instant,
}

impl Call {
    /// Draws the call of this number.
    pub(crate) fn draw(number: u16, entropy: &mut Entropy) -> Call {
        let (route, count) = ROUTES[usize::try_from(entropy.below(20)).unwrap_or(0)];
        let places = 2..2 + u8::try_from(count).unwrap_or(0);
        let habits: Vec<Habits> = places.clone().map(|_| habits::callee(entropy)).collect();
        let addresses: Vec<Ipv4Addr> = places.map(|place| address(number, place)).collect();
        let method = match entropy.below(10) {
            0 => MethodKind::Message,
            1 => MethodKind::Options,
            _ => MethodKind::Invite,
        };
        let uri = match addresses.first() {
            Some(callee) if route == "direct" => format!("sip:u@{callee}"),
            Some(_) | None => {
                let targets = addresses.iter().map(|host| host.to_string().replace('.', "-"));
                let user: Vec<String> = std::iter::once(route.to_owned()).chain(targets).collect();
                format!("sip:{}@{}", user.join("."), node::address().ip())
            }
        };
        let caller = habits::caller(entropy);
        let is_invite = method == MethodKind::Invite;
        let expected = if is_invite { expected(route, &caller, &habits) } else { None };
        let starts = Instant::START + span(entropy, secs(0), secs(30));
        let mut agent = |place: u8, habits: Habits, uri: &str| {
            let own = SocketAddr::from((address(number, place), 5060));
            let calls = (method, uri.to_owned());
            Agent::new((own, node::address()), habits, calls, entropy.keys())
        };
        let mut caller = agent(1, caller, &uri);
        caller.plan(starts, Task::Start);
        let callees = (2..).zip(habits).map(|(place, habits)| agent(place, habits, "")).collect();
        Call { caller, callees, expected, starts }
    }
}

fn address(call: u16, place: u8) -> Ipv4Addr {
    let [high, low] = call.to_be_bytes();
    Ipv4Addr::new(10, high, low, place)
}

/// What one callee makes of an INVITE that nobody cancels, and how many seconds that takes.
fn end_of(habits: &Habits) -> (u16, u64) {
    match habits.answer {
        _ if habits.is_dead => (408, NO_RESPONSE_SECONDS),
        None => (408, RINGING_SECONDS),
        // A 503 is about the next hop (§16.7 step 6).
        Some((after, 503)) => (500, after.as_secs()),
        Some((after, status)) => (status, after.as_secs()),
    }
}

fn expected(route: &str, caller: &Habits, callees: &[Habits]) -> Option<Vec<u16>> {
    let mortal = |habits: &Habits| habits.dies.is_some();
    if caller.cancels.is_some() || mortal(caller) || callees.iter().any(mortal) {
        return None;
    }
    let ends: Vec<(u16, u64)> = callees.iter().map(end_of).collect();
    match (route, ends.as_slice()) {
        ("refuse", _) => Some(vec![404]),
        ("blocked", _) => Some(vec![403]),
        ("own", _) => Some(vec![200]),
        ("hold", _) => Some(vec![408]),
        ("silence", _) => None,
        ("fork" | "await", all) => Some(forked(all)),
        ("both", [first, second, last]) => {
            let both = forked(&[*first, *second]);
            let longest = first.1.max(second.1);
            Some(both.into_iter().map(|end| in_turn(&[(end, longest), *last])).collect())
        }
        (_, all) => Some(vec![in_turn(all)]),
    }
}

/// What comes of a serial fork: the first 2xx, else the last answer, within the routing's lifetime.
fn in_turn(ends: &[(u16, u64)]) -> u16 {
    let mut seconds = 0;
    let mut last = 408;
    for (status, takes) in ends {
        seconds += takes;
        if seconds >= LIFETIME_SECONDS {
            return 408;
        }
        last = *status;
        if last == 200 {
            return last;
        }
    }
    last
}

/// What may come of a parallel fork: a 6xx ends it, unless a 2xx crosses the CANCEL.
fn forked(ends: &[(u16, u64)]) -> Vec<u16> {
    let statuses: Vec<u16> = ends.iter().map(|(status, _)| *status).collect();
    let has_6xx = statuses.iter().any(|status| *status >= 600);
    if statuses.contains(&200) && !has_6xx {
        return vec![200];
    }
    statuses
}

/// Whether a seed's network loses and delays nothing.
pub(crate) fn is_calm(entropy: &mut Entropy) -> bool {
    once_in(entropy, 6)
}
