//! A checked spec, and the checks of everything except the authorizers.
//!
//! Pure. Sets no defaults: these belong to the configuration that is built from the spec.

use serde_json::{Map, Value};

use super::authorizers::{self, ValidatedAuthorizer};
use super::restarter::{self, ValidatedRestarter};
use super::{FeatureStage, Problem, Problems, regular_expression};
use crate::api::IstioSpec;
use crate::api::v1alpha2::{
    Components, Config, Experimental, ForwardClientCertDetails, ObjectPatch, TrafficPolicy,
};
use crate::names::is_host_name;

/// A spec that can be followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidatedSpec {
    /// Under which rules the spec was checked.
    pub feature_stage: FeatureStage,
    /// Options of the whole mesh.
    pub mesh: MeshOptions,
    /// `externalTrafficPolicy` of the ingress gateway's Service.
    pub gateway_external_traffic_policy: Option<TrafficPolicy>,
    /// Settings of the components, as written: the schema has checked them.
    pub components: Components,
    /// Experimental options; empty unless the operator allows them.
    pub experimental: Experimental,
    /// Whether to behave like the previous minor version of Istio.
    pub compatibility_mode: bool,
    /// Whether to create NetworkPolicies.
    pub network_policies_enabled: bool,
    /// Values of Istio's charts, as written: `plan` checks them.
    pub values: Map<String, Value>,
    /// Patches of rendered objects, as written: `plan` checks them.
    pub patches: Vec<ObjectPatch>,
    /// How workloads with outdated sidecars are restarted.
    pub restarter: ValidatedRestarter,
}

/// Options of the whole mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshOptions {
    /// Number of trusted proxies in front of the gateways.
    pub num_trusted_proxies: Option<i64>,
    /// How gateways treat the client certificate header.
    pub forward_client_cert_details: Option<ForwardClientCertDetails>,
    /// External authorizers, names unique.
    pub authorizers: Vec<ValidatedAuthorizer>,
    /// Whether sidecars serve the metrics of their workload.
    pub prometheus_merge: bool,
    /// Trust domain, if not the default.
    pub trust_domain: Option<String>,
    /// Whether sidecars answer DNS queries, if set.
    pub dns_proxying: Option<bool>,
    /// Regular expressions of further statistics.
    pub stats_inclusion_regexps: Vec<String>,
}

/// Reads a spec and adds what is wrong with it to `problems`. The result is only meaningful without problems.
pub(super) fn check(spec: &IstioSpec, feature_stage: FeatureStage, problems: &mut Problems) -> ValidatedSpec {
    check_experimental(spec, feature_stage, problems);
    let config = spec.config.clone().unwrap_or_default();
    ValidatedSpec {
        feature_stage,
        gateway_external_traffic_policy: config.gateway_external_traffic_policy,
        mesh: check_mesh(config, problems),
        components: spec.components.clone().unwrap_or_default(),
        experimental: spec.experimental.clone().unwrap_or_default(),
        compatibility_mode: spec.compatibility_mode.unwrap_or(false),
        network_policies_enabled: spec.network_policies_enabled.unwrap_or(false),
        values: spec.values.clone().unwrap_or_default(),
        patches: spec.patches.clone().unwrap_or_default(),
        restarter: restarter::check(spec.restarter.as_ref(), problems),
    }
}

fn check_experimental(spec: &IstioSpec, feature_stage: FeatureStage, problems: &mut Problems) {
    if spec.experimental.is_some() && feature_stage == FeatureStage::Stable {
        problems.push(Problem::error(
            "spec.experimental",
            "experimental options are not allowed. Remove the field, or start the operator with --allow-experimental",
        ));
    }
}

fn check_mesh(config: Config, problems: &mut Problems) -> MeshOptions {
    check_trust_domain(config.trust_domain.as_deref(), problems);
    let stats_inclusion_regexps =
        config.proxy_stats_matcher.and_then(|matcher| matcher.inclusion_regexps).unwrap_or_default();
    check_regular_expressions(&stats_inclusion_regexps, problems);
    MeshOptions {
        num_trusted_proxies: config.num_trusted_proxies,
        forward_client_cert_details: config.forward_client_cert_details,
        authorizers: authorizers::check(config.authorizers.unwrap_or_default(), problems),
        prometheus_merge: config
            .telemetry
            .and_then(|telemetry| telemetry.metrics)
            .and_then(|metrics| metrics.prometheus_merge)
            .unwrap_or(false),
        trust_domain: config.trust_domain,
        dns_proxying: config.enable_dns_proxying,
        stats_inclusion_regexps,
    }
}

/// Istio refuses a trust domain whose labels are not DNS labels (`ValidateTrustDomain`), but only once it is installed.
/// The schema is wider, for the sake of resources that exist.
fn check_trust_domain(trust_domain: Option<&str>, problems: &mut Problems) {
    let Some(trust_domain) = trust_domain else { return };
    let name = trust_domain.strip_suffix('.').unwrap_or(trust_domain);
    if !is_host_name(name) {
        problems.push(Problem::warning(
            "spec.config.trustDomain",
            format!(
                "{trust_domain:?} is not a DNS name. Write labels of letters, digits, and inner hyphens, at most 63 \
                 characters each, separated by dots, for example \"example.com\""
            ),
        ));
    }
}

fn check_regular_expressions(expressions: &[String], problems: &mut Problems) {
    for (index, expression) in expressions.iter().enumerate() {
        if let Err(error) = regular_expression::check(expression) {
            problems.push(Problem::error(
                format!("spec.config.proxyStatsMatcher.inclusionRegexps[{index}]"),
                format!("{expression:?} is not a regular expression in RE2 syntax: {error}. Correct it"),
            ));
        }
    }
}
