//! The comparison by itself, on small objects. What the charts render for values is tested in `tests/overrides.rs`.

use serde_json::json;

use super::*;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod", "kyma-project.io/module": "istio"}},
        "spec": {
            "selector": {"matchLabels": {"app": "istiod"}},
            "template": {
                "metadata": {"labels": {"app": "istiod"}, "annotations": {"sidecar.istio.io/inject": "false"}},
                "spec": {
                    "serviceAccountName": "istiod",
                    "securityContext": {"runAsNonRoot": true},
                    "containers": [{
                        "name": "discovery", "image": "pilot", "args": ["discovery", "--log_output_level=default:info"],
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 3},
                        "securityContext": {"readOnlyRootFilesystem": true},
                        "env": [{"name": "REVISION", "value": "default"}, {"name": "PILOT_HTTP10", "value": "1"}],
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    }],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    })
}

/// Sets the value at `pointer`; at `/-` of a list it is added, and null removes.
fn set(mut object: Value, pointer: &str, value: Value) -> Value {
    if let Some(list) = pointer.strip_suffix("/-") {
        object.pointer_mut(list).unwrap().as_array_mut().unwrap().push(value);
        return object;
    }
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let field = field.replace("~1", "/");
    match object.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        parent => parent[field.as_str()] = value,
    }
    object
}

fn id(object: &Value) -> ObjectId {
    ObjectId::of(object).unwrap()
}

fn is_open(before: &Value, after: &Value) -> bool {
    changes(&id(before), before, after).is_empty()
}

