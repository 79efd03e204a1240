//! Evictions at an API server that answers as these tests want, and replaces what is evicted.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::eviction::{EvictionResult, evict_outdated_pods};
use crate::dataplane::fixtures::stale_workload;
use crate::dataplane::schedule::stale_workload::StaleWorkload;

const TIMEOUT: Duration = Duration::from_secs(600);
/// When the evictions began, in seconds since the epoch: what is older is due.
const SINCE: i64 = 100;

/// An answer, or the events of a watch for as long as it lasts.
enum EvictionTestBody {
    Once(Body),
    Watch(UnboundedReceiver<String>),
}

impl http_body::Body for EvictionTestBody {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        match self.get_mut() {
            Self::Once(body) => Pin::new(body).poll_frame(context),
            Self::Watch(events) => {
                let event = std::task::ready!(events.poll_next_unpin(context));
                Poll::Ready(event.map(|event| Ok(Frame::data(Bytes::from(event)))))
            }
        }
    }
}

/// What the API server has, and what it is to do.
#[derive(Default)]
struct EvictionTestServer {
    pods: Vec<Value>,
    watches: Vec<UnboundedSender<String>>,
    /// Codes of the answers to come; the requests are carried out when there are none.
    lists: VecDeque<u16>,
    evictions: VecDeque<u16>,
    /// Whether the pods that come serve.
    replacements_ready: bool,
    /// The pods that were evicted.
    evicted: Vec<String>,
}

impl EvictionTestServer {
    fn send_event(&self, event: &str, pod: &Value) {
        for watch in &self.watches {
            let _ = watch.unbounded_send(format!("{}\n", json!({"type": event, "object": pod})));
        }
    }

    fn evict(&mut self, name: &str) {
        let index = self.pods.iter().position(|pod| pod["metadata"]["name"] == name).unwrap();
        let pod = self.pods.remove(index);
        self.send_event("DELETED", &pod);
        let replacement = replica(&format!("{name}-next"), SINCE + 1, self.replacements_ready);
        self.send_event("ADDED", &replacement);
        self.pods.push(replacement);
        self.evicted.push(name.to_owned());
    }

    fn answer(&mut self, path: &str, query: &str) -> (u16, EvictionTestBody) {
        let evicted =
            path.strip_prefix("/api/v1/namespaces/ns/pods/").map(|rest| rest.replace("/eviction", ""));
        if let Some(name) = evicted {
            let code = self.evictions.pop_front().unwrap_or(201);
            if code == 201 {
                self.evict(&name);
            }
            return (code, body(code, &json!({})));
        }
        if query.contains("watch=true") {
            let (watch, events) = unbounded();
            self.watches.push(watch);
            return (200, EvictionTestBody::Watch(events));
        }
        if path.ends_with("/pods") {
            let code = self.lists.pop_front().unwrap_or(200);
            return (code, body(code, &json!({"metadata": {"resourceVersion": "1"}, "items": self.pods})));
        }
        (
            200,
            body(200, &json!({"metadata": {"name": "w", "uid": "w"}, "spec": {"replicas": self.pods.len()}})),
        )
    }
}

fn body(code: u16, object: &Value) -> EvictionTestBody {
    let mut failure = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "no", "reason": "No", "code": code});
    if code == 429 {
        failure["details"] = json!({"causes": [{"reason": "DisruptionBudget", "message": "one is needed"}]});
    }
    let object = if code < 300 { object } else { &failure };
    EvictionTestBody::Once(Body::from(object.to_string().into_bytes()))
}

