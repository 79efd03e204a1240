//! One reconcile of one resource: the pipeline from the resource to the report.
//!
//! Each step is a module of its own; this one only puts them in order and keeps the finalizer.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;

use super::Operator;
use super::outcome::Outcome;
use super::remark::Remark;
use super::rendering;
use crate::api::conditions::{Reason, State};
use crate::api::{Istio, last_applied, names};
use crate::apply::inventory::Inventory;
use crate::apply::pause::Pause;
use crate::apply::{self, Applier, wait};
use crate::dataplane::act::removal::Removal;
use crate::dataplane::decide::settings::Settings;
use crate::kubernetes::if_found;
use crate::memory;
use crate::object::ObjectId;
use crate::observe::cluster::Outlook;
use crate::observe::installed::Found;
use crate::observe::{self, Observed, installed, leftovers, observe};
use crate::plan::cluster::{Memory, Verdict};
use crate::plan::{self, Basis, Desired, Plan};
use crate::remove::{self, DELETION_POLICY_ANNOTATION, ORPHAN, Remover, blockers};
use crate::status::{Announcement, Progress, Settled};
use crate::validate::version::{self, Step};
use crate::validate::{self, Rejection, ValidatedSpec};

/// How often a change of the finalizers is tried while others write the resource.
const FINALIZER_ATTEMPTS: u32 = 10;

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
    /// Remembering the cluster.
    #[error("cannot remember the settings of the cluster")]
    Memory {
        /// What happened.
        #[from]
        source: memory::Error,
    },
    /// Watching what is installed.
    #[error("cannot look at what is installed")]
    Watch {
        /// What happened.
        #[from]
        source: super::drift::Error,
    },
    /// Rendering what should exist.
    #[error("cannot plan the installation")]
    Plan {
        /// What happened.
        #[from]
        source: plan::Error,
    },
    /// Rendering on another thread.
    #[error("cannot plan the installation")]
    Rendering {
        /// What happened.
        #[from]
        source: rendering::Error,
    },
    /// What is installed could not be told.
    #[error("cannot tell which Istio is installed")]
    Installed {
        /// What happened.
        #[from]
        source: installed::Error,
    },
    /// What the installer before us left could not be looked for.
    #[error("cannot tell what the installer before left")]
    Leftovers {
        /// What happened.
        #[from]
        source: leftovers::Error,
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
    if rejection.is_none() {
        operator.gauges.show(&resource.spec);
    }
    match (resource.metadata.deletion_timestamp.is_some(), rejection) {
        (true, None) => remove(operator, resource, progress).await,
        // Istio belongs to another resource; this one must always be able to go.
        (true, Some(_)) => release(operator, resource).await,
        (false, None) => install(operator, resource, progress).await,
        (false, Some(rejection)) => Ok(Outcome::Rejected(rejection)),
    }
}

async fn install(operator: &Operator, resource: &Istio, progress: &Progress) -> Result<Outcome, Error> {
    if let Some(pause) = Pause::among(resource.metadata.annotations.as_ref(), Timestamp::now()) {
        return Ok(Outcome::Paused(pause));
    }
    let spec = match validate::validate(&resource.spec, operator.context.settings.flavour) {
        Ok(spec) => spec,
        Err(rejection) => return Ok(Outcome::Rejected(rejection)),
    };
    let installed = installed::look(&operator.context.client, resource).await?;
    let step = match step(operator, resource, installed.version()) {
        Ok(step) => step,
        Err(rejection) => return Ok(Outcome::Rejected(rejection)),
    };
    let mut observed = observe(&operator.context.client, &operator.inventory(), &operator.cluster).await?;
    let Outlook { verdict, remembered, .. } = observed.outlook.clone();
    if !verdict.is_decided {
        return Ok(Outcome::Rejected(undecided(&verdict)));
    }
    let live = operator.drift.live(&observed.inventory).await?;
    let plan = match desired(operator, resource, spec, &observed).await? {
        Desired::Plan(plan) => plan.with_access(operator.context.account.as_ref())?,
        Desired::Rejected(rejection) => return Ok(Outcome::Rejected(rejection)),
    };
    add_finalizer(operator, resource).await?;
    remember_cluster(operator, &verdict, &remembered, progress).await?;
    if observed.inventory.is_empty() && installed.version().is_some() {
        adopt_leftovers(operator, &plan, &mut observed.inventory).await?;
    }
    let round = operator.drift.begin();
    let applier = applier(operator, progress, installed == Found::NoNamespace);
    let outcome = applier.apply(&plan, &mut observed.inventory, &live, &round).await;
    let outcome = outcome.map_err(|source| Error::Apply { step: step.clone(), source })?;
    round.end(&observed.inventory, &live, &outcome.held());
    let mut remarks = Vec::new();
    if let apply::Outcome::Complete(_) = outcome {
        remember(operator, resource).await?;
        remarks = remarks_on(operator, &verdict).await;
        remarks.extend(ailments(operator).await);
    }
    Ok(Outcome::of(outcome, step, remarks))
}

