use istio_charts::{Bundle, ValueNames};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::plan::keys::KeyUse;

/// A value for each path that is allowed, and one for each key of labels and annotations.
pub(in crate::plan) fn samples() -> Vec<(String, Value)> {
    let samples = paths().into_iter().flat_map(|(path, kind)| {
        let keys = key_use(kind).into_iter().flat_map(KeyUse::samples).map(|key| json!({key: "x"}));
        let values: Vec<Value> = [sample(kind)].into_iter().chain(keys).collect();
        values.into_iter().map(move |value| (path.clone(), at(&path, value)))
    });
    samples.collect()
}

/// Where a path leads in the list.
enum Place {
    Node(&'static Node),
    /// Into a structure that is allowed as a whole.
    InStructure,
    Closed,
    Unknown,
}

/// Finds the place of `path`. Items of lists have no names in it.
fn find_place(path: &str) -> Place {
    let mut node: &Node = &TREE;
    for name in path.split('.') {
        while let Some(items) = &node.items {
            node = items;
        }
        match node.find(name) {
            NodeLookup::Node(next) => node = next,
            NodeLookup::Closed(_) => return Place::Closed,
            NodeLookup::Unknown if matches!(node.kind, Some(ValueKind::Structure(_))) => {
                return Place::InStructure;
            }
            NodeLookup::Unknown => return Place::Unknown,
        }
    }
    Place::Node(node)
}

/// Whether the list closes `path`, or something below it.
pub(in crate::plan) fn is_closed_to_authors(path: &str) -> bool {
    match find_place(path) {
        Place::Node(node) => node.kind.is_none() && node.protects_something_below(),
        Place::InStructure => false,
        Place::Closed | Place::Unknown => true,
    }
}

fn key_use(kind: &str) -> Option<KeyUse> {
    Some(match kind {
        "labels" => KeyUse::Label,
        "workload-annotations" => KeyUse::WorkloadAnnotation,
        "pod-annotations" => KeyUse::PodAnnotation,
        "service-annotations" => KeyUse::ServiceAnnotation,
        "istiod-service-annotations" => KeyUse::IstiodServiceAnnotation,
        _ => return None,
    })
}

/// `value` at a path of the list.
fn at(path: &str, value: Value) -> Value {
    let path = path.replace("\\.", "\0");
    path.rsplit('.').fold(value, |inner, name| {
        let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        let name = name.replace('\0', ".").replace("<locality>", "region/zone").replace(['<', '>'], "");
        let inner = if is_list { json!([inner]) } else { inner };
        json!({name: inner})
    })
}

fn sample(kind: &str) -> Value {
    let mut words = kind.split(' ');
    let name = words.next().unwrap();
    match name {
        "bool" => json!(true),
        "flag" => json!("true"),
        // Some number in the middle, so that a minimum of pods is not over a maximum of the base configuration.
        "integer" => {
            let mut bound = || words.next().unwrap().parse::<i64>().unwrap();
            let (least, most) = (bound(), bound());
            json!(5.clamp(least, most))
        }
        "count" | "decimal" => json!(words.next().unwrap()),
        "number" => json!(1.5),
        "percent-or-integer" => json!("25%"),
        "port" => json!(9411),
        "duration" => json!("1m30s"),
        "bytes" => json!("400MiB"),
        "one-of" | "only" => json!(words.find(|word| *word != "\"\"").unwrap()),
        "text" | "header-value" => json!("any \"text\": with {{ all }} of #it"),
        "format" => json!("[%START_TIME%]\t\"%REQ(:METHOD)%\"\n"),
        "word" => json!("kyma-logs"),
        "word-list" => json!("5xx,connect-failure"),
        "token" => json!("abc.DEF=="),
        "pod-variable" => json!("NODE_NAME"),
        "header" | "sent-header" => json!("x-request-id"),
        "url-path" => json!("/api/v2/spans"),
        "log-levels" => json!("default:info,ads:debug"),
        "rust-log" => json!("info,ztunnel::proxy=debug"),
        "dns-label" => json!("kube-system"),
        "host" => json!("mesh.example.com"),
        "app-protocol" => json!("kubernetes.io/h2c"),
        "qualified-name" => json!("service.k8s.aws/nlb"),
        "port-name" => json!("http2"),
        "endpoint" | "agent-endpoint" => json!("zipkin.example.com:9411"),
        "service" => json!("observability/zipkin.example.com"),
        "ip" => json!("203.0.113.7"),
        "cidr" => json!("10.0.0.0/8"),
        "cidrs" => json!("10.0.0.0/8,fd00::/8"),
        "ports" => json!("80,443"),
        "label-key" => json!("topology.kubernetes.io/zone"),
        "label-keys" => json!("app,example.com/team"),
        "label-values" => json!("a,b"),
        "label-pair" => json!("topology.istio.io/network=n1"),
        "locality" => json!("region/zone/*"),
        "visibility" => json!("."),
        "empty" => json!({}),
        "resources" => {
            json!({"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": 2, "memory": null}})
        }
        "node-selector" => json!({"node-pool": "mesh"}),
        "affinity" => {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["mesh"]}]},
            ]}}})
        }
        "tolerations" => {
            json!([{"key": "dedicated", "operator": "Equal", "value": "mesh", "effect": "NoSchedule"}])
        }
        "topology-spread" => json!([{
            "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "istiod"}},
        }]),
        "hpa-behavior" => json!({"scaleDown": {"stabilizationWindowSeconds": 300, "policies": [
            {"type": "Pods", "value": 1, "periodSeconds": 60},
        ]}}),
        "hpa-metrics" => json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70},
        }}]),
        "daemon-set-strategy" => json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}),
        "deployment-strategy" => json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
        "label-selector" => json!({"matchLabels": {"mesh": "yes"}, "matchExpressions": [
            {"key": "team", "operator": "NotIn", "values": ["a"]},
        ]}),
        "pod-annotations" | "workload-annotations" | "service-annotations" | "istiod-service-annotations" => {
            json!({"prometheus.io/scrape": "true", "owner": "team-a"})
        }
        "labels" => json!({"team": "a", "example.com/cost-center": "7"}),
        "formats" => json!({"start_time": "%START_TIME%", "request": {"method": "%REQ(:METHOD)%"}}),
        other => panic!("no sample of {other}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "cases read better with values")]
fn refusals(values: Value) -> Vec<String> {
    let refusals = check(values.as_object().unwrap(), Audience::RestrictedAuthor);
    let problems = refusals.into_iter().map(|refusal| refusal.into_problem(Audience::RestrictedAuthor));
    problems.map(|problem| problem.to_string()).collect()
}

/// Whether a value at the path is allowed or has a reason why not.
fn is_reviewed(path: &str) -> bool {
    match find_place(path) {
        Place::Node(node) => {
            node.kind.is_some() || node.closed.is_some() || node.is_section() || node.items.is_some()
        }
        Place::InStructure | Place::Closed => true,
        Place::Unknown => false,
    }
}

#[test]
fn every_line_of_the_data_files_can_be_read() {
    assert_eq!(tree::unreadable(), [""; 0]);
    assert!(tree::lines(tree::ALLOWED).count() > 300);
}

/// A new version of Istio brings new values; each has to be allowed or closed in a review.
#[test]
fn every_value_name_of_the_charts_has_been_reviewed() {
    let names = ValueNames::of(&Bundle::embedded()).unwrap().paths();
    assert!(names.len() > 200, "{names:?}");
    let missing: Vec<_> = names.iter().filter(|path| !is_reviewed(path)).collect();
    assert!(missing.is_empty(), "neither allowed nor closed: {missing:#?}");
}

#[test]
fn every_field_of_the_mesh_configuration_has_been_reviewed() {
    let fields = include_str!("../mesh_names.txt").lines().filter(|line| !line.starts_with('#'));
    let leaves =
        fields.filter_map(|line| line.split_once(' ')).filter(|(_, holds)| !holds.ends_with("message"));
    let missing: Vec<_> = leaves
        .map(|(path, _)| format!("meshConfig.{}", path.replace('*', "any")))
        .filter(|path| !is_reviewed(path))
        .collect();
    assert!(missing.is_empty(), "neither allowed nor closed: {missing:#?}");
}

#[test]
fn a_value_of_each_path_on_the_list_is_accepted() {
    for (path, values) in samples() {
        assert_eq!(refusals(values), [""; 0], "{path}");
    }
}

#[test]
fn everything_that_decides_about_trust_code_or_nodes_is_refused() {
    let trust = [
        json!({"global": {"caAddress": "evil:15012"}}),
        json!({"global": {"caName": "GkeWorkloadCertificate"}}),
        json!({"global": {"trustBundleName": "mine"}}),
        json!({"global": {"remotePilotAddress": "203.0.113.1"}}),
        json!({"global": {"jwtPolicy": "first-party-jwt"}}),
        json!({"global": {"meshNetworks": {"n": {}}}}),
        json!({"meshConfig": {"ca": {"address": "evil:1"}}}),
        json!({"meshConfig": {"configSources": [{"address": "xds://evil"}]}}),
        json!({"meshConfig": {"caCertificates": [{"pem": "x"}]}}),
        json!({"meshConfig": {"trustDomainAliases": ["evil"]}}),
        json!({"meshConfig": {"rootNamespace": "tenant"}}),
        json!({"meshConfig": {"enableAutoMtls": false}}),
        json!({"meshConfig": {"meshMTLS": {"minProtocolVersion": "TLS_AUTO"}}}),
        json!({"meshConfig": {"meshMTLS": {"cipherSuites": ["x"]}}}),
        json!({"meshConfig": {"pathNormalization": {"normalization": "NONE"}}}),
        json!({"meshConfig": {"extensionProviders": [{"name": "a", "envoyExtAuthzHttp": {"service": "evil"}}]}}),
        json!({"meshConfig": {"extensionProviders": [{"name": "a", "envoyExtAuthzHttp": null}]}}),
        json!({"meshConfig": {"extensionProviders": [{"name": "a", "zipkin": {"headers": [{"envName": "TOKEN"}]}}]}}),
        json!({"meshConfig": {"defaultConfig": {"discoveryAddress": "evil:15012"}}}),
        json!({"meshConfig": {"defaultConfig": {"tracing": {"tlsSettings": {"caCertificates": "/x"}}}}}),
        json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"CA_ADDR": "evil"}}}}),
        json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"WORKLOAD_RSA_KEY_SIZE": null}}}}),
        json!({"meshConfig": {"defaultConfig": {"runtimeValues": {"envoy.reloadable_features.x": "false"}}}}),
        json!({"pilot": {"trustedZtunnelNamespace": "tenant"}}),
        json!({"pilot": {"env": {"CA_TRUSTED_NODE_ACCOUNTS": "tenant/evil"}}}),
        json!({"pilot": {"env": {"XDS_AUTH": "false"}}}),
        json!({"pilot": {"env": {"PILOT_ENABLE_XDS_IDENTITY_CHECK": false}}}),
        json!({"pilot": {"env": {"ENABLE_DEBUG_ENDPOINT_AUTH": "false"}}}),
        json!({"pilot": {"env": {"UNSAFE_ENABLE_ADMIN_ENDPOINTS": "true"}}}),
        json!({"pilot": {"env": {"SHARED_MESH_CONFIG": "mine"}}}),
        json!({"pilot": {"env": {"HTTPS_PROXY": "http://evil"}}}),
        json!({"pilot": {"env": {"PILOT_IGNORE_RESOURCES": "*.security.istio.io"}}}),
        json!({"pilot": {"env": {"VARIABLE_OF_TOMORROW": "1"}}}),
        json!({"gateways": {"istio-ingressgateway": {"env": {"CA_ADDR": "evil"}}}}),
    ];
    let code = [
        json!({"global": {"proxy": {"lifecycle": {"postStart": {"exec": {"command": ["sh"]}}}}}}),
        json!({"global": {"imagePullSecrets": ["mine"]}}),
        json!({"pilot": {"initContainers": [{"name": "mine"}]}}),
        json!({"pilot": {"extraContainerArgs": ["--meshConfig=/x"]}}),
        json!({"pilot": {"volumes": [{"name": "a", "secret": {"secretName": "istio-ca-secret"}}]}}),
        json!({"pilot": {"volumeMounts": [{"name": "a", "mountPath": "/var/lib/istio/inject"}]}}),
        json!({"pilot": {"envVarFrom": [{"name": "A", "valueFrom": {}}]}}),
        json!({"gateways": {"istio-ingressgateway": {"additionalContainers": [{"name": "mine"}]}}}),
        json!({"gateways": {"istio-egressgateway": {"secretVolumes": [{"name": "a", "secretName": "b"}]}}}),
        json!({"gateways": {"istio-ingressgateway": {"configVolumes": []}}}),
        json!({"sidecarInjectorWebhook": {"templates": {"sidecar": "x"}}}),
        json!({"sidecarInjectorWebhook": {"injectedAnnotations": {"a": "b"}}}),
        json!({"meshConfig": {"defaultConfig": {"binaryPath": "/bin/sh"}}}),
        json!({"meshConfig": {"defaultConfig": {"readinessProbe": {"exec": {"command": ["sh"]}}}}}),
        json!({"meshConfig": {"accessLogFile": "/etc/istio/proxy/x"}}),
        json!({"meshConfig": {"extensionProviders": [{"name": "a", "envoyFileAccessLog": {"path": "/etc/x"}}]}}),
        json!({"gatewayClasses": {"x": {"config": {"templates": {"sidecar": "x"}}}}}),
        json!({"gatewayClasses": {"x": {"serviceAccount": {"metadata": {"annotations": {"a": "b"}}}}}}),
        json!({"gatewayClasses": {"x": {"deployment": {"spec": {"template": {"spec": {"containers": [
            {"name": "istio-proxy", "image": "evil"},
        ]}}}}}}}),
        json!({"gatewayClasses": {"x": {"deployment": {"spec": {"template": {"spec": {"containers": [{"name": "mine"}]}}}}}}}),
        json!({"gatewayClasses": {"x": {"service": {"spec": {"externalIPs": ["10.96.0.10"]}}}}}),
        json!({"gatewayClasses": {"x": {"deployment": {"$patch": "replace"}}}}),
    ];
    let nodes = [
        json!({"cni": {"cniConfFileName": "../../opt/cni/bin/bridge"}}),
        json!({"cni": {"env": {"KUBECONFIG_MODE": "0666"}}}),
        json!({"cni": {"chained": false}}),
        json!({"cni": {"ambient": {"enabled": true}}}),
        json!({"global": {"proxy": {"privileged": true}}}),
        json!({"global": {"priorityClassName": "system-node-critical"}}),
        json!({"global": {"platform": "openshift"}}),
        json!({"ztunnel": {"env": {"XDS_ADDRESS": "evil"}}}),
        json!({"base": {"validationURL": "https://evil"}}),
        json!({"istiodRemote": {"injectionURL": "https://evil"}}),
        json!({"experimental": {"stableValidationPolicy": true}}),
        json!({"cni": {"resources": {"limits": {"devices.kubevirt.io/kvm": 1}}}}),
    ];
    for values in trust.into_iter().chain(code).chain(nodes) {
        assert_eq!(refusals(values.clone()).len(), 1, "{values}");
    }
}

