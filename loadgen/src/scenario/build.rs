//! Elements to steps.
//!
//! For: `Scenario::read`.
//! Not here: XML itself (`xml.rs`), the text of messages (`template.rs`), actions (`action.rs`).
//! Invariants: every jump leads to a step or to the end; attributes without a meaning here are
//! refused.

use super::action::{self, Names, Operation};
use super::keyword::{Keyword, Site};
use super::spread;
use super::template::Template;
use super::xml::Element;
use super::{Does, Jump, Pattern, Receive, Scenario, ScenarioError, Send, Step, StepIndex, Wants};
use strowger_sip::message::{Method, MethodKind};
use strowger_sip::time::Duration;

/// Attributes that any step may have. Those after `counter` only change how SIPp shows things.
const ON_ANY_STEP: &[&str] = &[
    "next",
    "test",
    "chance",
    "condexec",
    "condexec_inverse",
    "start_rtd",
    "rtd",
    "repeat_rtd",
    "counter",
    "crlf",
    "display",
    "hide",
];
/// Elements that only say how SIPp prints, or which variables it should not warn about.
const WITHOUT_EFFECT: &[&str] = &["ResponseTimeRepartition", "CallLengthRepartition", "Reference"];
/// Most steps of a scenario: what it takes to list them by 16 bits elsewhere.
const STEPS_MAX: usize = 4096;

/// Reads the root.
pub(super) fn scenario(root: &Element) -> Result<Scenario, ScenarioError> {
    if root.name != "scenario" {
        return Err(root.error(format!("<{}> is not a <scenario>", root.name)));
    }
    allow(root, &[&["name"]])?;
    let mut building = Building::new(root)?;
    let steps: Vec<&Element> = root.children.iter().filter(|child| is_step(child)).collect();
    for child in &root.children {
        if !is_step(child) && child.name != "label" && !WITHOUT_EFFECT.contains(&&*child.name) {
            return Err(child.error(format!("<{}> is not a known element", child.name)));
        }
    }
    if steps.is_empty() {
        return Err(root.error("a scenario needs at least one step"));
    }
    if steps.len() > STEPS_MAX {
        return Err(root.error(format!("{} steps, {STEPS_MAX} allowed", steps.len())));
    }
    let mut built = Vec::with_capacity(steps.len());
    for (index, element) in steps.iter().enumerate() {
        built.push(building.step(element, index)?);
    }
    Ok(building.finish(root, built))
}

fn is_step(element: &Element) -> bool {
    matches!(&*element.name, "send" | "recv" | "pause" | "timewait" | "nop")
}

struct Building {
    /// Labels with the index of the step after them.
    labels: Vec<(String, StepIndex)>,
    variables: Names,
    timings: Vec<String>,
    /// Methods of the requests sent so far.
    asked: Vec<MethodKind>,
    /// Transactions that were named (`start_txn`), with their methods.
    transactions: Vec<(String, MethodKind)>,
}

impl Building {
    fn new(root: &Element) -> Result<Building, ScenarioError> {
        let mut labels: Vec<(String, StepIndex)> = Vec::new();
        let mut index = 0;
        for child in &root.children {
            if child.name == "label" {
                allow(child, &[&["id"]])?;
                let id = child.attribute("id").ok_or_else(|| child.error("<label> needs id"))?;
                if labels.iter().any(|(known, _)| known == id) {
                    return Err(child.error(format!("label {id:?} stands twice")));
                }
                labels.push((id.to_owned(), index));
            }
            index += usize::from(is_step(child));
        }
        let (variables, timings, asked) = (Names::default(), Vec::new(), Vec::new());
        Ok(Building { labels, variables, timings, asked, transactions: Vec::new() })
    }

