//! What people should know about an installation that is complete: settings that are not followed, and resources that
//! change Istio behind the operator's back.

use crate::api::conditions::{Reason, State};
use crate::apply::ready::Fitness;
use crate::object::ObjectId;
use crate::status::Condition;

/// Names of filters that a text lists; further ones are counted.
const LISTED: usize = 10;

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// A setting of the cluster cannot be read; the last good one is in force.
    UnreadableSetting(String),
    /// These `EnvoyFilter`s change the ingress gateway.
    GatewayChanged(Vec<String>),
    /// It could not be found out whether any does.
    GatewayUnknown(String),
    /// A workload serves with fewer pods than it wants, as its text says.
    Short(String),
    /// A workload does not serve, as its text says.
    Down(String),
}

impl Remark {
    /// What there is to know about a workload that a watch saw fare so, given its complaint when it was asked.
    ///
    /// One without a complaint is well again. One that could not be asked fares as the watch saw it.
    #[must_use]
    pub fn on<E>(workload: &ObjectId, seen: Fitness, complaint: Result<Option<String>, E>) -> Option<Self> {
        let words = |seen: String| complaint.unwrap_or_else(|_| Some(format!("{workload}: {seen}")));
        match seen {
            Fitness::Well => None,
            Fitness::Short(text) => words(text).map(Self::Short),
            Fitness::Down(text) => words(text).map(Self::Down),
        }
    }

    /// The state that the remark asks for at least.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::UnreadableSetting(_) | Self::GatewayChanged(_) | Self::Short(_) => State::Warning,
            Self::GatewayUnknown(_) | Self::Down(_) => State::Error,
        }
    }

    /// Whether looking again may find something else although nothing that is watched has changed.
    #[must_use]
    pub const fn is_to_be_tried_again(&self) -> bool {
        matches!(self, Self::GatewayUnknown(_))
    }

    /// Whether the remark quotes pods, which may have something else to say soon.
    #[must_use]
    pub const fn quotes_pods(&self) -> bool {
        matches!(self, Self::Short(_) | Self::Down(_))
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
                listed(filters)
            ),
            Self::GatewayUnknown(cause) => {
                format!("it is not known whether EnvoyFilters change the ingress gateway: {cause}")
            }
            Self::Short(words) => format!("not all of Istio runs: {words}"),
            Self::Down(words) => format!("Istio was installed, but does not run as it should: {words}"),
        }
    }

    /// The reason of the condition about the ingress gateway, if the remark is about it.
    const fn gateway_reason(&self) -> Option<Reason> {
        match self {
            Self::UnreadableSetting(_) | Self::Short(_) | Self::Down(_) => None,
            Self::GatewayChanged(_) => Some(Reason::IngressTargetingUserResourceFound),
            Self::GatewayUnknown(_) => Some(Reason::IngressTargetingUserResourceDetectionFailed),
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("istio-system/{name}")).collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The reason of the Ready condition of a complete installation with these remarks.
///
/// Ready turns false with a workload that does not serve, and with a foreign filter, as in the Go operator: the gateway then
/// does not run as described.
#[must_use]
pub fn ready_reason(remarks: &[Remark]) -> Reason {
    let is_failure = |remark: &Remark| remark.gateway_reason().is_some() || matches!(remark, Remark::Down(_));
    if remarks.iter().any(is_failure) { Reason::ReconcileFailed } else { Reason::ReconcileSucceeded }
}

/// The condition about the ingress gateway.
#[must_use]
pub fn gateway_condition(remarks: &[Remark]) -> Condition {
    let about_gateway = remarks.iter().find_map(|remark| Some((remark.gateway_reason()?, remark.text())));
    match about_gateway {
        None => Condition { reason: Reason::IngressTargetingUserResourceNotFound, message: None },
        Some((reason, text)) => Condition { reason, message: Some(text) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_serve_or_changes_the_gateway_takes_ready_away() {
        for (remarks, ready, gateway) in [
            (vec![], true, true),
            (vec![Remark::UnreadableSetting("x".into())], true, true),
            (vec![Remark::Short("x".into())], true, true),
            (vec![Remark::Down("x".into())], false, true),
            (vec![Remark::GatewayChanged(vec!["a".into()])], false, false),
            (vec![Remark::UnreadableSetting("x".into()), Remark::GatewayUnknown("y".into())], false, false),
        ] {
            assert_eq!(ready_reason(&remarks) == Reason::ReconcileSucceeded, ready, "{remarks:?}");
            let reason = gateway_condition(&remarks).reason;
            assert_eq!(reason == Reason::IngressTargetingUserResourceNotFound, gateway, "{remarks:?}");
        }
    }

    #[test]
    fn a_workload_that_cannot_be_asked_fares_as_it_was_seen() {
        let istiod = ObjectId {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            namespace: Some("istio-system".into()),
            name: "istiod".into(),
        };
        let down = || Fitness::Down("0 of 2 pods are available".into());
        let short = || Fitness::Short("1 of 2 pods are available".into());
        for (seen, complaint, expected) in [
            (down(), Ok(Some("its words")), Some(Remark::Down("its words".into()))),
            (short(), Ok(Some("its words")), Some(Remark::Short("its words".into()))),
            (down(), Ok(None), None),
            (
                down(),
                Err("refused"),
                Some(Remark::Down("Deployment istio-system/istiod: 0 of 2 pods are available".into())),
            ),
            (
                short(),
                Err("refused"),
                Some(Remark::Short("Deployment istio-system/istiod: 1 of 2 pods are available".into())),
            ),
            (Fitness::Well, Err("refused"), None),
        ] {
            let complaint = complaint.map(|words: Option<&str>| words.map(str::to_owned));
            assert_eq!(
                Remark::on(&istiod, seen.clone(), complaint.clone()),
                expected,
                "{seen:?} {complaint:?}"
            );
        }
    }

    #[test]
    fn every_filter_is_named_up_to_a_bound() {
        let names = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>();
        let text = Remark::GatewayChanged(names(2)).text();
        assert!(text.contains("istio-system/f0, istio-system/f1;"), "{text}");
        let text = Remark::GatewayChanged(names(12)).text();
        assert!(text.contains("istio-system/f9 and 2 more"), "{text}");
    }
}
