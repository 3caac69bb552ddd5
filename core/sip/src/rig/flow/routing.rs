//! The routing of a flow, written in the script: steps under `route METHOD`.
//!
//! For: `record-route`, `relay sip:bob@192.0.2.20`, `on 408 relay ...`, `reply 486` and their kin,
//! carried out through the public `Routing` trait as any user's routing would.
//! Not here: who matches which method is decided by the first `route` line that fits.
//! Invariants: a request with a Route header follows it, whatever the steps say.

use super::parse::{span, words};
use super::script::{Block, Fault};
use crate::routing::{Answer, Failed, Outcome, Progress, Relay, Reply, Request, Routing};
use crate::time::Duration;

/// A routing made of steps.
#[derive(Debug, Default)]
pub struct Scripted {
    routes: Vec<Route>,
}

/// What is done where no `route` line fits.
const RELAY: &[Step] = &[Step::Relay(Vec::new())];

#[derive(Debug)]
struct Route {
    /// `None` for any method.
    method: Option<String>,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    RecordRoute,
    RecordRouteFlow,
    Add(String, String),
    Remove(String),
    Progress(Progress),
    Pause(Duration),
    Relay(Vec<Target>),
    /// The same while there are others to try.
    RelayFirst(Vec<Target>),
    Replicate(String),
    Reply(Reply),
    Drop,
    Done,
    On(Failure, Box<Step>),
}

/// Where a branch goes: a Request-URI, a next hop, or both; neither is where the request says.
#[derive(Debug, Default)]
struct Target {
    uri: Option<String>,
    next_hop: Option<String>,
}

/// Which failure of the relay before a step is about.
#[derive(Debug)]
enum Failure {
    Status(u16),
    Class(u16),
    Challenge,
    Timeout,
    Cancel,
}

impl Failure {
    fn is(&self, failed: &Failed) -> bool {
        match self {
            Failure::Status(code) => failed.status().code() == *code,
            Failure::Class(class) => failed.status().class() == *class,
            Failure::Challenge => failed.is_challenge(),
            Failure::Timeout => failed.is_timeout(),
            Failure::Cancel => failed.is_cancelled(),
        }
    }
}

impl Scripted {
    /// Reads the `route` blocks; without any, each request is relayed to where it says.
    ///
    /// # Errors
    /// The first step that cannot be understood.
    pub fn read(blocks: &[Block]) -> Result<Scripted, Fault> {
        let mut routes = Vec::new();
        for block in blocks {
            let named = words(&block.text).map_err(|what| Fault { line: block.line, what })?;
            let method = match named.as_slice() {
                [_, any] if any == "any" => None,
                [_, method] => Some(method.clone()),
                _ => {
                    let what = "write `route INVITE` or `route any`, the steps below".to_owned();
                    return Err(Fault { line: block.line, what });
                }
            };
            let steps = block
                .details
                .iter()
                .map(|(line, text)| step(text).map_err(|what| Fault { line: *line, what }));
            routes.push(Route { method, steps: steps.collect::<Result<_, _>>()? });
        }
        Ok(Scripted { routes })
    }

    fn steps(&self, method: &[u8]) -> &[Step] {
        let fits = |route: &&Route| match &route.method {
            Some(own) => own.as_bytes() == method,
            None => true,
        };
        self.routes.iter().find(fits).map_or(RELAY, |route| &route.steps)
    }
}

fn step(text: &str) -> Result<Step, String> {
    let words = words(text)?;
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["record-route"] => Ok(Step::RecordRoute),
        ["record-route", "flow"] => Ok(Step::RecordRouteFlow),
        ["add", name, value] => Ok(Step::Add(bare(name), (*value).to_owned())),
        ["remove", name] => Ok(Step::Remove((*name).to_owned())),
        ["progress", rest @ ..] => {
            let progress = Progress::of(reply(rest)?);
            progress.map(Step::Progress).ok_or_else(|| "101 to 199 is wanted".to_owned())
        }
        ["pause", time] => span(time).map(Step::Pause),
        ["relay", rest @ ..] => targets(rest).map(Step::Relay),
        ["relay-first", rest @ ..] => targets(rest).map(Step::RelayFirst),
        ["replicate", uri] => Ok(Step::Replicate((*uri).to_owned())),
        ["reply", rest @ ..] => reply(rest).map(Step::Reply),
        ["drop"] => Ok(Step::Drop),
        ["done"] => Ok(Step::Done),
        ["on", failure, _, ..] => {
            let (_, rest) = text.split_once(failure).unwrap_or_default();
            Ok(Step::On(self::failure(failure)?, Box::new(step(rest)?)))
        }
        _ => Err(
            "a step is `record-route [flow]`, `add Name: VALUE`, `remove Name`, `progress CODE`, \
             `pause SPAN`, `relay [URI] [by URI] ...`, `relay-first [URI] [by URI] ...`, \
             `replicate URI`, `reply CODE [Name: VALUE]`, `drop`, `done` or \
             `on 408|4xx|challenge|timeout|cancel STEP`; texts with blanks in quotes"
                .to_owned(),
        ),
    }
}

