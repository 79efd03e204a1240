//! Pods that fail on demand. A pod fails while it carries the label [`FAIL_LABEL`]; what that looks like in its status
//! is written in the stages of kwok. Here is who gets the label.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError};

/// The label that makes a pod fail; its value is [`Failure::as_str`]. A workload's own template may carry it.
pub const FAIL_LABEL: &str = "testbed.dev/fail";

/// In which way a pod fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Stays `Pending` with `ContainerCreating`, as when a volume cannot be mounted.
    Hang,
    /// Its containers are in `CrashLoopBackOff`.
    Crash,
    /// Its images are in `ImagePullBackOff`.
    Pull,
    /// Its containers run, but their readiness probes fail.
    Unready,
}

impl Failure {
    pub(crate) const ALL: [Self; 4] = [Self::Hang, Self::Crash, Self::Pull, Self::Unready];

    /// The value of the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::Pull => "pull",
            Self::Unready => "unready",
        }
    }
}

impl Cluster {
    /// Lets all pods in `namespace` whose names start with `name_prefix` fail: those there are and those to come.
    ///
    /// For pods whose template the test does not own, such as Istio's. Returns when it holds for new pods.
    pub async fn fail_pods(
        &self,
        namespace: &str,
        name_prefix: &str,
        failure: Failure,
    ) -> Result<(), ClusterError> {
        self.fail_new_pods(namespace, name_prefix, failure).await?;
        self.label_pods(namespace, name_prefix, json!(failure.as_str())).await
    }

    /// As [`Cluster::fail_pods`], but for pods to come only.
    pub async fn fail_new_pods(
        &self,
        namespace: &str,
        name_prefix: &str,
        failure: Failure,
    ) -> Result<(), ClusterError> {
        let name = policy_name(namespace, name_prefix);
        self.create_policy(&name, namespace, name_prefix, failure).await?;
        self.await_policy(namespace, name_prefix, failure).await
    }

    /// Ends what [`Cluster::fail_pods`] with the same arguments began; the pods become ready.
    pub async fn stop_failing_pods(&self, namespace: &str, name_prefix: &str) -> Result<(), ClusterError> {
        let name = policy_name(namespace, name_prefix);
        for kind in ["MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"] {
            let deleted = self.admission(kind).delete(&name, &DeleteParams::default()).await;
            deleted.map_err(ClusterError::api("delete", &name))?;
        }
        // Deleted policies act for moments longer: until a new pod stays without the label, removing it is no use.
        self.await_label_of_new_pods(namespace, name_prefix, None).await?;
        self.label_pods(namespace, name_prefix, Value::Null).await
    }

    async fn create_policy(
        &self,
        name: &str,
        namespace: &str,
        name_prefix: &str,
        failure: Failure,
    ) -> Result<(), ClusterError> {
        // Of most pods only the generateName is known when they are admitted.
        let names = format!(
            "(has(object.metadata.name) ? object.metadata.name : object.metadata.generateName).startsWith('{name_prefix}')"
        );
        let label = format!(
            "Object{{metadata: Object.metadata{{labels: {{'{FAIL_LABEL}': '{}'}}}}}}",
            failure.as_str()
        );
        let policy = json!({
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["pods"]}],
            },
            "matchConditions": [{"name": "name", "expression": names}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": label}}],
        });
        self.create_admission("MutatingAdmissionPolicy", name, policy).await?;
        self.create_admission("MutatingAdmissionPolicyBinding", name, json!({"policyName": name})).await
    }

    async fn create_admission(&self, kind: &str, name: &str, spec: Value) -> Result<(), ClusterError> {
        let object = DynamicObject::new(name, &admission_resource(kind)).data(json!({"spec": spec}));
        let created = self.admission(kind).create(&PostParams::default(), &object).await;
        created.map(|_| ()).map_err(ClusterError::api("create", name))
    }

    fn admission(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client(), &admission_resource(kind))
    }

    async fn await_policy(
        &self,
        namespace: &str,
        name_prefix: &str,
        failure: Failure,
    ) -> Result<(), ClusterError> {
        self.await_label_of_new_pods(namespace, name_prefix, Some(failure.as_str())).await
    }

    /// Asks with dry runs, since the API server does not tell when it acts on a policy.
    async fn await_label_of_new_pods(
        &self,
        namespace: &str,
        name_prefix: &str,
        wanted: Option<&str>,
    ) -> Result<(), ClusterError> {
        const DEADLINE: Duration = Duration::from_secs(30);
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let probe = probe_pod(name_prefix);
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            let pod =
                pods.create(&dry_run, &probe).await.map_err(ClusterError::api("dry-run", name_prefix))?;
            if pod
                .metadata
                .labels
                .iter()
                .flatten()
                .find(|(key, _)| *key == FAIL_LABEL)
                .map(|(_, v)| v.as_str())
                == wanted
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let what = format!("new pods {name_prefix}* in {namespace} with {FAIL_LABEL}={wanted:?}");
        Err(ClusterError::NotInTime { what, after: DEADLINE, seen: String::new() })
    }

    async fn label_pods(&self, namespace: &str, name_prefix: &str, value: Value) -> Result<(), ClusterError> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let list =
            pods.list(&ListParams::default()).await.map_err(ClusterError::api("list pods of", namespace))?;
        let names = list.items.into_iter().filter_map(|pod| pod.metadata.name);
        let patch = Patch::Merge(json!({"metadata": {"labels": {FAIL_LABEL: value}}}));
        for name in names.filter(|name| name.starts_with(name_prefix)) {
            match pods.patch(&name, &PatchParams::default(), &patch).await {
                Ok(_) => {}
                // Gone between the list and the patch.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(ClusterError::api("label", &name)(error)),
            }
        }
        Ok(())
    }
}

fn policy_name(namespace: &str, name_prefix: &str) -> String {
    format!("testbed-fail-{namespace}-{name_prefix}end")
}

fn admission_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind))
}

fn probe_pod(name_prefix: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.generate_name = Some(format!("{}-probe-", name_prefix.trim_end_matches('-')));
    pod.metadata.labels = Some([("sidecar.istio.io/inject".to_owned(), "false".to_owned())].into());
    let containers = vec![k8s_openapi::api::core::v1::Container {
        name: "probe".into(),
        image: Some("probe".into()),
        ..Default::default()
    }];
    pod.spec = Some(k8s_openapi::api::core::v1::PodSpec { containers, ..Default::default() });
    pod
}