const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[test]
fn listed_fields_of_a_workload_are_open() {
    for (pointer, value) in [
        ("/spec/replicas".to_owned(), json!(3)),
        ("/spec/strategy".to_owned(), json!({"type": "Recreate"})),
        ("/metadata/labels/team".to_owned(), json!("mesh")),
        ("/metadata/annotations".to_owned(), json!({"example.com/a": "b"})),
        ("/spec/template/metadata/labels/example.com~1team".to_owned(), json!("mesh")),
        ("/spec/template/metadata/annotations/prometheus.io~1scrape".to_owned(), json!("true")),
        (format!("{POD}/nodeSelector"), json!({"pool": "system"})),
        (format!("{POD}/terminationGracePeriodSeconds"), json!(60)),
        (format!("{POD}/tolerations"), json!([{"key": "a", "operator": "Exists"}])),
        (format!("{POD}/affinity"), json!({"nodeAffinity": {}})),
        (format!("{CONTAINER}/resources"), json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
        (format!("{CONTAINER}/env/1/value"), json!("0")),
        (format!("{CONTAINER}/env/-"), json!({"name": "PILOT_PUSH_THROTTLE", "value": "7"})),
        (format!("{CONTAINER}/env"), json!([{"name": "REVISION", "value": "default"}])),
        (format!("{CONTAINER}/args"), json!(["discovery", "--log_output_level=ads:debug", "--log_as_json"])),
        (format!("{CONTAINER}/readinessProbe/periodSeconds"), json!(5)),
    ] {
        let after = set(deployment(), &pointer, value);
        assert_eq!(changes(&id(&after), &deployment(), &after), [], "{pointer}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn everything_else_of_a_workload_is_closed_and_named() {
    for (pointer, value, path) in [
        ("/metadata/ownerReferences".to_owned(), json!([]), "metadata.ownerReferences"),
        ("/metadata/finalizers".to_owned(), json!(["a/b"]), "metadata.finalizers"),
        ("/metadata/labels/app".to_owned(), json!("x"), "metadata.labels.app"),
        (
            "/metadata/labels/kyma-project.io~1module".to_owned(),
            json!("x"),
            "metadata.labels[kyma-project.io/module]",
        ),
        (
            "/metadata/annotations".to_owned(),
            json!({"istios.operator.kyma-project.io/x": "y"}),
            "metadata.annotations[istios.operator.kyma-project.io/x]",
        ),
        ("/spec/selector/matchLabels/app".to_owned(), json!("x"), "spec.selector.matchLabels.app"),
        ("/spec/paused".to_owned(), json!(true), "spec.paused"),
        (
            "/spec/template/metadata/annotations/sidecar.istio.io~1inject".to_owned(),
            json!("true"),
            "spec.template.metadata.annotations[sidecar.istio.io/inject]",
        ),
        ("/spec/replicas".to_owned(), json!("1\nkind: Pod"), "spec.replicas"),
        (format!("{POD}/serviceAccountName"), json!("admin"), "spec.template.spec.serviceAccountName"),
        (
            format!("{POD}/automountServiceAccountToken"),
            json!(true),
            "spec.template.spec.automountServiceAccountToken",
        ),
        (format!("{POD}/hostNetwork"), json!(true), "spec.template.spec.hostNetwork"),
        (format!("{POD}/hostUsers"), json!(true), "spec.template.spec.hostUsers"),
        (
            format!("{POD}/hostAliases"),
            json!([{"ip": "6.6.6.6", "hostnames": ["kubernetes.default.svc"]}]),
            "spec.template.spec.hostAliases",
        ),
        (format!("{POD}/dnsConfig"), json!({"nameservers": ["6.6.6.6"]}), "spec.template.spec.dnsConfig"),
        (format!("{POD}/nodeName"), json!("a"), "spec.template.spec.nodeName"),
        (format!("{POD}/schedulerName"), json!("a"), "spec.template.spec.schedulerName"),
        (format!("{POD}/runtimeClassName"), json!("a"), "spec.template.spec.runtimeClassName"),
        (format!("{POD}/priorityClassName"), json!("a"), "spec.template.spec.priorityClassName"),
        (format!("{POD}/shareProcessNamespace"), json!(true), "spec.template.spec.shareProcessNamespace"),
        (format!("{POD}/securityContext"), json!({}), "spec.template.spec.securityContext.runAsNonRoot"),
        (format!("{POD}/someFieldOfTomorrow"), json!({}), "spec.template.spec.someFieldOfTomorrow"),
        (
            format!("{POD}/initContainers"),
            json!([{"name": "x", "image": "x"}]),
            "spec.template.spec.initContainers",
        ),
        (
            format!("{POD}/ephemeralContainers"),
            json!([{"name": "x"}]),
            "spec.template.spec.ephemeralContainers",
        ),
        (
            format!("{POD}/containers/-"),
            json!({"name": "x", "resources": {}}),
            "spec.template.spec.containers[x]",
        ),
        (
            format!("{POD}/containers/-"),
            json!({"name": "discovery", "image": "x"}),
            "spec.template.spec.containers[discovery]",
        ),
        (format!("{POD}/containers"), json!([]), "spec.template.spec.containers[discovery]"),
        (format!("{POD}/containers/0/name"), json!("x"), "spec.template.spec.containers[discovery]"),
        (format!("{POD}/containers"), json!([{"image": "x"}]), "spec.template.spec.containers"),
        (
            format!("{POD}/volumes/-"),
            json!({"name": "x", "secret": {"secretName": "istio-ca-secret"}}),
            "spec.template.spec.volumes[x]",
        ),
        (
            format!("{POD}/volumes/-"),
            json!({"name": "x", "configMap": {"name": "x"}}),
            "spec.template.spec.volumes[x]",
        ),
        (format!("{POD}/volumes/0/csi"), json!({"driver": "x"}), "spec.template.spec.volumes[tmp].csi"),
        (
            format!("{CONTAINER}/volumeMounts/-"),
            json!({"name": "tmp", "mountPath": "/var/lib/istio/inject"}),
            "spec.template.spec.containers[discovery].volumeMounts[/var/lib/istio/inject]",
        ),
        (format!("{CONTAINER}/image"), json!("x"), "spec.template.spec.containers[discovery].image"),
        (format!("{CONTAINER}/command"), json!(["x"]), "spec.template.spec.containers[discovery].command"),
        (
            format!("{CONTAINER}/workingDir"),
            json!("/x"),
            "spec.template.spec.containers[discovery].workingDir",
        ),
        (
            format!("{CONTAINER}/lifecycle"),
            json!({"postStart": {"exec": {"command": ["x"]}}}),
            "spec.template.spec.containers[discovery].lifecycle",
        ),
        (
            format!("{CONTAINER}/args/-"),
            json!("--meshConfig=/x"),
            "spec.template.spec.containers[discovery].args",
        ),
        (
            format!("{CONTAINER}/envFrom"),
            json!([{"secretRef": {"name": "x"}}]),
            "spec.template.spec.containers[discovery].envFrom",
        ),
        (
            format!("{CONTAINER}/env/-"),
            json!({"name": "CA_TRUSTED_NODE_ACCOUNTS", "value": "a/b"}),
            "spec.template.spec.containers[discovery].env[CA_TRUSTED_NODE_ACCOUNTS]",
        ),
        (
            format!("{CONTAINER}/env/-"),
            json!({"name": "PILOT_HTTP10", "value": "0"}),
            "spec.template.spec.containers[discovery].env[PILOT_HTTP10]",
        ),
        (
            format!("{CONTAINER}/env/-"),
            json!({"name": "PILOT_PUSH_THROTTLE", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}),
            "spec.template.spec.containers[discovery].env[PILOT_PUSH_THROTTLE]",
        ),
        (
            format!("{CONTAINER}/env/-"),
            json!({"name": "PILOT_PUSH_THROTTLE", "value": "$(PILOT_HTTP10)"}),
            "spec.template.spec.containers[discovery].env[PILOT_PUSH_THROTTLE]",
        ),
        (
            format!("{CONTAINER}/env/-"),
            json!({"name": "ENABLE_DEBUG_ENDPOINT_AUTH", "value": "false"}),
            "spec.template.spec.containers[discovery].env[ENABLE_DEBUG_ENDPOINT_AUTH]",
        ),
        (
            format!("{CONTAINER}/env/0/value"),
            json!("canary"),
            "spec.template.spec.containers[discovery].env[REVISION].value",
        ),
        (
            format!("{CONTAINER}/readinessProbe/httpGet/path"),
            json!("/x"),
            "spec.template.spec.containers[discovery].readinessProbe.httpGet.path",
        ),
        (
            format!("{CONTAINER}/livenessProbe"),
            json!({"exec": {"command": ["x"]}}),
            "spec.template.spec.containers[discovery].livenessProbe.exec",
        ),
        (
            format!("{CONTAINER}/securityContext/privileged"),
            json!(true),
            "spec.template.spec.containers[discovery].securityContext.privileged",
        ),
        (
            format!("{CONTAINER}/ports"),
            json!([{"containerPort": 1, "hostPort": 1}]),
            "spec.template.spec.containers[discovery].ports",
        ),
        (
            format!("{CONTAINER}/resources"),
            json!({"limits": {"devices.kubevirt.io/kvm": "1"}}),
            "spec.template.spec.containers[discovery].resources",
        ),
        (
            format!("{POD}/nodeSelector"),
            json!({"kubernetes.io/os": "windows"}),
            "spec.template.spec.nodeSelector[kubernetes.io/os]",
        ),
        (
            format!("{CONTAINER}/resources"),
            json!({"claims": [{"name": "gpu"}]}),
            "spec.template.spec.containers[discovery].resources",
        ),
        (
            format!("{CONTAINER}/restartPolicy"),
            json!("Always"),
            "spec.template.spec.containers[discovery].restartPolicy",
        ),
    ] {
        let after = set(deployment(), &pointer, value);
        let found = changes(&id(&deployment()), &deployment(), &after);
        assert!(found.iter().any(|violation| violation.path == path), "{pointer}: {found:?}");
    }
}

fn other(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "istio-system"}, "spec": spec})
}

