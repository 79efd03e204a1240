//! What the tests share: workloads with real sidecars, and the report about them.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::{ControlPlane, eventually};

use crate::bed::{DEADLINE, Result};

/// A pod template with one container.
pub fn template(name: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]},
    })
}

/// A workload with everything set that a template needs.
pub fn workload(kind: &str, name: &str, replicas: i64) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name)},
    });
    if kind == "DaemonSet"
        && let Some(spec) = object["spec"].as_object_mut()
    {
        spec.remove("replicas");
    }
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!(name);
    }
    object
}

/// Namespaces and workloads of one control plane.
pub struct Mesh<'c>(pub &'c ControlPlane);

impl Mesh<'_> {
    pub async fn namespace(&self, name: &str) -> Result {
        Ok(self.0.create_namespace(name, &[("istio-injection", "enabled")]).await?)
    }

    /// Makes a workload of `apps/v1` and waits until all its pods are there and ready.
    pub async fn create(&self, namespace: &str, object: Value) -> Result {
        let (kind, name) = (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].clone());
        let name = name.as_str().unwrap_or_default().to_owned();
        match kind {
            "Deployment" => self.make::<Deployment>(namespace, object).await?,
            "StatefulSet" => self.make::<StatefulSet>(namespace, object).await?,
            "DaemonSet" => self.make::<DaemonSet>(namespace, object).await?,
            "ReplicaSet" => self.make::<ReplicaSet>(namespace, object).await?,
            "Pod" => self.make::<Pod>(namespace, object).await?,
            other => return Err(format!("no test makes a {other}").into()),
        }
        self.wait_until_ready(namespace, &name).await
    }

    async fn make<K>(&self, namespace: &str, object: Value) -> Result
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + serde::Serialize
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.0.client(), namespace);
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    /// Waits until the pods with the label `app` are all ready, none goes, and there are as many as their owner wants.
    pub async fn wait_until_ready(&self, namespace: &str, name: &str) -> Result {
        eventually(&format!("settled {namespace}/{name}"), DEADLINE, async || {
            Ok(self.is_ready(namespace, name).await?.then_some(()))
        })
        .await
    }

    async fn is_ready(&self, namespace: &str, name: &str) -> Result<bool> {
        let pods = self.pods(namespace, name).await?;
        let ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            pod.metadata.deletion_timestamp.is_none()
                && conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        };
        if pods.is_empty() || !pods.iter().all(ready) {
            return Ok(false);
        }
        let client = self.0.client();
        let deployment = Api::<Deployment>::namespaced(client.clone(), namespace).get_opt(name).await?;
        if let Some(deployment) = deployment {
            let status = deployment.status.unwrap_or_default();
            let wanted = deployment.spec.and_then(|spec| spec.replicas);
            return Ok(status.observed_generation == deployment.metadata.generation
                && status.updated_replicas == wanted
                && status.replicas == wanted
                && status.available_replicas == wanted);
        }
        let set = Api::<StatefulSet>::namespaced(client.clone(), namespace).get_opt(name).await?;
        if let Some(set) = set {
            let status = set.status.unwrap_or_default();
            return Ok(status.observed_generation == set.metadata.generation
                && status.ready_replicas == set.spec.and_then(|spec| spec.replicas));
        }
        let set = Api::<DaemonSet>::namespaced(client, namespace).get_opt(name).await?;
        Ok(set.is_none_or(|set| {
            let status = set.status.unwrap_or_default();
            status.observed_generation == set.metadata.generation
                && status.updated_number_scheduled == Some(status.desired_number_scheduled)
                && status.number_available == Some(status.desired_number_scheduled)
        }))
    }

    pub async fn pods(&self, namespace: &str, name: &str) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.0.client(), namespace);
        Ok(api.list(&ListParams::default().labels(&format!("app={name}"))).await?.items)
    }

    /// The UIDs of the pods with the label `app`; a restarted workload has others.
    pub async fn uids(&self, namespace: &str, name: &str) -> Result<Vec<String>> {
        let mut uids: Vec<String> =
            self.pods(namespace, name).await?.iter().filter_map(ResourceExt::uid).collect();
        uids.sort();
        Ok(uids)
    }

    /// What `istio-manager restarts -o json` says, with further arguments.
    pub async fn report(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(&[&["-o", "json"], arguments].concat()).await?;
        Ok(serde_json::from_str(&output)?)
    }

    /// What `istio-manager restarts` prints.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_istio-manager"));
        let arguments = ["restarts".to_owned(), format!("--kubeconfig={}", self.0.kubeconfig().display())]
            .into_iter()
            .chain(arguments.iter().map(|argument| (*argument).to_owned()));
        let output = testbed::run(program, arguments, &[]).await?;
        if !output.status.success() {
            return Err(format!("restarts failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// What a report says about one workload.
pub fn entry<'a>(report: &'a Value, namespace: &str, name: &str) -> Option<&'a Value> {
    report["workloads"]
        .as_array()?
        .iter()
        .find(|entry| entry["namespace"] == namespace && entry["name"] == name)
}

/// The names of the reasons of an entry.
pub fn reasons(entry: &Value) -> Vec<&str> {
    entry["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["reason"].as_str()).collect()
}