#[test]
fn other_spellings_of_a_name_are_not_on_the_list() {
    for values in [
        json!({"meshConfig": {"access_log_file": "/dev/stdout"}}),
        json!({"meshConfig": {"AccessLogFile": "/dev/stdout"}}),
        json!({"meshConfig": {"defaultConfig": {"interception_mode": "TPROXY"}}}),
        json!({"meshConfig": {"default_config": {}}}),
        json!({"Pilot": {"traceSampling": 1}}),
        json!({"pilot": {"traceSampling ": 1}}),
        json!({"pilot": {"env": {"pilot_http10": "1"}}}),
        json!({"pilot.traceSampling": 1}),
        json!({"meshConfig": {"defaultConfig": {"runtimeValues": {"overload": {"global_downstream_max_connections": "1"}}}}}),
        json!({"_internal_defaults_do_not_set": {"pilot": {}}}),
    ] {
        assert_eq!(refusals(values.clone()).len(), 1, "{values}");
    }
}

#[test]
fn annotations_and_labels_are_accepted_by_their_domain() {
    let annotations = |place: &str, key: &str| match place {
        "pod" => json!({"pilot": {"podAnnotations": {key: "x"}}}),
        "label" => json!({"pilot": {"podLabels": {key: "x"}}}),
        "istiod" => json!({"pilot": {"serviceAnnotations": {key: "x"}}}),
        _ => json!({"gateways": {"istio-ingressgateway": {"serviceAnnotations": {key: "x"}}}}),
    };
    for (place, key, is_accepted) in [
        ("pod", "prometheus.io/scrape", true),
        ("pod", "cluster-autoscaler.kubernetes.io/safe-to-evict", true),
        ("pod", "example.com/a", true),
        ("pod", "team", true),
        ("pod", "sidecar.istio.io/inject", false),
        ("pod", "proxy.istio.io/config", false),
        ("pod", "k8s.v1.cni.cncf.io/networks", false),
        ("pod", "io.kubernetes.cri-o.userns-mode", false),
        ("pod", "container.apparmor.security.beta.kubernetes.io/discovery", false),
        ("pod", "vault.hashicorp.com/agent-inject", false),
        ("pod", "iam.amazonaws.com/role", false),
        ("pod", "operator.kyma-project.io/x", false),
        ("pod", "a b", false),
        ("pod", "true", false),
        ("pod", "ad.datadoghq.com/discovery.checks", false),
        ("pod", "co.elastic.logs/raw", false),
        ("label", "team", true),
        ("label", "app", false),
        ("label", "version", false),
        ("label", "gateway", false),
        ("label", "istio.io/rev", false),
        ("label", "azure.workload.identity/use", false),
        ("label", "security.istio.io/tlsMode", false),
        ("service", "service.beta.kubernetes.io/aws-load-balancer-type", true),
        ("service", "external-dns.alpha.kubernetes.io/hostname", true),
        ("service", "cloud.google.com/load-balancer-type", true),
        ("service", "networking.istio.io/exportTo", false),
        ("service", "io.cilium/global-service", false),
        ("service", "loadbalancer.openstack.org/load-balancer-id", false),
        ("istiod", "prometheus.io/scrape", true),
        ("istiod", "external-dns.alpha.kubernetes.io/hostname", false),
        ("service", "service.beta.openshift.io/serving-cert-secret-name", false),
        ("service", "cert.gardener.cloud/secretname", false),
        ("service", "kubectl.kubernetes.io/last-applied-configuration", false),
        ("service", "kyma-project.io/x", false),
        ("service", "notmetallb.io/x", false),
    ] {
        let refusals = refusals(annotations(place, key));
        assert_eq!(refusals.is_empty(), is_accepted, "{place} {key}: {refusals:?}");
    }
}