#[test]
fn redirecting_a_service_elsewhere_is_closed() {
    let service = |name: &str| {
        other(
            "v1",
            "Service",
            name,
            &json!({"type": "LoadBalancer", "selector": {"app": "x"}, "ports": [{"port": 80}]}),
        )
    };
    let gateway = service("istio-ingressgateway");
    for (field, value, is_allowed) in [
        ("type", json!("NodePort"), true),
        ("loadBalancerIP", json!("1.2.3.4"), true),
        ("loadBalancerSourceRanges", json!(["10.0.0.0/8", "fd00::/8"]), true),
        ("externalTrafficPolicy", json!("Local"), true),
        ("healthCheckNodePort", json!(30123), true),
        ("ports", json!([{"port": 443, "targetPort": 8443, "name": "https", "protocol": "TCP"}]), true),
        ("ipFamilies", json!(["IPv6"]), true),
        ("type", json!("ExternalName"), false),
        ("externalName", json!("example.com"), false),
        ("externalIPs", json!(["10.96.0.10"]), false),
        ("clusterIP", json!("10.96.0.10"), false),
        ("clusterIPs", json!(["10.96.0.10"]), false),
        ("loadBalancerClass", json!("service.k8s.aws/nlb"), true),
        ("loadBalancerClass", json!("x"), false),
        ("publishNotReadyAddresses", json!(true), false),
        ("selector", json!({"app": "y"}), false),
        ("loadBalancerIP", json!("example.com"), false),
        ("loadBalancerIP", json!("1.2.3.4\n"), false),
        ("loadBalancerSourceRanges", json!(["10.0.0.0/64"]), false),
        ("ports", json!([{"port": 443, "x": 1}]), false),
        ("ports", json!([{"port": 0}]), false),
    ] {
        let after = set(gateway.clone(), &format!("/spec/{field}"), value.clone());
        assert_eq!(is_open(&gateway, &after), is_allowed, "{field}: {value}");
    }
    let istiod = service("istiod");
    assert!(
        !is_open(&istiod, &set(istiod.clone(), "/spec/type", json!("NodePort"))),
        "the control plane is not exposed"
    );
    let unmanaged = service("someone-elses");
    assert!(!is_open(&unmanaged, &set(unmanaged.clone(), "/spec/type", json!("NodePort"))));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn selectors_of_accompanying_objects_cannot_be_changed() {
    let resource = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    let external = json!([{"type": "External", "external": {"metric": {"name": "x"}, "target": {"type": "Value", "value": "1"}}}]);
    for (api_version, kind, name, before, field, after, is_allowed) in [
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "istiod",
            json!({"minReplicas": 1}),
            "minReplicas",
            json!(2),
            true,
        ),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "istiod", json!({}), "metrics", resource, true),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "istiod", json!({}), "metrics", external, false),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "istiod",
            json!({"scaleTargetRef": {"name": "istiod"}}),
            "scaleTargetRef",
            json!({"name": "x"}),
            false,
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            "istiod",
            json!({"minAvailable": 1}),
            "minAvailable",
            json!("50%"),
            true,
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            "istiod",
            json!({"selector": {"a": "b"}}),
            "selector",
            json!({}),
            false,
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "istiod",
            json!({"ingress": [{"ports": [{"port": 1}]}]}),
            "ingress",
            json!([]),
            false,
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "istio-ingressgateway",
            json!({"ingress": [{"ports": [{"port": 1}]}]}),
            "ingress",
            json!([{"ports": [{"port": 2}]}]),
            true,
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "istio-ingressgateway",
            json!({"ingress": [{"from": [{}]}]}),
            "ingress",
            json!([{"ports": [{"port": 2}]}]),
            false,
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "istio-ingressgateway",
            json!({"ingress": [{"ports": [{"port": 1}]}]}),
            "ingress",
            json!([{}]),
            false,
        ),
        (
            "security.istio.io/v1",
            "PeerAuthentication",
            "default",
            json!({"mtls": {"mode": "STRICT"}}),
            "mtls",
            json!({"mode": "DISABLE"}),
            false,
        ),
        (
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            "proxy-protocol",
            json!({"configPatches": []}),
            "configPatches",
            json!([{}]),
            false,
        ),
        (
            "autoscaling.k8s.io/v1",
            "VerticalPodAutoscaler",
            "istiod",
            json!({"targetRef": {}}),
            "targetRef",
            json!({"a": 1}),
            false,
        ),
        ("evil.example/v1", "Deployment", "istiod", json!({"replicas": 1}), "replicas", json!(2), false),
    ] {
        let before = other(api_version, kind, name, &before);
        let changed = set(before.clone(), &format!("/spec/{field}"), after.clone());
        assert_eq!(is_open(&before, &changed), is_allowed, "{kind} {name} {field}: {after}");
    }
}

