//! From a running Istio to none.

use fake_apiserver::{RequestMatcher, Verb};
use serde_json::{Value, json};

use super::cluster::{Cluster, INVENTORY, ISTIO, NAMESPACE, scenario};

/// Resource and name of what was deleted, in order.
fn deletions(cluster: &Cluster) -> Vec<(String, String)> {
    let deletions = cluster.server.matching(&RequestMatcher::verb(Verb::Delete));
    deletions.into_iter().map(|request| (request.resource, request.name)).collect()
}

fn position(deletions: &[(String, String)], resource: &str, name: &str) -> usize {
    let is_it = |(r, n): &(String, String)| r == resource && n == name;
    deletions.iter().position(is_it).unwrap_or_else(|| panic!("{resource} {name}: {deletions:?}"))
}

async fn until_gone(cluster: &Cluster) {
    cluster.until("the resource is gone", |cluster| cluster.istio("default").is_none()).await;
}

#[test]
fn an_uninstall_removes_everything_in_the_safe_order() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.server.forget_requests();
        cluster.delete();
        until_gone(&cluster).await;
        let deleted = deletions(&cluster);
        let order = [
            position(&deleted, "mutatingwebhookconfigurations", "istio-revision-tag-default"),
            position(&deleted, "deployments", "istio-ingressgateway"),
            position(&deleted, "validatingwebhookconfigurations", "istio-validator-istio-system"),
            position(&deleted, "deployments", "istiod"),
            position(&deleted, "daemonsets", "istio-cni-node"),
            position(&deleted, "serviceaccounts", "istiod"),
            position(&deleted, "customresourcedefinitions", "gateways.networking.istio.io"),
            position(&deleted, "namespaces", ISTIO),
            position(&deleted, "secrets", INVENTORY),
        ];
        assert!(order.is_sorted(), "{order:?} {deleted:?}");
        assert_eq!(cluster.server.list("customresourcedefinitions", ""), Vec::<Value>::new());
        assert_eq!(cluster.server.list("clusterroles", ""), Vec::<Value>::new());
        assert_eq!(cluster.server.get("namespaces", "", ISTIO), None);
        operator.stop().await;
    });
}

#[test]
fn the_finalizer_goes_after_the_last_object() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.server.forget_requests();
        cluster.delete();
        until_gone(&cluster).await;
        let writes = cluster.server.matching(
            &RequestMatcher::writes().matching(|request| request.is_write() && request.resource != "events"),
        );
        let last = writes.last().unwrap();
        assert_eq!((last.verb, last.resource.as_str()), (Verb::Patch, "istios"), "{}", last.summary());
        assert_eq!(last.body["metadata"]["finalizers"], json!([]));
        operator.stop().await;
    });
}

#[test]
fn resources_of_users_block_an_uninstall_until_they_are_gone() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.server.put_namespace("shop", &json!({}));
        cluster.server.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "cart", "namespace": "shop"}, "spec": {}}));
        cluster.server.forget_requests();
        cluster.delete();
        cluster.until_reason("IstioCustomResourcesDangling").await;
        assert_eq!(cluster.status()["state"], "Warning");
        let description = cluster.status()["description"].as_str().unwrap().to_owned();
        assert!(description.contains("VirtualService shop/cart"), "{description}");
        cluster.pass(300).await;
        assert_eq!(deletions(&cluster), []);
        cluster.server.delete("virtualservices", "shop", "cart");
        until_gone(&cluster).await;
        operator.stop().await;
    });
}

#[test]
fn the_orphan_policy_leaves_everything_for_the_next_resource() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(json!({"metadata": {"annotations": {"istios.operator.kyma-project.io/deletion-policy": "orphan"}}}));
        cluster.server.forget_requests();
        cluster.delete();
        until_gone(&cluster).await;
        assert_eq!(deletions(&cluster), []);
        let istiod = cluster.object("deployments", "istiod").unwrap();
        cluster.create("default", json!({}));
        cluster.until_state("Ready").await;
        assert_eq!(
            cluster.object("deployments", "istiod").unwrap()["metadata"]["uid"],
            istiod["metadata"]["uid"]
        );
        operator.stop().await;
    });
}

#[test]
fn objects_of_users_keep_the_namespace() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.server.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": ISTIO}}));
        cluster.delete();
        until_gone(&cluster).await;
        assert!(cluster.object("secrets", "cacerts").is_some());
        assert_eq!(cluster.object("deployments", "istiod"), None);
        assert_eq!(cluster.server.get("secrets", NAMESPACE, INVENTORY), None);
        operator.stop().await;
    });
}

#[test]
fn an_invalid_resource_is_uninstalled() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.edit(json!({"spec": {"values": {"no": {"such": "value"}}}}));
        cluster.until_state("Warning").await;
        cluster.delete();
        until_gone(&cluster).await;
        assert_eq!(cluster.object("deployments", "istiod"), None);
        operator.stop().await;
    });
}

#[test]
fn a_refused_second_resource_can_be_deleted_without_an_uninstall() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        cluster.create_in(NAMESPACE, "second", &json!({}), "2026-02-01T00:00:00Z");
        cluster.pass(10).await;
        cluster.server.delete("istios", NAMESPACE, "second");
        cluster.until("it is gone", |cluster| cluster.istio("second").is_none()).await;
        assert!(cluster.object("deployments", "istiod").is_some());
        operator.stop().await;
    });
}

#[test]
fn an_object_that_a_finalizer_keeps_is_reported_and_waited_for() {
    scenario(async |cluster| {
        let operator = cluster.installed().await;
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
        cluster.server.patch_as(
            "someone",
            "daemonsets",
            ISTIO,
            "istio-cni-node",
            finalizers(json!(["example.com/wait"])),
        );
        cluster.delete();
        cluster.until_state("Error").await;
        let description = cluster.status()["description"].as_str().unwrap().to_owned();
        assert!(description.contains("DaemonSet istio-system/istio-cni-node"), "{description}");
        assert!(
            cluster.object("serviceaccounts", "istio-cni").is_some(),
            "permissions go after the CNI agent"
        );
        cluster.server.patch_as("someone", "daemonsets", ISTIO, "istio-cni-node", finalizers(Value::Null));
        until_gone(&cluster).await;
        operator.stop().await;
    });
}

#[test]
fn a_killed_uninstall_is_completed_by_the_next_operator() {
    for (resource, name) in [
        ("mutatingwebhookconfigurations", "istio-revision-tag-default"),
        ("deployments", "istiod"),
        ("namespaces", ISTIO),
    ] {
        scenario(async |cluster| {
            let operator = cluster.installed().await;
            let hold = cluster.server.fail(
                RequestMatcher::verb(Verb::Delete).resource(resource).named(name),
                fake_apiserver::Occurrence::First(1),
                fake_apiserver::Fault::Hold,
            );
            cluster.delete();
            cluster.until_held(&hold).await;
            operator.kill().await;
            let operator = cluster.start();
            until_gone(&cluster).await;
            assert_eq!(cluster.server.get("namespaces", "", ISTIO), None);
            operator.stop().await;
        });
    }
}
