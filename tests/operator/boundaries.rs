//! What the operator's ServiceAccount must not be able to do, asked of the API server by real requests; and that its access to
//! the control plane's namespace comes and goes as it should.

use http::{Method, Request};
use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, DEADLINE, NAMESPACE, Result, USER};
use crate::bundle::{Variant, derive};
use crate::removal::assert_nothing_is_left;

/// The namespace of a tenant.
const SHOP: &str = "shop";
const CONTROL_PLANE_ROLE: &str = "istio-manager-control-plane";

/// One request of a stolen token.
struct Attempt {
    what: &'static str,
    method: Method,
    path: String,
    content_type: &'static str,
    body: Value,
    /// Whether the administrator can make the same request: then nothing but permissions can be what refuses it.
    is_possible: bool,
}

fn attempt(what: &'static str, method: Method, path: impl Into<String>, body: Value) -> Attempt {
    let content_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    Attempt { what, method, path: path.into(), content_type, body, is_possible: true }
}

fn create(what: &'static str, path: &str, object: Value) -> Attempt {
    attempt(what, Method::POST, path, object)
}

fn patch(what: &'static str, path: &str, body: Value) -> Attempt {
    attempt(what, Method::PATCH, path, body)
}

fn delete(what: &'static str, path: &str) -> Attempt {
    attempt(what, Method::DELETE, path, Value::Null)
}

/// A server-side apply, which can create as well as change.
fn apply(what: &'static str, path: &str, object: Value) -> Attempt {
    let path = format!("{path}?fieldManager=mallory&force=true");
    Attempt { content_type: "application/apply-patch+yaml", ..attempt(what, Method::PATCH, path, object) }
}

/// A request that changes no object, which a dry run as the administrator cannot show to be possible.
fn connect(what: &'static str, method: Method, path: &str) -> Attempt {
    Attempt { is_possible: false, ..attempt(what, method, path, Value::Null) }
}

impl Attempt {
    fn request(&self, is_dry_run: bool) -> Result<Request<Vec<u8>>> {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let dry_run = if is_dry_run { format!("{separator}dryRun=All") } else { String::new() };
        let body = if self.body.is_null() { Vec::new() } else { serde_json::to_vec(&self.body)? };
        Ok(Request::builder()
            .method(&self.method)
            .uri(format!("{}{dry_run}", self.path))
            .header("content-type", self.content_type)
            .body(body)?)
    }
}

/// The code of an error, or `None` for success.
async fn answer(client: &Client, request: Request<Vec<u8>>) -> Result<Option<(u16, String)>> {
    match client.request_text(request).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some((status.code, status.message.clone()))),
        Err(error) => Err(error.into()),
    }
}

fn token_secret(account: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"generateName": "mallory-", "annotations": {"kubernetes.io/service-account.name": account}}})
}

fn named(api_version: &str, kind: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "mallory"}});
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

fn pod_spec() -> Value {
    json!({"serviceAccountName": "default", "containers": [{"name": "app", "image": "example.com/app:1"}]})
}

fn workload(kind: &str) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "mallory"}},
        "template": {"metadata": {"labels": {"app": "mallory"}}, "spec": pod_spec()},
    });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("mallory");
    }
    named("apps/v1", kind, json!({"spec": spec}))
}

fn job_spec() -> Value {
    let mut spec = pod_spec();
    spec["restartPolicy"] = json!("Never");
    json!({"template": {"spec": spec}})
}

/// A webhook that is called for nothing.
fn webhook(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": [{
            "name": "foreign.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore", "clientConfig": {"url": "https://127.0.0.1:1/"},
            "objectSelector": {"matchLabels": {"not": "there"}},
        }],
    })
}

fn binding(kind: &str, role_kind: &str, role: &str) -> Value {
    named(
        "rbac.authorization.k8s.io/v1",
        kind,
        json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": "istio-controller-manager"}],
        }),
    )
}

fn everything() -> Value {
    json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
}

fn rules(kind: &str) -> Value {
    named("rbac.authorization.k8s.io/v1", kind, json!({"rules": everything()}))
}

