//! What people should know about an installation that is complete: settings that are not followed, and resources that
//! change Istio behind the operator's back.

use crate::api::conditions::{Reason, State};
use crate::kubernetes::object::ObjectId;
use crate::readiness::rules::WorkloadHealth;
use crate::status::ConditionUpdate;

/// Names of filters that a text lists; further ones are counted.
const MAX_LISTED_FILTERS: usize = 10;

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advisory {
    /// A setting of the cluster cannot be read; the last good one is in force.
    UnreadableSetting(String),
    /// These `EnvoyFilter`s change the ingress gateway.
    GatewayChanged(Vec<String>),
    /// It could not be found out whether any does.
    GatewayUnknown(String),
    /// A workload serves with fewer pods than it wants, as its text says.
    Degraded(String),
    /// A workload does not serve, as its text says.
    Unavailable(String),
}

impl Advisory {
    /// What there is to know about a workload that a watch saw fare so, given its complaint when it was asked.
    ///
    /// One without a complaint is well again. One that could not be asked fares as the watch saw it.
    #[must_use]
    pub fn for_workload<E>(
        workload: &ObjectId,
        health: WorkloadHealth,
        diagnosis: Result<Option<String>, E>,
    ) -> Option<Self> {
        let words = |seen: String| diagnosis.unwrap_or_else(|_| Some(format!("{workload}: {seen}")));
        match health {
            WorkloadHealth::Healthy => None,
            WorkloadHealth::Degraded(text) => words(text).map(Self::Degraded),
            WorkloadHealth::Unavailable(text) => words(text).map(Self::Unavailable),
        }
    }

    /// The state that the remark asks for at least.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::UnreadableSetting(_) | Self::GatewayChanged(_) | Self::Degraded(_) => State::Warning,
            Self::GatewayUnknown(_) | Self::Unavailable(_) => State::Error,
        }
    }

    /// Whether looking again may find something else although nothing that is watched has changed.
    #[must_use]
    pub const fn needs_retry(&self) -> bool {
        matches!(self, Self::GatewayUnknown(_))
    }

    /// Whether the remark quotes pods, which may have something else to say soon.
    #[must_use]
    pub const fn quotes_pods(&self) -> bool {
        matches!(self, Self::Degraded(_) | Self::Unavailable(_))
    }

    /// The remark in words.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::UnreadableSetting(problem) => {
                format!("{problem}: mend it; until then, what it last said stays in force")
            }
            Self::GatewayChanged(filters) => format!(
                "EnvoyFilters that are not part of the installation change the ingress gateway: {}; they may break with any \
                 version of Istio, so delete them or take them off the ingress gateway",
                list_filters(filters)
            ),
            Self::GatewayUnknown(cause) => {
                format!("it is not known whether EnvoyFilters change the ingress gateway: {cause}")
            }
            Self::Degraded(words) => format!("not all of Istio runs: {words}"),
            Self::Unavailable(words) => {
                format!("Istio was installed, but does not run as it should: {words}")
            }
        }
    }

    /// The reason of the condition about the ingress gateway, if the remark is about it.
    const fn gateway_reason(&self) -> Option<Reason> {
        match self {
            Self::UnreadableSetting(_) | Self::Degraded(_) | Self::Unavailable(_) => None,
            Self::GatewayChanged(_) => Some(Reason::IngressTargetingUserResourceFound),
            Self::GatewayUnknown(_) => Some(Reason::IngressTargetingUserResourceDetectionFailed),
        }
    }
}

fn list_filters(names: &[String]) -> String {
    let shown: Vec<String> =
        names.iter().take(MAX_LISTED_FILTERS).map(|name| format!("istio-system/{name}")).collect();
    match names.len().saturating_sub(MAX_LISTED_FILTERS) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The reason of the Ready condition of a complete installation with these remarks.
///
/// Ready turns false with a workload that does not serve, and with a foreign filter, as in the Go operator: the gateway then
/// does not run as described.
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

    #[test]
    fn every_filter_is_named_up_to_a_bound() {
        let names = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>();
        let text = Advisory::GatewayChanged(names(2)).text();
        assert!(text.contains("istio-system/f0, istio-system/f1;"), "{text}");
        let text = Advisory::GatewayChanged(names(12)).text();
        assert!(text.contains("istio-system/f9 and 2 more"), "{text}");
    }
}
