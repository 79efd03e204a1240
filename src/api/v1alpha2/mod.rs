//! Version `v1alpha2` of the `Istio` resource.
//! Plain data: every field is optional as in the schema, and nothing is checked here. Decoding is tolerant on purpose:
//! a value that only the validation can judge (a duration, a port) is kept as written, because one object that does
//! not decode would stall the watch of all of them.

mod components;
mod config;
mod experimental;
mod overrides;
mod restarter;
mod schema;
mod status;

pub use self::components::{
    Cni, CniK8s, Components, DeploymentK8s, EgressGateway, HorizontalScaling, IngressGateway, IntOrString,
    Pilot, Proxy, ProxyK8s, ResourceAmounts, Resources, RollingUpdate, Strategy,
};
pub use self::config::{
    Authorizer, AuthorizerHeaders, Config, ForwardClientCertDetails, HeadersInCheck, HeadersToDownstream,
    HeadersToUpstream, Metrics, ProxyStatsMatcher, Telemetry, TrafficPolicy,
};
pub use self::experimental::{Experimental, ExperimentalPilot};
pub use self::overrides::{JsonOperation, ObjectPatch};
pub use self::restarter::{
    BlockedWorkload, DataPlaneStatus, MAX_FAILURES, MAX_ROLLOUT_SECONDS, MAX_ROLLOUTS, MAX_SHARE_PERCENT,
    RESTART_REASONS, Restarter,
};
pub use self::status::IstioStatus;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::bounds::{self, Excess};

/// The installation of Istio in this cluster. One resource, in the namespace of the operator, describes all of it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "operator.kyma-project.io",
    version = "v1alpha2",
    kind = "Istio",
    plural = "istios",
    singular = "istio",
    namespaced,
    status = "IstioStatus",
    category = "kyma-modules",
    category = "kyma-istio",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "Default",
    derive = "PartialEq",
    // The derive takes no serde attribute directly. This one lets a resource without a `spec` decode.
    attr = "cfg_attr(all(), serde(default))"
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct IstioSpec {
    /// Options of the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// Settings of Istio's components.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Components>,
    /// Experimental options, without a guarantee of stability. Rejected unless the operator runs with --allow-experimental.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experimental: Option<Experimental>,
    /// Whether to keep the behavior of the previous minor version of Istio where Istio has a setting for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_mode: Option<bool>,
    /// Whether to create NetworkPolicies that allow the traffic of the Istio components.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policies_enabled: Option<bool>,
    /// Values of the Istio charts, for settings without a field above. They override the configuration of the operator, and the
    /// fields above override them. Names that the charts do not know are rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_map")]
    pub values: Option<Map<String, Value>>,
    /// Patches of rendered objects, for settings without a value. Rejected unless the operator runs with --allow-patches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patches: Option<Vec<ObjectPatch>>,
    /// How workloads with outdated sidecars are restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarter: Option<Restarter>,
    /// Fields that are larger than they may be and were left out above. A spec with one of them is rejected.
    #[serde(skip)]
    #[schemars(skip)]
    pub excess: Vec<Excess>,
}

/// Field by field: each is measured as text before a value is made of it. A field that is too large is left out and
/// noted, because a resource that does not decode would stall the watch of all of them.
///
/// By way of JSON values, whatever the resource is read from: the code that reads all of these types is in the program
/// once then, and not once for each source. The derived code, for JSON, is `IstioSpec::deserialize`, which goes before
/// this.
impl<'de> Deserialize<'de> for IstioSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bounded = Map::new();
        let mut excess = Vec::new();
        for (field, json) in BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)? {
            match bounds::bounds_of(&field).exceeded_by(json.get()) {
                Some(bound) => excess.push(Excess { field, bound }),
                None => {
                    drop(bounded.insert(field, serde_json::from_str(json.get()).map_err(D::Error::custom)?));
                }
            }
        }
        let spec = Self::deserialize(Value::Object(bounded)).map_err(D::Error::custom)?;
        Ok(Self { excess, ..spec })
    }
}