#[test]
fn null_is_accepted_where_it_removes_nothing_that_is_closed() {
    for (values, is_accepted) in [
        (json!({"pilot": {"traceSampling": null}}), true),
        (json!({"pilot": {"resources": {"limits": {"cpu": null}}}}), true),
        (json!({"meshConfig": {"extensionProviders": null}}), true),
        (json!({"meshConfig": {"defaultConfig": {"proxyStatsMatcher": null}}}), true),
        (json!({"meshConfig": {"defaultConfig": {"tracing": {"zipkin": null}}}}), true),
        (json!({"pilot": {"affinity": {"nodeAffinity": null}}}), true),
        // Something below is closed, or has only a safe choice.
        (json!({"meshConfig": {"defaultConfig": {"tracing": null}}}), false),
        (json!({"meshConfig": {"defaultConfig": {"connectionSettings": null}}}), false),
        (json!({"meshConfig": {"defaultConfig": {"gatewayTopology": null}}}), false),
        (json!({"meshConfig": {"outboundTrafficPolicy": null}}), false),
        (json!({"meshConfig": {"meshMTLS": {"minProtocolVersion": null}}}), false),
        (json!({"meshConfig": {"tlsDefaults": {"minProtocolVersion": null}}}), false),
        (json!({"meshConfig": {"pathNormalization": {"normalization": null}}}), false),
        (json!({"global": {"networkPolicy": {"enabled": null}}}), false),
        (json!({"pilot": {"env": {"PILOT_SCOPE_GATEWAY_TO_NAMESPACE": null}}}), false),
        (json!({"pilot": {"env": {"ENABLE_DEBUG_ENDPOINT_AUTH": null}}}), false),
        (json!({"pilot": {"env": {"ENABLE_DEBUG_ON_HTTP": null}}}), false),
        (json!({"gatewayClasses": {"istio": null}}), true),
        (json!({"pilot": null}), false),
        (json!({"pilot": {"env": null}}), false),
        (json!({"global": null}), false),
        (json!({"meshConfig": null}), false),
        (json!({"meshConfig": {"defaultConfig": null}}), false),
        (json!({"meshConfig": {"defaultConfig": {"proxyMetadata": null}}}), false),
        (json!({"global": {"configValidation": null}}), false),
        (json!({"gateways": {"istio-ingressgateway": {"secretVolumes": null}}}), false),
    ] {
        assert_eq!(refusals(values.clone()).is_empty(), is_accepted, "{values}");
    }
}

