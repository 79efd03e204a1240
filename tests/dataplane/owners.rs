//! Workloads of every owner kind, and what is expected of each when its sidecars are outdated.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::bed::Result;
use crate::mesh::{Mesh, template, workload};

/// What is expected of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// One patch of its template, and all its pods are replaced.
    RollsOut,
    /// One patch of the time at which Argo restarts it.
    RestartsAt,
    /// Each pod is evicted once; the workload itself is not changed.
    Evicted,
    /// Nothing is changed; the report has this block reason.
    Blocked(&'static str),
    /// Nothing is changed or reported.
    UpToDate,
}

use ExpectedOutcome::{Blocked, Evicted, RestartsAt, RollsOut, UpToDate};

/// One workload with what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub namespace: &'static str,
    pub object: Value,
    pub outcome: ExpectedOutcome,
    /// How many pods it has.
    pub pods: usize,
    /// The kind that owns it, in its namespace and under the name `owner`.
    owner: Option<&'static str>,
}

impl Case {
    fn new(object: Value, outcome: ExpectedOutcome) -> Self {
        let pods = match (object["kind"].as_str(), object["spec"]["replicas"].as_u64()) {
            (Some("DaemonSet"), _) => 3,
            (_, Some(replicas)) => usize::try_from(replicas).unwrap_or(0),
            _ => 1,
        };
        Self { namespace: "shop", object, outcome, pods, owner: None }
    }

    fn in_namespace(self, namespace: &'static str) -> Self {
        Self { namespace, ..self }
    }

    fn owned_by(self, owner: &'static str) -> Self {
        Self { owner: Some(owner), ..self }
    }

    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }
}

const PREFIX: &str = "restarter.istio-operator.kyma-project.io";

fn deployment(name: &str) -> Value {
    workload("Deployment", name, 2)
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut object;
    for key in pointer.split('/') {
        at = &mut at[key];
    }
    *at = value;
    object
}

fn with_restart_annotation(object: Value, key: &str, value: &str) -> Value {
    with(object, "metadata/annotations", json!({format!("{PREFIX}/{key}"): value}))
}

/// With an annotation on its pods.
fn with_pod_annotation(object: Value, key: &str, value: &str) -> Value {
    with(object, "spec/template/metadata/annotations", json!({key: value}))
}

/// With one more label on its pods.
fn with_pod_label(mut object: Value, key: &str, value: &str) -> Value {
    object["spec"]["template"]["metadata"]["labels"][key] = json!(value);
    object
}

fn with_strategy(object: Value, strategy: Value) -> Value {
    with(object, "spec/strategy", strategy)
}

fn with_update(object: Value, strategy: Value) -> Value {
    with(object, "spec/updateStrategy", strategy)
}

fn without_surge(object: Value) -> Value {
    with_strategy(object, json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}))
}

fn single(name: &str) -> Value {
    workload("Deployment", name, 1)
}

/// A proxy that the template declares itself.
fn with_declared_proxy(name: &str, image: &str) -> Value {
    let mut object = deployment(name);
    let containers = &mut object["spec"]["template"]["spec"]["containers"];
    if let Some(containers) = containers.as_array_mut() {
        containers.push(json!({"name": "istio-proxy", "image": image}));
    }
    object
}

fn gateway(name: &str) -> Value {
    let mut object = with_pod_annotation(deployment(name), "inject.istio.io/templates", "gateway");
    object["spec"]["template"]["spec"]["containers"] = json!([{"name": "istio-proxy", "image": "auto"}]);
    with_pod_label(object, "sidecar.istio.io/inject", "true")
}

/// A pod template whose pods run until somebody ends them, which those of Jobs otherwise do not do here.
fn long_running_template(name: &str) -> Value {
    let mut template = template(name);
    template["metadata"]["labels"][testbed::KEEP_RUNNING_LABEL] = json!("true");
    template["spec"]["restartPolicy"] = json!("Never");
    template
}

fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": long_running_template(name)}})
}

fn replication_controller(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"app": name}, "template": template(name)}})
}

fn bare(name: &str) -> Value {
    let mut pod = template(name);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod
}

/// A resource of a kind that only its own controller knows.
fn custom(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": {"replicas": 2}})
}

fn rollout(name: &str) -> Value {
    let mut object = workload("Rollout", name, 2);
    object["apiVersion"] = json!("argoproj.io/v1alpha1");
    object
}

/// The cases, more than fifty.
pub fn cases(closed_window: &str) -> Vec<Case> {
    let plain = (1..=12).map(|number| Case::new(deployment(&format!("plain-{number}")), RollsOut));
    plain
        .chain(deployments(closed_window))
        .chain(sets())
        .chain(others())
        .chain(in_other_namespaces())
        .collect()
}