/// Credentials and data of others.
fn credentials() -> Vec<Attempt> {
    let kube_system = "/api/v1/namespaces/kube-system";
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    let config_map = || named("v1", "ConfigMap", json!({"data": {"a": "b"}}));
    let lease = || named("coordination.k8s.io/v1", "Lease", json!({"spec": {"holderIdentity": "mallory"}}));
    vec![
        create("mint a token", &format!("{kube_system}/serviceaccounts/default/token"), request.clone()),
        create("mint a token of istiod", "/api/v1/namespaces/istio-system/serviceaccounts/istiod/token", request),
        create("have a token made in kube-system", &format!("{kube_system}/secrets"), token_secret("default")),
        create("have a token made in a tenant's namespace", "/api/v1/namespaces/shop/secrets", token_secret("default")),
        create("have a token made of its neighbours", "/api/v1/namespaces/kyma-system/secrets", token_secret("default")),
        create("have a token made of istiod", "/api/v1/namespaces/istio-system/secrets", token_secret("istiod")),
        create("create a Secret of its own", "/api/v1/namespaces/kyma-system/secrets", named("v1", "Secret", json!({}))),
        create("create a Secret", "/api/v1/namespaces/default/secrets", named("v1", "Secret", json!({}))),
        patch("change a Secret", "/api/v1/namespaces/shop/secrets/own", json!({"data": {"a": "YQ=="}})),
        delete("delete a Secret", "/api/v1/namespaces/shop/secrets/own"),
        create("create a ConfigMap", &format!("{kube_system}/configmaps"), config_map()),
        apply("apply a ConfigMap", &format!("{kube_system}/configmaps/mallory"), config_map()),
        apply("change a ConfigMap", "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt", named("v1", "ConfigMap", json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "forged"}}))),
        delete("delete a ConfigMap", "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt"),
        create("create a ConfigMap beside its own", "/api/v1/namespaces/kyma-system/configmaps", config_map()),
        create("create a Lease", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", lease()),
        create("create a Lease elsewhere", "/apis/coordination.k8s.io/v1/namespaces/default/leases", lease()),
        create("request a certificate", "/apis/certificates.k8s.io/v1/certificatesigningrequests", named("certificates.k8s.io/v1", "CertificateSigningRequest", json!({"spec": {"request": "", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}))).impossible(),
    ]
}

/// Definitions, webhooks, policies and namespaces.
fn cluster() -> Vec<Attempt> {
    let hooks = "/apis/admissionregistration.k8s.io/v1";
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let labels = || json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "names": {"kind": "Thing", "plural": "things"}, "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let policy = |name: &str| format!("{hooks}/validatingadmissionpolicies/{name}");
    vec![
        delete("delete a namespace", "/api/v1/namespaces/shop"),
        patch("relabel kube-system", "/api/v1/namespaces/kube-system", labels()),
        patch("relabel a tenant's namespace", "/api/v1/namespaces/shop", labels()),
        create("create a namespace", "/api/v1/namespaces", named("v1", "Namespace", json!({}))),
        create("create a definition", crds, crd),
        patch("change a foreign definition", &format!("{crds}/istios.operator.kyma-project.io"), labels()),
        delete("delete a foreign definition", &format!("{crds}/istios.operator.kyma-project.io")),
        create(
            "create a mutating webhook",
            &format!("{hooks}/mutatingwebhookconfigurations"),
            webhook("MutatingWebhookConfiguration", "mallory"),
        ),
        patch(
            "change a foreign mutating webhook",
            &format!("{hooks}/mutatingwebhookconfigurations/foreign"),
            labels(),
        ),
        delete(
            "delete a foreign mutating webhook",
            &format!("{hooks}/mutatingwebhookconfigurations/foreign"),
        ),
        create(
            "create a validating webhook",
            &format!("{hooks}/validatingwebhookconfigurations"),
            webhook("ValidatingWebhookConfiguration", "mallory"),
        ),
        attempt(
            "replace a foreign validating webhook",
            Method::PUT,
            format!("{hooks}/validatingwebhookconfigurations/foreign"),
            webhook("ValidatingWebhookConfiguration", "foreign"),
        ),
        delete(
            "delete a foreign validating webhook",
            &format!("{hooks}/validatingwebhookconfigurations/foreign"),
        ),
        delete("delete a policy that limits it", &policy("istio-manager-workloads")),
        patch("change a policy that limits it", &policy("istio-manager-cluster-objects"), labels()),
        delete(
            "unbind a policy that limits it",
            &format!("{hooks}/validatingadmissionpolicybindings/istio-manager-namespaced-objects"),
        ),
    ]
}

