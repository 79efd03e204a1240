//! A set of templates that can call each other.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::Error;
use crate::exec::{Budget, Executor, Failure};
use crate::syntax::ast::Nodes;
use crate::syntax::{self, is_empty};
use crate::value::Value;

/// What an execution may use up; a chart that exceeds them is broken or hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Commands that are evaluated, and rounds of loops.
    pub steps: u64,
    /// Bytes of output.
    pub output: usize,
    /// Bytes that functions make, whether they are still needed or not.
    pub memory: usize,
    /// Bytes of the stack that nested blocks, parentheses and templates may fill. The thread must have about a megabyte
    /// more, for what functions need.
    pub stack: usize,
    /// Bytes of arguments that count as a step, so that reading a large value again and again is bounded, too.
    /// `usize::MAX`: arguments do not count.
    pub argument_bytes: usize,
    /// Bytes of one compiled regular expression.
    pub pattern: usize,
    /// Functions that templates may call.
    pub functions: Functions,
}

/// Which functions templates may call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Functions {
    /// All of them.
    #[default]
    All,
    /// All but those whose cost has no relation to their arguments: keys, certificates, ciphers, slow hashes, and those
    /// that compare each element of a list with each other one. A call of one of these is an error that names it.
    Inexpensive,
}

impl Limits {
    /// The default: what no honest chart exceeds, with every function, as in Helm.
    pub const GENEROUS: Self = Self {
        steps: 20_000_000,
        output: 64 << 20,
        memory: 512 << 20,
        stack: 768 << 10,
        argument_bytes: usize::MAX,
        pattern: 10 << 20,
        functions: Functions::All,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::GENEROUS
    }
}

/// Makes what `genCA`, `genSignedCert`, `genPrivateKey`, `buildCustomCert` and their kin give, from the name of the function
/// and its arguments. Their types are checked but for those that are lists or certificates; those of `buildCustomCert` are
/// decoded.
///
/// Cryptography needs a library of its own and good randomness, so both are left to who renders.
pub type Certificates = fn(function: &str, arguments: &[Value]) -> Result<Value, String>;

/// What templates see of the world: nothing, unless it is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment {
    /// The time of `now`, in seconds since 1970. Without it, functions that need a clock fail.
    pub now: Option<i64>,
    /// Where random functions start. Without it they fail; with it they give the same each time. Passwords, keys and
    /// salts are as hard to guess as these bytes: take them from the operating system.
    pub seed: Option<[u8; 32]>,
    /// What makes keys and certificates. Without it, functions that need them fail.
    pub certificates: Option<Certificates>,
}

/// A parsed template with its source, which errors quote.
pub(crate) struct Template {
    pub file: Rc<str>,
    pub source: Rc<str>,
    pub nodes: Nodes,
}

type Definitions = BTreeMap<Rc<str>, Rc<Template>>;

/// Templates by name. Clones share what was parsed.
#[derive(Clone, Default)]
pub struct Templates {
    definitions: Definitions,
    limits: Limits,
    environment: Environment,
}

impl Templates {
    /// An empty set with default limits, without clock and without randomness.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what each later execution may use up.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Sets what each later execution sees of the world.
    pub fn set_environment(&mut self, environment: Environment) {
        self.environment = environment;
    }

    /// Parses a file and adds it and the templates that it defines.
    ///
    /// A later definition replaces an earlier one of the same name, unless it is empty.
    pub fn parse(&mut self, name: &str, source: &str) -> Result<(), Error> {
        add(&mut self.definitions, name, source)
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
        let unplaced = |message: String| Error::at(name, "", 0, "", message);
        match result {
            Ok(()) => String::from_utf8(output)
                .map_err(|error| unplaced(format!("the output is not UTF-8: {error}"))),
            Err(Failure::Located(error)) => Err(*error),
            Err(Failure::Message(message)) => Err(unplaced(message)),
        }
    }
}

fn add(templates: &mut Definitions, name: &str, source: &str) -> Result<(), Error> {
    let definitions = syntax::parse(name, source)?;
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
    add(&mut templates, INLINE, source).map_err(|error| Failure::Located(Box::new(error)))?;
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
