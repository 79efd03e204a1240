//! What a program gives its templates: a clock, randomness, and functions of its own.
//!
//! Without it templates see nothing but their arguments, so that the same input gives the same output.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::functions;
use crate::syntax::ast::FunctionId;
use crate::value::Value;

/// What a function of the program returns. The text of the error is reported at the place of the call.
pub type CallResult = Result<Value, Box<dyn std::error::Error + Send + Sync>>;

/// Makes what `genCA`, `genSignedCert`, `genPrivateKey`, `buildCustomCert` and the like return, from the name of the
/// function and its arguments. Their number and types are checked, except for arguments that are lists or certificates;
/// those of `buildCustomCert` are decoded.
///
/// Certificates need a cryptographic library and good randomness, so the choice of both is left to the program.
pub type Certificates = fn(function: &str, arguments: &[Value]) -> CallResult;

/// What a template gets for a key that a map does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingKey {
    /// The zero value of the map's type, which is Go's option `missingkey=zero`, and what Helm does.
    #[default]
    Zero,
    /// An error, which is Go's option `missingkey=error`, and what `helm lint --strict` does.
    Error,
}

/// What templates see besides their arguments.
///
/// ```
/// use gotemplate::{Environment, Templates, Value};
///
/// let environment = Environment::new().with_function("shout", |arguments| match arguments {
///     [Value::String(text)] => Ok(Value::string(text.to_uppercase() + "!")),
///     _ => Err("want one string".into()),
/// });
/// let mut templates = Templates::with_environment(environment);
/// templates.parse("greeting", r#"{{ "hello" | shout }}"#)?;
/// assert_eq!(templates.execute("greeting", &Value::Nil)?, "HELLO!");
///
/// templates.parse("wrong", "{{ shout 1 }}")?;
/// let error = templates.execute("wrong", &Value::Nil).unwrap_err();
/// assert_eq!(error.to_string(), "wrong:1:4: at <shout 1>: error calling shout: want one string");
/// # Ok::<(), gotemplate::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Environment {
    /// Seconds since 1970.
    pub(crate) now: Option<i64>,
    pub(crate) seed: Option<[u8; 32]>,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) missing_key: MissingKey,
    functions: Vec<AddedFunction>,
}

type Callback = dyn Fn(&[Value]) -> CallResult + Send + Sync;

/// A function of the program.
#[derive(Clone)]
pub(crate) struct AddedFunction {
    pub name: Arc<str>,
    pub call: Arc<Callback>,
}

impl Environment {
    /// An environment without clock, randomness, certificates and further functions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time that `now` returns; its fraction of a second is dropped. Without it, functions that need a clock fail.
    #[must_use]
    pub fn with_now(mut self, now: SystemTime) -> Self {
        let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        self.now = Some(match now.duration_since(UNIX_EPOCH) {
            Ok(since) => seconds(since.as_secs()),
            Err(before) => {
                let until = before.duration();
                -seconds(until.as_secs() + u64::from(until.subsec_nanos() > 0))
            }
        });
        self
    }

    /// Sets where random functions start. Without it they fail; with it they return the same each time. Passwords, keys and
    /// salts are as hard to guess as these bytes: take them from the operating system.
    #[must_use]
    pub fn with_seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets what makes keys and certificates. Without it, functions that need them fail.
    #[must_use]
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Sets what a template gets for a key that a map does not have.
    #[must_use]
    pub fn with_missing_key(mut self, missing_key: MissingKey) -> Self {
        self.missing_key = missing_key;
        self
    }

    /// Adds a function that templates can call by its name. It takes the place of a built-in one of that name, and of one
    /// that was added before. It gets any number of arguments of any type and checks them itself.
    #[must_use]
    pub fn with_function<F>(mut self, name: &str, call: F) -> Self
    where
        F: Fn(&[Value]) -> CallResult + Send + Sync + 'static,
    {
        self.functions.retain(|known| &*known.name != name);
        self.functions.push(AddedFunction { name: Arc::from(name), call: Arc::new(call) });
        self
    }

    /// The function that templates mean by a name.
    pub(crate) fn resolve(&self, name: &str) -> Option<FunctionId> {
        let added = self.functions.iter().position(|function| &*function.name == name);
        added.map(FunctionId::Added).or_else(|| functions::find(name).map(FunctionId::BuiltIn))
    }

    pub(crate) fn added(&self, index: usize) -> Option<&AddedFunction> {
        self.functions.get(index)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions: Vec<&str> = self.functions.iter().map(|function| &*function.name).collect();
        // The seed is a secret.
        f.debug_struct("Environment")
            .field("now", &self.now)
            .field("has_seed", &self.seed.is_some())
            .field("has_certificates", &self.certificates.is_some())
            .field("missing_key", &self.missing_key)
            .field("functions", &functions)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_is_in_whole_seconds_before_and_after_1970() {
        for (now, seconds) in [
            (UNIX_EPOCH + Duration::from_millis(1999), 1),
            (UNIX_EPOCH, 0),
            (UNIX_EPOCH - Duration::from_millis(1), -1),
            (UNIX_EPOCH - Duration::from_secs(2), -2),
        ] {
            assert_eq!(Environment::new().with_now(now).now, Some(seconds), "{now:?}");
        }
    }

    #[test]
    fn the_seed_is_not_shown() {
        let environment = Environment::new().with_seed([77; 32]).with_function("f", |_| Ok(Value::Nil));
        let shown = format!("{environment:?}");
        assert!(
            !shown.contains("77") && shown.contains("has_seed: true") && shown.contains("[\"f\"]"),
            "{shown}"
        );
    }
}
