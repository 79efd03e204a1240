//! What controllers and kubelets of a cluster do: reactions to changes of objects. Add them with
//! [`FakeApiServer::rule`](crate::FakeApiServer::rule).

use std::time::Duration;

use serde_json::{Value, json};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// A change of one object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectChange<'a> {
    /// What happened.
    pub change: ChangeType,
    /// The object before, unless it was created.
    pub before: Option<&'a Value>,
    /// The object, as it is or as it was last.
    pub object: &'a Value,
}

impl ObjectChange<'_> {
    /// Whether the object is there and of this kind.
    #[must_use]
    pub fn is_present(&self, kind: &str) -> bool {
        self.change != ChangeType::Deleted && self.object["kind"] == kind
    }
}

/// What follows from a change.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// The object is stored as it is here, its status included; without its UID, it keeps the one it has.
    Put(Value),
    /// A merge patch by this field manager.
    Patch {
        /// Plural of the resource; with its group (`gateways.networking.istio.io`) where the plural is not unique.
        resource: String,
        /// Namespace; empty for a cluster-wide object.
        namespace: String,
        /// Name.
        name: String,
        /// Field manager.
        manager: String,
        /// The patch.
        patch: Value,
    },
    /// The object is deleted, as by a client.
    Delete {
        /// Plural of the resource.
        resource: String,
        /// Namespace; empty for a cluster-wide object.
        namespace: String,
        /// Name.
        name: String,
    },
    /// The reaction follows after some time.
    Later(Duration, Box<Reaction>),
}

/// The workloads of the cluster roll out at once: a Deployment, `StatefulSet` or DaemonSet has all its pods of the present
/// template available as soon as it was written. `nodes` is the number of nodes, which a DaemonSet wants pods on.
#[must_use]
pub fn workloads_become_ready(change: &ObjectChange<'_>, nodes: i64) -> Vec<Reaction> {
    let is_workload = ["Deployment", "StatefulSet", "DaemonSet"].iter().any(|kind| change.is_present(kind));
    let object = change.object;
    let generation = &object["metadata"]["generation"];
    if !is_workload
        || object["status"]["observedGeneration"] == *generation
            && object["status"]["replicas"] == desired_replicas(object)
    {
        return Vec::new();
    }
    let mut ready = object.clone();
    ready["status"] = complete_status(object, nodes);
    if ready["status"] == object["status"] { Vec::new() } else { vec![Reaction::Put(ready)] }
}

fn desired_replicas(workload: &Value) -> Value {
    if workload["kind"] == "DaemonSet" {
        Value::Null
    } else {
        json!(workload["spec"]["replicas"].as_i64().unwrap_or(1))
    }
}

/// The status of a workload that is rolled out completely.
#[must_use]
pub fn complete_status(workload: &Value, nodes: i64) -> Value {
    let generation = &workload["metadata"]["generation"];
    if workload["kind"] == "DaemonSet" {
        return json!({"observedGeneration": generation, "desiredNumberScheduled": nodes, "currentNumberScheduled": nodes,
            "updatedNumberScheduled": nodes, "numberReady": nodes, "numberAvailable": nodes, "numberMisscheduled": 0});
    }
    let replicas = desired_replicas(workload);
    let mut status = json!({"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas});
    if workload["kind"] == "StatefulSet" {
        status["currentReplicas"] = replicas;
        for revision in ["currentRevision", "updateRevision"] {
            status[revision] = json!(format!("r{generation}"));
        }
    }
    status
}

/// Each Service with a selector has an EndpointSlice with one ready endpoint, and none when it is gone.
#[must_use]
pub fn services_have_endpoints(change: &ObjectChange<'_>) -> Vec<Reaction> {
    let service = change.object;
    if service["kind"] != "Service"
        || service["spec"]["selector"].is_null()
        || change.change == ChangeType::Modified
    {
        return Vec::new();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&service["metadata"]["namespace"]), text(&service["metadata"]["name"]));
    let slice = format!("{name}-endpoints");
    if change.change == ChangeType::Deleted {
        return vec![Reaction::Delete { resource: "endpointslices".to_owned(), namespace, name: slice }];
    }
    vec![Reaction::Put(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": slice, "namespace": namespace, "labels": {"kubernetes.io/service-name": name},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": service["metadata"]["uid"], "controller": true}]},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
        "ports": [],
    }))]
}
