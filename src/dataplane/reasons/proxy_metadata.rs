//! The proxy has other variables from `proxyMetadata`, such as those of the compatibility mode.

use std::collections::{BTreeMap, BTreeSet};

use super::{Detail, ReasonSpec, RestartPolicy, dns_capture};

/// Variables from `proxyMetadata` differ.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| {
        if pod.has_mesh_config() { difference(&pod.live.metadata, &pod.mesh.proxy_metadata) } else { None }
    },
    prove: |proof| difference(&proof.live.metadata, &proof.wanted.metadata),
    config_keys: &["proxyMetadata"],
    ..ReasonSpec::stated(
        "ProxyMetadata",
        RestartPolicy::Restart,
        "other variables of `proxyMetadata`, such as those of the compatibility mode",
        |detail| detail.about("proxyMetadata differs"),
    )
};

fn difference(actual: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) -> Option<Detail> {
    if actual == expected {
        return None;
    }
    let names: BTreeSet<&String> = actual.keys().chain(expected.keys()).collect();
    let differs = |name: &&String| {
        !dns_capture::VARIABLES.contains(&name.as_str()) && actual.get(*name) != expected.get(*name)
    };
    Detail::names(names.into_iter().filter(differs).cloned().collect())
}
