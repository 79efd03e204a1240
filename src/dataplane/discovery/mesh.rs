//! What injection gives pods of the mesh, read from the configuration of istiod, and its identity as one hash. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::dataplane::model::{MeshRevision, ResourceRequirements, hash, string_map};

/// The configuration of istiod is invalid.
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
    /// The injection values are not JSON.
    #[error("failed to parse the injection values in ConfigMap istio-system/istio-sidecar-injector")]
    Values {
        /// The parse error.
        #[from]
        source: serde_json::Error,
    },
    /// The mesh configuration is not YAML.
    #[error("failed to parse the mesh configuration in ConfigMap istio-system/istio: {text}")]
    Mesh {
        /// The parse error.
        text: String,
    },
}

/// What injection gives to a pod that asks for nothing special.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Full proxy image; `None` if the values do not contain it.
    pub image: Option<String>,
    /// Requests and limits of the proxy.
    pub resources: ResourceRequirements,
    /// Whether the CNI agent redirects traffic.
    pub cni: bool,
    /// Port of the merged metrics.
    pub status_port: u64,
    /// Whether metrics of the application are merged with those of the proxy.
    pub prometheus_merge: bool,
    /// Trust domain.
    pub trust_domain: Option<String>,
    /// Environment variables of the proxy.
    pub proxy_metadata: BTreeMap<String, String>,
    /// Regular expressions of the statistics that are kept, sorted.
    pub inclusion_regexps: Vec<String>,
    /// Hash of what gateways read only when they start.
    pub gateway_hash: String,
    /// Identity of everything that injection depends on.
    pub revision: MeshRevision,
}

/// The default port of the merged metrics.
const STATUS_PORT: u64 = 15020;

impl Mesh {
    /// Reads the ConfigMaps of istiod. `istiod` is its image, which is only part of the revision.
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
            inclusion_regexps: inclusion_regexps(default_config.get("proxyStatsMatcher")),
            gateway_hash: hash_gateway_config(&config, &default_config),
            revision: hash(&[values_text, templates, mesh_text, istiod]).into(),
        })
    }
}

impl Mesh {
    /// The version of Istio, from the tag of the proxy image.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        let (name, _digest) = self.image.as_deref()?.split_once('@').unwrap_or((self.image.as_deref()?, ""));
        let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
        tag.split('-').next()
    }

    /// The mesh while the `Istio` resource with this UID is uninstalled: nothing is injected any more.
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
            revision: hash(&["uninstalling", uid]).into(),
        }
    }
}

/// The sorted inclusion regular expressions of a `proxyStatsMatcher`.
#[must_use]
pub fn inclusion_regexps(stats_matcher: Option<&Value>) -> Vec<String> {
    let list = stats_matcher.and_then(|matcher| matcher.get("inclusionRegexps")).and_then(Value::as_array);
    let mut regexps: Vec<String> =
        list.into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect();
    regexps.sort();
    regexps
}

/// Trusted proxies and client certificates, trust domain and statistics: the changes for which the Go operator restarts
/// gateways.
fn hash_gateway_config(config: &Value, default_config: &Value) -> String {
    let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
    hash(&[
        &text(default_config.get("gatewayTopology")),
        &text(config.get("trustDomain")),
        &inclusion_regexps(default_config.get("proxyStatsMatcher")).join("\n"),
    ])
}

fn read_resources(values: &Value) -> ResourceRequirements {
    let resources = values.pointer("/global/proxy/resources");
    resources.and_then(|resources| ResourceRequirements::deserialize(resources).ok()).unwrap_or_default()
}

/// An image with a slash is complete; a name alone is combined with hub and tag of the values.
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
    fn the_version_of_istio_comes_from_the_image_tag() {
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
