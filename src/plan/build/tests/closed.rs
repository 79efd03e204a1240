//! What values and patches must not reach, whatever the charts would do with them.

use std::collections::BTreeSet;

use gotemplate::yaml;

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
            "a label that is open to authors",
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
    // Many in one resource, as many as a rejection names; a harmless one beside them is not reported.
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
    assert!(message.contains("that Istio's charts do not use"), "{message}");
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

/// Attacks with patches, for which the rendering policy is the only limit. Each was accepted once.
#[test]
fn a_patch_cannot_reach_what_the_list_closes() {
    let mesh = |change: &str| {
        let text =
            object(&built_plan(json!({})), "ConfigMap", "istio")["data"]["mesh"].as_str().unwrap().to_owned();
        let mut mesh = yaml::parse_json(&text).unwrap();
        istio_charts::strategic_merge::merge(&mut mesh, &yaml::parse_json(change).unwrap());
        ("ConfigMap", "istio", json!({"data": {"mesh": mesh.to_string()}}))
    };
    let env = |name: &str, value: &str| {
        let container = json!({"name": "discovery", "env": [{"name": name, "value": value}]});
        ("Deployment", "istiod", json!({"spec": {"template": {"spec": {"containers": [container]}}}}))
    };
    let pod = |kind, name, pod: Value| (kind, name, json!({"spec": {"template": {"spec": pod}}}));
    let device = |container: &str| json!({"containers": [{"name": container, "resources": {"limits": {"devices.kubevirt.io/kvm": "1"}}}]});
    for (kind, name, merge) in [
        mesh("{defaultConfig: {gatewayTopology: {proxyProtocol: {}}}}"),
        mesh("{defaultConfig: {connectionSettings: {httpMergeSlashes: false}}}"),
        mesh("{defaultConfig: {connectionSettings: {httpHeadersWithUnderscoresAction: DEFAULT}}}"),
        mesh("{ingressSelector: mine, ingressService: mine}"),
        mesh("{ingressClass: nginx}"),
        mesh("{serviceScopeConfigs: [{scope: GLOBAL}]}"),
        mesh("{serviceEntryVisibility: {}}"),
        mesh("{enablePrometheusMerge: true}"),
        mesh("{discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: mine}}]}"),
        mesh("{pathNormalization: {normalization: NONE}}"),
        env("PILOT_SCOPE_GATEWAY_TO_NAMESPACE", "false"),
        env("PILOT_ENABLE_STRICT_GATEWAY_MERGING", "false"),
        env("PILOT_JWT_PUB_KEY_REFRESH_INTERVAL", "2540400h"),
        pod("DaemonSet", "istio-cni-node", device("install-cni")),
        pod("Deployment", "istiod", device("discovery")),
        pod("Deployment", "istiod", json!({"nodeSelector": {"kubernetes.io/os": "windows"}})),
        pod(
            "Deployment",
            "istiod",
            json!({"containers": [{"name": "discovery", "imagePullPolicy": "Never"}]}),
        ),
        ("Deployment", "istiod", json!({"spec": {"template": {"metadata": {"labels": {"component": "x"}}}}})),
        ("Service", "istiod", json!({"metadata": {"annotations": {"io.cilium/global-service": "true"}}})),
        ("ConfigMap", "istio-cni-config", json!({"data": {"EXCLUDE_NAMESPACES": "payments"}})),
    ] {
        let spec = json!({"patches": [{"kind": kind, "name": name, "strategicMerge": merge}]});
        let message = refused(spec);
        assert!(message.contains("spec.patches[0]"), "{message}");
        assert!(message.contains("--overrides=unrestricted"), "{message}");
    }
}

