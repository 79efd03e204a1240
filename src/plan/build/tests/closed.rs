//! What values and patches must not reach, whatever the charts would do with them.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_value_must_not_reach_what_is_closed_and_is_named() {
    let cases = [
        (
            json!({"global": {"imagePullSecrets": ["mine"]}}),
            "spec.values.global.imagePullSecrets",
            "which code runs",
        ),
        (
            json!({"sidecarInjectorWebhook": {"enableNamespacesByDefault": true}}),
            "spec.values.sidecarInjectorWebhook.enableNamespacesByDefault",
            "webhooks",
        ),
        (
            json!({"global": {"proxy": {"privileged": true}}}),
            "spec.values.global.proxy.privileged",
            "privilege",
        ),
        (
            json!({"sidecarInjectorWebhook": {"templates": {"mine": "x"}}}),
            "spec.values.sidecarInjectorWebhook.templates",
            "which code runs",
        ),
        (
            json!({"sidecarInjectorWebhook": {"injectedAnnotations": {"sidecar.istio.io/userVolume": "x"}}}),
            "spec.values.sidecarInjectorWebhook.injectedAnnotations",
            "which code runs",
        ),
        (json!({"cni": {"cniBinDir": "/etc"}}), "spec.values.cni.cniBinDir", "on nodes"),
        (
            json!({"pilot": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}}),
            "spec.values.pilot.volumes",
            "files, volumes, or Secrets",
        ),
        (
            json!({"pilot": {"podLabels": {"istio.io/use-waypoint": "mine"}}}),
            "spec.values.pilot.podLabels.istio.io/use-waypoint",
            "a label",
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"runAsRoot": true}}}),
            "spec.values.gateways.istio-ingressgateway.runAsRoot",
            "privilege",
        ),
        (
            json!({"meshConfig": {"defaultConfig": {"interceptionMode": "TPROXY"}}}),
            "spec.values.meshConfig.defaultConfig.interceptionMode",
            "privileges",
        ),
        (
            json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"IPTABLES_TRACE_LOGGING": "true"}}}}),
            "spec.values.meshConfig.defaultConfig.proxyMetadata.IPTABLES_TRACE_LOGGING",
            "environment variables",
        ),
        (
            json!({"gatewayClasses": {"istio": {"deployment": {"spec": {"template": {"spec": {"hostNetwork": true}}}}}}}),
            "spec.values.gatewayClasses.istio.deployment.spec.template.spec.hostNetwork",
            "not on the list",
        ),
        (
            json!({"global": {"agentgateway": {"image": "x"}}}),
            "spec.values.global.agentgateway",
            "which code runs",
        ),
        (
            json!({"pilot": {"env": {"REVISION": "canary"}}}),
            "spec.values.pilot.env.REVISION",
            "environment variables",
        ),
        (
            json!({"pilot": {"serviceAccountAnnotations": {"a": "b"}}}),
            "spec.values.pilot.serviceAccountAnnotations",
            "service accounts",
        ),
        (
            json!({"global": {"operatorManageWebhooks": true}}),
            "spec.values.global.operatorManageWebhooks",
            "webhooks",
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"serviceAccount": {"annotations": {"a": "b"}}}}}),
            "spec.values.gateways.istio-ingressgateway.serviceAccount",
            "service accounts",
        ),
    ];
    // Many in one resource, for each look costs a rendering, and as many as a rejection names; a harmless one beside them
    // is not blamed.
    for cases in cases.chunks(10) {
        let mut values = json!({"telemetry": {"enabled": false}});
        for (one, _, _) in cases {
            istio_charts::strategic_merge::merge(&mut values, one);
        }
        let message = refused(json!({"values": values}));
        for (_, path, words) in cases {
            let is_reported =
                |problem: &str| problem.starts_with(&format!("{path}: ")) && problem.contains(words);
            assert!(message.split("; ").any(is_reported), "{path}, {words}: {message}");
        }
        assert!(!message.contains("spec.values.telemetry"), "{message}");
    }
}

/// Helm takes the last of two equal keys, so the charts render; what they render has lost its selector's label.
#[test]
fn a_value_that_writes_over_a_label_of_the_chart_is_refused() {
    let message = refused(json!({"values": {"pilot": {"podLabels": {"app": "twice"}}}}));
    assert!(message.contains("spec.values.pilot.podLabels.app"), "{message}");
    assert!(message.contains("a key that Istio's charts do not use"), "{message}");
}

