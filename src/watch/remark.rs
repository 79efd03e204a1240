//! What people should know about an installation that is complete: settings that are not followed, and resources that
//! change Istio behind the operator's back.

use crate::api::conditions::{Reason, State};
use crate::apply::{Applied, Why, releases};
use crate::status::Condition;

/// Names of one kind that a text lists; further ones are counted.
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
    /// An object is left alone on request.
    LeftAlone(String),
    /// An object is left alone because others keep changing it.
    NotRepaired(String),
    /// Helm still lists what was taken over from it.
    HelmRelease(String),
    /// A wish of the resource, or of the cluster, that had no effect.
    Advice(String),
}

/// What an apply leaves to say.
pub fn about(applied: &Applied) -> impl Iterator<Item = Remark> {
    let held = applied.held.iter().take(LISTED).map(|held| match held.why {
        Why::Fought { .. } => Remark::NotRepaired(held.to_string()),
        Why::Paused(_) => Remark::LeftAlone(held.to_string()),
    });
    let releases = Some(&applied.releases).filter(|releases| !releases.is_empty());
    held.chain(releases.map(|releases| Remark::HelmRelease(releases::describe(releases))))
        .chain(applied.warnings.iter().cloned().map(Remark::Advice))
}

/// All remarks in words.
#[must_use]
pub fn text(remarks: &[Remark]) -> String {
    remarks.iter().map(Remark::text).collect::<Vec<_>>().join("; ")
}

impl Remark {
    /// The state that the remark asks for at least.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::GatewayUnknown(_) => State::Error,
            _ => State::Warning,
        }
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
            Self::LeftAlone(text)
            | Self::NotRepaired(text)
            | Self::HelmRelease(text)
            | Self::Advice(text) => text.clone(),
        }
    }

    /// The reason of the condition about the ingress gateway, if the remark is about it.
    const fn gateway_reason(&self) -> Option<Reason> {
        match self {
            Self::GatewayChanged(_) => Some(Reason::IngressTargetingUserResourceFound),
            Self::GatewayUnknown(_) => Some(Reason::IngressTargetingUserResourceDetectionFailed),
            _ => None,
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

/// The conditions of a complete installation with these remarks.
///
/// Ready turns false with a foreign filter, as in the Go operator: the gateway then does not run as described.
#[must_use]
pub fn conditions(remarks: &[Remark]) -> Vec<Condition> {
    let about_gateway = remarks.iter().find_map(|remark| Some((remark.gateway_reason()?, remark.text())));
    match about_gateway {
        None => vec![
            ready(remarks),
            Condition { reason: Reason::IngressTargetingUserResourceNotFound, message: None },
        ],
        Some((reason, text)) => vec![
            Condition { reason: Reason::ReconcileFailed, message: Some(text.clone()) },
            Condition { reason, message: Some(text) },
        ],
    }
}

/// The condition of an installation whose gateway runs as described.
fn ready(remarks: &[Remark]) -> Condition {
    let fought = remarks.iter().any(|remark| matches!(remark, Remark::NotRepaired(_)));
    let reason = if fought { Reason::DriftNotRepaired } else { Reason::ReconcileSucceeded };
    Condition { reason, message: Some(text(remarks)).filter(|text| !text.is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_the_gateway_takes_ready_away() {
        for (remarks, ready) in [
            (vec![], true),
            (vec![Remark::UnreadableSetting("x".into())], true),
            (vec![Remark::GatewayChanged(vec!["a".into()])], false),
            (vec![Remark::UnreadableSetting("x".into()), Remark::GatewayUnknown("y".into())], false),
        ] {
            let succeeded = conditions(&remarks).iter().any(|c| c.reason == Reason::ReconcileSucceeded);
            assert_eq!(succeeded, ready, "{remarks:?}");
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
