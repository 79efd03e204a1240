//! The cheap check on one pod: might its proxy be outdated? Pure, without a request.
//!
//! It only finds candidates; whether one is restarted is decided by what injection gives it. So it may be wrong in both
//! directions: a candidate that is none costs a dry run, and what it overlooks is found when the mesh changes, since then
//! every workload is asked for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::mesh::{Mesh, inclusion_regexps};
use crate::dataplane::container::InjectedContainer;
use crate::dataplane::injected::Injected;
use crate::dataplane::names::{INIT_CONTAINER, PROXY_IMAGE_ANNOTATION, VALIDATION_CONTAINER};
use crate::dataplane::reasons::{StaleReason, shortened_reasons};
use crate::dataplane::resources::{ResourceList, ResourceRequirements};
use crate::dataplane::types::string_map;
use crate::plan::configuration::thousandths;

/// Annotations with which a pod chooses its amounts: the requests of CPU and memory, then the limits.
const RESOURCE_ANNOTATIONS: [&str; 4] = [
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyMemoryLimit",
];
/// Annotation with which a pod overrides the proxy configuration of the mesh.
const PROXY_CONFIG_ANNOTATION: &str = "proxy.istio.io/config";
/// Annotation with which a pod chooses templates of injection; its proxy then is not the usual sidecar.
const TEMPLATES_ANNOTATION: &str = "inject.istio.io/templates";

/// Why the pod might be outdated; empty if nothing says so.
#[must_use]
pub fn candidate_reasons(
    annotations: &BTreeMap<String, String>,
    live: &Injected,
    mesh: &Mesh,
) -> Vec<StaleReason> {
    let Some(proxy) = live.proxy() else { return Vec::new() };
    let mut reasons = Vec::new();
    if !annotations.contains_key(PROXY_IMAGE_ANNOTATION) {
        reasons.extend(image(proxy, mesh));
        if !annotations.contains_key(TEMPLATES_ANNOTATION) {
            reasons.extend(resources(annotations, proxy, mesh));
        }
    }
    reasons.extend(traffic_redirection(live, mesh));
    reasons.extend(trust_domain(proxy, mesh));
    if !annotations.contains_key(PROXY_CONFIG_ANNOTATION) {
        reasons.extend(proxy_config(proxy, mesh));
    }
    reasons.extend(prometheus(annotations, live, mesh));
    shortened_reasons(reasons)
}

fn image(proxy: &InjectedContainer, mesh: &Mesh) -> Option<StaleReason> {
    let (has, wants) = (&proxy.image, mesh.image.as_ref()?);
    (has != wants).then(|| StaleReason::Image { has: has.clone(), wants: wants.clone() })
}

/// The injection template takes either all amounts from annotations or all from the mesh.
fn resources(
    annotations: &BTreeMap<String, String>,
    proxy: &InjectedContainer,
    mesh: &Mesh,
) -> Option<StaleReason> {
    let annotated = RESOURCE_ANNOTATIONS.map(|annotation| annotations.get(annotation).cloned());
    // What is no amount is refused by injection; such a pod cannot be told to be outdated.
    if annotated.iter().flatten().any(|amount| thousandths(amount).is_none()) {
        return None;
    }
    let wants = match annotated {
        [None, None, None, None] => mesh.resources.clone(),
        [cpu, memory, cpu_limit, memory_limit] => ResourceRequirements {
            requests: ResourceList { cpu, memory },
            limits: ResourceList { cpu: cpu_limit, memory: memory_limit },
        },
    };
    let (has, wants) = (&proxy.resources, wants.with_defaults());
    has.differs_from(&wants, false)
        .then(|| StaleReason::Resources { has: has.to_string(), wants: wants.to_string() })
}

fn traffic_redirection(live: &Injected, mesh: &Mesh) -> Option<StaleReason> {
    let unwanted = if mesh.cni { INIT_CONTAINER } else { VALIDATION_CONTAINER };
    live.init_containers.contains_key(unwanted).then_some(StaleReason::Cni { enabled: mesh.cni })
}

fn trust_domain(proxy: &InjectedContainer, mesh: &Mesh) -> Option<StaleReason> {
    let (has, wants) = (proxy.variable("TRUST_DOMAIN")?, mesh.trust_domain.as_deref()?);
    (has != wants).then(|| StaleReason::TrustDomain { has: has.to_owned(), wants: wants.to_owned() })
}

fn proxy_config(proxy: &InjectedContainer, mesh: &Mesh) -> Vec<StaleReason> {
    let Some(text) = proxy.variable("PROXY_CONFIG") else { return Vec::new() };
    let Ok(config) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let mut reasons = Vec::new();
    let metadata = string_map(config.get("proxyMetadata"));
    if metadata != mesh.proxy_metadata {
        let dns = |metadata: &BTreeMap<String, String>| metadata.get("ISTIO_META_DNS_CAPTURE").cloned();
        if dns(&metadata) == dns(&mesh.proxy_metadata) {
            let keys = metadata.keys().chain(mesh.proxy_metadata.keys());
            let mut names: Vec<String> =
                keys.filter(|key| metadata.get(*key) != mesh.proxy_metadata.get(*key)).cloned().collect();
            names.sort();
            names.dedup();
            reasons.push(StaleReason::ProxyMetadata(names));
        } else {
            reasons.push(StaleReason::DnsCapture);
        }
    }
    if inclusion_regexps(&config) != mesh.inclusion_regexps {
        reasons.push(StaleReason::StatsMatcher);
    }
    reasons
}

