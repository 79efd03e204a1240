//! Pods that are evicted one by one: what may delay that, and that at most one is missing at any time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use istio_manager::api::Istio;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, Failure, Mark, TestResult, eventually};
use tokio::task::JoinHandle;

use crate::bed::{Bed, DEADLINE, Result, USER};
use crate::mesh::{Mesh, workload};
use crate::newcomers::wait_until_replaced;
use crate::restart::make_outdated;
use crate::waves::{evictions, wait_until_converged};

/// The pods of one workload by UID, whether each is ready, and the lowest number of ready pods.
#[derive(Default)]
struct Serving {
    pods: BTreeMap<String, bool>,
    least: Option<usize>,
}

impl Serving {
    fn apply_event(&mut self, event: Event<Pod>) {
        let is_list = matches!(event, Event::Init | Event::InitApply(_));
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => {
                let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
                let mut conditions = conditions.into_iter().flatten();
                let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
                let serves = ready && pod.metadata.deletion_timestamp.is_none();
                self.pods.insert(pod.uid().unwrap_or_default(), serves);
            }
            Event::Delete(pod) => {
                self.pods.remove(&pod.uid().unwrap_or_default());
            }
            Event::Init => self.pods.clear(),
            Event::InitDone => {}
        }
        // What is not listed yet is not missing.
        if !is_list {
            let serving = self.pods.values().filter(|serves| **serves).count();
            self.least = Some(self.least.map_or(serving, |least| least.min(serving)));
        }
    }
}

/// Counts the ready pods with the label `app`, until it is dropped.
struct Watch {
    serving: Arc<Mutex<Serving>>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(control_plane: &ControlPlane, namespace: &str, app: &str) -> Self {
        let pods: Api<Pod> = Api::namespaced(control_plane.client(), namespace);
        let config = watcher::Config::default().labels(&format!("app={app}"));
        let mut events = watcher(pods, config).default_backoff().boxed();
        let serving = Arc::new(Mutex::new(Serving::default()));
        let shared = serving.clone();
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                // After an error the pods are listed anew: one that was missed in between counts as it is then.
                if let Ok(event) = event {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).apply_event(event);
                }
            }
        });
        Self { serving, task }
    }

    /// The lowest number of ready pods; an error if the watch missed events.
    fn end(self) -> Result<usize> {
        if self.task.is_finished() {
            return Err("the watch of the pods ended".into());
        }
        self.task.abort();
        let least = self.serving.lock().unwrap_or_else(PoisonError::into_inner).least;
        least.ok_or_else(|| "no pod was seen".into())
    }
}

/// Waits until a number of evictions in `namespace` got the response `code`.
async fn wait_for_evictions(bed: &Bed<'_>, mark: &Mark, namespace: &str, code: u16, times: usize) -> Result {
    let is_one = |request: &&testbed::Request| {
        request.resource == "pods/eviction" && request.namespace == namespace && request.code == code
    };
    let ended = eventually(&format!("{times} evictions with {code}"), DEADLINE, async || {
        let requests = bed.control_plane.audit().since(mark).await?.of(USER);
        Ok((requests.iter().filter(is_one).count() >= times).then_some(()))
    })
    .await;
    ended.map_err(|error| format!("{error}\n{}", bed.operator.log()).into())
}

/// A workload of a team, and a budget by which one pod of the team may be missing.
fn with_team_label(mut object: Value) -> Value {
    object["spec"]["template"]["metadata"]["labels"]["team"] = json!("one");
    object
}

pub async fn an_eviction_delayed_by_a_budget_continues_one_pod_at_a_time(
    control_plane: &ControlPlane,
) -> TestResult {
    const NAMESPACE: &str = "budgeted";
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace(NAMESPACE).await?;
    mesh.create(NAMESPACE, with_team_label(workload("ReplicaSet", "delayed", 3))).await?;
    let mut sick = with_team_label(workload("Deployment", "sick", 1));
    sick["metadata"]["annotations"] = json!({"restarter.istio-operator.kyma-project.io/exclude": "true"});
    mesh.create(NAMESPACE, sick).await?;
    control_plane.fail_pods(NAMESPACE, "sick", Failure::Unready).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(control_plane.client(), NAMESPACE);
    let budget = json!({"metadata": {"name": "team"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"team": "one"}}}});
    budgets.create(&PostParams::default(), &serde_json::from_value(budget)?).await?;
    let used_up = |budget: Option<&PodDisruptionBudget>| {
        budget
            .and_then(|budget| budget.status.as_ref())
            .is_some_and(|status| status.expected_pods == Some(4) && status.current_healthy == Some(3))
    };
    control_plane.wait_for(budgets, "team", "budget that is used up", DEADLINE, used_up).await?;
    let before = mesh.uids(NAMESPACE, "delayed").await?;
    let watch = Watch::start(control_plane, NAMESPACE, "delayed");
    let mark = control_plane.audit().mark().await?;
    bed.edit("default", json!({"restarter": null})).await?;
    make_outdated(&bed, NAMESPACE).await?;
    wait_for_evictions(&bed, &mark, NAMESPACE, 429, 2).await?;
    assert_eq!(mesh.uids(NAMESPACE, "delayed").await?, before, "evicted against the budget");
    control_plane.stop_failing_pods(NAMESPACE, "sick").await?;
    wait_until_replaced(&bed, &mesh, NAMESPACE, "delayed", &before).await?;
    mesh.wait_until_ready(NAMESPACE, "delayed").await?;
    assert_eq!(evictions(control_plane, &mark, NAMESPACE).await?, 3);
    assert_eq!(watch.end()?, 2, "so few of three pods served");
    bed.stop().await
}

