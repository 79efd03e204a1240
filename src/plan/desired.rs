//! From a validated resource and what is known of the cluster to the plan: the one way, for the reconcile and for the
//! commands that only look.

use istio_charts::Bundle;

use super::configuration::{self, ClusterFacts, Images};
use super::{Error, Plan, plan};
use crate::validate::ValidatedSpec;

/// What a plan depends on besides the resource.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Charts of the version to install.
    pub bundle: &'a Bundle,
    /// Size, provider and settings of the cluster.
    pub facts: &'a ClusterFacts,
    /// Images of that version.
    pub images: &'a Images,
    /// Version of the API server, such as `v1.36.3`.
    pub kubernetes_version: &'a str,
}

/// The objects that should exist.
pub fn desired(spec: &ValidatedSpec, basis: Basis<'_>) -> Result<Plan, Error> {
    let document = configuration::configuration(spec, basis.facts, basis.images)?;
    plan(basis.bundle, &document, basis.kubernetes_version)
}
