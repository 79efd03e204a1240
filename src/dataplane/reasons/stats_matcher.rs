//! The proxy keeps other statistics. The cheap check compares the inclusion regular expressions only, which the resource
//! configures; the proof compares the whole matcher.

use serde_json::Value;

use super::json::is_equivalent;
use super::{Detail, ReasonSpec, RestartPolicy};
use crate::dataplane::discovery::mesh::inclusion_regexps;

/// Other statistics are kept.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| {
        let actual = inclusion_regexps(pod.live.config(KEY));
        (pod.has_mesh_config() && actual != pod.mesh.inclusion_regexps).then_some(Detail::Plain)
    },
    prove: |proof| {
        let (actual, expected): (Option<&Value>, _) = (proof.live.config(KEY), proof.wanted.config(KEY));
        (!is_equivalent(actual, expected)).then_some(Detail::Plain)
    },
    config_keys: &[KEY],
    ..ReasonSpec::stated("StatsMatcher", RestartPolicy::Restart, "statistics of the proxy", |_| {
        "proxy statistics differ from the configuration".to_owned()
    })
};

const KEY: &str = "proxyStatsMatcher";
