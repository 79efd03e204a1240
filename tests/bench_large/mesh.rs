//! A large mesh: copies of one pod that was really injected, each as if its Deployment had made it.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams, Request};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::ControlPlane;

use crate::Result;

/// Pods of one Deployment.
pub const PODS_PER_WORKLOAD: usize = 10;
const WORKLOADS_PER_NAMESPACE: usize = 100;
/// Names of the model that nothing else in it contains, so that a copy is the text with others in their place.
const MODEL: &str = "model-of-all";
const MODEL_NAMESPACE: &str = "namespace-of-model";
const POD: &str = "name-of-pod";
const ADDRESS: &str = "address-of-pod";
/// Requests under way at once.
const AT_ONCE: usize = 16;
const DEADLINE: Duration = Duration::from_secs(120);
/// They would delete or rewrite what they did not make themselves.
const CONTROLLERS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kwok"];

/// A mesh that grows.
pub struct Mesh<'c> {
    control_plane: &'c ControlPlane,
    client: Client,
    deployment: Value,
    pod: Value,
    status: Value,
    workloads: usize,
}

impl<'c> Mesh<'c> {
    /// Has istiod inject the model.
    pub async fn model(control_plane: &'c ControlPlane) -> Result<Self> {
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
        deployments.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?;
        let available =
            |d: Option<&Deployment>| d.and_then(|d| d.status.as_ref()?.available_replicas) == Some(1);
        control_plane.wait_for(deployments, MODEL, "available Deployment", DEADLINE, available).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), MODEL_NAMESPACE);
        let pod =
            pods.list(&ListParams::default()).await?.items.into_iter().next().ok_or("there is no pod")?;
        let pod = serde_json::to_value(pod)?;
        let mut status = pod["status"].clone();
        status["podIP"] = json!(ADDRESS);
        status["podIPs"] = json!([{"ip": ADDRESS}]);
        let status = json!({"status": status});
        Ok(Self { control_plane, client, deployment: object, pod: template(pod), status, workloads: 0 })
    }

    /// Lets the mesh have `pods` pods, that of the model not counted.
    pub async fn grow(&mut self, pods: usize) -> Result {
        let wanted = pods / PODS_PER_WORKLOAD;
        let namespaces: Vec<usize> =
            (self.workloads / WORKLOADS_PER_NAMESPACE..wanted.div_ceil(WORKLOADS_PER_NAMESPACE)).collect();
        self.control(true)?;
        for index in &namespaces {
            self.control_plane.create_namespace(&namespace(*index), &[]).await?;
        }
        self.control(false)?;
        let new = self.workloads..wanted;
        let this = &*self;
        stream::iter(new)
            .map(|workload| this.workload(workload))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        // Only now: istiod need not be asked about pods that are injected already.
        for index in namespaces {
            self.label(&namespace(index)).await?;
        }
        self.workloads = wanted;
        Ok(())
    }

    /// Lets the controllers go on or stand still.
    fn control(&self, run: bool) -> Result {
        let processes = self.control_plane.processes().iter();
        for process in processes.filter(|process| CONTROLLERS.contains(&process.name())) {
            if run { process.resume()? } else { process.pause()? }
        }
        Ok(())
    }

    async fn label(&self, namespace: &str) -> Result {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {"istio-injection": "enabled"}}}));
        api.patch(namespace, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn workload(&self, workload: usize) -> Result {
        let namespace = namespace(workload / WORKLOADS_PER_NAMESPACE);
        let name = format!("web-{workload}");
        let rename =
            |object: &Value| object.to_string().replace(MODEL_NAMESPACE, &namespace).replace(MODEL, &name);
        let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        self.send(Request::new(deployments).create(&PostParams::default(), rename(&self.deployment).into())?)
            .await?;
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let (pod, status) = (rename(&self.pod), self.status.to_string());
        for index in 0..PODS_PER_WORKLOAD {
            let index = workload * PODS_PER_WORKLOAD + index;
            let pod_name = format!("{name}-{index:05}");
            let text = pod.replace(POD, &pod_name);
            self.send(Request::new(&pods).create(&PostParams::default(), text.into_bytes())?).await?;
            let status: Value = serde_json::from_str(&status.replace(ADDRESS, &address(index)))?;
            let params = PatchParams::default();
            self.send(Request::new(&pods).patch_subresource(
                "status",
                &pod_name,
                &params,
                &Patch::Merge(status),
            )?)
            .await?;
        }
        Ok(())
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result {
        self.client.request_text(request).await?;
        Ok(())
    }
}

fn namespace(index: usize) -> String {
    format!("large-{index}")
}

/// What a copy has of the model, with other words for its own name.
fn template(mut model: Value) -> Value {
    let meta = model["metadata"].take();
    model["metadata"] = json!({
        "name": POD, "generateName": meta["generateName"], "labels": meta["labels"],
        "annotations": meta["annotations"], "ownerReferences": meta["ownerReferences"],
    });
    model["status"] = Value::Null;
    model
}

fn address(index: usize) -> String {
    format!("10.{}.{}.{}", 100 + index / 65_536, index / 256 % 256, index % 256)
}