fn of_kind(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> (ObjectId, Value) {
    let object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    (id(&object), object)
}

#[test]
fn there_is_a_limit_to_gateway_classes() {
    let class = |number: usize| {
        let (id, mut object) = of_kind(
            "v1",
            "ConfigMap",
            Some("istio-system"),
            &format!("istio-default-gatewayclass-c{number}"),
        );
        object["metadata"]["labels"] = json!({"gateway.istio.io/defaults-for-class": format!("c{number}")});
        (id, object)
    };
    let example = || {
        let (id, mut object) =
            of_kind("v1", "ConfigMap", Some("istio-system"), "istio-default-gatewayclass-example");
        object["metadata"]["labels"] = json!({"gateway.istio.io/defaults-for-class": "example"});
        (id, object)
    };
    let classes = |count: usize| (0..count).map(class).collect::<Vec<_>>();
    assert_eq!(violations(&[], &classes(32), &[example()]), []);
    assert_eq!(violations(&[], &classes(33), &[example()]), [Cause::TooMany]);
}

fn violations(
    before: &[(ObjectId, Value)],
    after: &[(ObjectId, Value)],
    switched_on: &[(ObjectId, Value)],
) -> Vec<Cause> {
    let policy = RenderingPolicy { before: before.to_vec(), switched_on: &|| switched_on.to_vec() };
    policy.violations(after).into_iter().map(|violation| violation.cause).collect()
}

#[test]
fn permissions_webhooks_crds_and_accounts_are_frozen() {
    const KINDS: [(&str, &str); 11] = [
        ("ClusterRole", "a permission"),
        ("ClusterRoleBinding", "a permission"),
        ("CustomResourceDefinition", "a CRD"),
        ("MutatingWebhookConfiguration", "a webhook"),
        ("Namespace", "a namespace"),
        ("Role", "a permission"),
        ("RoleBinding", "a permission"),
        ("ServiceAccount", "a service account"),
        ("ValidatingAdmissionPolicy", "a permission"),
        ("ValidatingAdmissionPolicyBinding", "a permission"),
        ("ValidatingWebhookConfiguration", "a webhook"),
    ];
    assert_eq!(FROZEN_KINDS, KINDS);
    for (kind, what) in KINDS {
        let (id, object) = of_kind("v1", kind, None, "x");
        let changed = set(object.clone(), "/anything", json!(1));
        assert_eq!(
            changes(&id, &object, &changed).first().map(|found| found.cause),
            Some(Cause::Frozen(what))
        );
        let one = [(id, object)];
        assert_eq!(violations(&[], &one, &one), [Cause::Frozen(what)], "new {kind}");
        assert_eq!(violations(&one, &[], &one), [Cause::Frozen(what)], "vanished {kind}");
        assert_eq!(violations(&one, &one, &[]), [], "{kind}");
    }
}

#[test]
fn only_listed_objects_appear_and_only_as_the_charts_have_them() {
    let system = Some("istio-system");
    for (api_version, kind, namespace, name, is_switched) in [
        ("autoscaling/v2", "HorizontalPodAutoscaler", system, "istiod", true),
        ("policy/v1", "PodDisruptionBudget", system, "istio-ingressgateway", true),
        ("networking.k8s.io/v1", "NetworkPolicy", system, "istio-cni", true),
        ("v1", "ResourceQuota", system, "istio-cni-resource-quota", true),
        ("autoscaling/v2", "HorizontalPodAutoscaler", system, "other", false),
        ("autoscaling/v2", "HorizontalPodAutoscaler", Some("kyma-system"), "istiod", false),
        ("evil.example/v1", "HorizontalPodAutoscaler", system, "istiod", false),
        ("v1", "ResourceQuota", Some("victim"), "istio-cni-resource-quota", false),
        ("v1", "ConfigMap", Some("kube-system"), "coredns", false),
        ("v1", "ConfigMap", system, "pilot-jwks-extra-cacerts", false),
        ("v1", "Secret", system, "cacerts", false),
        ("v1", "Pod", system, "x", false),
        ("apps/v1", "Deployment", system, "x", false),
        ("v1", "Service", system, "x", false),
        ("batch/v1", "Job", system, "x", false),
    ] {
        let one = [of_kind(api_version, kind, namespace, name)];
        assert_eq!(violations(&[], &one, &one).is_empty(), is_switched, "new {kind} {name}");
        let is_removable = is_switched && kind != "NetworkPolicy";
        assert_eq!(violations(&one, &[], &one).is_empty(), is_removable, "vanished {kind} {name}");
        // Without a counterpart nothing appears, and what differs from it does not either.
        assert_eq!(violations(&[], &one, &[]), [Cause::Appears], "{kind} {name}");
        let mut altered = one.clone();
        altered[0].1["spec"] = json!({"podSelector": {}});
        assert!(!violations(&[], &altered, &one).is_empty(), "{kind} {name}");
    }
}

#[test]
fn an_object_that_is_there_twice_is_refused_in_any_order() {
    let role = |subject: &str| {
        let (id, mut object) = of_kind("rbac.authorization.k8s.io/v1", "ClusterRole", None, "istiod");
        object["rules"] = json!(subject);
        (id, object)
    };
    for after in [
        [role("mallory"), role("istiod")],
        [role("istiod"), role("mallory")],
        [role("istiod"), role("istiod")],
    ] {
        assert_eq!(violations(&[role("istiod")], &after, &[]), [Cause::Repeated]);
    }
    // In two versions it is one object that vanished, and one that appeared.
    let scaler = |version: &str| of_kind(version, "HorizontalPodAutoscaler", Some("istio-system"), "x");
    assert!(
        !violations(&[scaler("autoscaling/v2")], &[scaler("autoscaling/v2"), scaler("autoscaling/v1")], &[])
            .is_empty()
    );
}

fn texts(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "istio-system"}, "data": data})
}

