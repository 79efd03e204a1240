//! Metrics of the settings of the active resource, under the names of the Go operator.
//!
//! All are gauges, also those whose names end like counters, as in the Go operator.

use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::json;

use super::MetricsRegistry;
use crate::api::IstioSpec;
use crate::api::v1alpha2::ForwardClientCertDetails;
use crate::lock::lock;

/// The values of `forwardClientCertDetails`, each a series.
const XFCC_SETTINGS: [ForwardClientCertDetails; 5] = [
    ForwardClientCertDetails::AppendForward,
    ForwardClientCertDetails::SanitizeSet,
    ForwardClientCertDetails::Sanitize,
    ForwardClientCertDetails::AlwaysForwardOnly,
    ForwardClientCertDetails::ForwardOnly,
];
/// The default trust domain.
const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// The current values. Cheap to clone; all clones share them.
#[derive(Clone, Debug, Default)]
pub struct ResourceMetrics {
    spec: Arc<Mutex<Option<IstioSpec>>>,
}

impl ResourceMetrics {
    /// Registers the metrics. All are 0 without an active resource.
    #[must_use]
    pub fn register(metrics: &MetricsRegistry) -> Self {
        let gauges = Self::default();
        metrics.with_registry(|registry| registry.register_collector(Box::new(gauges.clone())));
        gauges
    }

    /// Sets the values for the spec of the active resource.
    pub fn set(&self, spec: &IstioSpec) {
        *lock(&self.spec) = Some(spec.clone());
    }

    /// Sets the values for no active resource.
    pub fn reset(&self) {
        *lock(&self.spec) = None;
    }

    fn spec(&self) -> Option<IstioSpec> {
        lock(&self.spec).clone()
    }
}

impl Collector for ResourceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let current_spec = self.spec();
        for (name, help, value) in unlabeled_gauges(current_spec.as_ref().unwrap_or(&IstioSpec::default())) {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        let Some(spec) = current_spec else { return Ok(()) };
        let (name, help) = ("istio_forward_client_cert_details_setting", "The value that is set, as a label");
        let mut gauges = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let set = spec.config.and_then(|config| config.forward_client_cert_details);
        for value in XFCC_SETTINGS {
            let label = json!(value);
            let labels = [("xfcc_setting", label.as_str().unwrap_or_default())];
            ConstGauge::new(i64::from(set == Some(value))).encode(gauges.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Name, help and value of the metrics without labels.
fn unlabeled_gauges(spec: &IstioSpec) -> [(&'static str, &'static str, i64); 10] {
    let config = spec.config.clone().unwrap_or_default();
    let authorizers = config.authorizers.unwrap_or_default();
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let flag = i64::from;
    let merge = config.telemetry.and_then(|telemetry| telemetry.metrics?.prometheus_merge);
    let own_domain = config.trust_domain.is_some_and(|name| !name.is_empty() && name != DEFAULT_TRUST_DOMAIN);
    let egress = spec.components.as_ref().and_then(|components| components.egress_gateway.as_ref()?.enabled);
    [
        ("istio_ext_auth_providers_total", "Authorizers", count(authorizers.len())),
        (
            "istio_ext_auth_timeout_configured_number_total",
            "Authorizers with a timeout",
            count(authorizers.iter().filter(|authorizer| authorizer.timeout.is_some()).count()),
        ),
        (
            "istio_ext_auth_path_prefix_configured_number_total",
            "Authorizers with a path prefix",
            count(authorizers.iter().filter(|authorizer| authorizer.path_prefix.is_some()).count()),
        ),
        (
            "istio_num_trusted_proxies_configured",
            "Whether trusted proxies are set",
            flag(config.num_trusted_proxies.is_some_and(|number| number != 0)),
        ),
        ("istio_prometheus_merge_enabled", "Whether metrics are merged", flag(merge == Some(true))),
        (
            "istio_compatibility_mode_enabled",
            "Whether compatibility mode is on",
            flag(spec.compatibility_mode == Some(true)),
        ),
        ("istio_trust_domain_configured", "Whether the mesh has its own trust domain", flag(own_domain)),
        (
            "istio_network_policies_enabled",
            "Whether network policies are on",
            flag(spec.network_policies_enabled == Some(true)),
        ),
        ("istio_egress_gateway_used", "Whether the egress gateway is on", flag(egress == Some(true))),
        (
            "istio_dnsproxy_used",
            "Whether sidecars answer DNS queries",
            flag(config.enable_dns_proxying == Some(true)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &MetricsRegistry) -> Vec<String> {
        let text = metrics.text().unwrap();
        text.lines().filter(|line| line.starts_with("istio_")).map(str::to_owned).collect()
    }

    #[test]
    fn the_metrics_follow_the_active_resource() {
        let metrics = MetricsRegistry::default();
        let gauges = ResourceMetrics::register(&metrics);
        let before = lines(&metrics);
        assert_eq!(before.len(), 10);
        assert!(before.iter().all(|line| line.ends_with(" 0")), "{before:?}");

        let spec = json!({
            "config": {
                "authorizers": [{"name": "a", "port": 1, "timeout": "1s", "pathPrefix": ""}, {"name": "b", "port": 1}],
                "numTrustedProxies": 1, "trustDomain": "a.b", "enableDNSProxying": true,
                "forwardClientCertDetails": "SANITIZE", "telemetry": {"metrics": {"prometheusMerge": true}},
            },
            "components": {"egressGateway": {"enabled": true}},
            "compatibilityMode": true, "networkPoliciesEnabled": true,
        });
        gauges.set(&serde_json::from_value(spec).unwrap());
        let mut changed = lines(&metrics);
        changed.sort();
        let expected = [
            "istio_compatibility_mode_enabled 1",
            "istio_dnsproxy_used 1",
            "istio_egress_gateway_used 1",
            "istio_ext_auth_path_prefix_configured_number_total 1",
            "istio_ext_auth_providers_total 2",
            "istio_ext_auth_timeout_configured_number_total 1",
            "istio_forward_client_cert_details_setting{xfcc_setting=\"ALWAYS_FORWARD_ONLY\"} 0",
            "istio_forward_client_cert_details_setting{xfcc_setting=\"APPEND_FORWARD\"} 0",
            "istio_forward_client_cert_details_setting{xfcc_setting=\"FORWARD_ONLY\"} 0",
            "istio_forward_client_cert_details_setting{xfcc_setting=\"SANITIZE\"} 1",
            "istio_forward_client_cert_details_setting{xfcc_setting=\"SANITIZE_SET\"} 0",
            "istio_network_policies_enabled 1",
            "istio_num_trusted_proxies_configured 1",
            "istio_prometheus_merge_enabled 1",
            "istio_trust_domain_configured 1",
        ];
        assert_eq!(changed, expected);

        gauges.reset();
        assert_eq!(lines(&metrics), before);
    }

    #[test]
    fn explicit_defaults_are_not_counted() {
        let spec = json!({
            "config": {"numTrustedProxies": 0, "trustDomain": "cluster.local", "enableDNSProxying": false},
            "components": {"egressGateway": {"enabled": false}},
        });
        let values = unlabeled_gauges(&serde_json::from_value(spec).unwrap());
        assert!(values.iter().all(|(_, _, value)| *value == 0), "{values:?}");
    }
}
