//! Annotations, labels and names by which the data plane is steered. Constants only.

/// Label that injection puts on every pod it gives a proxy; pods are listed and watched by it.
pub const INJECTED_SELECTOR: &str = "security.istio.io/tlsMode";
/// The pods without that label: few of them have a proxy, and some should.
pub const UNLABELLED_SELECTOR: &str = "!security.istio.io/tlsMode";
/// Annotation in which injection lists what it added to a pod.
pub const STATUS_ANNOTATION: &str = "sidecar.istio.io/status";
/// Annotation that names another proxy image; such a pod keeps image and resources of its own.
pub const PROXY_IMAGE_ANNOTATION: &str = "sidecar.istio.io/proxyImage";
/// Name of the injected proxy container.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Init container that redirects traffic where no CNI agent does.
pub const INIT_CONTAINER: &str = "istio-init";
/// Init container that checks the redirection of the CNI agent.
pub const VALIDATION_CONTAINER: &str = "istio-validation";

/// Annotation of a workload or namespace: it is never restarted.
pub const EXCLUDE_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/exclude";
/// Annotation of a workload or namespace: it is restarted only inside these times (UTC), such as `Sat-Sun 00:00-04:00`.
pub const WINDOW_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/maintenance-window";
/// Annotation of a workload or namespace: a restart may interrupt it.
pub const ALLOW_INTERRUPTION_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/allow-interruption";
/// Annotation of the `Istio` resource: releases a wave that waits or was stopped, by the identity its status tells.
pub const APPROVE_RESTARTS_ANNOTATION: &str = "restarter.istio-operator.kyma-project.io/release";

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
/// ConfigMap in the operator's namespace that remembers which workloads were restarted.
pub const RESTARTS_CONFIG_MAP: &str = "istio-manager-restarts";