/// Permissions of its own and of others.
fn permissions() -> Vec<Attempt> {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    vec![
        create(
            "bind cluster-admin",
            &format!("{rbac}/clusterrolebindings"),
            binding("ClusterRoleBinding", "ClusterRole", "cluster-admin"),
        ),
        create(
            "bind its role of the control plane everywhere",
            &format!("{rbac}/clusterrolebindings"),
            binding("ClusterRoleBinding", "ClusterRole", CONTROL_PLANE_ROLE),
        ),
        create("create a ClusterRole with all", &format!("{rbac}/clusterroles"), rules("ClusterRole")),
        patch(
            "add to a ClusterRole of Istio",
            &format!("{rbac}/clusterroles/istiod-clusterrole-istio-system"),
            json!({"rules": everything()}),
        ),
        patch(
            "add to its own ClusterRole",
            &format!("{rbac}/clusterroles/istio-manager-role"),
            json!({"rules": everything()}),
        ),
        patch(
            "add to its role of the control plane",
            &format!("{rbac}/clusterroles/{CONTROL_PLANE_ROLE}"),
            json!({"rules": everything()}),
        ),
        patch(
            "change a binding of others",
            &format!("{rbac}/clusterrolebindings/cluster-admin"),
            json!({"subjects": []}),
        ),
        delete("delete a foreign ClusterRole", &format!("{rbac}/clusterroles/view")),
        delete("delete a foreign ClusterRoleBinding", &format!("{rbac}/clusterrolebindings/cluster-admin")),
        create(
            "bind itself in kube-system",
            &format!("{rbac}/namespaces/kube-system/rolebindings"),
            binding("RoleBinding", "ClusterRole", CONTROL_PLANE_ROLE),
        ),
        apply(
            "bind itself in a tenant's namespace",
            &format!("{rbac}/namespaces/shop/rolebindings/{CONTROL_PLANE_ROLE}"),
            {
                let mut access = binding("RoleBinding", "ClusterRole", CONTROL_PLANE_ROLE);
                access["metadata"]["name"] = json!(CONTROL_PLANE_ROLE);
                access
            },
        ),
        create(
            "bind itself beside its own role",
            &format!("{rbac}/namespaces/kyma-system/rolebindings"),
            binding("RoleBinding", "ClusterRole", CONTROL_PLANE_ROLE),
        ),
        create(
            "bind admin in istio-system",
            &format!("{rbac}/namespaces/istio-system/rolebindings"),
            binding("RoleBinding", "ClusterRole", "admin"),
        ),
        create(
            "create a Role with all in istio-system",
            &format!("{rbac}/namespaces/istio-system/roles"),
            rules("Role"),
        ),
        create("create a Role", &format!("{rbac}/namespaces/kube-system/roles"), rules("Role")),
        patch(
            "add to its own Role",
            &format!("{rbac}/namespaces/kyma-system/roles/istio-leader-election-role"),
            json!({"rules": everything()}),
        ),
        create(
            "create a PriorityClass",
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            named("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 1})),
        ),
    ]
}

/// Pods, workloads and nodes of others.
fn workloads() -> Vec<Attempt> {
    let apps = "/apis/apps/v1/namespaces";
    let app = format!("{apps}/shop/deployments/app");
    let pod = "/api/v1/namespaces/shop/pods/app";
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "example.com/mallory"}]}}}});
    let annotation =
        json!({"spec": {"template": {"metadata": {"annotations": {"sidecar.istio.io/userVolume": "{}"}}}}});
    let label = json!({"spec": {"template": {"metadata": {"labels": {"extra": "x"}}}}});
    vec![
        create(
            "create a pod",
            "/api/v1/namespaces/shop/pods",
            named("v1", "Pod", json!({"spec": pod_spec()})),
        ),
        delete("delete a pod", pod),
        patch("change a pod", pod, json!({"metadata": {"labels": {"a": "b"}}})),
        patch(
            "add a container to a pod",
            &format!("{pod}/ephemeralcontainers"),
            json!({"spec": {"ephemeralContainers": [{"name": "x", "image": "x"}]}}),
        ),
        patch("forge the status of a pod", &format!("{pod}/status"), json!({"status": {"message": "x"}})),
        connect("run a command in a pod", Method::POST, &format!("{pod}/exec?command=id&stdout=true")),
        connect("run a command in a pod by GET", Method::GET, &format!("{pod}/exec?command=id&stdout=true")),
        connect("attach to a pod", Method::POST, &format!("{pod}/attach?stdout=true")),
        connect("reach a port of a pod", Method::POST, &format!("{pod}/portforward")),
        connect("reach a pod through the API server", Method::GET, &format!("{pod}/proxy/")),
        connect("read the log of a pod", Method::GET, &format!("{pod}/log")),
        connect(
            "reach a Service through the API server",
            Method::GET,
            "/api/v1/namespaces/default/services/https:kubernetes:443/proxy/",
        ),
        connect("reach a node through the API server", Method::GET, "/api/v1/nodes/node-1/proxy/pods"),
        create(
            "create a Deployment in kube-system",
            &format!("{apps}/kube-system/deployments"),
            workload("Deployment"),
        ),
        create(
            "create a Deployment beside itself",
            &format!("{apps}/kyma-system/deployments"),
            workload("Deployment"),
        ),
        apply("apply a Deployment", &format!("{apps}/shop/deployments/mallory"), workload("Deployment")),
        patch("change the image of a Deployment", &app, image),
        patch("scale a Deployment", &app, json!({"spec": {"replicas": 7}})),
        patch("change what injection puts into pods", &app, annotation),
        patch("change the labels of pods", &app, label),
        patch(
            "give a Deployment another owner",
            &app,
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]}}),
        ),
        patch(
            "scale a Deployment by its subresource",
            &format!("{app}/scale"),
            json!({"spec": {"replicas": 7}}),
        ),
        delete("delete a Deployment", &app),
        create("create a DaemonSet", &format!("{apps}/kube-system/daemonsets"), workload("DaemonSet")),
        create("create a StatefulSet", &format!("{apps}/shop/statefulsets"), workload("StatefulSet")),
        create(
            "create a Job",
            "/apis/batch/v1/namespaces/shop/jobs",
            named("batch/v1", "Job", json!({"spec": job_spec()})),
        ),
        create(
            "create a CronJob",
            "/apis/batch/v1/namespaces/shop/cronjobs",
            named(
                "batch/v1",
                "CronJob",
                json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job_spec()}}}),
            ),
        ),
        delete("delete all pods", "/api/v1/namespaces/shop/pods"),
        patch("relabel a node", "/api/v1/nodes/node-1", json!({"metadata": {"labels": {"a": "b"}}}))
            .impossible(),
        delete("delete a node", "/api/v1/nodes/node-1").impossible(),
    ]
}

