//! The proxy belongs to another trust domain.

use super::{Detail, ReasonSpec, RestartPolicy};

/// The trust domain differs.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| Detail::mismatch(pod.live.proxy.variable(VARIABLE)?, pod.mesh.trust_domain.as_deref()?),
    prove: |proof| {
        let [actual, expected] =
            [&proof.live, &proof.wanted].map(|side| side.proxy.variable(VARIABLE).unwrap_or("none"));
        Detail::mismatch(actual, expected)
    },
    variables: &[VARIABLE],
    ..ReasonSpec::stated("TrustDomain", RestartPolicy::OptIn, "trust domain", |detail| {
        detail.about("trust domain")
    })
};

/// Variable with the trust domain.
pub(super) const VARIABLE: &str = "TRUST_DOMAIN";