    fn step(&mut self, element: &Element, index: StepIndex) -> Result<Step, ScenarioError> {
        let does = match &*element.name {
            "send" => Does::Send(self.send(element, index)?),
            "recv" => Does::Receive(self.receive(element, index)?),
            "pause" => {
                allow(element, &[ON_ANY_STEP, spread::ATTRIBUTES])?;
                Does::Pause(spread::read(element, &mut self.variables)?)
            }
            "timewait" => {
                allow(element, &[ON_ANY_STEP, &["milliseconds"]])?;
                let span = millis(element, "milliseconds")?;
                Does::Linger(span.ok_or_else(|| element.error("<timewait> needs milliseconds"))?)
            }
            _ => {
                allow(element, &[ON_ANY_STEP])?;
                Does::Act(self.actions(element, index)?)
            }
        };
        let only_if = match (element.attribute("condexec"), flag(element, "condexec_inverse")?) {
            (Some(name), inverse) => Some((self.variables.id(name), !inverse)),
            (None, _) => None,
        };
        Ok(Step {
            line: element.line,
            does,
            starts: element.attribute("start_rtd").map(|name| self.timing(name)),
            stops: element.attribute("rtd").map(|name| self.timing(name)),
            jump: self.jump(element)?,
            only_if,
        })
    }

    /// SIPp's `rtd="true"` is the time with the name 1.
    fn timing(&mut self, name: &str) -> usize {
        let name = if name == "true" { "1" } else { name };
        let found = self.timings.iter().position(|known| known == name);
        found.unwrap_or_else(|| {
            self.timings.push(name.to_owned());
            self.timings.len() - 1
        })
    }

    fn jump(&mut self, element: &Element) -> Result<Option<Jump>, ScenarioError> {
        let Some(label) = element.attribute("next") else { return Ok(None) };
        let test = element.attribute("test").map(|name| self.variables.id(name));
        let chance = match element.attribute("chance") {
            None => 1_000_000,
            Some(text) => {
                let chance = text.parse::<f64>().ok().filter(|chance| (0.0..=1.0).contains(chance));
                let Some(chance) = chance else {
                    return Err(element.error(format!("chance={text:?} is not between 0 and 1")));
                };
                (chance * 1e6) as u32
            }
        };
        Ok(Some(Jump { to: self.label(element, label)?, test, chance }))
    }

    fn label(&self, element: &Element, label: &str) -> Result<StepIndex, ScenarioError> {
        let found = self.labels.iter().find(|(id, _)| id == label);
        let found = found.map(|(_, index)| *index);
        found.ok_or_else(|| element.error(format!("there is no label {label:?}")))
    }

    fn send(&mut self, element: &Element, index: StepIndex) -> Result<Send, ScenarioError> {
        let own = ["retrans", "lost", "start_txn", "ack_txn"];
        allow(element, &[ON_ANY_STEP, &own])?;
        let site = Site { line: element.text_line, step: index };
        let template = Template::message(&element.text, site, &mut self.variables)?;
        let method = template.method();
        if let Some(method) = method.filter(|method| *method != MethodKind::Ack) {
            self.asked.push(method);
            if let Some(name) = element.attribute("start_txn") {
                self.transactions.push((name.to_owned(), method));
            }
        }
        let retransmit = millis(element, "retrans")?;
        let keywords = template.keywords();
        // A field of a file may hold any keyword.
        let last = |key: &&Keyword| matches!(key, Keyword::Last(_) | Keyword::Field { .. });
        let uses_last = keywords.iter().any(last);
        let uses_first = keywords.iter().any(|key| matches!(key, Keyword::First(_)));
        let lost = percent(element, "lost")?;
        Ok(Send { template, retransmit, method, lost, uses_last, uses_first })
    }

    fn receive(&mut self, element: &Element, index: StepIndex) -> Result<Receive, ScenarioError> {
        allow(
            element,
            &[
                ON_ANY_STEP,
                &["request", "response", "optional", "timeout", "ontimeout", "rrs", "auth"],
                // There is no media whose description could be ignored.
                &["regexp_match", "lost", "response_txn", "ignoresdp"],
            ],
        )?;
        let on_timeout = element.attribute("ontimeout");
        let mut actions = Vec::new();
        for child in &element.children {
            if child.name != "action" {
                return Err(child.error(format!("<{}> is not a known element", child.name)));
            }
            actions.extend(action::read(child, index, &mut self.variables)?);
        }
        Ok(Receive {
            wants: self.wants(element)?,
            optional: flag(element, "optional")?,
            timeout: millis(element, "timeout")?,
            on_timeout: on_timeout.map(|label| self.label(element, label)).transpose()?,
            keep_routes: flag(element, "rrs")?,
            auth: flag(element, "auth")?,
            actions,
            lost: percent(element, "lost")?,
        })
    }

