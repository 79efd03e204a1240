//! The states, condition types and reasons that an `Istio` resource can show.
//! A vocabulary: which of them applies is decided where the fact is known, who writes them is the status writer.

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
    /// The user has something to mend.
    Warning,
    /// The operator failed, and tries again.
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
    /// Whether Istio runs as described.
    Ready,
    /// Whether every sidecar is up to date.
    ProxySidecarRestartSucceeded,
    /// Whether a user's resource changes the ingress gateway behind the operator's back.
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
    /// It cannot be told.
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

/// Defines [`StaleReason`] from one table, so that type, status and message of a reason stand side by side.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident: $type:ident is $status:ident, $message:literal;)+) => {
        /// Reason of a condition. Determines the type and status of the condition, and the message it has unless a
        /// better one is known.
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

            /// Message of the condition when nothing more specific is known.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$reason => $message,)+ }
            }
        }
    };
}

reasons! {
    /// Istio runs as described.
    ReconcileSucceeded: Ready is True, "Istio runs as this resource describes";
    /// Work is under way, or ended before it could tell.
    ReconcileUnknown: Ready is Unknown, "Not known yet: work is in progress";
    /// Someone asked to leave everything alone.
    ReconcilePaused: Ready is Unknown, "Nothing is written while the resource is paused";
    /// Something is not as described, because others keep changing it.
    DriftNotRepaired: Ready is False, "Others keep changing what the operator puts back";
    /// Something failed that has no reason of its own.
    ReconcileFailed: Ready is False, "The last attempt to bring Istio to the described state failed";
    /// The resource says something that cannot be followed.
    ValidationFailed: Ready is False, "The resource is not valid, nothing was changed in the cluster";
    /// Another resource was there first.
    OlderCRExists: Ready is False, "An older Istio resource is in charge of this cluster, this one is ignored";
    /// Deletion without an installation to remove.
    IstioInstallNotNeeded: Ready is False, "There is nothing to install";
    /// Istio is applied, later steps are not done.
    IstioInstallSucceeded: Ready is False, "Istio is installed, further steps are under way";
    /// Istio is removed.
    IstioUninstallSucceeded: Ready is False, "Istio is removed";
    /// Applying or removing Istio failed.
    IstioInstallUninstallFailed: Ready is False, "Istio could not be installed or removed completely";
    /// The resource is valid by itself, but gives no working configuration of Istio.
    IstioCustomResourceMisconfigured: Ready is False, "The resource gives no working configuration of Istio";
    /// Istio's own resources that users made stand in the way of removal.
    IstioCustomResourcesDangling: Ready is False, "Istio is still in use: delete the Istio resources that remain in the cluster";
    /// The step between the installed and the wanted version is not supported.
    IstioVersionUpdateNotAllowed: Ready is False, "Istio cannot be brought from the installed to the wanted version in one step";
    /// Resources next to Istio could not be applied.
    CustomResourcesReconcileFailed: Ready is False, "The resources that accompany Istio could not be applied";
    /// The ingress gateway was restarted.
    IngressGatewayRestartSucceeded: Ready is False, "The ingress gateway was restarted";
    /// The ingress gateway could not be restarted.
    IngressGatewayRestartFailed: Ready is False, "The ingress gateway could not be restarted";
    /// The egress gateway was restarted.
    EgressGatewayRestartSucceeded: Ready is False, "The egress gateway was restarted";
    /// The egress gateway could not be restarted.
    EgressGatewayRestartFailed: Ready is False, "The egress gateway could not be restarted";
    /// Every sidecar is up to date.
    ProxySidecarRestartSucceeded: ProxySidecarRestartSucceeded is True, "Every sidecar is up to date";
    /// Sidecars could not be brought up to date.
    ProxySidecarRestartFailed: ProxySidecarRestartSucceeded is False, "The sidecars could not be brought up to date";
    /// Some sidecars are up to date, others are still to come.
    ProxySidecarRestartPartiallySucceeded: ProxySidecarRestartSucceeded is False, "Sidecars are being brought up to date";
    /// Some sidecars can only be brought up to date by their owner.
    ProxySidecarManualRestartRequired: ProxySidecarRestartSucceeded is False, "Some workloads have to be restarted by their owners";
    /// A user's resource targets the ingress gateway.
    IngressTargetingUserResourceFound: IngressTargetingUserResourceFound is True, "A resource that is not part of the installation changes the ingress gateway";
    /// No user's resource targets the ingress gateway.
    IngressTargetingUserResourceNotFound: IngressTargetingUserResourceFound is False, "No resource outside the installation changes the ingress gateway";
    /// It could not be found out.
    IngressTargetingUserResourceDetectionFailed: IngressTargetingUserResourceFound is Unknown, "It could not be found out whether another resource changes the ingress gateway";
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
