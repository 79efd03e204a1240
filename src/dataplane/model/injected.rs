//! The injected part of a pod: the containers and volumes that the status annotation lists. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::container::InjectedContainer;
use super::objects::{Pod, null_as_empty};
use super::raw_json::RawJson;
use crate::dataplane::names::{PROXY_CONTAINER, STATUS_ANNOTATION};

/// Bytes of an injected container or volume: ten times what injection writes. Larger ones come from tenants, who may list any
/// container as injected.
const MAX_PART_BYTES: usize = 256 << 10;
/// Bytes of the status annotation, and names in each of its lists.
const MAX_STATUS_BYTES: usize = 64 << 10;
const MAX_NAMES: usize = 64;

/// What injection added to a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// Revision of the control plane that injected the pod.
    pub revision: String,
    /// Injected init containers by name, including a native sidecar.
    pub init_containers: BTreeMap<String, InjectedContainer>,
    /// Injected containers by name.
    pub containers: BTreeMap<String, InjectedContainer>,
    /// Injected volumes by name.
    pub volumes: BTreeMap<String, RawJson>,
    /// The annotations with which Prometheus finds the metrics.
    pub prometheus: BTreeMap<String, String>,
    /// Whether the pod comes from istiod itself, without the defaults of the API server.
    pub undefaulted: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InjectionStatus {
    #[serde(deserialize_with = "null_as_empty")]
    init_containers: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    containers: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    volumes: Vec<String>,
    revision: Option<String>,
}

impl Injected {
    /// The injected part of `pod`; `None` if nothing was injected.
    #[must_use]
    pub fn from_pod(pod: &Pod) -> Option<Self> {
        let status = pod.metadata.annotations.get(STATUS_ANNOTATION)?;
        let status = Some(status).filter(|status| status.len() <= MAX_STATUS_BYTES);
        let mut status: InjectionStatus =
            status.and_then(|status| serde_json::from_str(status).ok()).unwrap_or_default();
        for names in [&mut status.init_containers, &mut status.containers, &mut status.volumes] {
            names.truncate(MAX_NAMES);
        }
        Some(Self {
            revision: status.revision.unwrap_or_else(|| "default".to_owned()),
            init_containers: injected_containers(pod.spec.init_containers.as_ref(), &status.init_containers),
            containers: injected_containers(pod.spec.containers.as_ref(), &status.containers),
            volumes: injected_volumes(pod.spec.volumes.as_ref(), &status.volumes),
            prometheus: prometheus_annotations(&pod.metadata.annotations),
            undefaulted: false,
        })
    }

    /// Approximate bytes that it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let containers = self.containers.values().chain(self.init_containers.values());
        let volumes: usize = self.volumes.values().map(|volume| volume.text().len()).sum();
        containers.map(InjectedContainer::memory_bytes).sum::<usize>() + volumes + size_of::<Self>()
    }

    /// The proxy container, in whichever list it is.
    #[must_use]
    pub fn proxy(&self) -> Option<&InjectedContainer> {
        self.containers.get(PROXY_CONTAINER).or_else(|| self.init_containers.get(PROXY_CONTAINER))
    }

    /// An injected container by its name, in whichever list it is.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&InjectedContainer> {
        self.containers.get(name).or_else(|| self.init_containers.get(name))
    }

    /// The injected containers that run as long as the pod. An init container that has run to completion does not use its
    /// image any more.
    pub fn running_containers(&self) -> impl Iterator<Item = &InjectedContainer> {
        let native = self.init_containers.values().filter(|container| container.restart_policy == "Always");
        self.containers.values().chain(native)
    }

    /// Whether the proxy is a native sidecar.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.init_containers.contains_key(PROXY_CONTAINER)
    }

    /// Whether the proxy is a gateway.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.proxy().is_some_and(|proxy| proxy.args.iter().any(|argument| argument == "router"))
    }
}

/// The containers that injection added.
fn injected_containers(all: Option<&RawJson>, injected: &[String]) -> BTreeMap<String, InjectedContainer> {
    // Older versions of Istio do not list a proxy that the template declares.
    let is_injected =
        |name: &str| name == PROXY_CONTAINER || injected.iter().any(|injected| injected == name);
    let read = |(name, part): (String, &RawValue)| Some((name, serde_json::from_str(part.get()).ok()?));
    named_parts(all, is_injected).filter_map(read).collect()
}

/// The volumes that injection added.
fn injected_volumes(all: Option<&RawJson>, injected: &[String]) -> BTreeMap<String, RawJson> {
    let is_injected = |name: &str| injected.iter().any(|injected| injected == name);
    let read = |(name, part): (String, &RawValue)| Some((name, serde_json::from_str(part.get()).ok()?));
    named_parts(all, is_injected).filter_map(read).collect()
}

/// The parts of a list by their names. Each is parsed separately, so that one of an unknown form does not hide the others.
fn named_parts(
    all: Option<&RawJson>,
    is_wanted: impl Fn(&str) -> bool,
) -> impl Iterator<Item = (String, &RawValue)> {
    #[derive(Deserialize)]
    struct NamedPart {
        name: String,
    }
    let all: Vec<&RawValue> = all.and_then(RawJson::parse).unwrap_or_default();
    all.into_iter().filter(|part| part.get().len() <= MAX_PART_BYTES).filter_map(move |part| {
        let NamedPart { name } = serde_json::from_str(part.get()).ok()?;
        is_wanted(&name).then_some((name, part))
    })
}

fn prometheus_annotations(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let keys = ["prometheus.io/path", "prometheus.io/port", "prometheus.io/scrape"];
    keys.iter().filter_map(|key| Some(((*key).to_owned(), annotations.get(*key)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::fixtures::pod;

    #[test]
    fn a_container_of_an_unknown_form_does_not_hide_the_proxy() {
        let pod = pod(|pod| {
            let containers = pod["spec"]["containers"].as_array_mut().unwrap();
            containers.insert(0, json!({"name": "strange", "env": {"A": "b"}}));
            containers.insert(1, json!({"no": "name"}));
        });
        let injected = Injected::from_pod(&pod).unwrap();
        assert_eq!(injected.proxy().unwrap().image, "new/proxyv2:1");
        assert_eq!(injected.containers.len(), 1);
    }

    #[test]
    fn parts_larger_than_injection_writes_are_dropped() {
        let pod = pod(|pod| {
            pod["metadata"]["annotations"]["sidecar.istio.io/status"] =
                json!("{\"containers\":[\"istio-proxy\",\"large\"],\"volumes\":[\"large\"]}");
            let large = json!({"name": "large", "env": [{"name": "A", "value": "x".repeat(MAX_PART_BYTES)}]});
            pod["spec"]["containers"].as_array_mut().unwrap().push(large.clone());
            pod["spec"]["volumes"] = json!([large]);
        });
        let injected = Injected::from_pod(&pod).unwrap();
        assert_eq!((injected.containers.len(), injected.volumes.len()), (1, 0));
        assert!(injected.memory_bytes() < 10_000, "{}", injected.memory_bytes());
    }
}