#[test]
fn a_refusal_names_the_path_and_the_reason() {
    for (values, expected) in [
        (
            json!({"global": {"caAddress": "evil"}}),
            "spec.values.global.caAddress: not allowed: it decides who is trusted in the mesh",
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"loadBalancerIP": "1.2.3.4\"\n  externalIPs: [\"10.96.0.10\"]\n  #"}}}),
            "spec.values.gateways.istio-ingressgateway.loadBalancerIP: \
             \"1.2.3.4\"\\u{a}  externalIPs: [\"10.96.0.10\"]\\u{a}  #\" is not accepted: must be an IP address",
        ),
        (
            json!({"pilot": {"autoscaleMin": "3"}}),
            "spec.values.pilot.autoscaleMin: \"3\" is not accepted: must be an integer from 1 to 1000",
        ),
        (json!({"pilot": 1}), "spec.values.pilot: 1 is not accepted: must be a map"),
        (
            json!({"meshConfig": {"trustDomain": "x"}}),
            "spec.values.meshConfig.trustDomain: cannot be set here: use spec.config.trustDomain",
        ),
        (
            json!({"meshConfig": {"accessLogFormat": "%FILE_CONTENT(/x)%"}}),
            "spec.values.meshConfig.accessLogFormat: \"%FILE_CONTENT(/x)%\" is not accepted: \
             %FILE_CONTENT% is not one of the operators that are allowed",
        ),
        (
            json!({"meshConfig": {"connectTimeout": "soon"}}),
            "spec.values.meshConfig.connectTimeout: \"soon\" is not accepted: must be a duration such as 1.5s, 100ms, or 1m",
        ),
        (
            json!({"pilot": {"tolerations": [{"operator": "Exists", "tolerationSeconds": "300"}]}}),
            "spec.values.pilot.tolerations: this list is not accepted: must be a list of tolerations of Kubernetes: \
             invalid type: string \"300\", expected i64",
        ),
    ] {
        assert_eq!(refusals(values), [expected]);
    }
    let long = refusals(json!({"x".repeat(100_000): "y".repeat(100_000)}));
    assert!(long[0].len() < 400, "{}", long[0].len());
}

