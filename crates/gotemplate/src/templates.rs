//! A set of templates that can call each other.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::environment::Environment;
use crate::error::{Error, ErrorKind};
use crate::exec::{Budget, Executor, Failure};
use crate::limits::Limits;
use crate::syntax::ast::Nodes;
use crate::syntax::{self, is_empty};
use crate::value::Value;

/// A parsed template with its source, which errors quote.
pub(crate) struct Template {
    pub file: Rc<str>,
    pub source: Rc<str>,
    pub nodes: Nodes,
}

type Definitions = BTreeMap<Rc<str>, Rc<Template>>;

/// Templates by name. Clones share what was parsed.
///
/// ```
/// use gotemplate::{Templates, Value};
///
/// let mut templates = Templates::new();
/// templates.parse("_helpers.tpl", r#"{{ define "name" }}{{ .release | trunc 63 }}{{ end }}"#)?;
/// templates.parse("service.yaml", r#"name: {{ include "name" . }}"#)?;
/// let dot = Value::from_json(&serde_json::json!({"release": "demo"}));
/// assert_eq!(templates.execute("service.yaml", &dot)?, "name: demo");
/// # Ok::<(), gotemplate::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Templates {
    definitions: Definitions,
    limits: Limits,
    environment: Environment,
}

impl Templates {
    /// An empty set with default limits and an empty environment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty set whose templates see an environment, and can call its functions.
    #[must_use]
    pub fn with_environment(environment: Environment) -> Self {
        Self { environment, ..Self::default() }
    }

    /// Sets what each later execution may use up.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Parses a file and adds it and the templates that it defines.
    ///
    /// A later definition replaces an earlier one of the same name, unless it is empty.
    pub fn parse(&mut self, name: &str, source: &str) -> Result<(), Error> {
        add(&mut self.definitions, name, source, &self.environment)
    }

    /// Executes a template with `dot` as its dot and root variable.
    ///
    /// What it prints must be UTF-8.
    pub fn execute(&self, name: &str, dot: &Value) -> Result<String, Error> {
        let mut budget = Budget::new(&self.limits);
        let scope = Scope { definitions: &self.definitions, outer: None };
        let mut executor = Executor { scope: &scope, budget: &mut budget, environment: &self.environment };
        let mut output = Vec::new();
        let result = executor.execute(name, dot, &mut output);
        let unplaced = |kind, message: String| Error::at(name, "", 0, "", message).with_kind(kind);
        match result {
            Ok(()) => String::from_utf8(output)
                .map_err(|error| unplaced(ErrorKind::Output, format!("the output is not UTF-8: {error}"))),
            Err(Failure::Located(error)) => Err(*error),
            Err(Failure::Message(kind, message)) => Err(unplaced(kind, message)),
        }
    }
}

fn add(
    templates: &mut Definitions,
    name: &str,
    source: &str,
    environment: &Environment,
) -> Result<(), Error> {
    let definitions = syntax::parse(name, source, &|function| environment.resolve(function))?;
    let (file, source): (Rc<str>, Rc<str>) = (Rc::from(name), Rc::from(source));
    for (name, nodes) in definitions {
        if is_empty(&nodes) && templates.contains_key(&name) {
            continue;
        }
        let template = Template { file: file.clone(), source: source.clone(), nodes };
        templates.insert(name, Rc::new(template));
    }
    Ok(())
}

/// The templates that can be called from a place: those of the set, and those that a text given to `tpl` defines.
pub(crate) struct Scope<'t> {
    definitions: &'t Definitions,
    outer: Option<&'t Scope<'t>>,
}

impl Scope<'_> {
    pub(crate) fn get(&self, name: &str) -> Option<Rc<Template>> {
        self.definitions.get(name).cloned().or_else(|| self.outer?.get(name))
    }
}

/// The name that errors give to a text that is executed by `tpl`.
const INLINE: &str = "tpl";

/// Executes a text as a template that sees the templates of the executor, and only it those that it defines.
pub(crate) fn execute_text(
    executor: &mut Executor<'_>,
    source: &str,
    dot: &Value,
) -> Result<Vec<u8>, Failure> {
    let mut templates = Definitions::new();
    add(&mut templates, INLINE, source, executor.environment)
        .map_err(|error| Failure::Located(Box::new(error)))?;
    // An empty definition does not replace one of the chart.
    templates.retain(|name, template| {
        &**name == INLINE || !is_empty(&template.nodes) || executor.scope.get(name).is_none()
    });
    let scope = Scope { definitions: &templates, outer: Some(executor.scope) };
    let mut output = Vec::new();
    let mut inner = Executor { scope: &scope, budget: executor.budget, environment: executor.environment };
    inner.execute(INLINE, dot, &mut output)?;
    Ok(output)
}
