//! Interruptions and adversaries: nothing is restarted twice, nothing is forgotten.

use std::collections::BTreeMap;

use futures::StreamExt;
use istio_manager::dataplane::restart::patch::{self, StartResult};
use istio_manager::dataplane::schedule::stale_workload::{
    RestartAnnotations, RestartStrategy, StaleWorkload,
};
use istio_manager::dataplane::workload::WorkloadKind;
use istio_manager::dataplane::workload::disruption::PodReplacement;
use istio_manager::dataplane::workload::rollout::RolloutStatus;
use istio_manager::kubernetes::object::ObjectId;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Result, USER};
use crate::evictions::{create_failing_webhook, webhooks};
use crate::mesh::{Mesh, workload};
use crate::restart::{make_outdated, wait_for_sidecar_condition};
use crate::waves::{assert_each_was_restarted, wait_until_converged};

const RESTARTED_AT: &str = "istio-operator.kyma-project.io/restartedAt";

async fn generations(control_plane: &ControlPlane, namespace: &str) -> Result<Vec<Option<i64>>> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), namespace);
    let list = api.list(&kube::api::ListParams::default()).await?;
    Ok(list.items.into_iter().map(|deployment| deployment.metadata.generation).collect())
}

pub async fn an_operator_killed_during_a_wave_restarts_everything_once(
    control_plane: &ControlPlane,
) -> TestResult {
    let mut bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("waves").await?;
    for index in 0..6 {
        mesh.create("waves", workload("Deployment", &format!("w{index}"), 1)).await?;
    }
    bed.edit("default", json!({"restarter": {"maxUnfinished": 1}})).await?;
    make_outdated(&bed, "killed").await?;
    for done in [1, 3] {
        let under_way = |resource: &istio_manager::api::Istio| {
            let status = resource.status.clone().and_then(|status| status.data_plane);
            status.is_some_and(|status| status.restarted + 1 >= done && status.restarting > 0)
        };
        wait_for_sidecar_condition(&bed, "ProxySidecarRestartPartiallySucceeded", under_way).await?;
        bed.crash().await?;
    }
    bed.edit("default", json!({"restarter": null})).await?;
    let is_converged = |resource: &istio_manager::api::Istio| {
        let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
        let here = status.blocked_workloads.iter().any(|workload| workload.namespace == "waves");
        status.restarting == 0
            && status.stale == i64::try_from(status.blocked_workloads.len()).unwrap_or_default()
            && !here
    };
    wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", is_converged).await?;
    let report = mesh.report(&[]).await?;
    let is_in_waves = |entry: &&Value| entry["namespace"] == "waves";
    assert_eq!(
        report["workloads"].as_array().into_iter().flatten().filter(is_in_waves).count(),
        0,
        "{report:#}"
    );
    assert_eq!(generations(control_plane, "waves").await?, [Some(2); 6]);
    bed.stop().await
}

/// Reverts every restart, as a GitOps tool does that owns the whole template.
async fn revert_restarts(control_plane: &ControlPlane, namespace: &str, name: &str) -> Result {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), namespace);
    let mut states = std::pin::pin!(watcher::watch_object(api.clone(), name));
    while let Some(state) = states.next().await {
        let Ok(Some(deployment)) = state else { continue };
        let template = deployment.spec.map(|spec| spec.template).unwrap_or_default();
        let annotations = template.metadata.and_then(|metadata| metadata.annotations).unwrap_or_default();
        if annotations.contains_key(RESTARTED_AT) {
            let back = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: null}}}}});
            api.patch(
                &deployment.metadata.name.unwrap_or_default(),
                &PatchParams::default(),
                &Patch::Merge(back),
            )
            .await?;
        }
    }
    Ok(())
}

/// A workload as a scan finds it, as far as a restart needs it.
fn stale_workload(kind: WorkloadKind, group: &str, version: &str, uid: &str) -> StaleWorkload {
    StaleWorkload {
        workload: ObjectId {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: format!("{kind:?}"),
            namespace: Some("anew".to_owned()),
            name: "web".to_owned(),
        },
        kind,
        uid: uid.into(),
        generation: 1,
        kyma: false,
        gateway: false,
        reasons: Vec::new(),
        target: "target".into(),
        replicas: 1,
        replacement: PodReplacement::Recreate,
        rollout: RolloutStatus::Complete,
        paused: false,
        pod_created: Timestamp::UNIX_EPOCH,
        labels: BTreeMap::new(),
        restart_annotations: RestartAnnotations::default(),
        desired_injection: None,
        owner_unverified: None,
    }
}