#[test]
fn a_refusal_by_the_list_names_the_administrator() {
    for (values, remedy) in [
        (json!({"global": {"caAddress": "x"}}), Some(Remedy::AdministratorValues)),
        (json!({"pilot": {"podLabels": {"app": "x"}}}), Some(Remedy::AdministratorValues)),
        (json!({"meshConfig": {"accessLogFile": "/dev/null"}}), Some(Remedy::AdministratorValues)),
        (json!({"pilot": {"autoscaleMin": 9999}}), Some(Remedy::AdministratorValues)),
        (json!({"no": {"such": "value"}}), Some(Remedy::AdministratorValues)),
        // The administrator cannot set these either.
        (json!({"pilot": {"autoscaleMin": "3"}}), None),
        (json!({"global": {"hub": "x"}}), None),
        (json!({"meshConfig": {"trustDomain": "x"}}), None),
    ] {
        let refusals = check(values.as_object().unwrap(), Audience::RestrictedAuthor);
        let remedies =
            refusals.into_iter().map(|refusal| refusal.into_problem(Audience::RestrictedAuthor).remedy);
        assert_eq!(remedies.collect::<Vec<_>>(), [remedy], "{values}");
    }
}

/// Each was accepted once, and reached beyond Istio's own configuration.
#[test]
fn attacks_on_what_the_list_opens_are_refused() {
    let provider = |provider: Value| json!({"meshConfig": {"extensionProviders": [provider]}});
    let metadata = |name: &str, value: &str| {
        provider(json!({"name": "a", "opentelemetry": {"service": "b.c", "port": 1, "grpc": {
            "initialMetadata": [{"name": name, "value": value}],
        }}}))
    };
    let tag = |tag: Value| json!({"meshConfig": {"defaultConfig": {"tracing": {"customTags": {"k": tag}}}}});
    let classes: Map<String, Value> = (0..33).map(|n| (format!("c{n}"), json!({}))).collect();
    for values in [
        // Variables of proxies, and headers that Envoy refuses.
        metadata("x", "%ENVIRONMENT(SECRET)%"),
        metadata("x", "%NOSUCH%"),
        metadata(":method", "GET"),
        metadata("Host", "a"),
        tag(json!({"environment": {"name": "SECRET"}})),
        // Credentials of users.
        tag(json!({"header": {"name": "authorization"}})),
        provider(json!({"name": "a", "envoyHttpAls": {"additionalRequestHeadersToLog": ["Cookie"]}})),
        json!({"meshConfig": {"accessLogFormat": "%REQ(AUTHORIZATION)%"}}),
        json!({"meshConfig": {"accessLogFormat": "%CEL(request.headers['cookie'])%"}}),
        // Ingresses of others.
        json!({"meshConfig": {"ingressClass": "nginx"}}),
        json!({"meshConfig": {"ingressControllerMode": "DEFAULT"}}),
        // Pods and ports without policies.
        json!({"global": {"proxy": {"includeInboundPorts": ""}}}),
        json!({"global": {"proxy": {"excludeInboundPorts": "80,443"}}}),
        json!({"sidecarInjectorWebhook": {"neverInjectSelector": [{"matchLabels": {}}]}}),
        json!({"cni": {"excludeNamespaces": ["payments"]}}),
        json!({"global": {"networkPolicy": {"enabled": false}}}),
        // Many objects.
        json!({"gatewayClasses": classes}),
        // Agents of nodes.
        json!({"pilot": {"podAnnotations": {"ad.datadoghq.com/discovery.checks": "{}"}}}),
        json!({"pilot": {"podAnnotations": {"co.elastic.logs/raw": "[]"}}}),
        json!({"pilot": {"podAnnotations": {"team": "%%env_DD_API_KEY%%"}}}),
        // What belongs to others.
        json!({"pilot": {"serviceAnnotations": {"io.cilium/global-service": "true"}}}),
        json!({"gateways": {"istio-ingressgateway": {"serviceAnnotations":
            {"loadbalancer.openstack.org/load-balancer-id": "foreign"}}}}),
        // Services of the pod and the node.
        provider(json!({"name": "a", "zipkin": {"service": "169.254.169.254", "port": 80}})),
        json!({"meshConfig": {"defaultConfig": {"zipkinAddress": "169.254.169.254:80"}}}),
        json!({"meshConfig": {"defaultConfig": {"statsdUdpAddress": "127.0.0.1:15000"}}}),
        json!({"meshConfig": {"defaultConfig": {"envoyAccessLogService": {"address": "$(HOST_IP):10250"}}}}),
        // Keys that stay trusted, and tickers that panic.
        json!({"pilot": {"env": {"PILOT_JWT_PUB_KEY_REFRESH_INTERVAL": "2540400h"}}}),
        json!({"pilot": {"env": {"PILOT_JWT_PUB_KEY_REFRESH_INTERVAL": "0"}}}),
        json!({"pilot": {"env": {"PILOT_XDS_CACHE_INDEX_CLEAR_INTERVAL": "0s"}}}),
        // What the API server refuses after half of the installation.
        json!({"pilot": {"topologySpreadConstraints": [{"maxSkew": -1, "topologyKey": "!!bad", "whenUnsatisfiable": "x"}]}}),
    ] {
        assert_eq!(refusals(values.clone()).len(), 1, "{values}");
    }
}

