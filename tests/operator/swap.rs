//! The Go operator itself and ours take turns on one installation. Runs where there is a build of the Go operator, named by
//! `GO_OPERATOR`; `docs/go-operator.md` tells how to make one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use istio_manager::api::conditions::State;
use istio_manager::api::names::LAST_APPLIED_ANNOTATION;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, Process, ProcessSpec, TestResult, eventually};

use crate::bed::{Bed, DEADLINE, Result, has_finalizer};
use crate::injected::{PodCreation, while_pods_are_created};
use crate::takeover::{Baseline, replaced_workloads, take_baseline};

/// The folder with the programs `manager` and `istio_install`.
const GO_OPERATOR_VARIABLE: &str = "GO_OPERATOR";
const AGENT: &str = "DaemonSet istio-cni-node";

pub async fn an_installation_can_switch_between_the_go_operator_and_ours(
    control_plane: &ControlPlane,
) -> TestResult {
    let programs = std::env::var_os(GO_OPERATOR_VARIABLE).map(PathBuf::from);
    let programs =
        programs.ok_or(format!("{GO_OPERATOR_VARIABLE} is not set: docs/go-operator.md tells what it is"))?;
    let mut bed = Bed::start(control_plane).await?;
    bed.operator.terminate(Duration::from_secs(10)).await?;
    bed.create("default", spec()).await?;
    run_go_operator(control_plane, &programs).await?;
    let note = last_applied(&bed).await?;
    let baseline = SwapBaseline {
        objects: take_baseline(control_plane).await?,
        rollouts: rollouts(control_plane).await?,
        last_applied: note,
    };
    let turns = async {
        for _ in 0..2 {
            run_our_operator(&mut bed).await?;
            assert_installation_is_unchanged(&bed, &baseline).await?;
            run_go_operator(control_plane, &programs).await?;
            assert_installation_is_unchanged(&bed, &baseline).await?;
        }
        Ok(())
    };
    Box::pin(while_pods_are_created(control_plane, PodCreation::DryRun, turns)).await?;
    start_our_operator(&mut bed).await?;
    assert_installation_is_unchanged(&bed, &baseline).await?;
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    crate::removal::assert_nothing_is_left(&bed).await?;
    bed.stop().await
}

/// How things were after the first turn.
struct SwapBaseline {
    objects: Baseline,
    rollouts: BTreeMap<String, Option<String>>,
    last_applied: Value,
}

fn spec() -> Value {
    json!({
        "config": {
            "numTrustedProxies": 1,
            "enableDNSProxying": true,
            "trustDomain": "mesh.example.com",
            "authorizers": [{
                "name": "oauth2", "service": "oauth2.auth.svc.cluster.local", "port": 8000, "timeout": "1m30s",
                "headers": {"inCheck": {"include": ["authorization"], "add": {"x-from": "mesh"}}},
            }],
        },
        "components": {"egressGateway": {"enabled": true}},
        "networkPoliciesEnabled": true,
    })
}

/// The Go operator starts, comes to its end and is stopped.
async fn run_go_operator(control_plane: &ControlPlane, programs: &Path) -> Result {
    let mut process = start_go_operator(control_plane, programs)?;
    process.wait_for_log("Reconcile finished", DEADLINE).await?;
    process.terminate(Duration::from_secs(30)).await?;
    Ok(())
}

fn start_go_operator(control_plane: &ControlPlane, programs: &Path) -> Result<Process> {
    let folder = control_plane.dir().join("go-operator");
    std::fs::create_dir_all(&folder)?;
    let kubeconfig = control_plane.kubeconfig().display().to_string();
    let mut process = ProcessSpec::new("go-operator", programs.join("manager"))
        .args([format!("--kubeconfig={kubeconfig}"), "--zap-log-level=info".to_owned()])
        .args(["--metrics-bind-address=0", "--health-probe-bind-address=0"])
        .only_given_env()
        .env("HOME", folder.display().to_string())
        .env("KUBECONFIG", kubeconfig)
        .env("ISTIO_INSTALL_BIN_PATH", programs.join("istio_install").display().to_string())
        .current_dir(&folder);
    for image in ["pilot", "install-cni", "proxyv2"] {
        process = process.env(image, format!("docker.io/istio/{image}:1.31.0-distroless"));
    }
    Ok(control_plane.start(process)?)
}

async fn run_our_operator(bed: &mut Bed<'_>) -> Result {
    start_our_operator(bed).await?;
    bed.operator.terminate(Duration::from_secs(10)).await?;
    Ok(())
}

async fn start_our_operator(bed: &mut Bed<'_>) -> Result {
    bed.start_again()?;
    bed.wait_until_reconciled().await?;
    bed.wait_for_state("default", State::Ready).await?;
    Ok(())
}

/// No object was made anew, no pods were replaced but those of the agent, whose settings the Go operator loses, and both write
/// the same about what is installed.
async fn assert_installation_is_unchanged(bed: &Bed<'_>, baseline: &SwapBaseline) -> Result {
    let replaced = replaced_workloads(bed.control_plane, &baseline.objects).await?;
    assert!(replaced.iter().all(|workload| workload == AGENT), "{replaced:?}");
    assert_eq!(rollouts(bed.control_plane).await?, baseline.rollouts);
    assert_eq!(last_applied(bed).await?, baseline.last_applied);
    Ok(())
}

/// How many rollouts each Deployment has had: a template that changed and changed back has replaced pods as well.
async fn rollouts(control_plane: &ControlPlane) -> Result<BTreeMap<String, Option<String>>> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    let is_observed = |deployment: &Deployment| {
        let status = deployment.status.as_ref();
        status.and_then(|status| status.observed_generation) == deployment.metadata.generation
    };
    let revision = |deployment: &Deployment| {
        let revision = deployment.annotations().get("deployment.kubernetes.io/revision").cloned();
        (deployment.name_any(), revision)
    };
    eventually("rollouts that have begun", DEADLINE, async || {
        let found = api.list(&ListParams::default()).await?.items;
        Ok(found.iter().all(is_observed).then(|| found.iter().map(revision).collect()))
    })
    .await
}

async fn last_applied(bed: &Bed<'_>) -> Result<Value> {
    let resource = bed.resources().get("default").await?;
    assert!(has_finalizer(&resource), "{:?}", resource.finalizers());
    let text = resource.annotations().get(LAST_APPLIED_ANNOTATION).ok_or("nothing is noted")?;
    Ok(serde_json::from_str(text)?)
}
