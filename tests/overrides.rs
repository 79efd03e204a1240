//! The rendering policy through the real charts, without the allow-list of values: attacks, harmless values, and hostile texts
//! at every value that the charts know.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

mod overrides_body;

use istio_charts::{Bundle, ValueNames};
use istio_manager::plan::OverrideMode;
use overrides_body::{assert_refused_or_harmless, build_plan, build_plan_in_mode, objects};
use serde_json::{Map, Value, json};

/// A value at a path with dots; in a name, `/` stands for a dot and `~` for a slash.
fn at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, name| {
        Value::Object(Map::from_iter([(name.replace('/', ".").replace('~', "/"), inner)]))
    })
}

const DAEMON_SET: &str = "80
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: istio-cni-node, namespace: istio-system}
spec: {template: {spec: {hostPID: true, containers: [{name: x, image: evil}]}}}";
const BINDING: &str = "80
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: istiod-clusterrole-istio-system}
subjects: [{kind: User, name: mallory}]";
const COREDNS: &str = "80
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data: {Corefile: evil}";
const CLOAKED: &str = "80
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x, namespace: \"istio-system/secrets?a=\"}";

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn values_cannot_change_protected_fields() {
    let ingress = "gateways.istio-ingressgateway";
    let cases = [
        // Whole objects by line breaks.
        ("pilot.cpu.targetAverageUtilization".to_owned(), json!(DAEMON_SET)),
        ("pilot.cpu.targetAverageUtilization".to_owned(), json!(BINDING)),
        ("pilot.memory.targetAverageUtilization".to_owned(), json!(COREDNS)),
        ("pilot.autoscaleMax".to_owned(), json!(CLOAKED)),
        (format!("{ingress}.type"), json!(DAEMON_SET.replacen("80", "LoadBalancer", 1))),
        (
            "cni.terminationGracePeriodSeconds".to_owned(),
            json!("30\n      initContainers: [{name: x, image: y}]"),
        ),
        ("cni.terminationGracePeriodSeconds".to_owned(), json!("30\n      hostPID: true")),
        (format!("{ingress}.loadBalancerIP"), json!("1.2.3.4\"\n  externalIPs: [\"10.96.0.10\"]\n  #")),
        ("pilot.podLabels".to_owned(), json!({"x: \"y\"\n        sidecar.istio.io/inject": "true"})),
        ("pilot.env".to_owned(), json!({"A\n            value: x\n          - name: REVISION": "x"})),
        // Containers, programs and files of the author's own.
        (
            "pilot.initContainers".to_owned(),
            json!([{"name": "x", "image": "evil", "restartPolicy": "Always"}]),
        ),
        ("pilot.initContainers".to_owned(), json!([{"name": "{{ .Values.global.hub }}", "image": "evil"}])),
        (format!("{ingress}.additionalContainers"), json!([{"name": "x", "image": "evil"}])),
        ("pilot.extraContainerArgs".to_owned(), json!(["--meshConfig=/etc/istio/config/mesh2"])),
        ("pilot.volumes".to_owned(), json!([{"name": "x", "secret": {"secretName": "istio-ca-secret"}}])),
        ("pilot.volumes".to_owned(), json!([{"name": "x", "configMap": {"name": "x"}}])),
        (
            "pilot.volumeMounts".to_owned(),
            json!([{"name": "local-certs", "mountPath": "/var/lib/istio/inject"}]),
        ),
        (
            "pilot.envVarFrom".to_owned(),
            json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]),
        ),
        (
            format!("{ingress}.secretVolumes"),
            json!([{"name": "x", "secretName": "cacerts", "mountPath": "/x"}]),
        ),
        (format!("{ingress}.configVolumes"), json!([{"name": "x", "configMapName": "x", "mountPath": "/x"}])),
        (format!("{ingress}.runAsRoot"), json!(true)),
        ("pilot.jwksResolverExtraRootCA".to_owned(), json!("x")),
        ("pilot.taint".to_owned(), json!({"enabled": true, "namespace": "x"})),
        ("global.proxy.lifecycle".to_owned(), json!({"postStart": {"exec": {"command": ["x"]}}})),
        ("global.agentgateway.image".to_owned(), json!("evil")),
        ("global.imagePullSecrets".to_owned(), json!(["x"])),
        ("sidecarInjectorWebhook.templates.mine".to_owned(), json!("x")),
        ("sidecarInjectorWebhook.defaultTemplates".to_owned(), json!(["x"])),
        ("sidecarInjectorWebhook.injectedAnnotations.sidecar/istio/io~userVolume".to_owned(), json!("x")),
        ("global.proxy.includeIPRanges".to_owned(), json!("*\"\n  - \"-x")),
        // Who is trusted.
        ("global.caAddress".to_owned(), json!("evil:15012")),
        ("global.trustBundleName".to_owned(), json!("evil")),
        ("global.pilotCertProvider".to_owned(), json!("custom")),
        ("global.meshID".to_owned(), json!("x")),
        ("global.network".to_owned(), json!("x")),
        ("global.multiCluster.clusterName".to_owned(), json!("x")),
        ("global.remotePilotAddress".to_owned(), json!("6.6.6.6")),
        ("global.externalIstiod".to_owned(), json!(true)),
        ("global.sts.servicePort".to_owned(), json!(1234)),
        ("pilot.trustedZtunnelNamespace".to_owned(), json!("tenant")),
        ("pilot.env.CA_TRUSTED_NODE_ACCOUNTS".to_owned(), json!("tenant/evil")),
        ("pilot.env.XDS_AUTH".to_owned(), json!("false")),
        ("pilot.env.PILOT_ENABLE_XDS_IDENTITY_CHECK".to_owned(), json!("false")),
        ("pilot.env.UNSAFE_ENABLE_ADMIN_ENDPOINTS".to_owned(), json!("true")),
        ("pilot.env.SHARED_MESH_CONFIG".to_owned(), json!("x")),
        ("pilot.env.INJECT_ENABLED".to_owned(), json!("false")),
        ("pilot.env.HTTPS_PROXY".to_owned(), json!("http://evil")),
        ("pilot.env.REVISION".to_owned(), json!("canary")),
        ("pilot.env.PILOT_IGNORE_RESOURCES".to_owned(), json!("*.security.istio.io")),
        (format!("{ingress}.env.CA_ADDR"), json!("evil:15012")),
        (format!("{ingress}.podAnnotations.proxy/istio/io~config"), json!("discoveryAddress: evil")),
        ("meshConfig.ca.address".to_owned(), json!("evil:1")),
        ("meshConfig.trustDomainAliases".to_owned(), json!(["evil"])),
        ("meshConfig.configSources".to_owned(), json!([{"address": "evil:1"}])),
        ("meshConfig.enableAutoMtls".to_owned(), json!(false)),
        ("meshConfig.interception_mode".to_owned(), json!("TPROXY")),
        ("meshConfig.default_config".to_owned(), json!({"interceptionMode": "TPROXY"})),
        ("meshConfig.defaultConfig.discoveryAddress".to_owned(), json!("evil:1")),
        ("meshConfig.defaultConfig.binaryPath".to_owned(), json!("/x")),
        ("meshConfig.defaultConfig.customConfigFile".to_owned(), json!("/x")),
        ("meshConfig.defaultConfig.proxyMetadata.CA_ADDR".to_owned(), json!("evil:1")),
        (
            "meshConfig.accessLogFormat".to_owned(),
            json!("%FILE_CONTENT(/var/run/secrets/tokens/istio-token)%"),
        ),
        (
            "meshConfig.extensionProviders".to_owned(),
            json!([{"name": "a", "envoyExtAuthzHttp": {"service": "evil", "port": 1}}]),
        ),
        // Whether policies apply, and to whom.
        ("global.proxy.includeInboundPorts".to_owned(), json!("")),
        ("global.proxy.excludeInboundPorts".to_owned(), json!("80")),
        ("global.proxy.autoInject".to_owned(), json!("disabled")),
        ("sidecarInjectorWebhook.neverInjectSelector".to_owned(), json!([{"matchLabels": {"a": "b"}}])),
        ("cni.excludeNamespaces".to_owned(), json!(["payments"])),
        ("meshConfig.ingressClass".to_owned(), json!("nginx")),
        ("meshConfig.ingressControllerMode".to_owned(), json!("DEFAULT")),
        ("meshConfig.accessLogFormat".to_owned(), json!("%REQ(AUTHORIZATION)%")),
        ("meshConfig.serviceScopeConfigs".to_owned(), json!([{"scope": "GLOBAL"}])),
        ("pilot.env.PILOT_SCOPE_GATEWAY_TO_NAMESPACE".to_owned(), json!("false")),
        ("pilot.env.PILOT_JWT_PUB_KEY_REFRESH_INTERVAL".to_owned(), json!("0")),
        ("pilot.serviceAnnotations.io/cilium~global-service".to_owned(), json!("true")),
        ("pilot.podAnnotations.ad/datadoghq/com~discovery/checks".to_owned(), json!("{}")),
        ("pilot.resources.limits.squat/ai~fuse".to_owned(), json!("1")),
        ("pilot.nodeSelector.kubernetes/io~os".to_owned(), json!("windows")),
        // Nodes.
        ("cni.cniConfFileName".to_owned(), json!("../../opt/cni/bin/bridge")),
        ("cni.chained".to_owned(), json!(false)),
        ("cni.cniBinDir".to_owned(), json!("/etc")),
        ("cni.cniNetnsDir".to_owned(), json!("/")),
        ("cni.env".to_owned(), json!({"MOUNTED_CNI_NET_DIR": "/host/opt/cni/bin"})),
        ("cni.env".to_owned(), json!({"PATH": "/x"})),
        ("cni.repair.deletePods".to_owned(), json!(true)),
        ("cni.seccompProfile.type".to_owned(), json!("Unconfined")),
        ("cni.seLinuxOptions.type".to_owned(), json!("x")),
        ("cni.useAppArmorAnnotation".to_owned(), json!(true)),
        ("cni.ambient.enabled".to_owned(), json!(true)),
        ("cni.provider".to_owned(), json!("multus")),
        // Gateways that istiod makes.
        ("gatewayClasses.x.config.templates.sidecar".to_owned(), json!("x")),
        ("gatewayClasses.x.serviceAccount.metadata.annotations.a".to_owned(), json!("b")),
        (
            "gatewayClasses.x.deployment.spec.template.spec.containers".to_owned(),
            json!([{"name": "istio-proxy", "image": "evil"}]),
        ),
        (
            "gatewayClasses.x.deployment.spec.template.spec.containers".to_owned(),
            json!([{"name": "x", "image": "evil"}]),
        ),
        ("gatewayClasses.x.service.spec.externalIPs".to_owned(), json!(["10.96.0.10"])),
        ("gatewayClasses".to_owned(), json!({"x\n---\nkind: Pod": {}})),
        // Services, webhooks and accounts.
        (
            format!("{ingress}.serviceAnnotations.service/beta/openshift/io~serving-cert-secret-name"),
            json!("cacerts"),
        ),
        (format!("{ingress}.serviceAccount.annotations.a"), json!("b")),
        ("pilot.serviceAccountAnnotations.a".to_owned(), json!("b")),
        ("global.operatorManageWebhooks".to_owned(), json!(true)),
        ("global.configValidation".to_owned(), json!(false)),
        ("sidecarInjectorWebhook.enableNamespacesByDefault".to_owned(), json!(true)),
        ("global.omitSidecarInjectorConfigMap".to_owned(), json!(true)),
        ("pilot.configMap".to_owned(), json!(false)),
        ("istiodRemote.enabled".to_owned(), json!(true)),
    ];
    let accepted: Vec<String> = cases
        .into_iter()
        .filter(|(path, value)| build_plan(json!({"values": at(path, value.clone())})).is_ok())
        .map(|(path, value)| format!("{path}: {value}"))
        .collect();
    assert_eq!(accepted, [""; 0]);
}

