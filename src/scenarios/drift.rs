//! What others do to installed objects, and what the operator does about it.

use serde_json::{Value, json};

use super::cluster::{ISTIO, NAMESPACE, STUCK_LABEL, scenario};

fn labels(object: &Value) -> Value {
    object["metadata"]["labels"].clone()
}

#[test]
fn an_edited_object_is_reverted_with_an_event() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let before = cluster.object("services", "istio-ingressgateway").unwrap();
        cluster.server.patch_as(
            "kubectl-edit",
            "services",
            ISTIO,
            "istio-ingressgateway",
            json!({"spec": {"selector": {"app": "mine"}}}),
        );
        cluster
            .until("it is reverted", |cluster| {
                cluster.object("services", "istio-ingressgateway").unwrap()["spec"] == before["spec"]
            })
            .await;
        cluster
            .until("an Event", |cluster| cluster.events().iter().any(|reason| reason == "DriftRepaired"))
            .await;
        assert_eq!(cluster.status()["state"], "Ready");
        operator.stop().await;
    });
}

#[test]
fn a_deleted_object_of_each_kind_is_recreated() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let objects = [
            ("services", ISTIO, "istiod"),
            ("deployments", ISTIO, "istio-ingressgateway"),
            ("daemonsets", ISTIO, "istio-cni-node"),
            ("configmaps", ISTIO, "istio-sidecar-injector"),
            ("serviceaccounts", ISTIO, "istiod"),
            ("clusterroles", "", "istiod-clusterrole-istio-system"),
            ("mutatingwebhookconfigurations", "", "istio-revision-tag-default"),
            ("customresourcedefinitions", "", "telemetries.telemetry.istio.io"),
        ];
        for (resource, namespace, name) in objects {
            assert!(cluster.server.delete(resource, namespace, name), "{resource}");
        }
        cluster
            .until("all are back", |cluster| {
                objects.iter().all(|(resource, namespace, name)| {
                    cluster.server.get(resource, namespace, name).is_some()
                })
            })
            .await;
        operator.stop().await;
    });
}

#[test]
fn a_stripped_label_comes_back() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let before = cluster.object("deployments", "istiod").unwrap();
        let stripped = json!({"metadata": {"labels": {"kyma-project.io/module": null}}});
        cluster.server.patch_as("someone", "deployments", ISTIO, "istiod", stripped);
        cluster
            .until("it is back", |cluster| {
                labels(&cluster.object("deployments", "istiod").unwrap()) == labels(&before)
            })
            .await;
        operator.stop().await;
    });
}

#[test]
fn an_object_that_others_recreated_is_adopted() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let before = cluster.object("configmaps", "istio").unwrap();
        cluster.server.delete("configmaps", ISTIO, "istio");
        cluster.server.apply_as(
            "helm",
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": ISTIO}, "data": {"mesh": "theirs", "extra": "1"}}),
        );
        cluster
            .until("ours is back", |cluster| {
                cluster.object("configmaps", "istio").is_some_and(|map| map["data"] == before["data"])
            })
            .await;
        operator.stop().await;
    });
}

#[test]
fn fields_that_others_add_are_kept_and_written_once_only() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.pass(120).await;
        cluster.server.forget_requests();
        let added = json!({"metadata": {"annotations": {"example.com/note": "mine"}}});
        cluster.server.patch_as("someone", "deployments", ISTIO, "istiod", added);
        cluster.pass(600).await;
        assert_eq!(cluster.writes(), Vec::<String>::new());
        let annotations = cluster.object("deployments", "istiod").unwrap()["metadata"]["annotations"].clone();
        assert_eq!(annotations["example.com/note"], "mine");
        operator.stop().await;
    });
}

