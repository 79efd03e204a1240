//! One running template: its variables, and how its errors get their place.

use std::rc::Rc;

use super::Failure;
use crate::error::Error;
use crate::syntax::ast::{Expression, Pipeline};
use crate::templates::Template;
use crate::value::Value;

pub(super) struct Frame<'t> {
    pub template: &'t Template,
    variables: Vec<(Rc<str>, Value)>,
}

impl<'t> Frame<'t> {
    pub(super) fn new(template: &'t Template, dot: &Value) -> Self {
        Self { template, variables: vec![(Rc::from(""), dot.clone())] }
    }

    /// A mark to which [`Frame::leave_scope`] goes back.
    pub(super) fn scope(&self) -> usize {
        self.variables.len()
    }

    pub(super) fn leave_scope(&mut self, scope: usize) {
        self.variables.truncate(scope);
    }

    pub(super) fn variable(&self, name: &str) -> Result<Value, Failure> {
        let found = self.variables.iter().rev().find(|(known, _)| &**known == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable: ${name}").into())
    }

    pub(super) fn declare(&mut self, name: &Rc<str>, value: Value) {
        self.variables.push((name.clone(), value));
    }

    pub(super) fn assign(&mut self, name: &Rc<str>, value: Value) -> Result<(), Failure> {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, known)) => {
                *known = value;
                Ok(())
            }
            None => Err(format!("undefined variable: ${name}").into()),
        }
    }

    /// Sets the variables of a pipeline to its value.
    pub(super) fn set(&mut self, pipeline: &Pipeline, value: &Value) -> Result<(), Failure> {
        for name in &pipeline.variables {
            if pipeline.declares {
                self.declare(name, value.clone());
            } else {
                self.assign(name, value.clone())?;
            }
        }
        Ok(())
    }

    pub(super) fn source(&self, expression: &Expression) -> &str {
        self.template.source.get(expression.offset..expression.end).unwrap_or_default()
    }

    /// Gives a message its place, unless it has one.
    pub(super) fn locate(&self, failure: Failure, offset: usize, end: usize) -> Failure {
        match failure {
            Failure::Message(kind, message) => {
                let (file, source) = (&self.template.file, &self.template.source);
                let expression = source.get(offset..end).unwrap_or_default().trim_end();
                let error = Error::at(file, source, offset, expression, message);
                Failure::Located(Box::new(error.with_kind(kind)))
            }
            located @ Failure::Located(_) => located,
        }
    }
}
