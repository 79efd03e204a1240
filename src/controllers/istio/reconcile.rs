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
use super::advisories::Advisory;
use super::outcome::ReconcileOutcome;
use super::rendering;
use crate::api::conditions::{Reason, State};
use crate::api::{Istio, last_applied, names};
use crate::apply::{self, Applier};
use crate::dataplane::restart::uninstall_restarts::UninstallRestarts;
use crate::dataplane::schedule::settings::RestartSettings;
use crate::drift::pause::Pause;
use crate::gather::cluster::ClusterView;
use crate::gather::installed::InstalledIstio;
use crate::gather::remembered_facts;
use crate::gather::{self, ReconcileInput, gather, installed, legacy_resources};
use crate::inventory::Inventory;
use crate::kubernetes::object::ObjectId;
use crate::kubernetes::ok_if_not_found;
use crate::plan::cluster::{ClusterDecision, RememberedFacts};
use crate::plan::{self, OverrideRules, Plan, PlanInput, PlanOutcome};
use crate::readiness::wait;
use crate::status::{ControlPlaneReport, Progress, ResourceEvent};
use crate::uninstall::{self, DELETION_POLICY_ANNOTATION, ORPHAN, Uninstaller, blockers};
use crate::validate::version::{self, VersionStep};
use crate::validate::{self, Rejection, ValidatedSpec};

/// How often a change of the finalizers is tried while others write the resource.
const FINALIZER_ATTEMPTS: u32 = 10;