#[test]
fn harmless_values_reach_the_plan() {
    let values = json!({
        "global": {
            "logging": {"level": "default:info,ads:debug"},
            "logAsJson": true,
            "networkPolicy": {"enabled": true},
            "defaultPodDisruptionBudget": {"enabled": true},
            "proxy": {
                "logLevel": "info", "excludeIPRanges": "10.0.0.0/8", "excludeOutboundPorts": "443,9090",
                "resources": {"requests": {"cpu": "10m"}}, "holdApplicationUntilProxyStarts": true,
            },
            "waypoint": {"resources": {"limits": {"memory": "1Gi"}}},
        },
        "pilot": {
            "traceSampling": 5,
            "autoscaleMin": 2, "autoscaleMax": 9, "cpu": {"targetAverageUtilization": 55},
            "env": {"PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION": "true", "PILOT_PUSH_THROTTLE": 7},
            "nodeSelector": {"pool": "system"},
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
            "podAnnotations": {"prometheus.io/scrape": "true", "example.com/a": "b"},
            "podLabels": {"team": "mesh"},
            "keepaliveMaxServerConnectionAge": "1h",
            "resources": {"requests": {"cpu": "77m"}},
        },
        "gateways": {"istio-ingressgateway": {
            "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalTrafficPolicy": "Local", "loadBalancerIP": "1.2.3.4",
            "serviceAnnotations": {"service.beta.kubernetes.io/aws-load-balancer-type": "nlb"},
            "ports": [{"port": 443, "targetPort": 8443, "name": "https", "protocol": "TCP"}],
            "autoscaleMin": 4,
        }},
        "gatewayClasses": {"istio": {
            "deployment": {"spec": {"replicas": 2, "template": {"spec": {"nodeSelector": {"pool": "edge"}}}}},
            "service": {"spec": {"externalTrafficPolicy": "Local"}},
        }},
        "cni": {"resources": {"limits": {"cpu": "333m"}}, "resourceQuotas": {"enabled": true, "pods": 50}, "logging": {"level": "info"}},
        "meshConfig": {
            "accessLogFile": "/dev/stdout",
            "accessLogFormat": "[%START_TIME%] %REQ(:METHOD)%\n",
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "discoverySelectors": [{"matchLabels": {"a": "b"}}],
            "extensionProviders": [{"name": "mine", "zipkin": {"service": "z", "port": 9411}}],
            "defaultConfig": {"tracing": {"sampling": 5}, "proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}},
            "localityLbSetting": {"enabled": true, "failoverPriority": ["topology.kubernetes.io/region"]},
        },
    });
    let plan = build_plan(json!({"values": values})).unwrap();
    let objects = objects(&plan);
    for (kind, name) in [
        ("NetworkPolicy", "istiod"),
        ("NetworkPolicy", "istio-ingressgateway"),
        ("ResourceQuota", "istio-cni-resource-quota"),
        ("ConfigMap", "istio-default-gatewayclass-istio"),
    ] {
        let place = (kind.to_owned(), "istio-system".to_owned(), name.to_owned());
        assert!(objects.contains_key(&place), "{kind} {name}");
    }
    assert!(assert_refused_or_harmless(&values));
}

#[test]
fn patches_change_only_unprotected_fields() {
    let patch = |kind: &str, name: &str, merge: Value| json!({"patches": [{"kind": kind, "name": name, "strategicMerge": merge}]});
    let container = |name: &str, content: Value| {
        let mut container = content;
        container["name"] = json!(name);
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    };
    for (spec, is_allowed) in [
        (
            patch(
                "Deployment",
                "istiod",
                json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 60}}}}),
            ),
            true,
        ),
        (patch("Service", "istio-ingressgateway", json!({"spec": {"healthCheckNodePort": 30123}})), true),
        (patch("Deployment", "istiod", json!({"spec": {"minReadySeconds": 5}})), true),
        (patch("Deployment", "istiod", container("discovery", json!({"image": "evil"}))), false),
        (patch("Deployment", "istiod", container("discovery", json!({"command": ["x"]}))), false),
        (patch("Deployment", "istiod", container("x", json!({"image": "evil"}))), false),
        (patch("DaemonSet", "istio-cni-node", container("install-cni", json!({"workingDir": "/x"}))), false),
        (patch("DaemonSet", "istio-cni-node", container("install-cni", json!({"args": ["x"]}))), false),
        (
            patch(
                "DaemonSet",
                "istio-cni-node",
                container("install-cni", json!({"env": [{"name": "PATH", "value": "/x"}]})),
            ),
            false,
        ),
        (
            patch(
                "DaemonSet",
                "istio-cni-node",
                json!({"spec": {"template": {"spec": {"volumes": [{"name": "x", "flexVolume": {"driver": "x"}}]}}}}),
            ),
            false,
        ),
        (patch("Deployment", "istiod", json!({"spec": {"template": {"spec": {"nodeName": "x"}}}})), false),
        (
            patch(
                "Deployment",
                "istiod",
                json!({"spec": {"template": {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "x"}}}}}),
            ),
            false,
        ),
        (patch("Service", "istio-ingressgateway", json!({"spec": {"externalIPs": ["10.96.0.10"]}})), false),
        (patch("PeerAuthentication", "default", json!({"spec": {"mtls": {"mode": "DISABLE"}}})), false),
        (patch("ConfigMap", "istio", json!({"data": {"mesh": "interception_mode: TPROXY"}})), false),
        (patch("ConfigMap", "istio-cni-config", json!({"data": {"CHAINED_CNI_PLUGIN": "false"}})), false),
    ] {
        assert_eq!(build_plan(spec.clone()).is_ok(), is_allowed, "{spec}");
    }
}

