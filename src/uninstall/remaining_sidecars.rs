//! Workloads that still have a sidecar after Istio was uninstalled.
//!
//! Their sidecars keep working without a control plane until the workloads are restarted; their owners must know.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client};
use thiserror::Error;

/// Injection puts this label on every pod that gets a sidecar.
const INJECTED_LABEL: &str = "security.istio.io/tlsMode";
/// Objects per page; limits the memory in large clusters.
const PAGE_SIZE: u32 = 250;
/// Workloads that are named; the pods of all others are only counted.
const MAX_NAMED_WORKLOADS: usize = 5;

/// The pods could not be listed.
#[derive(Debug, Error)]
#[error("failed to list pods with a sidecar")]
pub struct Error {
    source: Box<kube::Error>,
}

/// Workloads with sidecars: the first few by name, and how many pods all of them have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemainingSidecars {
    workloads: BTreeSet<String>,
    more: bool,
    pods: usize,
}

impl RemainingSidecars {
    fn add(&mut self, pod: &ObjectMeta) {
        self.pods += 1;
        let workload = workload(pod);
        if self.workloads.len() < MAX_NAMED_WORKLOADS {
            self.workloads.insert(workload);
        } else if !self.workloads.contains(&workload) {
            self.more = true;
        }
    }

    /// A message that names them; `None` if there are none.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let names: Vec<&str> = self.workloads.iter().map(String::as_str).collect();
        let others = if self.more { " and others" } else { "" };
        (self.pods > 0).then(|| {
            format!(
                "{} pods still have a sidecar without a control plane; restart their workloads: {}{others}",
                self.pods,
                names.join(", ")
            )
        })
    }
}

/// Finds the workloads whose pods have a sidecar.
pub async fn find(client: &Client) -> Result<RemainingSidecars, Error> {
    let api: Api<Pod> = Api::all(client.clone());
    let mut params = ListParams::default().labels(INJECTED_LABEL).limit(PAGE_SIZE);
    let mut remaining = RemainingSidecars::default();
    loop {
        let page = api.list_metadata(&params).await.map_err(|source| Error { source: Box::new(source) })?;
        page.items.iter().for_each(|pod| remaining.add(&pod.metadata));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(remaining),
        }
    }
}

/// The workload to restart: for a `ReplicaSet` of a Deployment, the Deployment.
fn workload(pod: &ObjectMeta) -> String {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let owner = pod.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else {
        return format!("Pod {namespace}/{}", pod.name.as_deref().unwrap_or_default());
    };
    let hash = pod.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    match deployment.filter(|_| owner.kind == "ReplicaSet") {
        Some(deployment) => format!("Deployment {namespace}/{deployment}"),
        None => format!("{} {namespace}/{}", owner.kind, owner.name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: Option<(&str, &str)>) -> ObjectMeta {
        let owners = owner.map(|(kind, name)| {
            json!([{"kind": kind, "name": name, "controller": true, "apiVersion": "apps/v1", "uid": "u"}])
        });
        serde_json::from_value(json!({"namespace": "shop", "name": name, "ownerReferences": owners,
            "labels": {"pod-template-hash": "5d4f"}}))
        .unwrap()
    }

    #[test]
    fn a_pod_is_named_by_the_workload_to_restart() {
        for (owner, expected) in [
            (Some(("ReplicaSet", "cart-5d4f")), "Deployment shop/cart"),
            (Some(("ReplicaSet", "bare")), "ReplicaSet shop/bare"),
            (Some(("StatefulSet", "db")), "StatefulSet shop/db"),
            (None, "Pod shop/p"),
        ] {
            assert_eq!(workload(&pod("p", owner)), expected);
        }
    }

    #[test]
    fn a_few_workloads_are_named_and_all_pods_counted() {
        let mut remaining = RemainingSidecars::default();
        assert_eq!(remaining.describe(), None);
        for index in 0..7 {
            let owner = format!("w{index}");
            remaining.add(&pod("p", Some(("StatefulSet", &owner))));
            remaining.add(&pod("q", Some(("StatefulSet", &owner))));
        }
        let text = remaining.describe().unwrap();
        assert!(text.starts_with("14 pods") && text.ends_with("StatefulSet shop/w4 and others"), "{text}");
    }
}
