//! Carrying out actions.
//!
//! For: `recv` and `nop` with an `action`.
//! Not here: reading them (`scenario/action.rs`).

use super::call::Call;
use super::render::{self, Site};
use crate::scenario::{
    Action, Calculation, Comparison, Operand, Operation, Place, Spread, Value, VariableId,
};
use std::cmp::Ordering;
use strowger_sip::entropy::Entropy;
use strowger_sip::message::Message;
use strowger_sip::time::Duration;

/// What an action wants to happen.
#[derive(Debug)]
pub(super) enum Effect {
    None,
    Set(Vec<(VariableId, Value)>),
    Say(String),
    /// The call fails: a check did.
    Fail,
    StopCall,
    StopRun,
}

/// Carries out one action.
pub(super) fn act(site: Site<'_>, action: &Action, entropy: &mut Entropy) -> Effect {
    let call = site.call;
    let set = |to: VariableId, value| Effect::Set(vec![(to, value)]);
    let text = |template| {
        let mut out = Vec::new();
        render::text(site, template, &mut out).map(|()| out)
    };
    match &action.operation {
        Operation::Find { pattern, place, check, assign } => {
            let found = searched(site, place).and_then(|bytes| pattern.captures(&bytes));
            if check.is_some_and(|wanted| wanted != found.is_some()) {
                return Effect::Fail;
            }
            let groups = found.into_iter().flatten().map(|group| match group {
                Some(text) => Value::Text(text),
                None => Value::Unset,
            });
            Effect::Set(assign.iter().copied().zip(groups).collect())
        }
        Operation::Assign { to, value } => set(*to, Value::Number(operand(call, *value))),
        Operation::AssignText { to, text: template } => match text(template) {
            Ok(text) => set(*to, Value::Text(text)),
            Err(render::NotWritten) => Effect::Fail,
        },
        Operation::Calculate { to, how, value } => {
            let (left, right) = (number(call, *to), operand(call, *value));
            set(*to, Value::Number(calculate(*how, left, right)))
        }
        Operation::Compare { to, left, how, right } => {
            let truth = compare(*how, number(call, *left), operand(call, *right));
            set(*to, Value::Truth(truth))
        }
        Operation::CompareText { to, left, right } => {
            let Ok(right) = text(right) else { return Effect::Fail };
            let order = match as_text(call, *left).cmp(&right) {
                Ordering::Less => -1.0,
                Ordering::Equal => 0.0,
                Ordering::Greater => 1.0,
            };
            set(*to, Value::Number(order))
        }
        Operation::ToNumber { to, from } => set(*to, Value::Number(number(call, *from))),
        Operation::Draw { to, spread } => {
            let span = draw(spread, call, entropy);
            set(*to, Value::Number(span.as_secs_f64() * 1000.0))
        }
        Operation::Say(template) => match text(template) {
            Ok(text) => Effect::Say(String::from_utf8_lossy(&text).into_owned()),
            Err(render::NotWritten) => Effect::None,
        },
        Operation::StopCall => Effect::StopCall,
        Operation::StopRun => Effect::StopRun,
    }
}

fn draw(spread: &Spread, call: &Call, entropy: &mut Entropy) -> Duration {
    spread.draw(entropy, Duration::ZERO, |id| number(call, id))
}

fn searched(site: Site<'_>, place: &Place) -> Option<Vec<u8>> {
    let message = |pick: fn(Message<'_>) -> &[u8]| site.last.map(|last| pick(last).to_vec());
    match place {
        Place::Message => message(|last| last.bytes()),
        Place::Body => message(|last| last.body()),
        Place::Header { header, occurrence } => {
            let mut fields = header.fields(site.last?);
            // SIPp's searches begin with the blank behind the colon.
            let field = fields.nth(occurrence.saturating_sub(1))?;
            Some([b" ", field.value].concat())
        }
        Place::Variable(id) => Some(as_text(site.call, *id)),
    }
}

fn calculate(how: Calculation, left: f64, right: f64) -> f64 {
    match how {
        Calculation::Add => left + right,
        Calculation::Subtract => left - right,
        Calculation::Multiply => left * right,
        Calculation::Divide => left / right,
    }
}

fn compare(how: Comparison, left: f64, right: f64) -> bool {
    match how {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Greater => left > right,
        Comparison::Less => left < right,
        Comparison::GreaterOrEqual => left >= right,
        Comparison::LessOrEqual => left <= right,
    }
}

fn operand(call: &Call, operand: Operand) -> f64 {
    match operand {
        Operand::Number(number) => number,
        Operand::Variable(id) => number(call, id),
    }
}

/// A variable as a number; 0 if it is none.
pub(super) fn number(call: &Call, id: VariableId) -> f64 {
    match call.variables.get(id.0).unwrap_or(&Value::Unset) {
        Value::Unset => 0.0,
        Value::Number(number) => *number,
        Value::Truth(truth) => f64::from(u8::from(*truth)),
        Value::Text(text) => {
            let text = std::str::from_utf8(text).unwrap_or("");
            text.trim().parse().unwrap_or(0.0)
        }
    }
}

fn as_text(call: &Call, id: VariableId) -> Vec<u8> {
    match call.variables.get(id.0).unwrap_or(&Value::Unset) {
        Value::Unset => Vec::new(),
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string().into_bytes(),
        Value::Truth(truth) => truth.to_string().into_bytes(),
    }
}

/// Whether a variable counts as set, for `test` and `condexec`.
pub(super) fn is_set(call: &Call, id: VariableId) -> bool {
    match call.variables.get(id.0).unwrap_or(&Value::Unset) {
        Value::Unset => false,
        Value::Truth(truth) => *truth,
        Value::Text(_) | Value::Number(_) => true,
    }
}