#[test]
fn unrestricted_values_cannot_duplicate_or_relocate_objects() {
    let unrestricted = |path: &str, value: &str| {
        build_plan_in_mode(OverrideMode::Unrestricted, json!({"values": at(path, json!(value))}))
    };
    assert!(unrestricted("pilot.env.XDS_AUTH", "false").is_ok());
    for text in [DAEMON_SET, BINDING] {
        let message = unrestricted("pilot.cpu.targetAverageUtilization", text).unwrap_err();
        let expected = "spec.values.pilot.cpu.targetAverageUtilization: ";
        assert!(message.starts_with(expected) && message.contains("more than once"), "{message}");
    }
    let message = unrestricted("pilot.cpu.targetAverageUtilization", COREDNS).unwrap_err();
    assert!(message.contains("ConfigMap kube-system/coredns is outside of the namespaces"), "{message}");
    assert!(unrestricted("pilot.cpu.targetAverageUtilization", CLOAKED).is_err());
}

#[test]
fn every_rejected_path_is_reported_among_many_values() {
    let mut values =
        json!({"pilot": {"env": {"XDS_AUTH": "false"}, "nodeSelector": {}}, "cni": {"chained": false}});
    for n in 0..40 {
        values["pilot"]["nodeSelector"][format!("a{n}")] = json!("b");
    }
    let message = build_plan(json!({"values": values})).unwrap_err();
    for path in ["spec.values.pilot.env.XDS_AUTH: ", "spec.values.cni.chained: "] {
        assert!(message.contains(path), "{path}: {message}");
    }
    assert!(!message.contains("nodeSelector"), "{message}");
}