#[test]
fn injection_cannot_be_switched_off_by_a_patch() {
    let injector = object(&built_plan(json!({})), "ConfigMap", "istio-sidecar-injector");
    let (config, values) = (&injector["data"]["config"], &injector["data"]["values"]);
    let changed = |text: &Value, from: &str, to: &str| {
        let text = text.as_str().unwrap();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    for data in [
        json!({"config": changed(config, "policy: enabled", "policy: disabled")}),
        json!({"config": changed(config, "neverInjectSelector:", "neverInjectSelector: [{matchLabels: {a: b}}]\nx:")}),
        json!({"values": changed(values, "\"autoInject\": \"enabled\"", "\"autoInject\": \"disabled\"")}),
        json!({"values": changed(values, "\"excludeInboundPorts\": \"\"", "\"excludeInboundPorts\": \"80\"")}),
    ] {
        let patch =
            json!({"kind": "ConfigMap", "name": "istio-sidecar-injector", "strategicMerge": {"data": data}});
        assert!(refused(json!({"patches": [patch]})).contains("spec.patches[0]"));
    }
}

/// What the list closes in the mesh configuration and in the values of injection, a patch must not reach either: there the
/// names of values are the paths of fields.
#[test]
fn the_rendering_policy_opens_nothing_that_the_list_closes() {
    // Lists and maps of which some names are closed; their elements are checked one by one.
    const BY_ELEMENT: [&str; 3] =
        ["meshConfig.extensionProviders", "meshConfig.defaultConfig.proxyMetadata", "pilot.env"];
    let paths = |subject: &str, prefix: &str| -> Vec<String> {
        rendering_policy::rules::paths(subject).into_iter().map(|path| format!("{prefix}{path}")).collect()
    };
    let mut open = paths("mesh", "meshConfig.");
    open.extend(paths("injection-values", "").into_iter().filter(|path| !path.starts_with("pilot.cni")));
    open.extend(paths("injection-config", "sidecarInjectorWebhook."));
    assert!(open.len() > 100, "{open:?}");
    open.retain(|path| !BY_ELEMENT.contains(&path.as_str()) && configuration::is_closed_to_authors(path));
    assert_eq!(open, [""; 0]);
}

/// Fails when a new version of Istio reads something in its injection templates that an author can change and nobody has
/// reviewed. What is closed needs no review.
#[test]
fn open_inputs_of_injection_templates_are_reviewed() {
    let injector = object(&built_plan(json!({})), "ConfigMap", "istio-sidecar-injector");
    let templates = injector["data"]["config"].as_str().unwrap();
    let read = |root: &str| -> BTreeSet<String> {
        templates.split(&format!(".{root}.")).skip(1).map(|rest| path(rest).to_owned()).collect()
    };
    let values = read("Values");
    assert!(values.len() > 40 && values.contains("global.caAddress"), "{values:?}");
    let is_open = |subject: &str, path: &str| {
        let is_related = |open: &String| {
            let (short, long) = if open.len() < path.len() { (&**open, path) } else { (path, &**open) };
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        rendering_policy::rules::paths(subject).iter().any(is_related)
    };
    let open: BTreeSet<String> =
        values.into_iter().filter(|path| is_open("injection-values", path)).collect();
    assert_eq!(open, OPEN_INPUTS.map(|(path, _)| path.to_owned()).into());
    let proxy_config = read("ProxyConfig").into_iter().map(|path| format!("defaultConfig.{}", lower(&path)));
    let mesh = proxy_config.chain(read("MeshConfig").into_iter().map(|path| lower(&path)));
    let open: BTreeSet<String> = mesh.filter(|path| is_open("mesh", path)).collect();
    assert_eq!(open, OPEN_MESH_INPUTS.map(|(path, _)| path.to_owned()).into());
}

/// The names of fields as the mesh configuration writes them: `GetTracing.GetTlsSettings` is `tracing.tlsSettings`.
fn lower(path: &str) -> String {
    let names = path.split('.').filter(|name| *name != "GetValue").map(|name| {
        let name = name.strip_prefix("Get").unwrap_or(name);
        let (first, rest) = name.split_at(1);
        first.to_ascii_lowercase() + rest
    });
    names.collect::<Vec<_>>().join(".")
}

/// The names, separated by dots, at the start of a text.
fn path(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._".contains(c)).unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

/// Fields of the mesh configuration that authors can change and the templates read, and why that is harmless.
const OPEN_MESH_INPUTS: [(&str, &str); 2] = [
    ("defaultConfig.holdApplicationUntilProxyStarts", "the order of containers in a pod"),
    ("defaultConfig.proxyMetadata", "variables of the proxy, each reviewed in variables.txt"),
];

/// Values that authors can change and the templates print, and why that is harmless. Each has a narrow set of characters.
const OPEN_INPUTS: [(&str, &str); 25] = [
    ("global.imagePullPolicy", "the image stays the same"),
    ("global.logAsJson", "the form of logs"),
    ("global.logging.level", "the level of logs"),
    ("global.proxy.componentLogLevel", "the level of logs"),
    ("global.proxy.excludeIPRanges", "outbound traffic only"),
    ("global.proxy.excludeOutboundPorts", "outbound traffic only"),
    ("global.proxy.holdApplicationUntilProxyStarts", "the order of containers in a pod"),
    ("global.proxy.includeIPRanges", "outbound traffic only"),
    ("global.proxy.includeOutboundPorts", "outbound traffic only"),
    ("global.proxy.logLevel", "the level of logs"),
    ("global.proxy.readinessFailureThreshold", "a number of a probe"),
    ("global.proxy.readinessInitialDelaySeconds", "a number of a probe"),
    ("global.proxy.readinessPeriodSeconds", "a number of a probe"),
    ("global.proxy.resources", "cpu, memory, and ephemeral storage only"),
    ("global.proxy.startupProbe.enabled", "whether there is a probe"),
    ("global.proxy.startupProbe.failureThreshold", "a number of a probe"),
    ("global.proxy.statusPort", "the port of a probe"),
    ("global.proxy.tracer", "where traces go"),
    ("global.waypoint.affinity", "where pods run"),
    ("global.waypoint.nodeSelector", "where pods run"),
    ("global.waypoint.resources", "cpu, memory, and ephemeral storage only"),
    ("global.waypoint.tolerations", "where pods run"),
    ("global.waypoint.topologySpreadConstraints", "where pods run"),
    ("pilot", "what is open below it is checked field by field"),
    ("pilot.env", "variables of istiod, each reviewed in variables.txt"),
];
