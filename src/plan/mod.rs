//! From a validated resource and the facts of the cluster to the objects that should exist, in the order of their writing.
//!
//! Pure: no client, no clock, no environment. A plan changes nothing; only `apply` writes it.

pub mod access;
mod bisect;
mod boundary;
mod build;
pub mod cluster;
pub mod configuration;
mod environment;
mod extra_resources;
pub mod images;
mod keys;
mod limits;
mod overrides;
mod patches;
mod rendering_policy;
mod shapes;
mod stages;

use std::collections::BTreeMap;

use istio_charts::{Bundle, ComponentName};
use serde_json::{Value, json};
use thiserror::Error;

pub use self::boundary::{BoundaryError, check as check_boundary};
pub use self::build::{
    OverrideRules, PlanInput, PlanOutcome, build_plan, check_spec, plan_without_allow_list,
};
use self::limits::LIMITS;
pub use self::overrides::{AdministratorValues, AdministratorValuesError, OverrideMode};
use self::stages::write_rank;
pub use self::stages::{Stage, stage_of};
use crate::api::names;
use crate::kubernetes::object::{self, ObjectId};

/// Selects everything that this operator applies.
pub const MODULE_SELECTOR: &str = "kyma-project.io/module=istio";

/// A plan could not be made.
#[derive(Debug, Error)]
pub enum Error {
    /// Merging the resource into the base configuration.
    #[error("cannot build the configuration of Istio from the resource")]
    Configuration(#[from] configuration::Error),
    /// Istio's charts do not render with this configuration.
    #[error("cannot render Istio {version}")]
    Render {
        /// Version of the charts.
        version: String,
        /// The chart, place and expression.
        source: Box<istio_charts::Error>,
    },
    /// A rendered object cannot be addressed.
    #[error("a chart rendered an object without an identity")]
    Object {
        /// What is missing.
        #[from]
        source: object::Error,
    },
    /// The objects reach beyond what the operator manages, or contradict each other.
    #[error("the rendered objects are refused")]
    Boundary(#[from] BoundaryError),
}

/// The objects that should exist.
#[derive(Debug)]
pub struct Plan {
    bundle: Bundle,
    stages: BTreeMap<Stage, Vec<(ObjectId, Value)>>,
    warnings: Vec<String>,
}

/// Renders the objects for a merged `IstioOperator` document and sorts them into stages, followed by `extras`.
///
/// `kubernetes_version` is the API server's, such as `v1.36.3`.
pub fn render_plan(
    bundle: &Bundle,
    configuration: &Value,
    kubernetes_version: &str,
    extras: Vec<Value>,
) -> Result<Plan, Error> {
    let failed = |source| Error::Render { version: bundle.version().to_owned(), source: Box::new(source) };
    let mut plan = Plan { bundle: bundle.clone(), stages: BTreeMap::new(), warnings: Vec::new() };
    plan.add(Stage::Namespace, extra_resources::control_plane_namespace())?;
    let components =
        istio_charts::render(bundle, configuration, kubernetes_version, LIMITS).map_err(failed)?;
    for component in components {
        for mut object in component.objects {
            environment::merge_duplicates(&mut object, configuration);
            plan.add(stage_of(component.name, &object), object)?;
        }
    }
    for object in extras {
        plan.add(Stage::Extras, object)?;
    }
    for objects in plan.stages.values_mut() {
        objects.sort_by_key(|(_, object)| write_rank(object));
    }
    boundary::check(plan.stages.values().flatten().map(|(id, _)| id))?;
    boundary::check_variables(plan.stages.values().flatten())?;
    Ok(plan)
}

#[cfg(test)]
impl Plan {
    /// A plan of objects that nothing has checked, for tests of later checks.
    pub(crate) fn unchecked(objects: Vec<Value>) -> Self {
        let mut plan = Self { bundle: Bundle::embedded(), stages: BTreeMap::new(), warnings: Vec::new() };
        for object in objects {
            if let Ok(id) = ObjectId::of(&object) {
                plan.stages.entry(Stage::Configuration).or_default().push((id, object));
            }
        }
        plan
    }
}

impl Plan {
    fn add(&mut self, stage: Stage, mut object: Value) -> Result<(), Error> {
        add_module_label(&mut object);
        let id = ObjectId::of(&object)?;
        self.stages.entry(stage).or_default().push((id, object));
        Ok(())
    }

    /// What the author of the resource should correct, although the plan can be followed.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The objects of one stage, in the order of their writing.
    ///
    /// Custom resource definitions are unpacked one at a time: all of them together would take more memory than the rest
    /// of the operator.
    pub fn objects(
        &self,
        stage: Stage,
    ) -> Box<dyn Iterator<Item = Result<(ObjectId, Value), Error>> + Send + '_> {
        let rendered = self.stages.get(&stage).into_iter().flatten().cloned().map(Ok);
        if stage == Stage::CustomResourceDefinitions {
            Box::new(self.crds().chain(rendered))
        } else {
            Box::new(rendered)
        }
    }

    /// The identities of all planned objects with their stage, in the order of their writing.
    pub fn ids(&self) -> Result<Vec<(Stage, ObjectId)>, (Stage, Error)> {
        let mut ids = Vec::new();
        for stage in Stage::ALL {
            for object in self.objects(stage) {
                ids.push((stage, object.map_err(|error| (stage, error))?.0));
            }
        }
        Ok(ids)
    }

    fn unreadable_bundle(&self, source: istio_charts::BundleError) -> Error {
        Error::Render { version: self.bundle.version().to_owned(), source: Box::new(source.into()) }
    }

    fn crds(&self) -> impl Iterator<Item = Result<(ObjectId, Value), Error>> + Send + '_ {
        self.bundle.crds().map(|crd| {
            let mut definition = crd.map_err(|source| self.unreadable_bundle(source))?;
            istio_charts::add_owner_labels(&mut definition, ComponentName::Base, self.bundle.version());
            add_module_label(&mut definition);
            Ok((ObjectId::of(&definition)?, definition))
        })
    }
}

/// Marks an object as part of the module, by which users, the dashboard, and the operator's own lists find it.
fn add_module_label(object: &mut Value) {
    let (key, value) = (names::MODULE_LABEL, names::MODULE_LABEL_VALUE);
    let labels = &mut object["metadata"]["labels"];
    match labels.as_object_mut() {
        Some(labels) => {
            labels.insert(key.to_owned(), json!(value));
        }
        None => *labels = json!({key: value}),
    }
}
