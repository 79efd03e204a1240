//! Another revision of the control plane would inject the pod.

use super::{Detail, ReasonSpec, RestartPolicy};

/// The revision differs.
pub const SPEC: ReasonSpec = ReasonSpec {
    prove: |proof| Detail::mismatch(&proof.live.injected.revision, &proof.wanted.injected.revision),
    ..ReasonSpec::stated("Revision", RestartPolicy::OptIn, "revision of the control plane", |detail| {
        detail.about("revision")
    })
};