/// Each was refused once although nothing speaks against it.
#[test]
fn harmless_values_that_people_use_are_accepted() {
    let format = |format: &str| json!({"meshConfig": {"accessLogFormat": format}});
    for values in [
        json!({"meshConfig": {"protocolDetectionTimeout": "100ms", "connectTimeout": "500ms"}}),
        json!({"meshConfig": {"defaultConfig": {"drainDuration": "1m", "terminationDrainDuration": "1m30s"}}}),
        format("%ENVIRONMENT(POD_NAME)%.%ENVIRONMENT(POD_NAMESPACE)% %ENVIRONMENT(ISTIO_META_CLUSTER_ID)%"),
        format(
            "%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_REMOTE_PORT% %UPSTREAM_TLS_CIPHER% %UPSTREAM_METADATA(a:b)%",
        ),
        json!({"pilot": {"podLabels": {"app.kubernetes.io/owner": "team"}}}),
        json!({"pilot": {"podAnnotations": {"sidecar.istio.io/logLevel": "debug"}}}),
        json!({"pilot": {"env": {"GOGC": "100", "GOMEMLIMIT": "400MiB"}}}),
        json!({"pilot": {"affinity": {"podAntiAffinity": null}}}),
        json!({"gateways": {"istio-ingressgateway": {
            "env": {"TERMINATION_DRAIN_DURATION_SECONDS": "60"},
            "ports": [{"port": 443, "name": "https", "appProtocol": "kubernetes.io/h2c"}],
            "serviceAnnotations": {"service.cloud.ibm.com/x": "y", "kubernetes.io/elb.class": "union", "k8s.cloudscale.ch/x": "y"},
        }}}),
        json!({"gatewayClasses": {"istio": {"service": {"spec": {"loadBalancerClass": "service.k8s.aws/nlb"}}}}}),
        json!({"global": {"tracer": {"datadog": {"address": "$(HOST_IP):8126"}}}}),
    ] {
        assert_eq!(refusals(values.clone()), [""; 0], "{values}");
    }
}

