//! From a validated resource and what is known of the cluster to the plan: the one way, for the reconcile and for the
//! commands that only look.
//!
//! Values and patches of the resource are judged here, because only the charts know which values there are, and only the
//! rendered objects tell what becomes of them.

use istio_charts::{Bundle, ValueNames};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value};

use super::cluster::ClusterFacts;
use super::configuration::{self, Images, check_administrator_values, check_values};
use super::extras::extras;
use super::guard::{self, Violation};
use super::{AdministratorValues, Error, OverrideMode, Plan, patches, plan};
use crate::api::names::{FEATURES_CONFIG_MAP, OPERATOR_NAMESPACE};
use crate::object::ObjectId;
use crate::telemetry::one_line;
use crate::validate::{self, Problem, Rejection, ValidatedSpec};

/// What a plan depends on besides the resource.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Charts of the version to install.
    pub bundle: &'a Bundle,
    /// Size, provider and settings of the cluster.
    pub facts: &'a ClusterFacts,
    /// Images of that version.
    pub images: &'a Images,
    /// Version of the API server, such as `v1.36.3`.
    pub kubernetes_version: &'a str,
    /// Whether `spec.patches` may be used.
    pub allow_patches: bool,
    /// How far the resource's author is trusted with values and patches.
    pub override_mode: OverrideMode,
    /// The administrator's values, below those of the resource.
    pub administrator_values: &'a AdministratorValues,
    /// The resource, as owner of what must not outlive it; `None` if it does not exist in a cluster.
    pub owner: Option<&'a OwnerReference>,
}

/// What comes of a resource.
#[derive(Debug)]
pub enum Desired {
    /// The objects that should exist.
    Plan(Plan),
    /// Its values or patches cannot be followed.
    Rejected(Rejection),
}

/// Plans the objects that should exist.
pub fn desired(spec: &ValidatedSpec, basis: Basis<'_>) -> Result<Desired, Error> {
    let mut problems: Vec<Problem> = ambient_without_agent(spec, basis.facts).into_iter().collect();
    problems.extend(value_problems(spec, basis)?);
    if !spec.patches.is_empty() && !basis.allow_patches {
        problems.push(Problem::warning(
            "spec.patches",
            "patches are not allowed in this operator, remove them or start it with --allow-patches",
        ));
    }
    if !problems.is_empty() {
        return Ok(Desired::Rejected(validate::rejection(&problems)));
    }
    let document = document(spec, basis)?;
    if let Err(rejection) = validate::effective(&document) {
        return Ok(Desired::Rejected(rejection));
    }
    let mut plan = match unfold(&document, spec, basis) {
        Ok(plan) => plan,
        Err(error) => return Ok(Desired::Rejected(validate::rejection(&unrenderable(spec, basis, error)?))),
    };
    problems.extend(forbidden_values(spec, basis, &plan)?);
    if problems.is_empty() {
        problems.extend(apply_patches(spec, &mut plan));
    }
    Ok(if problems.is_empty() {
        Desired::Plan(plan)
    } else {
        Desired::Rejected(validate::rejection(&problems))
    })
}

/// What is wrong with the values of the resource and of the administrator by their names, before anything is rendered.
fn value_problems(spec: &ValidatedSpec, basis: Basis<'_>) -> Result<Vec<Problem>, Error> {
    if spec.values.is_empty() && basis.administrator_values.as_map().is_empty() {
        return Ok(Vec::new());
    }
    let (names, version) = (known_names(basis)?, basis.bundle.version());
    let mut problems = check_administrator_values(basis.administrator_values, &names, version);
    problems.extend(check_values(&spec.values, basis.override_mode, &names, version));
    Ok(problems)
}

/// In ambient mode it is the CNI agent that leads the traffic of pods to ztunnel: without it they would have no mTLS.
fn ambient_without_agent(spec: &ValidatedSpec, facts: &ClusterFacts) -> Option<Problem> {
    (spec.experimental.enable_ambient == Some(true) && facts.features.disable_cni).then(|| {
        Problem::warning(
            "spec.experimental.enableAmbient",
            format!(
                "ambient mode needs the CNI agent, which disableCni in ConfigMap {OPERATOR_NAMESPACE}/{FEATURES_CONFIG_MAP} \
                 switches off: write \"disableCni\": false there, or leave enableAmbient out here"
            ),
        )
    })
}

fn render(spec: &ValidatedSpec, basis: Basis<'_>) -> Result<Plan, Error> {
    let document = document(spec, basis)?;
    unfold(&document, spec, basis)
}

fn document(spec: &ValidatedSpec, basis: Basis<'_>) -> Result<Value, configuration::Error> {
    configuration::configuration(spec, basis.facts, basis.images, basis.administrator_values)
}

