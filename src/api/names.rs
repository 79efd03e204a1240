//! Names, labels and annotations that the operator shares with users, with the Go operator of Kyma's Istio module and
//! with Istio itself.
//! Constants only.

/// Namespace of the active `Istio` resource, and by default of the operator.
pub const OPERATOR_NAMESPACE: &str = "kyma-system";
/// Namespace of Istio's control plane.
pub const ISTIO_NAMESPACE: &str = "istio-system";
/// `ClusterRole` with the permissions that the operator has only in [`ISTIO_NAMESPACE`], and its `RoleBinding` there.
pub const CONTROL_PLANE_ROLE: &str = "istio-manager-control-plane";
/// Name under which users usually create the `Istio` resource. Any other name works too.
pub const CANONICAL_NAME: &str = "default";

/// Finalizer set before the first write of an installation and removed after the last delete.
pub const INSTALLATION_FINALIZER: &str = "istios.operator.kyma-project.io/istio-installation";
/// Annotation of the `Istio` resource with the spec and version (`IstioTag`) of the last complete installation, as JSON.
/// The Kyma dashboard reads `IstioTag`; the Go operator decides upgrades by it.
pub const LAST_APPLIED_ANNOTATION: &str = "operator.kyma-project.io/lastAppliedConfiguration";
/// Key of the version inside [`LAST_APPLIED_ANNOTATION`].
pub const LAST_APPLIED_VERSION_KEY: &str = "IstioTag";
/// Annotation of the `Istio` resource that allows a downgrade to the named version.
pub const ALLOW_DOWNGRADE_ANNOTATION: &str = "istios.operator.kyma-project.io/allow-downgrade";

/// Label key that marks every object of the Istio module.
pub const MODULE_LABEL: &str = "kyma-project.io/module";
/// Value of [`MODULE_LABEL`].
pub const MODULE_LABEL_VALUE: &str = "istio";
/// Label that asks Kyma's Warden to verify the images of a namespace.
pub const WARDEN_LABEL: &str = "namespaces.warden.kyma-project.io/validate";
/// Value of [`WARDEN_LABEL`].
pub const WARDEN_LABEL_VALUE: &str = "enabled";
/// Annotation with a warning not to edit an object. Only its presence is meaningful, but it is also in pod templates, where a
/// changed text is a changed template: see [`DISCLAIMER`].
pub const DISCLAIMER_ANNOTATION: &str = "istios.operator.kyma-project.io/managed-by-disclaimer";
/// Text of [`DISCLAIMER_ANNOTATION`] on objects that no chart renders. It has no final newline, unlike the text in the
/// base configuration.
pub const DISCLAIMER: &str = "DO NOT EDIT - This resource is managed by Kyma.\n\
     Any modifications are discarded and the resource is reverted to the original state.";
/// Annotation put on a pod template to restart its workload.
pub const RESTARTED_AT_ANNOTATION: &str = "istio-operator.kyma-project.io/restartedAt";

/// Field manager of all applied objects. Shared with the Go operator and `istioctl`, so that fields that they applied are
/// removed when they are no longer planned.
pub const FIELD_MANAGER: &str = "istio-operator";
/// Field manager of the operator's own objects and of restarts of users' workloads. It stays when another installer adopts the
/// objects of Istio.
pub const OWN_FIELD_MANAGER: &str = "istio-manager";
/// Lease of the leader election, the one that the Go operator uses, so that both never run at once.
pub const LEADER_LEASE: &str = "76223278.kyma-project.io";

/// ConfigMap in [`OPERATOR_NAMESPACE`] with feature switches.
pub const FEATURES_CONFIG_MAP: &str = "istio-features";
/// ConfigMap in [`OPERATOR_NAMESPACE`] with facts about how the cluster was provisioned.
pub const PROVISIONING_INFO_CONFIG_MAP: &str = "kyma-provisioning-info";
/// ConfigMap in [`ISTIO_NAMESPACE`] whose presence keeps a classic load balancer on AWS.
pub const ELB_DEPRECATED_CONFIG_MAP: &str = "elb-deprecated";
/// ConfigMap in the operator's namespace with the remembered properties of the cluster.
pub const REMEMBERED_FACTS_CONFIG_MAP: &str = "istio-manager-cluster";
/// CRD of vertical autoscalers; without it the cluster has none.
pub const VERTICAL_AUTOSCALER_CRD: &str = "verticalpodautoscalers.autoscaling.k8s.io";
/// Deployment, Service and pod label value of the ingress gateway.
pub const INGRESS_GATEWAY: &str = "istio-ingressgateway";
/// Deployment, Service and pod label value of the egress gateway.
pub const EGRESS_GATEWAY: &str = "istio-egressgateway";
