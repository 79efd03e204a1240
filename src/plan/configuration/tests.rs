use serde_json::{Value, json};

use super::*;
use crate::validate::validate;

const COMPONENTS: &str = "/spec/components";

pub(super) fn document_for(spec: Value, facts: &ClusterFacts) -> Value {
    let spec = serde_json::from_value(spec).unwrap();
    let valid = validate(&spec, FeatureStage::Experimental).unwrap();
    build_configuration(&valid, facts, &Images::official("1.31.0"), &AdministratorValues::default()).unwrap()
}

pub(super) fn document(spec: Value) -> Value {
    document_for(spec, &ClusterFacts::default())
}

pub(super) fn at<'a>(document: &'a Value, path: &str) -> &'a Value {
    document.pointer(path).unwrap_or(&Value::Null)
}

#[test]
fn evaluation_size_requests_less_and_one_replica() {
    let facts = ClusterFacts { size: Size::Evaluation, ..ClusterFacts::default() };
    let document = document_for(json!({}), &facts);
    let ingress = at(&document, "/spec/components/ingressGateways/0/k8s");
    assert_eq!(ingress["hpaSpec"]["maxReplicas"], 1);
    assert_eq!(
        ingress["hpaSpec"]["scaleTargetRef"]["name"], "istio-ingressgateway",
        "the rest of the base stays"
    );
    assert!(ingress.get("podDisruptionBudget").is_none());
    assert_eq!(ingress["overlays"][0]["patches"].as_array().unwrap().len(), 1, "no spread over zones");
    assert_eq!(ingress["overlays"][0]["kind"], "Deployment");
}

#[test]
fn the_cni_agent_has_the_documented_defaults() {
    let evaluation = ClusterFacts { size: Size::Evaluation, ..ClusterFacts::default() };
    for (facts, requests, limits) in [
        (
            ClusterFacts::default(),
            json!({"cpu": "100m", "memory": "512Mi"}),
            json!({"cpu": "500m", "memory": "1024Mi"}),
        ),
        (evaluation, json!({"cpu": "10m", "memory": "128Mi"}), json!({"cpu": "250m", "memory": "384Mi"})),
    ] {
        let document = document_for(json!({}), &facts);
        let cni = at(&document, "/spec/components/cni");
        assert_eq!(cni["namespace"], "istio-system");
        assert_eq!(cni["k8s"]["resources"], json!({"requests": requests, "limits": limits}));
        let spread = "/k8s/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0";
        let term = cni.pointer(spread).unwrap();
        assert_eq!(term["podAffinityTerm"]["topologyKey"], "kubernetes.io/hostname");
    }
}

#[test]
fn a_setting_changes_what_it_names_and_nothing_else() {
    let base = document(json!({}));
    for (spec, path, value) in [
        (
            json!({"config": {"numTrustedProxies": 0}}),
            "/spec/meshConfig/defaultConfig/gatewayTopology",
            json!({"numTrustedProxies": 0}),
        ),
        (json!({"config": {"trustDomain": "a.b"}}), "/spec/meshConfig/trustDomain", json!("a.b")),
        (
            json!({"config": {"enableDNSProxying": false}}),
            "/spec/meshConfig/defaultConfig/proxyMetadata/ISTIO_META_DNS_CAPTURE",
            json!("false"),
        ),
        (
            json!({"config": {"proxyStatsMatcher": {"inclusionRegexps": ["b", "a"]}}}),
            "/spec/meshConfig/defaultConfig/proxyStatsMatcher",
            json!({"inclusionRegexps": ["b", "a"]}),
        ),
        (
            json!({"config": {"telemetry": {"metrics": {"prometheusMerge": true}}}}),
            "/spec/meshConfig/enablePrometheusMerge",
            json!(true),
        ),
        (
            json!({"components": {"pilot": {"k8s": {"resources": {"limits": {"cpu": "3"}}}}}}),
            "/spec/components/pilot/k8s/resources/limits/cpu",
            json!("3"),
        ),
        (
            json!({"components": {"pilot": {"k8s": {"strategy": {"rollingUpdate": {"maxSurge": 2}}}}}}),
            "/spec/components/pilot/k8s/strategy",
            json!({"rollingUpdate": {"maxSurge": 2}}),
        ),
        (
            json!({"components": {"ingressGateway": {"k8s": {"hpaSpec": {"minReplicas": 5}}}}}),
            "/spec/components/ingressGateways/0/k8s/hpaSpec/minReplicas",
            json!(5),
        ),
        (
            json!({"components": {"egressGateway": {"enabled": true}}}),
            "/spec/components/egressGateways/0/enabled",
            json!(true),
        ),
        (
            json!({"components": {"proxy": {"k8s": {"resources": {"requests": {"memory": "1Gi"}}}}}}),
            "/spec/values/global/proxy/resources/requests/memory",
            json!("1Gi"),
        ),
        (
            json!({"components": {"cni": {"k8s": {"resources": {"limits": {"cpu": "300m"}}}}}}),
            "/spec/components/cni/k8s/resources/limits/cpu",
            json!("300m"),
        ),
    ] {
        let mut changed = document(spec);
        assert_eq!(at(&changed, path), &value, "{path}");
        restore(&mut changed, &base, path);
        assert_eq!(changed, base, "{path}");
    }
}

