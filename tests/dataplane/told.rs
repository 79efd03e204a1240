//! Each mesh setting that sidecars read at their start has a reason of its own, tested with real sidecars.

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult, eventually};

use crate::bed::{DEADLINE, NAMESPACE, Result};
use crate::mesh::{Mesh, entry, reasons, workload};

/// Changes of `spec`, the reasons that report them, and the block reason.
fn changes() -> Vec<(Value, Value, &'static [&'static str], &'static str)> {
    let metadata = |value: Value| json!({"values": {"meshConfig": {"defaultConfig": value}}});
    vec![
        (
            json!({"config": {"trustDomain": "new.example"}}),
            json!({"config": {"trustDomain": null}}),
            &["TrustDomain"],
            "report_only",
        ),
        (
            json!({"config": {"telemetry": {"metrics": {"prometheusMerge": true}}}}),
            json!({"config": {"telemetry": null}}),
            &["PrometheusMerge"],
            "disabled",
        ),
        (
            metadata(json!({"proxyMetadata": {"ISTIO_META_IDLE_TIMEOUT": "30m"}})),
            json!({"values": null}),
            &["ProxyMetadata"],
            "disabled",
        ),
        (metadata(json!({"drainDuration": "7s"})), json!({"values": null}), &["ProxyConfig"], "report_only"),
    ]
}

pub async fn each_mesh_setting_is_reported_with_its_own_reason(control_plane: &ControlPlane) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    bed.edit("default", json!({"restarter": {"enabled": false}})).await?;
    bed.wait_until_applied().await?;
    mesh.namespace("told").await?;
    mesh.create("told", workload("Deployment", "web", 1)).await?;
    // Injection does not write where metrics are where these say something themselves.
    for (name, annotations) in [
        ("unscraped", json!({"prometheus.io/scrape": "false"})),
        ("unmerged", json!({"prometheus.istio.io/merge-metrics": "false"})),
        ("elsewhere", json!({"prometheus.io/path": "/metrics", "prometheus.io/port": "15020"})),
    ] {
        let mut object = workload("Deployment", name, 1);
        object["spec"]["template"]["metadata"]["annotations"] = annotations;
        mesh.create("told", object).await?;
    }
    for (change, revert, expected, blocked_by) in changes() {
        bed.edit("default", change).await?;
        let report = wait_for_report(&mesh, expected, blocked_by).await?;
        if expected == ["PrometheusMerge"] {
            for name in ["unscraped", "unmerged", "elsewhere"] {
                assert_eq!(entry(&report, "told", name), None, "a restart would not change {name}");
            }
        }
        bed.edit("default", revert).await?;
        wait_for_report(&mesh, &[], "").await?;
    }
    set_features(control_plane, Some(r#"{"disableCni": true}"#)).await?;
    wait_for_report(&mesh, &["Cni"], "disabled").await?;
    set_features(control_plane, None).await?;
    wait_for_report(&mesh, &[], "").await?;
    // Injection gives native sidecars if all nodes support them; no setting changes.
    set_kubelet_version(control_plane, "v1.36.3").await?;
    wait_for_report(&mesh, &["NativeSidecar"], "report_only").await?;
    set_kubelet_version(control_plane, "v1.32.0").await?;
    wait_for_report(&mesh, &[], "").await?;
    // A setting of istiod alone does not change sidecars.
    bed.edit("default", json!({"compatibilityMode": true})).await?;
    bed.wait_until_applied().await?;
    wait_for_report(&mesh, &[], "").await?;
    bed.edit("default", json!({"compatibilityMode": null, "restarter": null})).await?;
    bed.wait_until_applied().await?;
    bed.stop().await
}

/// Waits until the workload is reported with exactly these reasons.
async fn wait_for_report(mesh: &Mesh<'_>, expected: &[&str], blocked_by: &str) -> Result<Value> {
    let mut last = Value::Null;
    let what = format!("report of {expected:?} {blocked_by}");
    let report = eventually(&what, DEADLINE, async || {
        // While istiod rolls out, there is no report.
        let Ok(report) = mesh.report(&[]).await else { return Ok(None) };
        last = entry(&report, "told", "web").cloned().unwrap_or_default();
        let blocked = last["blockedBy"]["reason"].as_str().unwrap_or_default();
        Ok((reasons(&last) == expected && blocked == blocked_by).then_some(report))
    })
    .await;
    report.map_err(|error| format!("{error}, but {last:#}").into())
}

async fn set_features(control_plane: &ControlPlane, features: Option<&str>) -> Result {
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    if let Some(features) = features {
        let map = json!({"metadata": {"name": "istio-features"}, "data": {"features": features}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    } else {
        maps.delete("istio-features", &DeleteParams::default()).await?;
    }
    Ok(())
}

/// Says that the nodes run this version.
async fn set_kubelet_version(control_plane: &ControlPlane, version: &str) -> Result {
    let nodes: Api<Node> = Api::all(control_plane.client());
    for node in nodes.list(&ListParams::default()).await? {
        let patch = Patch::Merge(json!({"status": {"nodeInfo": {"kubeletVersion": version}}}));
        nodes.patch_status(&node.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(())
}
