//! Pods and workloads with the few fields that matter. Everything else is skipped during deserialization.
//!
//! The specs of pods and templates stay unparsed text until they are needed, because most pods are checked and dropped.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::core::ApiResource;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::raw_json::RawJson;
use crate::kubernetes::object::ObjectId;

/// Metadata of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Prefix from which the name was generated.
    pub generate_name: Option<String>,
    /// Namespace.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Labels.
    #[serde(deserialize_with = "null_as_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "null_as_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Owner references.
    #[serde(deserialize_with = "null_as_empty")]
    pub owner_references: Vec<Owner>,
    /// Creation time.
    pub creation_timestamp: Option<Time>,
    /// When its deletion was requested.
    pub deletion_timestamp: Option<Time>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// API version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether it is the controlling owner.
    #[serde(deserialize_with = "null_as_empty")]
    pub controller: bool,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta,
    /// Containers and volumes.
    pub spec: RawPodSpec,
    /// Phase and conditions.
    pub status: PodStatus,
}

/// The spec of a pod, unparsed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawPodSpec {
    /// Containers.
    pub containers: Option<RawJson>,
    /// Init containers, including native sidecars.
    pub init_containers: Option<RawJson>,
    /// Volumes.
    pub volumes: Option<RawJson>,
}

/// The status of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// Phase, such as `Running`.
    pub phase: String,
    /// Conditions.
    #[serde(deserialize_with = "null_as_empty")]
    pub conditions: Vec<ObjectCondition>,
}

/// One condition of an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ObjectCondition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
}

/// An object with a pod template: the union of the fields of all known kinds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Metadata.
    pub metadata: Meta,
    /// Desired state.
    pub spec: WorkloadSpec,
    /// Observed state.
    pub status: WorkloadStatus,
}

/// The spec of a workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    /// Number of wanted pods; not set in a `DaemonSet`.
    pub replicas: Option<i64>,
    /// Selector of its pods.
    pub selector: Option<LabelSelector>,
    /// Whether its rollouts are paused.
    #[serde(deserialize_with = "null_as_empty")]
    pub paused: bool,
    /// How a Deployment or Rollout replaces pods.
    pub strategy: Option<Value>,
    /// How a `StatefulSet` or `DaemonSet` replaces pods.
    pub update_strategy: Option<Value>,
    /// The pod template.
    pub template: Option<PodTemplate>,
}

/// A pod template.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// Metadata of the pods.
    pub metadata: PodTemplateMeta,
    /// Spec of the pods, unparsed.
    pub spec: Option<RawJson>,
}

/// Metadata of a pod template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodTemplateMeta {
    /// Labels.
    #[serde(deserialize_with = "null_as_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "null_as_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The status of a workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// Generation that its controller has observed. Argo Rollouts have it as text.
    #[serde(deserialize_with = "number_or_text")]
    pub observed_generation: i64,
    /// All pods.
    pub replicas: i64,
    /// Pods with the current template.
    pub updated_replicas: i64,
    /// Ready pods.
    pub ready_replicas: i64,
    /// Available pods.
    pub available_replicas: i64,
    /// Pods that a `DaemonSet` wants.
    pub desired_number_scheduled: i64,
    /// Pods of a `DaemonSet` with the current template.
    pub updated_number_scheduled: i64,
    /// Available pods of a `DaemonSet`.
    pub number_available: i64,
    /// Revision of a `StatefulSet` before its rollout.
    pub current_revision: String,
    /// Revision of the current template of a `StatefulSet`.
    pub update_revision: String,
    /// Phase of an Argo Rollout.
    pub phase: String,
    /// Conditions.
    #[serde(deserialize_with = "null_as_empty")]
    pub conditions: Vec<ObjectCondition>,
}

/// A list without its objects.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListEnvelope {
    /// Metadata of the list.
    pub metadata: ListMeta,
}

/// Metadata of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Token of the next page; empty at the end.
    #[serde(rename = "continue")]
    pub continue_token: String,
    /// Resource version from which a watch continues.
    pub resource_version: String,
}

impl Meta {
    /// The controlling owner.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

impl Owner {
    /// API group and version.
    #[must_use]
    pub fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }

    /// The identity of the owner in `namespace`.
    #[must_use]
    pub fn id(&self, namespace: &str) -> ObjectId {
        let (group, version) = self.group_version();
        ObjectId {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: self.kind.clone(),
            namespace: Some(namespace.to_owned()),
            name: self.name.clone(),
        }
    }
}

/// The entries of an object as texts; numbers and booleans as JSON.
#[must_use]
pub fn string_map(object: Option<&Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let entries = object.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), text(value))).collect()
}

/// The request path of all objects of a kind, in one namespace or in all.
#[must_use]
pub fn collection_path(resource: &ApiResource, namespace: Option<&str>) -> String {
    use kube::Resource;
    kube::api::DynamicObject::url_path(resource, namespace)
}

/// Deserializes `null` as the default.
pub(in crate::dataplane) fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default())
}