pub async fn a_set_scaled_down_during_eviction_does_not_block_the_wave(
    control_plane: &ControlPlane,
) -> TestResult {
    const NAMESPACE: &str = "shrinking";
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace(NAMESPACE).await?;
    mesh.create(NAMESPACE, workload("ReplicaSet", "set", 3)).await?;
    let before = mesh.uids(NAMESPACE, "set").await?;
    control_plane.fail_new_pods(NAMESPACE, "set", Failure::Hang).await?;
    let mark = control_plane.audit().mark().await?;
    bed.edit("default", json!({"restarter": null})).await?;
    make_outdated(&bed, NAMESPACE).await?;
    wait_for_evictions(&bed, &mark, NAMESPACE, 201, 1).await?;
    // The pod that hangs goes; nothing comes that could be waited for.
    let sets: Api<ReplicaSet> = Api::namespaced(control_plane.client(), NAMESPACE);
    sets.patch("set", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 2}}))).await?;
    wait_for_evictions(&bed, &mark, NAMESPACE, 201, 2).await?;
    control_plane.stop_failing_pods(NAMESPACE, "set").await?;
    wait_until_replaced(&bed, &mesh, NAMESPACE, "set", &before).await?;
    mesh.wait_until_ready(NAMESPACE, "set").await?;
    assert_eq!(evictions(control_plane, &mark, NAMESPACE).await?, 3);
    bed.stop().await
}

/// Makes changes of these resources in `namespace` fail with a webhook without a server. Its name is that of the namespace.
pub async fn create_failing_webhook(
    control_plane: &ControlPlane,
    namespace: &str,
    resources: &str,
) -> Result {
    let webhook = json!({"metadata": {"name": namespace}, "webhooks": [{
        "name": "policy.example.com",
        "clientConfig": {"service": {"namespace": "default", "name": "policy", "path": "/"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": ["*"], "apiVersions": ["v1"], "operations": ["*"], "resources": [resources]}],
        "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
    }]});
    webhooks(control_plane).create(&PostParams::default(), &serde_json::from_value(webhook)?).await?;
    Ok(())
}

pub fn webhooks(control_plane: &ControlPlane) -> Api<ValidatingWebhookConfiguration> {
    Api::all(control_plane.client())
}

pub async fn the_reason_for_a_slow_restart_is_reported_while_it_runs(
    control_plane: &ControlPlane,
) -> TestResult {
    const NAMESPACE: &str = "obstructed";
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace(NAMESPACE).await?;
    mesh.create(NAMESPACE, workload("ReplicaSet", "refused", 2)).await?;
    mesh.create(NAMESPACE, workload("Deployment", "hangs", 1)).await?;
    let before = mesh.uids(NAMESPACE, "refused").await?;
    create_failing_webhook(control_plane, NAMESPACE, "pods/eviction").await?;
    control_plane.fail_new_pods(NAMESPACE, "hangs", Failure::Hang).await?;
    // People are told after a tenth of the time.
    let limits = json!({"rolloutTimeoutSeconds": 100, "enabled": null, "maxUnfinished": null, "maxUnfinishedPerNamespace": null});
    bed.edit("default", json!({"restarter": limits})).await?;
    make_outdated(&bed, NAMESPACE).await?;
    let is_reported = |resource: &Istio| {
        let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
        let is_blocked_by = |name: &str, words: &str| {
            let workload = status
                .blocked_workloads
                .iter()
                .find(|workload| workload.namespace == NAMESPACE && workload.name == name);
            workload
                .is_some_and(|left| left.blocked_by.contains(words) && left.reasons.contains("statistics"))
        };
        status.restarting == 2
            && is_blocked_by("refused", "failed calling webhook \"policy.example.com\"")
            && is_blocked_by(
                "hangs",
                "restart in progress for longer than expected: 1 old pods are still running",
            )
    };
    bed.wait_until("default", "what restarts wait for", is_reported).await?;
    webhooks(control_plane).delete(NAMESPACE, &DeleteParams::default()).await?;
    control_plane.stop_failing_pods(NAMESPACE, "hangs").await?;
    wait_until_replaced(&bed, &mesh, NAMESPACE, "refused", &before).await?;
    bed.edit("default", json!({"restarter": null})).await?;
    wait_until_converged(&bed, NAMESPACE, NAMESPACE).await?;
    bed.stop().await
}
