//! Workloads of users with sidecars, what rolls them out, and the injector.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_apiserver::{FakeApiServer, ObjectChange, Reaction, rules};
use serde_json::{Value, json};

use super::cluster::{Cluster, STUCK_LABEL};

/// How long a rollout takes.
const ROLLOUT: Duration = Duration::from_secs(10);
/// Deployments with this label never complete a rollout after the first.
pub(super) const FAILING_LABEL: &str = "scenario/failing";
/// When the pods were created.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// The part of the cluster that has sidecars.
pub(super) struct Mesh {
    server: FakeApiServer,
    /// The proxy image that injection gives.
    image: Arc<Mutex<String>>,
}

impl Mesh {
    /// The mesh of an installed Istio: new pods get the proxy of its configuration.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let image = Arc::new(Mutex::new(proxy_image(cluster)));
        let mesh = Self { server: cluster.server.clone(), image: image.clone() };
        mesh.server.admission("pods", move |_, pod| inject(pod, &image.lock().unwrap()));
        let image = mesh.image.clone();
        mesh.server.rule(move |change| rolled_out(change, &image.lock().unwrap()));
        mesh
    }

    /// A Deployment with one pod that runs this proxy, in a namespace with injection.
    pub(super) fn deploy(&self, namespace: &str, name: &str, proxy: &str) {
        self.deploy_with(namespace, name, proxy, &json!({}));
    }

    /// As [`Mesh::deploy`], with labels and annotations in `metadata`.
    pub(super) fn deploy_with(&self, namespace: &str, name: &str, proxy: &str, metadata: &Value) {
        self.server.put_namespace(namespace, &json!({"istio-injection": "enabled"}));
        // The rule of the cluster, which rolls out at once, leaves what has this label to the rule here.
        let mut labels = json!({"app": name, STUCK_LABEL: "slow"});
        let given = metadata["labels"].as_object().cloned().unwrap_or_default();
        labels.as_object_mut().unwrap().extend(given);
        // Stored complete, so that the rule sees no rollout.
        let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "generation": 1,
                "labels": labels, "annotations": metadata["annotations"]},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app"}]}}}});
        deployment["status"] = rules::complete_status(&deployment, 1);
        self.server.put(deployment);
        let set = format!("{name}-abc");
        self.server.put(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": set, "namespace": namespace, "uid": format!("{namespace}-{set}"),
                "ownerReferences": [owner("Deployment", name, &format!("{namespace}-{name}"))]},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name, "pod-template-hash": "abc"}}},
            "status": {"replicas": 1, "observedGeneration": 1}}));
        self.server.put(pod(namespace, name, 1, proxy));
    }

    /// Proxy images of the pods in a namespace.
    pub(super) fn proxies(&self, namespace: &str) -> Vec<String> {
        let pods = self.server.list("pods", namespace);
        pods.iter()
            .map(|pod| pod["spec"]["containers"][1]["image"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The proxy image that injection gives.
    pub(super) fn image(&self) -> String {
        self.image.lock().unwrap().clone()
    }

    /// Whether a Deployment was restarted.
    pub(super) fn was_restarted(&self, namespace: &str, name: &str) -> bool {
        let deployment = self.server.get("deployments", namespace, name).unwrap();
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        !annotations["istio-operator.kyma-project.io/restartedAt"].is_null()
    }

    /// Deployments in a namespace whose rollout is not complete.
    pub(super) fn unfinished(&self, namespace: &str) -> usize {
        let deployments = self.server.list("deployments", namespace);
        let is_unfinished = |deployment: &&Value| {
            deployment["status"]["observedGeneration"] != deployment["metadata"]["generation"]
        };
        deployments.iter().filter(is_unfinished).count()
    }
}

fn proxy_image(cluster: &Cluster) -> String {
    let map = cluster.object("configmaps", "istio-sidecar-injector").unwrap();
    let values: Value = serde_json::from_str(map["data"]["values"].as_str().unwrap()).unwrap();
    let global = &values["global"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let image = text(&global["proxy"]["image"]);
    if image.contains('/') {
        return image;
    }
    let (tag, variant) = (text(&global["tag"]), text(&global["variant"]));
    let suffix =
        if variant.is_empty() || tag.ends_with(&variant) { String::new() } else { format!("-{variant}") };
    format!("{}/{image}:{tag}{suffix}", text(&global["hub"]))
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true})
}

fn pod(namespace: &str, app: &str, number: i64, proxy: &str) -> Value {
    let set = format!("{app}-abc");
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{set}-{number}"), "generateName": format!("{set}-"), "namespace": namespace,
            "creationTimestamp": CREATED,
            "labels": {"app": app, "pod-template-hash": "abc", "security.istio.io/tlsMode": "istio"},
            "annotations": {"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"},
            "ownerReferences": [owner("ReplicaSet", &set, &format!("{namespace}-{set}"))]},
        "spec": {"containers": [{"name": "app", "image": "app"}, {"name": "istio-proxy", "image": proxy}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// What the injection webhook does to a pod without a proxy.
fn inject(pod: &mut Value, image: &str) {
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json!("{\"containers\":[\"istio-proxy\"]}");
    if let Some(containers) = pod["spec"]["containers"].as_array_mut() {
        containers.retain(|container| container["name"] != "istio-proxy");
        containers.push(json!({"name": "istio-proxy", "image": image}));
    }
}

/// A Deployment of users whose template was changed has a new pod after some time, or fails to.
fn rolled_out(change: &ObjectChange<'_>, image: &str) -> Vec<Reaction> {
    let deployment = change.object;
    let generation = &deployment["metadata"]["generation"];
    let is_of_user =
        change.is_present("Deployment") && !deployment["metadata"]["labels"][STUCK_LABEL].is_null();
    if !is_of_user || change.before.is_none_or(|before| before["metadata"]["generation"] == *generation) {
        return Vec::new();
    }
    let text = |field: &str| deployment["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let mut after = deployment.clone();
    if !deployment["metadata"]["labels"][FAILING_LABEL].is_null() {
        after["status"]["observedGeneration"] = generation.clone();
        after["status"]["updatedReplicas"] = json!(0);
        after["status"]["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "the pods do not start"}]);
        return vec![Reaction::Later(ROLLOUT, Box::new(Reaction::Put(after)))];
    }
    after["status"] = rules::complete_status(deployment, 1);
    let number = generation.as_i64().unwrap_or_default();
    let mut next = pod(&namespace, &name, number, image);
    next["metadata"]["creationTimestamp"] = json!(k8s_openapi::jiff::Timestamp::now().to_string());
    let old = format!("{name}-abc-{}", number - 1);
    vec![
        Reaction::Later(ROLLOUT, Box::new(Reaction::Put(next))),
        Reaction::Later(
            ROLLOUT,
            Box::new(Reaction::Delete { resource: "pods".to_owned(), namespace, name: old }),
        ),
        Reaction::Later(ROLLOUT, Box::new(Reaction::Put(after))),
    ]
}
