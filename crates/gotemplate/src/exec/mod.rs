//! Executes syntax trees, by the rules of Go's `text/template` exec.

mod budget;
mod evaluate;
mod fields;
mod frame;

use crate::environment::Environment;
use crate::error::{Error, ErrorKind};
use crate::format;
use crate::syntax::ast::{Branch, Node, Nodes, Pipeline};
use crate::templates::Scope;
use crate::value::{ConversionError, Value};
pub(crate) use budget::Budget;
use fields::Elements;
use frame::Frame;

/// Why an evaluation stops: a message that still needs its place, or an error that has one.
#[derive(Debug)]
pub(crate) enum Failure {
    Message(ErrorKind, String),
    Located(Box<Error>),
}

impl Failure {
    /// A limit that is exceeded.
    pub(crate) fn limit(message: &str) -> Self {
        Self::Message(ErrorKind::LimitExceeded, message.to_owned())
    }

    /// The failure as one of a function that is called.
    fn in_call(self, function: &str) -> Self {
        match self {
            Self::Message(kind, message) => {
                let kind = if kind == ErrorKind::Evaluation { ErrorKind::Call } else { kind };
                Self::Message(kind, format!("error calling {function}: {message}"))
            }
            located @ Self::Located(_) => located,
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(ErrorKind::Evaluation, message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::Message(ErrorKind::Evaluation, message.to_owned())
    }
}

impl From<ConversionError> for Failure {
    fn from(error: ConversionError) -> Self {
        let kind = match error {
            ConversionError::TooDeep | ConversionError::TooLarge => ErrorKind::LimitExceeded,
            _ => ErrorKind::Evaluation,
        };
        Self::Message(kind, error.to_string())
    }
}

/// How the loops around a node continue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Executes the templates of a scope.
pub(crate) struct Executor<'t> {
    pub scope: &'t Scope<'t>,
    pub budget: &'t mut Budget,
    pub environment: &'t Environment,
}

impl Executor<'_> {
    /// Executes a template by name and adds what it prints to the output.
    pub(crate) fn execute(&mut self, name: &str, dot: &Value, output: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(template) = self.scope.get(name) else {
            return Err(Failure::Message(
                ErrorKind::UnknownTemplate,
                format!("template {name:?} not defined"),
            ));
        };
        self.budget.check_stack()?;
        let mut frame = Frame::new(&template, dot);
        self.nodes(&mut frame, &template.nodes, dot, output)?;
        Ok(())
    }

    fn nodes(
        &mut self,
        frame: &mut Frame<'_>,
        nodes: &Nodes,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        for node in nodes {
            let flow = self.node(frame, node, dot, output)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(
        &mut self,
        frame: &mut Frame<'_>,
        node: &Node,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        match node {
            Node::Text(text) => self.print(text.as_bytes(), output)?,
            Node::Action(pipeline) => {
                let value = self.pipeline(frame, pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.print_value(&value, output)
                        .map_err(|failure| frame.locate_pipeline(failure, pipeline))?;
                }
            }
            Node::If(branch) => return self.condition(frame, branch, dot, false, output),
            Node::With(branch) => return self.condition(frame, branch, dot, true, output),
            Node::Range(branch) => return self.range(frame, branch, dot, output),
            Node::Template { offset, end, name, argument } => {
                let argument = match argument {
                    Some(pipeline) => self.pipeline(frame, pipeline, dot)?,
                    None => Value::Nil,
                };
                self.execute(name, &argument, output)
                    .map_err(|failure| frame.locate(failure, *offset, *end))?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn print(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        self.budget.print(bytes.len())?;
        output.extend_from_slice(bytes);
        Ok(())
    }

    fn print_value(&mut self, value: &Value, output: &mut Vec<u8>) -> Result<(), Failure> {
        match value.as_bytes() {
            Some(bytes) => self.print(bytes, output),
            None => self.print(&format::print(value)?, output),
        }
    }

    fn condition(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &Branch,
        dot: &Value,
        binds: bool,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        let scope = frame.scope();
        let value = self.pipeline(frame, &branch.pipeline, dot)?;
        let flow = if value.is_true() {
            self.nodes(frame, &branch.then, if binds { &value } else { dot }, output)?
        } else {
            self.nodes(frame, &branch.otherwise, dot, output)?
        };
        frame.leave_scope(scope);
        Ok(flow)
    }

    fn range(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &Branch,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        let scope = frame.scope();
        let value = self.commands(frame, &branch.pipeline, dot)?;
        let elements =
            fields::elements(&value).map_err(|failure| frame.locate_pipeline(failure, &branch.pipeline))?;
        let flow = match elements {
            Elements::Count(_) if branch.pipeline.variables.len() > 1 => {
                let message = format!("can't use {value:?} to iterate over more than one variable");
                return Err(frame.locate_pipeline(message.into(), &branch.pipeline));
            }
            Elements::Count(number) if number > 0 => {
                let pairs = (0..number).map(|number| (Value::Nil, same_type(&value, number)));
                self.rounds(frame, branch, pairs, output)?
            }
            Elements::Pairs(pairs) if !pairs.is_empty() => {
                self.rounds(frame, branch, pairs.into_iter(), output)?
            }
            _ => self.nodes(frame, &branch.otherwise, dot, output)?,
        };
        frame.leave_scope(scope);
        Ok(flow)
    }

    /// The rounds of a loop; what breaks it ends here.
    fn rounds(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &Branch,
        pairs: impl Iterator<Item = (Value, Value)>,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        let pipeline = &branch.pipeline;
        let scope = frame.scope();
        for (key, element) in pairs {
            self.budget.step().map_err(|failure| frame.locate_pipeline(failure, pipeline))?;
            frame
                .bind(pipeline, key, &element)
                .map_err(|failure| frame.locate_pipeline(failure, pipeline))?;
            let flow = self.nodes(frame, &branch.then, &element, output)?;
            frame.leave_scope(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// Evaluates a pipeline and sets its variables.
    fn pipeline(
        &mut self,
        frame: &mut Frame<'_>,
        pipeline: &Pipeline,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let value = self.commands(frame, pipeline, dot)?;
        if !pipeline.variables.is_empty() {
            frame.set(pipeline, &value).map_err(|failure| frame.locate_pipeline(failure, pipeline))?;
        }
        Ok(value)
    }
}

fn same_type(like: &Value, number: i64) -> Value {
    if matches!(like, Value::Int64(_)) { Value::Int64(number) } else { Value::Int(number) }
}

impl Frame<'_> {
    /// Sets the variables of a loop for a round: the element, or the key and the element.
    fn bind(&mut self, pipeline: &Pipeline, key: Value, element: &Value) -> Result<(), Failure> {
        let mut values = match pipeline.variables.len() {
            0 => return Ok(()),
            1 => vec![element.clone()],
            _ => vec![key, element.clone()],
        };
        for (name, value) in pipeline.variables.iter().zip(values.drain(..)) {
            if pipeline.declares {
                self.declare(name, value);
            } else {
                self.assign(name, value)?;
            }
        }
        Ok(())
    }

    fn locate_pipeline(&self, failure: Failure, pipeline: &Pipeline) -> Failure {
        let end = pipeline
            .commands
            .last()
            .map_or(pipeline.offset, |command| command.rest.last().unwrap_or(&command.first).end);
        self.locate(failure, pipeline.offset, end)
    }
}
