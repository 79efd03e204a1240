//! `istio-manager diff`: tells what applying a resource would change, and changes nothing.

use istio_manager::api::conditions::State;
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, Result};
use crate::chart;

/// What the command ends with for a resource `default` of this spec: exit code, standard output, standard error.
pub async fn diff(control_plane: &ControlPlane, spec: Value) -> Result<(i32, String, String)> {
    let file = control_plane.dir().join("diff.yaml");
    let resource = json!({"apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio",
        "metadata": {"name": "default", "namespace": "kyma-system"}, "spec": spec});
    std::fs::write(&file, resource.to_string())?;
    crate::bed::command(control_plane, &["diff", &format!("--filename={}", file.display())]).await
}

pub async fn a_diff_before_the_installation_shows_every_object_as_new(
    control_plane: &ControlPlane,
) -> TestResult {
    chart::install(control_plane).await?;
    let (code, shown, summary) = diff(control_plane, json!({})).await?;
    assert_eq!(code, 1, "{summary}");
    for object in [
        "Namespace/istio-system",
        "Deployment/istio-system/istiod",
        "PeerAuthentication/istio-system/default",
    ] {
        assert!(shown.contains(&format!("--- /dev/null\n+++ applied/{object}\n")), "{object}");
    }
    assert!(!shown.contains("--- live/"), "{shown}");
    assert!(summary.contains("0 changed, 0 deleted"), "{summary}");
    Ok(())
}

pub async fn a_diff_of_an_unchanged_resource_is_empty(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(diff(control_plane, json!({})).await?, (0, String::new(), "no changes\n".to_owned()));
    bed.stop().await
}

pub async fn a_diff_shows_a_changed_setting_and_changes_nothing(control_plane: &ControlPlane) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let mark = control_plane.audit().mark().await?;
    let spec = json!({
        "config": {"gatewayExternalTrafficPolicy": "Local"},
        "components": {"egressGateway": {"enabled": true}},
    });
    let (code, shown, summary) = diff(control_plane, spec).await?;
    assert_eq!(code, 1, "{summary}");
    for line in [
        "+++ applied/Service/istio-system/istio-ingressgateway",
        "-  externalTrafficPolicy: Cluster",
        "+  externalTrafficPolicy: Local",
        "+++ applied/Deployment/istio-system/istio-egressgateway",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in:\n{shown}");
    }
    for noise in ["managedFields", "resourceVersion", "istiod-istio-system"] {
        assert!(!shown.contains(noise), "{noise}");
    }
    assert!(summary.contains("1 changed, 0 deleted"), "{summary}");
    let requests = control_plane.audit().since(&mark).await?;
    let writes = requests.of("admin").writes();
    assert!(writes.iter().all(|request| request.uri.contains("dryRun=All")), "{writes:?}");
    Ok(())
}

pub async fn a_diff_of_an_invalid_resource_reports_why_it_is_refused(
    control_plane: &ControlPlane,
) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let (code, stdout, stderr) =
        diff(control_plane, json!({"config": {"trustDomain": "not-.valid"}})).await?;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("spec.config.trustDomain"), "{stderr}");
    Ok(())
}

pub async fn a_diff_without_read_permission_reports_what_is_forbidden(
    control_plane: &ControlPlane,
) -> TestResult {
    let file = control_plane.dir().join("forbidden.yaml");
    let resource = json!({"apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio",
        "metadata": {"name": "default", "namespace": "kyma-system"}});
    std::fs::write(&file, resource.to_string())?;
    let filename = format!("--filename={}", file.display());
    let (code, stdout, stderr) =
        crate::bed::command(control_plane, &["diff", &filename, "--as=nobody"]).await?;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("failed to list Istio resources") && stderr.contains("forbidden"), "{stderr}");
    Ok(())
}
