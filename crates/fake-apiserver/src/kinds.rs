//! The kinds that the API server serves, by group and version, and what differs between them.

use serde_json::{Value, json};

/// One served kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "the API calls it kind, too")]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether a CustomResourceDefinition or a test made it.
    pub(crate) custom: bool,
}

/// Group, version, kind, plural, whether it is namespaced.
const BUILT_IN: [(&str, &str, &str, &str, bool); 43] = [
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "Endpoints", "endpoints", true),
    ("", "v1", "Event", "events", true),
    ("", "v1", "Namespace", "namespaces", false),
    ("", "v1", "Node", "nodes", false),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "v1", "Pod", "pods", true),
    ("", "v1", "ReplicationController", "replicationcontrollers", true),
    ("", "v1", "ResourceQuota", "resourcequotas", true),
    ("", "v1", "Secret", "secrets", true),
    ("", "v1", "Service", "services", true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", true),
    ("apps", "v1", "DaemonSet", "daemonsets", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("apps", "v1", "ReplicaSet", "replicasets", true),
    ("apps", "v1", "StatefulSet", "statefulsets", true),
    ("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", false),
    ("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", false),
    ("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", false),
    ("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", true),
    ("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", false),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("batch", "v1", "CronJob", "cronjobs", true),
    ("batch", "v1", "Job", "jobs", true),
    ("coordination.k8s.io", "v1", "Lease", "leases", true),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true),
    ("events.k8s.io", "v1", "Event", "events", true),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", true),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false),
    ("storage.k8s.io", "v1", "CSINode", "csinodes", false),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
];

/// Groups whose objects have no `metadata.generation`.
const WITHOUT_GENERATION: [&str; 6] = [
    "",
    "authorization.k8s.io",
    "events.k8s.io",
    "coordination.k8s.io",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
];

pub(crate) fn built_in() -> Vec<Kind> {
    let kind = |(group, version, kind, plural, namespaced): (&str, &str, &str, &str, bool)| Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
        custom: false,
    };
    BUILT_IN.into_iter().map(kind).collect()
}

/// The kinds that an established CustomResourceDefinition serves.
pub(crate) fn of_crd(crd: &Value) -> Vec<Kind> {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array).cloned().unwrap_or_default();
    let served = versions.iter().filter(|version| version["served"] == true);
    served
        .map(|version| Kind {
            group: text("/spec/group"),
            version: version["name"].as_str().unwrap_or_default().to_owned(),
            kind: text("/spec/names/kind"),
            plural: text("/spec/names/plural"),
            namespaced: text("/spec/scope") != "Cluster",
            custom: true,
        })
        .collect()
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(crate) fn has_generation(&self) -> bool {
        !WITHOUT_GENERATION.contains(&self.group.as_str())
    }

    /// Whether status is written by its own endpoint, and by no other.
    pub(crate) fn has_status(&self) -> bool {
        let without =
            ["ConfigMap", "Secret", "Event", "ServiceAccount", "Endpoints", "EndpointSlice", "Lease"];
        !without.contains(&self.kind.as_str())
    }

    pub(crate) fn is_crd(&self) -> bool {
        self.kind == "CustomResourceDefinition"
    }

    pub(crate) fn is_review(&self) -> bool {
        self.kind.ends_with("Review")
    }

    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// The list of groups, or of the resources of one version; `None` if the path is not one of discovery.
pub(crate) fn discovery(kinds: &[Kind], path: &str) -> Option<Value> {
    match path.trim_matches('/') {
        "api" => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        "apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(kinds)})),
        path => {
            let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
                ["api", version] => (String::new(), (*version).to_owned()),
                ["apis", group, version] => ((*group).to_owned(), (*version).to_owned()),
                _ => return None,
            };
            resources(kinds, &group, &version)
        }
    }
}

fn groups(kinds: &[Kind]) -> Vec<Value> {
    let mut names: Vec<&str> =
        kinds.iter().map(|kind| kind.group.as_str()).filter(|group| !group.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let group = |name: &str| {
        let mut versions: Vec<&str> =
            kinds.iter().filter(|kind| kind.group == name).map(|kind| kind.version.as_str()).collect();
        versions.sort_unstable();
        versions.dedup();
        let entry = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
        let versions: Vec<Value> = versions.iter().map(entry).collect();
        json!({"name": name, "preferredVersion": versions[0], "versions": versions})
    };
    names.into_iter().map(group).collect()
}

fn resources(kinds: &[Kind], group: &str, version: &str) -> Option<Value> {
    let of_version = kinds.iter().filter(|kind| kind.group == group && kind.version == version);
    let resources: Vec<Value> = of_version
        .map(|kind| {
            json!({"name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]})
        })
        .collect();
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!resources.is_empty()).then(|| {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
    })
}
