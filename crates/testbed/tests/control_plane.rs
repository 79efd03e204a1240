//! The test bed itself: it starts, pods get ready or fail as told, requests are counted, istiod is real.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::{ControlPlane, FAIL_LABEL, TestResult};

fn main() -> ExitCode {
    testbed::run_tests(&testbed::tests![
        lists_namespaces,
        a_pod_becomes_ready,
        a_pod_fails_in_the_words_of_the_kubelet,
        pods_fail_by_the_prefix_of_their_name_and_recover,
        requests_are_counted_for_each_user,
        objects_written_to_etcd_are_served_like_created_ones,
    ])
}

const DEADLINE: Duration = Duration::from_secs(10);

async fn lists_namespaces(control_plane: &ControlPlane) -> TestResult {
    let namespaces: Api<Namespace> = Api::all(control_plane.client());
    let found = namespaces.list(&ListParams::default()).await?;
    assert!(found.iter().any(|namespace| namespace.metadata.name.as_deref() == Some("kube-system")));
    Ok(())
}

async fn objects_written_to_etcd_are_served_like_created_ones(control_plane: &ControlPlane) -> TestResult {
    let object = |name: &str| {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}")},
            "data": {"said": name},
        });
        (format!("configmaps/default/{name}"), map.to_string())
    };
    control_plane.etcd()?.put(["stored-a", "stored-b"].map(object)).await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "default");
    for name in ["stored-a", "stored-b"] {
        let stored = maps.get(name).await?;
        assert_eq!(stored.data.unwrap_or_default()["said"], name);
        assert_eq!(stored.metadata.uid, Some(format!("uid-of-{name}")));
    }
    Ok(())
}

async fn a_pod_becomes_ready(control_plane: &ControlPlane) -> TestResult {
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "default");
    pods.create(&PostParams::default(), &pod("plain", None)?).await?;
    let ready = control_plane.wait_for(pods, "plain", "ready pod", DEADLINE, is_ready).await?;
    let address = ready.and_then(|pod| pod.status?.pod_ip).unwrap_or_default();
    assert!(address.starts_with("10.244."), "{address}");
    Ok(())
}

async fn a_pod_fails_in_the_words_of_the_kubelet(control_plane: &ControlPlane) -> TestResult {
    let cases = [
        ("hang", "Pending", "ContainerCreating", ""),
        ("crash", "Running", "CrashLoopBackOff", "restarting failed container=main pod=crash_default("),
        (
            "pull",
            "Pending",
            "ImagePullBackOff",
            "Back-off pulling image \"example.com/image:1\": ErrImagePull",
        ),
    ];
    for (failure, phase, reason, words) in cases {
        let pods: Api<Pod> = Api::namespaced(control_plane.client(), "default");
        pods.create(&PostParams::default(), &pod(failure, Some(failure))?).await?;
        let fails = |pod: Option<&Pod>| waiting(pod).is_some_and(|(found, _)| found == reason);
        let failed = control_plane.wait_for(pods, failure, reason, DEADLINE, fails).await?;
        assert_eq!(failed.as_ref().and_then(|pod| pod.status.as_ref()?.phase.as_deref()), Some(phase));
        let message = waiting(failed.as_ref()).unwrap_or_default().1;
        assert!(message.contains(words), "{message}");
        assert!(!is_ready(failed.as_ref()));
    }
    Ok(())
}

async fn pods_fail_by_the_prefix_of_their_name_and_recover(control_plane: &ControlPlane) -> TestResult {
    control_plane.create_namespace("prefix", &[]).await?;
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "prefix");
    pods.create(&PostParams::default(), &pod("victim-old", None)?).await?;
    control_plane.wait_for(pods.clone(), "victim-old", "ready pod", DEADLINE, is_ready).await?;
    control_plane.fail_pods("prefix", "victim", testbed::Failure::Crash).await?;
    pods.create(&PostParams::default(), &pod("victim-new", None)?).await?;
    pods.create(&PostParams::default(), &pod("bystander", None)?).await?;
    control_plane.wait_for(pods.clone(), "bystander", "ready pod", DEADLINE, is_ready).await?;
    let crashes = |pod: Option<&Pod>| waiting(pod).is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
    for name in ["victim-old", "victim-new"] {
        control_plane.wait_for(pods.clone(), name, "crashing pod", DEADLINE, crashes).await?;
    }
    control_plane.stop_failing_pods("prefix", "victim").await?;
    for name in ["victim-old", "victim-new"] {
        let recovered =
            control_plane.wait_for(pods.clone(), name, "recovered pod", DEADLINE, is_ready).await?;
        assert_eq!(waiting(recovered.as_ref()), None);
    }
    Ok(())
}

async fn requests_are_counted_for_each_user(control_plane: &ControlPlane) -> TestResult {
    let client = control_plane.client_for("default", "default").await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "default");
    let mark = control_plane.audit().mark().await?;
    maps.patch(
        "counted",
        &PatchParams::apply("test").force(),
        &Patch::Apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counted"}})),
    )
    .await?;
    maps.delete("counted", &DeleteParams::default()).await?;
    let forbidden = Api::<ConfigMap>::namespaced(client, "default").list(&ListParams::default()).await;
    assert!(forbidden.is_err(), "RBAC lets a ServiceAccount without rights list");
    let requests = control_plane.audit().since(&mark).await?;
    let admin: Vec<_> = requests.clone().of("admin").iter().map(|r| (r.verb.clone(), r.code)).collect();
    assert_eq!(admin, [("patch".into(), 201), ("delete".into(), 200)]);
    let other = requests.of("system:serviceaccount:default:default").counts();
    assert_eq!(other, [(("list".into(), "configmaps".into(), 403), 1)].into());
    Ok(())
}

fn pod(name: &str, failure: Option<&str>) -> Result<Pod, Box<dyn Error>> {
    let labels = failure.map(|failure| json!({FAIL_LABEL: failure}));
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "example.com/image:1"}]},
    }))?)
}

fn is_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn waiting(pod: Option<&Pod>) -> Option<(String, String)> {
    let statuses = pod?.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = statuses.first()?.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default()))
}
