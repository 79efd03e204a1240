//! From one version of Istio to another, and back where that is possible.

use istio_manager::api::conditions::State;
use istio_manager::api::{Istio, last_applied};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, DEADLINE, Result, description_and_reason};
use crate::bundle::{NEW_FIELD, Variant, derive};
use crate::injected::{PodCreation, while_pods_are_created};

const OLDER: &str = "1.30.3";
const CURRENT: &str = "1.31.0";
/// Of the same minor version as the current one, but istiod's image cannot be had.
const BROKEN: &str = "1.31.9";
const VERSION_LABEL: &str = "operator.istio.io/version";

pub async fn an_installation_of_an_older_version_is_upgraded_in_place(
    control_plane: &ControlPlane,
) -> TestResult {
    let older = arguments(control_plane, OLDER, Variant::Older)?;
    let mut bed = Bed::start_with(control_plane, &strings(&older)).await?;
    bed.create("default", json!({})).await?;
    wait_until_installed(&bed, OLDER).await?;
    assert!(istiod(control_plane).await?.contains("RETIRED_SETTING"));
    assert!(!crd_has_new_field(control_plane).await?);
    let before = uids(control_plane).await?;

    let upgrade = async {
        bed.restart_with(&[]).await?;
        wait_until_installed(&bed, CURRENT).await
    };
    let upgraded = while_pods_are_created(control_plane, PodCreation::Persisted, Box::pin(upgrade)).await?;
    let entries = upgraded.metadata.managed_fields.clone().unwrap_or_default();
    assert!(entries.iter().any(|entry| entry.manager.as_deref() == Some("istio-manager")), "{entries:?}");
    assert_eq!(upgraded.status.map(|status| status.state), Some(State::Ready));
    let istiod = istiod(control_plane).await?;
    assert!(istiod.contains("pilot:1.31.0-distroless") && !istiod.contains("RETIRED_SETTING"), "{istiod}");
    assert_eq!(crd_version(control_plane).await?, CURRENT);
    assert!(crd_has_new_field(control_plane).await?);
    assert_eq!(uids(control_plane).await?, before);
    assert!(!has_retired_object(control_plane).await?, "an object of the older version is still there");

    assert_downgrade_requires_approval(&mut bed, &older).await?;
    bed.stop().await
}

/// After a success there is no way back, unless the owner of the resource says so.
async fn assert_downgrade_requires_approval(bed: &mut Bed<'_>, older: &[String]) -> TestResult {
    let mark = bed.control_plane.audit().mark().await?;
    bed.restart_with(&strings(older)).await?;
    let refused = bed.wait_for_state("default", State::Warning).await?;
    let (description, reason) = description_and_reason(&refused);
    assert_eq!(reason, "IstioVersionUpdateNotAllowed");
    let annotation = "istios.operator.kyma-project.io/allow-downgrade";
    assert!(description.contains(annotation) && description.contains(OLDER), "{description}");
    let writes = bed.writes_since(&mark).await?;
    assert!(writes.iter().all(|write| write.contains("istios") || write.contains("events")), "{writes:#?}");

    let allow = Patch::Merge(json!({"metadata": {"annotations": {annotation: OLDER}}}));
    bed.resources().patch("default", &PatchParams::default(), &allow).await?;
    wait_until_installed(bed, OLDER).await?;
    assert!(istiod(bed.control_plane).await?.contains("RETIRED_SETTING"));
    assert_eq!(crd_version(bed.control_plane).await?, CURRENT, "a definition went back");
    assert!(crd_has_new_field(bed.control_plane).await?, "a definition went back");
    Ok(())
}

pub async fn a_failed_upgrade_reports_how_to_roll_back_and_can_be_rolled_back(
    control_plane: &ControlPlane,
) -> TestResult {
    let older = arguments(control_plane, OLDER, Variant::Older)?;
    let mut bed = Bed::start_with(control_plane, &strings(&older)).await?;
    bed.create("default", json!({})).await?;
    wait_until_installed(&bed, OLDER).await?;
    let before = uids(control_plane).await?;

    let mut broken = arguments(control_plane, BROKEN, Variant::Broken)?;
    broken.push("--install-timeout=5s".to_owned());
    let attempt = async {
        bed.restart_with(&strings(&broken)).await?;
        assert_failure_is_reported(&bed).await?;
        bed.restart_with(&strings(&older)).await?;
        bed.wait_for_state("default", State::Ready).await
    };
    while_pods_are_created(control_plane, PodCreation::Persisted, Box::pin(attempt)).await?;
    assert_eq!(version_of(control_plane, "istiod").await?, OLDER);
    assert!(istiod(control_plane).await?.contains("RETIRED_SETTING"));
    assert_eq!(crd_version(control_plane).await?, BROKEN, "a definition went back");
    assert_eq!(uids(control_plane).await?, before);

    bed.restart_with(&[]).await?;
    wait_until_installed(&bed, CURRENT).await?;
    assert!(!has_retired_object(control_plane).await?, "an object of the older version is still there");
    bed.stop().await
}

/// The status says what failed and how to go back; gateways have waited, and nothing of the old version is gone.
async fn assert_failure_is_reported(bed: &Bed<'_>) -> Result {
    let failed = bed.wait_for_state("default", State::Error).await?;
    let (description, reason) = description_and_reason(&failed);
    assert_eq!(reason, "IstioInstallUninstallFailed");
    let version_change = format!("from {OLDER} to {BROKEN}");
    let rollback_flag = format!("--istio-version={OLDER}");
    for words in ["istiod", "ImagePullBackOff", &version_change, &rollback_flag] {
        assert!(description.contains(words), "{words} is missing in: {description}");
    }
    assert_eq!(tag(&failed), Some(format!("{OLDER}-distroless")));
    assert_eq!(
        version_of(bed.control_plane, "istio-ingressgateway").await?,
        OLDER,
        "the gateway did not wait"
    );
    assert!(has_retired_object(bed.control_plane).await?, "an object of the older version is gone too early");
    Ok(())
}

