//! Builds the document from which Istio is rendered: the base configuration for the size of the cluster, changed by the
//! `Istio` resource, the images, and what the cloud provider needs.
//!
//! Pure. Knows the `IstioOperator` document (Istio's `install.istio.io/v1alpha1` API), not the charts behind it.

mod allow_list;
mod base;
pub(super) mod components;
mod images;
mod merge;
mod mesh;
mod mesh_fields;
mod mesh_oneofs;
mod mesh_values;
mod platform;
mod provider;
mod values;

pub(crate) use crate::kubernetes::quantity::thousandths;

use gotemplate::yaml;
use serde_json::{Value, json};

#[cfg(test)]
pub(super) use self::allow_list::{is_closed_to_authors, samples as allowed_samples};
pub use self::images::{Error as ImagesError, Images};
pub(super) use self::mesh::istio_namespace_selector;
#[cfg(test)]
pub(super) use self::mesh_oneofs::check as check_mesh_oneofs;
pub use self::provider::uses_proxy_protocol;
pub use self::values::{CheckedValues, ValueRules, check_administrator_values, check_values};
pub use super::cluster::{ClusterFacts, Error as FactsError, Features, LoadBalancer, Provider, Size};

use super::AdministratorValues;
use crate::validate::{FeatureStage, ValidatedSpec};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded base configuration is not valid YAML.
    #[error("failed to read the built-in configuration")]
    Base(#[source] yaml::Error),
    /// An affinity has no JSON form.
    #[error("failed to serialize the affinity of the CNI pods")]
    Affinity(#[source] serde_json::Error),
    /// Ambient mode without an image for it. The operator does not guess one: images for FIPS have names of their own.
    #[error(
        "spec.experimental.enableAmbient requires an image of ztunnel. Set the environment variable ztunnel-fips of the operator"
    )]
    NoZtunnel,
}

/// The values of the base configuration, whose names are known without any chart.
pub(super) fn base_values() -> Result<Value, Error> {
    let mut document = base::document(Size::Production).map_err(Error::Base)?;
    Ok(document.pointer_mut("/spec/values").map(Value::take).unwrap_or_default())
}

/// Builds the `IstioOperator` document for a resource on a cluster.
///
/// Later steps win over earlier ones: base, provider, platform, values of the administrator, values of the resource, its other
/// fields, experimental options, images.
pub fn build_configuration(
    spec: &ValidatedSpec,
    facts: &ClusterFacts,
    images: &Images,
    administrator_values: &AdministratorValues,
) -> Result<Value, Error> {
    let mut document = base::document(facts.size).map_err(Error::Base)?;
    provider::merge(&mut document, facts.provider, is_dual_stack(spec, facts));
    platform::merge(&mut document, facts.platform, [&spec.values, administrator_values.as_map()]);
    values::merge_into(&mut document, administrator_values.as_map());
    values::merge_into(&mut document, &spec.values);
    mesh::merge(&mut document, &spec.mesh);
    mesh::include_istio_namespace(&mut document);
    components::merge(&mut document, spec, facts.features)?;
    if is_dual_stack(spec, facts) {
        dual_stack(&mut document);
    }
    if spec.experimental.enable_ambient == Some(true) {
        ambient(&mut document, images)?;
    }
    images.merge_into(&mut document);
    Ok(document)
}

/// Whether Istio gets addresses of both IP families: an experimental option, of clusters that have both.
fn is_dual_stack(spec: &ValidatedSpec, facts: &ClusterFacts) -> bool {
    spec.feature_stage == FeatureStage::Experimental && facts.dual_stack
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
fn ambient(document: &mut Value, images: &Images) -> Result<(), Error> {
    let image = images.ztunnel.as_ref().ok_or(Error::NoZtunnel)?;
    merge::merge(
        document,
        &json!({"spec": {
            "meshConfig": {"defaultConfig": {"proxyMetadata": {"ISTIO_META_ENABLE_HBONE": "true"}}},
            "components": {"ztunnel": {"enabled": true, "k8s": {"overlays": [module_label("ztunnel")]}}},
            "values": {
                "pilot": {"env": {"PILOT_ENABLE_AMBIENT": "true"}},
                "cni": {"ambient": {"enabled": true}},
                // Without it the chart composes an image from hub and tag, which need not exist under that name.
                "ztunnel": {"image": image},
            },
        }}),
    );
    Ok(())
}

/// Marks the pods of a DaemonSet as part of the module, as the base does with those it knows.
fn module_label(daemon_set: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "name": daemon_set,
        "patches": [{"path": r"spec.template.metadata.labels.kyma-project\.io/module", "value": "istio"}],
    })
}

#[cfg(test)]
mod fields_tests;
#[cfg(test)]
mod tests;
