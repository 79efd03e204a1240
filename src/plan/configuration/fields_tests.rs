//! Each field of the resource by itself: where it goes, and that it touches nothing else.

use serde_json::{Value, json};

use super::tests::{at, document, document_for, restore};
use super::*;
use crate::plan::cluster::Platform;

/// The components that are Deployments, with their place in the document.
const DEPLOYMENTS: [(&str, &str); 3] = [
    ("pilot", "/spec/components/pilot"),
    ("ingressGateway", "/spec/components/ingressGateways/0"),
    ("egressGateway", "/spec/components/egressGateways/0"),
];

fn changes_only(changed: &Value, path: &str, value: &Value) {
    assert_eq!(at(changed, path), value, "{path}");
    let (base, mut changed) = (document(json!({})), changed.clone());
    restore(&mut changed, &base, path);
    assert_eq!(changed, base, "{path}");
}

/// `value` below the names of `path`.
fn nested(path: &str, value: &Value) -> Value {
    path.rsplit('/').filter(|name| !name.is_empty()).fold(value.clone(), |inner, name| json!({name: inner}))
}

#[test]
fn every_deployment_takes_every_setting_alone() {
    for (component, place) in DEPLOYMENTS {
        for (field, value) in [
            ("/k8s/resources/limits/cpu", json!("3")),
            ("/k8s/resources/limits/memory", json!("3Gi")),
            ("/k8s/resources/requests/cpu", json!("250m")),
            ("/k8s/resources/requests/memory", json!("300Mi")),
            ("/k8s/hpaSpec/minReplicas", json!(2)),
            ("/k8s/hpaSpec/maxReplicas", json!(7)),
        ] {
            let spec = json!({"components": {component: nested(field, &value)}});
            changes_only(&document(spec), &format!("{place}{field}"), &value);
        }
    }
}

#[test]
fn a_strategy_keeps_percentages_as_text_and_numbers_as_numbers() {
    for (component, place) in DEPLOYMENTS {
        for (surge, unavailable) in
            [(json!("50%"), json!("25%")), (json!(2), json!(0)), (json!("100%"), json!(1))]
        {
            let update = json!({"maxSurge": surge, "maxUnavailable": unavailable});
            let strategy = json!({"rollingUpdate": update});
            let spec = json!({"components": {component: {"k8s": {"strategy": strategy}}}});
            changes_only(&document(spec), &format!("{place}/k8s/strategy"), &strategy);
        }
    }
}

#[test]
fn every_amount_of_the_sidecar_is_set_alone() {
    for (kind, resource, amount) in [
        ("limits", "cpu", "2"),
        ("limits", "memory", "1Gi"),
        ("requests", "cpu", "20m"),
        ("requests", "memory", "64Mi"),
    ] {
        let resources = json!({"resources": {kind: {resource: amount}}});
        let changed = document(json!({"components": {"proxy": {"k8s": resources}}}));
        let path = format!("/spec/values/global/proxy/resources/{kind}/{resource}");
        changes_only(&changed, &path, &json!(amount));
    }
}

#[test]
fn every_amount_of_the_cni_agent_is_set_alone() {
    for (kind, resource, amount) in [
        ("limits", "cpu", "2"),
        ("limits", "memory", "2Gi"),
        ("requests", "cpu", "20m"),
        ("requests", "memory", "64Mi"),
    ] {
        let resources = json!({"resources": {kind: {resource: amount}}});
        let changed = document(json!({"components": {"cni": {"k8s": resources}}}));
        let path = format!("/spec/components/cni/k8s/resources/{kind}/{resource}");
        changes_only(&changed, &path, &json!(amount));
    }
}

#[test]
fn every_forward_client_cert_mode_reaches_the_document() {
    for mode in ["APPEND_FORWARD", "SANITIZE_SET", "SANITIZE", "ALWAYS_FORWARD_ONLY", "FORWARD_ONLY"] {
        let changed = document(json!({"config": {"forwardClientCertDetails": mode}}));
        let path = "/spec/meshConfig/defaultConfig/gatewayTopology";
        changes_only(&changed, path, &json!({"forwardClientCertDetails": mode}));
    }
}

