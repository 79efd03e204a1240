//! Annotations, labels and object names that the data plane uses. Constants only.

/// Label that injection sets on every pod with a sidecar; pods are listed and watched by it.
pub const INJECTED_SELECTOR: &str = "security.istio.io/tlsMode";
/// Selects the pods without that label: few of them have a sidecar, and some should.
pub const UNLABELLED_SELECTOR: &str = "!security.istio.io/tlsMode";
/// Annotation in which injection lists what it added to a pod.
pub const STATUS_ANNOTATION: &str = "sidecar.istio.io/status";
/// Annotation that sets another proxy image; image and resources of such a pod are up to its author.
pub const PROXY_IMAGE_ANNOTATION: &str = "sidecar.istio.io/proxyImage";
/// Name of the injected proxy container.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Init container that redirects traffic without a CNI agent.
pub const INIT_CONTAINER: &str = "istio-init";
/// Init container that checks the redirection of the CNI agent.
pub const VALIDATION_CONTAINER: &str = "istio-validation";

/// Annotation of a workload or namespace: workloads are never restarted.
pub const EXCLUDE_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/exclude";
/// Annotation of a workload or namespace: workloads are restarted only at these times (UTC), such as `Sat-Sun 00:00-04:00`.
pub const WINDOW_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/maintenance-window";
/// Annotation of a workload or namespace: a restart may interrupt workloads.
pub const ALLOW_INTERRUPTION_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/allow-interruption";
/// Annotation of the `Istio` resource: approves restarts that are on hold or were stopped. Its value is in the status.
pub const APPROVE_RESTARTS_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/approve-restarts";

/// Label of the template's hash on pods of a Deployment.
pub const TEMPLATE_HASH_LABEL: &str = "pod-template-hash";
/// Label of the template's hash on pods of an Argo Rollout.
pub const ROLLOUT_HASH_LABEL: &str = "rollouts-pod-template-hash";
/// Label of the template's hash on pods of a `StatefulSet` or `DaemonSet`.
pub const REVISION_HASH_LABEL: &str = "controller-revision-hash";

/// ConfigMap of istiod with the mesh configuration.
pub const MESH_CONFIG_MAP: &str = "istio";
/// ConfigMap of istiod with the templates and values of injection.
pub const INJECTOR_CONFIG_MAP: &str = "istio-sidecar-injector";
/// ConfigMap in the operator's namespace with the restart ledger.
pub const RESTARTS_CONFIG_MAP: &str = "istio-manager-restarts";
