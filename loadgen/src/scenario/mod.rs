//! Scenarios: what a party says and waits for, step by step, read from SIPp's XML.
//!
//! For: every role of the generator; the built-in ones are scenarios too (`builtin.rs`).
//! Not here: carrying a scenario out (`desk/`).
//! Invariants: what is read is understood: an element, attribute or keyword without a meaning here
//! is refused with its line, never skipped.

mod action;
mod build;
pub(crate) mod builtin;
pub(crate) mod inject;
mod keyword;
mod pattern;
mod spread;
pub(crate) mod template;
mod xml;

pub(crate) use action::{Action, Calculation, Comparison, Operand, Operation, Place, Value};
pub(crate) use keyword::{Credentials, Keyword, LastPart};
pub(crate) use pattern::Pattern;
pub(crate) use spread::Spread;
pub(crate) use template::{Part, Template};

use std::fmt;
use strowger_sip::message::MethodKind;
use strowger_sip::time::Duration;

/// A whole scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Where it came from, for messages to a person.
    pub(crate) source: String,
    pub(crate) steps: Vec<Step>,
    /// Names of the variables, by id.
    pub(crate) variables: Vec<String>,
    /// Names of the times measured, by id.
    pub(crate) timings: Vec<String>,
    /// Whether a template, an action or a hop-by-hop message looks back at what was received.
    pub(crate) keeps_last: bool,
    /// Whether something looks back at the message that opened the call.
    pub(crate) keeps_first: bool,
    /// Whether something is written with the peer's tag.
    pub(crate) keeps_tag: bool,
}

/// The index of a step.
pub(crate) type StepIndex = usize;

/// The index of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VariableId(pub(crate) usize);

/// One element of a scenario.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: u32,
    pub(crate) does: Does,
    /// Times that begin or end with this step.
    pub(crate) starts: Option<usize>,
    pub(crate) stops: Option<usize>,
    pub(crate) jump: Option<Jump>,
    /// The step is passed over unless the variable is set (`condexec`), or while it is.
    pub(crate) only_if: Option<(VariableId, bool)>,
}

/// `next`, with `test` and `chance`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    pub(crate) to: StepIndex,
    pub(crate) test: Option<VariableId>,
    /// Of 1,000,000.
    pub(crate) chance: u32,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Does {
    Send(Send),
    Receive(Receive),
    Pause(Spread),
    /// The call has succeeded; what is repeated is still answered for a while.
    Linger(Duration),
    Act(Vec<Action>),
}

/// `send`.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) template: Template,
    /// The first interval of retransmission over UDP.
    pub(crate) retransmit: Option<Duration>,
    /// The method of a request; `None` for a response.
    pub(crate) method: Option<MethodKind>,
    /// Percent of these messages that are lost on purpose.
    pub(crate) lost: u8,
    /// Whether the template looks back at the last message, or at the first.
    pub(crate) uses_last: bool,
    pub(crate) uses_first: bool,
}

/// `recv`.
#[derive(Debug)]
pub(crate) struct Receive {
    pub(crate) wants: Wants,
    pub(crate) optional: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_timeout: Option<StepIndex>,
    /// `rrs`: keep the route set and the remote target.
    pub(crate) keep_routes: bool,
    /// Keep the challenge.
    pub(crate) auth: bool,
    pub(crate) actions: Vec<Action>,
    /// Percent of these messages that are taken for lost.
    pub(crate) lost: u8,
}

/// What a `recv` takes.
#[derive(Debug)]
pub(crate) enum Wants {
    /// A response of this status to one of the requests sent before.
    Response {
        code: u16,
        to: Vec<MethodKind>,
    },
    ResponseLike {
        pattern: Pattern,
        to: Vec<MethodKind>,
    },
    Request {
        method: MethodKind,
        name: String,
    },
    RequestLike(Pattern),
}

impl fmt::Display for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wants::Response { code, .. } => write!(f, "{code}"),
            Wants::ResponseLike { pattern, .. } => write!(f, "a response like {pattern}"),
            Wants::Request { name, .. } => f.write_str(name),
            Wants::RequestLike(pattern) => write!(f, "a request like {pattern}"),
        }
    }
}

/// Why a scenario cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScenarioError {
    /// The file, or the name of a built-in scenario.
    pub(crate) source: String,
    pub(crate) line: u32,
    pub(crate) what: String,
}

impl ScenarioError {
    fn new(line: u32, what: impl Into<String>) -> ScenarioError {
        ScenarioError { source: String::new(), line, what: what.into() }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.what)
    }
}

impl std::error::Error for ScenarioError {}

impl Scenario {
    /// Reads a scenario; `source` names it in errors.
    pub(crate) fn read(source: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let scenario = xml::parse(text).and_then(|root| build::scenario(&root));
        scenario
            .map(|scenario| Scenario { source: source.to_owned(), ..scenario })
            .map_err(|error| ScenarioError { source: source.to_owned(), ..error })
    }

    /// Whether the party that follows it waits to be called.
    pub(crate) fn answers(&self) -> bool {
        let speaking = self.steps.iter().find_map(|step| match &step.does {
            Does::Send(_) => Some(false),
            Does::Receive(receive) => {
                Some(matches!(receive.wants, Wants::Request { .. } | Wants::RequestLike(_)))
            }
            Does::Pause(_) | Does::Linger(_) | Does::Act(_) => None,
        });
        speaking.unwrap_or(false)
    }

    /// The variable of that name.
    #[cfg(test)]
    pub(crate) fn variable(&self, name: &str) -> Option<VariableId> {
        self.variables.iter().position(|found| found == name).map(VariableId)
    }
}
