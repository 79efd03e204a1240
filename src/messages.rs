//! The catalogue of messages: descriptions, condition messages and Events of the `Istio` resource, as functions of what
//! they are about. It decides nothing; a snapshot of the whole catalogue is reviewed as text.
//!
//! Pattern: `<Subject> <state>: <cause>. <Remedy>.` Three descriptions begin as in the Go operator, since tools look for
//! them: [`wrong_namespace`], [`older_resource`] and [`deletion_blocked`].

use std::fmt::Display;

use kube::runtime::events::EventType;

use crate::kubernetes::object::ObjectId;
use crate::text::list_limited;

/// Maximum number of objects or names in a message.
const MAX_NAMED: usize = 5;
/// Maximum number of `EnvoyFilter`s in a message.
const MAX_NAMED_FILTERS: usize = 10;

/// The reason of an Event that does not follow from a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventReason {
    /// An object that another client had changed is as configured again.
    DriftRepaired,
    /// An adopted object replaces its pods.
    AdoptedWithRollout,
    /// The size class of the cluster has changed.
    ClusterSizeChanged,
    /// Failed rollouts have stopped a restart wave.
    RestartsStopped,
    /// A workload was restarted.
    RestartSuccess,
    /// A workload could not be restarted.
    RestartFailed,
    /// The owner of a workload has to restart it.
    RestartRequired,
    /// An annotation of a workload is invalid.
    RestartConfigInvalid,
}

impl EventReason {
    /// Every reason, for the snapshot of the catalogue.
    #[cfg(test)]
    const ALL: [Self; 8] = [
        Self::DriftRepaired,
        Self::AdoptedWithRollout,
        Self::ClusterSizeChanged,
        Self::RestartsStopped,
        Self::RestartSuccess,
        Self::RestartFailed,
        Self::RestartRequired,
        Self::RestartConfigInvalid,
    ];

    /// The reason as written in the Event.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DriftRepaired => "DriftRepaired",
            Self::AdoptedWithRollout => "AdoptedWithRollout",
            Self::ClusterSizeChanged => "ClusterSizeChanged",
            Self::RestartsStopped => "RestartsStopped",
            Self::RestartSuccess => "RestartSuccess",
            Self::RestartFailed => "RestartFailed",
            Self::RestartRequired => "RestartRequired",
            Self::RestartConfigInvalid => "RestartConfigInvalid",
        }
    }

    /// The type of Events with this reason: a Warning if someone has to act.
    pub(crate) const fn event_type(self) -> EventType {
        match self {
            Self::DriftRepaired
            | Self::AdoptedWithRollout
            | Self::ClusterSizeChanged
            | Self::RestartSuccess => EventType::Normal,
            Self::RestartsStopped
            | Self::RestartFailed
            | Self::RestartRequired
            | Self::RestartConfigInvalid => EventType::Warning,
        }
    }
}

// Which resource is active.

pub(crate) fn wrong_namespace(namespace: &str, expected: &str) -> String {
    format!(
        "Stopped Istio CR reconciliation: istio CR is not in {expected} namespace. Create it in namespace {expected}, and \
         delete this resource in namespace {namespace}"
    )
}

pub(crate) fn older_resource(namespace: &str, name: &str) -> String {
    format!(
        "Stopped Istio CR reconciliation: only Istio CR {name} in {namespace} reconciles the module, because it is older than \
         this resource. Edit {namespace}/{name}, or delete it to activate this resource"
    )
}

// Install.

pub(crate) fn paused(pause: impl Display) -> String {
    format!("Reconciliation is {pause}. The cluster is not changed until then")
}

pub(crate) fn unreadable_settings(problems: &[String]) -> String {
    format!("{}. Fix the settings of the cluster. Reconciliation is paused until then", problems.join("; "))
}

/// `advice` says how to roll back during an upgrade; empty otherwise.
pub(crate) fn stage_not_ready(stage: impl Display, cause: &str, advice: &str) -> String {
    format!("Timed out waiting for {stage}: {cause}. The operator keeps waiting{advice}")
}

pub(crate) fn cluster_size_changed(before: &str, now: &str) -> String {
    format!("The size of the cluster changed from {before} to {now}. The resources of Istio are adjusted")
}

pub(crate) fn drift_reverted(object: &ObjectId, change: &str) -> String {
    format!("Reverted drift on {object}: {change}")
}

pub(crate) fn adopted_with_rollout(object: &ObjectId, field: &str) -> String {
    format!("Adopted {object}. Its pods restart once because {field} differs")
}

// Installed, with advisories.

pub(crate) fn stale_setting(problem: &str) -> String {
    format!("{problem}. Fix it. The last valid value remains in effect")
}

pub(crate) fn gateway_changed(filters: &[String]) -> String {
    let filters: Vec<String> = filters.iter().map(|name| format!("istio-system/{name}")).collect();
    format!(
        "EnvoyFilters that are not part of the installation change the ingress gateway: {}. They can break with any version \
         of Istio. Delete them, or remove the ingress gateway from their selectors",
        list_limited(&filters, MAX_NAMED_FILTERS)
    )
}

