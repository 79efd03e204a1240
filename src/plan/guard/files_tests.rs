//! What istiod reads in ConfigMaps, and must not be told.

use serde_json::json;

use super::tests::{set, told};
use super::*;

fn injector(values: &Value, config: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-sidecar-injector", "namespace": "istio-system"},
        "data": {"values": values.to_string(), "config": config}})
}

#[test]
fn what_would_give_injected_pods_power_is_closed() {
    let config = "policy: enabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {}\n";
    let values = json!({"global": {"proxy": {"privileged": false, "logLevel": "warning"}}, "pilot": {"cni": {"enabled": true}}});
    let before = injector(&values, config);
    for (pointer, value) in [
        ("/global/proxy/privileged", json!(true)),
        ("/global/proxy/capNetBindService", json!("true")),
        ("/global/proxy/image", json!("evil")),
        ("/global/agentgateway", json!({"image": "evil"})),
        ("/global/proxy/seccompProfile", json!({"type": "Unconfined"})),
        ("/pilot/cni/enabled", json!(false)),
        ("/gateways", json!({"securityContext": {}})),
        ("/sidecarInjectorWebhook", json!({"templates": {"sidecar": "b"}})),
    ] {
        let after = injector(&set(values.clone(), pointer, value), config);
        let expected = "the privilege of injected containers";
        assert!(told(&before, &after).iter().any(|told| told.ends_with(expected)), "{pointer}");
    }
    for changed in [
        "policy: enabled\ntemplates: {sidecar: b}\n",
        "policy: enabled\ntemplates: {sidecar: a}\ndefaultTemplates: [other]\n",
        "policy: enabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {sidecar.istio.io/userVolume: x}\n",
        "not: [yaml",
    ] {
        assert_ne!(told(&before, &injector(&values, changed)), Vec::<String>::new(), "{changed}");
    }
    let open = [
        injector(&set(values.clone(), "/global/proxy/logLevel", json!("debug")), config),
        injector(
            &values,
            "policy: disabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {example.com/a: b}\n",
        ),
    ];
    for after in open {
        assert_eq!(told(&before, &after), Vec::<String>::new());
    }
}

#[test]
fn the_mesh_configuration_is_open_but_for_privileges_and_identities() {
    let mesh = |text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": text}})
    };
    let before = mesh("trustDomain: cluster.local\ndefaultConfig: {proxyMetadata: {A: b}}\n");
    for (text, expected) in [
        ("trustDomain: other\n", "data.mesh: trustDomain: an identity"),
        ("trustDomain: cluster.local\nrootNamespace: x\n", "data.mesh: rootNamespace: an identity"),
        (
            "trustDomain: cluster.local\ndefaultConfig: {interceptionMode: TPROXY}\n",
            "data.mesh: defaultConfig.interceptionMode: the privilege of injected containers",
        ),
        (
            "trustDomain: cluster.local\ndefaultConfig: {proxyMetadata: {IPTABLES_TRACE_LOGGING: 'true'}}\n",
            "data.mesh: defaultConfig.proxyMetadata.IPTABLES_TRACE_LOGGING: the privilege of injected containers",
        ),
        ("not: [yaml", "data.mesh: trustDomain: an identity"),
    ] {
        assert_eq!(told(&before, &mesh(text)), [expected]);
    }
    let open =
        "trustDomain: cluster.local\naccessLogFile: /dev/stdout\ndefaultConfig: {proxyMetadata: {A: c}}\n";
    assert_eq!(told(&before, &mesh(open)), Vec::<String>::new());
}

#[test]
fn gateways_that_istiod_makes_get_no_power_either() {
    let overlay = |kind: &str, overlay: &Value| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "istio-default-gatewayclass-istio", "namespace": "istio-system",
                "labels": {"gateway.istio.io/defaults-for-class": "istio"}},
            "data": {kind: overlay.to_string()}});
        violations(&[], &[(ObjectId::of(&object).unwrap(), object)])
    };
    let pod = |pod: Value| json!({"spec": {"template": {"spec": pod}}});
    for (kind, content) in [
        ("deployment", pod(json!({"hostNetwork": true}))),
        ("deployment", pod(json!({"serviceAccountName": "istiod"}))),
        ("deployment", pod(json!({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}))),
        (
            "deployment",
            pod(json!({"containers": [{"name": "istio-proxy", "securityContext": {"privileged": true}}]})),
        ),
        ("deployment", pod(json!({"containers": [{"name": "istio-proxy", "$patch": "replace"}]}))),
        ("deployment", json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}})),
        ("service", json!({"spec": {"externalName": "example.com"}})),
        ("serviceAccount", json!({"metadata": {"annotations": {"a": "b"}}})),
    ] {
        assert_ne!(overlay(kind, &content), [], "{kind}: {content}");
    }
    for (kind, content) in [
        ("deployment", json!({"spec": {"replicas": 4}})),
        ("deployment", pod(json!({"nodeSelector": {"pool": "edge"}}))),
        ("service", json!({"spec": {"externalTrafficPolicy": "Local"}})),
        ("horizontalPodAutoscaler", json!({"spec": {"minReplicas": 2}})),
    ] {
        assert_eq!(overlay(kind, &content), [], "{kind}: {content}");
    }
}
