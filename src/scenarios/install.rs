//! From a resource to a running Istio, and what keeps it from getting there.

use fake_apiserver::{ApiRequest, Fault, Occurrence, RequestMatcher, Verb};
use serde_json::{Value, json};

use super::cluster::{Cluster, INVENTORY, ISTIO, NAMESPACE, STUCK_LABEL, condition_of, scenario, write_of};

/// One object of each stage, in the order of the stages.
const OBJECT_OF_EACH_STAGE: [(&str, &str); 9] = [
    ("namespaces", "istio-system"),
    ("customresourcedefinitions", "gateways.networking.istio.io"),
    ("serviceaccounts", "istiod"),
    ("clusterroles", "istiod-clusterrole-istio-system"),
    ("configmaps", "istio"),
    ("deployments", "istiod"),
    ("mutatingwebhookconfigurations", "istio-revision-tag-default"),
    ("daemonsets", "istio-cni-node"),
    ("deployments", "istio-ingressgateway"),
];

#[test]
fn a_fresh_cluster_gets_istio_and_the_resource_is_ready() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        assert_eq!(cluster.condition("Ready"), ("True".to_owned(), "ReconcileSucceeded".to_owned()));
        assert_eq!(cluster.status()["description"], Value::Null);
        for (resource, name) in OBJECT_OF_EACH_STAGE {
            let namespace = if cluster.server.get(resource, "", name).is_some() { "" } else { ISTIO };
            assert!(cluster.server.get(resource, namespace, name).is_some(), "{resource} {name}");
        }
        let resource = cluster.istio("default").unwrap();
        assert_eq!(resource["metadata"]["finalizers"].as_array().map(Vec::len), Some(1), "{resource:#}");
        assert!(cluster.inventory().iter().any(|(kind, name)| kind == "Deployment" && name == "istiod"));
        operator.stop().await;
    });
}

#[test]
fn a_reconcile_with_nothing_new_reads_twice_and_writes_nothing() {
    scenario(async |mut cluster| {
        cluster.settings.reconciliation_interval = std::time::Duration::from_secs(60);
        let operator = cluster.installed().await;
        cluster.pass(240).await;
        cluster.server.forget_requests();
        cluster.pass(240).await;
        let requests = cluster.server.requests();
        let versions = requests.iter().filter(|request| request.path == "/version").count();
        let inventories = requests.iter().filter(|request| request.name == INVENTORY).count();
        assert!(versions >= 3 && versions == inventories, "{versions} {inventories}");
        // The rest is watches that are opened again, and what the data plane reads.
        let of_data_plane = [
            "pods",
            "namespaces",
            "deployments",
            "daemonsets",
            "configmaps",
            "networkpolicies",
            "poddisruptionbudgets",
            "replicasets",
        ];
        let others: Vec<String> = requests
            .iter()
            .filter(|request| {
                request.verb != Verb::Watch && request.path != "/version" && request.name != INVENTORY
            })
            .filter(|request| !of_data_plane.contains(&request.resource.as_str()) || request.is_write())
            .map(ApiRequest::summary)
            .collect();
        assert_eq!(others, Vec::<String>::new());
        operator.stop().await;
    });
}

#[test]
fn a_restarted_operator_writes_nothing_to_an_unchanged_cluster() {
    scenario(async |cluster| {
        cluster.installed().await.stop().await;
        cluster.server.forget_requests();
        let operator = cluster.start();
        cluster.pass(120).await;
        assert_eq!(cluster.writes(), Vec::<String>::new());
        assert!(!cluster.server.matching(&RequestMatcher::verb(Verb::Get).named(INVENTORY)).is_empty());
        operator.stop().await;
    });
}

#[test]
fn an_invalid_spec_is_reported_and_nothing_is_written() {
    scenario(async |cluster| {
        cluster.create("default", json!({"values": {"no": {"such": "value"}}}));
        let operator = cluster.start();
        cluster.until_state("Warning").await;
        assert_eq!(cluster.condition("Ready").0, "False");
        assert_eq!(cluster.writes(), Vec::<String>::new());
        assert_eq!(cluster.server.get("namespaces", "", ISTIO), None);
        cluster.edit(json!({"spec": {"values": null}}));
        cluster.until_state("Ready").await;
        operator.stop().await;
    });
}

#[test]
fn a_second_resource_is_ignored_until_the_first_is_gone() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.create_in(NAMESPACE, "second", &json!({}), "2026-02-01T00:00:00Z");
        let reason =
            |cluster: &Cluster| condition_of(&cluster.istio("second").unwrap_or_default(), "Ready").1;
        cluster.until("the second is refused", |cluster| reason(cluster) == "OlderCRExists").await;
        assert_eq!(cluster.istio("second").unwrap()["status"]["state"], "Warning");
        cluster.delete();
        cluster.until("the first is gone", |cluster| cluster.istio("default").is_none()).await;
        cluster.until("the second is followed", |cluster| reason(cluster) == "ReconcileSucceeded").await;
        operator.stop().await;
    });
}

