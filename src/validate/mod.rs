//! Decides whether an `Istio` resource can be followed: whether it is the active one, and whether its spec makes sense.
//!
//! Pure: resources in, a decision with the words for the author out. Knows neither the cluster nor Istio's charts, and
//! must not be asked about a resource that is being deleted: its content no longer matters.

mod active_instance;
mod authorizers;
mod characters;
pub(crate) mod envoy_format;
mod problems;
mod regular_expression;
mod rendered_limits;
mod restarter;
mod size;
mod spec;
pub mod version;

pub use self::active_instance::{InstanceStatus, check_active_instance};
pub use self::authorizers::{BUILT_IN_PROVIDERS, ValidatedAuthorizer};
pub(crate) use self::problems::Problems;
pub use self::problems::{Problem, Rejection, Remedy};
pub(crate) use self::rendered_limits::check_rendered_limits;
pub use self::restarter::{ValidatedRestarter, validate_restarter};
pub use self::spec::{MeshOptions, ValidatedSpec};

use crate::api::IstioSpec;

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
    /// The stage of an operator that allows experimental options or does not.
    #[must_use]
    pub const fn of(allow_experimental: bool) -> Self {
        if allow_experimental { Self::Experimental } else { Self::Stable }
    }
}

/// Checks everything about a spec that neither its schema nor Istio's charts can check.
///
/// # Errors
/// A rejection that reports all problems together.
pub fn validate(spec: &IstioSpec, feature_stage: FeatureStage) -> Result<ValidatedSpec, Rejection> {
    let (valid, problems) = check(spec, feature_stage)?;
    problems.into_rejection().map_or(Ok(valid), Err)
}

/// A spec and its problems, for callers that have more problems to report. The spec is only meaningful without problems.
///
/// # Errors
/// A rejection of a spec that is too large to be checked further.
pub(crate) fn check(
    spec: &IstioSpec,
    feature_stage: FeatureStage,
) -> Result<(ValidatedSpec, Problems), Rejection> {
    if let Some(rejection) = size::check(&spec.excess).into_rejection() {
        return Err(rejection);
    }
    let mut problems = Problems::default();
    let valid = spec::check(spec, feature_stage, &mut problems);
    characters::check(spec, &mut problems);
    Ok((valid, problems))
}

#[cfg(test)]
mod tests;
