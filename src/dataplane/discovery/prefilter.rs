//! The cheap check of one pod: might its sidecar be outdated? Pure, without a request. The rules are in
//! [`reasons`](crate::dataplane::reasons).
//!
//! It only finds candidates; what injection gives in a dry run decides. It may err in both directions: a candidate that is up
//! to date costs a dry run, and what it misses is found when the mesh changes, because then all workloads are proven.

use std::collections::BTreeMap;

use super::mesh::Mesh;
use crate::dataplane::model::Injected;
use crate::dataplane::reasons::{CheapCheck, Sidecar, StaleReason};

/// Why the pod may be outdated; empty if nothing indicates it.
#[must_use]
pub fn candidate_reasons(
    annotations: &BTreeMap<String, String>,
    live: &Injected,
    mesh: &Mesh,
) -> Vec<StaleReason> {
    let Some(live) = Sidecar::new(live) else { return Vec::new() };
    CheapCheck { annotations, live, mesh }.reasons()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dataplane::model::Pod;

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