fn deployments(closed_window: &str) -> Vec<Case> {
    let unsurged = |name: &str| without_surge(single(name));
    vec![
        Case::new(single("one-with-surge"), RollsOut),
        Case::new(unsurged("one-without-surge"), Blocked("would_interrupt")),
        Case::new(with_restart_annotation(unsurged("one-allowed"), "allow-interruption", "true"), RollsOut),
        Case::new(
            with_strategy(deployment("recreate"), json!({"type": "Recreate"})),
            Blocked("would_interrupt"),
        ),
        Case::new(
            with_restart_annotation(
                with_strategy(deployment("recreate-in-window"), json!({"type": "Recreate"})),
                "maintenance-window",
                "00:00-24:00",
            ),
            RollsOut,
        ),
        Case::new(
            with_restart_annotation(deployment("closed"), "maintenance-window", closed_window),
            Blocked("outside_window"),
        ),
        Case::new(
            with_restart_annotation(deployment("nonsense"), "maintenance-window", "soon"),
            Blocked("window_invalid"),
        ),
        Case::new(with_restart_annotation(deployment("excluded"), "exclude", "true"), Blocked("excluded")),
        Case::new(deployment("paused"), Blocked("paused")),
        Case::new(deployment("budget-kept"), RollsOut),
        Case::new(without_surge(deployment("budget-broken")), Blocked("disruption_budget")),
        Case::new(
            with_pod_annotation(deployment("own-image"), "sidecar.istio.io/proxyImage", "example.com/p:1"),
            UpToDate,
        ),
        Case::new(
            with_pod_annotation(deployment("own-amounts"), "sidecar.istio.io/proxyCPU", "20m"),
            RollsOut,
        ),
        Case::new(with_pod_label(deployment("not-injected"), "sidecar.istio.io/inject", "false"), UpToDate),
        Case::new(
            with_pod_annotation(deployment("native"), "sidecar.istio.io/nativeSidecar", "true"),
            RollsOut,
        ),
        Case::new(
            with_pod_annotation(deployment("not-native"), "sidecar.istio.io/nativeSidecar", "false"),
            RollsOut,
        ),
        Case::new(with_declared_proxy("declares-proxy", "auto"), RollsOut),
        Case::new(with_declared_proxy("declares-image", "example.com/own-proxy:1"), UpToDate),
        Case::new(
            with(deployment("module"), "metadata/labels", json!({"kyma-project.io/module": "billing"})),
            RollsOut,
        ),
        Case::new(gateway("gateway"), RollsOut),
    ]
}

fn sets() -> Vec<Case> {
    let partition = |partition: i64| json!({"rollingUpdate": {"partition": partition}});
    vec![
        Case::new(workload("StatefulSet", "set", 3), RollsOut),
        Case::new(workload("StatefulSet", "set-of-one", 1), Blocked("would_interrupt")),
        Case::new(with_update(workload("StatefulSet", "set-partition", 3), partition(2)), Evicted),
        Case::new(with_update(workload("StatefulSet", "set-canary", 3), partition(2)), Evicted),
        Case::new(
            with_update(workload("StatefulSet", "set-on-delete", 2), json!({"type": "OnDelete"})),
            Evicted,
        ),
        Case::new(
            with_update(workload("StatefulSet", "set-withheld", 2), json!({"type": "OnDelete"})),
            Blocked("template_update_pending"),
        ),
        Case::new(workload("DaemonSet", "agent", 0), RollsOut),
        Case::new(
            with_update(workload("DaemonSet", "agent-on-delete", 0), json!({"type": "OnDelete"})),
            Evicted,
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        Case::new(workload("ReplicaSet", "unmanaged", 2), Evicted),
        Case::new(replication_controller("controller"), Evicted),
        Case::new(job("job"), Blocked("job")),
        Case { pods: 1, ..Case::new(cron_job("nightly"), Blocked("cron_job")) },
        Case::new(bare("bare"), Blocked("bare_pod")),
        Case::new(rollout("argo"), RestartsAt),
        Case::new(custom("example.com/v1", "CloneSet", "clones"), Evicted),
        Case::new(custom("example.com/v1", "Widget", "widget"), Blocked("unknown_owner")),
        Case::new(deployment("owned"), RollsOut).owned_by("Widget"),
        Case::new(workload("ReplicaSet", "owned-set", 2), Evicted).owned_by("Widget"),
        Case::new(job("owned-job"), Blocked("job")).owned_by("Widget"),
    ]
}

fn in_other_namespaces() -> Vec<Case> {
    let opted_in = |name: &str| with_pod_label(deployment(name), "sidecar.istio.io/inject", "true");
    let open = with_restart_annotation(deployment("open"), "maintenance-window", "00:00-24:00");
    vec![
        Case::new(opted_in("asks"), RollsOut).in_namespace("unlabelled"),
        Case::new(deployment("revision"), RollsOut).in_namespace("revision"),
        Case::new(deployment("leaves"), Blocked("report_only")).in_namespace("leaving"),
        Case::new(deployment("quiet"), Blocked("excluded")).in_namespace("quiet"),
        Case::new(with_restart_annotation(deployment("loud"), "exclude", "false"), RollsOut)
            .in_namespace("quiet"),
        Case::new(deployment("shut"), Blocked("outside_window")).in_namespace("shut"),
        Case::new(open, RollsOut).in_namespace("shut"),
        Case::new(opted_in("kyma"), RollsOut).in_namespace("kyma-system"),
    ]
}

fn cron_job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": long_running_template(name)}}}})
}

