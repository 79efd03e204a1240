//! Evaluates pipelines, commands and operands.

use std::rc::Rc;

use super::fields::method;
use super::frame::Frame;
use super::{Executor, Failure};
use crate::functions::{self, Function, Run, Type};
use crate::syntax::ast::{Command, Expression, FunctionId, Operand, Pipeline};
use crate::value::{Value, owned_size};

impl Executor<'_> {
    /// The value of a pipeline's last command.
    pub(super) fn commands(
        &mut self,
        frame: &mut Frame<'_>,
        pipeline: &Pipeline,
        dot: &Value,
    ) -> Result<Value, Failure> {
        self.budget.check_stack().map_err(|failure| frame.locate_pipeline(failure, pipeline))?;
        let mut passed = None;
        for command in &pipeline.commands {
            passed = Some(self.command(frame, command, dot, passed)?.into_pipeline_value());
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
        let result = match self.budget.step() {
            Ok(()) => self.apply(frame, command, dot, passed),
            Err(failure) => Err(failure),
        };
        result.map_err(|failure| {
            let end = command.rest.last().unwrap_or(&command.first).end;
            frame.locate(failure, command.first.offset, end)
        })
    }

    fn apply(
        &mut self,
        frame: &mut Frame<'_>,
        command: &Command,
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let Command { first, rest } = command;
        let is_call = !rest.is_empty() || passed.is_some();
        match &first.kind {
            Operand::Function(function, chain) if chain.is_empty() => {
                self.function(frame, *function, rest, dot, passed)
            }
            Operand::Nil => Err("nil is not a command".into()),
            _ if !is_call => self.operand(frame, first, dot),
            Operand::Field(chain) => self.method(frame, dot.clone(), chain, rest, dot, passed),
            Operand::Variable(name, chain) if !chain.is_empty() => {
                let root = frame.variable(name)?;
                self.method(frame, root, chain, rest, dot, passed)
            }
            Operand::Nested(pipeline, chain) if !chain.is_empty() => {
                let root = self.pipeline(frame, pipeline, dot)?;
                self.method(frame, root, chain, rest, dot, passed)
            }
            Operand::Function(function, chain) => {
                let root = self.function(frame, *function, &[], dot, None)?;
                self.method(frame, root, chain, rest, dot, passed)
            }
            _ => Err(format!("can't give argument to non-function {}", frame.source(first)).into()),
        }
    }

    /// The value of an operand where any type will do.
    pub(super) fn operand(
        &mut self,
        frame: &mut Frame<'_>,
        expression: &Expression,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let result = match &expression.kind {
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::String(value) => Ok(value.clone()),
            Operand::Number(number) => number
                .ideal
                .clone()
                .ok_or_else(|| format!("{} overflows int", frame.source(expression)).into()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Dot => Ok(dot.clone()),
            Operand::Field(chain) => self.follow(dot.clone(), chain),
            Operand::Variable(name, chain) => frame.variable(name).and_then(|root| self.follow(root, chain)),
            Operand::Nested(pipeline, chain) => {
                let root = self.pipeline(frame, pipeline, dot)?;
                self.follow(root, chain)
            }
            Operand::Function(function, chain) => {
                self.function(frame, *function, &[], dot, None).and_then(|root| self.follow(root, chain))
            }
        };
        result.map_err(|failure| frame.locate(failure, expression.offset, expression.end))
    }

    /// A field chain with arguments must end in a method.
    fn method(
        &mut self,
        frame: &mut Frame<'_>,
        root: Value,
        chain: &[Rc<str>],
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let Some((name, path)) = chain.split_last() else { return Ok(root) };
        let receiver = self.follow(root, path)?;
        if matches!(receiver, Value::Nil) {
            return Ok(Value::Nil);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for argument in rest {
            arguments.push(self.operand(frame, argument, dot)?.into_pipeline_value());
        }
        arguments.extend(passed);
        method(&receiver, name, &arguments).unwrap_or_else(|| {
            // This distinguishes a field that does not exist from one that cannot be called.
            self.follow(receiver, std::slice::from_ref(name))?;
            Err(format!("{name} is not a method but has arguments").into())
        })
    }

    fn function(
        &mut self,
        frame: &mut Frame<'_>,
        function: FunctionId,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let value = match function {
            FunctionId::BuiltIn(index) => match functions::get(index) {
                Some(function) => self.built_in(frame, function, rest, dot, passed),
                None => Err("the function is not defined".into()),
            },
            FunctionId::Added(index) => self.added(frame, index, rest, dot, passed),
        }?;
        self.budget.allocate(owned_size(&value))?;
        Ok(value)
    }

    /// Calls a function of the program, which takes arguments of any type.
    fn added(
        &mut self,
        frame: &mut Frame<'_>,
        index: usize,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let environment = self.environment;
        let function = environment.added(index).ok_or("the function is not defined")?;
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for argument in rest {
            arguments.push(self.argument(frame, argument, Type::Any, dot)?);
        }
        arguments.extend(passed);
        self.budget.read(&arguments, |_| 1)?;
        (function.call)(&arguments).map_err(|error| Failure::from(error.to_string()).in_call(&function.name))
    }

    fn built_in(
        &mut self,
        frame: &mut Frame<'_>,
        function: &'static Function,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let given = rest.len() + usize::from(passed.is_some());
        self.budget.check_function(function)?;
        function.check_count(given)?;
        // These two stop at the first argument that decides, and must not evaluate the rest.
        if let Run::Decide(decisive) = function.run {
            return self.decide(frame, decisive, rest, dot, passed);
        }
        let mut arguments = Vec::with_capacity(given);
        for (index, argument) in rest.iter().enumerate() {
            let wanted = function.parameter(index);
            arguments.push(self.argument(frame, argument, wanted, dot)?);
        }
        if let Some(value) = passed {
            arguments.push(function.parameter(rest.len()).check(value)?);
        }
        self.budget.read(&arguments, |argument| function.reads(argument))?;
        let answer = match function.run {
            Run::Plain(run) => run(&arguments),
            Run::Within(run) => run(self, &arguments),
            Run::Decide(_) | Run::Missing(_) => Ok(Value::Nil),
        };
        answer.map_err(|failure| failure.in_call(function.name))
    }

    fn decide(
        &mut self,
        frame: &mut Frame<'_>,
        decisive: bool,
        rest: &[Expression],
        dot: &Value,
        passed: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut last = Value::Nil;
        for argument in rest {
            last = self.operand(frame, argument, dot)?;
            if last.is_true() == decisive {
                return Ok(last);
            }
        }
        Ok(passed.unwrap_or(last))
    }

    /// An argument as the type that a function wants: literals adapt, all else must fit.
    fn argument(
        &mut self,
        frame: &mut Frame<'_>,
        expression: &Expression,
        wanted: Type,
        dot: &Value,
    ) -> Result<Value, Failure> {
        let wrong = |what: &str| -> Failure {
            let source = frame.source(expression);
            frame.locate(format!("expected {what}; found {source}").into(), expression.offset, expression.end)
        };
        match (&expression.kind, wanted) {
            (Operand::Nil, Type::Any | Type::Map) => wanted.check(Value::Nil),
            (Operand::Nil, _) => Err(format!("cannot assign nil to {}", wanted.name()).into()),
            (Operand::Number(number), Type::Float) => {
                number.float.map(Value::Float).ok_or_else(|| wrong("float"))
            }
            (Operand::Number(number), Type::Int) => {
                number.integer.map(Value::Int).ok_or_else(|| wrong("integer"))
            }
            (Operand::Number(number), Type::Uint32) => match number.unsigned {
                // Go takes the lower half of a number that is too large.
                Some(unsigned) => Ok(Value::Int64(i64::try_from(unsigned & 0xffff_ffff).unwrap_or_default())),
                None => Err(wrong("unsigned integer")),
            },
            (Operand::Bool(_) | Operand::String(_) | Operand::Number(_), Type::Time | Type::Map) => {
                Err(format!("can't handle {} for arg of type {}", frame.source(expression), wanted.name())
                    .into())
            }
            (Operand::Bool(_) | Operand::Number(_), Type::String) => Err(wrong("string")),
            (Operand::String(_) | Operand::Number(_), Type::Bool) => Err(wrong("bool")),
            (Operand::Bool(_) | Operand::String(_), Type::Int) => Err(wrong("integer")),
            (Operand::Bool(_) | Operand::String(_), Type::Float) => Err(wrong("float")),
            _ => {
                let value = self.operand(frame, expression, dot)?;
                wanted
                    .check(value)
                    .map_err(|failure| frame.locate(failure, expression.offset, expression.end))
            }
        }
    }
}
