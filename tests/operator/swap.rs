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

use crate::bed::{Bed, DEADLINE, Result, is_held};
use crate::injected::{Created, while_pods_are_created};
use crate::takeover::{Before, before, compare};

/// The folder with the programs `manager` and `istio_install`.
const PROGRAMS: &str = "GO_OPERATOR";
const AGENT: &str = "DaemonSet istio-cni-node";

pub async fn the_go_operator_and_ours_pass_an_installation_on_to_each_other_and_back(
    control_plane: &ControlPlane,
) -> TestResult {
    let programs = std::env::var_os(PROGRAMS).map(PathBuf::from);
    let programs = programs.ok_or(format!("{PROGRAMS} is not set: docs/go-operator.md tells what it is"))?;
    let mut bed = Bed::start(control_plane).await?;
    bed.operator.terminate(Duration::from_secs(10)).await?;
    bed.create("default", spec()).await?;
    the_go_operator_works(control_plane, &programs).await?;
    let note = last_applied(&bed).await?;
    let earlier =
        Earlier { objects: before(control_plane).await?, rollouts: rollouts(control_plane).await?, note };
    let turns = async {
        for _ in 0..2 {
            ours_works(&mut bed).await?;
            passed_on(&bed, &earlier).await?;
            the_go_operator_works(control_plane, &programs).await?;
            passed_on(&bed, &earlier).await?;
        }
        Ok(())
    };
    Box::pin(while_pods_are_created(control_plane, Created::Dry, turns)).await?;
    ours_starts(&mut bed).await?;
    passed_on(&bed, &earlier).await?;
    bed.delete("default").await?;
    bed.goes("default").await?;
    crate::removal::nothing_is_left(&bed).await?;
    bed.stop().await
}

/// How things were after the first turn.
struct Earlier {
    objects: Before,
    rollouts: BTreeMap<String, Option<String>>,
    note: Value,
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
async fn the_go_operator_works(control_plane: &ControlPlane, programs: &Path) -> Result {
    let mut process = start(control_plane, programs)?;
    process.says("Reconcile finished", DEADLINE).await?;
    process.terminate(Duration::from_secs(30)).await?;
    Ok(())
}

fn start(control_plane: &ControlPlane, programs: &Path) -> Result<Process> {
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

async fn ours_works(bed: &mut Bed<'_>) -> Result {
    ours_starts(bed).await?;
    bed.operator.terminate(Duration::from_secs(10)).await?;
    Ok(())
}

async fn ours_starts(bed: &mut Bed<'_>) -> Result {
    bed.start_again()?;
    bed.reconciled().await?;
    bed.settles("default", State::Ready).await?;
    Ok(())
}

/// No object was made anew, no pods were replaced but those of the agent, whose settings the Go operator loses, and both write
/// the same about what is installed.
async fn passed_on(bed: &Bed<'_>, earlier: &Earlier) -> Result {
    let replaced = compare(bed.control_plane, &earlier.objects).await?;
    assert!(replaced.iter().all(|workload| workload == AGENT), "{replaced:?}");
    assert_eq!(rollouts(bed.control_plane).await?, earlier.rollouts);
    assert_eq!(last_applied(bed).await?, earlier.note);
    Ok(())
}

/// How many rollouts each Deployment has had: a template that changed and changed back has replaced pods as well.
async fn rollouts(control_plane: &ControlPlane) -> Result<BTreeMap<String, Option<String>>> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    let is_seen = |deployment: &Deployment| {
        let status = deployment.status.as_ref();
        status.and_then(|status| status.observed_generation) == deployment.metadata.generation
    };
    let revision = |deployment: &Deployment| {
        let revision = deployment.annotations().get("deployment.kubernetes.io/revision").cloned();
        (deployment.name_any(), revision)
    };
    eventually("rollouts that have begun", DEADLINE, async || {
        let found = api.list(&ListParams::default()).await?.items;
        Ok(found.iter().all(is_seen).then(|| found.iter().map(revision).collect()))
    })
    .await
}

async fn last_applied(bed: &Bed<'_>) -> Result<Value> {
    let resource = bed.resources().get("default").await?;
    assert!(is_held(&resource), "{:?}", resource.finalizers());
    let text = resource.annotations().get(LAST_APPLIED_ANNOTATION).ok_or("nothing is noted")?;
    Ok(serde_json::from_str(text)?)
}