#[test]
fn a_resource_in_another_namespace_is_refused() {
    scenario(async |cluster| {
        cluster.create_in("default", "default", &json!({}), "2026-01-01T00:00:00Z");
        let operator = cluster.start();
        let status =
            |cluster: &Cluster| cluster.server.get("istios", "default", "default").unwrap()["status"].clone();
        cluster.until("it is refused", |cluster| status(cluster)["state"] == "Error").await;
        assert_eq!(cluster.writes(), Vec::<String>::new());
        operator.stop().await;
    });
}

#[test]
fn a_paused_resource_writes_nothing_until_the_pause_ends() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let pause = |value: Value| json!({"metadata": {"annotations": {"istios.operator.kyma-project.io/pause": value}}});
        cluster.edit(pause(json!("true")));
        cluster.until_reason("ReconcilePaused").await;
        cluster.server.forget_requests();
        cluster.server.delete("services", ISTIO, "istio-ingressgateway");
        cluster.edit(json!({"spec": {"config": {"numTrustedProxies": 2}}}));
        cluster.pass(300).await;
        assert_eq!(cluster.writes(), Vec::<String>::new());
        cluster.edit(pause(Value::Null));
        cluster.until_reason("ReconcileSucceeded").await;
        assert!(cluster.object("services", "istio-ingressgateway").is_some());
        operator.stop().await;
    });
}

/// The resource is read while others write it: a conflict about the finalizers is answered by a fresh read.
#[test]
fn a_conflict_about_the_finalizers_is_resolved() {
    scenario(async |cluster| {
        let conflicts = RequestMatcher::verb(Verb::Patch).resource("istios").subresource("");
        cluster.server.fail(
            conflicts,
            Occurrence::First(3),
            Fault::status(409, "the object has been modified"),
        );
        cluster.installed().await.stop().await;
    });
}

fn transient_errors_of_each_stage_do_not_fail_the_installation(fault: &Fault) {
    scenario(async |cluster| {
        let faults: Vec<_> = OBJECT_OF_EACH_STAGE
            .into_iter()
            .map(|(resource, name)| {
                cluster.server.fail(write_of(resource, name), Occurrence::First(2), fault.clone())
            })
            .collect();
        let operator = cluster.installed().await;
        for (fault, object) in faults.iter().zip(OBJECT_OF_EACH_STAGE) {
            assert_eq!(fault.hits(), 2, "{object:?}");
        }
        assert!(
            !cluster.events().iter().any(|reason| reason == "IstioInstallUninstallFailed"),
            "{:?}",
            cluster.events()
        );
        operator.stop().await;
    });
}

#[test]
fn conflicts_of_each_stage_do_not_fail_the_installation() {
    transient_errors_of_each_stage_do_not_fail_the_installation(&Fault::status(409, "modified"));
}

#[test]
fn a_throttling_api_server_does_not_fail_the_installation() {
    transient_errors_of_each_stage_do_not_fail_the_installation(&Fault::status(429, "too many requests"));
}

#[test]
fn internal_errors_of_each_stage_do_not_fail_the_installation() {
    transient_errors_of_each_stage_do_not_fail_the_installation(&Fault::status(500, "etcd is down"));
}

#[test]
fn answers_lost_at_each_stage_do_not_fail_the_installation() {
    transient_errors_of_each_stage_do_not_fail_the_installation(&Fault::LoseAnswer);
}

#[test]
fn an_object_that_is_refused_is_reported_and_retried() {
    for (resource, name) in [("configmaps", "istio"), ("deployments", "istio-ingressgateway")] {
        scenario(async |cluster| {
            let refusal = Fault::status(403, "denied by policy no-istio");
            let fault = cluster.server.fail(write_of(resource, name), Occurrence::Always, refusal);
            cluster.create("default", json!({}));
            let operator = cluster.start();
            cluster.until_state("Error").await;
            assert_eq!(cluster.condition("Ready").1, "IstioInstallUninstallFailed");
            let description = cluster.status()["description"].as_str().unwrap().to_owned();
            assert!(
                description.contains("denied by policy no-istio") && description.contains(name),
                "{description}"
            );
            fault.release();
            cluster.until_state("Ready").await;
            operator.stop().await;
        });
    }
}

/// Keeps a Deployment from rolling out while `stuck` holds.
fn stick(cluster: &Cluster, name: &'static str) {
    cluster.server.admission("deployments", move |request, object| {
        if request.name == name {
            object["metadata"]["labels"][STUCK_LABEL] = json!("true");
        }
    });
}

