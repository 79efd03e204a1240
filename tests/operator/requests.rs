//! What the operator asks of the API server, and what it does not have to ask.

use std::collections::BTreeSet;

use istio_manager::api::conditions::State;
use serde_json::json;
use testbed::{ControlPlane, FaultProxy, Request, TestResult};

use crate::bed::{Bed, Result, USER};

pub async fn an_idle_reconcile_reads_nothing_that_is_watched(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start_with(control_plane, &["--reconciliation-interval=1s"]).await?;
    bed.ensure_installed().await?;
    bed.wait_for_log("scanned the data plane").await?;
    let needed = BTreeSet::from([("get", "/version"), ("get", "secrets")]);
    // Now and then the data plane looks around between two reconciles.
    let mut found = Vec::new();
    for _ in 0..5 {
        let mark = control_plane.audit().mark().await?;
        bed.wait_for_log_again("reconciled", 1).await?;
        let requests = control_plane.audit().since(&mark).await?.of(USER).without_leases();
        let requested: BTreeSet<_> =
            requests.iter().map(|request| (request.verb.as_str(), request.resource.as_str())).collect();
        if requested == needed {
            return bed.stop().await;
        }
        found.push(requests.to_string());
    }
    Err(found.join("\n").into())
}

pub async fn client_and_controller_metrics_match_the_audit_log(control_plane: &ControlPlane) -> TestResult {
    let mark = control_plane.audit().mark().await?;
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    bed.edit("default", json!({"config": {"numTrustedProxies": 4}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    // The Lease is renewed meanwhile, so that the log is between the two.
    let before = bed.metrics().await?;
    let requests = control_plane.audit().since(&mark).await?.of(USER);
    let after = bed.metrics().await?;
    for (verb, method) in [("patch", "PATCH"), ("create", "POST"), ("update", "PUT")] {
        let logged = requests.iter().filter(|request| request.verb == verb).count();
        let (least, most) = (requests_by(&before, method)?, requests_by(&after, method)?);
        assert!((least..=most).contains(&logged), "{method}: {least}, {logged} in the log, {most}");
    }
    assert!(requests_by(&before, "PATCH")? > 5, "{before}");
    for (name, least) in [
        ("controller_runtime_reconcile_total{controller=\"istio\",result=\"success\"}", 1.0),
        ("controller_runtime_reconcile_time_seconds_count{controller=\"istio\"}", 1.0),
        ("workqueue_work_duration_seconds_count{name=\"istio\",controller=\"istio\"}", 1.0),
        ("workqueue_retries_total{name=\"istio\",controller=\"istio\"}", 0.0),
        ("workqueue_longest_running_processor_seconds{name=\"istio\",controller=\"istio\"}", 0.0),
        ("controller_runtime_max_concurrent_reconciles{controller=\"istio\"}", 1.0),
        ("process_cpu_seconds_total", 0.0),
    ] {
        let value = values(&before, name).next().ok_or_else(|| format!("no {name} in {before}"))?;
        assert!(value >= least, "{name} {value}");
    }
    bed.stop().await
}

/// How many requests the metrics tell for a method.
fn requests_by(metrics: &str, method: &str) -> Result<usize> {
    let of_method = metrics.lines().filter(|line| {
        line.starts_with("rest_client_requests_total{") && line.contains(&format!("method=\"{method}\""))
    });
    let counts = of_method.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<usize>());
    Ok(counts.sum::<std::result::Result<_, _>>()?)
}

/// The values of the metrics with this name and these labels.
fn values<'m>(metrics: &'m str, name: &'m str) -> impl Iterator<Item = f64> + 'm {
    metrics.lines().filter_map(move |line| line.strip_prefix(name)?.trim().parse().ok())
}

pub async fn watched_kinds_are_not_listed_first(control_plane: &ControlPlane) -> TestResult {
    let mark = control_plane.audit().mark().await?;
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    bed.wait_until_reconciled().await?;
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

pub async fn plain_lists_are_used_if_the_api_server_cannot_stream_them(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 32).await?;
    proxy.stream_no_lists();
    let bed = Bed::start_through(control_plane, &proxy).await?;
    bed.ensure_installed().await?;
    bed.edit("default", json!({"config": {"numTrustedProxies": 3}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}
