//! Arguments to a job.
//!
//! For: `command/mod.rs`.
//! Not here: carrying it out (`run.rs`).
//! Invariants: every mistake is an error here, before a socket is opened.

use super::{AnswerArguments, Answering, AskArguments, CallArguments, Calling, Common};
use super::{ScenarioArguments, address};
use crate::desk::call::Role;
use crate::desk::{Parties, Party};
use crate::net::{Means, Wanted};
use crate::run::Job;
use crate::sample::Page;
use crate::scenario::Scenario;
use crate::scenario::builtin::{Choices, Kind};
use crate::scenario::inject::Fields;
use crate::schedule::{Plan, Profile};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;
use strowger_sip::message::StatusCode;

/// Ringing long enough for a CANCEL to come in time.
const RING_FOR_CANCEL: Duration = Duration::from_millis(500);
/// Most threads, and most sockets of each: places are numbered by 16 bits.
const THREADS_MAX: usize = 256;
const PLACES_MAX: usize = 20_000;

/// The requests outside of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Register,
    Options,
    Publish,
}

/// `None` when the scenarios were only to be shown.
type Planned = Result<Option<Job>, String>;

/// What all jobs are made of.
struct Draft<'a> {
    common: &'a Common,
    target: Option<SocketAddr>,
    answer: Vec<SocketAddr>,
    callers: Vec<(Scenario, u32)>,
    callees: Vec<(Scenario, u32)>,
    fields: Vec<Fields>,
    sources: Vec<SocketAddr>,
    ports: u16,
    profile: Profile,
    service: String,
    user: String,
    password: String,
    hold: Duration,
    ring: Duration,
    patience: Option<Duration>,
}

pub(super) fn call(arguments: &CallArguments) -> Planned {
    let CallArguments { common, calling, answering, hold, mix } = arguments;
    let kinds = mix_of(mix, caller_kind)?;
    let cancels = kinds.iter().any(|(kind, _)| *kind == Kind::Cancel);
    let ring = answering.ring.unwrap_or(if cancels { RING_FOR_CANCEL } else { Duration::ZERO });
    if cancels && ring.is_zero() {
        return Err("a call that does not ring cannot be cancelled: --ring".into());
    }
    let mut draft = Draft::calling(common, calling, answering)?;
    (draft.hold, draft.ring) = (*hold, ring);
    let choices = choices(&draft, calling, common, 300)?;
    if common.print_scenario {
        return print(&kinds, &answering.answers, &choices);
    }
    draft.callers = read_kinds(&kinds, &choices)?;
    if !draft.answer.is_empty() {
        draft.callees = read_kinds(&mix_of(&answering.answers, callee_kind)?, &choices)?;
    }
    draft.job()
}

pub(super) fn ask(arguments: &AskArguments, what: Ask) -> Planned {
    let AskArguments { common, calling, answering, expires } = arguments;
    let kind = match what {
        Ask::Register => Kind::Register,
        Ask::Options => Kind::Options,
        Ask::Publish => Kind::Publish,
    };
    let mut draft = Draft::calling(common, calling, answering)?;
    let choices = choices(&draft, calling, common, *expires)?;
    if common.print_scenario {
        return print(&[(kind, 1)], &answering.answers, &choices);
    }
    draft.callers = read_kinds(&[(kind, 1)], &choices)?;
    if !draft.answer.is_empty() {
        draft.callees = read_kinds(&mix_of(&answering.answers, callee_kind)?, &choices)?;
    }
    draft.job()
}

pub(super) fn answer(arguments: &AnswerArguments) -> Planned {
    let AnswerArguments { common, answering } = arguments;
    let mut draft = Draft::new(common, answering)?;
    draft.ring = answering.ring.unwrap_or(Duration::ZERO);
    if draft.answer.is_empty() {
        return Err("--answer HOST:PORT says where calls are taken".into());
    }
    let choices = callee_choices(&draft, common);
    if common.print_scenario {
        return print(&[], &answering.answers, &choices);
    }
    draft.callees = read_kinds(&mix_of(&answering.answers, callee_kind)?, &choices)?;
    draft.job()
}

pub(super) fn scenario(arguments: &ScenarioArguments) -> Planned {
    let common = &arguments.common;
    let scenario = read_file(&arguments.file)?;
    if common.print_scenario {
        println!("{scenario:#?}");
        return Ok(None);
    }
    let target = arguments.target.as_deref().map(address).transpose()?;
    let answers = scenario.answers();
    let mut draft = Draft {
        target,
        answer: arguments.answer.iter().map(|text| address(text)).collect::<Result<_, _>>()?,
        sources: sources(&arguments.source, target)?,
        ports: arguments.ports,
        profile: arguments.rate.clone(),
        service: arguments.service.clone(),
        user: arguments.user.clone(),
        password: arguments.password.clone(),
        hold: arguments.hold,
        fields: inject(&arguments.inject)?,
        ..Draft::empty(common)
    };
    match (answers, draft.answer.is_empty(), target) {
        (true, true, _) => return Err("this scenario takes calls: --answer HOST:PORT".into()),
        (false, _, None) => return Err("this scenario makes calls: --target HOST:PORT".into()),
        (true, false, _) => draft.callees = vec![(scenario, 1)],
        (false, _, Some(_)) => draft.callers = vec![(scenario, 1)],
    }
    if answers {
        draft.target = None;
    }
    draft.job()
}

