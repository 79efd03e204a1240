//! Which Istio was installed last: by the word of the `Istio` resource, or, where `istioctl` or Helm installed it or the
//! resource lost its annotation, by that of istiod.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use thiserror::Error;

use crate::api::names::ISTIO_NAMESPACE;
use crate::api::{Istio, last_applied};
use crate::validate::version::release;

const ISTIOD: &str = "istiod";
const CONTAINER: &str = "discovery";

/// istiod or its namespace could not be read.
#[derive(Debug, Error)]
#[error("cannot read {object}")]
pub struct Error {
    object: String,
    source: Box<kube::Error>,
}

/// What there is of an Istio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not even its namespace.
    NoNamespace,
    /// Version or image tag of the one that was complete last, if any.
    Version(Option<String>),
}

impl Found {
    /// Version or image tag of the Istio that was complete last, if any.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::NoNamespace => None,
            Self::Version(version) => version.as_deref(),
        }
    }
}

/// Version or image tag of the Istio that was complete last, if any.
pub async fn version(client: &Client, resource: Option<&Istio>) -> Result<Option<String>, Error> {
    match resource.and_then(told) {
        Some(tag) => Ok(Some(tag)),
        None => istiod_tag(client).await,
    }
}

/// Looks for what there is of an Istio. Without a namespace for it, that is known by one request, which also tells that
/// nothing is in it.
pub async fn look(client: &Client, resource: &Istio) -> Result<Found, Error> {
    match told(resource) {
        Some(tag) => Ok(Found::Version(Some(tag))),
        None if !has_namespace(client).await? => Ok(Found::NoNamespace),
        None => istiod_tag(client).await.map(Found::Version),
    }
}

/// The version by the word of the resource.
fn told(resource: &Istio) -> Option<String> {
    last_applied::read(resource)?.istio_tag.filter(|tag| release(tag).is_some())
}

async fn has_namespace(client: &Client) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = api.get_metadata_opt(ISTIO_NAMESPACE).await;
    let failed = |source| Error { object: format!("Namespace {ISTIO_NAMESPACE}"), source: Box::new(source) };
    namespace.map(|namespace| namespace.is_some()).map_err(failed)
}

/// The image tag of the istiod that serves the default revision; `None` without one that is available.
///
/// An istiod that never became available was never in use, so nothing speaks against another version.
async fn istiod_tag(client: &Client) -> Result<Option<String>, Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    let object = format!("Deployment {ISTIO_NAMESPACE}/{ISTIOD}");
    let istiod = api.get_opt(ISTIOD).await;
    let istiod = istiod.map_err(|source| Error { object, source: Box::new(source) })?;
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
