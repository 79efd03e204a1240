//! The installed version of Istio: as recorded in the `Istio` resource, else the image tag of istiod.
//!
//! The resource records nothing if `istioctl` or Helm installed Istio, or if its annotation was removed.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client};
use thiserror::Error;

use super::istiod::{ISTIOD, Istiod};
use crate::api::names::ISTIO_NAMESPACE;
use crate::api::{Istio, last_applied};
use crate::validate::version::release_version;

/// istiod or its namespace could not be read.
#[derive(Debug, Error)]
#[error("failed to read {object}")]
pub struct Error {
    object: String,
    source: Box<kube::Error>,
}

/// What is installed of Istio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstalledIstio {
    /// Nothing, not even the namespace.
    NoNamespace,
    /// Version or image tag of the last complete installation, if any.
    Version(Option<String>),
}

impl InstalledIstio {
    /// Version or image tag of the last complete installation, if any.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::NoNamespace => None,
            Self::Version(version) => version.as_deref(),
        }
    }
}

/// Version or image tag of the last complete installation, if any.
pub async fn version(client: &Client, resource: Option<&Istio>) -> Result<Option<String>, Error> {
    match resource.and_then(recorded_version) {
        Some(tag) => Ok(Some(tag)),
        None => istiod_tag(client).await,
    }
}

/// Discovers what is installed. If the namespace is missing, one request shows that, and that nothing is in it.
pub async fn discover(client: &Client, resource: &Istio) -> Result<InstalledIstio, Error> {
    match recorded_version(resource) {
        Some(tag) => Ok(InstalledIstio::Version(Some(tag))),
        None if !has_namespace(client).await? => Ok(InstalledIstio::NoNamespace),
        None => istiod_tag(client).await.map(InstalledIstio::Version),
    }
}

/// The version recorded in the resource.
fn recorded_version(resource: &Istio) -> Option<String> {
    last_applied::read(resource)?.istio_tag.filter(|tag| release_version(tag).is_some())
}

async fn has_namespace(client: &Client) -> Result<bool, Error> {
    let kind = ApiResource::erase::<Namespace>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let namespace = api.get_metadata_opt(ISTIO_NAMESPACE).await;
    let failed = |source| Error { object: format!("Namespace {ISTIO_NAMESPACE}"), source: Box::new(source) };
    namespace.map(|namespace| namespace.is_some()).map_err(failed)
}

/// The image tag of the istiod that serves the default revision; `None` without one that is available.
async fn istiod_tag(client: &Client) -> Result<Option<String>, Error> {
    let api: Api<Istiod> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    let object = format!("Deployment {ISTIO_NAMESPACE}/{ISTIOD}");
    let istiod = api.get_opt(ISTIOD).await;
    let istiod = istiod.map_err(|source| Error { object, source: Box::new(source) })?;
    Ok(istiod.as_ref().and_then(Istiod::tag).map(str::to_owned))
}