/// A step failed in a way that the user of the resource cannot mend.
#[derive(Debug, Error)]
pub enum Error {
    /// Reading the cluster.
    #[error("cannot observe the cluster")]
    Gather {
        /// What happened.
        #[from]
        source: gather::Error,
    },
    /// Remembering the cluster.
    #[error("cannot remember the settings of the cluster")]
    RememberFacts {
        /// What happened.
        #[from]
        source: remembered_facts::Error,
    },
    /// Watching what is installed.
    #[error("cannot look at what is installed")]
    Watch {
        /// What happened.
        #[from]
        source: crate::drift::watcher::Error,
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
    LegacyResources {
        /// What happened.
        #[from]
        source: legacy_resources::Error,
    },
    /// Writing it.
    #[error("cannot install Istio{}", step.advice())]
    Apply {
        /// From which version to which.
        step: VersionStep,
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
    Uninstall {
        /// What happened.
        #[from]
        source: uninstall::Error,
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
pub async fn reconcile(
    operator: &Operator,
    resource: &Istio,
    progress: &Progress,
) -> Result<ReconcileOutcome, Error> {
    let resources = operator.resources();
    let all = resources.iter().map(AsRef::as_ref);
    let rejection = validate::check_active_instance(all, resource, names::OPERATOR_NAMESPACE).rejection();
    if rejection.is_none() {
        operator.gauges.set(&resource.spec);
    }
    match (resource.metadata.deletion_timestamp.is_some(), rejection) {
        (true, None) => uninstall(operator, resource, progress).await,
        // Istio belongs to another resource; this one must always be able to go.
        (true, Some(_)) => remove_finalizer(operator, resource).await,
        (false, None) => install(operator, resource, progress).await,
        (false, Some(rejection)) => Ok(ReconcileOutcome::Rejected(rejection)),
    }
}

async fn install(
    operator: &Operator,
    resource: &Istio,
    progress: &Progress,
) -> Result<ReconcileOutcome, Error> {
    if let Some(pause) = Pause::from_annotations(resource.metadata.annotations.as_ref(), Timestamp::now()) {
        return Ok(ReconcileOutcome::Paused(pause));
    }
    let spec = match check_spec(operator, resource) {
        Ok(spec) => spec,
        Err(rejection) => return Ok(ReconcileOutcome::Rejected(rejection)),
    };
    let installed = installed::discover(&operator.context.client, resource).await?;
    let step = match step(operator, resource, installed.version()) {
        Ok(step) => step,
        Err(rejection) => return Ok(ReconcileOutcome::Rejected(rejection)),
    };
    let mut input = gather(&operator.context.client, &operator.inventory(), &operator.cluster).await?;
    let ClusterView { decision, remembered, .. } = input.cluster_view.clone();
    if !decision.is_decided {
        return Ok(ReconcileOutcome::Rejected(undecided_rejection(&decision)));
    }
    let live = operator.drift.live_objects(&input.inventory).await?;
    let plan = match render_plan(operator, resource, spec, &input).await? {
        PlanOutcome::Plan(plan) => plan.with_access(operator.context.account.as_ref())?,
        PlanOutcome::Rejected(rejection) => return Ok(ReconcileOutcome::Rejected(rejection)),
    };
    add_finalizer(operator, resource).await?;
    save_remembered_facts(operator, &decision, &remembered, progress).await?;
    if input.inventory.is_empty() && installed.version().is_some() {
        adopt_legacy_resources(operator, &plan, &mut input.inventory).await?;
    }
    let session = operator.drift.begin_session();
    let applier = applier(operator, progress, installed == InstalledIstio::NoNamespace);
    let outcome = applier.apply(&plan, &mut input.inventory, &live, &session).await;
    let outcome = outcome.map_err(|source| Error::Apply { step: step.clone(), source })?;
    session.finish(&input.inventory, &live, &outcome.skipped());
    let mut advisories = Vec::new();
    if let apply::ApplyOutcome::Complete(_) = outcome {
        record_last_applied(operator, resource).await?;
        advisories = collect_advisories(operator, &decision).await;
        advisories.extend(collect_health_advisories(operator).await);
    }
    Ok(ReconcileOutcome::of(outcome, step, advisories))
}

/// The checked spec, or all problems of the spec, its values, and its patches together.
fn check_spec(operator: &Operator, resource: &Istio) -> Result<ValidatedSpec, Rejection> {
    let settings = &operator.context.settings;
    let rules = OverrideRules {
        bundle: &operator.bundle,
        images: &operator.images,
        allow_patches: settings.allow_patches,
        override_mode: settings.override_mode,
        administrator_values: &settings.administrator_values,
    };
    plan::check_spec(&resource.spec, settings.feature_stage, rules)
}

/// The objects that should exist, or why the resource cannot be followed. Rendered beside the runtime's thread, which
/// renews the Lease.
async fn render_plan(
    operator: &Operator,
    resource: &Istio,
    spec: ValidatedSpec,
    input: &ReconcileInput,
) -> Result<PlanOutcome, Error> {
    let (bundle, images) = (operator.bundle.clone(), operator.images.clone());
    let facts = input.cluster_view.decision.facts.clone();
    let kubernetes_version = input.kubernetes_version.clone();
    let settings = &operator.context.settings;
    let (allow_patches, override_mode) = (settings.allow_patches, settings.override_mode);
    let administrator_values = settings.administrator_values.clone();
    let owner = resource.owner_ref(&());
    let render = move || {
        let plan_input = PlanInput {
            bundle: &bundle,
            facts: &facts,
            images: &images,
            kubernetes_version: &kubernetes_version,
            allow_patches,
            override_mode,
            administrator_values: &administrator_values,
            owner: owner.as_ref(),
        };
        plan::build_plan(&spec, plan_input)
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
        state: operator.apply_state.clone(),
    }
}

/// A setting of the cluster is unreadable and never was readable: nothing is installed on a guess.
fn undecided_rejection(decision: &ClusterDecision) -> Rejection {
    let problems: Vec<String> = decision.errors.iter().map(ToString::to_string).collect();
    Rejection {
        reason: Reason::ValidationFailed,
        state: State::Warning,
        message: format!("{}: mend it, until then nothing is changed in the cluster", problems.join("; ")),
        problems: Vec::new(),
    }
}

/// Keeps what was decided about the cluster, and tells when its size changed.
async fn save_remembered_facts(
    operator: &Operator,
    decision: &ClusterDecision,
    remembered: &RememberedFacts,
    progress: &Progress,
) -> Result<(), Error> {
    operator.remembered_facts.save(&decision.remembered, remembered).await?;
    if let (Some(before), Some(now)) = (remembered.size, decision.remembered.size)
        && before != now
    {
        let (before, now) = (before.as_str(), now.as_str());
        let note = format!("the nodes now carry an installation of size {now}, it was {before}");
        progress.emit_event(ResourceEvent {
            warning: false,
            reason: "ClusterSizeChanged",
            note,
            about: None,
        });
    }
    Ok(())
}

/// What there is to know about an installation that is complete.
async fn collect_advisories(operator: &Operator, decision: &ClusterDecision) -> Vec<Advisory> {
    let settings = decision.errors.iter().map(|error| Advisory::UnreadableSetting(error.to_string()));
    let filters = match operator.cluster.filters().await {
        Ok(filters) if filters.is_empty() => None,
        Ok(filters) => Some(Advisory::GatewayChanged(filters)),
        Err(error) => Some(Advisory::GatewayUnknown(error.to_string())),
    };
    settings.chain(filters).collect()
}

/// What of Istio has not run as it should for some time. Nothing is asked as long as all of it does.
async fn collect_health_advisories(operator: &Operator) -> Vec<Advisory> {
    let mut advisories = Vec::new();
    for (workload, health) in operator.drift.unhealthy() {
        let diagnosis = wait::diagnose_workload(&operator.context.client, &workload).await;
        if let Err(error) = &diagnosis {
            tracing::debug!(%error, object = %workload, "cannot read why it does not run as it should");
        }
        advisories.extend(Advisory::for_workload(&workload, health, diagnosis));
    }
    advisories
}

/// Judges the step from what was complete last to the version of this operator.
fn step(operator: &Operator, resource: &Istio, installed: Option<&str>) -> Result<VersionStep, Rejection> {
    let allowed = resource.annotations().get(names::ALLOW_DOWNGRADE_ANNOTATION);
    version::check_version_step(installed, operator.bundle.version(), allowed.map(String::as_str))
}

/// Takes what the installer before us made, and what is not planned, into the inventory, so that it is pruned.
async fn adopt_legacy_resources(
    operator: &Operator,
    plan: &Plan,
    inventory: &mut Inventory,
) -> Result<(), Error> {
    let planned = plan.ids().map_err(|(_, source)| source)?;
    for (id, record) in legacy_resources::find_legacy_resources(&operator.context.client).await? {
        if !planned.iter().any(|(_, planned)| planned.is_same_object(&id)) {
            tracing::info!(object = %id, "left by the installer before, to be pruned");
            inventory.record(id, record);
        }
    }
    Ok(())
}

/// Notes on the resource that this version and this spec are installed completely.
async fn record_last_applied(operator: &Operator, resource: &Istio) -> Result<(), Error> {
    let text = last_applied::render(&resource.spec, &operator.images.tag);
    if resource.annotations().get(names::LAST_APPLIED_ANNOTATION) == Some(&text) {
        return Ok(());
    }
    let patch = json!({"metadata": {"annotations": {names::LAST_APPLIED_ANNOTATION: text}}});
    let failed = |source| Error::LastApplied { resource: full_name(resource), source };
    patch_metadata(operator, resource, &patch).await.map_err(failed)
}

async fn uninstall(
    operator: &Operator,
    resource: &Istio,
    progress: &Progress,
) -> Result<ReconcileOutcome, Error> {
    if !has_finalizer(resource) {
        return Ok(ReconcileOutcome::Released);
    }
    operator.drift.stop();
    if resource.annotations().get(DELETION_POLICY_ANNOTATION).is_some_and(|policy| policy == ORPHAN) {
        finish_and_flush(progress, &format!("Istio is left as it is: {DELETION_POLICY_ANNOTATION}={ORPHAN}"))
            .await;
        return remove_finalizer(operator, resource).await;
    }
    let store = operator.inventory();
    let uninstaller = Uninstaller {
        client: operator.context.client.clone(),
        account: operator.context.account.clone(),
        store,
        deadline: operator.context.settings.install_timeout,
        progress: progress.clone(),
        data_plane: sidecar_removal(operator, resource),
    };
    loop {
        let inventory = uninstaller.store.load().await.map_err(uninstall::Error::from)?;
        match uninstaller.uninstall(inventory).await? {
            uninstall::UninstallOutcome::Blocked(found) => {
                progress.finish(blocked_report(&found));
                blockers::wait_until_one_gone(&uninstaller.client, &found).await;
            }
            uninstall::UninstallOutcome::NotGone { step, remaining } => {
                return Ok(ReconcileOutcome::NotGone { step, remaining });
            }
            uninstall::UninstallOutcome::Removed(remaining) => {
                if let Some(text) = remaining.describe() {
                    finish_and_flush(progress, &text).await;
                }
                operator.remembered_facts.delete().await?;
                operator.gauges.reset();
                return remove_finalizer(operator, resource).await;
            }
        }
    }
}

fn blocked_report(found: &[ObjectId]) -> ControlPlaneReport {
    super::outcome::single_condition_report(
        State::Warning,
        Reason::IstioCustomResourcesDangling,
        blockers::describe(found),
    )
}

/// Says the last word about a resource, while there still is one to say it about.
async fn finish_and_flush(progress: &Progress, text: &str) {
    tracing::warn!("{text}");
    progress.finish(super::outcome::single_condition_report(
        State::Deleting,
        Reason::IstioUninstallSucceeded,
        text.to_owned(),
    ));
    progress.flush().await;
}

/// The means of taking the sidecars out of workloads when `resource` goes.
fn sidecar_removal(operator: &Operator, resource: &Istio) -> UninstallRestarts {
    let settings = &operator.context.settings;
    UninstallRestarts {
        client: operator.context.client.clone(),
        namespace: operator.context.operator_namespace.clone(),
        identity: operator.context.identity.clone(),
        uid: resource.uid().unwrap_or_default(),
        settings: RestartSettings::from_spec(resource.spec.restarter.as_ref(), settings.report_restarts_only),
        deadline: settings.install_timeout,
    }
}

/// Lets a resource go that is being deleted and has nothing left to clean up.
async fn remove_finalizer(operator: &Operator, resource: &Istio) -> Result<ReconcileOutcome, Error> {
    change_finalizers(operator, resource, |finalizers| {
        finalizers.retain(|finalizer| finalizer != names::INSTALLATION_FINALIZER);
    })
    .await?;
    Ok(ReconcileOutcome::Released)
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
    ok_if_not_found(patched).map(drop).map_err(Box::new)
}

fn full_name(resource: &Istio) -> String {
    format!("{}/{}", resource.namespace().unwrap_or_default(), resource.name_any())
}

/// The resources that the operator knows of, as values.
pub(crate) type IstioResources = Vec<Arc<Istio>>;