/// The annotations of a pod cannot tell whether injection or its owner wrote them; injection is asked where they do not
/// fit.
fn prometheus(annotations: &BTreeMap<String, String>, live: &Injected, mesh: &Mesh) -> Option<StaleReason> {
    let opted_out = |key: &str| annotations.get(key).is_some_and(|value| value == "false");
    if opted_out("prometheus.io/scrape") || opted_out("prometheus.istio.io/merge-metrics") {
        return None;
    }
    let port = mesh.status_port.to_string();
    let is = |key: &str, value: &str| live.prometheus.get(key).is_some_and(|found| found == value);
    let merged = (is("prometheus.io/path", "/stats/prometheus"), is("prometheus.io/port", &port));
    let matches_mesh = if mesh.prometheus_merge { merged == (true, true) } else { merged != (true, true) };
    (!matches_mesh).then_some(StaleReason::PrometheusMerge)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::types::Pod;

    const IMAGE: &str = "example.com/proxyv2:1.31.0";

    /// The mesh with `config` merged over a plain mesh configuration.
    fn mesh(config: &Value, cni: bool) -> Mesh {
        let values = json!({
            "global": {"proxy": {"image": IMAGE, "resources": {"requests": {"cpu": "10m", "memory": "192Mi"},
                "limits": {"cpu": "1000m", "memory": "1024Mi"}}}},
            "pilot": {"cni": {"enabled": cni}},
        });
        let map = |key: &str, text: String| BTreeMap::from([(key.to_owned(), text)]);
        Mesh::read(&map("values", values.to_string()), &map("mesh", config.to_string()), "istiod").unwrap()
    }

    fn plain() -> Mesh {
        mesh(&json!({"enablePrometheusMerge": false, "trustDomain": "cluster.local"}), true)
    }

    /// An injected pod, up to date for [`plain`], after `change`.
    fn reasons(mesh: &Mesh, change: impl FnOnce(&mut Value)) -> Vec<&'static str> {
        let mut pod = json!({
            "metadata": {"name": "p", "annotations": {
                "sidecar.istio.io/status": "{\"initContainers\":[\"istio-validation\",\"istio-init\"],\"containers\":[\"istio-proxy\"]}",
            }},
            "spec": {
                "initContainers": [{"name": "istio-validation", "image": IMAGE}],
                "containers": [{"name": "app", "image": "app"}, {
                    "name": "istio-proxy", "image": IMAGE,
                    "resources": {"requests": {"cpu": "10m", "memory": "192Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
                    "env": [{"name": "PROXY_CONFIG", "value": "{}"}, {"name": "TRUST_DOMAIN", "value": "cluster.local"}],
                }],
            },
        });
        change(&mut pod);
        let pod: Pod = serde_json::from_str(&pod.to_string()).unwrap();
        let injected = Injected::from_pod(&pod).unwrap();
        candidate_reasons(&pod.metadata.annotations, &injected, mesh).iter().map(StaleReason::name).collect()
    }

    fn proxy(pod: &mut Value) -> &mut Value {
        &mut pod["spec"]["containers"][1]
    }

    fn annotate(pod: &mut Value, annotations: &[(&str, &str)]) {
        for (key, value) in annotations {
            pod["metadata"]["annotations"][*key] = json!(value);
        }
    }

    #[test]
    fn an_up_to_date_pod_is_no_candidate() {
        assert_eq!(reasons(&plain(), |_| {}), [""; 0]);
    }

    #[test]
    fn images_are_compared_exactly_unless_the_pod_sets_its_own() {
        for image in [
            "other.example/proxyv2:1.31.0",
            "example.com/proxyv2:1.30.3",
            "example.com/proxyv2:1.31.0@sha256:1",
        ] {
            assert_eq!(reasons(&plain(), |pod| proxy(pod)["image"] = json!(image)), ["Image"], "{image}");
            let with_own_image = reasons(&plain(), |pod| {
                proxy(pod)["image"] = json!(image);
                annotate(pod, &[("sidecar.istio.io/proxyImage", "x")]);
            });
            assert_eq!(with_own_image, [""; 0], "{image}");
        }
    }

    #[test]
    fn resources_follow_the_annotations_or_else_the_mesh() {
        type Annotations = &'static [(&'static str, &'static str)];
        const CPU: &str = "sidecar.istio.io/proxyCPU";
        const MEMORY: &str = "sidecar.istio.io/proxyMemory";
        const CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
        const MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
        let cases: [(Annotations, Value, bool); 9] = [
            (
                &[],
                json!({"requests": {"cpu": "10m", "memory": "192Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
                false,
            ),
            (
                &[],
                json!({"requests": {"cpu": "20m", "memory": "192Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
                true,
            ),
            (&[], json!({}), true),
            (&[(CPU, "50m")], json!({"requests": {"cpu": "50m"}}), false),
            (&[(MEMORY, "64Mi")], json!({"requests": {"memory": "65536Ki"}}), false),
            (&[(CPU_LIMIT, "2")], json!({"requests": {"cpu": "2"}, "limits": {"cpu": "2000m"}}), false),
            (&[(MEMORY_LIMIT, "1Gi")], json!({"limits": {"memory": "1Gi"}}), true),
            (
                &[(CPU, "1"), (MEMORY, "1Gi"), (CPU_LIMIT, "2"), (MEMORY_LIMIT, "2Gi")],
                json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "3Gi"}}),
                true,
            ),
            (&[(CPU, "many")], json!({}), false),
        ];
        for (annotations, resources, is_candidate) in cases {
            let found = reasons(&plain(), |pod| {
                annotate(pod, annotations);
                proxy(pod)["resources"] = resources.clone();
            });
            assert_eq!(found == ["Resources"], is_candidate, "{annotations:?} {resources} {found:?}");
        }
    }

    #[test]
    fn traffic_redirection_follows_the_mesh() {
        for (cni, container, is_candidate) in [
            (true, "istio-validation", false),
            (true, "istio-init", true),
            (false, "istio-init", false),
            (false, "istio-validation", true),
            (true, "wait-for-database", false),
        ] {
            let mesh = mesh(&json!({"enablePrometheusMerge": false}), cni);
            let found = reasons(&mesh, |pod| {
                pod["spec"]["initContainers"] = json!([{"name": container, "image": IMAGE}]);
            });
            assert_eq!(found == ["Cni"], is_candidate, "{cni} {container} {found:?}");
        }
    }

    #[test]
    fn dns_capture_statistics_and_variables_are_compared() {
        let dns = json!({"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}});
        let stats = |regexps: Value| json!({"proxyStatsMatcher": {"inclusionRegexps": regexps}});
        for (wanted, live, expected) in [
            (json!({}), json!({}), vec![]),
            (dns.clone(), json!({}), vec!["DnsCapture"]),
            (json!({}), dns.clone(), vec!["DnsCapture"]),
            (dns.clone(), dns, vec![]),
            (stats(json!(["a", "b"])), stats(json!(["b", "a"])), vec![]),
            (stats(json!(["a"])), stats(json!(["a", "b"])), vec!["StatsMatcher"]),
            (stats(json!([])), json!({}), vec![]),
            (
                json!({"proxyMetadata": {"X": "1"}}),
                json!({"proxyMetadata": {"X": "2"}}),
                vec!["ProxyMetadata"],
            ),
        ] {
            let mesh = mesh(&json!({"enablePrometheusMerge": false, "defaultConfig": wanted}), true);
            let set = |pod: &mut Value| {
                proxy(pod)["env"] = json!([{"name": "PROXY_CONFIG", "value": live.to_string()}]);
            };
            assert_eq!(reasons(&mesh, set), expected, "{wanted} {live}");
            let with_own_config = reasons(&mesh, |pod| {
                set(pod);
                annotate(pod, &[("proxy.istio.io/config", "{}")]);
            });
            assert_eq!(with_own_config, [""; 0], "a configuration of its own");
        }
    }

    #[test]
    fn merged_metrics_are_recognized_by_path_and_port() {
        const PATH: &str = "prometheus.io/path";
        const PORT: &str = "prometheus.io/port";
        const MERGED: &str = "/stats/prometheus";
        type Annotations = &'static [(&'static str, &'static str)];
        let cases: [(bool, u64, Annotations, bool); 9] = [
            (false, 15020, &[], false),
            (false, 15020, &[(PATH, MERGED)], false),
            (false, 15020, &[(PORT, "15020")], false),
            (false, 15020, &[(PATH, MERGED), (PORT, "15020")], true),
            (true, 15020, &[], true),
            (true, 15020, &[(PATH, MERGED), (PORT, "15020")], false),
            (true, 15080, &[(PATH, MERGED), (PORT, "15020")], true),
            (true, 15080, &[(PATH, MERGED), (PORT, "15080")], false),
            (true, 15020, &[("prometheus.io/scrape", "false")], false),
        ];
        for (merge, port, annotations, is_candidate) in cases {
            let config = json!({"enablePrometheusMerge": merge, "defaultConfig": {"statusPort": port}});
            let found = reasons(&mesh(&config, true), |pod| annotate(pod, annotations));
            assert_eq!(
                found == ["PrometheusMerge"],
                is_candidate,
                "{merge} {port} {annotations:?} {found:?}"
            );
        }
    }

    #[test]
    fn another_trust_domain_makes_a_candidate() {
        let mesh = mesh(&json!({"enablePrometheusMerge": false, "trustDomain": "new.example"}), true);
        assert_eq!(reasons(&mesh, |_| {}), ["TrustDomain"]);
    }
}
