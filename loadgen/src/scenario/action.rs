//! Actions: what a scenario does with what it received.
//!
//! For: `action` inside `recv` and `nop`.
//! Not here: carrying them out (`desk/act.rs`).

use super::keyword::{Header, Site};
use super::pattern::Pattern;
use super::spread::{self, Spread};
use super::template::Template;
use super::xml::Element;
use super::{ScenarioError, VariableId};

/// The variables of a scenario by name.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    /// The variable of that name, a new one if need be.
    pub(super) fn id(&mut self, name: &str) -> VariableId {
        let name = name.trim();
        let found = self.0.iter().position(|known| known == name);
        VariableId(found.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        }))
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.0
    }
}

/// What a variable holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Value {
    #[default]
    Unset,
    Text(Vec<u8>),
    Number(f64),
    Truth(bool),
}

/// One action.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) line: u32,
    pub(crate) operation: Operation,
}

/// What it does.
#[derive(Debug)]
pub(crate) enum Operation {
    /// `ereg`
    Find {
        pattern: Pattern,
        place: Place,
        /// The call fails when nothing (`true`) or something (`false`) is found.
        check: Option<bool>,
        assign: Vec<VariableId>,
    },
    /// `assign`
    Assign { to: VariableId, value: Operand },
    /// `assignstr`
    AssignText { to: VariableId, text: Template },
    /// `add`, `subtract`, `multiply`, `divide`
    Calculate { to: VariableId, how: Calculation, value: Operand },
    /// `test`
    Compare { to: VariableId, left: VariableId, how: Comparison, right: Operand },
    /// `strcmp`: less than, equal to or greater than zero.
    CompareText { to: VariableId, left: VariableId, right: Template },
    /// `todouble`
    ToNumber { to: VariableId, from: VariableId },
    /// `sample`
    Draw { to: VariableId, spread: Spread },
    /// `log`, `warning`
    Say(Template),
    /// `exec int_cmd="stop_call"`
    StopCall,
    /// `exec int_cmd="stop_now"` and `stop_gracefully`
    StopRun,
}

/// Where `ereg` searches.
#[derive(Debug)]
pub(crate) enum Place {
    Message,
    Body,
    Header { header: Header, occurrence: usize },
    Variable(VariableId),
}

/// A number, or the variable that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    Number(f64),
    Variable(VariableId),
}

/// See [`Operation::Calculate`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Calculation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// See [`Operation::Compare`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

/// Reads the children of an `action`.
pub(super) fn read(
    element: &Element,
    step: usize,
    names: &mut Names,
) -> Result<Vec<Action>, ScenarioError> {
    let one = |child: &Element| {
        let operation = Reading { element: child, step, names: &mut *names }.operation()?;
        Ok(Action { line: child.line, operation })
    };
    element.children.iter().map(one).collect()
}

struct Reading<'a> {
    element: &'a Element,
    step: usize,
    names: &'a mut Names,
}