async fn has_retired_object(control_plane: &ControlPlane) -> Result<bool> {
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "istio-system");
    Ok(maps.get_opt("istio-retired").await?.is_some())
}

pub async fn an_istioctl_installation_is_adopted_and_upgraded(control_plane: &ControlPlane) -> TestResult {
    let charts = derive(control_plane.dir(), OLDER, Variant::Older)?;
    let istioctl = control_plane.tools().program("istioctl")?;
    let arguments = [
        "install".to_owned(),
        "--skip-confirmation".to_owned(),
        format!("--kubeconfig={}", control_plane.kubeconfig().display()),
        format!("--manifests={}", charts.join(OLDER).display()),
        "--set=hub=docker.io/istio".to_owned(),
        format!("--set=tag={OLDER}-distroless"),
    ];
    let home = control_plane.dir().display().to_string();
    let output = testbed::run(&istioctl, arguments, &[("HOME", home)]).await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    copy_config_map_as_user(control_plane).await?;
    let before = uids(control_plane).await?;

    let adopt = async {
        let bed = Bed::start(control_plane).await?;
        bed.create("default", json!({})).await?;
        wait_until_installed(&bed, CURRENT).await?;
        bed.stop().await
    };
    while_pods_are_created(control_plane, PodCreation::Persisted, Box::pin(adopt)).await?;
    assert!(istiod(control_plane).await?.contains("pilot:1.31.0-distroless"));
    assert_eq!(crd_version(control_plane).await?, CURRENT);
    assert_eq!(uids(control_plane).await?, before);
    assert!(!has_retired_object(control_plane).await?, "an object of the older version is still there");
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "istio-system");
    assert!(maps.get_opt("copy").await?.is_some(), "an object of a user is gone");
    Ok(())
}

/// A `ConfigMap` of a user with the labels of one of Istio's, as from a copy of its manifest.
async fn copy_config_map_as_user(control_plane: &ControlPlane) -> Result {
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "istio-system");
    let mut copy = maps.get("istio-retired").await?;
    copy.metadata =
        ObjectMeta { name: Some("copy".to_owned()), labels: copy.metadata.labels, ..ObjectMeta::default() };
    maps.create(&PostParams::default(), &copy).await?;
    Ok(())
}

/// The arguments that make the operator install a derived version.
fn arguments(control_plane: &ControlPlane, version: &str, variant: Variant) -> Result<Vec<String>> {
    let charts = derive(control_plane.dir(), version, variant)?;
    Ok(vec![format!("--charts-dir={}", charts.display()), format!("--istio-version={version}")])
}

fn strings(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Waits until the resource notes that a version is complete, and shows that it is.
async fn wait_until_installed(bed: &Bed<'_>, version: &str) -> Result<Istio> {
    let wanted = format!("{version}-distroless");
    let is_installed = |resource: Option<&Istio>| {
        resource.is_some_and(|resource| {
            let state = resource.status.as_ref().map(|status| status.state);
            tag(resource).as_deref() == Some(&wanted) && state == Some(State::Ready)
        })
    };
    let what = format!("Istio {version}");
    let found = bed.control_plane.wait_for(bed.resources(), "default", &what, DEADLINE, is_installed).await;
    let found = found.map_err(|error| format!("{error}\noperator says:\n{}", bed.operator.log()))?;
    Ok(found.ok_or("the resource is gone")?)
}

fn tag(resource: &Istio) -> Option<String> {
    last_applied::read(resource).and_then(|applied| applied.istio_tag)
}

/// The Deployment of istiod as text.
async fn istiod(control_plane: &ControlPlane) -> Result<String> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    Ok(serde_json::to_string(&api.get("istiod").await?.spec)?)
}

async fn version_of(control_plane: &ControlPlane, deployment: &str) -> Result<String> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    Ok(api.get(deployment).await?.labels().get(VERSION_LABEL).cloned().unwrap_or_default())
}

async fn crd_version(control_plane: &ControlPlane) -> Result<String> {
    let api: Api<CustomResourceDefinition> = Api::all(control_plane.client());
    let crd = api.get_metadata("virtualservices.networking.istio.io").await?;
    Ok(crd.labels().get(VERSION_LABEL).cloned().unwrap_or_default())
}

/// Whether the definitions are as the embedded version has them, and not as the older one.
async fn crd_has_new_field(control_plane: &ControlPlane) -> Result<bool> {
    let api: Api<CustomResourceDefinition> = Api::all(control_plane.client());
    let crd = api.get("destinationrules.networking.istio.io").await?;
    Ok(serde_json::to_string(&crd.spec)?.contains(NEW_FIELD))
}

/// The UIDs of what must outlive an upgrade.
async fn uids(control_plane: &ControlPlane) -> Result<Vec<Option<String>>> {
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    let crds: Api<CustomResourceDefinition> = Api::all(control_plane.client());
    Ok(vec![
        deployments.get_metadata("istiod").await?.uid(),
        deployments.get_metadata("istio-ingressgateway").await?.uid(),
        crds.get_metadata("virtualservices.networking.istio.io").await?.uid(),
    ])
}
