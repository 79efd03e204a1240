//! What the operator asks of the API server, and what it does not have to ask.

use std::collections::BTreeSet;

use istio_manager::api::conditions::State;
use serde_json::json;
use testbed::{ControlPlane, FaultProxy, Request, TestResult};

use crate::bed::{Bed, USER};

pub async fn a_reconcile_without_news_reads_nothing_that_is_watched(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start_with(control_plane, &["--reconciliation-interval=1s"]).await?;
    bed.installed().await?;
    bed.says_in_log("looked at the data plane").await?;
    let needed = BTreeSet::from([("get", "/version"), ("get", "secrets")]);
    // Now and then the data plane looks around between two reconciles.
    let mut found = Vec::new();
    for _ in 0..5 {
        let mark = control_plane.audit().mark().await?;
        bed.says_again_in_log("reconciled", 1).await?;
        let requests = control_plane.audit().since(&mark).await?.of(USER).without_leases();
        let asked: BTreeSet<_> =
            requests.iter().map(|request| (request.verb.as_str(), request.resource.as_str())).collect();
        if asked == needed {
            return bed.stop().await;
        }
        found.push(requests.to_string());
    }
    Err(found.join("\n").into())
}

pub async fn what_is_watched_is_not_listed_before(control_plane: &ControlPlane) -> TestResult {
    let mark = control_plane.audit().mark().await?;
    let bed = Bed::start(control_plane).await?;
    bed.installed().await?;
    bed.reconciled().await?;
    let requests = control_plane.audit().since(&mark).await?.of(USER).without_leases();
    let watches = || requests.iter().filter(|request| request.verb == "watch");
    assert!(watches().count() > 20, "{requests}");
    // Pods are judged while they are listed, page by page, and watched from there on.
    let twice: Vec<_> = watches()
        .filter(|watch| watch.resource != "pods" && !watch.uri.contains("sendInitialEvents=true"))
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    let path = |request: &Request| request.uri.split('?').next().unwrap_or_default().to_owned();
    let streamed: BTreeSet<String> = watches().filter(|watch| watch.resource != "pods").map(path).collect();
    let lists = requests.iter().filter(|request| request.verb == "list");
    let before: Vec<_> = lists.filter(|list| streamed.contains(&path(list))).collect();
    assert!(before.is_empty(), "{before:?}");
    bed.stop().await
}

pub async fn an_api_server_that_streams_no_lists_is_asked_for_lists(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 32).await?;
    proxy.stream_no_lists();
    let bed = Bed::start_through(control_plane, &proxy).await?;
    bed.installed().await?;
    bed.edit("default", json!({"config": {"numTrustedProxies": 3}})).await?;
    bed.settles("default", State::Ready).await?;
    bed.edit("default", json!({"config": null})).await?;
    bed.settles("default", State::Ready).await?;
    bed.stop().await
}