impl Reading<'_> {
    fn operation(&mut self) -> Result<Operation, ScenarioError> {
        match self.element.name.as_str() {
            "ereg" => self.find(),
            "assign" => {
                self.allow(&["assign_to", "value", "variable"])?;
                Ok(Operation::Assign { to: self.target()?, value: self.operand()? })
            }
            "assignstr" => {
                self.allow(&["assign_to", "value"])?;
                Ok(Operation::AssignText { to: self.target()?, text: self.text("value")? })
            }
            "add" => self.calculation(Calculation::Add),
            "subtract" => self.calculation(Calculation::Subtract),
            "multiply" => self.calculation(Calculation::Multiply),
            "divide" => self.calculation(Calculation::Divide),
            "test" => self.comparison(),
            "strcmp" => {
                self.allow(&["assign_to", "variable", "value"])?;
                let (to, left) = (self.target()?, self.variable("variable")?);
                Ok(Operation::CompareText { to, left, right: self.text("value")? })
            }
            "todouble" => {
                self.allow(&["assign_to", "variable"])?;
                Ok(Operation::ToNumber { to: self.target()?, from: self.variable("variable")? })
            }
            "sample" => {
                let known = [&["assign_to"], spread::ATTRIBUTES].concat();
                self.allow(&known)?;
                let spread = spread::read(self.element, self.names)?;
                Ok(Operation::Draw { to: self.target()?, spread })
            }
            "log" | "warning" => {
                self.allow(&["message"])?;
                Ok(Operation::Say(self.text("message")?))
            }
            "exec" => {
                self.allow(&["int_cmd"])?;
                match self.required("int_cmd")?.as_str() {
                    "stop_call" => Ok(Operation::StopCall),
                    "stop_now" | "stop_gracefully" => Ok(Operation::StopRun),
                    other => Err(self.error(format!("int_cmd={other:?} is not known"))),
                }
            }
            other => Err(self.error(format!("<{other}> is not a known action"))),
        }
    }

    fn find(&mut self) -> Result<Operation, ScenarioError> {
        self.allow(&[
            "regexp",
            "search_in",
            "header",
            "occurrence",
            "occurence",
            "case_indep",
            "start_line",
            "check_it",
            "check_it_inverse",
            "assign_to",
            "variable",
        ])?;
        let text = self.required("regexp")?;
        let text = if self.flag("case_indep")? { format!("(?i){text}") } else { text };
        let pattern = Pattern::new(&text).map_err(|what| self.error(what))?;
        let element = self.element;
        let place = match element.attribute("search_in").unwrap_or("msg") {
            "msg" => Place::Message,
            "body" => Place::Body,
            "hdr" => {
                let name = self.required("header")?.trim().trim_end_matches(':').to_owned();
                // The misspelling is the one that scenarios in use have.
                let written = element.attribute("occurrence").or(element.attribute("occurence"));
                let occurrence = written.map_or(Ok(1), str::parse);
                let occurrence = occurrence.map_err(|_| self.error("occurrence is no number"))?;
                Place::Header { header: Header::new(&name), occurrence }
            }
            "var" => Place::Variable(self.variable("variable")?),
            other => return Err(self.error(format!("search_in={other:?} is not known"))),
        };
        let check = match (self.flag("check_it")?, self.flag("check_it_inverse")?) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        let assign = element.attribute("assign_to").unwrap_or("");
        let assign = assign.split(',').filter(|name| !name.trim().is_empty());
        let assign = assign.map(|name| self.names.id(name)).collect();
        Ok(Operation::Find { pattern, place, check, assign })
    }

    fn calculation(&mut self, how: Calculation) -> Result<Operation, ScenarioError> {
        self.allow(&["assign_to", "value", "variable"])?;
        Ok(Operation::Calculate { to: self.target()?, how, value: self.operand()? })
    }

    fn comparison(&mut self) -> Result<Operation, ScenarioError> {
        self.allow(&["assign_to", "variable", "compare", "value", "variable2"])?;
        let how = match self.required("compare")?.as_str() {
            "equal" => Comparison::Equal,
            "not_equal" => Comparison::NotEqual,
            "greater_than" => Comparison::Greater,
            "less_than" => Comparison::Less,
            "greater_than_equal" => Comparison::GreaterOrEqual,
            "less_than_equal" => Comparison::LessOrEqual,
            other => return Err(self.error(format!("compare={other:?} is not known"))),
        };
        let right = match self.element.attribute("variable2") {
            Some(name) => Operand::Variable(self.names.id(name)),
            None => Operand::Number(self.number("value")?),
        };
        Ok(Operation::Compare { to: self.target()?, left: self.variable("variable")?, how, right })
    }

    fn operand(&mut self) -> Result<Operand, ScenarioError> {
        match self.element.attribute("variable") {
            Some(name) => Ok(Operand::Variable(self.names.id(name))),
            None => Ok(Operand::Number(self.number("value")?)),
        }
    }

    fn target(&mut self) -> Result<VariableId, ScenarioError> {
        self.variable("assign_to")
    }

    fn variable(&mut self, attribute: &str) -> Result<VariableId, ScenarioError> {
        let name = self.required(attribute)?;
        Ok(self.names.id(&name))
    }

    fn text(&mut self, attribute: &str) -> Result<Template, ScenarioError> {
        let text = self.required(attribute)?;
        let site = Site { line: self.element.line, step: self.step };
        Template::inline(&text, site, self.names)
    }

    fn number(&self, attribute: &str) -> Result<f64, ScenarioError> {
        let text = self.required(attribute)?;
        text.trim().parse().map_err(|_| self.error(format!("{attribute}={text:?} is no number")))
    }

    fn flag(&self, attribute: &str) -> Result<bool, ScenarioError> {
        super::build::flag(self.element, attribute)
    }

    fn required(&self, attribute: &str) -> Result<String, ScenarioError> {
        let missing = || self.error(format!("<{}> needs {attribute}", self.element.name));
        self.element.attribute(attribute).map(str::to_owned).ok_or_else(missing)
    }

    fn allow(&self, known: &[&str]) -> Result<(), ScenarioError> {
        super::build::allow(self.element, &[known])
    }

    fn error(&self, what: impl Into<String>) -> ScenarioError {
        self.element.error(what)
    }
}
