//! Variables of the proxy container differ that no other reason covers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::json::is_equivalent;
use super::{Detail, Proof, REASONS, ReasonSpec, RestartPolicy, trust_domain};
use crate::dataplane::model::{EnvVar, RawJson};

/// Variables of the proxy container differ.
pub const SPEC: ReasonSpec = ReasonSpec {
    prove: |proof| Detail::names(differing(proof)),
    variables: &WORKLOAD_VARIABLES,
    ..ReasonSpec::stated(
        "Environment",
        RestartPolicy::OptIn,
        "other environment variables of the proxy",
        |detail| detail.about("proxy environment differs"),
    )
};

/// Variables that describe the workload, which the mesh does not control.
const WORKLOAD_VARIABLES: [&str; 5] = [
    "ISTIO_META_POD_PORTS",
    "ISTIO_META_APP_CONTAINERS",
    "ISTIO_META_WORKLOAD_NAME",
    "ISTIO_META_OWNER",
    "ISTIO_KUBE_APP_PROBERS",
];
/// Follows the trust domain unless it is configured.
const MESH_ID: &str = "ISTIO_META_MESH_ID";

fn differing(proof: &Proof<'_>) -> Vec<String> {
    let (live, wanted) = (&proof.live, &proof.wanted);
    let domain_differs =
        live.proxy.variable(trust_domain::VARIABLE) != wanted.proxy.variable(trust_domain::VARIABLE);
    let is_covered = |name: &str| {
        REASONS.iter().any(|spec| spec.variables.contains(&name))
            // Repeats `proxyMetadata`.
            || live.metadata.contains_key(name)
            || wanted.metadata.contains_key(name)
            || (name == MESH_ID && domain_differs)
    };
    let names = differing_variables(&live.proxy.env, &wanted.proxy.env);
    names.into_iter().filter(|name| !is_covered(name)).map(str::to_owned).collect()
}

fn differing_variables<'c>(left: &'c [EnvVar], right: &'c [EnvVar]) -> Vec<&'c str> {
    let by_name = |variables: &'c [EnvVar]| -> BTreeMap<&'c str, &'c EnvVar> {
        variables.iter().map(|variable| (variable.name.as_str(), variable)).collect()
    };
    let (left, right) = (by_name(left), by_name(right));
    let names: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    let same = |name: &&str| match (left.get(*name), right.get(*name)) {
        (Some(left), Some(right)) => is_equivalent_variable(left, right),
        _ => false,
    };
    names.into_iter().filter(|name| !same(name)).collect()
}

fn is_equivalent_variable(left: &EnvVar, right: &EnvVar) -> bool {
    let literal_value = |variable: &EnvVar| variable.value.clone().unwrap_or_default();
    let reference = |variable: &EnvVar| variable.value_from.as_ref().map(without_defaults);
    literal_value(left) == literal_value(right)
        && (left.value_from == right.value_from
            || is_equivalent(reference(left).as_ref(), reference(right).as_ref()))
}

/// A reference without the fields that the API server sets by default.
fn without_defaults(reference: &RawJson) -> Value {
    let mut reference = reference.value();
    for (kind, default) in [("fieldRef", "apiVersion"), ("resourceFieldRef", "divisor")] {
        if let Some(fields) = reference.get_mut(kind).and_then(Value::as_object_mut) {
            fields.remove(default);
        }
    }
    reference
}