impl Serialize for IstioSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decode(resource: serde_json::Value) -> Istio {
        serde_json::from_value(resource).unwrap()
    }

    #[test]
    fn a_resource_without_a_spec_uses_the_defaults() {
        let istio = decode(json!({
            "apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio", "metadata": {"name": "default"},
        }));
        assert_eq!(istio.spec, IstioSpec::default());
        assert_eq!(istio.metadata.name.as_deref(), Some("default"));
    }

    #[test]
    fn values_checked_by_validation_decode_unchanged() {
        let istio = decode(json!({
            "apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio", "metadata": {},
            "spec": {
                "config": {
                    "numTrustedProxies": 4_294_967_295_u32,
                    "authorizers": [{"name": "a", "port": -7_000_000_000_i64, "timeout": "soon"}],
                },
                "components": {"pilot": {"k8s": {"strategy": {"rollingUpdate": {"maxSurge": 99_999_999_999_i64}}}}},
            },
        }));
        let authorizer = &istio.spec.config.unwrap().authorizers.unwrap()[0];
        assert_eq!((authorizer.port, authorizer.timeout.as_deref()), (-7_000_000_000, Some("soon")));
    }

    #[test]
    fn a_field_that_is_too_large_is_dropped_and_recorded() {
        use super::bounds::{Bound, FREE_FORM_BOUNDS, TYPED_BOUNDS};
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let many = format!("[0{}]", ",0".repeat(FREE_FORM_BOUNDS.entries));
        let long = "x".repeat(TYPED_BOUNDS.bytes);
        for (field, json, bound) in [
            ("values", nested(FREE_FORM_BOUNDS.depth), None),
            ("values", nested(FREE_FORM_BOUNDS.depth + 1), Some(Bound::Depth(FREE_FORM_BOUNDS.depth))),
            // Deeper than a recursive parser can follow.
            ("values", nested(100_000), Some(Bound::Bytes(FREE_FORM_BOUNDS.bytes))),
            ("values", nested(10_000), Some(Bound::Depth(FREE_FORM_BOUNDS.depth))),
            ("values", format!(r#"{{"a":{many}}}"#), Some(Bound::Entries(FREE_FORM_BOUNDS.entries))),
            ("patches", many.clone(), Some(Bound::Entries(FREE_FORM_BOUNDS.entries))),
            ("config", format!(r#"{{"trustDomain":"{long}"}}"#), Some(Bound::Bytes(TYPED_BOUNDS.bytes))),
        ] {
            let text = format!(r#"{{"restarter": {{"enabled": false}}, "{field}": {json}}}"#);
            let spec: IstioSpec = serde_json::from_str(&text).unwrap();
            assert_eq!(spec.restarter.and_then(|restarter| restarter.enabled), Some(false), "{field}");
            let expected = bound.map(|bound| Excess { field: field.to_owned(), bound });
            assert_eq!(spec.excess.into_iter().next(), expected, "{field}");
            assert!(bound.is_none() || spec.values.is_none());
        }
    }

    #[test]
    fn names_are_spelled_as_in_the_go_operator() {
        let spec = json!({
            "config": {"enableDNSProxying": true, "numTrustedProxies": 1},
            "components": {"proxy": {"k8s": {"resources": {"limits": {"cpu": "1"}}}}},
            "experimental": {
                "pilot": {"enableAlphaGatewayAPI": true, "enableMultiNetworkDiscoverGatewayAPI": false},
                "enableAmbient": true,
            },
            "compatibilityMode": true,
            "networkPoliciesEnabled": false,
            "values": {"pilot": {"traceSampling": 5}},
            "patches": [
                {"kind": "Deployment", "name": "istiod", "strategicMerge": {"spec": {"minReadySeconds": 5}}},
                {"kind": "Service", "name": "istiod", "json": [{"op": "remove", "path": "/spec/ports/0"}]},
            ],
        });
        let decoded: IstioSpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(decoded).unwrap(), spec);
    }
}
