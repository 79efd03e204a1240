//! The injected part of a pod: what the status annotation says was added, cut out of the pod. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::container::Container;
use super::names::{PROXY_CONTAINER, STATUS_ANNOTATION};
use super::objects::{Pod, null_as_empty};
use super::part::Part;

/// What injection added to a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// Revision of the control plane that injected.
    pub revision: String,
    /// Injected init containers by name; a native sidecar is one.
    pub init_containers: BTreeMap<String, Container>,
    /// Injected containers by name.
    pub containers: BTreeMap<String, Container>,
    /// Injected volumes by name.
    pub volumes: BTreeMap<String, Part>,
    /// The annotations by which Prometheus finds the metrics.
    pub prometheus: BTreeMap<String, String>,
    /// Whether this is the word of injection alone, without the defaults of the API server.
    pub undefaulted: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "null_as_empty")]
    init_containers: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    containers: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    volumes: Vec<String>,
    revision: Option<String>,
}

impl Injected {
    /// Cuts the injected part out of `pod`; `None` if nothing was injected.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.metadata.annotations.get(STATUS_ANNOTATION)?;
        let status: Status = serde_json::from_str(status).unwrap_or_default();
        Some(Self {
            revision: status.revision.unwrap_or_else(|| "default".to_owned()),
            init_containers: containers(pod.spec.init_containers.as_ref(), &status.init_containers),
            containers: containers(pod.spec.containers.as_ref(), &status.containers),
            volumes: volumes(pod.spec.volumes.as_ref(), &status.volumes),
            prometheus: prometheus(&pod.metadata.annotations),
            undefaulted: false,
        })
    }

    /// The proxy container, in whichever list it is.
    #[must_use]
    pub fn proxy(&self) -> Option<&Container> {
        self.containers.get(PROXY_CONTAINER).or_else(|| self.init_containers.get(PROXY_CONTAINER))
    }

    /// Whether the proxy is a native sidecar.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.init_containers.contains_key(PROXY_CONTAINER)
    }

    /// Whether the proxy is a gateway, which serves traffic of its own.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.proxy().is_some_and(|proxy| proxy.args.iter().any(|argument| argument == "router"))
    }
}

/// The containers that injection added.
fn containers(all: Option<&Part>, injected: &[String]) -> BTreeMap<String, Container> {
    // Where the annotation is of an Istio that did not list a declared proxy, it is the proxy still.
    let is_injected = |name: &String| name == PROXY_CONTAINER || injected.contains(name);
    let read = |(name, part): (String, Part)| Some((name, part.read()?));
    named(all).filter(|(name, _)| is_injected(name)).filter_map(read).collect()
}

/// The volumes that injection added.
fn volumes(all: Option<&Part>, injected: &[String]) -> BTreeMap<String, Part> {
    named(all).filter(|(name, _)| injected.contains(name)).collect()
}

/// The parts of a list by their names. Each is read for itself, so that one of a form that is not known yet, which may be
/// none of ours, does not take the others along.
fn named(all: Option<&Part>) -> impl Iterator<Item = (String, Part)> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let all: Vec<Part> = all.and_then(Part::read).unwrap_or_default();
    all.into_iter().filter_map(|part| {
        let Named { name } = part.read()?;
        Some((name, part))
    })
}

fn prometheus(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
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
        let injected = Injected::of(&pod).unwrap();
        assert_eq!(injected.proxy().unwrap().image, "new/proxyv2:1");
        assert_eq!(injected.containers.len(), 1);
    }
}