#[test]
fn operator_values_are_closed_to_all_and_the_rest_to_authors() {
    for (values, author, administrator) in [
        (json!({"global": {"hub": "x"}}), true, true),
        (json!({"meshConfig": {"trustDomain": "x"}}), true, false),
        (json!({"global": {"caAddress": "x"}}), false, false),
        (json!({"global": {"platform": "x"}}), false, false),
        (json!({"no": {"such": "value"}}), false, false),
    ] {
        let is_refused = |audience| !check(values.as_object().unwrap(), audience).is_empty();
        assert!(is_refused(Audience::RestrictedAuthor), "{values}");
        assert_eq!(is_refused(Audience::UnrestrictedAuthor), author, "{values}");
        assert_eq!(is_refused(Audience::Administrator), administrator, "{values}");
    }
}

#[test]
fn the_documentation_lists_the_groups_of_the_allow_list() {
    let mut rows: Vec<(&str, usize)> = Vec::new();
    for line in tree::ALLOWED.lines() {
        if let Some(group) = line.strip_prefix("## ") {
            rows.push((group, 0));
        } else if let Some((path, kind)) = tree::lines(line).next()
            && kind != "section"
        {
            rows.last_mut().unwrap().1 += tree::alternatives(path).len();
        }
    }
    let page = include_str!("../../../../docs/user/README.md");
    for (group, count) in rows {
        assert!(
            page.contains(&format!("| {group} | {count} |")),
            "docs/user/README.md: | {group} | {count} |"
        );
    }
}

