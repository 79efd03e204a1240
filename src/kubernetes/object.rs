//! The identity of a Kubernetes object, and the API endpoint that serves it.
//!
//! Pure; it reads manifests as JSON and sends no request.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DynamicObject, ObjectMeta};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::names::{is_dns_label, is_dns_subdomain};

/// Kinds without a namespace among those that Istio's charts or this operator write.
const CLUSTER_SCOPED: [&str; 9] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// The metadata of an object of any kind. One type for all kinds, because each watched type is compiled separately.
pub type Metadata = PartialObjectMeta<DynamicObject>;

/// The endpoint of a kind, with the plural by Kubernetes' naming rule.
#[must_use]
pub fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// A manifest without a usable identity.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The manifest lacks a field of the identity.
    #[error("a rendered {kind} object has no {field}")]
    Incomplete {
        /// The manifest's kind, or `?`.
        kind: String,
        /// The missing field.
        field: &'static str,
    },
    /// A part of the identity would change the path of a request.
    #[error("a rendered object has the invalid {field} {text:?}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its text, truncated.
        text: String,
    },
}

/// Longest name of an object in characters (Kubernetes, "Object Names and IDs").
const MAX_NAME_LENGTH: usize = 253;
/// Longest label of a DNS name in characters (RFC 1123).
const MAX_LABEL_LENGTH: usize = 63;
/// Longest excerpt of an invalid text in an error, in characters.
const MAX_EXCERPT_LENGTH: usize = 60;
/// Names in this group are path segments rather than DNS names, such as `system:node` (Kubernetes, "Object Names and
/// IDs", path segment names).
const PATH_SEGMENT_NAMES_GROUP: &str = "rbac.authorization.k8s.io";

/// Whether `text` is a path segment that a URL takes as it is.
fn is_path_segment(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (1..=MAX_NAME_LENGTH).contains(&text.len()) && !matches!(text, "." | "..") && text.bytes().all(is_plain)
}