/// The API of any kind.
pub fn api(
    client: Client,
    namespace: &str,
    api_version: &str,
    kind: &str,
) -> (Api<DynamicObject>, ApiResource) {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    (Api::namespaced_with(client, namespace, &resource), resource)
}

impl Mesh<'_> {
    /// Creates namespaces, kinds and workloads of the cases.
    pub async fn make_cases(&self, cases: &[Case], closed_window: &str) -> Result {
        let enabled = [("istio-injection", "enabled")];
        for name in ["shop", "leaving", "quiet", "shut"] {
            self.0.create_namespace(name, &enabled).await?;
        }
        self.0.create_namespace("unlabelled", &[]).await?;
        self.0.create_namespace("revision", &[("istio.io/rev", "default")]).await?;
        self.annotate_namespace("quiet", "exclude", "true").await?;
        self.annotate_namespace("shut", "maintenance-window", closed_window).await?;
        for (kind, group, has_scale) in [
            ("Rollout", "argoproj.io", false),
            ("CloneSet", "example.com", true),
            ("Widget", "example.com", false),
        ] {
            self.create_crd(kind, group, has_scale).await?;
        }
        self.object("shop", custom("example.com/v1", "Widget", "owner")).await?;
        for case in cases {
            self.make_case(case).await?;
        }
        Ok(())
    }

    async fn make_case(&self, case: &Case) -> Result {
        let mut object = case.object.clone();
        if let Some(owner) = case.owner {
            object["metadata"]["ownerReferences"] =
                json!([self.reference(case.namespace, "example.com/v1", owner, "owner").await?]);
        }
        let created = self.object(case.namespace, object).await?;
        let reference = json!({"apiVersion": case.object["apiVersion"], "kind": case.kind(), "name": case.name(),
            "uid": created.uid(), "controller": true});
        match case.kind() {
            "CronJob" => {
                let mut run = job(case.name());
                run["metadata"] =
                    json!({"name": format!("{}-1", case.name()), "ownerReferences": [reference]});
                self.object(case.namespace, run).await?;
            }
            "Rollout" => self.create_argo_replica_set(case, &reference).await?,
            "CloneSet" | "Widget" => {
                for _ in 0..case.pods {
                    self.object(case.namespace, pod_of(case.name(), &reference)).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The `ReplicaSet` that Argo's controller creates for a Rollout.
    async fn create_argo_replica_set(&self, case: &Case, reference: &Value) -> Result {
        const HASH: &str = "7d4b9c";
        const KEY: &str = "rollouts-pod-template-hash";
        let mut set =
            with_pod_label(workload("ReplicaSet", &format!("{}-{HASH}", case.name()), 2), KEY, HASH);
        set["spec"]["template"]["metadata"]["labels"]["app"] = json!(case.name());
        set["spec"]["selector"]["matchLabels"] = json!({"app": case.name(), KEY: HASH});
        set["metadata"]["ownerReferences"] = json!([reference]);
        self.object(case.namespace, set).await?;
        Ok(())
    }

    /// Creates an object of any kind.
    pub async fn object(&self, namespace: &str, object: Value) -> Result<DynamicObject> {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (api, _) = api(self.0.client(), namespace, &text("apiVersion"), &text("kind"));
        let created = api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await;
        Ok(created.map_err(|error| format!("{error}: {object}"))?)
    }

    async fn reference(&self, namespace: &str, api_version: &str, kind: &str, name: &str) -> Result<Value> {
        let owner = api(self.0.client(), namespace, api_version, kind).0.get(name).await?;
        Ok(
            json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": owner.uid(), "controller": true}),
        )
    }

    async fn annotate_namespace(&self, name: &str, key: &str, value: &str) -> Result {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {format!("{PREFIX}/{key}"): value}}}));
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.0.client());
        api.patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Creates a custom kind and waits until it is served.
    pub async fn create_crd(&self, kind: &str, group: &str, has_scale: bool) -> Result {
        use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
        let plural = format!("{}s", kind.to_lowercase());
        let version = if group == "argoproj.io" { "v1alpha1" } else { "v1" };
        let mut subresources = json!({"status": {}});
        if has_scale {
            subresources["scale"] =
                json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
        }
        let name = format!("{plural}.{group}");
        let crd = json!({
            "metadata": {"name": name},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{"name": version, "served": true, "storage": true, "subresources": subresources,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
            },
        });
        let api: Api<CustomResourceDefinition> = Api::all(self.0.client());
        api.create(&PostParams::default(), &serde_json::from_value(crd)?).await?;
        let served = |crd: Option<&CustomResourceDefinition>| {
            let status = crd.and_then(|definition| definition.status.as_ref());
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Established" && c.status == "True"))
        };
        self.0.wait_for(api, &name, "served kind", crate::bed::DEADLINE, served).await?;
        Ok(())
    }

    /// What owners do between the creation of their workloads and the upgrade.
    pub async fn act_as_owners(&self) -> Result {
        let client = self.0.client();
        let change = async |namespace: &str, kind: &str, name: &str, patch: Value| -> Result {
            let (api, _) = api(client.clone(), namespace, "apps/v1", kind);
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            Ok(())
        };
        change("shop", "Deployment", "paused", json!({"spec": {"paused": true}})).await?;
        // One follows its template with some pods, the other with none, until its owner goes on.
        for name in ["set-canary", "set-withheld"] {
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {"change": "1"}}}}});
            change("shop", "StatefulSet", name, patch).await?;
        }
        for (name, minimum) in [("budget-kept", 1), ("budget-broken", 2)] {
            let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
                "spec": {"minAvailable": minimum, "selector": {"matchLabels": {"app": name}}}});
            self.object("shop", budget).await?;
        }
        let labels = json!({"metadata": {"labels": {"istio-injection": null, "istio.io/rev": "elsewhere"}}});
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        namespaces.patch("leaving", &PatchParams::default(), &Patch::Merge(labels)).await?;
        Ok(())
    }

    /// Acts as the controllers of the kinds of others: restarts what Argo is asked to restart, and replaces clones.
    /// Never ends.
    pub async fn act_as_controllers(&self) -> Result<std::convert::Infallible> {
        loop {
            self.act_as_argo().await?;
            self.act_as_clone_controller().await?;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    async fn act_as_argo(&self) -> Result {
        let (api, _) = api(self.0.client(), "shop", "argoproj.io/v1alpha1", "Rollout");
        let Some(argo) = api.get_opt("argo").await? else { return Ok(()) };
        let restart_at = argo.data["spec"]["restartAt"].clone();
        let is_observed = argo.data["status"]["observedGeneration"].as_str()
            == Some(&argo.metadata.generation.unwrap_or(0).to_string());
        if is_observed {
            return Ok(());
        }
        if !restart_at.is_null() {
            for pod in self.pods("shop", "argo").await? {
                let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.0.client(), "shop");
                pods.delete(&pod.name_any(), &kube::api::DeleteParams::default()).await?;
            }
            self.wait_until_ready("shop", "argo").await?;
        }
        let status = json!({"status": {"phase": "Healthy", "restartedAt": restart_at,
            "observedGeneration": argo.metadata.generation.unwrap_or(0).to_string()}});
        api.patch_status("argo", &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    async fn act_as_clone_controller(&self) -> Result {
        let (api, _) = api(self.0.client(), "shop", "example.com/v1", "CloneSet");
        let Some(clones) = api.get_opt("clones").await? else { return Ok(()) };
        let wanted = clones.data["spec"]["replicas"].as_u64().unwrap_or(0);
        let reference = self.reference("shop", "example.com/v1", "CloneSet", "clones").await?;
        let live = self.pods("shop", "clones").await?;
        let live = live.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
        for _ in live..usize::try_from(wanted).unwrap_or(0) {
            self.object("shop", pod_of("clones", &reference)).await?;
        }
        Ok(())
    }
}

fn pod_of(name: &str, reference: &Value) -> Value {
    let mut pod = bare(name);
    pod["metadata"] =
        json!({"generateName": format!("{name}-"), "labels": {"app": name}, "ownerReferences": [reference]});
    pod
}