impl<'a> Draft<'a> {
    fn empty(common: &'a Common) -> Draft<'a> {
        Draft {
            common,
            target: None,
            answer: Vec::new(),
            callers: Vec::new(),
            callees: Vec::new(),
            fields: Vec::new(),
            sources: Vec::new(),
            ports: 1,
            profile: Profile(vec![(0.0, 0.0, None)]),
            service: "service".to_owned(),
            user: "user".to_owned(),
            password: "secret".to_owned(),
            hold: Duration::ZERO,
            ring: Duration::ZERO,
            patience: Some(common.patience),
        }
    }

    fn new(common: &'a Common, answering: &Answering) -> Result<Draft<'a>, String> {
        let answer = answering.answer.iter().map(|text| address(text));
        Ok(Draft { answer: answer.collect::<Result<_, _>>()?, ..Draft::empty(common) })
    }

    fn calling(
        common: &'a Common,
        calling: &Calling,
        answering: &Answering,
    ) -> Result<Draft<'a>, String> {
        let target = address(&calling.target)?;
        let mut fields = Vec::new();
        if let Some(count) = calling.users {
            let random = calling.random_users;
            fields.push(Fields::numbered(&calling.user, count, &calling.password, random));
        }
        fields.extend(inject(&calling.inject)?);
        Ok(Draft {
            target: Some(target),
            sources: sources(&calling.source, Some(target))?,
            ports: calling.ports,
            profile: calling.rate.clone(),
            service: calling.service.clone(),
            user: calling.user.clone(),
            password: calling.password.clone(),
            fields,
            ..Draft::new(common, answering)?
        })
    }

    fn job(self) -> Planned {
        let common = self.common;
        self.check()?;
        let (plan, workers) = (self.plan(), self.places()?);
        let usual = self.hold + self.ring + common.patience * 2;
        let page =
            common.control.as_ref().map(|url| Ok::<_, String>((url.clone(), Page::new(url)?)));
        let cores = cores(common);
        let (rate, transport) = (self.profile.to_string(), common.transport.clone());
        Ok(Some(Job {
            plan,
            workers,
            cores,
            offload: common.offload,
            drain: common.drain.unwrap_or(usual),
            callees_for: common.duration,
            callees_take: common.calls.unwrap_or(u64::MAX),
            late_max: common.late_max,
            page: page.transpose()?,
            pid: common.pid,
            command: std::env::args().collect::<Vec<_>>().join(" "),
            transport,
            rate,
            quiet: common.quiet,
            seed: common.seed,
            parties: self.parties(),
        }))
    }

    fn check(&self) -> Result<(), String> {
        let common = self.common;
        if !(1..=THREADS_MAX).contains(&common.threads) {
            return Err(format!("--threads: 1 to {THREADS_MAX}"));
        }
        for address in self.target.iter().chain(&self.answer) {
            if !address.ip().is_loopback() && !common.allow_remote {
                return Err(format!(
                    "{address} is not loopback: --allow-remote if you mean it and may"
                ));
            }
        }
        if self.answer.iter().any(|address| address.port() == 0) {
            return Err("--answer needs a port".into());
        }
        if self.common.offload && self.common.transport != "udp" {
            return Err("--offload is for UDP".into());
        }
        Ok(())
    }

    fn plan(&self) -> Plan {
        let common = self.common;
        let length = match self.profile.0.last() {
            Some((_, _, None)) | None => Some(common.duration),
            // A profile that says how long it lasts needs no other length.
            Some((_, _, Some(_))) => None,
        };
        let mut plan = Plan::new(&self.profile, length, common.tick);
        if self.callers.is_empty() {
            plan.stretches.clear();
        }
        plan.calls_max = common.calls.unwrap_or(u64::MAX);
        plan
    }

    /// The addresses of every worker: callees' first, so that callers find them listening.
    fn places(&self) -> Result<Vec<Vec<(Role, Wanted)>>, String> {
        let threads = self.common.threads;
        let udp = self.common.transport == "udp";
        let count = self.answer.len() + self.sources.len() * usize::from(self.ports);
        if count > PLACES_MAX {
            return Err(format!("{count} sockets a thread, {PLACES_MAX} allowed"));
        }
        // More sockets than the usual limit of a shell may be wanted.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let mut workers = Vec::new();
        for worker in 0..threads {
            let mut places = Vec::new();
            if !self.callees.is_empty() {
                let means = if udp { Means::Udp } else { Means::Listen };
                let shared = threads > 1;
                let wanted =
                    self.answer.iter().map(|address| Wanted { address: *address, means, shared });
                places.extend(wanted.map(|wanted| (Role::Callee, wanted)));
            }
            if let Some(target) = self.target.filter(|_| !self.callers.is_empty()) {
                let means = if udp { Means::Udp } else { Means::Dial(target) };
                for source in &self.sources {
                    for port in 0..self.ports {
                        let address = own_port(*source, worker, self.ports, port)?;
                        let wanted = Wanted { address, means, shared: false };
                        places.push((Role::Caller, wanted));
                    }
                }
            }
            workers.push(places);
        }
        Ok(workers)
    }

    fn parties(self) -> Parties {
        let mut timings = Vec::new();
        let target = self.target.unwrap_or_else(|| unknown(&self.answer));
        let common = self.common;
        Parties {
            callers: party(self.callers, "", &mut timings),
            callees: party(self.callees, "callee ", &mut timings),
            fields: self.fields,
            timings,
            target,
            remote_ip: match target.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            },
            service: self.service.into_bytes(),
            user: self.user.into_bytes(),
            password: self.password.into_bytes(),
            hold: self.hold,
            patience: self.patience,
            late_after: common.late_after,
            calls_max: common.calls_at_once.div_ceil(common.threads.max(1)),
        }
    }
}

