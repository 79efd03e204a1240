//! Evictions at the API double, with a controller that replaces what is evicted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_apiserver::{ChangeType, FakeApiServer, Fault, Occurrence, Reaction, RequestMatcher, Verb};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::eviction::{EvictionResult, evict_outdated_pods};
use crate::dataplane::fixtures::stale_workload;
use crate::dataplane::schedule::stale_workload::StaleWorkload;

const TIMEOUT: Duration = Duration::from_secs(600);
/// When the evictions began, in seconds since the epoch: what is older is due.
const SINCE: i64 = 100;

/// What the API server and the controllers behind it are to do.
#[derive(Default)]
struct Behavior {
    /// Codes of the first answers; the requests after them are carried out, and so is one of code 201.
    lists: Vec<u16>,
    evictions: Vec<u16>,
    /// Whether the pods that come serve.
    replacements_ready: bool,
}

impl Behavior {
    /// A server with `pods`, and the names of the pods that are evicted.
    fn server(&self, pods: &[Value]) -> (FakeApiServer, Arc<Mutex<Vec<String>>>) {
        let server = FakeApiServer::new();
        server.put(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "w", "namespace": "ns", "uid": "w"}, "spec": {"replicas": pods.len()}}));
        for pod in pods {
            server.put(pod.clone());
        }
        let evicted = Arc::new(Mutex::new(Vec::new()));
        let (gone, ready) = (evicted.clone(), self.replacements_ready);
        server.rule(move |change| {
            if change.change != ChangeType::Deleted || change.object["kind"] != "Pod" {
                return Vec::new();
            }
            let name = change.object["metadata"]["name"].as_str().unwrap();
            gone.lock().unwrap().push(name.to_owned());
            vec![Reaction::Put(replica(&format!("{name}-next"), SINCE + 1, ready))]
        });
        let lists = RequestMatcher::verb(Verb::List).resource("pods");
        let evictions = RequestMatcher::verb(Verb::Create).resource("pods").subresource("eviction");
        for (requests, codes) in [(lists, &self.lists), (evictions, &self.evictions)] {
            let is_uniform = codes.windows(2).all(|pair| pair[0] == pair[1]);
            match codes.first() {
                Some(code) if is_uniform => {
                    server.fail(requests, Occurrence::First(codes.len()), refusal(*code));
                }
                _ => {
                    for (index, code) in codes.iter().enumerate().filter(|(_, code)| **code != 201) {
                        server.fail(requests.clone(), Occurrence::Nth(index + 1), refusal(*code));
                    }
                }
            }
        }
        (server, evicted)
    }
}

fn refusal(code: u16) -> Fault {
    let mut fault = Fault::status(code, "no");
    if let (Fault::Answer(_, body), 429) = (&mut fault, code) {
        body["details"] = json!({"causes": [{"reason": "DisruptionBudget", "message": "one is needed"}]});
    }
    fault
}

fn replica(name: &str, created: i64, ready: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": Timestamp::from_second(created).unwrap().to_string(),
            "annotations": {"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "w", "controller": true}]},
        "spec": {"containers": [{"name": "istio-proxy"}]},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

/// Evicts these pods, each of which serves or not; returns how that ended and which were evicted, in order.
async fn run_eviction(pods: &[(&str, bool)], behavior: Behavior) -> (EvictionResult, Vec<String>) {
    let (end, evicted, _) = run_eviction_with_waits(pods, behavior).await;
    (end, evicted)
}

/// As [`run_eviction`], and what was waited for meanwhile.
async fn run_eviction_with_waits(
    pods: &[(&str, bool)],
    behavior: Behavior,
) -> (EvictionResult, Vec<String>, Vec<String>) {
    let pods: Vec<Value> = pods.iter().map(|(name, ready)| replica(name, 1, *ready)).collect();
    let stale = StaleWorkload { replicas: i64::try_from(pods.len()).unwrap(), ..stale_workload("w") };
    let (server, evicted) = behavior.server(&pods);
    let wait_reasons = Mutex::new(Vec::new());
    let report_wait = |why| wait_reasons.lock().unwrap().push(why);
    let since = Timestamp::from_second(SINCE).unwrap();
    let end = evict_outdated_pods(&server.client(), &stale, since, TIMEOUT, &report_wait).await;
    let evicted = evicted.lock().unwrap().clone();
    (end, evicted, wait_reasons.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_eviction_reports_what_it_is_waiting_for() {
    let behavior = Behavior { replacements_ready: true, evictions: vec![500, 500], ..Behavior::default() };
    let (end, _, wait_reasons) = run_eviction_with_waits(&[("a", true)], behavior).await;
    assert_eq!(end, EvictionResult::Done);
    assert_eq!(wait_reasons[..2], ["cannot evict pod a: no", "cannot evict pod a: no"]);
    let (_, _, wait_reasons) = run_eviction_with_waits(&[("a", true)], Behavior::default()).await;
    assert_eq!(wait_reasons.last().map(String::as_str), Some("0 of 1 pods are ready"));
}

#[tokio::test(start_paused = true)]
async fn budgets_and_api_server_errors_do_not_end_evictions_early() {
    for codes in [vec![429, 429, 429, 503, 201], vec![409, 409, 409, 500], vec![503; 9]] {
        let behavior = Behavior { replacements_ready: true, evictions: codes.clone(), ..Behavior::default() };
        assert_eq!(
            run_eviction(&[("a", true)], behavior).await,
            (EvictionResult::Done, vec!["a".to_owned()]),
            "{codes:?}"
        );
    }
    let refused = EvictionResult::Failed("cannot evict pod a: no".to_owned());
    for codes in [vec![403], vec![429, 422], vec![503; 999]] {
        let behavior = Behavior { replacements_ready: true, evictions: codes.clone(), ..Behavior::default() };
        assert_eq!(run_eviction(&[("a", true)], behavior).await, (refused.clone(), Vec::new()), "{codes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_never_allows_an_eviction_is_no_failure() {
    let behavior = Behavior { replacements_ready: true, evictions: vec![429; 999], ..Behavior::default() };
    let refused = EvictionResult::Refused("cannot evict pod a: no".to_owned());
    assert_eq!(run_eviction(&[("a", true)], behavior).await, (refused, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_retried_until_the_timeout() {
    for (codes, all) in
        [(vec![503; 30], true), (vec![410; 30], true), (vec![403], false), (vec![503; 9999], false)]
    {
        let behavior = Behavior { replacements_ready: true, lists: codes.clone(), ..Behavior::default() };
        let (end, _) = run_eviction(&[("a", true)], behavior).await;
        assert_eq!(end == EvictionResult::Done, all, "{codes:?} {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_not_ready_are_evicted_without_waiting() {
    let behavior = Behavior { replacements_ready: true, ..Behavior::default() };
    let (end, order) = run_eviction(&[("a", true), ("b", false), ("c", false)], behavior).await;
    assert_eq!(end, EvictionResult::Done);
    assert_eq!(order, ["b", "c", "a"]);
}

#[tokio::test(start_paused = true)]
async fn ready_pods_are_kept_while_replacements_are_not_ready() {
    let (end, order) = run_eviction(&[("a", true), ("b", false), ("c", false)], Behavior::default()).await;
    assert_eq!(end, EvictionResult::Failed("1 of 3 pods are ready".to_owned()));
    assert_eq!(order, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_waits_for_the_last_replacement() {
    let (end, order) = run_eviction(&[("a", true)], Behavior::default()).await;
    assert_eq!(end, EvictionResult::Failed("0 of 1 pods are ready".to_owned()));
    assert_eq!(order, ["a"]);
}