/// Undoes the change at `path`.
pub(super) fn restore(document: &mut Value, base: &Value, path: &str) {
    if let Some(original) = base.pointer(path) {
        *document.pointer_mut(path).unwrap() = original.clone();
    } else {
        let (parent, key) = path.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap().as_object_mut().unwrap().shift_remove(key);
    }
}

#[test]
fn a_value_of_the_resource_wins_over_what_the_provider_needs() {
    let annotation = "service.beta.kubernetes.io/aws-load-balancer-scheme";
    let facts = ClusterFacts {
        provider: Provider::Aws { load_balancer: LoadBalancer::Network },
        ..ClusterFacts::default()
    };
    let annotations = json!({"istio-ingressgateway": {"serviceAnnotations": {annotation: "internal"}}});
    let document = document_for(json!({"values": {"gateways": annotations}}), &facts);
    let gateway = at(&document, "/spec/values/gateways/istio-ingressgateway/serviceAnnotations");
    assert_eq!(gateway[annotation], "internal");
    assert_eq!(gateway["service.beta.kubernetes.io/aws-load-balancer-type"], "nlb", "the rest stays");
}

#[test]
fn authorizers_follow_the_providers_of_the_base() {
    let document = document(json!({"config": {"authorizers": [
        {
            "name": "first", "service": "a.b", "port": 80, "timeout": "500ms",
            "headers": {"inCheck": {"include": [], "add": {"x": "y"}}, "toDownstream": {"onDeny": ["z"]}},
        },
        {"name": "second", "service": "a.b", "port": 81},
    ]}}));
    let providers = at(&document, "/spec/meshConfig/extensionProviders").as_array().unwrap();
    let names: Vec<_> = providers.iter().map(|provider| provider["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kyma-traces", "envoy", "stdout-json", "kyma-logs", "first", "second"]);
    assert_eq!(
        providers[4]["envoyExtAuthzHttp"],
        json!({
            "service": "a.b", "port": 80, "timeout": "0.500s",
            "includeAdditionalHeadersInCheck": {"x": "y"}, "headersToDownstreamOnDeny": ["z"],
        })
    );
}

#[test]
fn the_traffic_policy_is_patched_after_what_the_base_patches() {
    let document = document(json!({"config": {"gatewayExternalTrafficPolicy": "Local"}}));
    let overlays = at(&document, "/spec/components/ingressGateways/0/k8s/overlays").as_array().unwrap();
    assert_eq!(overlays.len(), 2);
    assert_eq!(overlays[1]["patches"], json!([{"path": "spec.externalTrafficPolicy", "value": "Local"}]));
}

