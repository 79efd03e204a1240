//! Looks at an API server that answers as these tests want.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::evaluator::UpToDateCache;
use super::scanner::{self, ScanScope};
use super::{DataPlaneScanner, Error};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::requests::LARGE_OBJECT_BYTES;
use crate::dataplane::restart_ledger::RestartLedger;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::settings::RestartSettings;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, Severity};

/// Deployments with a pod each, half of them on each page.
const WORKLOADS: usize = 20;
const IMAGE: &str = "registry/proxyv2:2";
/// When the pods were made.
const CREATED: i64 = 100;

/// What the API server saw, and what it is to do.
#[derive(Default)]
struct ScanTestState {
    /// Lists that expire after their first page.
    expiring: usize,
    first_pages: usize,
    deployment_lists: usize,
    /// The pods have an older image than injection gives.
    outdated: bool,
    /// The pods are so large that they are read again for their proof.
    large: bool,
    /// A further pod, which somebody made by hand.
    forged: Option<Value>,
    replica_set_requests: usize,
    dry_runs: usize,
    running: usize,
    max_running: usize,
}

#[derive(Clone, Default)]
struct ScanTestServer(Arc<Mutex<ScanTestState>>);

impl ScanTestServer {
    fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            let (method, uri) = (request.method().clone(), request.uri().clone());
            async move { Ok::<_, std::convert::Infallible>(server.answer(method, uri).await) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    fn change<T>(&self, change: impl FnOnce(&mut ScanTestState) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    async fn answer(&self, method: Method, uri: Uri) -> Response<Body> {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let (code, object) = match path {
            "/api/v1/namespaces" => {
                let labels = json!({"istio-injection": "enabled"});
                let items = ["m", "n"].map(|name| json!({"metadata": {"name": name, "labels": labels}}));
                (200, json!({"metadata": {}, "items": items}))
            }
            "/api/v1/pods" => self.page(query),
            _ if path.ends_with("/pods") && method == Method::POST => (201, self.dry_run().await),
            _ if path.ends_with("/deployments") => {
                self.change(|state| state.deployment_lists += 1);
                let is_here = |index: &usize| path.ends_with(&format!("/{}/deployments", namespace(*index)));
                let items: Vec<Value> = (0..WORKLOADS).filter(is_here).map(deployment).collect();
                (200, json!({"metadata": {}, "items": items}))
            }
            _ if path.contains("/replicasets") => {
                self.change(|state| state.replica_set_requests += 1);
                let mut items = (0..WORKLOADS).map(replica_set);
                if path.ends_with("/replicasets") {
                    (200, json!({"metadata": {}, "items": items.collect::<Vec<_>>()}))
                } else {
                    let is_it = |item: &Value| {
                        path.ends_with(&format!("/{}", item["metadata"]["name"].as_str().unwrap()))
                    };
                    items.find(is_it).map_or((404, not_found()), |item| (200, item))
                }
            }
            _ if path.contains("/pods/") => {
                let is_it =
                    |pod: &Value| path.ends_with(&format!("/{}", pod["metadata"]["name"].as_str().unwrap()));
                let forged = self.change(|state| state.forged.clone());
                let mut pods = self.pods(0..WORKLOADS).into_iter().chain(forged);
                pods.find(is_it).map_or((404, not_found()), |pod| (200, pod))
            }
            _ if path.contains("/deployments/") => {
                let index = (0..WORKLOADS).find(|index| path.ends_with(&format!("/w{index}")));
                index.map_or((404, not_found()), |index| (200, deployment(index)))
            }
            "/apis/policy/v1/poddisruptionbudgets" => (200, json!({"metadata": {}, "items": []})),
            _ => (404, not_found()),
        };
        let body = Body::from(object.to_string().into_bytes());
        Response::builder().status(code).body(body).unwrap()
    }

    fn page(&self, query: &str) -> (u16, Value) {
        let half = WORKLOADS / 2;
        if !query.contains("continue=next") {
            self.change(|state| state.first_pages += 1);
            let items = self.pods(0..half);
            return (200, json!({"metadata": {"continue": "next", "resourceVersion": "1"}, "items": items}));
        }
        let expires = self.change(|state| {
            let expires = state.expiring > 0;
            state.expiring = state.expiring.saturating_sub(1);
            expires
        });
        if expires {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "reason": "Expired", "message": "the list is too old", "code": 410});
            return (410, status);
        }
        let mut items = self.pods(half..WORKLOADS);
        items.extend(self.change(|state| state.forged.clone()));
        (200, json!({"metadata": {"resourceVersion": "1"}, "items": items}))
    }