#[test]
fn trust_settings_of_the_mesh_cannot_be_changed() {
    let mesh = |text: &str| texts("istio", &json!({"mesh": text, "meshNetworks": "networks: {}"}));
    let before = "trustDomain: cluster.local\ndefaultConfig: {discoveryAddress: istiod:15012}\n";
    for (added, is_allowed) in [
        ("accessLogFile: /dev/stdout", true),
        ("accessLogFormat: \"%START_TIME% %PROTOCOL%\\n\"", true),
        ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", true),
        (
            "discoverySelectors: [{matchLabels: {a: b}}, {matchLabels: {kubernetes.io/metadata.name: istio-system}}]",
            true,
        ),
        ("discoverySelectors: [{matchLabels: {a: b}}]", false),
        ("accessLogFormat: '%REQ(COOKIE)%'", false),
        ("ingressControllerMode: DEFAULT", false),
        ("meshMTLS: {minProtocolVersion: TLSV1_3}", true),
        ("pathNormalization: {normalization: NONE}", false),
        ("a: &a {}\nb: *a", false),
        ("extensionProviders: [{name: a, zipkin: {service: b, port: 9411}}]", true),
        ("accessLogFile: /etc/istio/proxy/x", false),
        ("accessLogFormat: '%FILE_CONTENT(/var/run/secrets/tokens/istio-token)%'", false),
        ("rootNamespace: x", false),
        ("root_namespace: x", false),
        ("trust_domain: x", false),
        ("trustDomainAliases: [x]", false),
        ("ca: {address: 'evil:1'}", false),
        ("caCertificates: [{pem: x}]", false),
        ("ca_certificates: [{pem: x}]", false),
        ("certificates: [{secretName: x}]", false),
        ("configSources: [{address: 'evil:1'}]", false),
        ("enableAutoMtls: false", false),
        ("verifyCertificateAtClient: false", false),
        ("meshMTLS: {cipherSuites: [x]}", false),
        ("outboundTrafficPolicy: {tls: {insecureSkipVerify: true}}", false),
        ("extensionProviders: [{name: a, envoyExtAuthzHttp: {service: b, port: 1}}]", false),
        ("extensionProviders: [{name: a, zipkin: {}}, {name: a, zipkin: {}}]", false),
        ("unknownField: 1", false),
        ("not: [yaml", false),
        ("---\ntrustDomain: x", false),
    ] {
        let after = format!("{before}{added}\n");
        assert_eq!(is_open(&mesh(before), &mesh(&after)), is_allowed, "{added}");
    }
    for (added, is_allowed) in [
        ("proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}", true),
        ("concurrency: 2", true),
        ("tracing: {sampling: 5, zipkin: {address: 'a:9411'}}", true),
        ("proxyMetadata: {CA_ADDR: 'evil:1'}", false),
        ("proxyMetadata: {IPTABLES_TRACE_LOGGING: 'true'}", false),
        ("interceptionMode: TPROXY", false),
        ("interception_mode: TPROXY", false),
        ("binaryPath: /x", false),
        ("customConfigFile: /x", false),
        ("proxyBootstrapTemplatePath: /x", false),
        ("caCertificatesPem: [x]", false),
        ("image: {imageType: x}", false),
        ("readinessProbe: {exec: {command: [x]}}", false),
        ("privateKeyProvider: {qat: {}}", false),
        ("tracing: {tlsSettings: {mode: DISABLE}}", false),
        ("discoveryAddress: 'evil:1'", false),
    ] {
        let after = format!(
            "trustDomain: cluster.local\ndefaultConfig:\n  discoveryAddress: istiod:15012\n  {added}\n"
        );
        assert_eq!(is_open(&mesh(before), &mesh(&after)), is_allowed, "{added}");
    }
    let networks = texts("istio", &json!({"mesh": before, "meshNetworks": "networks: {a: {}}"}));
    assert!(!is_open(&mesh(before), &networks), "networks");
    let more = texts("istio", &json!({"mesh": before, "meshNetworks": "networks: {}", "mesh2": "x"}));
    assert!(!is_open(&mesh(before), &more), "another file");
    assert!(!is_open(&mesh(before), &texts("istio", &json!({"meshNetworks": "networks: {}"}))), "no mesh");
}

