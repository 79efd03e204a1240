//! A large mesh: copies of one pod that was really injected, each as if its Deployment had made it.
//!
//! They are written past the API server, into etcd, which takes a minute where the API server takes half an hour.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use testbed::{ControlPlane, Etcd};

use crate::Result;

/// Pods of one Deployment.
pub const PODS_PER_WORKLOAD: usize = 10;
const WORKLOADS_PER_NAMESPACE: usize = 100;
/// Names of the model that nothing else in it contains, so that a copy is the text with others in their place.
const MODEL: &str = "model-of-all";
const MODEL_NAMESPACE: &str = "namespace-of-model";
const POD: &str = "name-of-pod";
const UID: &str = "identity-of-object";
const ADDRESS: &str = "address-of-pod";
/// Requests under way at once.
const AT_ONCE: usize = 8;
const DEADLINE: Duration = Duration::from_secs(120);
/// They would delete or rewrite what they did not make themselves.
const CONTROLLERS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kwok"];

/// A mesh that grows.
pub struct Mesh {
    etcd: Etcd,
    deployment: String,
    pod: String,
    workloads: usize,
}

impl Mesh {
    /// Has istiod inject the model, and makes the namespaces for `most` copies. The controllers stand still from then on.
    pub async fn model(control_plane: &ControlPlane, most: usize) -> Result<Self> {
        let client = control_plane.client();
        control_plane.create_namespace(MODEL_NAMESPACE, &[("istio-injection", "enabled")]).await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), MODEL_NAMESPACE);
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": MODEL},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": MODEL}}, "template": {
                "metadata": {"labels": {"app": MODEL}},
                "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]},
            }},
        });
        deployments.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        let available =
            |d: Option<&Deployment>| d.and_then(|d| d.status.as_ref()?.available_replicas) == Some(1);
        let what = "available Deployment";
        let deployment = control_plane
            .wait_for(deployments, MODEL, what, DEADLINE, available)
            .await?
            .ok_or("it is gone")?;
        let pods: Api<Pod> = Api::namespaced(client, MODEL_NAMESPACE);
        let pod =
            pods.list(&ListParams::default()).await?.items.into_iter().next().ok_or("there is no pod")?;
        for index in 0..most.div_ceil(PODS_PER_WORKLOAD * WORKLOADS_PER_NAMESPACE) {
            control_plane.create_namespace(&namespace(index), &[("istio-injection", "enabled")]).await?;
        }
        for process in control_plane.processes().iter().filter(|p| CONTROLLERS.contains(&p.name())) {
            process.pause()?;
        }
        let mut pod = json!(pod);
        pod["metadata"]["name"] = json!(POD);
        pod["status"]["podIP"] = json!(ADDRESS);
        pod["status"]["podIPs"] = json!([{"ip": ADDRESS}]);
        let etcd = control_plane.etcd()?;
        Ok(Self { etcd, deployment: template(json!(deployment)), pod: template(pod), workloads: 0 })
    }

    /// Lets the mesh have `pods` pods, that of the model not counted.
    pub async fn grow(&mut self, pods: usize) -> Result {
        let wanted = pods / PODS_PER_WORKLOAD;
        let this = &*self;
        stream::iter(self.workloads..wanted)
            .map(|workload| this.workload(workload))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        self.workloads = wanted;
        Ok(())
    }

    /// Writes a Deployment and its pods, in one transaction.
    async fn workload(&self, workload: usize) -> Result {
        let namespace = namespace(workload / WORKLOADS_PER_NAMESPACE);
        let name = format!("web-{workload}");
        let rename = |text: &str| text.replace(MODEL_NAMESPACE, &namespace).replace(MODEL, &name);
        let deployment = rename(&self.deployment).replace(UID, &uid(1, workload));
        let mut objects = vec![(format!("deployments/{namespace}/{name}"), deployment)];
        let pod = rename(&self.pod);
        for index in workload * PODS_PER_WORKLOAD..(workload + 1) * PODS_PER_WORKLOAD {
            let pod_name = format!("{name}-{index:05}");
            let pod =
                pod.replace(POD, &pod_name).replace(UID, &uid(2, index)).replace(ADDRESS, &address(index));
            objects.push((format!("pods/{namespace}/{pod_name}"), pod));
        }
        Ok(self.etcd.put(objects).await?)
    }
}

fn namespace(index: usize) -> String {
    format!("large-{index}")
}

/// The model as it is stored, with a word in place of its identity.
fn template(mut model: Value) -> String {
    model["metadata"]["uid"] = json!(UID);
    if let Some(metadata) = model["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    model.to_string()
}

fn uid(kind: usize, index: usize) -> String {
    format!("00000000-0000-4000-800{kind}-{index:012}")
}

fn address(index: usize) -> String {
    format!("10.{}.{}.{}", 100 + index / 65_536, index / 256 % 256, index % 256)
}
