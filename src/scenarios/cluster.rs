//! A cluster with the operator: the double with what a small cluster has, and the controllers on it.

use std::future::Future;
use std::time::Duration;

use fake_apiserver::{
    ApiRequest, FakeApiServer, FaultHandle, ObjectChange, Reaction, RequestMatcher, Verb, rules,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, OperatorSettings};
use crate::kubernetes::{Connections, Limits, fenced_client};
use crate::leader::Leadership;
use crate::plan::{AdministratorValues, OverrideMode};
use crate::server::{MetricsRegistry, Readiness};
use crate::validate::FeatureStage;

/// Namespace of the operator and of its resource.
pub(super) const NAMESPACE: &str = "kyma-system";
/// Namespace of the control plane.
pub(super) const ISTIO: &str = "istio-system";
/// Where the inventory is kept.
pub(super) const INVENTORY: &str = "istio-manager-inventory";
/// Simulated time after which what is waited for does not come.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Stack of the worker threads; see the thread that renders.
const STACK_SIZE: usize = 8 << 20;

/// Runs one scenario on paused time.
pub(super) fn scenario<F: Future<Output = ()>>(run: impl FnOnce(Cluster) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).thread_stack_size(STACK_SIZE).build().unwrap();
    runtime.block_on(async { run(Cluster::new()).await });
    runtime.shutdown_background();
}

/// An API server and the settings of an operator that is not started.
pub(super) struct Cluster {
    pub(super) server: FakeApiServer,
    pub(super) settings: OperatorSettings,
    pub(super) leadership: watch::Sender<Leadership>,
}

