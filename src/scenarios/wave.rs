//! Restarts of workloads with outdated sidecars.

use fake_apiserver::{Fault, Occurrence, RequestMatcher, Verb};
use serde_json::{Value, json};

use super::cluster::{Cluster, NAMESPACE, scenario};
use super::mesh::{FAILING_LABEL, Mesh};

const RESTARTER: &str = "restarter.istio-operator.kyma-project.io";

/// The share of the mesh that may be outdated without a cause; the scenarios change pods, not the configuration.
fn any_share() -> Value {
    json!({"spec": {"restarter": {"unexplainedSharePercent": 100}}})
}

fn data_plane(cluster: &Cluster) -> Value {
    cluster.status()["dataPlane"].clone()
}

async fn until_restarted(cluster: &Cluster, mesh: &Mesh, workloads: &[(&str, &str)]) {
    cluster
        .until("all are restarted", |_| {
            workloads.iter().all(|(namespace, name)| mesh.was_restarted(namespace, name))
        })
        .await;
}

/// What blocks the restart of a workload, as the status says.
fn blocked_by(cluster: &Cluster, name: &str) -> Option<String> {
    let blocked = data_plane(cluster)["blockedWorkloads"].as_array().cloned().unwrap_or_default();
    blocked.iter().find(|workload| workload["name"] == name)?["blockedBy"].as_str().map(str::to_owned)
}

#[test]
fn an_outdated_workload_is_restarted_and_others_are_not() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let mesh = Mesh::new(&cluster);
        mesh.deploy("shop", "old", "proxy:1");
        mesh.deploy("shop", "new", &mesh.image());
        until_restarted(&cluster, &mesh, &[("shop", "old")]).await;
        cluster.until("it is counted", |cluster| data_plane(cluster)["restarted"] == 1).await;
        cluster.pass(900).await;
        assert!(!mesh.was_restarted("shop", "new"));
        assert_eq!(mesh.proxies("shop"), [mesh.image(), mesh.image()]);
        assert_eq!(cluster.condition("ProxySidecarRestartSucceeded").0, "True");
        operator.stop().await;
    });
}

#[test]
fn restarts_keep_to_the_pace_of_a_namespace() {
    scenario(async |cluster| {
        cluster.create("default", json!({"restarter": {"maxUnfinished": 3, "maxUnfinishedPerNamespace": 2, "unexplainedSharePercent": 100}}));
        let operator = cluster.start();
        cluster.until_state("Ready").await;
        let mesh = Mesh::new(&cluster);
        let workloads: Vec<String> = (0..8).map(|index| format!("w{index}")).collect();
        for name in &workloads {
            mesh.deploy("shop", name, "proxy:1");
            mesh.deploy("bank", name, "proxy:1");
        }
        let mut most = (0, 0);
        let mut seen = cluster.server.version();
        while !workloads
            .iter()
            .all(|name| mesh.was_restarted("shop", name) && mesh.was_restarted("bank", name))
        {
            let unfinished = (mesh.unfinished("shop"), mesh.unfinished("bank"));
            most = (most.0.max(unfinished.0).max(unfinished.1), most.1.max(unfinished.0 + unfinished.1));
            seen = cluster.server.changed_after(seen).await;
        }
        assert_eq!(most, (2, 3));
        operator.stop().await;
    });
}

#[test]
fn failures_of_a_namespace_stop_the_restarts_of_this_namespace() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(any_share());
        let mesh = Mesh::new(&cluster);
        for index in 0..12 {
            mesh.deploy_with(
                "broken",
                &format!("b{index:02}"),
                "proxy:1",
                &json!({"labels": {FAILING_LABEL: "true"}}),
            );
        }
        mesh.deploy("shop", "cart", "proxy:1");
        until_restarted(&cluster, &mesh, &[("shop", "cart")]).await;
        cluster.until("they are on hold", |cluster| !data_plane(cluster)["onHold"].is_null()).await;
        let restarted = (0..12).filter(|index| mesh.was_restarted("broken", &format!("b{index:02}"))).count();
        assert!((3..12).contains(&restarted), "{restarted}");
        assert!(cluster.events().iter().any(|reason| reason == "RestartsStopped"), "{:?}", cluster.events());
        operator.stop().await;
    });
}

#[test]
fn an_unexplained_wave_waits_for_approval() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let mesh = Mesh::new(&cluster);
        for index in 0..5 {
            mesh.deploy("shop", &format!("w{index}"), &mesh.image());
        }
        // Everything is up to date for the configuration before anything is outdated without a cause.
        cluster.pass(1200).await;
        for index in 0..5 {
            mesh.deploy("shop", &format!("w{index}"), "proxy:1");
        }
        cluster.until("it is on hold", |cluster| !data_plane(cluster)["onHold"].is_null()).await;
        cluster.pass(600).await;
        assert!((0..5).all(|index| !mesh.was_restarted("shop", &format!("w{index}"))));
        let text = data_plane(&cluster)["onHold"].as_str().unwrap().to_owned();
        let approval = text.split(crate::dataplane::names::APPROVE_RESTARTS_ANNOTATION).nth(1).unwrap();
        let id: String = approval
            .trim_start_matches(['=', ':', ' ', '"'])
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        cluster.edit(
            json!({"metadata": {"annotations": {crate::dataplane::names::APPROVE_RESTARTS_ANNOTATION: id}}}),
        );
        until_restarted(&cluster, &mesh, &[("shop", "w0"), ("shop", "w4")]).await;
        operator.stop().await;
    });
}