fn bare(name: &str) -> String {
    name.trim_end_matches(':').to_owned()
}

fn failure(text: &str) -> Result<Failure, String> {
    match text {
        "challenge" => Ok(Failure::Challenge),
        "timeout" => Ok(Failure::Timeout),
        "cancel" => Ok(Failure::Cancel),
        _ => {
            let wrong = |_| format!("{text}: write a status, 4xx, challenge, timeout or cancel");
            match text.strip_suffix("xx") {
                Some(class) => class.parse().map(Failure::Class).map_err(wrong),
                None => text.parse().map(Failure::Status).map_err(wrong),
            }
        }
    }
}

fn targets(mut rest: &[&str]) -> Result<Vec<Target>, String> {
    let mut targets: Vec<Target> = Vec::new();
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        if *word != "by" {
            targets.push(Target { uri: Some((*word).to_owned()), next_hop: None });
            continue;
        }
        let (hop, after) = rest.split_first().ok_or("`by` what?")?;
        rest = after;
        let next_hop = Some((*hop).to_owned());
        match targets.last_mut().filter(|last| last.next_hop.is_none()) {
            Some(last) => last.next_hop = next_hop,
            None => targets.push(Target { uri: None, next_hop }),
        }
    }
    Ok(targets)
}

fn reply(words: &[&str]) -> Result<Reply, String> {
    let (code, mut rest) = words.split_first().ok_or("which status?")?;
    let code = code.parse().map_err(|_| format!("{code} is no status code"))?;
    let mut reply = Reply::new(code);
    while let Some((name, after)) = rest.split_first() {
        let (value, after) = match after.split_first() {
            Some(next) if name.ends_with(':') => next,
            Some(_) | None => return Err(format!("{name}: write `Name: VALUE`")),
        };
        reply = reply.header(&bare(name), value);
        rest = after;
    }
    Ok(reply)
}

impl Routing for Scripted {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        let steps = {
            let method = request.message().method();
            self.steps(method.as_ref().map_or(&[], |method| method.as_bytes()))
        };
        let mut failed: Option<Failed> = None;
        for (place, step) in steps.iter().enumerate() {
            let step = match (step, &failed) {
                (Step::On(failure, step), Some(failed)) if failure.is(failed) => step,
                (Step::On(..), _) => continue,
                (step, _) => step,
            };
            match step {
                Step::RecordRoute => request.record_route(),
                Step::RecordRouteFlow => request.record_route_flow(),
                Step::Add(name, value) => {
                    request.append_header(name, value).map_err(|_| Reply::server_error())?;
                }
                Step::Remove(name) => {
                    request.remove_header(name).map_err(|_| Reply::server_error())?;
                }
                Step::Progress(reply) => request.progress(reply),
                Step::Pause(span) => request.pause(*span).await,
                Step::Relay(targets) => {
                    let relay = relay(&mut request, targets).with_own_timers();
                    if place + 1 == steps.len() {
                        return Ok(relay.into());
                    }
                    match relay.await {
                        Outcome::Answered(_) => return Ok(Answer::Done),
                        Outcome::Failed(new) => failed = Some(new),
                    }
                }
                Step::RelayFirst(targets) => {
                    match relay(&mut request, targets).before_others().await {
                        Outcome::Answered(_) => return Ok(Answer::Done),
                        Outcome::Failed(new) => failed = Some(new),
                    }
                }
                Step::Replicate(uri) => {
                    request.replicate_to(uri);
                }
                Step::Reply(reply) => return Ok(reply.clone().into()),
                Step::Drop => return Ok(Answer::Drop),
                Step::Done => return Ok(Answer::Done),
                Step::On(..) => {}
            }
        }
        Ok(Answer::Done)
    }
}

fn relay<'r, 'a>(
    request: &'r mut Request<'a, Scripted>,
    targets: &[Target],
) -> Relay<'r, 'a, Scripted> {
    match targets {
        [] => request.relay_to_target(),
        [Target { uri: None, next_hop: Some(next_hop) }] => request.relay_by(next_hop),
        _ => {
            let own = String::from_utf8_lossy(request.request_uri()).into_owned();
            targets.iter().fold(request.fork(), |relay, target| {
                let uri = target.uri.as_deref().unwrap_or(&own);
                match &target.next_hop {
                    Some(next_hop) => relay.to_by(uri, next_hop),
                    None => relay.to(uri),
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_make_no_sense_are_refused() {
        for text in ["", "relay by", "reply", "reply 486 X", "on 4yy done", "pause", "hold"] {
            assert!(step(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets_pair_with_their_next_hops() {
        let targets = targets(&["sip:a", "by", "sip:x", "sip:b"]).unwrap();
        assert_eq!(targets.len(), 2);
        assert_eq!(targets[0].next_hop.as_deref(), Some("sip:x"));
        assert_eq!(targets[1].next_hop, None);
    }
}
