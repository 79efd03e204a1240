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
    let all: Vec<Container> = all.and_then(Part::read).unwrap_or_default();
    // Where the annotation is of an Istio that did not list a declared proxy, it is the proxy still.
    let is_injected =
        |container: &Container| container.name == PROXY_CONTAINER || injected.contains(&container.name);
    all.into_iter().filter(is_injected).map(|container| (container.name.clone(), container)).collect()
}

/// The volumes that injection added.
fn volumes(all: Option<&Part>, injected: &[String]) -> BTreeMap<String, Part> {
    #[derive(Deserialize)]
    struct Volume {
        name: String,
    }
    let all: Vec<Part> = all.and_then(Part::read).unwrap_or_default();
    let named = |volume: Part| {
        let Volume { name } = volume.read()?;
        injected.contains(&name).then_some((name, volume))
    };
    all.into_iter().filter_map(named).collect()
}

fn prometheus(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let keys = ["prometheus.io/path", "prometheus.io/port", "prometheus.io/scrape"];
    keys.iter().filter_map(|key| Some(((*key).to_owned(), annotations.get(*key)?.clone()))).collect()
}