/// Traffic, quotas and policies of others.
fn traffic() -> Vec<Attempt> {
    let core = "/api/v1/namespaces";
    let istio = |group: &str, kind: &str, spec: Value| {
        named(&format!("{group}.istio.io/v1"), kind, json!({"spec": spec}))
    };
    let ports = json!({"spec": {"ports": [{"port": 80}]}});
    let autoscaler = json!({"spec": {"minReplicas": 1, "maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}}});
    vec![
        create("create a Service", &format!("{core}/kube-system/services"), named("v1", "Service", ports)),
        patch(
            "change a Service",
            &format!("{core}/default/services/kubernetes"),
            json!({"spec": {"externalIPs": ["192.0.2.1"]}}),
        ),
        patch(
            "forge the address of a Service",
            &format!("{core}/shop/services/own/status"),
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
        ),
        create(
            "create a ServiceAccount",
            &format!("{core}/kube-system/serviceaccounts"),
            named("v1", "ServiceAccount", json!({})),
        ),
        delete("delete a ServiceAccount", &format!("{core}/shop/serviceaccounts/default")),
        create(
            "create a ResourceQuota",
            &format!("{core}/shop/resourcequotas"),
            named("v1", "ResourceQuota", json!({"spec": {"hard": {"pods": "0"}}})),
        ),
        create(
            "create a NetworkPolicy",
            "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies",
            named("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": {"podSelector": {}}})),
        ),
        create(
            "create an autoscaler",
            "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers",
            named("autoscaling/v2", "HorizontalPodAutoscaler", autoscaler),
        ),
        create(
            "create a disruption budget",
            "/apis/policy/v1/namespaces/shop/poddisruptionbudgets",
            named("policy/v1", "PodDisruptionBudget", json!({"spec": {"maxUnavailable": 0, "selector": {}}})),
        ),
        create(
            "create an EnvoyFilter",
            "/apis/networking.istio.io/v1alpha3/namespaces/shop/envoyfilters",
            named("networking.istio.io/v1alpha3", "EnvoyFilter", json!({"spec": {}})),
        ),
        create(
            "create a VirtualService",
            "/apis/networking.istio.io/v1/namespaces/shop/virtualservices",
            istio(
                "networking",
                "VirtualService",
                json!({"hosts": ["x"], "http": [{"route": [{"destination": {"host": "x"}}]}]}),
            ),
        ),
        create(
            "create a WorkloadEntry",
            "/apis/networking.istio.io/v1/namespaces/shop/workloadentries",
            istio("networking", "WorkloadEntry", json!({"address": "192.0.2.1"})),
        ),
        create(
            "turn mTLS off",
            "/apis/security.istio.io/v1/namespaces/shop/peerauthentications",
            istio("security", "PeerAuthentication", json!({"mtls": {"mode": "DISABLE"}})),
        ),
        create(
            "create an AuthorizationPolicy",
            "/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies",
            istio("security", "AuthorizationPolicy", json!({})),
        ),
        delete(
            "delete the Istio resource",
            "/apis/operator.kyma-project.io/v1alpha2/namespaces/kyma-system/istios/default",
        ),
    ]
}

impl Attempt {
    /// The request may fail for the administrator, too; what counts is that the operator lacks the permission.
    fn impossible(self) -> Self {
        Self { is_possible: false, ..self }
    }
}

pub async fn what_the_operator_must_not_do_is_refused_by_the_api_server(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    bed.stop().await?;
    create_objects_of_others(control_plane).await?;
    let admin = control_plane.client();
    let operator = control_plane.client_for(NAMESPACE, "istio-controller-manager").await?;
    let mut attempts: Vec<Attempt> =
        [credentials(), cluster(), permissions(), workloads(), traffic()].into_iter().flatten().collect();
    for attempt in attempts.iter_mut().filter(|attempt| attempt.method == Method::PUT) {
        let live: Value = admin.request(Request::get(&attempt.path).body(Vec::new())?).await?;
        attempt.body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    }
    assert!(attempts.len() > 80, "{}", attempts.len());
    let mut wrong = Vec::new();
    for attempt in &attempts {
        if attempt.is_possible
            && let Some((code, message)) = answer(&admin, attempt.request(true)?).await?
        {
            wrong.push(format!("{}: not even the administrator can: {code} {message}", attempt.what));
        }
        match answer(&operator, attempt.request(false)?).await? {
            Some((403, _)) => {}
            Some((code, message)) => wrong.push(format!("{}: {code} {message}", attempt.what)),
            None => wrong.push(format!("{}: the operator can", attempt.what)),
        }
    }
    let impersonate =
        Request::get("/api/v1/namespaces").header("impersonate-user", "admin").body(Vec::new())?;
    if !matches!(answer(&operator, impersonate).await?, Some((403, _))) {
        wrong.push("act as another user: not refused".to_owned());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    what_the_operator_has_to_do_is_allowed(&operator).await?;
    let hooks = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    for hooks in hooks {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{hooks}/foreign");
        answer(&admin, delete("tidy up", &path).request(false)?).await?;
    }
    answer(&admin, delete("tidy up", "/apis/apps/v1/namespaces/shop/deployments/app").request(false)?)
        .await?;
    Ok(())
}

/// The same requests, as the operator makes them.
async fn what_the_operator_has_to_do_is_allowed(operator: &Client) -> Result {
    let restart = json!({"spec": {"template": {"metadata": {"annotations": {
        "istio-operator.kyma-project.io/restartedAt": "2026-01-01T00:00:00Z"}}}}});
    let no_restart = json!({"spec": {"template": {"metadata": {"annotations": {
        "istio-operator.kyma-project.io/restartedAt": null}}}}});
    let app = "/apis/apps/v1/namespaces/shop/deployments/app";
    for attempt in [patch("restart", app, restart), patch("take a restart back", app, no_restart)] {
        assert_eq!(answer(operator, attempt.request(false)?).await?, None, "{}", attempt.what);
    }
    let probe = create(
        "ask injection",
        "/api/v1/namespaces/shop/pods",
        named("v1", "Pod", json!({"spec": pod_spec()})),
    );
    assert_eq!(answer(operator, probe.request(true)?).await?, None);
    Ok(())
}

/// What the attempts are made on.
async fn create_objects_of_others(control_plane: &ControlPlane) -> Result {
    control_plane.create_namespace(SHOP, &[]).await?;
    let admin = control_plane.client();
    let mut app = workload("Deployment");
    app["metadata"]["name"] = json!("app");
    app["spec"]["template"]["metadata"]["annotations"] = json!({"own": "annotation"});
    let mut pod = named("v1", "Pod", json!({"spec": pod_spec()}));
    pod["metadata"]["name"] = json!("app");
    let mut secret = named("v1", "Secret", json!({}));
    secret["metadata"]["name"] = json!("own");
    let mut service =
        named("v1", "Service", json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}));
    service["metadata"]["name"] = json!("own");
    let hooks = "/apis/admissionregistration.k8s.io/v1";
    for (path, object) in [
        ("/apis/apps/v1/namespaces/shop/deployments".to_owned(), app),
        ("/api/v1/namespaces/shop/pods".to_owned(), pod),
        ("/api/v1/namespaces/shop/secrets".to_owned(), secret),
        ("/api/v1/namespaces/shop/services".to_owned(), service),
        (
            format!("{hooks}/mutatingwebhookconfigurations"),
            webhook("MutatingWebhookConfiguration", "foreign"),
        ),
        (
            format!("{hooks}/validatingwebhookconfigurations"),
            webhook("ValidatingWebhookConfiguration", "foreign"),
        ),
    ] {
        match answer(&admin, create("prepare", &path, object).request(false)?).await? {
            None | Some((409, _)) => {}
            Some((code, message)) => return Err(format!("{path}: {code} {message}").into()),
        }
    }
    let maps: Api<ConfigMap> = Api::namespaced(admin, SHOP);
    control_plane.wait_for(maps, "kube-root-ca.crt", "certificate", DEADLINE, |map| map.is_some()).await?;
    Ok(())
}