    /// Injection takes a second.
    async fn dry_run(&self) -> Value {
        self.change(|state| {
            state.dry_runs += 1;
            state.running += 1;
            state.max_running = state.max_running.max(state.running);
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.change(|state| state.running -= 1);
        pod(0, IMAGE)
    }

    fn pods(&self, indices: Range<usize>) -> Vec<Value> {
        let (outdated, large) = self.change(|state| (state.outdated, state.large));
        let image = if outdated { "registry/proxyv2:1" } else { IMAGE };
        let pod = |index| {
            let mut pod = pod(index, image);
            if large {
                pod["spec"]["containers"][0]["env"] =
                    json!([{"name": "A", "value": "x".repeat(LARGE_OBJECT_BYTES)}]);
            }
            pod
        };
        indices.map(pod).collect()
    }

    async fn scan(&self, up_to_date: &UpToDateCache, config_propagated: bool) -> Assessment {
        self.try_scan(up_to_date, config_propagated, None).await.unwrap()
    }

    async fn try_scan(
        &self,
        up_to_date: &UpToDateCache,
        config_propagated: bool,
        restarted_since: Option<Timestamp>,
    ) -> Result<Assessment, Error> {
        let values = json!({"global": {"proxy": {"image": IMAGE}}, "pilot": {"cni": {"enabled": true}}});
        let map = |key: &str, text: String| BTreeMap::from([(key.to_owned(), text)]);
        let config = "enablePrometheusMerge: false".to_owned();
        let mesh = Mesh::read(&map("values", values.to_string()), &map("mesh", config), "istiod").unwrap();
        let scanner = DataPlaneScanner {
            client: &self.client(),
            mesh: &mesh,
            scope: ScanScope::All,
            settings: &RestartSettings::default(),
            ledger: &RestartLedger::default(),
            up_to_date,
            metrics: &DataPlaneMetrics::default(),
            unlabelled: false,
            known_stale: &HashSet::new(),
            config_propagated,
            restarted_since,
            now: Timestamp::UNIX_EPOCH,
        };
        scanner.scan().await
    }
}

/// The second namespace begins on the first page and ends on the second.
fn namespace(index: usize) -> &'static str {
    if index < WORKLOADS / 4 { "m" } else { "n" }
}

fn deployment(index: usize) -> Value {
    let labels = json!({"app": format!("w{index}")});
    json!({
        "metadata": {"name": format!("w{index}"), "namespace": namespace(index), "uid": format!("d{index}"), "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": []}}},
    })
}

fn replica_set(index: usize) -> Value {
    json!({"metadata": {"name": format!("w{index}-abc"), "namespace": namespace(index), "uid": format!("r{index}"),
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("w{index}"),
            "uid": format!("d{index}"), "controller": true}]}})
}

fn not_found() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "NotFound", "code": 404})
}

fn pod(index: usize, image: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("w{index}-abc-1"), "generateName": format!("w{index}-abc-"),
            "namespace": namespace(index),
            "uid": format!("p{index}"), "labels": {"app": format!("w{index}"), "pod-template-hash": "abc"},
            "annotations": {"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"},
            "creationTimestamp": "1970-01-01T00:01:40Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("w{index}-abc"),
                "uid": format!("r{index}"), "controller": true}],
        },
        "spec": {"containers": [{"name": "istio-proxy", "image": image}]},
        "status": {"phase": "Running"},
    })
}