/// The objects that should exist, or why the resource cannot be followed. Rendered beside the runtime's thread, which
/// renews the Lease.
async fn desired(
    operator: &Operator,
    resource: &Istio,
    spec: ValidatedSpec,
    observed: &Observed,
) -> Result<Desired, Error> {
    let (bundle, images) = (operator.bundle.clone(), operator.images.clone());
    let facts = observed.outlook.verdict.facts.clone();
    let kubernetes_version = observed.kubernetes_version.clone();
    let settings = &operator.context.settings;
    let (allow_patches, override_mode) = (settings.allow_patches, settings.override_mode);
    let administrator_values = settings.administrator_values.clone();
    let owner = resource.owner_ref(&());
    let render = move || {
        let basis = Basis {
            bundle: &bundle,
            facts: &facts,
            images: &images,
            kubernetes_version: &kubernetes_version,
            allow_patches,
            override_mode,
            administrator_values: &administrator_values,
            owner: owner.as_ref(),
        };
        plan::desired(&spec, basis)
    };
    Ok(operator.renderer.run(render).await??)
}

fn applier(operator: &Operator, progress: &Progress, namespace_is_missing: bool) -> Applier {
    Applier {
        namespace_is_missing,
        client: operator.context.client.clone(),
        store: operator.inventory(),
        deadline: operator.context.settings.install_timeout,
        progress: progress.clone(),
        memory: operator.memory.clone(),
    }
}

/// A setting of the cluster is unreadable and never was readable: nothing is installed on a guess.
fn undecided(verdict: &Verdict) -> Rejection {
    let problems: Vec<String> = verdict.complaints.iter().map(ToString::to_string).collect();
    Rejection {
        reason: Reason::ValidationFailed,
        state: State::Warning,
        message: format!("{}: mend it, until then nothing is changed in the cluster", problems.join("; ")),
    }
}

/// Keeps what was decided about the cluster, and tells when its size changed.
async fn remember_cluster(
    operator: &Operator,
    verdict: &Verdict,
    remembered: &Memory,
    progress: &Progress,
) -> Result<(), Error> {
    operator.cluster_memory.save(&verdict.memory, remembered).await?;
    if let (Some(before), Some(now)) = (remembered.size, verdict.memory.size)
        && before != now
    {
        let (before, now) = (before.as_str(), now.as_str());
        let note = format!("the nodes now carry an installation of size {now}, it was {before}");
        progress.announce(Announcement { warning: false, reason: "ClusterSizeChanged", note, about: None });
    }
    Ok(())
}

/// What there is to know about an installation that is complete.
async fn remarks_on(operator: &Operator, verdict: &Verdict) -> Vec<Remark> {
    let settings = verdict.complaints.iter().map(|error| Remark::UnreadableSetting(error.to_string()));
    let filters = match operator.cluster.filters().await {
        Ok(filters) if filters.is_empty() => None,
        Ok(filters) => Some(Remark::GatewayChanged(filters)),
        Err(error) => Some(Remark::GatewayUnknown(error.to_string())),
    };
    settings.chain(filters).collect()
}

/// What of Istio has not run as it should for some time. Nothing is asked as long as all of it does.
async fn ailments(operator: &Operator) -> Vec<Remark> {
    let mut ailments = Vec::new();
    for (workload, fitness) in operator.drift.ailing() {
        let complaint = wait::complaint_of(&operator.context.client, &workload).await;
        if let Err(error) = &complaint {
            tracing::debug!(%error, object = %workload, "cannot read why it does not run as it should");
        }
        ailments.extend(Remark::on(&workload, fitness, complaint));
    }
    ailments
}

/// Judges the step from what was complete last to the version of this operator.
fn step(operator: &Operator, resource: &Istio, installed: Option<&str>) -> Result<Step, Rejection> {
    let allowed = resource.annotations().get(names::ALLOW_DOWNGRADE_ANNOTATION);
    version::step(installed, operator.bundle.version(), allowed.map(String::as_str))
}

