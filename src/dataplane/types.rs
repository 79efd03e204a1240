//! Pods and workloads as the data plane sees them: the few fields that matter, everything else is skipped while reading.
//!
//! The specs of pods and templates stay unparsed text until someone asks, because most pods are judged by little and dropped.

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
    /// Unique identity over time.
    pub uid: String,
    /// Version for watches.
    pub resource_version: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Labels.
    #[serde(deserialize_with = "null_as_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "null_as_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Owners.
    #[serde(deserialize_with = "null_as_empty")]
    pub owner_references: Vec<Owner>,
    /// When it was made.
    pub creation_timestamp: Option<Time>,
    /// When its deletion began.
    pub deletion_timestamp: Option<Time>,
}

/// One owner of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// API version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Whether it is the one that manages the object.
    #[serde(deserialize_with = "null_as_empty")]
    pub controller: bool,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta,
    /// What runs in it.
    pub spec: RawPodSpec,
    /// How it does.
    pub status: PodStatus,
}

/// What runs in a pod, unparsed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawPodSpec {
    /// Containers.
    pub containers: Option<RawJson>,
    /// Init containers, native sidecars among them.
    pub init_containers: Option<RawJson>,
    /// Volumes.
    pub volumes: Option<RawJson>,
}

/// How a pod does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// `Running` and so on.
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
    /// Why, for programs.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

/// Any object that has a pod template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: WorkloadSpec,
    /// How far it is.
    pub status: WorkloadStatus,
}

/// What a workload wants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    /// Wanted pods; absent in a `DaemonSet`.
    pub replicas: Option<i64>,
    /// Its pods.
    pub selector: Option<LabelSelector>,
    /// Whether its controller does nothing for now.
    #[serde(deserialize_with = "null_as_empty")]
    pub paused: bool,
    /// How a Deployment or Rollout replaces pods.
    pub strategy: Option<Value>,
    /// How a `StatefulSet` or `DaemonSet` replaces pods.
    pub update_strategy: Option<Value>,
    /// The pod template.
    pub template: Option<PodTemplate>,
}

/// What the pods of a workload are made from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// Their metadata.
    pub metadata: PodTemplateMeta,
    /// Their spec, unparsed.
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

/// How far a workload is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// Generation that its controller has seen. Argo Rollouts write it as text.
    #[serde(deserialize_with = "number_or_text")]
    pub observed_generation: i64,
    /// All pods.
    pub replicas: i64,
    /// Pods of the current template.
    pub updated_replicas: i64,
    /// Ready pods.
    pub ready_replicas: i64,
    /// Available pods.
    pub available_replicas: i64,
    /// Pods that a `DaemonSet` wants.
    pub desired_number_scheduled: i64,
    /// Pods of its current template.
    pub updated_number_scheduled: i64,
    /// Its available pods.
    pub number_available: i64,
    /// Revision of the pods of a `StatefulSet` before its rollout.
    pub current_revision: String,
    /// Revision of its current template.
    pub update_revision: String,
    /// Phase of an Argo Rollout.
    pub phase: String,
    /// Conditions.
    #[serde(deserialize_with = "null_as_empty")]
    pub conditions: Vec<ObjectCondition>,
}

/// What is around the objects of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListEnvelope {
    /// Where the next page begins.
    pub metadata: ListMeta,
}

/// Where the next page begins, and the version of the whole list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Token of the next page; empty at the end.
    #[serde(rename = "continue")]
    pub continue_token: String,
    /// Version from which a watch goes on.
    pub resource_version: String,
}

impl Meta {
    /// The owner that manages this object.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

impl Owner {
    /// API group and version apart.
    #[must_use]
    pub fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }

    /// Its identity in `namespace`.
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

/// The texts of an object, numbers and switches as they are written.
#[must_use]
pub fn string_map(object: Option<&Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let entries = object.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), text(value))).collect()
}

/// The path of all objects of a kind, in one namespace or in all.
#[must_use]
pub fn collection_path(resource: &ApiResource, namespace: Option<&str>) -> String {
    use kube::Resource;
    kube::api::DynamicObject::url_path(resource, namespace)
}

/// Reads what is `null` as what is not there.
pub(super) fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default())
}