/// An operator that was updated finds an installation without its access, or somebody has deleted that.
pub async fn an_installation_is_removed_although_the_access_to_it_is_gone(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let bindings: Api<RoleBinding> = Api::namespaced(control_plane.client(), "istio-system");
    let access = bindings.get(CONTROL_PLANE_ROLE).await?;
    let subjects = access.subjects.unwrap_or_default();
    assert_eq!(
        subjects.iter().map(|subject| subject.name.as_str()).collect::<Vec<_>>(),
        ["istio-controller-manager"]
    );
    bed.operator.pause()?;
    bindings.delete(CONTROL_PLANE_ROLE, &DeleteParams::default()).await?;
    bed.delete("default").await?;
    let mark = control_plane.audit().mark().await?;
    bed.operator.resume()?;
    bed.wait_until_gone("default").await?;
    assert_nothing_is_left(&bed).await?;
    let deletions: Vec<String> =
        bed.writes_since(&mark).await?.into_iter().filter(|write| write.contains("delete")).collect();
    let place = |words: &str| deletions.iter().position(|deletion| deletion.contains(words));
    let (access, namespace) = (place(CONTROL_PLANE_ROLE), place("resource: \"namespaces\""));
    assert!(access.is_some() && access < namespace, "{deletions:#?}");
    let last =
        deletions.iter().rposition(|deletion| deletion.contains("istio.io") || deletion.contains("istiod"));
    assert!(last < access, "something else went after the access: {deletions:#?}");
    bed.stop().await
}

