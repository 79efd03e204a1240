//! Parts of the proxy configuration differ that no other reason covers.

use super::json::differing_keys;
use super::{Detail, Proof, REASONS, ReasonSpec, RestartPolicy};

/// The proxy configuration differs.
pub const SPEC: ReasonSpec = ReasonSpec {
    prove: |proof| Detail::names(differing(proof)),
    variables: &[VARIABLE],
    ..ReasonSpec::stated("ProxyConfig", RestartPolicy::OptIn, "other proxy configuration", |detail| {
        detail.about("proxy configuration differs")
    })
};

/// Variable with the proxy configuration as JSON.
pub(super) const VARIABLE: &str = "PROXY_CONFIG";

fn differing(proof: &Proof<'_>) -> Vec<String> {
    let empty = serde_json::Map::new();
    let [actual, expected] = [&proof.live, &proof.wanted].map(|side| side.config.as_ref().unwrap_or(&empty));
    let mut keys = differing_keys(actual, expected);
    keys.retain(|key| !REASONS.iter().any(|spec| spec.config_keys.contains(&key.as_str())));
    keys
}
