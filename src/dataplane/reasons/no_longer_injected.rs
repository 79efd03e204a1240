//! Injection would give the pod no sidecar, so that a restart would remove it.

use super::{ReasonSpec, RestartPolicy};

/// A restart would remove the sidecar.
pub const SPEC: ReasonSpec = ReasonSpec::stated(
    "NoLongerInjected",
    RestartPolicy::PreventsRestart,
    "a restart would remove the sidecar",
    |_| "a restart would remove the sidecar".to_owned(),
);
