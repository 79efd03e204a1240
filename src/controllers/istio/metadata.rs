//! Writes the metadata of the `Istio` resource: the finalizer and the record of the last applied spec.
//!
//! Patches of metadata only: writing the whole resource would put defaults into the user's spec.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use thiserror::Error;

use crate::api::{Istio, last_applied, names};
use crate::kubernetes::ok_if_not_found;

/// Number of attempts to change the finalizers while other clients write the resource.
const FINALIZER_ATTEMPTS: u32 = 10;

/// The metadata of a resource could not be written.
#[derive(Debug, Error)]
#[error("failed to update the {part} of Istio {resource}")]
pub struct Error {
    /// Finalizers or annotations.
    part: &'static str,
    /// Namespace and name.
    resource: String,
    source: Box<kube::Error>,
}

/// The metadata of one resource.
pub(super) struct MetadataWriter<'a> {
    api: Api<Istio>,
    resource: &'a Istio,
}

impl<'a> MetadataWriter<'a> {
    pub(super) fn new(client: &Client, resource: &'a Istio) -> Self {
        let api = Api::namespaced(client.clone(), &resource.namespace().unwrap_or_default());
        Self { api, resource }
    }

    /// Keeps the resource until Istio is removed.
    pub(super) async fn add_finalizer(&self) -> Result<(), Error> {
        self.change_finalizers(|finalizers| {
            if !finalizers.iter().any(|finalizer| finalizer == names::INSTALLATION_FINALIZER) {
                finalizers.push(names::INSTALLATION_FINALIZER.to_owned());
            }
        })
        .await
    }

    /// Releases a resource that is being deleted.
    pub(super) async fn remove_finalizer(&self) -> Result<(), Error> {
        self.change_finalizers(|finalizers| {
            finalizers.retain(|finalizer| finalizer != names::INSTALLATION_FINALIZER);
        })
        .await
    }

    /// Changes the list of finalizers, which other controllers change, too.
    ///
    /// The operator's own status updates already make the resource that a reconcile began with outdated, so that a conflict is
    /// followed by a fresh read.
    async fn change_finalizers(&self, change: impl Fn(&mut Vec<String>)) -> Result<(), Error> {
        let name = self.resource.name_any();
        let mut metadata = self.resource.metadata.clone();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let before = metadata.finalizers.unwrap_or_default();
            let mut finalizers = before.clone();
            change(&mut finalizers);
            if finalizers == before || metadata.uid != self.resource.metadata.uid {
                return Ok(());
            }
            let patch =
                json!({"metadata": {"finalizers": finalizers, "resourceVersion": metadata.resource_version}});
            match self.api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                Err(kube::Error::Api(status)) if status.is_conflict() && attempts < FINALIZER_ATTEMPTS => {}
                Err(source) => return Err(self.error("finalizers", source)),
            }
            let fresh = self.api.get_metadata_opt(&name).await;
            match fresh.map_err(|source| self.error("finalizers", source))? {
                Some(fresh) => metadata = fresh.metadata,
                None => return Ok(()),
            }
        }
    }

    /// Records that this version of Istio and this spec are installed completely.
    pub(super) async fn record_last_applied(&self, istio_tag: &str) -> Result<(), Error> {
        let text = last_applied::render(&self.resource.spec, istio_tag);
        if self.resource.annotations().get(names::LAST_APPLIED_ANNOTATION) == Some(&text) {
            return Ok(());
        }
        let patch = json!({"metadata": {"annotations": {names::LAST_APPLIED_ANNOTATION: text}}});
        let params = PatchParams::default();
        let patched =
            self.api.patch_metadata(&self.resource.name_any(), &params, &Patch::Merge(&patch)).await;
        ok_if_not_found(patched).map(drop).map_err(|source| self.error("annotations", source))
    }

    fn error(&self, part: &'static str, source: kube::Error) -> Error {
        let resource =
            format!("{}/{}", self.resource.namespace().unwrap_or_default(), self.resource.name_any());
        Error { part, resource, source: Box::new(source) }
    }
}

/// Whether the resource waits for the removal of Istio when it is deleted.
pub(super) fn has_finalizer(resource: &Istio) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == names::INSTALLATION_FINALIZER)
}
