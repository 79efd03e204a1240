//! Namespace and pod ask for a sidecar, and the pod has none.

use super::{ReasonSpec, RestartPolicy};

/// The sidecar is missing.
pub const SPEC: ReasonSpec = ReasonSpec::stated(
    "MissingSidecar",
    RestartPolicy::ReportOnly,
    "injection is enabled, and the sidecar is missing",
    |_| "the sidecar is missing".to_owned(),
);
