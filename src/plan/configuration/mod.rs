//! Makes the one document that Istio is rendered from: the base configuration for the size of the cluster, changed by
//! the `Istio` resource, the images and what the cloud provider needs.
//! Pure. Knows the `IstioOperator` document (Istio's `install.istio.io/v1alpha1` API), not the charts behind it.

mod base;
mod components;
mod facts;
mod images;
mod merge;
mod mesh;
mod provider;
pub(crate) mod quantity;
mod values;

pub(crate) use quantity::thousandths;

use gotemplate::yaml;
use serde_json::{Value, json};

pub use facts::{ClusterFacts, Error as FactsError, Features, LoadBalancer, Provider, Size};
pub use images::{Error as ImagesError, Images};
pub use values::check as check_values;

use crate::validate::{Flavour, ValidatedSpec};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded base configuration is not what it should be.
    #[error("the built-in configuration cannot be read")]
    Base(#[source] yaml::Error),
    /// An affinity cannot be written as JSON.
    #[error("the affinity of the CNI pods cannot be written")]
    Affinity(#[source] serde_json::Error),
}

/// Makes the `IstioOperator` document for a resource on a cluster.
///
/// Later steps win over earlier ones: base, values of the resource, its other fields, experimental options, images, provider.
pub fn configuration(spec: &ValidatedSpec, facts: &ClusterFacts, images: &Images) -> Result<Value, Error> {
    let mut document = base::document(facts.size).map_err(Error::Base)?;
    values::merge_into(&mut document, &spec.values);
    mesh::merge(&mut document, &spec.mesh);
    components::merge(&mut document, spec, facts.features)?;
    let is_dual_stack = spec.flavour == Flavour::Experimental && facts.dual_stack;
    if is_dual_stack {
        dual_stack(&mut document);
    }
    if spec.experimental.enable_ambient == Some(true) {
        ambient(&mut document, images);
    }
    images.merge_into(&mut document);
    provider::merge(&mut document, facts.provider, is_dual_stack);
    Ok(document)
}

/// Gives Istio's Services and proxies both IP families.
fn dual_stack(document: &mut Value) {
    merge::merge(
        document,
        &json!({"spec": {
            "meshConfig": {"defaultConfig": {"proxyMetadata": {"ISTIO_DUAL_STACK": "true"}}},
            "values": {
                "pilot": {"env": {"ISTIO_DUAL_STACK": "true"}, "ipFamilyPolicy": "RequireDualStack"},
                "gateways": {
                    "istio-ingressgateway": {"ipFamilyPolicy": "RequireDualStack"},
                    "istio-egressgateway": {"ipFamilyPolicy": "RequireDualStack"},
                },
            },
        }}),
    );
}

/// Switches ambient mode on, with a ztunnel on every node.
fn ambient(document: &mut Value, images: &Images) {
    merge::merge(
        document,
        &json!({"spec": {
            "meshConfig": {"defaultConfig": {"proxyMetadata": {"ISTIO_META_ENABLE_HBONE": "true"}}},
            "components": {"ztunnel": {"enabled": true}},
            "values": {
                "pilot": {"env": {"PILOT_ENABLE_AMBIENT": "true"}},
                "cni": {"ambient": {"enabled": true}},
                // Without it the chart composes an image from hub and tag, which need not exist under that name.
                "ztunnel": {"image": images.ztunnel},
            },
        }}),
    );
}

#[cfg(test)]
mod tests;