/// Callees have no target; keywords that name it name this.
fn unknown(answer: &[SocketAddr]) -> SocketAddr {
    answer.first().copied().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 5060)))
}

fn own_port(
    source: SocketAddr,
    worker: usize,
    ports: u16,
    port: u16,
) -> Result<SocketAddr, String> {
    if source.port() == 0 {
        return Ok(source);
    }
    let number = usize::from(source.port()) + worker * usize::from(ports) + usize::from(port);
    let number = u16::try_from(number).map_err(|_| format!("{source}: no ports left behind it"))?;
    Ok(SocketAddr::new(source.ip(), number))
}

fn party(scenarios: Vec<(Scenario, u32)>, prefix: &str, timings: &mut Vec<String>) -> Party {
    let mut party = Party::default();
    for (scenario, weight) in scenarios {
        let mut ids = Vec::new();
        for name in &scenario.timings {
            let name = format!("{prefix}{name}");
            let found = timings.iter().position(|known| *known == name);
            ids.push(found.unwrap_or(timings.len()));
            if found.is_none() {
                timings.push(name);
            }
        }
        party.timing_ids.push(ids);
        party.weights.push(weight);
        party.scenarios.push(scenario);
    }
    party
}

/// The cores of threads: those asked for, or the last ones, since a proxy takes the first.
fn cores(common: &Common) -> Vec<Option<usize>> {
    if common.no_pin {
        return vec![None; common.threads];
    }
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    let is_set = |core: &usize| allowed.is_ok_and(|set| set.is_set(*core).unwrap_or(false));
    let mut cores: Vec<usize> = common.cores.clone();
    if cores.is_empty() {
        cores = (0..nix::sched::CpuSet::count()).filter(is_set).collect();
        cores.reverse();
    }
    (0..common.threads).map(|thread| cores.get(thread % cores.len().max(1)).copied()).collect()
}

/// Own addresses; without any, the one from which the target is reached.
fn sources(written: &[String], target: Option<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
    let read = |text: &String| -> Result<SocketAddr, String> {
        let ip = text.trim_matches(['[', ']']).parse::<IpAddr>();
        ip.map(|ip| SocketAddr::new(ip, 0)).or_else(|_| address(text))
    };
    let sources = written.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let Some(target) = target else { return Ok(sources) };
    if let Some(wrong) = sources.iter().find(|source| source.is_ipv4() != target.is_ipv4()) {
        return Err(format!("--source {wrong} cannot reach {target}: another family"));
    }
    if !sources.is_empty() {
        return Ok(sources);
    }
    let any: SocketAddr =
        if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
    let own = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    let own = own.map_err(|error| format!("{target} cannot be reached: {error}"))?;
    Ok(vec![SocketAddr::new(own.ip(), 0)])
}

fn choices(
    draft: &Draft<'_>,
    calling: &Calling,
    common: &Common,
    expires: u32,
) -> Result<Choices, String> {
    let target = draft.target.ok_or("--target HOST:PORT says where requests go")?;
    let called = draft.answer.first().copied().unwrap_or(target);
    let tcp = common.transport == "tcp";
    let parameter = if tcp { ";transport=tcp" } else { "" };
    let (user, password) = match calling.users {
        Some(_) => ("[field0]", "[field1]"),
        None => (calling.user.as_str(), calling.password.as_str()),
    };
    let to = calling.to.clone();
    Ok(Choices {
        to: to.unwrap_or_else(|| format!("sip:{}@{called}{parameter}", calling.service)),
        domain: calling.domain.clone().unwrap_or_else(|| "[remote_ip]:[remote_port]".to_owned()),
        user: user.to_owned(),
        password: password.to_owned(),
        hold: draft.hold,
        ring: draft.ring,
        patience: common.patience,
        tcp,
        expires,
    })
}