fn is_kind(text: &str) -> bool {
    (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Group, version, kind, namespace and name of one object.
///
/// Ordered by kind before name, so that sorted lists read well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version without the group.
    pub version: String,
    /// Kind in singular, such as `Deployment`.
    pub kind: String,
    /// Namespace; `None` for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// Group, version and kind of objects. Unlike kube's `GroupVersionKind` it can be sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKind {
    /// API group; empty for the core group.
    pub group: String,
    /// API version without the group.
    pub version: String,
    /// Kind in singular, such as `Deployment`.
    pub kind: String,
}

impl ObjectKind {
    /// A kind by its `apiVersion`, such as `apps/v1`, and its name.
    #[must_use]
    pub fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// The kind that an endpoint serves.
    #[must_use]
    pub fn of(resource: &ApiResource) -> Self {
        Self::new(&resource.api_version, &resource.kind)
    }

    /// The endpoint of this kind, with the plural by Kubernetes' naming rule.
    #[must_use]
    pub fn api_resource(&self) -> ApiResource {
        resource(&self.group, &self.version, &self.kind)
    }

    /// The identity of an object of this kind, given its metadata.
    #[must_use]
    pub fn object(&self, metadata: &ObjectMeta) -> ObjectId {
        ObjectId {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl ObjectId {
    /// A namespaced object, by the `apiVersion` of its kind, such as `apps/v1`.
    #[must_use]
    pub fn namespaced(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::cluster_scoped(api_version, kind, name) }
    }

    /// A cluster-scoped object, by the `apiVersion` of its kind, such as `rbac.authorization.k8s.io/v1`.
    #[must_use]
    pub fn cluster_scoped(api_version: &str, kind: &str, name: &str) -> Self {
        let ObjectKind { group, version, kind } = ObjectKind::new(api_version, kind);
        Self { group, version, kind, namespace: None, name: name.to_owned() }
    }

    /// The kind of this object.
    #[must_use]
    pub fn object_kind(&self) -> ObjectKind {
        ObjectKind { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }

    /// Reads the identity of a manifest.
    pub fn of(manifest: &Value) -> Result<Self, Error> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").unwrap_or("?").to_owned();
        let missing = |field| Error::Incomplete { kind: kind.clone(), field };
        let api_version = text("/apiVersion").ok_or_else(|| missing("apiVersion"))?;
        let name = text("/metadata/name").ok_or_else(|| missing("metadata.name"))?.to_owned();
        if kind == "?" {
            return Err(missing("kind"));
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let namespaced = !CLUSTER_SCOPED.contains(&kind.as_str());
        let namespace = text("/metadata/namespace").filter(|_| namespaced).map(str::to_owned);
        let id = Self { group: group.to_owned(), version: version.to_owned(), kind, namespace, name };
        id.check()?;
        Ok(id)
    }

    /// Rejects text that Kubernetes does not allow: it would become part of the path of a request.
    fn check(&self) -> Result<(), Error> {
        let is_name = if self.group == PATH_SEGMENT_NAMES_GROUP { is_path_segment } else { is_dns_subdomain };
        let namespace = self.namespace.as_deref();
        for (field, text, is_valid) in [
            ("group", self.group.as_str(), self.group.is_empty() || is_dns_subdomain(&self.group)),
            ("version", &self.version, is_dns_label(&self.version)),
            ("kind", &self.kind, is_kind(&self.kind)),
            ("metadata.namespace", namespace.unwrap_or_default(), namespace.is_none_or(is_dns_label)),
            ("metadata.name", &self.name, is_name(&self.name)),
        ] {
            if !is_valid {
                return Err(Error::Invalid { field, text: text.chars().take(MAX_EXCERPT_LENGTH).collect() });
            }
        }
        Ok(())
    }

    /// The endpoint of this object's kind, with the plural by Kubernetes' naming rule.
    #[must_use]
    pub fn api_resource(&self) -> ApiResource {
        resource(&self.group, &self.version, &self.kind)
    }

    /// A client for this object's kind, in its namespace if it has one.
    #[must_use]
    pub fn api(&self, client: Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.api_resource()),
            None => Api::all_with(client, &self.api_resource()),
        }
    }

    /// Like [`Self::api`], for metadata only.
    #[must_use]
    pub fn metadata_api(&self, client: Client) -> Api<Metadata> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.api_resource()),
            None => Api::all_with(client, &self.api_resource()),
        }
    }

    /// A reference to the object, for Events.
    #[must_use]
    pub fn reference(&self) -> ObjectReference {
        let api_version = if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        };
        ObjectReference {
            api_version: Some(api_version),
            kind: Some(self.kind.clone()),
            namespace: self.namespace.clone(),
            name: Some(self.name.clone()),
            ..ObjectReference::default()
        }
    }

    /// Whether both identify the same object, possibly by different versions of its API.
    #[must_use]
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.name == other.name
            && self.group == other.group
            && self.namespace == other.namespace
    }

    /// Whether this is an object of the given group and kind.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_identity_is_read_from_a_manifest() {
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "istio-system"}});
        let id = ObjectId::of(&manifest).unwrap();
        assert_eq!(id.to_string(), "Deployment istio-system/istiod");
        assert_eq!((id.group.as_str(), id.version.as_str()), ("apps", "v1"));
        assert_eq!(id, ObjectId::namespaced("apps/v1", "Deployment", "istio-system", "istiod"));
        let metadata = ObjectMeta {
            namespace: Some("istio-system".into()),
            name: Some("istiod".into()),
            ..ObjectMeta::default()
        };
        assert_eq!(id, ObjectKind::new("apps/v1", "Deployment").object(&metadata));
        assert_eq!(id.object_kind(), ObjectKind::of(&id.api_resource()));
    }

    #[test]
    fn a_namespace_on_a_cluster_scoped_kind_is_ignored() {
        let manifest = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "istio-cni", "namespace": "istio-system"}});
        assert_eq!(ObjectId::of(&manifest).unwrap().namespace, None);
    }

    #[test]
    fn a_manifest_without_a_name_is_refused_by_field() {
        let error =
            ObjectId::of(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {}})).unwrap_err();
        assert_eq!(error.to_string(), "a rendered Service object has no metadata.name");
    }

    #[test]
    fn identities_that_would_change_a_request_path_are_rejected() {
        let of = |api_version: &str, kind: &str, namespace: &str, name: &str| {
            ObjectId::of(&json!({"apiVersion": api_version, "kind": kind,
                "metadata": {"name": name, "namespace": namespace}}))
        };
        let (rbac, long) = ("rbac.authorization.k8s.io/v1", "a".repeat(254));
        for (api_version, kind, namespace, name, field) in [
            ("v1", "ConfigMap", "x/secrets?a=", "b", "metadata.namespace"),
            ("v1", "ConfigMap", "a.b", "b", "metadata.namespace"),
            ("v1", "ConfigMap", "", "b", "metadata.namespace"),
            ("v1", "ConfigMap", "a", "../b", "metadata.name"),
            ("v1", "ConfigMap", "a", "..", "metadata.name"),
            ("v1", "ConfigMap", "a", "b\nc", "metadata.name"),
            ("v1", "ConfigMap", "a", "B", "metadata.name"),
            ("v1", "ConfigMap", "a", "b:c", "metadata.name"),
            ("v1", "ConfigMap", "a", "", "metadata.name"),
            ("v1", "ConfigMap", "a", &long, "metadata.name"),
            (rbac, "Role", "a", "b/c", "metadata.name"),
            (rbac, "Role", "a", "b%2fc", "metadata.name"),
            (rbac, "Role", "a", "..", "metadata.name"),
            (rbac, "Role", "a", "b?c", "metadata.name"),
            ("v1", "Config/Map", "a", "b", "kind"),
            ("v1", "configMap", "a", "b", "kind"),
            ("a/b/c", "ConfigMap", "a", "b", "version"),
            ("a_b/v1", "ConfigMap", "a", "b", "group"),
        ] {
            let Err(Error::Invalid { field: refused, text }) = of(api_version, kind, namespace, name) else {
                panic!("{api_version} {kind} {namespace}/{name} is accepted")
            };
            assert_eq!((refused, text.chars().count() <= 60), (field, true), "{kind} {namespace}/{name}");
        }
        for (api_version, name) in [("v1", "istio-ca-root-cert"), ("v1", "a.b-c.d"), (rbac, "system:node.A")]
        {
            assert!(of(api_version, "Role", "istio-system", name).is_ok(), "{name}");
        }
    }

    #[test]
    fn plurals_follow_the_api() {
        for (api_version, kind, plural) in [
            ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
            ("security.istio.io/v1", "PeerAuthentication", "peerauthentications"),
            ("networking.istio.io/v1", "Gateway", "gateways"),
            ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
            ("v1", "ResourceQuota", "resourcequotas"),
        ] {
            let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
            assert_eq!(ObjectId::of(&manifest).unwrap().api_resource().plural, plural);
        }
    }
}
