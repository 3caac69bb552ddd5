//! The node of a flow: what the runner needs of it, and how it is made from the set-up.
//!
//! For: running the same scripts against any routing; a crate with modules brings its own maker.
//! Not here: the test routing (`routing.rs`), the bench (`rig/bench.rs`).

use super::parse::span;
use super::script::{Endpoint, Fault, Setting, Setup};
use crate::actions::Origin;
use crate::blocklist::BlocklistRules;
use crate::engine::{Census, Input, Settings};
use crate::resolver::{Question, Resolution};
use crate::rig::{Bench, Sent};
use crate::routing::Routing;
use crate::rules::{OverloadRules, RecordRoute, Rules};
use crate::settings::{Configuration, Place, Value};
use crate::shard::{ShardId, ShardMap};
use crate::time::{Duration, Instant, ms, secs};
use crate::transaction::TimerSettings;
use crate::transport::{Flow, Listener, Listeners, Transport};

/// What a flow does with a node.
pub trait Node {
    /// The time.
    fn now(&self) -> Instant;
    /// A message arrives.
    fn receive(&mut self, flow: Flow, bytes: &[u8]);
    /// Goes to the next deadline that is not later than `limit`; `false` when there is none.
    fn step(&mut self, limit: Instant) -> bool;
    /// Goes to `moment`; everything due before it has fired.
    fn advance_to(&mut self, moment: Instant);
    /// Takes what was sent.
    fn take_sent(&mut self) -> Vec<Sent>;
    /// Something that it sent could not be delivered.
    fn unsent(&mut self, origin: Origin);
    /// Takes the names that it wants looked up.
    fn take_questions(&mut self) -> Vec<Question>;
    /// Answers such a question.
    fn resolve(&mut self, question: Question, resolution: Resolution);
    /// Refuses new calls from here on.
    fn drain(&mut self);
    /// What comes next has waited this long.
    fn waited(&mut self, delay: Duration);
    /// What is alive.
    fn census(&self) -> Census;
    /// A counter, if there is one of this name.
    fn metric(&self, name: &str) -> Option<u64>;
}

impl<R: Routing> Node for Bench<R> {
    fn now(&self) -> Instant {
        Bench::now(self)
    }
    fn receive(&mut self, flow: Flow, bytes: &[u8]) {
        self.input(Input::Datagram { flow, bytes });
    }
    fn step(&mut self, limit: Instant) -> bool {
        Bench::step(self, limit)
    }
    fn advance_to(&mut self, moment: Instant) {
        Bench::advance_to(self, moment);
    }
    fn take_sent(&mut self) -> Vec<Sent> {
        Bench::take_sent(self)
    }
    fn unsent(&mut self, origin: Origin) {
        self.input(Input::Unsent(origin));
    }
    fn take_questions(&mut self) -> Vec<Question> {
        Bench::take_questions(self)
    }
    fn resolve(&mut self, question: Question, resolution: Resolution) {
        self.input(Input::Resolved(question, resolution));
    }
    fn drain(&mut self) {
        self.input(Input::Drain);
    }
    fn waited(&mut self, delay: Duration) {
        self.input(Input::Waited(delay));
    }
    fn census(&self) -> Census {
        Bench::census(self)
    }
    fn metric(&self, name: &str) -> Option<u64> {
        Bench::metric(self, name)
    }
}

/// The one shard of a node, made from a set-up, with a routing and its modules.
///
/// # Errors
/// A setting that is not known or out of range.
pub fn bench<R: Routing>(
    setup: &Setup,
    routing: R,
    modules: R::Modules,
) -> Result<Bench<R>, Fault> {
    let listeners = setup.listeners.iter().copied().map(listener).collect();
    Ok(Bench::new(crate::engine::Setup {
        shard: ShardId(0),
        map: ShardMap::new(1, (1, 2)),
        listeners: Listeners::new(listeners),
        seed: (3, 4),
        settings: settings(setup)?,
        routing,
        modules,
    }))
}

fn listener(endpoint: Endpoint) -> Listener {
    let advertised = super::compose::host_port(endpoint);
    Listener { transport: endpoint.transport, bound: endpoint.address, advertised }
}

