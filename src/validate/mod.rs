//! Decides whether an `Istio` resource can be followed: is it the one in charge, and does it say something sensible?
//! Pure: takes resources, returns a verdict with the words for its author. Sees no cluster and changes nothing.
//! A resource that is being deleted is not to be validated: its content no longer matters.

mod active_instance;
mod authorizers;
mod characters;
mod regular_expression;
mod rendered_limits;
mod restarter;
mod size;
mod spec;
pub mod version;

use std::fmt;

pub use self::active_instance::{InstanceStatus, check_active_instance};
pub use self::authorizers::{BUILT_IN_PROVIDERS, ValidatedAuthorizer};
pub use self::rendered_limits::check_rendered_limits;
pub use self::restarter::{ValidatedRestarter, validate_restarter};
pub use self::spec::{MeshOptions, ValidatedSpec};

use crate::api::IstioSpec;
use crate::api::conditions::{Reason, State};
use crate::text::sanitized;

/// Problems that a rejection names; the others are counted.
const MAX_NAMED_PROBLEMS: usize = 10;
/// Bytes of a problem in a rejection, and with that of its whole message, since a problem may quote a value.
const MAX_PROBLEM_BYTES: usize = 1024;

/// Whether `spec.experimental` may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeatureStage {
    /// Experimental options are refused.
    #[default]
    Stable,
    /// Experimental options are followed.
    Experimental,
}

impl FeatureStage {
    /// The flavour of an operator that allows experimental options or does not.
    #[must_use]
    pub const fn of(allow_experimental: bool) -> Self {
        if allow_experimental { Self::Experimental } else { Self::Stable }
    }
}

/// One thing in a resource that its author has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, for example `spec.config.authorizers[1].timeout`.
    pub field: String,
    /// What is wrong with it and what to write instead.
    pub message: String,
    /// How the resource's state is to show it.
    pub state: State,
}

impl Problem {
    /// A mistake of the resource's author.
    pub(crate) fn warning(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), state: State::Warning }
    }

    /// A mistake that the Go operator reports as an error; tools may wait for exactly that.
    fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { state: State::Error, ..Self::warning(field, message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Why a resource is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Reason of the `Ready` condition.
    pub reason: Reason,
    /// State of the resource.
    pub state: State,
    /// For the resource's author: what is wrong, where, and what to do.
    pub message: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Rejection {}

/// Checks everything about a spec that its schema cannot check.
///
/// # Errors
/// A rejection that names the problems at once, so that the author need not find them one by one.
pub fn validate(spec: &IstioSpec, feature_stage: FeatureStage) -> Result<ValidatedSpec, Rejection> {
    check_spec(spec, feature_stage).map_err(|invalid| invalid.rejection(&[]))
}

/// A spec with problems, to which those of its values can be added.
#[derive(Debug)]
pub(crate) struct InvalidSpec {
    problems: Vec<Problem>,
    /// The values of the spec, if they are within their bounds.
    spec: Option<Box<ValidatedSpec>>,
}

impl InvalidSpec {
    /// The spec as far as it is valid; `None` if a field exceeds its bounds and was left out.
    pub(crate) fn spec(&self) -> Option<&ValidatedSpec> {
        self.spec.as_deref()
    }

    /// One rejection for the problems of the spec and `further` ones.
    pub(crate) fn rejection(&self, further: &[Problem]) -> Rejection {
        rejection(&[&self.problems, further].concat())
    }
}

/// Checks a spec as [`validate`] does, for callers that report further problems together with those of the spec.
pub(crate) fn check_spec(
    spec: &IstioSpec,
    feature_stage: FeatureStage,
) -> Result<ValidatedSpec, InvalidSpec> {
    let mut problems = size::check(&spec.excess);
    if !problems.is_empty() {
        return Err(InvalidSpec { problems, spec: None });
    }
    let valid = spec::check(spec, feature_stage, &mut problems);
    characters::check(spec, &mut problems);
    if problems.is_empty() { Ok(valid) } else { Err(InvalidSpec { problems, spec: Some(Box::new(valid)) }) }
}

/// A rejection for `problems`, of which the first ten are named and the others counted. What is named is one line.
pub(crate) fn rejection(problems: &[Problem]) -> Rejection {
    let state = problems.iter().map(|problem| problem.state).max().unwrap_or(State::Warning);
    let named = problems.iter().take(MAX_NAMED_PROBLEMS);
    let mut parts: Vec<String> =
        named.map(|problem| sanitized(&problem.to_string(), MAX_PROBLEM_BYTES)).collect();
    match problems.len().saturating_sub(MAX_NAMED_PROBLEMS) {
        0 => {}
        1 => parts.push("and 1 more problem".to_owned()),
        more => parts.push(format!("and {more} more problems")),
    }
    Rejection { reason: Reason::ValidationFailed, state, message: parts.join("; ") }
}

#[cfg(test)]
mod tests;
