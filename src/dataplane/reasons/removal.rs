//! Istio is being uninstalled, and the sidecar with it.

use super::{ReasonSpec, RestartPolicy};

/// Istio is being uninstalled.
pub const SPEC: ReasonSpec =
    ReasonSpec::stated("Removal", RestartPolicy::Restart, "Istio is being uninstalled", |_| {
        "Istio is being uninstalled".to_owned()
    });