#[test]
fn a_workload_that_does_not_start_is_reported_with_its_object() {
    scenario(async |cluster| {
        stick(&cluster, "istiod");
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster.until_state("Error").await;
        assert_eq!(cluster.condition("Ready").1, "IstioInstallUninstallFailed");
        let description = cluster.status()["description"].as_str().unwrap().to_owned();
        assert!(description.contains("Deployment istio-system/istiod"), "{description}");
        assert_eq!(cluster.object("deployments", "istio-ingressgateway"), None, "gateways come after istiod");
        operator.stop().await;
    });
}

#[test]
fn an_edit_does_not_wait_for_an_installation_that_hangs() {
    scenario(async |cluster| {
        let hold = cluster.server.fail(write_of("configmaps", "istio"), Occurrence::First(1), Fault::Hold);
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster
            .until("istiod's account", |cluster| cluster.object("serviceaccounts", "istiod").is_some())
            .await;
        cluster.edit(json!({"spec": {"config": {"numTrustedProxies": 3}}}));
        cluster.until_state("Ready").await;
        let map = cluster.object("configmaps", "istio").unwrap();
        assert!(map["data"]["mesh"].as_str().unwrap().contains("numTrustedProxies: 3"), "{map:#}");
        assert_eq!(hold.hits(), 1);
        operator.stop().await;
    });
}

#[test]
fn plain_lists_are_used_where_the_api_server_streams_none() {
    scenario(async |cluster| {
        cluster.server.set_streaming_lists(false);
        cluster.installed().await.stop().await;
        assert!(!cluster.server.matching(&RequestMatcher::verb(Verb::List).resource("nodes")).is_empty());
    });
}

#[test]
fn crds_that_are_not_established_are_reported() {
    scenario(async |cluster| {
        cluster.server.set_establish_crds(false);
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster.until_state("Error").await;
        let description = cluster.status()["description"].as_str().unwrap().to_owned();
        assert!(description.contains("CustomResourceDefinition"), "{description}");
        operator.stop().await;
    });
}

#[test]
fn a_component_that_is_turned_off_is_pruned() {
    scenario(async |cluster| {
        cluster.create("default", json!({"components": {"egressGateway": {"enabled": true}}}));
        let operator = cluster.start();
        cluster.until_state("Ready").await;
        assert!(cluster.object("deployments", "istio-egressgateway").is_some());
        cluster.edit(json!({"spec": {"components": {"egressGateway": {"enabled": false}}}}));
        cluster
            .until("the gateway is gone", |cluster| {
                cluster.object("deployments", "istio-egressgateway").is_none()
            })
            .await;
        cluster.until_state("Ready").await;
        cluster.pass(10).await;
        assert!(!cluster.inventory().iter().any(|(_, name)| name == "istio-egressgateway"));
        operator.stop().await;
    });
}

#[test]
fn a_killed_operator_leaves_what_the_next_one_completes() {
    for (resource, name) in OBJECT_OF_EACH_STAGE {
        scenario(async |cluster| {
            let hold = cluster.server.fail(write_of(resource, name), Occurrence::First(1), Fault::Hold);
            cluster.create("default", json!({}));
            let operator = cluster.start();
            cluster.until_held(&hold).await;
            operator.kill().await;
            cluster.installed_by_next().await;
            let listed = cluster.inventory();
            assert!(listed.iter().any(|(_, listed)| listed == name), "{name} {listed:?}");
        });
    }
}

impl Cluster {
    /// Starts another operator and waits until Istio is installed.
    async fn installed_by_next(&self) {
        let operator = self.start();
        self.until_state("Ready").await;
        self.pass(10).await;
        operator.stop().await;
    }
}

#[test]
fn watches_that_end_and_expire_are_reopened_without_a_write() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.pass(120).await;
        cluster.server.forget_requests();
        cluster.server.expire_history();
        cluster.server.end_watches();
        cluster.pass(120).await;
        assert_eq!(cluster.writes(), Vec::<String>::new());
        cluster.server.delete("services", ISTIO, "istiod");
        cluster.until("it comes back", |cluster| cluster.object("services", "istiod").is_some()).await;
        operator.stop().await;
    });
}

#[test]
fn objects_of_another_installer_are_adopted_and_not_recreated() {
    scenario(async |cluster| {
        cluster.server.put_namespace(ISTIO, &json!({}));
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": ISTIO},
            "data": {"mesh": "theirs", "extra": "1"}});
        let before = cluster.server.apply_as("helm", theirs).unwrap();
        let operator = cluster.installed().await;
        let after = cluster.object("configmaps", "istio").unwrap();
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(after["data"]["extra"], Value::Null, "{after:#}");
        operator.stop().await;
    });
}
