//! Answers requests: faults first, then what the store makes of them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body as _;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

use crate::error::ApiError;
use crate::faults::{Fault, InFlight};
use crate::kinds;
use crate::request::{ApiRequest, Verb};
use crate::store::{Shared, State, Target};
use crate::stream::{AnswerBody, WatchBody};

/// The connection broke, on the way there or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection reset by the test")]
pub struct ConnectionReset;

/// The API server as a service, of which a client is made.
#[derive(Clone)]
pub struct ApiService {
    pub(crate) shared: Arc<Shared>,
}

impl Service<Request<Body>> for ApiService {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = read(body).await?;
            let request = ApiRequest::new(&parts.method, &parts.uri, &parts.headers, &body);
            answer(&shared, &request).await
        })
    }
}

async fn read(mut body: Body) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    Ok(bytes)
}

async fn answer(shared: &Arc<Shared>, request: &ApiRequest) -> Result<Response<AnswerBody>, BoxError> {
    let fault = {
        let mut state = shared.lock();
        state.requests.push(request.clone());
        state.strike(request)
    };
    // As over a network, nothing is answered in the same moment.
    tokio::task::yield_now().await;
    let Some((fault, handle)) = fault else { return respond(carry_out(shared, request)) };
    match fault {
        Fault::Answer(code, body) => respond(Ok((code, text_of(&body)))),
        Fault::Drop => Err(ConnectionReset.into()),
        Fault::LoseAnswer => {
            drop(carry_out(shared, request));
            Err(ConnectionReset.into())
        }
        Fault::Delay(delay) => {
            let in_flight = InFlight::new(&handle.counters);
            tokio::time::sleep(delay).await;
            drop(in_flight);
            respond(carry_out(shared, request))
        }
        Fault::Hold => {
            let in_flight = InFlight::new(&handle.counters);
            let mut released = handle.release.subscribe();
            // The sender lives as long as the handle.
            let _ = released.wait_for(|released| *released).await;
            drop(in_flight);
            respond(carry_out(shared, request))
        }
    }
}

type Answer = Result<(u16, AnswerBody), ApiError>;

fn respond(answer: Answer) -> Result<Response<AnswerBody>, BoxError> {
    let (code, body) = answer.unwrap_or_else(|error| (error.code, text_of(&error.body)));
    let response = Response::builder().status(code).header(http::header::CONTENT_TYPE, "application/json");
    response.body(body).map_err(BoxError::from)
}

/// JSON as text; a text that is no JSON as it is.
fn text_of(body: &Value) -> AnswerBody {
    AnswerBody::text(body.as_str().map_or_else(|| body.to_string(), str::to_owned))
}

fn carry_out(shared: &Arc<Shared>, request: &ApiRequest) -> Answer {
    let mut state = shared.lock();
    if request.path == "/version" {
        return Ok((200, text_of(&version(&state.git_version))));
    }
    if request.verb == Verb::List
        && let Some(found) = kinds::discovery(&state.kinds, &request.path)
    {
        return Ok((200, text_of(&found)));
    }
    let kind =
        state.served(&request.group, &request.version, &request.resource).ok_or_else(ApiError::not_served)?;
    let target = Target { kind, namespace: request.namespace.clone() };
    if request.verb == Verb::Watch {
        if request.option("sendInitialEvents") == "true" && !state.streams_lists {
            return Err(ApiError::invalid(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
            ));
        }
        let watch = WatchBody::open(shared, &state, request, target);
        return Ok((200, AnswerBody::Watch(Box::new(watch))));
    }
    let (code, object) = answer_object(&mut state, request, &target)?;
    Ok((code, text_of(&object)))
}

fn answer_object(state: &mut State, request: &ApiRequest, target: &Target) -> Result<(u16, Value), ApiError> {
    match (request.verb, request.subresource.as_str()) {
        (Verb::Create, _) if target.kind.is_review() => Ok((201, review(state, request))),
        (Verb::Create, "eviction") if target.kind.plural == "pods" => evict(state, request, target),
        (Verb::Get, "" | "status") => {
            let live = live(state, request, target)?;
            Ok((200, target.kind.present(&live, request.wants_metadata_only())))
        }
        (Verb::List, _) => Ok((200, list(state, request, target)?)),
        (Verb::Create, "") => Ok((201, state.create(request, target, &request.body)?)),
        (Verb::Update, "" | "status") => {
            let live = live(state, request, target)?;
            Ok((200, state.update(request, target, &live, request.body.clone())?))
        }
        (Verb::Patch, "" | "status") => patch(state, request, target),
        (Verb::Delete, "") => delete(state, request, target),
        (Verb::DeleteCollection, _) => Ok((200, delete_collection(state, request, target))),
        (Verb::Get, _) => Err(ApiError::not_found(&target.kind.qualified(), &request.name)),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn live(state: &State, request: &ApiRequest, target: &Target) -> Result<Arc<Value>, ApiError> {
    let live = state.get(&target.key(&request.name)).cloned();
    live.ok_or_else(|| ApiError::not_found(&target.kind.qualified(), &request.name))
}

/// One page of a collection. The token of the next names the version of the list and the last object of the page.
fn list(state: &State, request: &ApiRequest, target: &Target) -> Result<Value, ApiError> {
    let id = |object: &Value| {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        (text("namespace").to_owned(), text("name").to_owned())
    };
    let mut version = state.version;
    let mut after = None;
    if let Some((listed, last)) = request.option("continue").split_once('/') {
        version = listed.parse().map_err(|_| ApiError::bad_request("continue key is not valid"))?;
        if version <= state.expired {
            return Err(ApiError::expired());
        }
        after = last.split_once('/').map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    }
    let selected = state.select(target, request.option("labelSelector"), request.option("fieldSelector"));
    let mut rest: Vec<&Value> =
        selected.filter(|object| after.as_ref().is_none_or(|after| id(object) > *after)).collect();
    let limit = request.option("limit").parse::<usize>().ok().filter(|limit| *limit > 0);
    let limit = limit.unwrap_or(usize::MAX).min(state.page_limit);
    let has_more = rest.len() > limit;
    rest.truncate(limit);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let (true, Some(last)) = (has_more, rest.last()) {
        let (namespace, name) = id(last);
        metadata["continue"] = json!(format!("{version}/{namespace}/{name}"));
    }
    let metadata_only = request.wants_metadata_only();
    let items: Vec<Value> =
        rest.into_iter().map(|object| target.kind.present(object, metadata_only)).collect();
    let (kind, api_version) = if metadata_only {
        ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
    } else {
        (format!("{}List", target.kind.kind), target.kind.api_version())
    };
    Ok(json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}))
}

