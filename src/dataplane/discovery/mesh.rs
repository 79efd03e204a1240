//! What the mesh gives to injected pods, read off istiod's own configuration, and its identity as one hash. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::dataplane::hash::hash;
use crate::dataplane::resources::ResourceRequirements;
use crate::dataplane::types::string_map;

/// The configuration of istiod makes no sense.
#[derive(Debug, Error)]
pub enum Error {
    /// A ConfigMap lacks a key.
    #[error("ConfigMap {config_map} has no key {key:?}")]
    Missing {
        /// Name of the ConfigMap.
        config_map: &'static str,
        /// The key.
        key: &'static str,
    },
    /// The values of injection are no JSON.
    #[error("the values of injection cannot be read")]
    Values {
        /// Where they are wrong.
        #[from]
        source: serde_json::Error,
    },
    /// The mesh configuration is no YAML.
    #[error("the mesh configuration cannot be read: {text}")]
    Mesh {
        /// Where it is wrong.
        text: String,
    },
}

/// What injection gives to a pod that asks for nothing special.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Proxy image in full; `None` where it cannot be told from the values.
    pub image: Option<String>,
    /// Requests and limits of the proxy.
    pub resources: ResourceRequirements,
    /// Whether the CNI agent redirects traffic.
    pub cni: bool,
    /// Port of the merged metrics.
    pub status_port: u64,
    /// Whether metrics are merged.
    pub prometheus_merge: bool,
    /// Trust domain.
    pub trust_domain: Option<String>,
    /// Variables of the proxy.
    pub proxy_metadata: BTreeMap<String, String>,
    /// Regular expressions of kept statistics, sorted.
    pub inclusion_regexps: Vec<String>,
    /// Identity of what gateways read when they start.
    pub gateway_hash: String,
    /// Identity of everything that injection depends on.
    pub hash: String,
}

/// The port on which metrics are merged unless the mesh says otherwise.
const STATUS_PORT: u64 = 15020;

impl Mesh {
    /// Reads the ConfigMaps of istiod. `istiod` is its image, a part of the hash only.
    pub fn read(
        injector: &BTreeMap<String, String>,
        mesh: &BTreeMap<String, String>,
        istiod: &str,
    ) -> Result<Self, Error> {
        let missing = |config_map, key| Error::Missing { config_map, key };
        let values_text =
            injector.get("values").ok_or_else(|| missing("istio-system/istio-sidecar-injector", "values"))?;
        let templates = injector.get("config").map_or("", String::as_str);
        let mesh_text = mesh.get("mesh").ok_or_else(|| missing("istio-system/istio", "mesh"))?;
        let values: Value = serde_json::from_str(values_text)?;
        let config = gotemplate::yaml::parse_json(mesh_text)
            .map_err(|error| Error::Mesh { text: error.to_string() })?;
        let default_config = config.get("defaultConfig").cloned().unwrap_or_default();
        Ok(Self {
            image: read_image(&values),
            resources: read_resources(&values),
            cni: values.pointer("/pilot/cni/enabled").and_then(Value::as_bool).unwrap_or_default(),
            status_port: default_config
                .get("statusPort")
                .and_then(Value::as_u64)
                .filter(|port| *port > 0)
                .unwrap_or(STATUS_PORT),
            prometheus_merge: config.get("enablePrometheusMerge").and_then(Value::as_bool).unwrap_or(true),
            trust_domain: config.get("trustDomain").and_then(Value::as_str).map(str::to_owned),
            proxy_metadata: string_map(default_config.get("proxyMetadata")),
            inclusion_regexps: inclusion_regexps(&default_config),
            gateway_hash: hash_gateway_config(&config, &default_config),
            hash: hash(&[values_text, templates, mesh_text, istiod]),
        })
    }
}

impl Mesh {
    /// The version of Istio, as the tag of the proxy image tells it.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        let (name, _digest) = self.image.as_deref()?.split_once('@').unwrap_or((self.image.as_deref()?, ""));
        let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
        tag.split('-').next()
    }

    /// The mesh of a resource that goes: injection gives nothing any more.
    #[must_use]
    pub fn uninstalling(uid: &str) -> Self {
        Self {
            image: None,
            resources: ResourceRequirements::default(),
            cni: false,
            status_port: STATUS_PORT,
            prometheus_merge: false,
            trust_domain: None,
            proxy_metadata: BTreeMap::new(),
            inclusion_regexps: Vec::new(),
            gateway_hash: String::new(),
            hash: hash(&["leaving", uid]),
        }
    }
}

/// The sorted regular expressions of `proxyStatsMatcher` in a proxy configuration.
#[must_use]
pub fn inclusion_regexps(proxy_config: &Value) -> Vec<String> {
    let list = proxy_config.pointer("/proxyStatsMatcher/inclusionRegexps").and_then(Value::as_array);
    let mut regexps: Vec<String> =
        list.into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect();
    regexps.sort();
    regexps
}

/// Trusted proxies and client certificates, trust domain and statistics: what the Go operator restarts gateways for.
fn hash_gateway_config(config: &Value, default_config: &Value) -> String {
    let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
    hash(&[
        &text(default_config.get("gatewayTopology")),
        &text(config.get("trustDomain")),
        &inclusion_regexps(default_config).join("\n"),
    ])
}

fn read_resources(values: &Value) -> ResourceRequirements {
    let resources = values.pointer("/global/proxy/resources");
    resources.and_then(|resources| ResourceRequirements::deserialize(resources).ok()).unwrap_or_default()
}

/// A full image is taken as it is; a name alone belongs to the hub and tag of the values.
fn read_image(values: &Value) -> Option<String> {
    let at = |pointer: &str| values.pointer(pointer);
    let image = at("/global/proxy/image")?.as_str()?;
    if image.contains('/') {
        return Some(image.to_owned());
    }
    let hub = at("/global/hub")?.as_str()?;
    let tag = at("/global/tag")?;
    let tag = tag.as_str().map_or_else(|| tag.to_string(), str::to_owned);
    let variant = at("/global/variant").and_then(Value::as_str).unwrap_or_default();
    if variant.is_empty() || tag.ends_with(variant) {
        return Some(format!("{hub}/{image}:{tag}"));
    }
    Some(format!("{hub}/{image}:{tag}-{variant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_istio_is_that_of_the_tag() {
        for (image, version) in [
            (Some("europe-docker.pkg.dev/kyma-project/proxyv2:1.31.0-distroless"), Some("1.31.0")),
            (Some("registry:5000/istio/proxyv2:1.31.0"), Some("1.31.0")),
            (Some("registry/proxyv2:1.31.0@sha256:0123"), Some("1.31.0")),
            (Some("registry:5000/proxyv2@sha256:0123"), None),
            (Some("proxyv2"), None),
            (None, None),
        ] {
            let mesh = Mesh { image: image.map(str::to_owned), ..Mesh::uninstalling("uid") };
            assert_eq!(mesh.version(), version, "{image:?}");
        }
    }
}
