//! The injected part of a pod: what the status annotation says was added, cut out of the pod. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dataplane::names::{PROXY_CONTAINER, STATUS_ANNOTATION};
use crate::dataplane::objects::{Pod, parse};

/// What injection added to a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// Revision of the control plane that injected.
    pub revision: String,
    /// Injected init containers by name; a native sidecar is one.
    pub init_containers: BTreeMap<String, Value>,
    /// Injected containers by name.
    pub containers: BTreeMap<String, Value>,
    /// Injected volumes by name.
    pub volumes: BTreeMap<String, Value>,
    /// The annotations by which Prometheus finds the metrics.
    pub prometheus: BTreeMap<String, String>,
    /// Whether this is the word of injection alone, without the defaults of the API server.
    pub undefaulted: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    init_containers: Option<Vec<String>>,
    containers: Option<Vec<String>>,
    volumes: Option<Vec<String>>,
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
            init_containers: named(pod.spec.init_containers.as_deref(), status.init_containers),
            containers: named(pod.spec.containers.as_deref(), status.containers),
            volumes: named(pod.spec.volumes.as_deref(), status.volumes),
            prometheus: prometheus(&pod.metadata.annotations),
            undefaulted: false,
        })
    }

    /// The proxy container, in whichever list it is.
    #[must_use]
    pub fn proxy(&self) -> Option<&Value> {
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
        let arguments = self.proxy().and_then(|proxy| proxy.get("args")?.as_array());
        arguments.is_some_and(|arguments| arguments.iter().any(|argument| argument == "router"))
    }
}

/// The value of a variable of a container, where it is given literally.
#[must_use]
pub fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let variables = container.get("env")?.as_array()?;
    variables.iter().find(|variable| variable["name"] == name)?.get("value")?.as_str()
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// The items that injection added. All others stay text: to parse them is most of the cost of a look at a pod.
fn named(all: Option<&RawValue>, names: Option<Vec<String>>) -> BTreeMap<String, Value> {
    let names = names.unwrap_or_default();
    let items: Vec<&RawValue> = all.and_then(|all| serde_json::from_str(all.get()).ok()).unwrap_or_default();
    let injected = |item: &RawValue| {
        let Named { name } = serde_json::from_str(item.get()).ok()?;
        // Where the annotation is of an Istio that did not list a declared proxy, it is the proxy still.
        let is_injected = name == PROXY_CONTAINER || names.iter().any(|injected| *injected == name);
        is_injected.then(|| (name.into_owned(), parse(Some(item))))
    };
    items.into_iter().filter_map(injected).collect()
}

fn prometheus(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let keys = ["prometheus.io/path", "prometheus.io/port", "prometheus.io/scrape"];
    keys.iter().filter_map(|key| Some(((*key).to_owned(), annotations.get(*key)?.clone()))).collect()
}
