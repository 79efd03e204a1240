//! Checks `spec.restarter` and resolves its defaults, so that no later step has to interpret an absent field.
//!
//! The bounds are those of the schema: a resource that is stored from before they existed, or read from a file, has not
//! been checked by the API server. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Problem, Problems, Rejection};
use crate::api::v1alpha2::{
    MAX_FAILURES, MAX_ROLLOUT_SECONDS, MAX_ROLLOUTS, MAX_SHARE_PERCENT, RESTART_REASONS, Restarter,
};

/// How workloads with outdated sidecars are restarted: `spec.restarter` with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedRestarter {
    /// Whether workloads are restarted at all; otherwise outdated ones are only reported.
    pub enabled: bool,
    /// Rollouts that may be unfinished at once in the cluster.
    pub max_unfinished: usize,
    /// Rollouts that may be unfinished at once in one namespace.
    pub max_unfinished_per_namespace: usize,
    /// How long a rollout may take before it counts as failed.
    pub rollout_timeout: Duration,
    /// Failed rollouts of one namespace, in a row or one in twenty, that stop the restarts of this namespace.
    pub failure_limit: usize,
    /// Share of the mesh, in percent, above which restarts without a change of version or configuration wait for
    /// approval.
    pub unexplained_share_percent: usize,
    /// Whether restarts may interrupt workloads.
    pub allow_interruption: bool,
    /// Names of reasons that lead to a restart in addition to the default ones; each one of [`RESTART_REASONS`].
    pub restart_also_for: Vec<String>,
}

impl Default for ValidatedRestarter {
    fn default() -> Self {
        Self {
            enabled: true,
            max_unfinished: 20,
            max_unfinished_per_namespace: 5,
            rollout_timeout: Duration::from_secs(600),
            failure_limit: 3,
            unexplained_share_percent: 20,
            allow_interruption: false,
            restart_also_for: Vec::new(),
        }
    }
}

impl ValidatedRestarter {
    /// The restarter of a spec that must not stop the operator, such as that of a resource that is being deleted: a number
    /// that is out of bounds becomes the nearest bound, and unknown reasons are left out.
    #[must_use]
    pub fn clamped(restarter: Option<&Restarter>) -> Self {
        check(restarter, &mut Problems::default())
    }

    /// These settings, without restarts if `report_only`, a flag of the operator, is set.
    #[must_use]
    pub fn with_report_only(self, report_only: bool) -> Self {
        Self { enabled: self.enabled && !report_only, ..self }
    }
}

/// The restarter of a spec, or of no spec.
///
/// # Errors
/// A rejection that names every field that is out of bounds, and every unknown reason.
pub fn validate_restarter(restarter: Option<&Restarter>) -> Result<ValidatedRestarter, Rejection> {
    let mut problems = Problems::default();
    let validated = check(restarter, &mut problems);
    problems.into_rejection().map_or(Ok(validated), Err)
}

/// Resolves the restarter and adds its mistakes to `problems`. The result is clamped.
pub(super) fn check(restarter: Option<&Restarter>, problems: &mut Problems) -> ValidatedRestarter {
    let default = ValidatedRestarter::default();
    let Some(restarter) = restarter else { return default };
    let mut count = |field: &str, value: Option<u32>, max: u32, default: usize| {
        let value = value.map(|value| bounded(field, value, 1..=max, problems));
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
    };
    let max_unfinished =
        count("maxUnfinished", restarter.max_unfinished, MAX_ROLLOUTS, default.max_unfinished);
    let max_unfinished_per_namespace = count(
        "maxUnfinishedPerNamespace",
        restarter.max_unfinished_per_namespace,
        MAX_ROLLOUTS,
        default.max_unfinished_per_namespace,
    );
    let failure_limit = count("failureLimit", restarter.failure_limit, MAX_FAILURES, default.failure_limit);
    let unexplained_share_percent = count(
        "unexplainedSharePercent",
        restarter.unexplained_share_percent,
        MAX_SHARE_PERCENT,
        default.unexplained_share_percent,
    );
    let timeout = restarter
        .rollout_timeout_seconds
        .map(|seconds| bounded("rolloutTimeoutSeconds", seconds, 1..=MAX_ROLLOUT_SECONDS, problems));
    ValidatedRestarter {
        enabled: restarter.enabled.unwrap_or(default.enabled),
        max_unfinished,
        max_unfinished_per_namespace,
        rollout_timeout: timeout
            .map_or(default.rollout_timeout, |seconds| Duration::from_secs(u64::from(seconds))),
        failure_limit,
        unexplained_share_percent,
        allow_interruption: restarter.allow_interruption.unwrap_or(default.allow_interruption),
        restart_also_for: check_reasons(restarter.restart_also_for.as_deref().unwrap_or_default(), problems),
    }
}

