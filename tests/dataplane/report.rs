//! What is outdated and why, found without any change.

use istio_manager::api::conditions::State;
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::Bed;
use crate::mesh::{Mesh, entry, reasons, template, workload};

/// Creates workloads of all kinds, with settings that a comparison could mistake for outdated.
async fn populate(mesh: &Mesh<'_>) -> TestResult {
    mesh.namespace("kinds").await?;
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
        mesh.create("kinds", workload(kind, &kind.to_lowercase(), 2)).await?;
    }
    mesh.create("kinds", pod("bare", json!({}))).await?;
    let mut claims = workload("StatefulSet", "claims", 1);
    claims["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    claims["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    // Nobody provides volumes here, so that its pod stays pending; it must not disturb.
    let client = mesh.0.client();
    let sets: kube::Api<k8s_openapi::api::apps::v1::StatefulSet> = kube::Api::namespaced(client, "kinds");
    sets.create(&kube::api::PostParams::default(), &serde_json::from_value(claims)?).await?;
    mesh.namespace("settings").await?;
    for (name, annotations) in [
        ("prometheus-path", json!({"prometheus.io/path": "/stats/prometheus"})),
        ("prometheus-port", json!({"prometheus.io/port": "15020"})),
        ("unscraped", json!({"prometheus.io/scrape": "false"})),
        (
            "amounts",
            json!({"sidecar.istio.io/proxyCPU": "50m", "sidecar.istio.io/proxyMemoryLimit": "256Mi"}),
        ),
        ("image", json!({"sidecar.istio.io/proxyImage": "example.com/proxy:old"})),
        ("configured", json!({"proxy.istio.io/config": "{\"concurrency\": 1}"})),
        ("unredirected", json!({"sidecar.istio.io/interceptionMode": "NONE"})),
    ] {
        let mut object = workload("Deployment", name, 1);
        object["spec"]["template"]["metadata"]["annotations"] = annotations;
        mesh.create("settings", object).await?;
    }
    let mut own_init = workload("Deployment", "own-init", 1);
    own_init["spec"]["template"]["spec"]["initContainers"] =
        json!([{"name": "istio-init", "image": "example.com/init:1"}]);
    mesh.create("settings", own_init).await?;
    mesh.create("settings", gateway("gateway")).await?;
    let mut declared = workload("Deployment", "declared-proxy", 1);
    declared["spec"]["template"]["spec"]["containers"].as_array_mut().ok_or("no list")?.push(json!({
        "name": "istio-proxy", "image": "auto", "resources": {"requests": {"cpu": "77m"}}}));
    mesh.create("settings", declared).await
}

/// What Istio's own chart of gateways makes.
fn gateway(name: &str) -> Value {
    let mut object = workload("Deployment", name, 1);
    object["spec"]["template"]["metadata"] = json!({
        "labels": {"app": name, "sidecar.istio.io/inject": "true"},
        "annotations": {"inject.istio.io/templates": "gateway", "prometheus.io/port": "15020",
            "prometheus.io/path": "/stats/prometheus", "prometheus.io/scrape": "true"},
    });
    object["spec"]["template"]["spec"]["containers"] = json!([{"name": "istio-proxy", "image": "auto",
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}}]);
    object
}

fn pod(name: &str, annotations: Value) -> Value {
    let mut pod = template(name);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["annotations"] = annotations;
    pod
}

pub async fn workloads_that_are_up_to_date_are_not_listed_whatever_their_settings(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({"restarter": {"enabled": false}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let mesh = Mesh(control_plane);
    populate(&mesh).await?;
    let report = mesh.report(&[]).await?;
    assert_eq!(report["workloads"], json!([]), "{report:#}");
    assert_eq!(report["unknown"], json!([]), "{report:#}");
    assert_eq!(report["total"], 15);
    bed.stop().await
}

pub async fn a_mesh_change_is_reported_for_each_affected_workload(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    let spec = json!({
        "config": {"enableDNSProxying": true, "proxyStatsMatcher": {"inclusionRegexps": [".*x.*"]}},
        "components": {"proxy": {"k8s": {"resources": {"requests": {"cpu": "33m"}}}}},
    });
    bed.edit("default", spec).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let report = mesh.report(&[]).await?;
    let reported = |namespace: &str, name: &str| {
        let entry = entry(&report, namespace, name).cloned().unwrap_or_default();
        let outdated: Vec<String> = reasons(&entry).into_iter().map(str::to_owned).collect();
        (outdated, entry["blockedBy"]["reason"].clone())
    };
    let all = || vec!["Resources".to_owned(), "DnsCapture".to_owned(), "StatsMatcher".to_owned()];
    let without_resources = || vec!["DnsCapture".to_owned(), "StatsMatcher".to_owned()];
    for (namespace, name, outdated, blocked_by) in [
        ("kinds", "deployment", all(), "disabled"),
        ("kinds", "statefulset", all(), "disabled"),
        ("kinds", "daemonset", all(), "disabled"),
        ("kinds", "replicaset", all(), "disabled"),
        ("kinds", "bare", all(), "bare_pod"),
        ("settings", "amounts", without_resources(), "disabled"),
        ("settings", "image", without_resources(), "disabled"),
        ("settings", "declared-proxy", without_resources(), "disabled"),
        ("settings", "own-init", all(), "disabled"),
        ("settings", "gateway", without_resources(), "disabled"),
    ] {
        assert_eq!(reported(namespace, name), (outdated, json!(blocked_by)), "{namespace}/{name} {report:#}");
    }
    let table = mesh.run(&[]).await?;
    assert!(table.contains("15 workloads with a sidecar, 15 of them outdated"), "{table}");
    bed.stop().await
}