/// Texts that mean something to the charts, to YAML, or to the readers of rendered objects.
fn hostile() -> Vec<Value> {
    let object = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: istio-system}\n";
    vec![
        json!(format!("x\n---\n{object}")),
        json!(format!("x\"\n---\n{object}#")),
        json!(format!("1\n---\n{}", DAEMON_SET.split_once("---\n").unwrap().1)),
        json!("x\n      hostPID: true\n      hostNetwork: true"),
        json!("x\n  hostNetwork: true\n  externalIPs: [10.96.0.10]"),
        json!("x\n          image: evil\n          command: [evil]"),
        json!("x\"\n            - name: CA_ADDR\n              value: \"evil"),
        json!("{{ .Values.global.hub }}{{ include \"x\" . }}"),
        json!("!!binary aGVsbG8="),
        json!("&a [*a, *a]"),
        json!("<<: {image: evil}"),
        json!({"<<": {"image": "evil"}, "x: y\n  z": 1}),
        json!({"k".repeat(300): "x", "a:b": "c\nd"}),
        json!([{"name": "x", "image": "evil"}]),
        json!("007"),
        json!(true),
        json!(-1),
        json!("y".repeat(100_000)),
    ]
}

/// `JUDGE_FULL=1` tries every text at every value.
#[test]
fn hostile_texts_are_refused_or_leave_protected_fields_unchanged() {
    let paths = ValueNames::of(&Bundle::embedded()).unwrap().paths();
    assert!(paths.len() > 300, "{}", paths.len());
    let texts = hostile();
    let step = if std::env::var_os("JUDGE_FULL").is_some() { 1 } else { 97 };
    let all = paths.iter().flat_map(|path| texts.iter().map(move |text| (path, text)));
    let accepted =
        all.step_by(step).filter(|(path, text)| assert_refused_or_harmless(&at(path, (*text).clone())));
    // A policy that refuses everything would prove nothing.
    assert!(accepted.count() > 0);
}

#[test]
fn random_values_are_refused_or_leave_protected_fields_unchanged() {
    let mut random = Random(20_261_130);
    let paths = ValueNames::of(&Bundle::embedded()).unwrap().paths();
    let texts = hostile();
    let rounds = if std::env::var_os("JUDGE_FULL").is_some() { 2000 } else { 15 };
    for _ in 0..rounds {
        let mut values = json!({});
        for _ in 0..=random.below(4) {
            let one = at(&paths[random.below(paths.len())], texts[random.below(texts.len())].clone());
            istio_charts::strategic_merge::merge(&mut values, &one);
        }
        assert_refused_or_harmless(&values);
    }
}

/// A small generator, so that the same values are tried each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit.max(1)
    }
}