#[test]
fn what_injection_gives_to_pods_is_closed() {
    let injector = |values: &Value, config: &str| {
        texts("istio-sidecar-injector", &json!({"values": values.to_string(), "config": config}))
    };
    let values = json!({"global": {"proxy": {"privileged": false, "logLevel": "warning"}}, "pilot": {"cni": {"enabled": true}}});
    let config = "policy: enabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {}\n";
    let before = injector(&values, config);
    for (pointer, value, is_allowed) in [
        ("/global/proxy/logLevel", json!("debug"), true),
        ("/global/proxy/excludeIPRanges", json!("10.0.0.0/8"), true),
        ("/global/proxy/resources", json!({"limits": {"cpu": "1"}}), true),
        ("/global/proxy/excludeIPRanges", json!("10.0.0.0/8\"\n  - name: x"), false),
        ("/global/proxy/logLevel", json!("debug\n- name: x"), false),
        ("/global/proxy/logLevel", json!("{{ .Values }}"), false),
        ("/global/proxy/privileged", json!(true), false),
        ("/global/proxy/image", json!("evil"), false),
        ("/global/proxy/lifecycle", json!({"postStart": {"exec": {"command": ["x"]}}}), false),
        ("/global/proxy/clusterDomain", json!("x"), false),
        ("/global/proxy/seccompProfile", json!({"type": "Unconfined"}), false),
        ("/global/caAddress", json!("evil:1"), false),
        ("/global/meshID", json!("x"), false),
        ("/global/imagePullSecrets", json!(["x"]), false),
        ("/global/agentgateway", json!({"image": "evil"}), false),
        ("/pilot/cni/enabled", json!(false), false),
        ("/pilot/env", json!({"CA_TRUSTED_NODE_ACCOUNTS": "a/b"}), false),
        ("/gateways", json!({"securityContext": {}}), false),
        ("/sidecarInjectorWebhook", json!({"templates": {"sidecar": "b"}}), false),
    ] {
        let after = injector(&set(values.clone(), pointer, value.clone()), config);
        assert_eq!(is_open(&before, &after), is_allowed, "{pointer}: {value}");
    }
    for (config, is_allowed) in [
        (
            "policy: enabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {}\nalwaysInjectSelector: [{matchLabels: {a: b}}]\n",
            true,
        ),
        ("policy: disabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {}\n", false),
        (
            "policy: enabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {}\nneverInjectSelector: [{}]\n",
            false,
        ),
        ("policy: enabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {example.com/a: b}\n", false),
        ("policy: enabled\ntemplates: {sidecar: b}\ninjectedAnnotations: {}\n", false),
        ("policy: enabled\ntemplates: {sidecar: a}\ndefaultTemplates: [other]\n", false),
        ("policy: enabled\ntemplates: {sidecar: a}\naliases: {a: [b]}\n", false),
        (
            "policy: enabled\ntemplates: {sidecar: a}\ninjectedAnnotations: {sidecar.istio.io/userVolume: x}\n",
            false,
        ),
        ("not: [yaml", false),
    ] {
        assert_eq!(is_open(&before, &injector(&values, config)), is_allowed, "{config}");
    }
}