fn patch(state: &mut State, request: &ApiRequest, target: &Target) -> Result<(u16, Value), ApiError> {
    let media_type = request.content_type.split(';').next().unwrap_or_default().trim();
    if media_type == "application/apply-patch+yaml" {
        let (is_new, object) = state.apply(request, target)?;
        return Ok((if is_new { 201 } else { 200 }, object));
    }
    let live = live(state, request, target)?;
    let mut after = (*live).clone();
    match media_type {
        "application/merge-patch+json" => json_patch::merge(&mut after, &request.body),
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_value(request.body.clone())
                .map_err(|error| ApiError::bad_request(error.to_string()))?;
            json_patch::patch(&mut after, &patch)
                .map_err(|error| ApiError::invalid("patch", &error.to_string()))?;
        }
        other => return Err(ApiError::unsupported_media_type(other)),
    }
    Ok((200, state.update(request, target, &live, after)?))
}

fn delete(state: &mut State, request: &ApiRequest, target: &Target) -> Result<(u16, Value), ApiError> {
    let live = live(state, request, target)?;
    let preconditions = &request.body["preconditions"];
    for field in ["uid", "resourceVersion"] {
        if !preconditions[field].is_null() && preconditions[field] != live["metadata"][field] {
            let why = format!("the {field} in the precondition differs");
            return Err(ApiError::conflict(&target.kind.qualified(), &request.name, &why));
        }
    }
    if request.is_dry_run() {
        return Ok((200, success(request)));
    }
    let left = state.delete(&target.key(&request.name));
    Ok((200, left.map_or_else(|| success(request), |object| target.kind.present(&object, false))))
}

fn delete_collection(state: &mut State, request: &ApiRequest, target: &Target) -> Value {
    let selected = state.select(target, request.option("labelSelector"), request.option("fieldSelector"));
    let text =
        |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let keys: Vec<_> = selected
        .map(|object| {
            Target { kind: target.kind.clone(), namespace: text(object, "namespace") }
                .key(&text(object, "name"))
        })
        .collect();
    for key in keys {
        state.delete(&key);
    }
    success(request)
}

/// Deletes a pod, unless a disruption budget with no disruption left selects it.
fn evict(state: &mut State, request: &ApiRequest, target: &Target) -> Result<(u16, Value), ApiError> {
    let pod = live(state, request, target)?;
    let uid = &request.body["deleteOptions"]["preconditions"]["uid"];
    if !uid.is_null() && *uid != pod["metadata"]["uid"] {
        return Err(ApiError::conflict("pods", &request.name, "the UID in the precondition differs"));
    }
    if let Some(kind) = state.kind_of_plural("poddisruptionbudgets") {
        let budgets = Target { kind, namespace: request.namespace.clone() };
        let refuses = |budget: &&Value| {
            budget["status"]["disruptionsAllowed"] == 0 && selects(&budget["spec"]["selector"], &pod)
        };
        if let Some(budget) = state.select(&budgets, "", "").find(refuses) {
            return Err(ApiError::disruption_budget(budget["metadata"]["name"].as_str().unwrap_or_default()));
        }
    }
    if !request.is_dry_run() {
        state.delete(&target.key(&request.name));
    }
    Ok((201, success(request)))
}

fn selects(selector: &Value, object: &Value) -> bool {
    let labels = selector["matchLabels"].as_object();
    labels.into_iter().flatten().all(|(key, value)| object["metadata"]["labels"].get(key) == Some(value))
}

fn review(state: &State, request: &ApiRequest) -> Value {
    let mut review = request.body.clone();
    review["status"] =
        json!({"allowed": state.allowed, "incomplete": false, "nonResourceRules": [], "resourceRules": []});
    review
}

fn success(request: &ApiRequest) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": request.name, "kind": request.resource}})
}

fn version(git_version: &str) -> Value {
    let mut parts = git_version.trim_start_matches('v').split('.');
    json!({"major": parts.next(), "minor": parts.next(), "gitVersion": git_version, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64"})
}
