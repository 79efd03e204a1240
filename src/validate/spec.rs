//! A checked spec, and the checks of everything but the authorizers.
//! Fills in nothing: defaults belong to the configuration that is planned from it.

use serde_json::{Map, Value};

use super::authorizers::{self, ValidatedAuthorizer};
use super::restarter::{self, ValidatedRestarter};
use super::{FeatureStage, Problem, regular_expression};
use crate::api::IstioSpec;
use crate::api::v1alpha2::{
    Components, Config, Experimental, ForwardClientCertDetails, ObjectPatch, TrafficPolicy,
};

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
    /// Experimental options; empty in the regular flavour.
    pub experimental: Experimental,
    /// Whether to behave like the previous minor version of Istio.
    pub compatibility_mode: bool,
    /// Whether to create NetworkPolicies.
    pub network_policies_enabled: bool,
    /// Values of Istio's charts, as written: only the charts can tell whether they are known.
    pub values: Map<String, Value>,
    /// Patches of rendered objects, as written: only the rendered objects can tell whether they fit.
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
    /// Whether sidecars answer DNS queries, if said.
    pub dns_proxying: Option<bool>,
    /// Regular expressions of further statistics.
    pub stats_inclusion_regexps: Vec<String>,
}

/// Reads a spec and adds what is wrong with it to `problems`. The result is only meaningful without problems.
pub(super) fn check(
    spec: &IstioSpec,
    feature_stage: FeatureStage,
    problems: &mut Vec<Problem>,
) -> ValidatedSpec {
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

fn check_experimental(spec: &IstioSpec, feature_stage: FeatureStage, problems: &mut Vec<Problem>) {
    if spec.experimental.is_some() && feature_stage == FeatureStage::Stable {
        problems.push(Problem::error(
            "spec.experimental",
            "experimental options are not allowed: remove the field, or start the operator with --allow-experimental",
        ));
    }
}

fn check_mesh(config: Config, problems: &mut Vec<Problem>) -> MeshOptions {
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
fn check_trust_domain(trust_domain: Option<&str>, problems: &mut Vec<Problem>) {
    let Some(trust_domain) = trust_domain else { return };
    let name = trust_domain.strip_suffix('.').unwrap_or(trust_domain);
    if !is_dns_name(name) {
        problems.push(Problem::warning(
            "spec.config.trustDomain",
            format!(
                "{trust_domain:?} is not a DNS name; write labels of letters, digits and inner dashes, at most 63 \
                 characters each, joined by dots, for example \"example.com\""
            ),
        ));
    }
}

fn check_regular_expressions(expressions: &[String], problems: &mut Vec<Problem>) {
    for (index, expression) in expressions.iter().enumerate() {
        if let Err(error) = regular_expression::check(expression) {
            problems.push(Problem::error(
                format!("spec.config.proxyStatsMatcher.inclusionRegexps[{index}]"),
                format!("{expression:?} is not a regular expression of the RE2 syntax: {error}"),
            ));
        }
    }
}

/// Whether every label of a name is a DNS label, as Istio takes it.
pub(super) fn is_dns_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name.split('.').all(is_dns_label)
}

/// Whether a text is a DNS label, in any case: Istio does not mind.
pub(super) fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