#[test]
fn overlays_of_gateways_are_as_restricted_as_our_gateways() {
    let overlay = |kind: &str, overlay: &Value| {
        let none = texts("istio-default-gatewayclass-a", &Value::Null);
        let one = texts("istio-default-gatewayclass-a", &json!({kind: overlay.to_string()}));
        is_open(&none, &one)
    };
    let pod = |pod: Value| json!({"spec": {"template": {"spec": pod}}});
    for (kind, content, is_allowed) in [
        ("deployment", json!({"spec": {"replicas": 4}}), true),
        ("deployment", pod(json!({"nodeSelector": {"pool": "edge"}})), true),
        (
            "deployment",
            pod(json!({"containers": [{"name": "istio-proxy", "resources": {"limits": {"cpu": "1"}}}]})),
            true,
        ),
        ("service", json!({"spec": {"externalTrafficPolicy": "Local"}}), true),
        ("horizontalPodAutoscaler", json!({"spec": {"minReplicas": 2}}), true),
        ("podDisruptionBudget", json!({"spec": {"minAvailable": 1}}), true),
        ("deployment", pod(json!({"hostNetwork": true})), false),
        ("deployment", pod(json!({"serviceAccountName": "istiod"})), false),
        ("deployment", pod(json!({"volumes": [{"name": "x", "emptyDir": {}}]})), false),
        ("deployment", pod(json!({"initContainers": [{"name": "x"}]})), false),
        ("deployment", pod(json!({"containers": [{"name": "x", "image": "x"}]})), false),
        ("deployment", pod(json!({"containers": [{"name": "x", "resources": {}}]})), false),
        ("deployment", pod(json!({"containers": [{"name": "istio-proxy", "image": "x"}]})), false),
        ("deployment", pod(json!({"containers": [{"name": "istio-proxy", "$patch": "replace"}]})), false),
        (
            "deployment",
            pod(json!({"containers": [{"name": "istio-proxy"}, {"name": "istio-proxy", "image": "x"}]})),
            false,
        ),
        ("deployment", json!({"spec": {"$patch": "delete"}}), false),
        ("deployment", json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), false),
        ("deployment", json!({"metadata": {"name": "x"}}), false),
        ("service", json!({"spec": {"externalName": "example.com"}}), false),
        ("service", json!({"spec": {"externalIPs": ["10.96.0.10"]}}), false),
        ("horizontalPodAutoscaler", json!({"spec": {"scaleTargetRef": {"name": "x"}}}), false),
        ("serviceAccount", json!({"metadata": {"annotations": {"a": "b"}}}), false),
        ("config", json!({"templates": {"sidecar": "x"}}), false),
        ("mesh", json!({"trustDomain": "x"}), false),
    ] {
        assert_eq!(overlay(kind, &content), is_allowed, "{kind}: {content}");
    }
}

#[test]
fn the_settings_of_the_cni_agent_are_closed() {
    let before =
        texts("istio-cni-config", &json!({"CHAINED_CNI_PLUGIN": "true", "NATIVE_NFTABLES": "false"}));
    for (key, value) in [
        ("NATIVE_NFTABLES", "true"),
        ("EXCLUDE_NAMESPACES", "kube-system,a"),
        ("REPAIR_ENABLED", "false"),
        ("CHAINED_CNI_PLUGIN", "false"),
        ("CNI_CONF_NAME", "../../opt/cni/bin/bridge"),
        ("PATH", "/x"),
    ] {
        let after = set(before.clone(), &format!("/data/{key}"), json!(value));
        assert!(!is_open(&before, &after), "{key}: {value}");
    }
}

#[test]
fn a_name_of_an_author_is_escaped_and_shortened_in_a_message() {
    let name = format!("x\n\u{1b}[31m{}", "y".repeat(500));
    let after = set(deployment(), "/spec", json!({name: 1}));
    let found = changes(&id(&deployment()), &deployment(), &after);
    let message = found.iter().map(ToString::to_string).find(|message| message.contains("[x")).unwrap();
    assert!(!message.contains(char::is_control) && message.len() < 400, "{message}");
}