/// Kinds with characters that mean something in YAML.
const FREE_TEXTS: [&str; 3] = ["text", "format", "header-value"];

/// Paths that hold a text of which the charts make YAML by serializing it.
fn is_serialized(path: &str, kind: &str) -> bool {
    path.starts_with("meshConfig.") && FREE_TEXTS.contains(&kind)
}

fn paths() -> Vec<(String, &'static str)> {
    let allowed = tree::lines(tree::ALLOWED).filter(|(_, kind)| *kind != "section");
    allowed
        .flat_map(|(path, kind)| tree::alternatives(path).into_iter().map(move |path| (path, kind)))
        .collect()
}

#[test]
fn free_texts_stand_only_where_the_charts_serialize_them() {
    for (path, kind) in paths() {
        assert!(!FREE_TEXTS.contains(&kind) || is_serialized(&path, kind), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is added to a value that is accepted: no line breaks, quotes, templates, tags, anchors, or comments pass.
    #[test]
    fn no_text_on_the_list_can_change_the_yaml_around_it(
        hostile in prop_oneof![
            Just("\n---\napiVersion: v1\nkind: ConfigMap".to_owned()),
            Just("\"\n  externalIPs: [\"10.96.0.10\"]\n  #".to_owned()),
            Just("{{ .Values }}".to_owned()), Just("'{{`x`}}".to_owned()),
            Just(" #".to_owned()), Just("!!binary x".to_owned()), Just("&a *a".to_owned()),
            Just("\r\n".to_owned()), Just("\u{2028}".to_owned()), Just("\u{85}".to_owned()), Just("\0".to_owned()),
            Just(": x".to_owned()), Just(":".to_owned()), Just("x".repeat(100_000)),
            "\\PC{1,12}",
        ],
        is_before in any::<bool>(),
    ) {
        const SAFE: &str = ".,:;_/%*~=+$()[]-";
        for (path, kind) in paths() {
            let Value::String(good) = sample(kind) else { continue };
            let text = if is_before { format!("{hostile}{good}") } else { format!("{good}{hostile}") };
            if refusals(at(&path, json!(text))).is_empty() {
                let is_safe = |c: char| c.is_ascii_alphanumeric() || SAFE.contains(c);
                let is_plain = text.chars().all(is_safe) && !text.ends_with(':');
                prop_assert!(is_plain || is_serialized(&path, kind), "{path}: {text:?}");
                prop_assert!(kind == "format" || !text.chars().any(char::is_control), "{path}: {text:?}");
                prop_assert!(text.len() <= 16_384);
            }
        }
    }

    /// Neither do the texts within structures, as keys or as values.
    #[test]
    fn no_structure_takes_control_characters_or_unknown_fields(hostile in "[a-z]{0,3}[\\x00-\\x1f\\x7f\u{85}\u{2028}][a-z]{0,3}") {
        for (path, kind) in paths() {
            let good = sample(kind);
            if kind == "formats" || !(good.is_object() || good.is_array()) { continue }
            for spoiled in spoiled(&good, &hostile) {
                prop_assert!(!refusals(at(&path, spoiled.clone())).is_empty(), "{path}: {spoiled}");
            }
        }
    }
}

/// A structure with `hostile` in the place of each text, and as a further key of each map.
fn spoiled(value: &Value, hostile: &str) -> Vec<Value> {
    match value {
        Value::String(_) => vec![json!(hostile)],
        Value::Array(items) => (0..items.len())
            .flat_map(|index| {
                let with = move |item| {
                    let mut items = items.clone();
                    items[index] = item;
                    Value::Array(items)
                };
                spoiled(&items[index], hostile).into_iter().map(with)
            })
            .collect(),
        Value::Object(map) => {
            let with = |key: &str, value: Value| {
                let mut map = map.clone();
                map.insert(key.to_owned(), value);
                Value::Object(map)
            };
            let deeper = map.iter().flat_map(|(key, inner)| {
                spoiled(inner, hostile).into_iter().map(|inner| with(key, inner)).collect::<Vec<_>>()
            });
            deeper.chain([with(hostile, json!("x")), with("$patch", json!("delete"))]).collect()
        }
        _ => Vec::new(),
    }
}
