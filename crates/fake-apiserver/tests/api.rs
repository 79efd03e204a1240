//! The API server as a client of kube sees it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

use std::time::Duration;

use fake_apiserver::{FakeApiServer, Fault, Occurrence, Reaction, RequestMatcher, Verb, rules};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

fn map(name: &str, labels: &Value, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "labels": labels}, "data": data})
}

fn maps(server: &FakeApiServer) -> Api<ConfigMap> {
    Api::namespaced(server.client(), "default")
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_is_created_changed_and_deleted() {
    let server = FakeApiServer::new();
    let api = maps(&server);
    let created = api
        .create(
            &PostParams::default(),
            &serde_json::from_value(map("a", &json!({}), &json!({"x": "1"}))).unwrap(),
        )
        .await
        .unwrap();
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    let again = api.create(&PostParams::default(), &created).await.unwrap_err();
    assert_eq!(code(&again), 409);
    let patch = Patch::Merge(json!({"data": {"x": "2"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_ne!(patched.resource_version(), created.resource_version());
    let stale = api.replace("a", &PostParams::default(), &created).await.unwrap_err();
    assert_eq!(code(&stale), 409, "the version is no longer the present one");
    let other = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(other), ..DeleteParams::default() };
    assert_eq!(code(&api.delete("a", &params).await.unwrap_err()), 409);
    assert!(api.delete("a", &DeleteParams::default()).await.unwrap().is_right());
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_keeps_an_object_until_it_is_removed() {
    let server = FakeApiServer::new();
    let mut object = map("a", &json!({}), &json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    server.put(object);
    let api = maps(&server);
    let deleted = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(deleted.left().unwrap().metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    api.patch_metadata("a", &PatchParams::default(), &patch).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_selected_and_listed_page_by_page() {
    let server = FakeApiServer::new();
    for index in 0..5 {
        server.put(map(&format!("m{index}"), &json!({"even": (index % 2 == 0).to_string()}), &json!({})));
    }
    let api = maps(&server);
    assert_eq!(api.list(&ListParams::default().labels("even=true")).await.unwrap().items.len(), 3);
    assert_eq!(api.list(&ListParams::default().fields("metadata.name=m3")).await.unwrap().items.len(), 1);
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().continue_token(&token)).await.unwrap();
    let names: Vec<String> = first.items.iter().chain(&rest.items).map(ResourceExt::name_any).collect();
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
    server.expire_history();
    let expired = api.list(&ListParams::default().continue_token(&token)).await.unwrap_err();
    assert_eq!(code(&expired), 410);
    let metadata = api.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(metadata.items[0].metadata.name.as_deref(), Some("m0"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_lists_follows_and_survives_a_restart_of_the_server() {
    for streaming in [true, false] {
        let server = FakeApiServer::new();
        server.put(map("a", &json!({"watched": "yes"}), &json!({})));
        let config = watcher::Config::default().labels("watched=yes");
        let config = if streaming { config.streaming_lists() } else { config };
        let mut events = watcher(maps(&server), config).boxed();
        let mut next = async || match events.next().await.unwrap().unwrap() {
            Event::Init => "init".to_owned(),
            Event::InitDone => "listed".to_owned(),
            Event::InitApply(map) | Event::Apply(map) => format!("+{}", map.name_any()),
            Event::Delete(map) => format!("-{}", map.name_any()),
        };
        assert_eq!([next().await, next().await, next().await], ["init", "+a", "listed"]);
        server.put(map("b", &json!({"watched": "yes"}), &json!({})));
        assert_eq!(next().await, "+b");
        server.end_watches();
        server.patch_as(
            "someone",
            "configmaps",
            "default",
            "b",
            json!({"metadata": {"labels": {"watched": "no"}}}),
        );
        assert_eq!(next().await, "-b", "it is not selected any more");
        server.delete("configmaps", "default", "a");
        assert_eq!(next().await, "-a");
    }
}

#[tokio::test(start_paused = true)]
async fn an_apply_owns_its_fields_and_leaves_those_of_others() {
    let server = FakeApiServer::new();
    let api = maps(&server);
    let apply = async |manager: &str, data: Value, force: bool| {
        let params = PatchParams { force, ..PatchParams::apply(manager) };
        api.patch("a", &params, &Patch::Apply(map("a", &json!({}), &data))).await
    };
    apply("x", json!({"a": "1", "b": "1"}), false).await.unwrap();
    assert_eq!(code(&apply("y", json!({"a": "2"}), false).await.unwrap_err()), 409);
    apply("y", json!({"a": "2"}), true).await.unwrap();
    let last = apply("x", json!({}), false).await.unwrap();
    assert_eq!(last.data.unwrap(), [("a".to_owned(), "2".to_owned())].into());
    let version = last.metadata.resource_version;
    let same = apply("y", json!({"a": "2"}), true).await.unwrap();
    assert_eq!(same.metadata.resource_version, version, "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn the_status_and_the_generation_follow_the_rules_of_the_api() {
    let server = FakeApiServer::new();
    server.rule(|change| rules::workloads_become_ready(change, 1));
    let api: Api<Deployment> = Api::namespaced(server.client(), "default");
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 2}});
    let params = PatchParams::apply("x");
    api.patch("a", &params, &Patch::Apply(&deployment)).await.unwrap();
    let live = server.get("deployments", "default", "a").unwrap();
    assert_eq!(live["status"]["availableReplicas"], 2);
    let patch = Patch::Merge(json!({"status": {"availableReplicas": 0}, "metadata": {"labels": {"a": "b"}}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.metadata.generation, Some(1));
    assert_eq!(
        patched.status.unwrap().available_replicas,
        Some(2),
        "only its own endpoint writes the status"
    );
    let scaled = api
        .patch("a", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 3}})))
        .await
        .unwrap();
    assert_eq!(scaled.metadata.generation, Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_established_definition_is_served_until_it_is_deleted() {
    let server = FakeApiServer::new();
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true}]}});
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Thing"));
    let things: Api<DynamicObject> = Api::namespaced_with(server.client(), "default", &kind);
    assert_eq!(code(&things.list(&ListParams::default()).await.unwrap_err()), 404);
    server.apply_as("x", crd).unwrap();
    things.create(&PostParams::default(), &DynamicObject::new("a", &kind)).await.unwrap();
    assert!(
        server
            .client()
            .list_api_groups()
            .await
            .unwrap()
            .groups
            .iter()
            .any(|group| group.name == "example.com")
    );
    server.delete("customresourcedefinitions", "", "things.example.com");
    assert_eq!(code(&things.get("a").await.unwrap_err()), 404);
}

#[tokio::test(start_paused = true)]
async fn a_disruption_budget_refuses_an_eviction() {
    let server = FakeApiServer::new();
    server.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default", "labels": {"app": "a"}}}));
    server.put(json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}}, "status": {"disruptionsAllowed": 0}}));
    let pods: Api<Pod> = Api::namespaced(server.client(), "default");
    assert_eq!(code(&pods.evict("p", &EvictParams::default()).await.unwrap_err()), 429);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(server.client(), "default");
    budgets.delete("b", &DeleteParams::default()).await.unwrap();
    pods.evict("p", &EvictParams::default()).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn faults_meet_the_requests_that_they_are_set_for() {
    let server = FakeApiServer::new();
    server.put(map("a", &json!({}), &json!({"x": "1"})));
    let api = maps(&server);
    let reads = RequestMatcher::verb(Verb::Get).resource("configmaps").named("a");
    server.fail(reads.clone(), Occurrence::Nth(2), Fault::status(503, "busy"));
    server.fail(reads.clone(), Occurrence::Nth(3), Fault::Drop);
    assert!(api.get("a").await.is_ok());
    assert_eq!(code(&api.get("a").await.unwrap_err()), 503);
    assert!(matches!(api.get("a").await.unwrap_err(), kube::Error::Service(_)));
    let hold = server.fail(RequestMatcher::writes(), Occurrence::First(1), Fault::Hold);
    let writing = tokio::spawn({
        let api = api.clone();
        async move { api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"x": "2"}}))).await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        (hold.in_flight(), server.get("configmaps", "default", "a").unwrap()["data"]["x"].clone()),
        (1, json!("1"))
    );
    hold.release();
    writing.await.unwrap().unwrap();
    server.fail(RequestMatcher::writes(), Occurrence::Always, Fault::LoseAnswer);
    assert!(api.delete("a", &DeleteParams::default()).await.is_err());
    assert_eq!(server.get("configmaps", "default", "a"), None, "it was carried out");
    assert_eq!(server.matching(&reads).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stores_nothing_and_passes_admission() {
    let server = FakeApiServer::new();
    server.admission("configmaps", |_, object| object["data"]["admitted"] = json!("yes"));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object = serde_json::from_value(map("a", &json!({}), &json!({}))).unwrap();
    let answer = maps(&server).create(&params, &object).await.unwrap();
    assert_eq!(answer.data.unwrap()["admitted"], "yes");
    assert_eq!(server.get("configmaps", "default", "a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_react_later() {
    let server = FakeApiServer::new();
    server.rule(|change| {
        if !change.is_present("ConfigMap") || change.object["data"]["x"] != "1" {
            return Vec::new();
        }
        let mut next = change.object.clone();
        next["data"]["x"] = json!("2");
        vec![Reaction::Later(Duration::from_secs(5), Box::new(Reaction::Put(next)))]
    });
    let seen = server.version();
    server.put(map("a", &json!({}), &json!({"x": "1"})));
    let seen = server.changed_after(seen).await;
    assert_eq!(server.get("configmaps", "default", "a").unwrap()["data"]["x"], "1");
    server.changed_after(seen).await;
    assert_eq!(server.get("configmaps", "default", "a").unwrap()["data"]["x"], "2");
}
