//! Which Istio was installed last: by the word of the `Istio` resource, or, where `istioctl` or Helm installed it or the
//! resource lost its annotation, by that of istiod.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use thiserror::Error;

use crate::api::names::ISTIO_NAMESPACE;
use crate::api::{Istio, last_applied};
use crate::validate::version::release;

const ISTIOD: &str = "istiod";
const CONTAINER: &str = "discovery";

/// istiod could not be read.
#[derive(Debug, Error)]
#[error("cannot read Deployment {ISTIO_NAMESPACE}/{ISTIOD}")]
pub struct Error(#[source] Box<kube::Error>);

/// Version or image tag of the Istio that was complete last, if any.
pub async fn version(client: &Client, resource: Option<&Istio>) -> Result<Option<String>, Error> {
    let told = resource.and_then(last_applied::read).and_then(|applied| applied.istio_tag);
    match told.filter(|tag| release(tag).is_some()) {
        Some(tag) => Ok(Some(tag)),
        None => istiod_tag(client).await,
    }
}

/// The image tag of the istiod that serves the default revision; `None` without one that is available.
///
/// An istiod that never became available was never in use, so nothing speaks against another version.
async fn istiod_tag(client: &Client) -> Result<Option<String>, Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    let istiod = api.get_opt(ISTIOD).await.map_err(|source| Error(Box::new(source)))?;
    Ok(istiod.as_ref().and_then(tag))
}

fn tag(istiod: &Deployment) -> Option<String> {
    istiod.status.as_ref()?.available_replicas.filter(|available| *available > 0)?;
    let containers = &istiod.spec.as_ref()?.template.spec.as_ref()?.containers;
    let image = containers.iter().find(|container| container.name == CONTAINER)?.image.as_deref()?;
    let name = image.rsplit('/').next()?.split('@').next()?;
    name.split_once(':').map(|(_, tag)| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_that_of_an_istiod_which_is_available() {
        for (image, available, expected) in [
            ("docker.io/istio/pilot:1.30.3-distroless", 1, Some("1.30.3-distroless")),
            ("registry:5000/istio/pilot:1.30.3@sha256:0123", 2, Some("1.30.3")),
            ("registry:5000/istio/pilot@sha256:0123", 1, None),
            ("docker.io/istio/pilot:1.30.3", 0, None),
        ] {
            let istiod: Deployment = serde_json::from_value(json!({
                "spec": {"selector": {}, "template": {"spec": {"containers": [
                    {"name": "other", "image": "x:1"}, {"name": "discovery", "image": image}]}}},
                "status": {"availableReplicas": available},
            }))
            .unwrap();
            assert_eq!(tag(&istiod).as_deref(), expected, "{image} {available}");
        }
    }
}
