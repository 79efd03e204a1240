//! A set of templates that can call each other.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::ast::Nodes;
use crate::error::Error;
use crate::exec::{Budget, Executor, Failure};
use crate::functions;
use crate::parser::{self, is_empty};
use crate::value::Value;

/// What an execution may use up; a chart that exceeds them is broken or hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Commands that are evaluated.
    pub steps: u64,
    /// Bytes of output.
    pub output: usize,
    /// Templates that wait for each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 20_000_000, output: 64 << 20, depth: 100 }
    }
}

/// A parsed template with its source, which errors quote.
pub(crate) struct Template {
    pub file: Rc<str>,
    pub source: Rc<str>,
    pub nodes: Nodes,
}

/// Templates by name. Clones share what was parsed.
#[derive(Clone, Default)]
pub struct Templates {
    templates: BTreeMap<Rc<str>, Rc<Template>>,
    limits: Limits,
}

impl Templates {
    /// An empty set with default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what each later execution may use up.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Parses a file and adds it and the templates that it defines.
    ///
    /// A later definition replaces an earlier one of the same name, unless it is empty.
    pub fn parse(&mut self, name: &str, source: &str) -> Result<(), Error> {
        let definitions = parser::parse(name, source, &functions::exists)?;
        let (file, source): (Rc<str>, Rc<str>) = (Rc::from(name), Rc::from(source));
        for (name, nodes) in definitions {
            if is_empty(&nodes) && self.templates.contains_key(&name) {
                continue;
            }
            self.templates
                .insert(name, Rc::new(Template { file: file.clone(), source: source.clone(), nodes }));
        }
        Ok(())
    }

    /// Executes a template with `dot` as its dot and root variable.
    pub fn execute(&self, name: &str, dot: &Value) -> Result<String, Error> {
        let mut budget = Budget::new(&self.limits);
        self.execute_within(name, dot, &mut budget).map_err(|failure| match failure {
            Failure::Located(error) => *error,
            Failure::Message(message) => Error::at(name, "", 0, "", message),
        })
    }

    pub(crate) fn execute_within(
        &self,
        name: &str,
        dot: &Value,
        budget: &mut Budget,
    ) -> Result<String, Failure> {
        Executor { templates: self, budget }.execute(name, dot)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Rc<Template>> {
        self.templates.get(name)
    }
}