#[test]
fn dns_proxying_is_passed_as_text() {
    for (enabled, text) in [(true, "true"), (false, "false")] {
        let changed = document(json!({"config": {"enableDNSProxying": enabled}}));
        let path = "/spec/meshConfig/defaultConfig/proxyMetadata/ISTIO_META_DNS_CAPTURE";
        changes_only(&changed, path, &json!(text));
    }
}

#[test]
fn either_traffic_policy_reaches_the_service_of_the_ingress_gateway() {
    for policy in ["Local", "Cluster"] {
        let changed = document(json!({"config": {"gatewayExternalTrafficPolicy": policy}}));
        let overlay = at(&changed, "/spec/components/ingressGateways/0/k8s/overlays/1");
        assert_eq!(
            (&overlay["kind"], &overlay["name"], &overlay["patches"][0]["value"]),
            (&json!("Service"), &json!("istio-ingressgateway"), &json!(policy))
        );
    }
}

#[test]
fn empty_statistics_are_left_to_istio() {
    let base = document(json!({}));
    for none in [json!({}), json!({"inclusionRegexps": []})] {
        assert_eq!(document(json!({"config": {"proxyStatsMatcher": none}})), base);
    }
}

#[test]
fn every_option_of_an_authorizer_reaches_the_document() {
    let changed = document(json!({"config": {"authorizers": [{
        "name": "oauth2", "service": "oauth2.auth.svc.cluster.local", "port": 8000,
        "pathPrefix": "/check?from=", "timeout": "1m30.5s",
        "headers": {
            "inCheck": {"include": ["authorization", "x-*"], "add": {"x-from": "mesh", "x-to": ""}},
            "toUpstream": {"onAllow": ["x-user"]},
            "toDownstream": {"onAllow": ["set-cookie"], "onDeny": ["www-authenticate", "*-reason"]},
        },
    }]}}));
    let provider = at(&changed, "/spec/meshConfig/extensionProviders/4");
    assert_eq!(
        *provider,
        json!({"name": "oauth2", "envoyExtAuthzHttp": {
            "service": "oauth2.auth.svc.cluster.local", "port": 8000,
            "pathPrefix": "/check?from=", "timeout": "90.500s",
            "includeRequestHeadersInCheck": ["authorization", "x-*"],
            "includeAdditionalHeadersInCheck": {"x-from": "mesh", "x-to": ""},
            "headersToUpstreamOnAllow": ["x-user"],
            "headersToDownstreamOnAllow": ["set-cookie"],
            "headersToDownstreamOnDeny": ["www-authenticate", "*-reason"],
        }})
    );
}

#[test]
fn every_kind_of_affinity_reaches_the_cni_agent() {
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]});
    let term = json!({"topologyKey": "zone"});
    let weighted = json!({"weight": 1, "podAffinityTerm": term});
    let (must, should) =
        ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
    for (kind, part, value) in [
        ("nodeAffinity", must, required.clone()),
        ("nodeAffinity", should, json!([{"weight": 1, "preference": {"matchExpressions": []}}])),
        ("podAffinity", must, json!([term])),
        ("podAffinity", should, json!([weighted])),
        ("podAntiAffinity", must, json!([term])),
        ("podAntiAffinity", should, json!([weighted])),
    ] {
        let given = json!({kind: {part: value}});
        let changed = document(json!({"components": {"cni": {"k8s": {"affinity": given}}}}));
        let affinity = at(&changed, "/spec/components/cni/k8s/affinity");
        assert_eq!(affinity[kind][part], value, "{kind} {part}");
        let other = if part == must { should } else { must };
        assert_eq!(
            affinity[kind][other],
            Value::Null,
            "{kind} {part}: the other part of the base is replaced, too"
        );
    }
}

#[test]
fn ambient_mode_reaches_proxies_istiod_and_the_cni_agent() {
    let changed = document(json!({"experimental": {"enableAmbient": true}}));
    for (path, value) in [
        ("/spec/meshConfig/defaultConfig/proxyMetadata/ISTIO_META_ENABLE_HBONE", json!("true")),
        ("/spec/values/pilot/env/PILOT_ENABLE_AMBIENT", json!("true")),
        ("/spec/values/cni/ambient/enabled", json!(true)),
    ] {
        assert_eq!(at(&changed, path), &value, "{path}");
    }
    let off = document(json!({"experimental": {"enableAmbient": false}}));
    assert_eq!(off, document(json!({})));
}