#[test]
fn a_given_kind_of_affinity_replaces_that_kind_only() {
    let term = json!({"topologyKey": "zone"});
    let cni = |affinity: Value| document(json!({"components": {"cni": {"k8s": {"affinity": affinity}}}}));

    let added = cni(json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}));
    let affinity = at(&added, "/spec/components/cni/k8s/affinity");
    assert_eq!(affinity["podAffinity"], json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]}));
    assert!(affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"].is_array());

    let replaced =
        cni(json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}));
    assert_eq!(
        at(&replaced, "/spec/components/cni/k8s/affinity"),
        &json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    );
}

#[test]
fn settings_of_a_disabled_cni_agent_are_preserved() {
    let features = Features { disable_cni: true, ..Features::default() };
    let document = document_for(json!({}), &ClusterFacts { features, ..ClusterFacts::default() });
    let cni = at(&document, "/spec/components/cni");
    assert_eq!(cni["enabled"], false);
    assert!(cni["k8s"]["resources"]["limits"]["cpu"].is_string());
}

#[test]
fn switches_of_istiod_are_set_once_each() {
    let document = document(json!({
        "compatibilityMode": true,
        "experimental": {"pilot": {"enableAlphaGatewayAPI": true, "enableMultiNetworkDiscoverGatewayAPI": false}},
    }));
    let env = at(&document, "/spec/components/pilot/k8s/env").as_array().unwrap();
    let mut names: Vec<_> = env.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    let count = names.len();
    assert!(names.contains(&"PILOT_ENABLE_ALPHA_GATEWAY_API"));
    assert!(!names.contains(&"PILOT_MULTI_NETWORK_DISCOVER_GATEWAY_API"));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn dual_stack_needs_experimental_features() {
    let facts = ClusterFacts {
        dual_stack: true,
        provider: Provider::Aws { load_balancer: LoadBalancer::Network },
        ..ClusterFacts::default()
    };
    let path = "/spec/values/gateways/istio-ingressgateway/serviceAnnotations/service.beta.kubernetes.io~1aws-load-balancer-type";
    let regular = build_configuration(
        &ValidatedSpec::default(),
        &facts,
        &Images::official("1.31.0"),
        &AdministratorValues::default(),
    )
    .unwrap();
    assert_eq!(at(&regular, "/spec/values/pilot/ipFamilyPolicy"), &Value::Null);
    assert_eq!(at(&regular, path), "nlb");
    let experimental = document_for(json!({}), &facts);
    assert_eq!(at(&experimental, "/spec/values/pilot/ipFamilyPolicy"), "RequireDualStack");
    assert_eq!(at(&experimental, path), "external");
}

#[test]
fn ambient_mode_brings_ztunnel_with_its_image() {
    let document = document(json!({"experimental": {"enableAmbient": true}}));
    assert_eq!(at(&document, &format!("{COMPONENTS}/ztunnel/enabled")), true);
    assert_eq!(at(&document, "/spec/values/ztunnel/image"), "docker.io/istio/ztunnel:1.31.0-distroless");
}

#[test]
fn ambient_mode_without_an_image_of_ztunnel_is_refused() {
    let spec = serde_json::from_value(json!({"experimental": {"enableAmbient": true}})).unwrap();
    let valid = validate(&spec, FeatureStage::Experimental).unwrap();
    let images = Images { ztunnel: None, ..Images::official("1.31.0") };
    let error =
        build_configuration(&valid, &ClusterFacts::default(), &images, &AdministratorValues::default())
            .unwrap_err();
    assert!(error.to_string().contains("ztunnel-fips"), "{error}");
}

#[test]
fn the_images_are_full_references() {
    let document = document(json!({}));
    assert_eq!(at(&document, "/spec/values/global/proxy/image"), "docker.io/istio/proxyv2:1.31.0-distroless");
    assert_eq!(at(&document, "/spec/values/global/imagePullSecrets"), &json!([]));
    assert_eq!(
        (at(&document, "/spec/hub"), at(&document, "/spec/tag")),
        (&json!("docker.io/istio"), &json!("1.31.0-distroless"))
    );
}