#[test]
fn repeated_changes_are_reported_and_backed_off() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        // Another controller that insists.
        cluster.server.rule(|change| {
            let is_ours = change.is_present("Service")
                && change.object["metadata"]["name"] == "istio-ingressgateway"
                && change.object["spec"]["type"] != "ExternalName";
            if !is_ours {
                return Vec::new();
            }
            vec![fake_apiserver::Reaction::Later(
                std::time::Duration::from_secs(20),
                Box::new(fake_apiserver::Reaction::Patch {
                    resource: "services".to_owned(),
                    namespace: ISTIO.to_owned(),
                    name: "istio-ingressgateway".to_owned(),
                    manager: "insistent-controller".to_owned(),
                    patch: json!({"spec": {"type": "ExternalName"}}),
                }),
            )]
        });
        let change = json!({"spec": {"type": "ExternalName"}});
        cluster.server.patch_as("insistent-controller", "services", ISTIO, "istio-ingressgateway", change);
        cluster.until_reason("DriftNotRepaired").await;
        let description = cluster.status()["description"].as_str().unwrap().to_owned();
        assert!(description.contains("insistent-controller"), "{description}");
        cluster.server.forget_requests();
        cluster.pass(120).await;
        assert_eq!(cluster.writes(), Vec::<String>::new(), "it rests for some minutes");
        operator.stop().await;
    });
}

#[test]
fn a_paused_object_is_left_alone_and_reported() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let paused = json!({"metadata": {"annotations": {"istios.operator.kyma-project.io/pause": "true"}}, "spec": {"type": "NodePort"}});
        cluster.server.patch_as("someone", "services", ISTIO, "istio-ingressgateway", paused);
        cluster.until_state("Warning").await;
        cluster.pass(300).await;
        assert_eq!(cluster.object("services", "istio-ingressgateway").unwrap()["spec"]["type"], "NodePort");
        let resumed = json!({"metadata": {"annotations": {"istios.operator.kyma-project.io/pause": null}}});
        cluster.server.patch_as("someone", "services", ISTIO, "istio-ingressgateway", resumed);
        cluster.until_state("Ready").await;
        assert_ne!(cluster.object("services", "istio-ingressgateway").unwrap()["spec"]["type"], "NodePort");
        operator.stop().await;
    });
}

#[test]
fn a_value_that_admission_reverts_is_reported_and_not_rewritten() {
    scenario(async |cluster| {
        cluster.server.admission("services", |request, object| {
            if request.name == "istio-ingressgateway" {
                object["spec"]["type"] = json!("ClusterIP");
            }
        });
        cluster.create("default", json!({}));
        let operator = cluster.start();
        cluster.until_reason("DriftNotRepaired").await;
        cluster.pass(60).await;
        cluster.server.forget_requests();
        cluster.pass(120).await;
        assert_eq!(cluster.writes(), Vec::<String>::new());
        operator.stop().await;
    });
}

#[test]
fn a_workload_that_fails_later_is_reported_until_it_recovers() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let status = |available: i64| json!({"metadata": {"labels": {STUCK_LABEL: "true"}}, "status": {"availableReplicas": available, "readyReplicas": available}});
        cluster.server.patch_as("kubelet", "deployments", ISTIO, "istiod", status(0));
        cluster.until_reason("ReconcileFailed").await;
        let description = cluster.status()["description"].as_str().unwrap().to_owned();
        assert!(description.contains("Deployment istio-system/istiod"), "{description}");
        let wanted = cluster.object("deployments", "istiod").unwrap()["status"]["replicas"].as_i64().unwrap();
        cluster.server.patch_as("kubelet", "deployments", ISTIO, "istiod", status(wanted));
        cluster.until_reason("ReconcileSucceeded").await;
        operator.stop().await;
    });
}

#[test]
fn a_setting_of_the_cluster_takes_effect_when_it_changes() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let before = cluster.object("configmaps", "istio").unwrap();
        cluster.server.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-features", "namespace": NAMESPACE},
            "data": {"features": "not JSON"}}));
        cluster.until_state("Warning").await;
        assert_eq!(
            cluster.object("configmaps", "istio").unwrap()["data"],
            before["data"],
            "the last good setting stays"
        );
        cluster.server.delete("configmaps", NAMESPACE, "istio-features");
        cluster.until_state("Ready").await;
        operator.stop().await;
    });
}
