//! The Go operator itself and ours take turns on one installation. Runs where there is a build of the Go operator, named by
//! `GO_OPERATOR`; `docs/go-operator.md` tells how to make one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use istio_manager::api::conditions::State;
use istio_manager::api::names::LAST_APPLIED_ANNOTATION;
use kube::ResourceExt;
use serde_json::{Value, json};
use testbed::{ControlPlane, Process, ProcessSpec, TestResult};

use crate::bed::{Bed, DEADLINE, Result, is_held};
use crate::takeover::{Before, before, compare, while_pods_are_created};

/// The folder with the programs `manager` and `istio_install`.
const PROGRAMS: &str = "GO_OPERATOR";
const AGENT: &str = "DaemonSet istio-cni-node";

pub async fn the_go_operator_and_ours_pass_an_installation_on_to_each_other_and_back(
    control_plane: &ControlPlane,
) -> TestResult {
    let Some(programs) = std::env::var_os(PROGRAMS).map(PathBuf::from) else {
        println!("SKIPPED: there is no build of the Go operator, {PROGRAMS} is not set");
        return Ok(());
    };
    let mut bed = Bed::start(control_plane).await?;
    bed.operator.terminate(Duration::from_secs(10)).await?;
    bed.create("default", spec()).await?;
    the_go_operator_works(control_plane, &programs).await?;
    let note = last_applied(&bed).await?;
    let earlier = before(control_plane).await?;
    let turns = async {
        for _ in 0..2 {
            ours_works(&mut bed).await?;
            passed_on(&bed, &earlier, &note).await?;
            the_go_operator_works(control_plane, &programs).await?;
            passed_on(&bed, &earlier, &note).await?;
        }
        Ok(())
    };
    Box::pin(while_pods_are_created(control_plane, turns)).await?;
    ours_works(&mut bed).await?;
    bed.delete("default").await?;
    bed.goes("default").await?;
    crate::removal::nothing_is_left(&bed).await?;
    bed.stop().await
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
    let finished = async {
        while !process.log().contains("Reconcile finished") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let finished = tokio::time::timeout(DEADLINE, finished).await;
    finished.map_err(|_| format!("the Go operator does not finish:\n{}", process.log()))?;
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
    bed.start_again()?;
    bed.reconciled().await?;
    bed.settles("default", State::Ready).await?;
    bed.operator.terminate(Duration::from_secs(10)).await?;
    Ok(())
}

/// No object was made anew, no pods were replaced but those of the agent, whose settings the Go operator loses, and both write
/// the same about what is installed.
async fn passed_on(bed: &Bed<'_>, earlier: &Before, note: &Value) -> Result {
    let replaced = compare(bed.control_plane, earlier).await?;
    assert!(replaced.iter().all(|workload| workload == AGENT), "{replaced:?}");
    assert_eq!(last_applied(bed).await?, *note);
    Ok(())
}

async fn last_applied(bed: &Bed<'_>) -> Result<Value> {
    let resource = bed.resources().get("default").await?;
    assert!(is_held(&resource), "{:?}", resource.finalizers());
    let text = resource.annotations().get(LAST_APPLIED_ANNOTATION).ok_or("nothing is noted")?;
    Ok(serde_json::from_str(text)?)
}
