//! Scans of the API double with twenty workloads on two pages.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use fake_apiserver::{ApiRequest, FakeApiServer, Fault, FaultHandle, Occurrence, RequestMatcher, Verb};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::evaluator::UpToDateCache;
use super::scanner::{self, ScanScope};
use super::{DataPlaneScanner, Error};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::names::INJECTED_SELECTOR;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::requests::LARGE_OBJECT_BYTES;
use crate::dataplane::restart_ledger::RestartLedger;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, Severity};
use crate::validate::ValidatedRestarter;

/// Deployments with a pod each, half of them on each page.
const WORKLOADS: usize = 20;
const IMAGE: &str = "registry/proxyv2:2";
const OLD_IMAGE: &str = "registry/proxyv2:1";
/// When the pods were made.
const CREATED: i64 = 100;

/// A server with all workloads, whose injection takes a second.
struct ScanTestServer {
    server: FakeApiServer,
    dry_runs: FaultHandle,
}

impl ScanTestServer {
    /// The pods run the image that injection gives.
    fn up_to_date() -> Self {
        Self::new(|index| pod(index, IMAGE))
    }

    /// The pods run an older image than injection gives.
    fn outdated() -> Self {
        Self::new(|index| pod(index, OLD_IMAGE))
    }

    fn new(pod: impl Fn(usize) -> Value) -> Self {
        let server = FakeApiServer::new();
        server.set_page_limit(WORKLOADS / 2);
        for name in ["m", "n"] {
            server.put_namespace(name, &json!({"istio-injection": "enabled"}));
        }
        for index in 0..WORKLOADS {
            for object in [deployment(index), replica_set(index), pod(index)] {
                server.put(object);
            }
        }
        server.admission("pods", |_, pod| {
            pod["metadata"]["annotations"] =
                json!({"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"});
            pod["spec"]["containers"] = json!([{"name": "istio-proxy", "image": IMAGE}]);
        });
        let injection = RequestMatcher::verb(Verb::Create).resource("pods");
        let dry_runs = server.fail(injection, Occurrence::Always, Fault::Delay(Duration::from_secs(1)));
        Self { server, dry_runs }
    }

    /// Adds a pod that somebody made by hand.
    fn with_forged(self, pod: Value) -> Self {
        self.server.put(pod);
        self
    }

    /// So many lists expire after their first page.
    fn expire_lists(&self, occurrence: Occurrence) {
        let next_page = RequestMatcher::verb(Verb::List)
            .resource("pods")
            .matching(|request| request.query.contains_key("continue"));
        self.server.fail(next_page, occurrence, Fault::status(410, "the list is too old"));
    }

    /// Requests for the objects of a resource, further pages of one list not counted.
    fn requests_for(&self, resource: &str) -> usize {
        let requests = RequestMatcher::any().resource(resource);
        self.server.matching(&requests.matching(|request| !request.query.contains_key("continue"))).len()
    }

    fn lists_of_pods(&self) -> usize {
        let is_first =
            |request: &ApiRequest| request.verb == Verb::List && !request.query.contains_key("continue");
        self.server.matching(&RequestMatcher::any().resource("pods").matching(is_first)).len()
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
            client: &self.server.client(),
            mesh: &mesh,
            scope: ScanScope::All,
            settings: &ValidatedRestarter::default(),
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
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("w{index}"), "namespace": namespace(index), "uid": format!("d{index}"), "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": []}}},
    })
}

fn replica_set(index: usize) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("w{index}-abc"), "namespace": namespace(index), "uid": format!("r{index}"),
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("w{index}"),
            "uid": format!("d{index}"), "controller": true}]}})
}

fn pod(index: usize, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("w{index}-abc-1"), "generateName": format!("w{index}-abc-"),
            "namespace": namespace(index),
            "uid": format!("p{index}"),
            "labels": {"app": format!("w{index}"), "pod-template-hash": "abc", INJECTED_SELECTOR: "istio"},
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
    let server = ScanTestServer::up_to_date();
    assert_up_to_date(&server.scan(&UpToDateCache::default(), true).await);
    assert_eq!((server.dry_runs.hits(), server.dry_runs.max_in_flight()), (WORKLOADS, 4));
}

#[tokio::test(start_paused = true)]
async fn an_expired_list_is_restarted_and_nothing_is_evaluated_twice() {
    let server = ScanTestServer::up_to_date();
    server.expire_lists(Occurrence::First(2));
    assert_up_to_date(&server.scan(&UpToDateCache::default(), true).await);
    assert_eq!((server.lists_of_pods(), server.dry_runs.hits()), (3, WORKLOADS));
}

