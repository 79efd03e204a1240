//! What kwok is told beyond its own stages.

use serde_json::json;

/// The configuration file of kwok, as one JSON document.
pub(crate) fn configuration() -> String {
    // kwok refuses to start with the parallelism that its own command line defaults to, which is none.
    json!({
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {
            "podPlayStageParallelism": 8,
            "nodePlayStageParallelism": 4,
            "nodeLeaseParallelism": 4,
        },
    })
    .to_string()
}