    fn wants(&self, element: &Element) -> Result<Wants, ScenarioError> {
        let pattern = |text: &str| Pattern::new(text).map_err(|what| element.error(what));
        let like = flag(element, "regexp_match")?;
        match (element.attribute("request"), element.attribute("response")) {
            (Some(method), None) if like => Ok(Wants::RequestLike(pattern(method)?)),
            (Some(name), None) => {
                let method = Method::from_bytes(name.as_bytes()).kind();
                Ok(Wants::Request { method, name: name.to_owned() })
            }
            (None, Some(code)) => {
                let to = self.asked_for(element)?;
                if like {
                    return Ok(Wants::ResponseLike { pattern: pattern(code)?, to });
                }
                let number = code.parse().ok().filter(|code| (100..700).contains(code));
                match number {
                    Some(code) => Ok(Wants::Response { code, to }),
                    None => Err(element.error(format!("response={code:?} is not a status"))),
                }
            }
            (Some(_), Some(_)) => Err(element.error("a recv takes a request or a response")),
            (None, None) => Err(element.error("<recv> needs request or response")),
        }
    }

    /// The requests that a response may answer: those of the transaction that it names, or any.
    fn asked_for(&self, element: &Element) -> Result<Vec<MethodKind>, ScenarioError> {
        let Some(name) = element.attribute("response_txn") else { return Ok(self.asked.clone()) };
        let named = self.transactions.iter().filter(|(known, _)| known == name);
        let methods: Vec<MethodKind> = named.map(|(_, method)| *method).collect();
        if methods.is_empty() {
            return Err(element.error(format!("no send before has start_txn={name:?}")));
        }
        Ok(methods)
    }

    fn actions(
        &mut self,
        element: &Element,
        index: StepIndex,
    ) -> Result<Vec<action::Action>, ScenarioError> {
        let mut actions = Vec::new();
        for child in &element.children {
            if child.name != "action" {
                return Err(child.error(format!("<{}> is not a known element", child.name)));
            }
            actions.extend(action::read(child, index, &mut self.variables)?);
        }
        Ok(actions)
    }

    fn finish(self, root: &Element, steps: Vec<Step>) -> Scenario {
        let keywords: Vec<&Keyword> = steps.iter().flat_map(keywords_of).collect();
        let looks_back = |key: &&Keyword| matches!(key, Keyword::Last(_));
        let keeps_last = keywords.iter().any(looks_back)
            || steps.iter().any(|step| matches!(&step.does, Does::Act(a) if !a.is_empty()));
        let keeps_first = keywords.iter().any(|key| matches!(key, Keyword::First(_)));
        let keeps_tag = keywords.iter().any(|key| matches!(key, Keyword::PeerTagParam));
        Scenario {
            name: root.attribute("name").unwrap_or("unnamed").to_owned(),
            source: String::new(),
            steps,
            variables: self.variables.into_names(),
            timings: self.timings,
            keeps_last,
            keeps_first,
            keeps_tag,
        }
    }
}

fn keywords_of(step: &Step) -> Vec<&Keyword> {
    let of_actions = |actions| {
        let texts = Vec::from_iter(actions).into_iter().filter_map(text_of);
        texts.flat_map(Template::keywords).collect()
    };
    match &step.does {
        Does::Send(send) => send.template.keywords(),
        Does::Receive(receive) => of_actions(&receive.actions),
        Does::Act(actions) => of_actions(actions),
        Does::Pause(_) | Does::Linger(_) => Vec::new(),
    }
}

fn text_of(action: &action::Action) -> Option<&Template> {
    match &action.operation {
        Operation::AssignText { text, .. } | Operation::Say(text) => Some(text),
        Operation::CompareText { right, .. } => Some(right),
        Operation::Find { .. }
        | Operation::Assign { .. }
        | Operation::Calculate { .. }
        | Operation::Compare { .. }
        | Operation::ToNumber { .. }
        | Operation::Draw { .. }
        | Operation::StopCall
        | Operation::StopRun => None,
    }
}

