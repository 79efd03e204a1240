//! Which Istio was installed last: by the word of the `Istio` resource, or, where `istioctl` or Helm installed it or the
//! resource lost its annotation, by that of istiod.

use kube::{Api, Client};
use thiserror::Error;

use super::istiod::{ISTIOD, Istiod};
use crate::api::names::ISTIO_NAMESPACE;
use crate::api::{Istio, last_applied};
use crate::validate::version::release;

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
async fn istiod_tag(client: &Client) -> Result<Option<String>, Error> {
    let api: Api<Istiod> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    let istiod = api.get_opt(ISTIOD).await.map_err(|source| Error(Box::new(source)))?;
    Ok(istiod.as_ref().and_then(Istiod::tag).map(str::to_owned))
}