pub(crate) fn gateway_unknown(cause: &str) -> String {
    format!(
        "Failed to determine whether EnvoyFilters change the ingress gateway: {cause}. The operator retries"
    )
}

pub(crate) fn degraded(diagnosis: &str) -> String {
    format!("Istio is degraded: {diagnosis}")
}

pub(crate) fn unhealthy(diagnosis: &str) -> String {
    format!("Istio is installed but unhealthy: {diagnosis}")
}

// Uninstall.

pub(crate) fn deletion_blocked(blockers: &[ObjectId]) -> String {
    format!(
        "There are Istio resources that block deletion, because they would be lost: {}. Delete them to continue the removal \
         of Istio",
        list_limited(blockers, MAX_NAMED)
    )
}

pub(crate) fn step_not_gone(step: impl Display, remaining: &[ObjectId]) -> String {
    format!(
        "Timed out waiting for the removal of {step}; still present: {}. The operator keeps waiting",
        list_limited(remaining, MAX_NAMED)
    )
}

pub(crate) fn orphaned(annotation: &str, policy: &str) -> String {
    format!("Istio remains installed: the annotation {annotation} is {policy}")
}

// Log lines of outcomes that no status shows.

pub(crate) fn complete(written: usize, unchanged: usize, pruned: usize, skipped: usize) -> String {
    format!("complete: {written} objects written, {unchanged} unchanged, {pruned} pruned, {skipped} skipped")
}

/// A log line: an installed object was changed while later stages were applied.
pub(crate) const DRIFT_DETECTED: &str = "restarting the reconcile: installed objects were changed";
/// A log line: the finalizer is removed.
pub(crate) const RELEASED: &str = "the resource is released: nothing remains to be removed";

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::api::conditions::Reason;
    use crate::plan::Stage;
    use crate::uninstall::order::UninstallStep;

    fn object(kind: &str, name: &str) -> ObjectId {
        ObjectId {
            group: String::new(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: Some("istio-system".to_owned()),
            name: name.to_owned(),
        }
    }

    fn samples() -> Vec<(&'static str, String)> {
        let service = object("Service", "istiod");
        let objects: Vec<ObjectId> = (1..=7).map(|n| object("VirtualService", &format!("v{n}"))).collect();
        let filters: Vec<String> = (1..=12).map(|n| format!("f{n}")).collect();
        let gateway = "Deployment istio-system/istio-ingressgateway: 0 of 1 pods are available";
        vec![
            ("wrong_namespace", wrong_namespace("default", "kyma-system")),
            ("older_resource", older_resource("kyma-system", "default")),
            ("paused", paused("paused until the annotation x is removed")),
            ("unreadable_settings", unreadable_settings(&["ConfigMap a/b: no number".to_owned()])),
            ("stage_not_ready", stage_not_ready(Stage::Gateways, gateway, "")),
            ("cluster_size_changed", cluster_size_changed("evaluation", "production")),
            ("drift_reverted", drift_reverted(&service, "kubectl changed spec.ports")),
            ("adopted_with_rollout", adopted_with_rollout(&service, "spec.template")),
            ("stale_setting", stale_setting("ConfigMap a/b: no number")),
            ("gateway_changed", gateway_changed(&filters)),
            ("gateway_unknown", gateway_unknown("the list timed out")),
            ("degraded", degraded(gateway)),
            ("unhealthy", unhealthy(gateway)),
            ("deletion_blocked", deletion_blocked(&objects)),
            ("step_not_gone", step_not_gone(UninstallStep::Crds, &objects[..2])),
            ("orphaned", orphaned("a/deletion-policy", "orphan")),
            ("complete", complete(1, 2, 3, 4)),
            ("DRIFT_DETECTED", DRIFT_DETECTED.to_owned()),
            ("RELEASED", RELEASED.to_owned()),
        ]
    }

    #[test]
    fn the_catalogue_of_messages() {
        let mut text = String::new();
        for (name, message) in samples() {
            writeln!(text, "{name}: {message}").unwrap();
        }
        text.push_str("\nReasons of Events\n");
        for reason in EventReason::ALL {
            writeln!(text, "{} {:?}", reason.as_str(), reason.event_type()).unwrap();
        }
        text.push_str("\nReasons of conditions\n");
        for reason in Reason::ALL {
            let (type_, status) = (reason.condition_type().as_str(), reason.status().as_str());
            writeln!(text, "{} {type_}={status}: {}", reason.as_str(), reason.message()).unwrap();
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn descriptions_that_tools_look_for_begin_as_in_the_go_operator() {
        for (text, beginning) in [
            (
                wrong_namespace("default", "kyma-system"),
                "Stopped Istio CR reconciliation: istio CR is not in kyma-system namespace",
            ),
            (
                older_resource("kyma-system", "first"),
                "Stopped Istio CR reconciliation: only Istio CR first in kyma-system reconciles the module",
            ),
            (deletion_blocked(&[object("Gateway", "a")]), "There are Istio resources that block deletion"),
        ] {
            assert!(text.starts_with(beginning), "{text}");
        }
    }
}