/// All workloads were seen, and none is outdated.
fn assert_up_to_date(assessment: &Assessment) {
    let scan = &assessment.scan;
    assert_eq!(
        (scan.total, assessment.decisions.len(), scan.unknown.len()),
        (WORKLOADS, 0, 0),
        "{assessment:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn at_most_four_dry_runs_run_at_once() {
    let server = ScanTestServer::default();
    assert_up_to_date(&server.scan(&UpToDateCache::default(), true).await);
    assert_eq!(server.change(|state| (state.dry_runs, state.max_running)), (WORKLOADS, 4));
}

#[tokio::test(start_paused = true)]
async fn an_expired_list_is_restarted_and_nothing_is_evaluated_twice() {
    let server = ScanTestServer::default();
    server.change(|state| state.expiring = 2);
    assert_up_to_date(&server.scan(&UpToDateCache::default(), true).await);
    assert_eq!(server.change(|state| (state.first_pages, state.dry_runs)), (3, WORKLOADS));
}

#[tokio::test(start_paused = true)]
async fn the_workloads_of_a_namespace_on_two_pages_are_listed_once() {
    let server = ScanTestServer::default();
    assert_up_to_date(&server.scan(&UpToDateCache::default(), true).await);
    assert_eq!(server.change(|state| state.deployment_lists), 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_always_expires_fails_the_scan() {
    let server = ScanTestServer::default();
    server.change(|state| state.expiring = usize::MAX);
    let error = server.try_scan(&UpToDateCache::default(), true, None).await.unwrap_err();
    assert!(matches!(error, Error::Pods { source: scanner::Error::Pods { .. } }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn up_to_date_results_are_cached_once_istiod_has_the_change() {
    let (server, up_to_date) = (ScanTestServer::default(), UpToDateCache::default());
    for (config_propagated, probes) in [(false, 1), (false, 2), (true, 3), (true, 3)] {
        assert_up_to_date(&server.scan(&up_to_date, config_propagated).await);
        assert_eq!(server.change(|state| state.dry_runs), probes * WORKLOADS, "{config_propagated}");
    }
}

#[tokio::test(start_paused = true)]
async fn restarted_workloads_are_checked_once_more_when_istiod_has_the_change() {
    let (server, up_to_date) = (ScanTestServer::default(), UpToDateCache::default());
    let second = |second| Some(Timestamp::from_second(second).unwrap());
    let (before, after) = (second(CREATED), second(CREATED + 1));
    for (config_propagated, restarted_since, probes) in
        [(false, after, 1), (false, before, 1), (false, before, 1), (true, None, 2), (true, None, 2)]
    {
        assert_up_to_date(&server.try_scan(&up_to_date, config_propagated, restarted_since).await.unwrap());
        assert_eq!(
            server.change(|state| state.dry_runs),
            probes * WORKLOADS,
            "{config_propagated} {restarted_since:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_look_outdated_are_evaluated_whatever_their_age() {
    let server = ScanTestServer::default();
    server.change(|state| state.outdated = true);
    let assessment = server
        .try_scan(&UpToDateCache::default(), false, Some(Timestamp::from_second(CREATED).unwrap()))
        .await
        .unwrap();
    assert_eq!(assessment.decisions.len(), WORKLOADS, "{assessment:?}");
}

#[tokio::test(start_paused = true)]
async fn owners_are_verified_with_one_list_for_each_namespace() {
    let server = ScanTestServer::default();
    server.change(|state| state.outdated = true);
    let assessment = server.scan(&UpToDateCache::default(), true).await;
    let of_deployments = assessment.decisions.iter().filter(|(stale, _)| stale.workload.kind == "Deployment");
    assert_eq!(of_deployments.count(), WORKLOADS, "{assessment:?}");
    assert_eq!(server.change(|state| state.replica_set_requests), 2);
}

#[tokio::test(start_paused = true)]
async fn large_pods_are_read_again_and_evaluated_one_by_one() {
    let server = ScanTestServer::default();
    server.change(|state| (state.outdated, state.large) = (true, true));
    let assessment = server.scan(&UpToDateCache::default(), true).await;
    assert_eq!(assessment.decisions.len(), WORKLOADS, "{assessment:?}");
    assert_eq!(server.change(|state| (state.dry_runs, state.max_running)), (WORKLOADS, 1));
}

/// What a tenant may write who may create pods and read what is in the namespace.
#[tokio::test(start_paused = true)]
async fn a_forged_owner_is_listed_and_restarts_nobody_and_raises_no_warning() {
    let owner = |api_version: &str, kind: &str, name: &str, uid: &str| json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let long = "x".repeat(1 << 20);
    for (owners, hash, app, reason) in [
        (owner("apps/v1", "Deployment", "w0", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1", "Deployment", "w19", "d19"), "abc", "w0", "owner_not_verified"),
        (owner("argoproj.io/v1alpha1", "Rollout", "w0", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("batch/v1", "CronJob", "w0", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1", "ReplicaSet", "w0-abc", "another"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1", "ReplicaSet", "w0-abc", "r1"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1", "ReplicaSet", "w0-xyz", "r0"), "xyz", "w0", "owner_not_verified"),
        (owner("apps/v1", "ReplicaSet", "gone", "r0"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1", "ReplicaSet", "w0-abc", "r0"), "abc", "w1", "owner_not_verified"),
        (owner("apps/v1", "StatefulSet", "db", "u"), "abc", "w0", "owner_not_verified"),
        (owner("batch/v1", "Job", "job", "u"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1", "ReplicaSet", "../deployments/w0", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1", "StatefulSet", "w0?dryRun=All", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("apps/v1/../..", "StatefulSet", "w0", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("example.com/../v1", "Thing", "w0", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("example.com/v1", "Thing\n", "w0", "d0"), "abc", "w0", "owner_not_verified"),
        (owner("example.com/v1", "Thing", &long, "d0"), "abc", "w0", "owner_not_verified"),
        (owner("example.com/v1", "Thing", "w0", &long), "abc", "w0", "owner_not_verified"),
        // Nothing is known of this kind, and the UID is that of a Deployment.
        (owner("example.com/v1", "Thing", "w0", "d0"), "abc", "w0", "unknown_owner"),
        (owner("v1", "ConfigMap", "w0", "d0"), "abc", "w0", "unknown_owner"),
    ] {
        let server = ScanTestServer::default();
        let mut forged = pod(0, "registry/proxyv2:1");
        forged["metadata"]["name"] = json!("forged");
        forged["metadata"]["uid"] = json!("f");
        forged["metadata"]["labels"] =
            json!({"app": app, "pod-template-hash": hash, "kyma-project.io/module": "x"});
        forged["metadata"]["ownerReferences"] = owners.clone();
        server.change(|state| state.forged = Some(forged));
        let assessment = server.scan(&UpToDateCache::default(), true).await;
        let [(stale, Decision::Blocked(why))] = &assessment.decisions[..] else {
            panic!("{owners:.300} {assessment:?}")
        };
        assert_eq!((why.name(), why.severity()), (reason, Severity::Info), "{owners:.300}");
        assert!(!stale.kyma && why.to_string().len() < 500, "{why}");
        if let BlockReason::OwnerNotVerified(_) = why {
            assert_eq!((stale.workload.kind.as_str(), stale.workload.name.as_str()), ("Pod", "forged"));
        }
        assert_eq!(assessment.scan.unknown, [], "{owners:.300}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_forged_owner_hides_no_outdated_workload() {
    let server = ScanTestServer::default();
    let mut forged = pod(0, "registry/proxyv2:1");
    forged["metadata"]["uid"] = json!("f");
    forged["metadata"]["ownerReferences"] = json!([{"apiVersion": "example.com/v1", "kind": "Thing", "name": "w0", "uid": "d0", "controller": true}]);
    server.change(|state| (state.outdated, state.forged) = (true, Some(forged)));
    let assessment = server.scan(&UpToDateCache::default(), true).await;
    let names: HashSet<_> =
        assessment.decisions.iter().map(|(stale, _)| stale.workload.to_string()).collect();
    assert_eq!(names.len(), WORKLOADS + 1, "{names:?}");
}