fn callee_choices(draft: &Draft<'_>, common: &Common) -> Choices {
    Choices {
        to: "sip:[service]@[local_ip]:[local_port]".to_owned(),
        domain: "[local_ip]".to_owned(),
        user: "user".to_owned(),
        password: String::new(),
        hold: draft.hold,
        ring: draft.ring,
        patience: common.patience,
        tcp: common.transport == "tcp",
        expires: 300,
    }
}

fn caller_kind(name: &str) -> Option<Kind> {
    match name {
        "talk" => Some(Kind::Talk),
        "reinvite" => Some(Kind::Reinvite),
        "update" => Some(Kind::Update),
        "cancel" => Some(Kind::Cancel),
        _ => None,
    }
}

fn callee_kind(name: &str) -> Option<Kind> {
    if name == "answer" {
        return Some(Kind::Answer);
    }
    let status = StatusCode::new(name.parse().ok()?)?;
    (status.class() >= 3).then_some(Kind::Refuse(status))
}

/// Reads `talk=80,cancel=20`.
fn mix_of(text: &str, kind: fn(&str) -> Option<Kind>) -> Result<Vec<(Kind, u32)>, String> {
    let part = |part: &str| {
        let (name, weight) = part.trim().split_once('=').unwrap_or((part.trim(), "1"));
        let kind = kind(name).ok_or_else(|| format!("{name:?} is nothing that can be done"))?;
        let weight = weight.parse().ok().filter(|weight| *weight <= 1_000_000);
        Ok((kind, weight.ok_or_else(|| format!("{part:?}: a weight is a number up to 1000000"))?))
    };
    let kinds = text.split(',').map(part).collect::<Result<Vec<(Kind, u32)>, String>>()?;
    if kinds.iter().all(|(_, weight)| *weight == 0) {
        return Err(format!("{text:?}: every weight is 0"));
    }
    Ok(kinds)
}

fn read_kinds(kinds: &[(Kind, u32)], choices: &Choices) -> Result<Vec<(Scenario, u32)>, String> {
    let read = |(kind, weight): &(Kind, u32)| {
        let scenario = kind.scenario(choices).map_err(|error| error.to_string())?;
        Ok((scenario, *weight))
    };
    kinds.iter().filter(|(_, weight)| *weight > 0).map(read).collect()
}

fn print(kinds: &[(Kind, u32)], answers: &str, choices: &Choices) -> Planned {
    let callees = mix_of(answers, callee_kind)?;
    for (kind, _) in kinds.iter().chain(&callees) {
        println!("{}", kind.text(choices));
    }
    Ok(None)
}

fn read_file(path: &Path) -> Result<Scenario, String> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    // SIPp's own scenarios say ISO-8859-1; what is not ASCII in them stands in comments.
    let text = String::from_utf8_lossy(&bytes);
    Scenario::read(&name, &text).map_err(|error| error.to_string())
}

fn inject(paths: &[PathBuf]) -> Result<Vec<Fields>, String> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Fields::read(&name, &text).map_err(|error| error.to_string())
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_and_nonsense_is_refused() {
        let mix = mix_of("talk=80,cancel=20", caller_kind).expect("a mix");
        assert_eq!(mix, [(Kind::Talk, 80), (Kind::Cancel, 20)]);
        let busy = Kind::Refuse(StatusCode::BUSY_HERE);
        assert_eq!(mix_of("answer=99,486", callee_kind), Ok(vec![(Kind::Answer, 99), (busy, 1)]));
        for text in ["walk=1", "talk=x", "talk=0", "200=1"] {
            assert!(mix_of(text, caller_kind).is_err(), "{text}");
        }
        assert!(mix_of("200=1", callee_kind).is_err());
    }

    #[test]
    fn sources_are_found_and_ports_follow_each_other() {
        let target = "127.0.0.1:5060".parse().ok();
        assert_eq!(sources(&[], target), Ok(vec!["127.0.0.1:0".parse().expect("an address")]));
        assert!(sources(&["::1".to_owned()], target).is_err());
        let source = "127.0.0.1:7000".parse().expect("an address");
        let port = own_port(source, 2, 10, 3).map(|address| address.port());
        assert_eq!(port, Ok(7023));
        assert!(own_port("127.0.0.1:65535".parse().expect("an address"), 1, 1, 0).is_err());
    }
}