#[test]
fn workloads_are_not_restarted_against_their_annotations() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(any_share());
        let mesh = Mesh::new(&cluster);
        // A window of one minute that is half a week away, whatever day it is.
        let now = k8s_openapi::jiff::Timestamp::now().as_second();
        let day =
            ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(now / 86_400 + 3).unwrap() % 7];
        let annotations = [
            ("excluded", "exclude", "true".to_owned()),
            ("later", "maintenance-window", format!("{day} 00:00-00:01")),
            ("unreadable", "maintenance-window", "at night".to_owned()),
        ];
        for (name, annotation, value) in &annotations {
            let metadata = json!({"annotations": {format!("{RESTARTER}/{annotation}"): value}});
            mesh.deploy_with("shop", name, "proxy:1", &metadata);
        }
        mesh.deploy("shop", "cart", "proxy:1");
        until_restarted(&cluster, &mesh, &[("shop", "cart")]).await;
        cluster.pass(1200).await;
        for (name, _, _) in &annotations {
            assert!(!mesh.was_restarted("shop", name), "{name}");
        }
        operator.stop().await;
    });
}

#[test]
fn outdated_workloads_are_only_reported_if_restarts_are_off() {
    scenario(async |cluster| {
        cluster.create("default", json!({"restarter": {"enabled": false}}));
        let operator = cluster.start();
        cluster.until_state("Ready").await;
        let mesh = Mesh::new(&cluster);
        mesh.deploy("shop", "cart", "proxy:1");
        cluster.until("it is reported", |cluster| data_plane(cluster)["stale"] == 1).await;
        cluster.pass(1200).await;
        assert!(!mesh.was_restarted("shop", "cart"));
        assert!(blocked_by(&cluster, "cart").is_some(), "{:#}", data_plane(&cluster));
        cluster.edit(json!({"spec": {"restarter": {"enabled": true}}}));
        until_restarted(&cluster, &mesh, &[("shop", "cart")]).await;
        operator.stop().await;
    });
}

#[test]
fn a_workload_whose_restart_is_refused_is_reported_and_others_go_on() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(any_share());
        let restarts = RequestMatcher::verb(Verb::Patch).resource("deployments").named("guarded");
        cluster.server.fail(restarts, Occurrence::Always, Fault::status(403, "denied by policy"));
        let mesh = Mesh::new(&cluster);
        mesh.deploy("shop", "guarded", "proxy:1");
        mesh.deploy("shop", "cart", "proxy:1");
        until_restarted(&cluster, &mesh, &[("shop", "cart")]).await;
        cluster
            .until("it is reported", |cluster| {
                blocked_by(cluster, "guarded").is_some_and(|text| text.contains("denied by policy"))
            })
            .await;
        assert_eq!(data_plane(&cluster)["failed"], 0, "a refusal is no failed rollout");
        operator.stop().await;
    });
}

#[test]
fn a_wave_survives_an_api_server_in_trouble() {
    for fault in [Fault::status(409, "modified"), Fault::status(503, "restarting"), Fault::LoseAnswer] {
        scenario(async |cluster| {
            let operator = cluster.installed().await;
            cluster.edit(any_share());
            let mesh = Mesh::new(&cluster);
            let restarts = RequestMatcher::verb(Verb::Patch).resource("deployments").namespace("shop");
            let fault = cluster.server.fail(restarts, Occurrence::First(2), fault.clone());
            for name in ["a", "b"] {
                mesh.deploy("shop", name, "proxy:1");
            }
            cluster.until("both are restarted", |cluster| data_plane(cluster)["restarted"] == 2).await;
            assert_eq!(fault.hits(), 2);
            assert_eq!(mesh.proxies("shop"), [mesh.image(), mesh.image()]);
            operator.stop().await;
        });
    }
}

#[test]
fn no_restart_is_made_that_cannot_be_recorded() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(any_share());
        cluster.pass(300).await;
        let writes = RequestMatcher::writes().resource("configmaps").namespace(NAMESPACE);
        let fault = cluster.server.fail(writes, Occurrence::Always, Fault::status(403, "read-only"));
        let mesh = Mesh::new(&cluster);
        mesh.deploy("shop", "cart", "proxy:1");
        cluster.pass(1200).await;
        assert!(fault.hits() > 0 && !mesh.was_restarted("shop", "cart"));
        fault.release();
        until_restarted(&cluster, &mesh, &[("shop", "cart")]).await;
        operator.stop().await;
    });
}

#[test]
fn a_killed_operator_does_not_restart_a_workload_twice() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(any_share());
        let mesh = Mesh::new(&cluster);
        mesh.deploy("shop", "cart", "proxy:1");
        until_restarted(&cluster, &mesh, &[("shop", "cart")]).await;
        operator.kill().await;
        let operator = cluster.start();
        cluster.pass(1200).await;
        let restarts =
            cluster.server.matching(&RequestMatcher::verb(Verb::Patch).resource("deployments").named("cart"));
        assert_eq!(restarts.len(), 1);
        operator.stop().await;
    });
}

#[test]
fn an_uninstall_restarts_the_mesh_while_istiod_runs() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let mesh = Mesh::new(&cluster);
        mesh.deploy("shop", "cart", &mesh.image());
        cluster.pass(300).await;
        cluster.server.forget_requests();
        cluster.delete();
        cluster.until("the resource is gone", |cluster| cluster.istio("default").is_none()).await;
        let position = |verb: Verb, name: &str| {
            cluster
                .server
                .requests()
                .iter()
                .position(|request| request.verb == verb && request.name == name)
                .unwrap()
        };
        let order = [
            position(Verb::Delete, "istio-revision-tag-default"),
            position(Verb::Patch, "cart"),
            position(Verb::Delete, "istio-ingressgateway"),
            position(Verb::Delete, "istiod"),
        ];
        assert!(order.is_sorted(), "{order:?}");
        operator.stop().await;
    });
}
