//! Makes the API server create the storage of new kinds before istiod requests them.
//!
//! An API server creates it at the first request for a kind, one kind after the other. A watch that is this first request finds
//! an empty cache and is rejected for a second, and istiod is ready only once all its watches are open. Requested in advance, the
//! storage is created while istiod starts.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

/// Longest delay of istiod. It would wait for the same storage; an API server that takes longer has another problem.
const WARMUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The API server creates one storage at a time, so that more requests do not help.
const WARMUP_CONCURRENCY: usize = 3;
/// A kind that the operator itself watches as soon as it is served.
const WATCHED_KIND: &str = "EnvoyFilter";

/// The kind to request once the CRD is established, in its first version, which is the newest.
#[must_use]
pub fn warmup_resource(crd: &Value) -> Option<ApiResource> {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str);
    let (version, kind) = (text("/spec/versions/0/name")?, text("/spec/names/kind")?);
    if kind == WATCHED_KIND {
        return None;
    }
    let kind = GroupVersionKind::gvk(text("/spec/group")?, version, kind);
    Some(ApiResource::from_gvk_with_plural(&kind, text("/spec/names/plural")?))
}

/// Sends the first request for each of these kinds. A failure only delays istiod by a second.
pub async fn warm_up(client: &Client, kinds: Vec<ApiResource>) {
    let first_requests = stream::iter(kinds)
        .for_each_concurrent(WARMUP_CONCURRENCY, |kind| async move { first_request(client, &kind).await });
    if tokio::time::timeout(WARMUP_TIMEOUT, first_requests).await.is_err() {
        tracing::debug!(after = ?WARMUP_TIMEOUT, "timed out waiting for the storage of new kinds");
    }
}

async fn first_request(client: &Client, kind: &ApiResource) {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), kind);
    if let Err(error) = api.list_metadata(&ListParams::default().limit(1)).await {
        tracing::debug!(%error, kind = kind.kind, "failed to warm up the storage of a new kind");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_is_warmed_up_unless_the_operator_watches_it() {
        let crd = |kind: &str, plural: &str| {
            json!({"spec": {
                "group": "networking.istio.io",
                "names": {"kind": kind, "plural": plural},
                "versions": [{"name": "v1"}, {"name": "v1beta1"}],
            }})
        };
        let expected = GroupVersionKind::gvk("networking.istio.io", "v1", "ProxyConfig");
        assert_eq!(
            warmup_resource(&crd("ProxyConfig", "proxyconfigs")),
            Some(ApiResource::from_gvk_with_plural(&expected, "proxyconfigs"))
        );
        assert_eq!(warmup_resource(&crd("EnvoyFilter", "envoyfilters")), None);
        assert_eq!(warmup_resource(&json!({})), None);
    }
}