/// `value` if it is within `bounds`; otherwise the nearest bound, and a problem.
fn bounded(field: &str, value: u32, bounds: RangeInclusive<u32>, problems: &mut Problems) -> u32 {
    if bounds.contains(&value) {
        return value;
    }
    let (min, max) = (*bounds.start(), *bounds.end());
    let mut message = format!("{value} is out of bounds. Set a number from {min} to {max}");
    if value == 0 {
        message += ", or set enabled: false to restart nothing";
    }
    problems.push(Problem::warning(format!("spec.restarter.{field}"), message));
    value.clamp(min, max)
}

/// The known names of `reasons`; a problem with a suggestion for each other one.
fn check_reasons(reasons: &[String], problems: &mut Problems) -> Vec<String> {
    let mut known = Vec::new();
    for (index, reason) in reasons.iter().enumerate() {
        if RESTART_REASONS.contains(&reason.as_str()) {
            known.push(reason.clone());
            continue;
        }
        let suggestion = istio_charts::most_alike(reason, RESTART_REASONS);
        let advice = match suggestion {
            Some(alike) => format!("did you mean {alike}?"),
            None => format!("supported reasons: {}", RESTART_REASONS.join(", ")),
        };
        problems.push(Problem::warning(
            format!("spec.restarter.restartAlsoFor[{index}]"),
            format!("unknown reason {reason:?}, {advice}"),
        ));
    }
    known
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::conditions::{Reason, State};

    fn validated(restarter: Value) -> Result<ValidatedRestarter, Rejection> {
        validate_restarter(Some(&serde_json::from_value(restarter).unwrap()))
    }

    #[test]
    fn absent_fields_have_defaults() {
        for restarter in [json!({}), json!({"maxUnfinished": null, "restartAlsoFor": null})] {
            assert_eq!(validated(restarter), Ok(ValidatedRestarter::default()));
        }
        assert_eq!(validate_restarter(None), Ok(ValidatedRestarter::default()));
    }

    #[test]
    fn given_fields_replace_defaults() {
        let restarter = json!({
            "enabled": false, "maxUnfinished": 1, "maxUnfinishedPerNamespace": 1000, "rolloutTimeoutSeconds": 86400,
            "failureLimit": 7, "unexplainedSharePercent": 100, "allowInterruption": true,
            "restartAlsoFor": ["TrustDomain", "Field"],
        });
        let expected = ValidatedRestarter {
            enabled: false,
            max_unfinished: 1,
            max_unfinished_per_namespace: 1000,
            rollout_timeout: Duration::from_secs(86_400),
            failure_limit: 7,
            unexplained_share_percent: 100,
            allow_interruption: true,
            restart_also_for: vec!["TrustDomain".to_owned(), "Field".to_owned()],
        };
        assert_eq!(validated(restarter), Ok(expected));
    }

    #[test]
    fn a_number_out_of_bounds_is_refused_and_never_means_the_default() {
        for (field, value) in [
            ("maxUnfinished", 0),
            ("maxUnfinished", 1001),
            ("maxUnfinishedPerNamespace", 0),
            ("rolloutTimeoutSeconds", 0),
            ("rolloutTimeoutSeconds", 86_401),
            ("failureLimit", 0),
            ("failureLimit", 1001),
            ("unexplainedSharePercent", 0),
            ("unexplainedSharePercent", 101),
        ] {
            let rejection = validated(json!({field: value})).unwrap_err();
            assert_eq!((rejection.reason, rejection.state), (Reason::ValidationFailed, State::Warning));
            assert!(
                rejection.message.starts_with(&format!("spec.restarter.{field}: {value} ")),
                "{rejection}"
            );
        }
    }

    #[test]
    fn an_unknown_reason_is_refused_with_a_suggestion() {
        let rejection = validated(json!({"restartAlsoFor": ["Field", "TrustDomian"]})).unwrap_err();
        assert!(rejection.message.contains("restartAlsoFor[1]"), "{rejection}");
        assert!(rejection.message.contains("did you mean TrustDomain?"), "{rejection}");
        let rejection = validated(json!({"restartAlsoFor": ["x"]})).unwrap_err();
        assert!(rejection.message.contains("NativeSidecar, ProxyConfig"), "{rejection}");
    }

    #[test]
    fn all_problems_are_reported_together_and_leave_safe_numbers() {
        let restarter: Restarter = serde_json::from_value(
            json!({"maxUnfinished": 0, "failureLimit": 5000, "restartAlsoFor": ["x", "Field"]}),
        )
        .unwrap();
        let mut problems = Problems::default();
        let validated = check(Some(&restarter), &mut problems);
        let rejection = problems.into_rejection().unwrap();
        assert_eq!(rejection.problems.len(), 3, "{rejection}");
        assert_eq!((validated.max_unfinished, validated.failure_limit), (1, 1000));
        assert_eq!(validated.restart_also_for, ["Field"]);
    }
}
