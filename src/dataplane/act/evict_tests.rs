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

use super::evict::{Evicted, evict};
use crate::dataplane::decide::finding::Finding;
use crate::dataplane::fixtures::finding;

const TIMEOUT: Duration = Duration::from_secs(600);
/// When the evictions began, in seconds since the epoch: what is older is due.
const SINCE: i64 = 100;

/// An answer, or the events of a watch for as long as it lasts.
enum Answer {
    Once(Body),
    Watch(UnboundedReceiver<String>),
}

impl http_body::Body for Answer {
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
struct State {
    pods: Vec<Value>,
    watches: Vec<UnboundedSender<String>>,
    /// Codes of the answers to come; the requests are carried out when there are none.
    lists: VecDeque<u16>,
    evictions: VecDeque<u16>,
    /// Whether the pods that come serve.
    heals: bool,
    /// The pods that were evicted.
    evicted: Vec<String>,
}

impl State {
    fn tell(&self, event: &str, pod: &Value) {
        for watch in &self.watches {
            let _ = watch.unbounded_send(format!("{}\n", json!({"type": event, "object": pod})));
        }
    }

    fn evict(&mut self, name: &str) {
        let index = self.pods.iter().position(|pod| pod["metadata"]["name"] == name).unwrap();
        let pod = self.pods.remove(index);
        self.tell("DELETED", &pod);
        let replacement = replica(&format!("{name}-next"), SINCE + 1, self.heals);
        self.tell("ADDED", &replacement);
        self.pods.push(replacement);
        self.evicted.push(name.to_owned());
    }

    fn answer(&mut self, path: &str, query: &str) -> (u16, Answer) {
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
            return (200, Answer::Watch(events));
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

fn body(code: u16, object: &Value) -> Answer {
    let mut failure = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "no", "reason": "No", "code": code});
    if code == 429 {
        failure["details"] = json!({"causes": [{"reason": "DisruptionBudget", "message": "one is needed"}]});
    }
    let object = if code < 300 { object } else { &failure };
    Answer::Once(Body::from(object.to_string().into_bytes()))
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
async fn evicted(pods: &[(&str, bool)], state: State) -> (Evicted, Vec<String>) {
    let (end, evicted, _) = watched(pods, state).await;
    (end, evicted)
}

/// As [`evicted`], and what was waited for meanwhile.
async fn watched(pods: &[(&str, bool)], state: State) -> (Evicted, Vec<String>, Vec<String>) {
    let pods: Vec<Value> = pods.iter().map(|(name, ready)| replica(name, 1, *ready)).collect();
    let finding = Finding { replicas: i64::try_from(pods.len()).unwrap(), ..finding("w") };
    let state = Arc::new(Mutex::new(State { pods, ..state }));
    let server = state.clone();
    let answer = move |request: Request<Body>| {
        let uri = request.uri();
        let (code, body) = server.lock().unwrap().answer(uri.path(), uri.query().unwrap_or_default());
        std::future::ready(Response::builder().status(code).body(body))
    };
    let client = Client::new(tower::service_fn(answer), "default");
    let waits = Mutex::new(Vec::new());
    let end = evict(&client, &finding, SINCE, TIMEOUT, &|why| waits.lock().unwrap().push(why)).await;
    let evicted = state.lock().unwrap().evicted.clone();
    (end, evicted, waits.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_an_eviction_waits_for_is_told_while_it_goes_on() {
    let state = State { heals: true, evictions: vec![500, 500].into(), ..State::default() };
    let (end, _, waits) = watched(&[("a", true)], state).await;
    assert_eq!(end, Evicted::All);
    assert_eq!(waits[..2], ["pod a cannot be evicted: no", "pod a cannot be evicted: no"]);
    let (_, _, waits) = watched(&[("a", true)], State::default()).await;
    assert_eq!(waits.last().map(String::as_str), Some("0 of 1 pods are ready"));
}

#[tokio::test(start_paused = true)]
async fn neither_budgets_nor_an_api_server_in_trouble_end_evictions_ahead_of_their_time() {
    for codes in [vec![429, 429, 429, 503, 201], vec![409, 409, 409, 500], vec![503; 9]] {
        let state = State { heals: true, evictions: codes.clone().into(), ..State::default() };
        assert_eq!(evicted(&[("a", true)], state).await, (Evicted::All, vec!["a".to_owned()]), "{codes:?}");
    }
    let refused = Evicted::Stopped("pod a cannot be evicted: no".to_owned());
    for codes in [vec![403], vec![429, 422], vec![503; 999]] {
        let state = State { heals: true, evictions: codes.clone().into(), ..State::default() };
        assert_eq!(evicted(&[("a", true)], state).await, (refused.clone(), Vec::new()), "{codes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_never_allows_an_eviction_is_no_failure() {
    let state = State { heals: true, evictions: vec![429; 999].into(), ..State::default() };
    let refused = Evicted::Refused("pod a cannot be evicted: no".to_owned());
    assert_eq!(evicted(&[("a", true)], state).await, (refused, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_repeated_for_as_long_as_there_is_time() {
    for (codes, all) in
        [(vec![503; 30], true), (vec![410; 30], true), (vec![403], false), (vec![503; 9999], false)]
    {
        let state = State { heals: true, lists: codes.clone().into(), ..State::default() };
        let (end, _) = evicted(&[("a", true)], state).await;
        assert_eq!(end == Evicted::All, all, "{codes:?} {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_do_not_serve_do_not_wait_for_each_other() {
    let state = State { heals: true, ..State::default() };
    let (end, order) = evicted(&[("a", true), ("b", false), ("c", false)], state).await;
    assert_eq!(end, Evicted::All);
    assert_eq!(order, ["b", "c", "a"]);
}

#[tokio::test(start_paused = true)]
async fn replacements_that_never_serve_keep_what_serves_from_being_evicted() {
    let (end, order) = evicted(&[("a", true), ("b", false), ("c", false)], State::default()).await;
    assert_eq!(end, Evicted::Stopped("1 of 3 pods are ready".to_owned()));
    assert_eq!(order, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_replacement_is_waited_for() {
    let (end, order) = evicted(&[("a", true)], State::default()).await;
    assert_eq!(end, Evicted::Stopped("0 of 1 pods are ready".to_owned()));
    assert_eq!(order, ["a"]);
}
