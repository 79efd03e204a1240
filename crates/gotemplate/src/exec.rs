//! Executes syntax trees, by the rules of Go's `text/template` exec.

use std::rc::Rc;

use crate::ast::{Branch, Command, Expression, Node, Nodes, Operand, Pipeline};
use crate::error::Error;
use crate::format;
use crate::functions;
use crate::templates::{Limits, Template, Templates};
use crate::value::{List, Map, Value};

/// Why an evaluation stops: a message still without place, or an error that has its place already.
pub(crate) enum Failure {
    Message(String),
    Located(Box<Error>),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::Message(message.to_owned())
    }
}

/// What a node asks of the loops around it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// What is used up over a whole execution, includes and all.
pub(crate) struct Budget {
    pub steps: u64,
    pub output: usize,
    pub depth: usize,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { steps: limits.steps, output: limits.output, depth: limits.depth }
    }
}

pub(crate) struct Executor<'t> {
    pub templates: &'t Templates,
    pub budget: &'t mut Budget,
}

/// One running template: its variables and what it printed.
struct Frame<'t> {
    template: &'t Template,
    variables: Vec<(Rc<str>, Value)>,
    output: String,
}

impl Executor<'_> {
    /// Executes a template by name and returns what it printed.
    pub(crate) fn execute(&mut self, name: &str, dot: &Value) -> Result<String, Failure> {
        let Some(template) = self.templates.get(name) else {
            return Err(format!("template {name:?} not defined").into());
        };
        if self.budget.depth == 0 {
            return Err(format!("templates call each other too deeply; the innermost is {name:?}").into());
        }
        self.budget.depth -= 1;
        let template = template.clone();
        let mut frame = Frame {
            template: &template,
            variables: vec![(Rc::from(""), dot.clone())],
            output: String::new(),
        };
        let result = self.nodes(&mut frame, &template.nodes, dot);
        self.budget.depth += 1;
        result?;
        Ok(frame.output)
    }

    fn nodes(&mut self, frame: &mut Frame<'_>, nodes: &Nodes, dot: &Value) -> Result<Flow, Failure> {
        for node in nodes {
            let flow = self.node(frame, node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, frame: &mut Frame<'_>, node: &Node, dot: &Value) -> Result<Flow, Failure> {
        match node {
            Node::Text(text) => self.print(frame, text)?,
            Node::Action(pipeline) => {
                let value = self.pipeline(frame, pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.print(frame, &format::print(&value))?;
                }
            }
            Node::If(branch) => return self.condition(frame, branch, dot, false),
            Node::With(branch) => return self.condition(frame, branch, dot, true),
            Node::Range(branch) => return self.range(frame, branch, dot),
            Node::Template { offset, name, argument } => {
                let argument = match argument {
                    Some(pipeline) => self.pipeline(frame, pipeline, dot)?,
                    None => Value::Nil,
                };
                let text = self
                    .execute(name, &argument)
                    .map_err(|failure| frame.locate(failure, *offset, *offset))?;
                frame.output.push_str(&text);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn print(&mut self, frame: &mut Frame<'_>, text: &str) -> Result<(), Failure> {
        self.budget.output = self
            .budget
            .output
            .checked_sub(text.len())
            .ok_or_else(|| Failure::from("the output is larger than any manifest should be"))?;
        frame.output.push_str(text);
        Ok(())
    }

    fn condition(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &Branch,
        dot: &Value,
        binds: bool,
    ) -> Result<Flow, Failure> {
        let scope = frame.variables.len();
        let value = self.pipeline(frame, &branch.pipeline, dot)?;
        let flow = if value.is_true() {
            self.nodes(frame, &branch.then, if binds { &value } else { dot })?
        } else {
            self.nodes(frame, &branch.otherwise, dot)?
        };
        frame.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, frame: &mut Frame<'_>, branch: &Branch, dot: &Value) -> Result<Flow, Failure> {
        let scope = frame.variables.len();
        let value = self.commands(frame, &branch.pipeline, dot)?;
        let entries = entries(&value).map_err(|message| {
            frame.locate(message.into(), place(&branch.pipeline), place(&branch.pipeline))
        })?;
        let mut flow = Flow::On;
        if entries.is_empty() {
            flow = self.nodes(frame, &branch.otherwise, dot)?;
        }
        for (key, element) in entries {
            frame.bind_range(&branch.pipeline, key, &element);
            let result = self.nodes(frame, &branch.then, &element)?;
            frame.variables.truncate(scope);
            if result == Flow::Break {
                break;
            }
        }
        frame.variables.truncate(scope);
        Ok(if matches!(flow, Flow::Break | Flow::Continue) { flow } else { Flow::On })
    }

    /// Evaluates a pipeline and sets its variable.
    fn pipeline(
        &mut self,
        frame: &mut Frame<'_>,
        pipeline: &Pipeline,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let value = self.commands(frame, pipeline, dot)?;
        for name in &pipeline.variables {
            frame.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    fn commands(
        &mut self,
        frame: &mut Frame<'_>,
        pipeline: &Pipeline,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let mut passed = None;
        for command in &pipeline.commands {
            passed = Some(self.command(frame, command, dot, passed)?);
        }
        Ok(passed.unwrap_or_default())
    }

    fn command(
        &mut self,
        frame: &mut Frame<'_>,
        command: &Command,
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let Some((first, rest)) = command.arguments.split_first() else { return Ok(Value::Nil) };
        self.budget.steps = self.budget.steps.checked_sub(1).ok_or_else(|| {
            frame.locate(
                "the templates take more steps than any chart should".into(),
                first.offset,
                first.end,
            )
        })?;
        let result = self.apply(frame, first, rest, dot, passed);
        let end = command.arguments.last().map_or(first.end, |last| last.end);
        result.map_err(|failure| frame.locate(failure, first.offset, end))
    }

    fn apply(
        &mut self,
        frame: &mut Frame<'_>,
        first: &Expression,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let is_call = !rest.is_empty() || passed.is_some();
        match &first.kind {
            Operand::Function(name) => self.function(frame, name, rest, dot, passed),
            Operand::Field(chain) if is_call => self.method(frame, dot, chain, rest, dot, passed),
            Operand::Variable(name, chain) if is_call && !chain.is_empty() => {
                let root = frame.variable(name);
                self.method(frame, &root, chain, rest, dot, passed)
            }
            Operand::Nested(pipeline, chain) if is_call && !chain.is_empty() => {
                let root = self.pipeline(frame, pipeline, dot)?;
                self.method(frame, &root, chain, rest, dot, passed)
            }
            Operand::Nil => Err("nil is not a command".into()),
            _ if is_call => {
                Err(format!("can't give argument to non-function {}", frame.source(first)).into())
            }
            _ => self.operand(frame, first, dot),
        }
    }

    fn function(
        &mut self,
        frame: &mut Frame<'_>,
        name: &str,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        // These two stop at the first argument that decides, and must not evaluate the rest.
        if name == "and" || name == "or" {
            return self.decide(frame, name == "or", rest, dot, passed);
        }
        let arguments = self.arguments(frame, rest, dot, passed)?;
        functions::call(self, name, &arguments).map_err(|failure| match failure {
            Failure::Message(message) => Failure::Message(format!("error calling {name}: {message}")),
            located @ Failure::Located(_) => located,
        })
    }

    fn decide(
        &mut self,
        frame: &mut Frame<'_>,
        decisive: bool,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut last = None;
        for argument in rest {
            let value = self.operand(frame, argument, dot)?;
            if value.is_true() == decisive {
                return Ok(value);
            }
            last = Some(value);
        }
        passed.or(last).ok_or_else(|| "wrong number of args for and/or: want at least 1 got 0".into())
    }

    fn arguments(
        &mut self,
        frame: &mut Frame<'_>,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Vec<Value>, Failure> {
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for argument in rest {
            arguments.push(self.operand(frame, argument, dot)?);
        }
        arguments.extend(passed);
        Ok(arguments)
    }

    fn operand(
        &mut self,
        frame: &mut Frame<'_>,
        expression: &Expression,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let result = match &expression.kind {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Dot => Ok(dot.clone()),
            Operand::Field(chain) => fields(dot, chain, false),
            Operand::Variable(name, chain) => fields(&frame.variable(name), chain, false),
            Operand::Nested(pipeline, chain) => {
                let root = self.pipeline(frame, pipeline, dot)?;
                fields(&root, chain, true)
            }
            Operand::Function(name) => return self.function(frame, name, &[], dot, None),
        };
        result.map_err(|message| frame.locate(message.into(), expression.offset, expression.end))
    }

    /// A field chain with arguments must end in a method.
    fn method(
        &mut self,
        frame: &mut Frame<'_>,
        root: &Value,
        chain: &[Rc<str>],
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let Some((method, path)) = chain.split_last() else { return Ok(root.clone()) };
        let receiver = fields(root, path, false)?;
        let Value::Object(object) = &receiver else {
            return Err(format!("{method} is not a method but has arguments").into());
        };
        let arguments = self.arguments(frame, rest, dot, passed)?;
        Ok(object.call(method, &arguments)?)
    }
}

impl Frame<'_> {
    fn variable(&self, name: &str) -> Value {
        self.variables
            .iter()
            .rev()
            .find(|(known, _)| &**known == name)
            .map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn set(&mut self, name: &Rc<str>, value: Value, declares: bool) {
        if declares {
            self.variables.push((name.clone(), value));
        } else if let Some((_, known)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            *known = value;
        }
    }

    fn bind_range(&mut self, pipeline: &Pipeline, key: Value, element: &Value) {
        match pipeline.variables.as_slice() {
            [] => {}
            [name] => self.set(name, element.clone(), pipeline.declares),
            [key_name, name, ..] => {
                self.set(key_name, key, pipeline.declares);
                self.set(name, element.clone(), pipeline.declares);
            }
        }
    }

    fn source(&self, expression: &Expression) -> &str {
        self.template.source.get(expression.offset..expression.end).unwrap_or_default()
    }

    /// Gives a message its place, unless it has one.
    fn locate(&self, failure: Failure, offset: usize, end: usize) -> Failure {
        match failure {
            Failure::Message(message) => {
                let expression = self.template.source.get(offset..end).unwrap_or_default();
                Failure::Located(Box::new(Error::at(
                    &self.template.file,
                    &self.template.source,
                    offset,
                    expression,
                    message,
                )))
            }
            located @ Failure::Located(_) => located,
        }
    }
}

fn place(pipeline: &Pipeline) -> usize {
    pipeline.commands.first().and_then(|command| command.arguments.first()).map_or(0, |first| first.offset)
}

/// Follows fields; a missing key is nil, and so is a field of nil when the chain hangs on parentheses.
fn fields(root: &Value, chain: &[Rc<str>], nil_is_safe: bool) -> Result<Value, String> {
    let mut value = root.clone();
    for name in chain {
        value = match &value {
            Value::Map(map) => map.get(name).unwrap_or_default(),
            Value::Object(object) => object
                .field(name)
                .ok_or_else(|| format!("can't evaluate field {name} in type {}", object.type_name()))?,
            Value::Nil if nil_is_safe => Value::Nil,
            Value::Nil => return Err(format!("nil pointer evaluating interface {{}}.{name}")),
            other => return Err(format!("can't evaluate field {name} in type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// What a loop goes over, with keys or indices.
fn entries(value: &Value) -> Result<Vec<(Value, Value)>, String> {
    let index = |index: usize| Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => Ok(indexed(list, index)),
        Value::Map(map) => Ok(keyed(map)),
        // Go 1.22 ranges over integers; the bound keeps an absurd one from taking all memory.
        Value::Int(number) if *number <= 1_000_000 => {
            Ok((0..*number).map(|number| (Value::Int(number), Value::Int(number))).collect())
        }
        other => Err(format!("range can't iterate over {}", format::print(other))),
    }
}

fn indexed(list: &List, index: impl Fn(usize) -> Value) -> Vec<(Value, Value)> {
    list.values().iter().enumerate().map(|(position, value)| (index(position), value.clone())).collect()
}

fn keyed(map: &Map) -> Vec<(Value, Value)> {
    map.entries().into_iter().map(|(key, value)| (Value::String(key), value)).collect()
}
