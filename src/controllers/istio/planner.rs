//! Plans the objects that should exist, from a resource and the state of the cluster. Needs no client.

use istio_charts::Bundle;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use thiserror::Error;

use super::cluster_state::ClusterState;
use super::rendering::{self, Renderer};
use crate::api::conditions::{Reason, State};
use crate::api::{Istio, IstioSpec, names};
use crate::context::OperatorSettings;
use crate::inventory::Inventory;
use crate::kubernetes::ServiceAccountRef;
use crate::messages;
use crate::plan::cluster::{ClusterDecision, ClusterFacts};
use crate::plan::configuration::Images;
use crate::plan::{self, OverrideRules, Plan, PlanInput, PlanOutcome};
use crate::validate::version::{self, VersionStep};
use crate::validate::{self, Rejection, ValidatedSpec};

/// The objects could not be planned.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration gives no plan.
    #[error("failed to plan the installation")]
    Plan(#[from] plan::Error),
    /// The thread that renders.
    #[error("failed to plan the installation")]
    Rendering(#[from] rendering::Error),
}

/// Everything that planning depends on besides the resource and the cluster.
pub(super) struct Planner {
    pub(super) bundle: Bundle,
    pub(super) images: Images,
    pub(super) settings: OperatorSettings,
    /// The `ServiceAccount` of the operator, which the plan gives access to the namespace of Istio.
    pub(super) account: Option<ServiceAccountRef>,
    pub(super) renderer: Renderer,
}

/// What is to be applied.
#[derive(Debug)]
pub(super) struct PlannedInstall {
    pub(super) plan: Plan,
    /// From which version of Istio to which.
    pub(super) step: VersionStep,
    /// The inventory, including objects of a previous installer that are to be pruned.
    pub(super) inventory: Inventory,
}

impl Planner {
    /// Validates a spec, or explains all problems of the spec and of its values.
    pub(super) async fn validate(
        &self,
        spec: &IstioSpec,
    ) -> Result<Result<ValidatedSpec, Rejection>, rendering::Error> {
        let feature_stage = self.settings.feature_stage;
        if let Ok(valid) = validate::validate(spec, feature_stage) {
            return Ok(Ok(valid));
        }
        let spec = spec.clone();
        let validate = move |input: PlanInput<'_>| plan::check_spec(&spec, feature_stage, input.rules);
        self.run(ClusterFacts::default(), String::new(), None, validate).await
    }

    /// Plans an install, or explains why the resource cannot be followed in this cluster.
    pub(super) async fn plan(
        &self,
        resource: &Istio,
        spec: ValidatedSpec,
        state: &ClusterState,
    ) -> Result<Result<PlannedInstall, Rejection>, Error> {
        let step = match self.check_version(resource, state) {
            Ok(step) => step,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if !state.view.decision.is_decided {
            return Ok(Err(undecided_rejection(&state.view.decision)));
        }
        let plan = match self.render(resource, spec, state).await? {
            PlanOutcome::Plan(plan) => plan.with_access(self.account.as_ref())?,
            PlanOutcome::Rejected(rejection) => return Ok(Err(rejection)),
        };
        let inventory = with_legacy_resources(&plan, state)?;
        Ok(Ok(PlannedInstall { plan, step, inventory }))
    }

    fn check_version(&self, resource: &Istio, state: &ClusterState) -> Result<VersionStep, Rejection> {
        let allowed = resource.annotations().get(names::ALLOW_DOWNGRADE_ANNOTATION).map(String::as_str);
        version::check_version_step(state.installed.version(), self.bundle.version(), allowed)
    }

    async fn render(
        &self,
        resource: &Istio,
        spec: ValidatedSpec,
        state: &ClusterState,
    ) -> Result<PlanOutcome, Error> {
        let facts = state.view.decision.facts.clone();
        let version = state.kubernetes_version.clone();
        let render = move |input: PlanInput<'_>| plan::build_plan(&spec, input);
        Ok(self.run(facts, version, resource.owner_ref(&()), render).await??)
    }

    /// Runs CPU-bound work on a thread of its own, while the thread of the runtime renews the Lease.
    async fn run<T: Send + 'static>(
        &self,
        facts: ClusterFacts,
        kubernetes_version: String,
        owner: Option<OwnerReference>,
        work: impl FnOnce(PlanInput<'_>) -> T + Send + 'static,
    ) -> Result<T, rendering::Error> {
        let (bundle, images) = (self.bundle.clone(), self.images.clone());
        let (allow_patches, override_mode) = (self.settings.allow_patches, self.settings.override_mode);
        let administrator_values = self.settings.administrator_values.clone();
        let work = move || {
            let rules = OverrideRules {
                bundle: &bundle,
                images: &images,
                allow_patches,
                override_mode,
                administrator_values: &administrator_values,
            };
            work(PlanInput {
                rules,
                facts: &facts,
                kubernetes_version: &kubernetes_version,
                owner: owner.as_ref(),
            })
        };
        self.renderer.run(work).await
    }
}

/// A setting of the cluster is unreadable and has never been readable: nothing is installed based on a guess.
fn undecided_rejection(decision: &ClusterDecision) -> Rejection {
    let problems: Vec<String> = decision.errors.iter().map(ToString::to_string).collect();
    Rejection::new(Reason::ValidationFailed, State::Warning, messages::unreadable_settings(&problems))
}

/// The inventory with the objects of a previous installer that are not planned, so that they are pruned.
fn with_legacy_resources(plan: &Plan, state: &ClusterState) -> Result<Inventory, plan::Error> {
    let mut inventory = state.inventory.clone();
    if state.legacy.is_empty() {
        return Ok(inventory);
    }
    let planned = plan.ids().map_err(|(_, source)| source)?;
    for (id, record) in &state.legacy {
        if !planned.iter().any(|(_, planned)| planned.is_same_object(id)) {
            tracing::info!(object = %id, "pruning an object of the previous installer");
            inventory.record(id.clone(), record.clone());
        }
    }
    Ok(inventory)
}
