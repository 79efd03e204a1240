//! DNS capture is on and should be off, or the reverse.

use std::collections::BTreeMap;

use super::{Detail, ReasonSpec, RestartPolicy};

/// DNS capture is not as configured.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| {
        let differs = pod.has_mesh_config() && differs(&pod.live.metadata, &pod.mesh.proxy_metadata);
        differs.then_some(Detail::Plain)
    },
    prove: |proof| differs(&proof.live.metadata, &proof.wanted.metadata).then_some(Detail::Plain),
    ..ReasonSpec::stated("DnsCapture", RestartPolicy::Restart, "DNS capture", |_| {
        "DNS capture differs from the configuration".to_owned()
    })
};

/// Variables in `proxyMetadata` that control DNS capture.
pub(super) const VARIABLES: [&str; 2] = ["ISTIO_META_DNS_CAPTURE", "ISTIO_META_DNS_AUTO_ALLOCATE"];

fn differs(actual: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) -> bool {
    VARIABLES.iter().any(|name| actual.get(*name) != expected.get(*name))
}