/// Refuses attributes that are in none of the lists.
pub(super) fn allow(element: &Element, known: &[&[&str]]) -> Result<(), ScenarioError> {
    for (name, _) in &element.attributes {
        if !known.iter().any(|list| list.contains(&name.as_str())) {
            let what = format!("{name} is not a known attribute of <{}>", element.name);
            return Err(element.error(what));
        }
    }
    Ok(())
}

/// `true` or `false`; absent is `false`.
pub(super) fn flag(element: &Element, name: &str) -> Result<bool, ScenarioError> {
    match element.attribute(name) {
        Some("true" | "1" | "yes") => Ok(true),
        None | Some("false" | "0" | "no") => Ok(false),
        Some(other) => Err(element.error(format!("{name}={other:?} is neither true nor false"))),
    }
}

fn millis(element: &Element, name: &str) -> Result<Option<Duration>, ScenarioError> {
    let Some(text) = element.attribute(name) else { return Ok(None) };
    match text.trim().parse() {
        Ok(millis) => Ok(Some(Duration::from_millis(millis))),
        Err(_) => Err(element.error(format!("{name}={text:?} is not a number of milliseconds"))),
    }
}

fn percent(element: &Element, name: &str) -> Result<u8, ScenarioError> {
    let Some(text) = element.attribute(name) else { return Ok(0) };
    match text.trim().parse().ok().filter(|percent| *percent <= 100) {
        Some(percent) => Ok(percent),
        None => Err(element.error(format!("{name}={text:?} is not a percentage"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(steps: &str) -> Result<Scenario, ScenarioError> {
        Scenario::read("a.xml", &format!("<scenario name=\"a\">\n{steps}\n</scenario>"))
    }

    const BYE: &str = "<send retrans=\"500\">\nBYE sip:[service]@h SIP/2.0\nTo: a\n\n</send>";

    #[test]
    fn steps_labels_and_jumps_are_read() {
        let text = format!(
            "{BYE}<label id=\"a\"/><recv response=\"200\" optional=\"true\" next=\"b\"/>\
             <recv request=\"INFO\" next=\"a\" test=\"t\" chance=\"0.5\"/><label id=\"b\"/>"
        );
        let scenario = read(&text).expect("a scenario");
        assert_eq!((scenario.steps.len(), scenario.answers()), (3, false));
        assert_eq!(scenario.steps[1].jump.map(|jump| jump.to), Some(3));
        let jump = scenario.steps[2].jump.expect("a jump");
        assert_eq!((jump.to, jump.test, jump.chance), (1, scenario.variable("t"), 500_000));
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        let wrong = [
            (format!("{BYE}\n<sendCmd/>"), 7, "sendCmd"),
            (format!("{BYE}<recv response=\"200\" crypto=\"x\"/>"), 6, "crypto"),
            (format!("{BYE}<recv response=\"20\"/>"), 6, "status"),
            (format!("{BYE}<recv response=\"200\" next=\"x\"/>"), 6, "label"),
            (format!("{BYE}<recv response=\"200\" response_txn=\"a\"/>"), 6, "start_txn"),
            (format!("{BYE}<recv response=\"200\" optional=\"global\"/>"), 6, "global"),
            (format!("{BYE}<Global variables=\"a\"/>"), 6, "Global"),
            ("<nop><action><rtp_echo/></action></nop>".to_owned(), 2, "rtp_echo"),
            ("<send>\n\nBYE sip:[serve]@h SIP/2.0\n</send>".to_owned(), 4, "[serve]"),
        ];
        for (text, line, word) in wrong {
            let error = read(&text).expect_err("wrong");
            assert_eq!((error.line, error.what.contains(word)), (line, true), "{error}");
        }
    }

    #[test]
    fn a_party_that_first_waits_for_a_request_answers() {
        let scenario = read("<pause/><recv request=\"INVITE\"/>").expect("a scenario");
        assert!(scenario.answers());
    }
}