/// The older version has a `ConfigMap` of a name that a user took before.
pub async fn an_object_that_was_there_before_is_released_and_not_deleted(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "istio-system");
    let own: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "istio-retired"}, "data": {"own": "data"}}))?;
    let before = maps.create(&PostParams::default(), &own).await?;

    let charts = derive(control_plane.dir(), "1.30.3", Variant::Older)?;
    let older = [format!("--charts-dir={}", charts.display()), "--istio-version=1.30.3".to_owned()];
    let mut bed = Bed::start_with(control_plane, &older.each_ref().map(String::as_str)).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let adopted = maps.get("istio-retired").await?;
    assert!(is_managed(&adopted), "{adopted:?}");

    bed.restart_with(&[]).await?;
    bed.wait_for_log("released an object that is no longer planned").await?;
    let released = maps.get("istio-retired").await?;
    assert_eq!(released.uid(), before.uid());
    assert!(!is_managed(&released), "{released:?}");
    assert_eq!(released.data.unwrap_or_default().get("own").map(String::as_str), Some("data"));

    bed.wait_for_state("default", State::Ready).await?;
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    assert_eq!(maps.get("istio-retired").await?.uid(), before.uid());
    let namespaces: Api<Namespace> = Api::all(control_plane.client());
    assert!(namespaces.get("istio-system").await?.metadata.deletion_timestamp.is_none());
    let bindings: Api<RoleBinding> = Api::namespaced(control_plane.client(), "istio-system");
    assert!(
        bindings.get_opt(CONTROL_PLANE_ROLE).await?.is_none(),
        "{USER} keeps its access to a namespace that is not Istio's"
    );
    bed.stop().await
}

fn is_managed(map: &ConfigMap) -> bool {
    map.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some("istio-operator"))
}
