//! One reconcile of one resource: a pipeline from the resource to the report.
//!
//! Each step is a function of data, in a module of its own; this one puts the steps in order.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use thiserror::Error;

use super::Operator;
use super::advisories::Advisory;
use super::cluster_state::{self, ClusterReader};
use super::metadata::{self, MetadataWriter};
use super::outcome::ReconcileOutcome;
use super::planner::{self, PlannedInstall};
use super::uninstall::{release, uninstall};
use crate::api::{Istio, names};
use crate::apply::{self, Applier, ApplyOutcome};
use crate::drift::pause::Pause;
use crate::drift::snapshot::LiveObjects;
use crate::drift::watcher::DriftWatcher;
use crate::gather::cluster::{ClusterView, ClusterWatch};
use crate::gather::installed::InstalledIstio;
use crate::gather::remembered_facts::{self, RememberedFactsStore};
use crate::messages::{self, EventReason};
use crate::plan::cluster::ClusterDecision;
use crate::readiness::wait;
use crate::status::{Progress, ResourceEvent};
use crate::validate;
use crate::validate::version::VersionStep;

/// A step failed in a way that the author of the resource cannot fix.
#[derive(Debug, Error)]
pub enum Error {
    /// The state of the cluster could not be read.
    #[error("failed to read the state of the cluster")]
    Gather(#[from] cluster_state::Error),
    /// The objects could not be planned.
    #[error(transparent)]
    Plan(#[from] planner::Error),
    /// The properties of the cluster could not be written.
    #[error("failed to remember the properties of the cluster")]
    RememberFacts(#[from] remembered_facts::Error),
    /// The objects could not be applied.
    #[error("failed to install Istio{}", step.advice())]
    Apply {
        /// From which version to which.
        step: VersionStep,
        /// Cause.
        source: apply::Error,
    },
    /// The objects could not be removed.
    #[error("failed to remove Istio")]
    Uninstall(#[from] crate::uninstall::Error),
    /// The finalizer or an annotation of the resource could not be written.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
}

/// Reconciles one resource.
pub(super) async fn reconcile(
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
        // Istio belongs to another resource, and this one must not be kept by its finalizer.
        (true, Some(_)) => release(operator, resource).await,
        (false, None) => install(operator, resource, progress).await,
        (false, Some(rejection)) => Ok(ReconcileOutcome::Rejected(rejection)),
    }
}

async fn install(
    operator: &Operator,
    resource: &Istio,
    progress: &Progress,
) -> Result<ReconcileOutcome, Error> {
    let client = &operator.context.client;
    let store = operator.inventory();
    if let Some(pause) = Pause::from_annotations(resource.metadata.annotations.as_ref(), Timestamp::now()) {
        return Ok(ReconcileOutcome::Paused(pause));
    }

    // validate (no client required)
    let spec = match operator.planner.validate(&resource.spec).await.map_err(planner::Error::from)? {
        Ok(spec) => spec,
        Err(rejection) => return Ok(ReconcileOutcome::Rejected(rejection)),
    };

    // gather (client required)
    let reader = ClusterReader { client, store: &store, cluster: &operator.cluster, drift: &operator.drift };
    let state = reader.read(resource).await?;

    // plan (no client required)
    let planned = match operator.planner.plan(resource, spec, &state).await? {
        Ok(planned) => planned,
        Err(rejection) => return Ok(ReconcileOutcome::Rejected(rejection)),
    };

    // apply (client required)
    let metadata = MetadataWriter::new(client, resource);
    metadata.add_finalizer().await?;
    remember_facts(&operator.remembered_facts, &state.view, progress).await?;
    let step = planned.step.clone();
    let applier = Applier {
        namespace_is_missing: state.installed == InstalledIstio::NoNamespace,
        client: client.clone(),
        store,
        deadline: operator.context.settings.install_timeout,
        progress: progress.clone(),
        state: operator.apply_state.clone(),
    };
    let outcome = apply(&applier, planned, &state.live, &operator.drift).await?;
    let ApplyOutcome::Complete(_) = &outcome else {
        return Ok(ReconcileOutcome::of(outcome, step, Vec::new()));
    };
    metadata.record_last_applied(&operator.planner.images.tag).await?;

    // report (client required for the diagnosis of unhealthy workloads): filters and health are those after the apply
    let mut advisories = configuration_advisories(&operator.cluster, &state.view.decision).await;
    advisories.extend(health_advisories(client, &operator.drift).await);

    // sync the data plane (no client required): its controller continues with this generation
    operator.notify_data_plane(resource);
    Ok(ReconcileOutcome::of(outcome, step, advisories))
}

/// Applies a plan while the installed objects are watched for drift.
async fn apply(
    applier: &Applier,
    planned: PlannedInstall,
    live: &LiveObjects,
    drift: &DriftWatcher,
) -> Result<ApplyOutcome, Error> {
    let PlannedInstall { plan, step, mut inventory } = planned;
    let session = drift.begin_session();
    let outcome = applier.apply(&plan, &mut inventory, live, &session).await;
    let outcome = outcome.map_err(|source| Error::Apply { step, source })?;
    session.finish(&inventory, live, &outcome.skipped());
    Ok(outcome)
}

/// Remembers the properties of the cluster, and reports a change of its size.
async fn remember_facts(
    store: &RememberedFactsStore,
    view: &ClusterView,
    progress: &Progress,
) -> Result<(), Error> {
    let facts = &view.decision.remembered;
    store.save(facts, &view.remembered).await?;
    if let (Some(before), Some(now)) = (view.remembered.size, facts.size)
        && before != now
    {
        let note = messages::cluster_size_changed(before.as_str(), now.as_str());
        progress.emit_event(ResourceEvent { reason: EventReason::ClusterSizeChanged, note, about: None });
    }
    Ok(())
}

/// Settings of the cluster that are not followed, and filters that change the ingress gateway.
async fn configuration_advisories(cluster: &ClusterWatch, decision: &ClusterDecision) -> Vec<Advisory> {
    let settings = decision.errors.iter().map(|error| Advisory::UnreadableSetting(error.to_string()));
    let filters = match cluster.filters().await {
        Ok(filters) if filters.is_empty() => None,
        Ok(filters) => Some(Advisory::GatewayChanged(filters)),
        Err(error) => Some(Advisory::GatewayUnknown(error.to_string())),
    };
    settings.chain(filters).collect()
}

/// Workloads of Istio that have been unhealthy for some time. Sends no request while all of them are healthy.
async fn health_advisories(client: &Client, drift: &DriftWatcher) -> Vec<Advisory> {
    let mut advisories = Vec::new();
    for (workload, health) in drift.unhealthy() {
        let diagnosis = wait::diagnose_workload(client, &workload).await;
        if let Err(error) = &diagnosis {
            tracing::debug!(%error, object = %workload, "failed to diagnose an unhealthy workload");
        }
        advisories.extend(Advisory::for_workload(&workload, health, diagnosis));
    }
    advisories
}

/// A snapshot of the resources that the operator watches.
pub(super) type IstioResources = Vec<Arc<Istio>>;