#[test]
fn a_patch_must_not_reach_what_is_closed() {
    let message = refused(json!({"patches": [
        {"kind": "DaemonSet", "name": "istio-cni-node", "json": [{"op": "add", "path": "/spec/template/spec/hostPID", "value": true}]},
        {"kind": "MutatingWebhookConfiguration", "name": "istio-sidecar-injector", "json": []},
    ]}));
    for words in [
        "spec.patches[0]: DaemonSet istio-system/istio-cni-node at spec.template.spec.hostPID",
        "spec.patches[1]",
    ] {
        assert!(message.contains(words), "{words} is missing in: {message}");
    }
}

/// Fails when a new version of Istio reads something in its injection templates that nobody has judged yet.
#[test]
fn inputs_of_injection_templates_are_closed_or_harmless() {
    const CLOSED: [&str; 11] = [
        "MeshConfig.TrustDomain",
        "ProxyConfig.InterceptionMode",
        "ProxyConfig.ProxyMetadata",
        "Values.gateways",
        "Values.global.agentgateway.image",
        "Values.global.proxy.capNetBindService",
        "Values.global.proxy.image",
        "Values.global.proxy.privileged",
        "Values.global.proxy.seccompProfile",
        "Values.global.proxy_init.image",
        "Values.pilot.cni",
    ];
    let injector = object(&built_plan(json!({})), "ConfigMap", "istio-sidecar-injector");
    let templates = injector["data"]["config"].as_str().unwrap();
    let mut read = BTreeSet::new();
    for root in ["Values.", "ProxyConfig.", "MeshConfig."] {
        read.extend(templates.split(&format!(".{root}")).skip(1).map(|rest| root.to_owned() + path(rest)));
    }
    read.retain(|path| {
        !CLOSED.iter().any(|closed| path == closed || path.starts_with(&format!("{closed}.")))
    });
    assert_eq!(read, HARMLESS.map(str::to_owned).into());
}

/// The names, separated by dots, at the start of a text.
fn path(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._".contains(c)).unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

const HARMLESS: [&str; 54] = [
    "MeshConfig.ProxyInboundListenPort",
    "MeshConfig.ProxyListenPort",
    "ProxyConfig.DiscoveryAddress",
    "ProxyConfig.GetTracing.GetTlsSettings",
    "ProxyConfig.GetTracing.GetTlsSettings.GetCaCertificates",
    "ProxyConfig.HoldApplicationUntilProxyStarts.GetValue",
    "Values.global.caAddress",
    "Values.global.caName",
    "Values.global.imagePullPolicy",
    "Values.global.imagePullSecrets",
    "Values.global.istioNamespace",
    "Values.global.logAsJson",
    "Values.global.logging.level",
    "Values.global.meshID",
    "Values.global.mountMtlsCerts",
    "Values.global.multiCluster.clusterName",
    "Values.global.nativeNftables",
    "Values.global.network",
    "Values.global.pilotCertProvider",
    "Values.global.platform",
    "Values.global.proxy.clusterDomain",
    "Values.global.proxy.componentLogLevel",
    "Values.global.proxy.excludeIPRanges",
    "Values.global.proxy.excludeInboundPorts",
    "Values.global.proxy.excludeOutboundPorts",
    "Values.global.proxy.holdApplicationUntilProxyStarts",
    "Values.global.proxy.includeIPRanges",
    "Values.global.proxy.includeInboundPorts",
    "Values.global.proxy.includeOutboundPorts",
    "Values.global.proxy.lifecycle",
    "Values.global.proxy.logLevel",
    "Values.global.proxy.outlierLogPath",
    "Values.global.proxy.readinessFailureThreshold",
    "Values.global.proxy.readinessInitialDelaySeconds",
    "Values.global.proxy.readinessPeriodSeconds",
    "Values.global.proxy.resources",
    "Values.global.proxy.startupProbe.enabled",
    "Values.global.proxy.startupProbe.failureThreshold",
    "Values.global.proxy.statusPort",
    "Values.global.proxy.tracer",
    "Values.global.proxy_init.forceApplyIptables",
    "Values.global.sds.token.aud",
    "Values.global.sts.servicePort",
    "Values.global.trustBundleName",
    "Values.global.trustDomain",
    "Values.global.waypoint.affinity",
    "Values.global.waypoint.nodeSelector",
    "Values.global.waypoint.resources",
    "Values.global.waypoint.tolerations",
    "Values.global.waypoint.topologySpreadConstraints",
    "Values.pilot",
    "Values.pilot.crlConfigMapName",
    "Values.pilot.env",
    "Values.revision",
];