pub async fn a_restart_failed_by_a_broken_webhook_is_retried_once_fixed(
    control_plane: &ControlPlane,
) -> TestResult {
    const NAMESPACE: &str = "broken-webhook";
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace(NAMESPACE).await?;
    mesh.create(NAMESPACE, workload("Deployment", "web", 1)).await?;
    mesh.wait_until_ready(NAMESPACE, "web").await?;
    create_failing_webhook(control_plane, NAMESPACE, "deployments").await?;
    make_outdated(&bed, NAMESPACE).await?;
    let is_reported = |resource: &istio_manager::api::Istio| {
        let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
        let here = status
            .blocked_workloads
            .iter()
            .find(|workload| workload.namespace == NAMESPACE && workload.name == "web");
        here.is_some_and(|workload| {
            workload.blocked_by.starts_with("restart request failed: ")
                && workload.blocked_by.contains("failed calling webhook \"policy.example.com\"")
        })
    };
    bed.wait_until("default", "the broken webhook", is_reported).await?;
    webhooks(control_plane).delete(NAMESPACE, &DeleteParams::default()).await?;
    wait_until_converged(&bed, NAMESPACE, NAMESPACE).await?;
    assert_each_was_restarted(&mesh, NAMESPACE, 1, NAMESPACE).await?;
    bed.stop().await
}

pub async fn a_recreated_workload_is_neither_restarted_nor_reported_as_refused(
    control_plane: &ControlPlane,
) -> TestResult {
    let mesh = Mesh(control_plane);
    control_plane.create_namespace("anew", &[]).await?;
    mesh.create_crd("Rollout", "argoproj.io", false).await?;
    let argo = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}});
    let kinds = [
        (
            WorkloadKind::find("apps", "Deployment"),
            "apps",
            "v1",
            workload("Deployment", "web", 1),
            RestartStrategy::Template,
        ),
        (
            WorkloadKind::find("argoproj.io", "Rollout"),
            "argoproj.io",
            "v1alpha1",
            argo,
            RestartStrategy::RestartAt,
        ),
    ];
    let client = control_plane.client();
    let now = Timestamp::now();
    for (kind, group, version, object, method) in kinds {
        let before = stale_workload(kind, group, version, "00000000-0000-0000-0000-000000000000");
        assert_eq!(
            patch::restart(&client, &before, method, now).await,
            StartResult::Gone,
            "{kind:?} is not there"
        );
        let present = mesh.object("anew", object).await?.uid().unwrap_or_default();
        assert_eq!(
            patch::restart(&client, &before, method, now).await,
            StartResult::Gone,
            "{kind:?} is another"
        );
        let started =
            patch::restart(&client, &stale_workload(kind, group, version, &present), method, now).await;
        assert!(matches!(started, StartResult::Rolling { generation: 2, .. }), "{kind:?}: {started:?}");
    }
    Ok(())
}

pub async fn an_owner_that_reverts_restarts_is_reported_and_not_retried(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("gitops").await?;
    mesh.create("gitops", workload("Deployment", "web", 2)).await?;
    let mark = control_plane.audit().mark().await?;
    let is_revert_reported = |resource: &istio_manager::api::Istio| {
        let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
        status.blocked_workloads.iter().any(|workload| {
            workload.namespace == "gitops" && workload.blocked_by.contains("already restarted once")
        })
    };
    let test = async {
        make_outdated(&bed, "reverted").await?;
        wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", is_revert_reported).await
    };
    tokio::select! {
        result = test => { result?; }
        ended = revert_restarts(control_plane, "gitops", "web") => return Err(format!("{ended:?}").into()),
    }
    let requests = control_plane.audit().since(&mark).await?.of(USER);
    let restart = |request: &&testbed::Request| {
        (request.verb.as_str(), request.namespace.as_str(), request.name.as_str())
            == ("patch", "gitops", "web")
    };
    assert_eq!(requests.iter().filter(restart).count(), 1);
    bed.stop().await
}

pub async fn an_uninstall_removes_sidecars_before_istiod(control_plane: &ControlPlane) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    for (namespace, name) in
        [("kinds", "deployment"), ("kinds", "statefulset"), ("kinds", "daemonset"), ("kinds", "replicaset")]
    {
        mesh.wait_until_ready(namespace, name).await?;
        for pod in mesh.pods(namespace, name).await? {
            let spec = pod.spec.clone().unwrap_or_default();
            let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            assert!(!containers.any(|container| container.name == "istio-proxy"), "{}", pod.name_any());
        }
    }
    assert!(bed.operator.log().contains("kinds/bare"), "{}", bed.operator.log());
    bed.stop().await
}