#[test]
fn dual_stack_reaches_proxies_istiod_and_every_service() {
    let facts = ClusterFacts { dual_stack: true, ..ClusterFacts::default() };
    let changed = document_for(json!({}), &facts);
    for (path, value) in [
        ("/spec/meshConfig/defaultConfig/proxyMetadata/ISTIO_DUAL_STACK", "true"),
        ("/spec/values/pilot/env/ISTIO_DUAL_STACK", "true"),
        ("/spec/values/pilot/ipFamilyPolicy", "RequireDualStack"),
        ("/spec/values/gateways/istio-ingressgateway/ipFamilyPolicy", "RequireDualStack"),
        ("/spec/values/gateways/istio-egressgateway/ipFamilyPolicy", "RequireDualStack"),
    ] {
        assert_eq!(at(&changed, path), value, "{path}");
    }
}

#[test]
fn every_provider_gets_its_own_values_and_no_others() {
    let base = document(json!({}));
    let aws = |load_balancer| Provider::Aws { load_balancer };
    let gateway = "/spec/values/gateways/istio-ingressgateway/serviceAnnotations";
    let classic = "service.beta.kubernetes.io/aws-load-balancer";
    for (provider, path, values) in [
        (Provider::Unknown, gateway, json!({})),
        (
            aws(LoadBalancer::Classic),
            gateway,
            json!({
                format!("{classic}-proxy-protocol"): "*",
                format!("{classic}-connection-idle-timeout"): "4000",
            }),
        ),
        (
            aws(LoadBalancer::Network),
            gateway,
            json!({
                format!("{classic}-type"): "nlb",
                format!("{classic}-scheme"): "internet-facing",
                format!("{classic}-nlb-target-type"): "instance",
            }),
        ),
        (
            Provider::OpenStack { garden_linux: true },
            gateway,
            json!({"loadbalancer.openstack.org/proxy-protocol": "v1"}),
        ),
        (Provider::OpenStack { garden_linux: false }, gateway, json!({})),
    ] {
        let changed = document_for(json!({}), &ClusterFacts { provider, ..ClusterFacts::default() });
        let mut expected = at(&base, path).clone();
        expected.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        changes_only(&changed, path, &expected);
    }
}

#[test]
fn every_platform_gets_its_own_folders_and_nothing_else() {
    let base = document(json!({}));
    for (platform, values) in [
        (Platform::Gke, json!({"cniBinDir": "/home/kubernetes/bin", "resourceQuotas": {"enabled": true}})),
        (
            Platform::K3s,
            json!({
                "cniBinDir": "/var/lib/rancher/k3s/data/cni",
                "cniConfDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            }),
        ),
        (
            Platform::MicroK8s,
            json!({
                "cniBinDir": "/var/snap/microk8s/current/opt/cni/bin",
                "cniConfDir": "/var/snap/microk8s/current/args/cni-network",
            }),
        ),
        (Platform::Minikube, json!({"cniNetnsDir": "/var/run/docker/netns"})),
    ] {
        let facts = ClusterFacts { platform: Some(platform), ..ClusterFacts::default() };
        let mut expected = at(&base, "/spec/values/cni").clone();
        expected.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        changes_only(&document_for(json!({}), &facts), "/spec/values/cni", &expected);
    }
}

#[test]
fn openshift_chooses_the_users_of_istios_pods() {
    let facts = ClusterFacts { platform: Some(Platform::OpenShift), ..ClusterFacts::default() };
    let changed = document_for(json!({}), &facts);
    assert_eq!(at(&changed, "/spec/values/global/platform"), "openshift");
    for k8s in ["/spec/components/pilot/k8s", "/spec/components/ingressGateways/0/k8s"] {
        let context = at(&changed, &format!("{k8s}/securityContext"));
        assert_eq!(context, &json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
    }
}