fn unfold(document: &Value, spec: &ValidatedSpec, basis: Basis<'_>) -> Result<Plan, Error> {
    let extras = extras(spec, basis.facts, document, basis.owner);
    plan(basis.bundle, document, basis.kubernetes_version, extras)
}

/// The names of values that the charts know, and those that the operator itself uses.
fn known_names(basis: Basis<'_>) -> Result<ValueNames, Error> {
    let unreadable = |source: istio_charts::BundleError| Error::Render {
        version: basis.bundle.version().to_owned(),
        source: Box::new(source.into()),
    };
    let mut names = ValueNames::of(basis.bundle).map_err(unreadable)?;
    let none = AdministratorValues::default();
    let own = document(&ValidatedSpec::default(), Basis { administrator_values: &none, ..basis })?;
    names.extend(own.pointer("/spec/values").unwrap_or(&Value::Null));
    Ok(names)
}

/// Values with which the charts do not render. If they do not without them either, the error is ours.
fn unrenderable(spec: &ValidatedSpec, basis: Basis<'_>, error: Error) -> Result<Vec<Problem>, Error> {
    let without = ValidatedSpec { values: Map::new(), ..spec.clone() };
    if spec.values.is_empty() || render(&without, basis).is_err() {
        return Err(error);
    }
    let problem = |path: String, error: &Error| Problem::warning(path, one_line(error));
    let alone = leaves(&spec.values).into_iter().filter_map(|(path, values)| {
        let error = render(&ValidatedSpec { values, ..spec.clone() }, basis).err()?;
        Some(problem(format!("spec.values.{path}"), &error))
    });
    let problems: Vec<Problem> = alone.collect();
    Ok(if problems.is_empty() { vec![problem("spec.values".to_owned(), &error)] } else { problems })
}

/// Values whose effect is closed to users, told by rendering without them. Costs a rendering only where there are any.
fn forbidden_values(spec: &ValidatedSpec, basis: Basis<'_>, plan: &Plan) -> Result<Vec<Problem>, Error> {
    if spec.values.is_empty() {
        return Ok(Vec::new());
    }
    let without = render(&ValidatedSpec { values: Map::new(), ..spec.clone() }, basis)?;
    let (before, after) = (without.rendered(), plan.rendered());
    let violations = guard::violations(&before, &after);
    if violations.is_empty() {
        return Ok(Vec::new());
    }
    Ok(culprits(spec, basis, &before, &violations))
}

/// Which of the values is to blame for which violation: each is tried alone. What none does alone they do together.
fn culprits(
    spec: &ValidatedSpec,
    basis: Basis<'_>,
    before: &[(ObjectId, Value)],
    violations: &[Violation],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, values) in leaves(&spec.values) {
        let alone = ValidatedSpec { values, ..spec.clone() };
        // A value may need others to render at all; then it is judged with them.
        let Ok(plan) = render(&alone, basis) else { continue };
        if let Some(violation) = guard::violations(before, &plan.rendered()).first() {
            problems.push(Problem::warning(format!("spec.values.{path}"), violation.to_string()));
        }
    }
    if problems.is_empty() {
        problems.extend(
            violations.iter().map(|violation| Problem::warning("spec.values", violation.to_string())),
        );
    }
    problems
}

/// Each single value with its path, alone in a map of its own.
fn leaves(values: &Map<String, Value>) -> Vec<(String, Map<String, Value>)> {
    let mut leaves = Vec::new();
    for (name, value) in values {
        match value.as_object().filter(|map| !map.is_empty()) {
            Some(map) => leaves.extend(leaves_below(name, map)),
            None => leaves.push((name.clone(), Map::from_iter([(name.clone(), value.clone())]))),
        }
    }
    leaves
}

fn leaves_below(name: &str, map: &Map<String, Value>) -> Vec<(String, Map<String, Value>)> {
    let nest =
        |(path, inner)| (format!("{name}.{path}"), Map::from_iter([(name.to_owned(), Value::Object(inner))]));
    leaves(map).into_iter().map(nest).collect()
}

/// Applies the patches to the plan, and remembers its warnings.
fn apply_patches(spec: &ValidatedSpec, plan: &mut Plan) -> Vec<Problem> {
    if spec.patches.is_empty() {
        return Vec::new();
    }
    let mut objects = plan.rendered();
    let patched = patches::apply(&spec.patches, &mut objects);
    plan.replace(objects);
    plan.warnings.extend(patched.warnings);
    patched.problems
}

impl Plan {
    /// All rendered objects; the definitions are not among them.
    fn rendered(&self) -> Vec<(ObjectId, Value)> {
        self.stages.values().flatten().cloned().collect()
    }

    /// Puts changed objects, in the order of [`Plan::rendered`], into the places of the old ones.
    fn replace(&mut self, objects: Vec<(ObjectId, Value)>) {
        for (place, object) in self.stages.values_mut().flatten().zip(objects) {
            *place = object;
        }
    }
}

#[cfg(test)]
mod tests;
