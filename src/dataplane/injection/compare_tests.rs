//! One table: what of a live sidecar differs from what injection gives, and which reason says so.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dataplane::model::{Injected, Pod};
use crate::dataplane::reasons::StaleReason;

fn parse(pod: &Value) -> Pod {
    serde_json::from_str(&pod.to_string()).unwrap()
}

/// Why `pod` is outdated where injection gives `wanted`.
fn reasons(pod: &Pod, wanted: Option<&Injected>) -> Vec<StaleReason> {
    super::stale_reasons(&pod.metadata.annotations, Injected::from_pod(pod).as_ref(), wanted)
}

/// An injected pod, as the API server stores it.
fn live() -> Value {
    json!({
        "metadata": {"name": "p", "annotations": {
            "sidecar.istio.io/status": "{\"initContainers\":[\"istio-validation\",\"istio-init\"],\"containers\":[\"istio-proxy\"],\"volumes\":[\"istio-envoy\"],\"revision\":\"default\"}",
        }},
        "spec": {
            "initContainers": [{"name": "istio-validation", "image": "proxyv2:1", "args": ["istio-iptables"]}],
            "containers": [{"name": "app", "image": "app:1"}, {
                "name": "istio-proxy", "image": "proxyv2:1", "args": ["proxy", "sidecar"],
                "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "1"}},
                "securityContext": {"runAsUser": 1337, "runAsNonRoot": true},
                "env": [
                    {"name": "PROXY_CONFIG", "value": "{\"concurrency\":2}"},
                    {"name": "TRUST_DOMAIN", "value": "cluster.local"},
                    {"name": "ISTIO_META_MESH_ID", "value": "cluster.local"},
                    {"name": "ISTIO_META_POD_PORTS", "value": "[]"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                ],
                "volumeMounts": [{"name": "istio-envoy", "mountPath": "/etc/istio/proxy"},
                    {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            }],
            "volumes": [{"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}, {"name": "kube-api-access-x"}],
        },
    })
}

fn proxy(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["containers"][1]
}

fn variable(pod: &mut Value, name: &str, value: &str) {
    if let Some(variables) = proxy(pod)["env"].as_array_mut() {
        variables.retain(|variable| variable["name"] != name);
        variables.push(json!({"name": name, "value": value}));
    }
}

/// Why `live` is outdated where injection gives it after `change`.
fn reported_reasons(change: impl FnOnce(&mut Value)) -> Vec<&'static str> {
    let mut wanted = live();
    change(&mut wanted);
    let found = reasons(&parse(&live()), Injected::from_pod(&parse(&wanted)).as_ref());
    found.iter().map(StaleReason::name).collect()
}

/// Adds these parts to the configuration of the proxy.
fn configure(pod: &mut Value, parts: &str) {
    variable(pod, "PROXY_CONFIG", &format!("{{\"concurrency\":2,{parts}}}"));
}

const DNS: &str = r#""proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}"#;

type Change = fn(&mut Value);

/// Differences of the proxy container.
const PROXY: &[(&str, Change, &[&str])] = &[
    ("nothing", |_| {}, &[]),
    ("image", |pod| proxy(pod)["image"] = json!("proxyv2:2"), &["Image"]),
    ("registry", |pod| proxy(pod)["image"] = json!("mirror/proxyv2:1"), &["Image"]),
    ("request", |pod| proxy(pod)["resources"]["requests"]["cpu"] = json!("20m"), &["Resources"]),
    ("the same limit", |pod| proxy(pod)["resources"]["limits"]["cpu"] = json!("1000m"), &[]),
    ("DNS", |pod| configure(pod, DNS), &["DnsCapture"]),
    (
        "its variable",
        |pod| {
            configure(pod, DNS);
            variable(pod, "ISTIO_META_DNS_CAPTURE", "true");
        },
        &["DnsCapture"],
    ),
    ("metadata", |pod| configure(pod, r#""proxyMetadata":{"A":"1"}"#), &["ProxyMetadata"]),
    (
        "statistics",
        |pod| configure(pod, r#""proxyStatsMatcher":{"inclusionRegexps":["a"]}"#),
        &["StatsMatcher"],
    ),
    ("configuration", |pod| configure(pod, r#""drainDuration":"7s""#), &["ProxyConfig"]),
    ("empty parts", |pod| configure(pod, r#""proxyMetadata":{},"proxyStatsMatcher":{}"#), &[]),
    (
        "trust domain",
        |pod| {
            variable(pod, "TRUST_DOMAIN", "new");
            variable(pod, "ISTIO_META_MESH_ID", "new");
        },
        &["TrustDomain"],
    ),
    ("another variable", |pod| variable(pod, "ISTIO_META_X", "1"), &["Environment"]),
    ("ports of the application", |pod| variable(pod, "ISTIO_META_POD_PORTS", "[8080]"), &[]),
    ("arguments", |pod| proxy(pod)["args"] = json!(["proxy", "router"]), &["Field"]),
    ("security", |pod| proxy(pod)["securityContext"]["runAsUser"] = json!(1), &["Field"]),
    (
        "the same security in another order",
        |pod| proxy(pod)["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 1337}),
        &[],
    ),
    ("no security", |pod| proxy(pod)["securityContext"] = json!({}), &[]),
    ("a probe", |pod| proxy(pod)["startupProbe"] = json!({"httpGet": {"port": 15021}}), &["Field"]),
    ("when it is pulled", |pod| proxy(pod)["imagePullPolicy"] = json!("Always"), &["Field"]),
    ("a mount", |pod| proxy(pod)["volumeMounts"][0]["mountPath"] = json!("/etc/other"), &["Field"]),
    (
        "where a variable comes from",
        |pod| {
            let variables = proxy(pod)["env"].as_array_mut().unwrap();
            variables.last_mut().unwrap()["valueFrom"]["fieldRef"]["fieldPath"] = json!("metadata.uid");
        },
        &["Environment"],
    ),
    (
        "the version of a reference",
        |pod| {
            let variables = proxy(pod)["env"].as_array_mut().unwrap();
            variables.last_mut().unwrap()["valueFrom"] = json!({"fieldRef": {"fieldPath": "metadata.name"}});
        },
        &[],
    ),
];

/// Differences of the rest of the pod.
const POD: &[(&str, Change, &[&str])] = &[
    (
        "merged metrics",
        |pod| {
            pod["metadata"]["annotations"]["prometheus.io/path"] = json!("/stats/prometheus");
            pod["metadata"]["annotations"]["prometheus.io/port"] = json!("15020");
        },
        &["PrometheusMerge"],
    ),
    (
        "an init container that redirects",
        |pod| {
            pod["spec"]["initContainers"] = json!([{"name": "istio-init", "image": "proxyv2:1"}]);
        },
        &["Cni"],
    ),
    ("the image of what has run", |pod| pod["spec"]["initContainers"][0]["image"] = json!("proxyv2:2"), &[]),
    ("the rules of what has run", |pod| pod["spec"]["initContainers"][0]["args"] = json!(["-x"]), &["Field"]),
    ("a volume", |pod| pod["spec"]["volumes"][0]["emptyDir"] = json!({"medium": ""}), &["Field"]),
    (
        "native sidecar",
        |pod| {
            let mut native = proxy(pod).take();
            native["restartPolicy"] = json!("Always");
            pod["spec"]["containers"] = json!([{"name": "app", "image": "app:1"}]);
            pod["spec"]["initContainers"].as_array_mut().unwrap().push(native);
        },
        &["NativeSidecar"],
    ),
    (
        "revision",
        |pod| {
            let status = pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str().unwrap();
            pod["metadata"]["annotations"]["sidecar.istio.io/status"] =
                json!(status.replace("default", "canary"));
        },
        &["Revision"],
    ),
    ("no sidecar", |pod| pod["metadata"]["annotations"] = json!({}), &["NoLongerInjected"]),
];

#[test]
fn each_difference_is_reported_with_its_reason() {
    for (name, change, expected) in PROXY.iter().chain(POD) {
        assert_eq!(reported_reasons(change), *expected, "{name}");
    }
}

#[test]
fn values_that_injection_leaves_open_are_no_difference() {
    let mut wanted = live();
    proxy(&mut wanted)["resources"] = json!({"limits": {"cpu": "1"}});
    let reported_with = |undefaulted| {
        let wanted = Injected { undefaulted, ..Injected::from_pod(&parse(&wanted)).unwrap() };
        reasons(&parse(&live()), Some(&wanted)).iter().map(StaleReason::name).collect::<Vec<_>>()
    };
    assert_eq!(reported_with(true), [""; 0], "from istiod alone");
    assert_eq!(reported_with(false), ["Resources"], "from the API server");
}

#[test]
fn a_custom_proxy_image_is_left_to_its_owner() {
    let mut pod = live();
    pod["metadata"]["annotations"]["sidecar.istio.io/proxyImage"] = json!("own");
    let mut wanted = pod.clone();
    proxy(&mut wanted)["image"] = json!("proxyv2:2");
    proxy(&mut wanted)["resources"] = json!({});
    assert_eq!(reasons(&parse(&pod), Injected::from_pod(&parse(&wanted)).as_ref()), []);
}

proptest! {
    /// Whatever a pod asks for, and whatever changes it during admission: what injection gives now is not outdated.
    #[test]
    fn a_freshly_injected_pod_is_up_to_date(
        annotations in prop::collection::btree_map("(prometheus.io|sidecar.istio.io|proxy.istio.io)/[a-zA-Z]{1,9}", "[ -~]{0,20}", 0..5),
        image in "[a-z]{1,9}(/[a-z]{1,9}){0,2}:[a-z0-9.]{1,9}",
        cpu in prop::option::of(1..4000_u32), memory in prop::option::of("[0-9]{1,4}(Mi|Gi|M)"),
        config in "[ -~]{0,30}", native: bool, undefaulted: bool,
    ) {
        let mut pod = live();
        for (key, value) in annotations {
            pod["metadata"]["annotations"][key] = json!(value);
        }
        pod["metadata"]["annotations"]["sidecar.istio.io/status"] = live()["metadata"]["annotations"]["sidecar.istio.io/status"].clone();
        proxy(&mut pod)["image"] = json!(image);
        proxy(&mut pod)["resources"] = json!({"requests": {"cpu": cpu.map(|cpu| format!("{cpu}m")), "memory": memory}});
        variable(&mut pod, "PROXY_CONFIG", &config);
        if native {
            let proxy = proxy(&mut pod).take();
            pod["spec"]["containers"] = json!([{"name": "app", "image": "app:1"}]);
            pod["spec"]["initContainers"] = json!([proxy]);
        }
        let pod = parse(&pod);
        let wanted = Injected { undefaulted, ..Injected::from_pod(&pod).unwrap() };
        prop_assert_eq!(reasons(&pod, Some(&wanted)), []);
    }
}
