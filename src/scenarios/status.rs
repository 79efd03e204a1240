//! What the status says, and that it says it whatever happens to its writes.

use fake_apiserver::{Fault, Occurrence, RequestMatcher, Verb};
use serde_json::{Value, json};

use super::cluster::{STUCK_LABEL, scenario, write_of};
use super::mesh::Mesh;

fn status_writes() -> RequestMatcher {
    RequestMatcher::verb(Verb::Patch).resource("istios").subresource("status")
}

#[test]
fn a_refused_status_write_is_retried() {
    for code in [500, 429, 503] {
        scenario(async |cluster| {
            let fault =
                cluster.server.fail(status_writes(), Occurrence::First(4), Fault::status(code, "later"));
            let operator = cluster.installed().await;
            assert_eq!(fault.hits(), 4);
            operator.stop().await;
        });
    }
}

#[test]
fn the_stage_is_visible_while_istio_is_installed() {
    scenario(async |cluster| {
        let hold = cluster.server.fail(write_of("deployments", "istiod"), Occurrence::First(1), Fault::Hold);
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster
            .until("istiod is named", |cluster| {
                cluster.status()["description"].as_str().is_some_and(|text| text.contains("istiod"))
            })
            .await;
        assert_eq!(cluster.status()["state"], "Processing");
        assert_eq!(cluster.condition("Ready").0, "Unknown");
        hold.release();
        cluster.until_state("Ready").await;
        operator.stop().await;
    });
}

#[test]
fn a_change_of_the_ready_reason_is_an_event() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(json!({"spec": {"values": {"no": {"such": "value"}}}}));
        cluster.until_state("Warning").await;
        cluster.pass(5).await;
        let reason = cluster.condition("Ready").1;
        for expected in ["ReconcileSucceeded", &reason] {
            assert!(
                cluster.events().iter().any(|event| event == expected),
                "{expected} {:?}",
                cluster.events()
            );
        }
        operator.stop().await;
    });
}

#[test]
fn a_status_that_is_too_large_is_written_without_the_data_plane() {
    scenario(async |cluster| {
        let too_large = status_writes().matching(|request| !request.body["status"]["dataPlane"].is_null());
        cluster.server.fail(too_large, Occurrence::Always, Fault::status(413, "request is too large"));
        let operator = cluster.installed().await;
        cluster.pass(300).await;
        cluster.edit(json!({"spec": {"values": {"no": {"such": "value"}}}}));
        cluster.until_state("Warning").await;
        assert_eq!(cluster.status()["dataPlane"], Value::Null);
        operator.stop().await;
    });
}

#[test]
fn reports_of_both_controllers_do_not_replace_each_other() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let mesh = Mesh::new(&cluster);
        mesh.deploy("shop", "cart", "outdated");
        let restarted = |status: &Value| status["dataPlane"]["restarted"] == 1;
        cluster.until("a restart", |cluster| restarted(&cluster.status())).await;
        let failing =
            json!({"metadata": {"labels": {STUCK_LABEL: "true"}}, "status": {"availableReplicas": 0}});
        cluster.server.patch_as("kubelet", "deployments", "istio-system", "istio-ingressgateway", failing);
        cluster.until_reason("ReconcileFailed").await;
        assert!(restarted(&cluster.status()), "{:#}", cluster.status());
        assert_eq!(cluster.condition("ProxySidecarRestartSucceeded").0, "True");
        operator.stop().await;
    });
}
