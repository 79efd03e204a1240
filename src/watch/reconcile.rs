//! One reconcile of one resource: the pipeline from the resource to the report.
//!
//! Each step is a module of its own; this one only puts them in order and keeps the finalizer.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;

use super::Operator;
use super::outcome::Outcome;
use crate::api::{Istio, last_applied, names};
use crate::apply::{self, Applier};
use crate::kubernetes::if_found;
use crate::observe::{self, installed, observe};
use crate::plan::{self, Basis, Desired};
use crate::remove::{self, Remover};
use crate::status::Progress;
use crate::validate::version::{self, Step};
use crate::validate::{self, Flavour, Rejection};

/// A step failed in a way that the user of the resource cannot mend.
#[derive(Debug, Error)]
pub enum Error {
    /// Reading the cluster.
    #[error("cannot observe the cluster")]
    Observe {
        /// What happened.
        #[from]
        source: observe::Error,
    },
    /// Rendering what should exist.
    #[error("cannot plan the installation")]
    Plan {
        /// What happened.
        #[from]
        source: plan::Error,
    },
    /// What is installed could not be told.
    #[error("cannot tell which Istio is installed")]
    Installed {
        /// What happened.
        #[from]
        source: installed::Error,
    },
    /// Writing it.
    #[error("cannot install Istio{}", step.advice())]
    Apply {
        /// From which version to which.
        step: Step,
        /// What happened.
        source: apply::Error,
    },
    /// Noting that it is installed.
    #[error("cannot change the annotations of Istio {resource}")]
    LastApplied {
        /// Namespace and name of the resource.
        resource: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Removing it.
    #[error("cannot remove Istio")]
    Remove {
        /// What happened.
        #[from]
        source: remove::Error,
    },
    /// Keeping the finalizer of the resource.
    #[error("cannot change the finalizers of Istio {resource}")]
    Finalizer {
        /// Namespace and name of the resource.
        resource: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// Takes one resource through the pipeline.
pub async fn reconcile(operator: &Operator, resource: &Istio, progress: &Progress) -> Result<Outcome, Error> {
    let resources = operator.resources();
    let all = resources.iter().map(AsRef::as_ref);
    let rejection = validate::eligibility(all, resource, names::OPERATOR_NAMESPACE).rejection();
    match (resource.metadata.deletion_timestamp.is_some(), rejection) {
        (true, None) => remove(operator, resource, progress).await,
        // Istio belongs to another resource; this one must always be able to go.
        (true, Some(_)) => release(operator, resource).await,
        (false, None) => install(operator, resource, progress).await,
        (false, Some(rejection)) => Ok(Outcome::Rejected(rejection)),
    }
}

async fn install(operator: &Operator, resource: &Istio, progress: &Progress) -> Result<Outcome, Error> {
    let spec = match validate::validate(&resource.spec, Flavour::Regular) {
        Ok(spec) => spec,
        Err(rejection) => return Ok(Outcome::Rejected(rejection)),
    };
    let step = match step(operator, resource).await? {
        Ok(step) => step,
        Err(rejection) => return Ok(Outcome::Rejected(rejection)),
    };
    add_finalizer(operator, resource).await?;
    let store = operator.inventory();
    let observed = observe(&operator.context.client, &store).await?;
    let basis = Basis {
        bundle: &operator.bundle,
        facts: &observed.facts,
        images: &operator.images,
        kubernetes_version: &observed.kubernetes_version,
        allow_patches: operator.context.settings.allow_patches,
    };
    let plan = match plan::desired(&spec, basis)? {
        Desired::Plan(plan) => plan,
        Desired::Rejected(rejection) => return Ok(Outcome::Rejected(rejection)),
    };
    let applier = Applier {
        client: operator.context.client.clone(),
        store,
        deadline: operator.context.settings.install_timeout,
        progress: progress.clone(),
    };
    let outcome = applier.apply(&plan, observed.inventory, &observed.live).await;
    let outcome = outcome.map_err(|source| Error::Apply { step: step.clone(), source })?;
    if let apply::Outcome::Complete(_) = outcome {
        remember(operator, resource).await?;
    }
    Ok(Outcome::of(outcome, step))
}

/// Judges the step from what was complete last to the version of this operator.
async fn step(operator: &Operator, resource: &Istio) -> Result<Result<Step, Rejection>, Error> {
    let installed = installed::version(&operator.context.client, Some(resource)).await?;
    let allowed = resource.annotations().get(names::ALLOW_DOWNGRADE_ANNOTATION);
    Ok(version::step(installed.as_deref(), operator.bundle.version(), allowed.map(String::as_str)))
}

/// Notes on the resource that this version and this spec are installed completely.
async fn remember(operator: &Operator, resource: &Istio) -> Result<(), Error> {
    let text = last_applied::render(&resource.spec, &operator.images.tag);
    if resource.annotations().get(names::LAST_APPLIED_ANNOTATION) == Some(&text) {
        return Ok(());
    }
    let patch = json!({"metadata": {"annotations": {names::LAST_APPLIED_ANNOTATION: text}}});
    let failed = |source| Error::LastApplied { resource: full_name(resource), source };
    patch_metadata(operator, resource, &patch).await.map_err(failed)
}

async fn remove(operator: &Operator, resource: &Istio, progress: &Progress) -> Result<Outcome, Error> {
    if !has_finalizer(resource) {
        return Ok(Outcome::Released);
    }
    let store = operator.inventory();
    let inventory = store.load().await.map_err(remove::Error::from)?;
    let remover = Remover {
        client: operator.context.client.clone(),
        store,
        deadline: operator.context.settings.install_timeout,
        progress: progress.clone(),
    };
    match remover.remove(inventory).await? {
        remove::Outcome::Blocked(blockers) => Ok(Outcome::Blocked(blockers)),
        remove::Outcome::NotGone { step, left } => Ok(Outcome::NotGone { step, left }),
        remove::Outcome::Removed { kept_for } => {
            for object in kept_for {
                tracing::warn!(%object, "kept, and its namespace with it: neither Istio nor Kubernetes made it");
            }
            release(operator, resource).await
        }
    }
}

/// Lets a resource go that is being deleted and has nothing left to clean up.
async fn release(operator: &Operator, resource: &Istio) -> Result<Outcome, Error> {
    if has_finalizer(resource) {
        let rest =
            resource.finalizers().iter().filter(|f| *f != names::INSTALLATION_FINALIZER).cloned().collect();
        set_finalizers(operator, resource, rest).await?;
    }
    Ok(Outcome::Released)
}

async fn add_finalizer(operator: &Operator, resource: &Istio) -> Result<(), Error> {
    if has_finalizer(resource) {
        return Ok(());
    }
    let finalizers = resource.finalizers().iter().cloned().chain([names::INSTALLATION_FINALIZER.to_owned()]);
    set_finalizers(operator, resource, finalizers.collect()).await
}

fn has_finalizer(resource: &Istio) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == names::INSTALLATION_FINALIZER)
}

/// Replaces the list of finalizers, unless someone changed the resource meanwhile.
///
/// A patch of metadata only: writing the whole resource would put defaults into the user's spec.
async fn set_finalizers(operator: &Operator, resource: &Istio, finalizers: Vec<String>) -> Result<(), Error> {
    let patch =
        json!({"metadata": {"finalizers": finalizers, "resourceVersion": resource.resource_version()}});
    let failed = |source| Error::Finalizer { resource: full_name(resource), source };
    patch_metadata(operator, resource, &patch).await.map_err(failed)
}

/// Patches the metadata of a resource, if it still exists.
async fn patch_metadata(
    operator: &Operator,
    resource: &Istio,
    patch: &Value,
) -> Result<(), Box<kube::Error>> {
    let api: Api<Istio> =
        Api::namespaced(operator.context.client.clone(), &resource.namespace().unwrap_or_default());
    let params = PatchParams::default();
    let patched = api.patch_metadata(&resource.name_any(), &params, &Patch::Merge(patch)).await;
    if_found(patched).map(drop).map_err(Box::new)
}

fn full_name(resource: &Istio) -> String {
    format!("{}/{}", resource.namespace().unwrap_or_default(), resource.name_any())
}

/// The resources that the operator knows of, as values.
pub(super) type Resources = Vec<Arc<Istio>>;