fn settings(setup: &Setup) -> Result<Settings, Fault> {
    let mut settings = Settings { aliases: setup.aliases.clone(), ..Settings::default() };
    let mut timers = TimerSettings::default();
    let mut configuration = Configuration::empty("set");
    for setting in &setup.settings {
        let words: Vec<&str> = setting.words.iter().map(String::as_str).collect();
        let result = match (setting.kind.as_str(), words.as_slice()) {
            ("timers", ["rfc"]) => {
                timers = TimerSettings::rfc(ms(500), secs(4), secs(5));
                Ok(())
            }
            ("timers", _) => Err("write `timers rfc`, or nothing for the defaults".to_owned()),
            ("timer", [name, value]) => timer(&mut timers, name, value),
            ("set", [name, value]) => match name.split_once('.') {
                Some((section, key)) => {
                    let number = value.parse().map(Value::Integer);
                    let value = number.unwrap_or_else(|_| Value::String((*value).to_owned()));
                    configuration.set(section, key, Place::Source, value);
                    Ok(())
                }
                None => set(&mut settings, name, value),
            },
            _ => Err("write `timer NAME SPAN` or `set NAME VALUE`".to_owned()),
        };
        result.map_err(|what| at(setting, what))?;
    }
    let last = setup.settings.last().map_or(1, |last| last.line);
    configure(&mut settings, &configuration).map_err(|what| Fault { line: last, what })?;
    settings.timers = timers.check().map_err(|faults| {
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Fault { line: last, what: text.join("; ") }
    })?;
    Ok(settings)
}

fn at(setting: &Setting, what: String) -> Fault {
    Fault { line: setting.line, what }
}

fn timer(timers: &mut TimerSettings, name: &str, value: &str) -> Result<(), String> {
    let place: &mut Duration = match name {
        "t1" => &mut timers.t1,
        "t2" => &mut timers.t2,
        "t4" => &mut timers.t4,
        "timer_a_longest" => &mut timers.timer_a_longest,
        "no_response" => &mut timers.no_response,
        "no_ack" => &mut timers.no_ack,
        "ringing" => &mut timers.ringing,
        "timer_d" => &mut timers.timer_d,
        "linger" => &mut timers.linger,
        "late" => &mut timers.late,
        _ => return Err(format!("{name} is no timer; see transaction/timer.rs")),
    };
    *place = span(value)?;
    Ok(())
}

fn set(settings: &mut Settings, name: &str, value: &str) -> Result<(), String> {
    let number = || value.parse::<u32>().map_err(|_| format!("{value} is no number"));
    match name {
        "max_inv_lifetime" => settings.max_inv_lifetime = span(value)?,
        "max_noninv_lifetime" => settings.max_noninv_lifetime = span(value)?,
        "udp_mtu" => settings.udp_mtu = Some(number()? as usize).filter(|mtu| *mtu > 0),
        "drain_retry_after_seconds" => settings.drain_retry_after_seconds = number()?,
        "transactions_max" => {
            settings.transactions_max = usize::try_from(number()?).unwrap_or(usize::MAX);
            settings.transactions_reserved = settings.transactions_max.min(1024);
        }
        _ => return Err(format!("{name} is no setting; see engine::Settings")),
    }
    Ok(())
}

/// Reads what `set SECTION.KEY VALUE` has set: `set tm.relay_100 1`.
fn configure(settings: &mut Settings, configuration: &Configuration) -> Result<(), String> {
    let (_, problems) = configuration.read(|root| {
        let mut tm = root.section("tm");
        settings.rules = Rules::read(&mut tm);
        settings.blocklist = BlocklistRules::read(&mut tm);
        drop(tm);
        settings.rules.record_route = RecordRoute::read(&mut root.section("rr"));
        settings.overload = OverloadRules::read(&mut root.section("overload"));
    });
    if problems.is_empty() { Ok(()) } else { Err(problems.to_string()) }
}

/// The flow from a party to a listener; `None` when nobody listens there.
pub(super) fn flow_to(listeners: &[Endpoint], listener: Endpoint, from: Endpoint) -> Option<Flow> {
    let place = listeners.iter().position(|own| *own == listener)?;
    let id = crate::transport::ListenerId(u16::try_from(place).ok()?);
    let flow = Flow::udp(id, from.address);
    Some(match from.transport {
        Transport::Udp => flow,
        other @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
            Flow { transport: other, ..flow }
        }
    })
}
