//! The identity of a Kubernetes object, and the API endpoint that serves it.
//!
//! Works on manifests as JSON; it neither reads nor writes the cluster.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// Kinds without a namespace among those that Istio's charts or this operator write.
const CLUSTER_SCOPED: [&str; 8] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
];

/// The metadata of an object of any kind. One type for all kinds, since each type that is watched is code of its own.
pub type Metadata = PartialObjectMeta<DynamicObject>;

/// The endpoint of a kind, by Kubernetes' naming rule for plurals.
#[must_use]
pub fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// A manifest that cannot be addressed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The manifest lacks one of the fields that make up an object's identity.
    #[error("a rendered {kind} object has no {field}")]
    Incomplete {
        /// The manifest's kind, or `?`.
        kind: String,
        /// The missing field.
        field: &'static str,
    },
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

impl ObjectId {
    /// Reads the identity off a manifest.
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
        Ok(Self { group: group.to_owned(), version: version.to_owned(), kind, namespace, name })
    }

    /// The endpoint of this object's kind, by Kubernetes' naming rule for plurals.
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

    /// Whether both name the same object, whatever version of its API each speaks.
    #[must_use]
    pub fn same_object(&self, other: &Self) -> bool {
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
    fn an_identity_is_read_off_a_manifest() {
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "istio-system"}});
        let id = ObjectId::of(&manifest).unwrap();
        assert_eq!(id.to_string(), "Deployment istio-system/istiod");
        assert_eq!((id.group.as_str(), id.version.as_str()), ("apps", "v1"));
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