fn replica(name: &str, created: i64, ready: bool) -> Value {
    json!({
        "metadata": {"name": name, "uid": name, "creationTimestamp": Timestamp::from_second(created).unwrap().to_string(),
            "annotations": {"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "w", "controller": true}]},
        "spec": {"containers": [{"name": "istio-proxy"}]},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

/// Evicts these pods, each of which serves or not; tells how that ended and which were evicted, in order.
async fn run_eviction(pods: &[(&str, bool)], state: EvictionTestServer) -> (EvictionResult, Vec<String>) {
    let (end, evicted, _) = run_eviction_with_waits(pods, state).await;
    (end, evicted)
}

/// As [`run_eviction`], and what was waited for meanwhile.
async fn run_eviction_with_waits(
    pods: &[(&str, bool)],
    state: EvictionTestServer,
) -> (EvictionResult, Vec<String>, Vec<String>) {
    let pods: Vec<Value> = pods.iter().map(|(name, ready)| replica(name, 1, *ready)).collect();
    let stale = StaleWorkload { replicas: i64::try_from(pods.len()).unwrap(), ..stale_workload("w") };
    let state = Arc::new(Mutex::new(EvictionTestServer { pods, ..state }));
    let server = state.clone();
    let answer = move |request: Request<Body>| {
        let uri = request.uri();
        let (code, body) = server.lock().unwrap().answer(uri.path(), uri.query().unwrap_or_default());
        std::future::ready(Response::builder().status(code).body(body))
    };
    let client = Client::new(tower::service_fn(answer), "default");
    let wait_reasons = Mutex::new(Vec::new());
    let since = Timestamp::from_second(SINCE).unwrap();
    let end =
        evict_outdated_pods(&client, &stale, since, TIMEOUT, &|why| wait_reasons.lock().unwrap().push(why))
            .await;
    let evicted = state.lock().unwrap().evicted.clone();
    (end, evicted, wait_reasons.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_eviction_reports_what_it_is_waiting_for() {
    let state = EvictionTestServer {
        replacements_ready: true,
        evictions: vec![500, 500].into(),
        ..EvictionTestServer::default()
    };
    let (end, _, wait_reasons) = run_eviction_with_waits(&[("a", true)], state).await;
    assert_eq!(end, EvictionResult::Done);
    assert_eq!(wait_reasons[..2], ["pod a cannot be evicted: no", "pod a cannot be evicted: no"]);
    let (_, _, wait_reasons) = run_eviction_with_waits(&[("a", true)], EvictionTestServer::default()).await;
    assert_eq!(wait_reasons.last().map(String::as_str), Some("0 of 1 pods are ready"));
}

#[tokio::test(start_paused = true)]
async fn budgets_and_api_server_errors_do_not_end_evictions_early() {
    for codes in [vec![429, 429, 429, 503, 201], vec![409, 409, 409, 500], vec![503; 9]] {
        let state = EvictionTestServer {
            replacements_ready: true,
            evictions: codes.clone().into(),
            ..EvictionTestServer::default()
        };
        assert_eq!(
            run_eviction(&[("a", true)], state).await,
            (EvictionResult::Done, vec!["a".to_owned()]),
            "{codes:?}"
        );
    }
    let refused = EvictionResult::Failed("pod a cannot be evicted: no".to_owned());
    for codes in [vec![403], vec![429, 422], vec![503; 999]] {
        let state = EvictionTestServer {
            replacements_ready: true,
            evictions: codes.clone().into(),
            ..EvictionTestServer::default()
        };
        assert_eq!(run_eviction(&[("a", true)], state).await, (refused.clone(), Vec::new()), "{codes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_never_allows_an_eviction_is_no_failure() {
    let state = EvictionTestServer {
        replacements_ready: true,
        evictions: vec![429; 999].into(),
        ..EvictionTestServer::default()
    };
    let refused = EvictionResult::Refused("pod a cannot be evicted: no".to_owned());
    assert_eq!(run_eviction(&[("a", true)], state).await, (refused, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_retried_until_the_timeout() {
    for (codes, all) in
        [(vec![503; 30], true), (vec![410; 30], true), (vec![403], false), (vec![503; 9999], false)]
    {
        let state = EvictionTestServer {
            replacements_ready: true,
            lists: codes.clone().into(),
            ..EvictionTestServer::default()
        };
        let (end, _) = run_eviction(&[("a", true)], state).await;
        assert_eq!(end == EvictionResult::Done, all, "{codes:?} {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_not_ready_are_evicted_without_waiting() {
    let state = EvictionTestServer { replacements_ready: true, ..EvictionTestServer::default() };
    let (end, order) = run_eviction(&[("a", true), ("b", false), ("c", false)], state).await;
    assert_eq!(end, EvictionResult::Done);
    assert_eq!(order, ["b", "c", "a"]);
}

#[tokio::test(start_paused = true)]
async fn ready_pods_are_kept_while_replacements_are_not_ready() {
    let (end, order) =
        run_eviction(&[("a", true), ("b", false), ("c", false)], EvictionTestServer::default()).await;
    assert_eq!(end, EvictionResult::Failed("1 of 3 pods are ready".to_owned()));
    assert_eq!(order, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_waits_for_the_last_replacement() {
    let (end, order) = run_eviction(&[("a", true)], EvictionTestServer::default()).await;
    assert_eq!(end, EvictionResult::Failed("0 of 1 pods are ready".to_owned()));
    assert_eq!(order, ["a"]);
}