/// Takes what the installer before us made, and what is not planned, into the inventory, so that it is pruned.
async fn adopt_leftovers(operator: &Operator, plan: &Plan, inventory: &mut Inventory) -> Result<(), Error> {
    let planned = plan.ids().map_err(|(_, source)| source)?;
    for (id, record) in leftovers::leftovers(&operator.context.client).await? {
        if !planned.iter().any(|(_, planned)| planned.same_object(&id)) {
            tracing::info!(object = %id, "left by the installer before, to be pruned");
            inventory.record(id, record);
        }
    }
    Ok(())
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
    operator.drift.rest();
    if resource.annotations().get(DELETION_POLICY_ANNOTATION).is_some_and(|policy| policy == ORPHAN) {
        settle_at_last(progress, &format!("Istio is left as it is: {DELETION_POLICY_ANNOTATION}={ORPHAN}"))
            .await;
        return release(operator, resource).await;
    }
    let store = operator.inventory();
    let remover = Remover {
        client: operator.context.client.clone(),
        account: operator.context.account.clone(),
        store,
        deadline: operator.context.settings.install_timeout,
        progress: progress.clone(),
        data_plane: data_plane(operator, resource),
    };
    loop {
        let inventory = remover.store.load().await.map_err(remove::Error::from)?;
        match remover.remove(inventory).await? {
            remove::Outcome::Blocked(found) => {
                progress.settle(blocked(&found));
                blockers::one_gone(&remover.client, &found).await;
            }
            remove::Outcome::NotGone { step, left } => return Ok(Outcome::NotGone { step, left }),
            remove::Outcome::Removed(leftovers) => {
                if let Some(text) = leftovers.describe() {
                    settle_at_last(progress, &text).await;
                }
                operator.cluster_memory.delete().await?;
                operator.gauges.reset();
                return release(operator, resource).await;
            }
        }
    }
}

fn blocked(found: &[ObjectId]) -> Settled {
    super::outcome::settled(State::Warning, Reason::IstioCustomResourcesDangling, blockers::describe(found))
}

/// Says the last word about a resource, while there still is one to say it about.
async fn settle_at_last(progress: &Progress, text: &str) {
    tracing::warn!("{text}");
    progress.settle(super::outcome::settled(
        State::Deleting,
        Reason::IstioUninstallSucceeded,
        text.to_owned(),
    ));
    progress.flush().await;
}

/// The means of taking the sidecars out of workloads when `resource` goes.
fn data_plane(operator: &Operator, resource: &Istio) -> Removal {
    let settings = &operator.context.settings;
    Removal {
        client: operator.context.client.clone(),
        namespace: operator.context.operator_namespace.clone(),
        identity: operator.context.identity.clone(),
        uid: resource.uid().unwrap_or_default(),
        settings: Settings::of(resource.spec.restarter.as_ref(), settings.report_restarts_only),
        deadline: settings.install_timeout,
    }
}

/// Lets a resource go that is being deleted and has nothing left to clean up.
async fn release(operator: &Operator, resource: &Istio) -> Result<Outcome, Error> {
    change_finalizers(operator, resource, |finalizers| {
        finalizers.retain(|finalizer| finalizer != names::INSTALLATION_FINALIZER);
    })
    .await?;
    Ok(Outcome::Released)
}

async fn add_finalizer(operator: &Operator, resource: &Istio) -> Result<(), Error> {
    change_finalizers(operator, resource, |finalizers| {
        if !finalizers.iter().any(|finalizer| finalizer == names::INSTALLATION_FINALIZER) {
            finalizers.push(names::INSTALLATION_FINALIZER.to_owned());
        }
    })
    .await
}

fn has_finalizer(resource: &Istio) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == names::INSTALLATION_FINALIZER)
}

/// Changes the list of finalizers, which others change as well.
///
/// A patch of metadata only: writing the whole resource would put defaults into the user's spec. Its own status is enough
/// to make the resource that a reconcile began with out of date, so a conflict is answered by a fresh read.
async fn change_finalizers(
    operator: &Operator,
    resource: &Istio,
    change: impl Fn(&mut Vec<String>),
) -> Result<(), Error> {
    let api: Api<Istio> =
        Api::namespaced(operator.context.client.clone(), &resource.namespace().unwrap_or_default());
    let name = resource.name_any();
    let failed = |source| Error::Finalizer {
        resource: format!("{}/{name}", resource.namespace().unwrap_or_default()),
        source: Box::new(source),
    };
    let mut metadata = resource.metadata.clone();
    for attempt in 1.. {
        let before = metadata.finalizers.unwrap_or_default();
        let mut finalizers = before.clone();
        change(&mut finalizers);
        if finalizers == before || metadata.uid != resource.metadata.uid {
            return Ok(());
        }
        let patch =
            json!({"metadata": {"finalizers": finalizers, "resourceVersion": metadata.resource_version}});
        match api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() && attempt < FINALIZER_ATTEMPTS => {}
            Err(source) => return Err(failed(source)),
        }
        match api.get_metadata_opt(&name).await.map_err(failed)? {
            Some(fresh) => metadata = fresh.metadata,
            None => return Ok(()),
        }
    }
    Ok(())
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