#[tokio::test(start_paused = true)]
async fn the_workloads_of_a_namespace_on_two_pages_are_listed_once() {
    let server = ScanTestServer::up_to_date();
    assert_up_to_date(&server.scan(&UpToDateCache::default(), true).await);
    assert_eq!(server.requests_for("deployments"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_always_expires_fails_the_scan() {
    let server = ScanTestServer::up_to_date();
    server.expire_lists(Occurrence::Always);
    let error = server.try_scan(&UpToDateCache::default(), true, None).await.unwrap_err();
    assert!(matches!(error, Error::Pods { source: scanner::Error::Pods { .. } }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn up_to_date_results_are_cached_once_istiod_has_the_change() {
    let (server, up_to_date) = (ScanTestServer::up_to_date(), UpToDateCache::default());
    for (config_propagated, probes) in [(false, 1), (false, 2), (true, 3), (true, 3)] {
        assert_up_to_date(&server.scan(&up_to_date, config_propagated).await);
        assert_eq!(server.dry_runs.hits(), probes * WORKLOADS, "{config_propagated}");
    }
}

#[tokio::test(start_paused = true)]
async fn restarted_workloads_are_checked_once_more_when_istiod_has_the_change() {
    let (server, up_to_date) = (ScanTestServer::up_to_date(), UpToDateCache::default());
    let second = |second| Some(Timestamp::from_second(second).unwrap());
    let (before, after) = (second(CREATED), second(CREATED + 1));
    for (config_propagated, restarted_since, probes) in
        [(false, after, 1), (false, before, 1), (false, before, 1), (true, None, 2), (true, None, 2)]
    {
        assert_up_to_date(&server.try_scan(&up_to_date, config_propagated, restarted_since).await.unwrap());
        assert_eq!(server.dry_runs.hits(), probes * WORKLOADS, "{config_propagated} {restarted_since:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_look_outdated_are_evaluated_whatever_their_age() {
    let server = ScanTestServer::outdated();
    let assessment = server
        .try_scan(&UpToDateCache::default(), false, Some(Timestamp::from_second(CREATED).unwrap()))
        .await
        .unwrap();
    assert_eq!(assessment.decisions.len(), WORKLOADS, "{assessment:?}");
}

#[tokio::test(start_paused = true)]
async fn owners_are_verified_with_one_list_for_each_namespace() {
    let server = ScanTestServer::outdated();
    let assessment = server.scan(&UpToDateCache::default(), true).await;
    let of_deployments = assessment.decisions.iter().filter(|(stale, _)| stale.workload.kind == "Deployment");
    assert_eq!(of_deployments.count(), WORKLOADS, "{assessment:?}");
    assert_eq!(server.requests_for("replicasets"), 2);
}

#[tokio::test(start_paused = true)]
async fn large_pods_are_read_again_and_evaluated_one_by_one() {
    let server = ScanTestServer::new(|index| {
        let mut pod = pod(index, OLD_IMAGE);
        pod["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "x".repeat(LARGE_OBJECT_BYTES)}]);
        pod
    });
    let assessment = server.scan(&UpToDateCache::default(), true).await;
    assert_eq!(assessment.decisions.len(), WORKLOADS, "{assessment:?}");
    assert_eq!((server.dry_runs.hits(), server.dry_runs.max_in_flight()), (WORKLOADS, 1));
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
        let mut forged = pod(0, OLD_IMAGE);
        forged["metadata"]["name"] = json!("forged");
        forged["metadata"]["uid"] = json!("f");
        forged["metadata"]["labels"] = json!({"app": app, "pod-template-hash": hash, "kyma-project.io/module": "x", INJECTED_SELECTOR: "istio"});
        forged["metadata"]["ownerReferences"] = owners.clone();
        let server = ScanTestServer::up_to_date().with_forged(forged);
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
    let mut forged = pod(0, OLD_IMAGE);
    forged["metadata"]["name"] = json!("forged");
    forged["metadata"]["uid"] = json!("f");
    forged["metadata"]["ownerReferences"] = json!([{"apiVersion": "example.com/v1", "kind": "Thing", "name": "w0", "uid": "d0", "controller": true}]);
    let server = ScanTestServer::outdated().with_forged(forged);
    let assessment = server.scan(&UpToDateCache::default(), true).await;
    let names: HashSet<_> =
        assessment.decisions.iter().map(|(stale, _)| stale.workload.to_string()).collect();
    assert_eq!(names.len(), WORKLOADS + 1, "{names:?}");
}
