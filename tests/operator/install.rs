//! From the resource to a running Istio.

use std::collections::BTreeSet;

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::json;
use testbed::{ControlPlane, Requests, TestResult};

use crate::bed::{Bed, DEADLINE, NAMESPACE, USER, description_and_reason, has_finalizer};
use crate::matrix::Case;
use crate::rendered;

/// Who istiod is to the API server.
const ISTIOD: &str = "system:serviceaccount:istio-system:istiod";

pub async fn a_resource_is_installed_and_reported_ready(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    let mark = control_plane.audit().mark().await?;
    bed.create("default", json!({})).await?;
    let ready = bed.wait_for_state("default", State::Ready).await?;
    eprintln!(
        "REQUESTS {}",
        control_plane.audit().since(&mark).await?.of(USER).without_leases().iter().count()
    );
    assert_new_kinds_are_listed_before_istiod_starts(&control_plane.audit().since(&mark).await?);
    assert_eq!(description_and_reason(&ready), (String::new(), "ReconcileSucceeded".to_owned()));
    assert!(has_finalizer(&ready));
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    for name in ["istiod", "istio-ingressgateway"] {
        let status = deployments.get(name).await?.status.unwrap_or_default();
        assert!(status.ready_replicas > Some(0), "{name} {status:?}");
    }
    bed.stop().await
}

/// So that the API server does not make the storage of kinds while istiod waits for its watches.
fn assert_new_kinds_are_listed_before_istiod_starts(requests: &Requests) {
    let of_istio = |verb: &'static str, user: &'static str| {
        let matching = requests.iter().filter(move |request| request.verb == verb && request.user == user);
        matching.filter(|request| request.resource.ends_with(".istio.io"))
    };
    let kinds = |verb, user| of_istio(verb, user).map(|request| request.resource.as_str()).collect();
    let mut listed: BTreeSet<&str> = kinds("list", USER);
    // The operator watches these itself.
    listed.extend(kinds("watch", USER));
    let watched: BTreeSet<&str> = kinds("watch", ISTIOD);
    assert!(watched.len() > 10, "{watched:?}");
    assert!(watched.is_subset(&listed), "{listed:?}, istiod {watched:?}");
    let first = |verb, user| of_istio(verb, user).map(|request| request.received.as_str()).min();
    assert!(first("list", USER) < first("watch", ISTIOD), "{requests}");
}

pub async fn the_operator_does_not_modify_the_spec(control_plane: &ControlPlane) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let kind = ApiResource::erase::<Istio>(&());
    let resources: Api<DynamicObject> = Api::namespaced_with(control_plane.client(), NAMESPACE, &kind);
    let resource = resources.get("default").await?;
    let entries = resource.metadata.managed_fields.unwrap_or_default();
    let is_of_operator = |manager: &str| manager.starts_with("istio-manager") || manager == "istio-operator";
    for entry in entries.iter().filter(|entry| entry.manager.as_deref().is_some_and(is_of_operator)) {
        let fields = serde_json::to_value(&entry.fields_v1)?;
        assert!(fields.get("f:spec").is_none(), "{entry:?}");
    }
    Ok(())
}

pub async fn a_change_of_the_ready_reason_emits_an_event(control_plane: &ControlPlane) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let events = control_plane.events_of(NAMESPACE, "Istio", "default").await?;
    let reported: Vec<_> =
        events.iter().filter_map(|event| Some((event.type_.as_deref()?, event.reason.as_deref()?))).collect();
    assert!(reported.contains(&("Normal", "ReconcileSucceeded")), "{reported:?}");
    Ok(())
}

pub async fn a_pod_in_a_labelled_namespace_gets_a_sidecar(control_plane: &ControlPlane) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await?;
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "shop");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "cart"},
        "spec": {"containers": [{"name": "cart", "image": "example.com/cart:1"}]},
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let is_ready = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let pod = control_plane.wait_for(pods, "cart", "ready pod", DEADLINE, is_ready).await?.ok_or("gone")?;
    let spec = pod.spec.unwrap_or_default();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let images: Vec<_> =
        containers.filter(|c| c.name == "istio-proxy").filter_map(|c| c.image.as_deref()).collect();
    assert_eq!(images, ["docker.io/istio/proxyv2:1.31.0-distroless"]);
    Ok(())
}

pub async fn an_operator_restart_writes_nothing_to_an_unchanged_cluster(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.wait_until_data_plane_converged().await?;
    bed.stop().await?;
    let mark = control_plane.audit().mark().await?;
    let bed = Bed::start(control_plane).await?;
    bed.wait_until_reconciled().await?;
    bed.wait_for_log("scanned the data plane").await?;
    let requests = control_plane.audit().since(&mark).await?.of(USER).without_leases();
    assert!(!requests.is_empty(), "the operator has looked at nothing");
    assert_eq!(bed.writes_since(&mark).await?, Vec::<String>::new());
    bed.stop().await
}

pub async fn a_changed_setting_reaches_its_object(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    let services: Api<Service> = Api::namespaced(control_plane.client(), "istio-system");
    let policy = |service: Service| service.spec.and_then(|spec| spec.external_traffic_policy);
    let edited = json!({
        "config": {"gatewayExternalTrafficPolicy": "Local", "numTrustedProxies": 2},
        "components": {"pilot": {"k8s": {"resources": {"requests": {"cpu": "75m"}}}}},
    });
    bed.edit("default", edited).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(policy(services.get("istio-ingressgateway").await?).as_deref(), Some("Local"));
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    let istiod = serde_json::to_value(deployments.get("istiod").await?)?;
    assert_eq!(istiod["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"], "75m");
    bed.edit("default", json!({"config": null, "components": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(policy(services.get("istio-ingressgateway").await?).as_deref(), Some("Cluster"));
    bed.stop().await
}

pub async fn every_rendering_is_accepted_by_the_api_server(control_plane: &ControlPlane) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let kubectl = control_plane.tools().program("kubectl")?;
    let cases = [
        Case::plain(),
        Case::plain().with("small", 1),
        Case::plain().with("mesh and components", 1),
        Case::plain().with("dual stack", 1),
    ];
    for case in cases {
        case.write(control_plane.dir())?;
        let rendered = control_plane.dir().join("rendered.yaml");
        std::fs::write(&rendered, rendered::render(control_plane.dir(), case.is_experimental())?)?;
        let arguments = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--force-conflicts",
            "--field-manager=istio-operator",
        ];
        let arguments = arguments.map(str::to_owned).into_iter().chain([
            format!("--kubeconfig={}", control_plane.kubeconfig().display()),
            format!("--filename={}", rendered.display()),
        ]);
        let output = testbed::run(&kubectl, arguments, &[]).await?;
        assert!(output.status.success(), "{case:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

pub async fn a_component_that_is_turned_off_is_pruned(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    bed.edit("default", json!({"components": {"egressGateway": {"enabled": true}}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert!(deployments.get_opt("istio-egressgateway").await?.is_some());
    bed.edit("default", json!({"components": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let gone = |deployment: Option<&Deployment>| deployment.is_none();
    control_plane.wait_for(deployments, "istio-egressgateway", "pruned gateway", DEADLINE, gone).await?;
    bed.stop().await
}