/// An operator that runs.
pub(super) struct Operator {
    shutdown: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Operator {
    /// Stops it, as SIGTERM does, and waits for its end.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl Cluster {
    /// A cluster of two nodes whose workloads roll out at once.
    fn new() -> Self {
        let server = FakeApiServer::new();
        server.serve("operator.kyma-project.io", "v1alpha2", "Istio", "istios", true);
        server.put_namespace(NAMESPACE, &json!({}));
        for name in ["node-1", "node-2"] {
            server.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                "status": {"capacity": {"cpu": "8", "memory": "32Gi"}, "nodeInfo": {"kubeletVersion": "v1.36.3"}}}));
        }
        server.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 6443}]}}));
        server.rule(
            |change| if is_stuck(change) { Vec::new() } else { rules::workloads_become_ready(change, 2) },
        );
        server.rule(rules::services_have_endpoints);
        server.rule(istiod_completes_injectors);
        let leadership = watch::Sender::new(Leadership::Leading { until: None });
        Self { server, settings: settings(), leadership }
    }

    /// Starts an operator.
    pub(super) fn start(&self) -> Operator {
        let client = self.server.client();
        let connections = Connections { requests: client.clone(), streams: client };
        let leadership = self.leadership.subscribe();
        let (client, _) = fenced_client(connections, leadership.clone(), Limits::default());
        let shutdown = CancellationToken::new();
        let context = Context {
            client,
            account: None,
            operator_namespace: NAMESPACE.to_owned(),
            leadership,
            shutdown: shutdown.clone(),
            readiness: Readiness::default(),
            metrics: MetricsRegistry::default(),
            settings: self.settings.clone(),
            identity: "scenario".to_owned(),
        };
        let task = tokio::spawn(async move { crate::controllers::istio::run(context).await.unwrap() });
        Operator { shutdown, task }
    }

    /// Creates a resource in the operator's namespace.
    #[allow(clippy::needless_pass_by_value, reason = "scenarios write the spec where it is needed")]
    pub(super) fn create(&self, name: &str, spec: Value) {
        self.create_in(NAMESPACE, name, &spec, "2026-01-01T00:00:00Z");
    }

    /// Creates a resource of this age.
    pub(super) fn create_in(&self, namespace: &str, name: &str, spec: &Value, created: &str) {
        self.server.put(json!({"apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created}, "spec": spec}));
    }

    /// Starts an operator on a cluster with the resource `default`, and waits until Istio is installed.
    pub(super) async fn installed(&self) -> Operator {
        self.create("default", json!({}));
        let operator = self.start();
        self.until_state("Ready").await;
        operator
    }

    /// Merge-patches the resource `default` as its user does.
    pub(super) fn edit(&self, patch: Value) {
        self.server.patch_as("kubectl", "istios", NAMESPACE, "default", patch).unwrap();
    }

    /// Deletes the resource `default` as its user does.
    pub(super) fn delete(&self) {
        self.server.delete("istios", NAMESPACE, "default");
    }

    pub(super) fn istio(&self, name: &str) -> Option<Value> {
        self.server.get("istios", NAMESPACE, name)
    }

    /// The status of the resource `default`.
    pub(super) fn status(&self) -> Value {
        self.istio("default").unwrap_or_default()["status"].clone()
    }

    /// Status and reason of a condition of the resource `default`.
    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        condition_of(&self.istio("default").unwrap_or_default(), kind)
    }

    /// An object of the control plane's namespace.
    pub(super) fn object(&self, resource: &str, name: &str) -> Option<Value> {
        self.server.get(resource, ISTIO, name)
    }

    /// Waits, in simulated time, until the objects are as wanted.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let waiting = async {
            let mut seen = self.server.version();
            while !wanted(self) {
                seen = self.server.changed_after(seen).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let last: Vec<String> =
                self.server.requests().iter().rev().take(30).map(ApiRequest::summary).collect();
            panic!("{what}: {:#}\nlast requests:\n{}", self.status(), last.join("\n"));
        }
    }

    /// Waits until the state of the resource `default` is this one, for its present generation.
    pub(super) async fn until_state(&self, state: &str) {
        self.until(state, |cluster| {
            let resource = cluster.istio("default").unwrap_or_default();
            resource["status"]["state"] == state
                && resource["status"]["observedGeneration"] == resource["metadata"]["generation"]
        })
        .await;
    }

    /// Waits until the Ready condition of the resource `default` has this reason.
    pub(super) async fn until_reason(&self, reason: &str) {
        self.until(reason, |cluster| cluster.condition("Ready").1 == reason).await;
    }

    /// Waits, in simulated time, until a request is held.
    pub(super) async fn until_held(&self, hold: &FaultHandle) {
        for _ in 0..PATIENCE.as_secs() {
            if hold.in_flight() > 0 {
                return;
            }
            self.pass(1).await;
        }
        panic!("no request is held: {:#}", self.status());
    }

    /// Lets simulated time pass.
    pub(super) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// The writes so far, but those of the status, of Events and of what the data plane remembers.
    pub(super) fn writes(&self) -> Vec<String> {
        let is_content = |request: &ApiRequest| {
            request.subresource != "status"
                && request.resource != "events"
                && !request.name.starts_with("istio-manager-restarts")
                && request.body["metadata"]["name"] != "istio-manager-restarts"
        };
        let writes = self.server.matching(&RequestMatcher::writes());
        writes.iter().filter(|request| is_content(request)).map(ApiRequest::summary).collect()
    }

    /// Reasons of the Events so far.
    pub(super) fn events(&self) -> Vec<String> {
        let events = self.server.list("events.events.k8s.io", "");
        events.iter().map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Kinds and names of the objects that the inventory lists; empty without one.
    pub(super) fn inventory(&self) -> Vec<(String, String)> {
        let Some(secret) = self.server.get("secrets", NAMESPACE, INVENTORY) else { return Vec::new() };
        let data: k8s_openapi::ByteString =
            serde_json::from_value(secret["data"]["objects"].clone()).unwrap();
        let objects: Vec<Value> = serde_json::from_slice(&data.0).unwrap();
        let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
        objects.iter().map(|object| (text(object, "kind"), text(object, "name"))).collect()
    }
}

/// Status and reason of a condition.
pub(super) fn condition_of(resource: &Value, kind: &str) -> (String, String) {
    let conditions = resource["status"]["conditions"].as_array();
    let condition = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    let text = |field: &str| {
        condition.map_or("", |condition| condition[field].as_str().unwrap_or_default()).to_owned()
    };
    (text("status"), text("reason"))
}

/// Requests that write an object of this kind and name.
pub(super) fn write_of(resource: &str, name: &str) -> RequestMatcher {
    RequestMatcher::verb(Verb::Patch).resource(resource).named(name)
}

fn settings() -> OperatorSettings {
    OperatorSettings {
        charts_dir: None,
        istio_version: None,
        allow_patches: false,
        override_mode: OverrideMode::Restricted,
        administrator_values: AdministratorValues::default(),
        feature_stage: FeatureStage::Stable,
        install_timeout: Duration::from_secs(360),
        reconciliation_interval: Duration::from_secs(36_000),
        failure_base_delay: Duration::from_secs(1),
        failure_max_delay: Duration::from_secs(60),
        rate_limiter_frequency: 10,
        rate_limiter_burst: 100,
        report_restarts_only: false,
    }
}

/// Workloads that a scenario keeps from rolling out have this label.
pub(super) const STUCK_LABEL: &str = "scenario/stuck";

fn is_stuck(change: &ObjectChange<'_>) -> bool {
    !change.object["metadata"]["labels"][STUCK_LABEL].is_null()
}

/// istiod writes its certificate into the injectors that call it.
fn istiod_completes_injectors(change: &ObjectChange<'_>) -> Vec<Reaction> {
    if !change.is_present("MutatingWebhookConfiguration") {
        return Vec::new();
    }
    let webhooks = change.object["webhooks"].as_array().cloned().unwrap_or_default();
    let lacks = |webhook: &Value| webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default().is_empty();
    if !webhooks.iter().any(lacks) {
        return Vec::new();
    }
    let completed: Vec<Value> = webhooks
        .into_iter()
        .map(|mut webhook| {
            webhook["clientConfig"]["caBundle"] = json!("Y2E=");
            webhook
        })
        .collect();
    vec![Reaction::Patch {
        resource: "mutatingwebhookconfigurations".to_owned(),
        namespace: String::new(),
        name: change.object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        manager: "pilot-discovery".to_owned(),
        patch: json!({"webhooks": completed}),
    }]
}
