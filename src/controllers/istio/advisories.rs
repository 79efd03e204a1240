//! Warnings about a complete installation: settings that are not followed, filters of users that change the ingress gateway,
//! unhealthy workloads. Pure.

use crate::api::conditions::{Reason, State};
use crate::kubernetes::object::ObjectId;
use crate::messages;
use crate::readiness::rules::WorkloadHealth;
use crate::status::ConditionUpdate;

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advisory {
    /// A setting of the cluster is invalid; the last valid value is in effect.
    UnreadableSetting(String),
    /// These `EnvoyFilter`s change the ingress gateway.
    GatewayChanged(Vec<String>),
    /// It is unknown whether any filter does, because of this cause.
    GatewayUnknown(String),
    /// A workload has fewer available pods than desired, with this diagnosis.
    Degraded(String),
    /// A workload is unavailable, with this diagnosis.
    Unavailable(String),
}

impl Advisory {
    /// The warning about a workload with this health, given its current diagnosis. `None` if it has recovered.
    ///
    /// If the diagnosis failed, the health that the watch has reported counts.
    #[must_use]
    pub fn for_workload<E>(
        workload: &ObjectId,
        health: WorkloadHealth,
        diagnosis: Result<Option<String>, E>,
    ) -> Option<Self> {
        let text = |health: String| diagnosis.unwrap_or_else(|_| Some(format!("{workload}: {health}")));
        match health {
            WorkloadHealth::Healthy => None,
            WorkloadHealth::Degraded(health) => text(health).map(Self::Degraded),
            WorkloadHealth::Unavailable(health) => text(health).map(Self::Unavailable),
        }
    }

    /// The least severe state of a resource with this warning.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::UnreadableSetting(_) | Self::GatewayChanged(_) | Self::Degraded(_) => State::Warning,
            Self::GatewayUnknown(_) | Self::Unavailable(_) => State::Error,
        }
    }

    /// Whether a retry may succeed although nothing that is watched has changed.
    #[must_use]
    pub const fn needs_retry(&self) -> bool {
        matches!(self, Self::GatewayUnknown(_))
    }

    /// Whether the text quotes pods, which are not watched.
    #[must_use]
    pub const fn quotes_pods(&self) -> bool {
        matches!(self, Self::Degraded(_) | Self::Unavailable(_))
    }

    /// The text for the status.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::UnreadableSetting(problem) => messages::stale_setting(problem),
            Self::GatewayChanged(filters) => messages::gateway_changed(filters),
            Self::GatewayUnknown(cause) => messages::gateway_unknown(cause),
            Self::Degraded(diagnosis) => messages::degraded(diagnosis),
            Self::Unavailable(diagnosis) => messages::unhealthy(diagnosis),
        }
    }

    /// The reason of the condition about the ingress gateway, if the warning is about it.
    const fn gateway_reason(&self) -> Option<Reason> {
        match self {
            Self::UnreadableSetting(_) | Self::Degraded(_) | Self::Unavailable(_) => None,
            Self::GatewayChanged(_) => Some(Reason::IngressTargetingUserResourceFound),
            Self::GatewayUnknown(_) => Some(Reason::IngressTargetingUserResourceDetectionFailed),
        }
    }
}

/// The reason of the Ready condition of a complete installation with these warnings.
///
/// Ready becomes false with an unavailable workload, and, as in the Go operator, with a filter of a user: the gateway does not
/// run as configured then.
#[must_use]
pub fn ready_reason(advisories: &[Advisory]) -> Reason {
    let is_failure = |advisory: &Advisory| {
        advisory.gateway_reason().is_some() || matches!(advisory, Advisory::Unavailable(_))
    };
    if advisories.iter().any(is_failure) { Reason::ReconcileFailed } else { Reason::ReconcileSucceeded }
}

/// The condition about the ingress gateway.
#[must_use]
pub fn gateway_condition(advisories: &[Advisory]) -> ConditionUpdate {
    let about_gateway =
        advisories.iter().find_map(|advisory| Some((advisory.gateway_reason()?, advisory.text())));
    match about_gateway {
        None => ConditionUpdate { reason: Reason::IngressTargetingUserResourceNotFound, message: None },
        Some((reason, text)) => ConditionUpdate { reason, message: Some(text) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unavailable_workloads_and_gateway_changes_unset_ready() {
        for (advisories, ready, gateway) in [
            (vec![], true, true),
            (vec![Advisory::UnreadableSetting("x".into())], true, true),
            (vec![Advisory::Degraded("x".into())], true, true),
            (vec![Advisory::Unavailable("x".into())], false, true),
            (vec![Advisory::GatewayChanged(vec!["a".into()])], false, false),
            (
                vec![Advisory::UnreadableSetting("x".into()), Advisory::GatewayUnknown("y".into())],
                false,
                false,
            ),
        ] {
            assert_eq!(ready_reason(&advisories) == Reason::ReconcileSucceeded, ready, "{advisories:?}");
            let reason = gateway_condition(&advisories).reason;
            assert_eq!(reason == Reason::IngressTargetingUserResourceNotFound, gateway, "{advisories:?}");
        }
    }

    #[test]
    fn an_unreadable_workload_has_the_health_that_the_watch_reported() {
        let istiod = ObjectId {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            namespace: Some("istio-system".into()),
            name: "istiod".into(),
        };
        let unavailable = || WorkloadHealth::Unavailable("0 of 2 pods are available".into());
        let degraded = || WorkloadHealth::Degraded("1 of 2 pods are available".into());
        for (health, diagnosis, expected) in [
            (unavailable(), Ok(Some("its words")), Some(Advisory::Unavailable("its words".into()))),
            (degraded(), Ok(Some("its words")), Some(Advisory::Degraded("its words".into()))),
            (unavailable(), Ok(None), None),
            (
                unavailable(),
                Err("refused"),
                Some(Advisory::Unavailable(
                    "Deployment istio-system/istiod: 0 of 2 pods are available".into(),
                )),
            ),
            (
                degraded(),
                Err("refused"),
                Some(Advisory::Degraded("Deployment istio-system/istiod: 1 of 2 pods are available".into())),
            ),
            (WorkloadHealth::Healthy, Err("refused"), None),
        ] {
            let diagnosis = diagnosis.map(|words: Option<&str>| words.map(str::to_owned));
            assert_eq!(
                Advisory::for_workload(&istiod, health.clone(), diagnosis.clone()),
                expected,
                "{health:?} {diagnosis:?}"
            );
        }
    }
}
