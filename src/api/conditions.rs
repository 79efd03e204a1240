//! The states, condition types and reasons of the `Istio` resource. A vocabulary: controllers decide which one applies, and the
//! status writer writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Overall state of the resource. Ordered by severity: the worst of several states is the greatest.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum State {
    /// Istio is installed as described.
    Ready,
    /// Work is under way.
    #[default]
    Processing,
    /// Removal is under way.
    Deleting,
    /// The user has to act.
    Warning,
    /// The operator failed and retries.
    Error,
}

impl State {
    /// The state as written in `status.state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Processing => "Processing",
            Self::Deleting => "Deleting",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }
}

/// Type of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Whether Istio runs as configured.
    Ready,
    /// Whether every sidecar is up to date.
    ProxySidecarRestartSucceeded,
    /// Whether a resource of a user changes the ingress gateway.
    IngressTargetingUserResourceFound,
}

impl ConditionType {
    /// The type as written in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::ProxySidecarRestartSucceeded => "ProxySidecarRestartSucceeded",
            Self::IngressTargetingUserResourceFound => "IngressTargetingUserResourceFound",
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// It is not known whether the condition holds.
    Unknown,
}

impl ConditionStatus {
    /// The status as written in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Defines [`Reason`] from one table of type, status and message.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident: $type:ident is $status:ident, $message:literal;)+) => {
        /// Reason of a condition. Determines the type and the status of the condition, and its default message.
        ///
        /// Reasons that the operator does not use are reserved: the Go operator defines them, and tools may know them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $reason,)+
        }

        impl Reason {
            /// Every reason, for documentation and tests.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// The reason as written in a condition.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$reason => stringify!($reason),)+ }
            }

            /// Type of the condition that the reason belongs to.
            #[must_use]
            pub const fn condition_type(self) -> ConditionType {
                match self { $(Self::$reason => ConditionType::$type,)+ }
            }

            /// Status of the condition when it has this reason.
            #[must_use]
            pub const fn status(self) -> ConditionStatus {
                match self { $(Self::$reason => ConditionStatus::$status,)+ }
            }

            /// Default message of the condition.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$reason => $message,)+ }
            }
        }
    };
}

reasons! {
    /// Istio runs as configured.
    ReconcileSucceeded: Ready is True, "Istio is installed as configured";
    /// A reconcile is in progress, or ended without a result.
    ReconcileUnknown: Ready is Unknown, "Reconciliation is in progress";
    /// An annotation pauses the reconcile.
    ReconcilePaused: Ready is Unknown, "Reconciliation is paused";
    /// Another client keeps changing an object.
    DriftNotRepaired: Ready is False, "Drift is not reverted: another client keeps changing the same fields";
    /// A step without a reason of its own failed.
    ReconcileFailed: Ready is False, "Reconciliation failed";
    /// The resource is not valid.
    ValidationFailed: Ready is False, "The resource is not valid. The cluster is not changed";
    /// An older resource is active.
    OlderCRExists: Ready is False, "An older Istio resource is active. This resource is ignored";
    /// Reserved. Deletion without an installation to remove.
    IstioInstallNotNeeded: Ready is False, "Installation is not needed";
    /// Reserved. Istio is applied, and later steps are in progress.
    IstioInstallSucceeded: Ready is False, "Istio is installed. Further steps are in progress";
    /// Istio is removed.
    IstioUninstallSucceeded: Ready is False, "Istio is removed";
    /// Applying or removing Istio failed.
    IstioInstallUninstallFailed: Ready is False, "Istio is not completely installed or removed";
    /// The resource is valid, but its configuration cannot be rendered.
    IstioCustomResourceMisconfigured: Ready is False, "The configuration of Istio cannot be rendered";
    /// Istio resources of users block the removal.
    IstioCustomResourcesDangling: Ready is False, "There are Istio resources that block deletion";
    /// The update from the installed to the desired version is not supported.
    IstioVersionUpdateNotAllowed: Ready is False, "Istio version update is not allowed";
    /// Reserved. Extra resources could not be applied.
    CustomResourcesReconcileFailed: Ready is False, "Extra resources are not applied";
    /// Reserved. The ingress gateway was restarted.
    IngressGatewayRestartSucceeded: Ready is False, "The ingress gateway was restarted";
    /// Reserved. The ingress gateway could not be restarted.
    IngressGatewayRestartFailed: Ready is False, "The ingress gateway could not be restarted";
    /// Reserved. The egress gateway was restarted.
    EgressGatewayRestartSucceeded: Ready is False, "The egress gateway was restarted";
    /// Reserved. The egress gateway could not be restarted.
    EgressGatewayRestartFailed: Ready is False, "The egress gateway could not be restarted";
    /// Every sidecar is up to date.
    ProxySidecarRestartSucceeded: ProxySidecarRestartSucceeded is True, "Every sidecar is up to date";
    /// The sidecars could not be updated.
    ProxySidecarRestartFailed: ProxySidecarRestartSucceeded is False, "The sidecars could not be updated";
    /// Sidecars are being updated.
    ProxySidecarRestartPartiallySucceeded: ProxySidecarRestartSucceeded is False, "Sidecars are being updated";
    /// Owners have to restart workloads.
    ProxySidecarManualRestartRequired: ProxySidecarRestartSucceeded is False, "Some workloads must be restarted manually";
    /// A resource of a user targets the ingress gateway.
    IngressTargetingUserResourceFound: IngressTargetingUserResourceFound is True, "A resource that is not part of the installation changes the ingress gateway";
    /// No resource of a user targets the ingress gateway.
    IngressTargetingUserResourceNotFound: IngressTargetingUserResourceFound is False, "No resource outside the installation changes the ingress gateway";
    /// The detection failed.
    IngressTargetingUserResourceDetectionFailed: IngressTargetingUserResourceFound is Unknown, "Failed to determine whether another resource changes the ingress gateway";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_states_is_the_greatest() {
        let worst = [State::Processing, State::Error, State::Ready, State::Warning].into_iter().max();
        assert_eq!(worst, Some(State::Error));
        assert!(State::Warning > State::Deleting && State::Processing > State::Ready);
    }

    #[test]
    fn only_one_reason_means_ready() {
        let ready: Vec<_> = Reason::ALL
            .iter()
            .filter(|r| r.condition_type() == ConditionType::Ready && r.status() == ConditionStatus::True)
            .collect();
        assert_eq!(ready, [&Reason::ReconcileSucceeded]);
    }

    #[test]
    fn states_are_written_as_serde_writes_them() {
        for state in [State::Ready, State::Processing, State::Deleting, State::Warning, State::Error] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
