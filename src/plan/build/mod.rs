//! From a validated resource and what is known of the cluster to the plan: the one way, for the reconcile and for the
//! commands that only look.
//!
//! Values and patches of the resource are judged here, because only the charts know which values there are, and only the
//! rendered objects tell what becomes of them.

mod nulls;

use std::collections::BTreeSet;
use std::ops::Range;

use istio_charts::{Bundle, ValueNames};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value};

use super::cluster::ClusterFacts;
use super::configuration::{self, Images, check_administrator_values, check_values};
use super::extra_resources::extra_resources;
use super::rendering_policy::{self, RenderingPolicy, Violation};
use super::{AdministratorValues, Error, OverrideMode, Plan, bisect, patches, render_plan};
use crate::api::IstioSpec;
use crate::api::names::{FEATURES_CONFIG_MAP, OPERATOR_NAMESPACE};
use crate::istio_release::IstioRelease;
use crate::kubernetes::object::ObjectId;
use crate::telemetry::format_error_chain;
use crate::validate::{self, FeatureStage, Problem, Rejection, ValidatedSpec};

/// Most values that are named as rejected; the others are counted.
const MAX_PROBLEMS: usize = 10;
/// Most values that are named together, where it is not known which of them is to blame.
const MAX_NAMED_VALUES: usize = 5;
/// Longest path of a value in a message, in characters.
const MAX_PATH: usize = 120;

/// What a plan depends on besides the resource.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
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
pub enum PlanOutcome {
    /// The objects that should exist.
    Plan(Plan),
    /// Its values or patches cannot be followed.
    Rejected(Rejection),
}

/// Plans the objects that should exist.
pub fn build_plan(spec: &ValidatedSpec, input: PlanInput<'_>) -> Result<PlanOutcome, Error> {
    let mut problems: Vec<Problem> = check_ambient_needs_cni(spec, input.facts).into_iter().collect();
    problems.extend(value_problems(spec, input)?);
    if !spec.patches.is_empty() && !input.allow_patches {
        problems.push(Problem::warning(
            "spec.patches",
            "patches are not allowed in this operator, remove them or start it with --allow-patches",
        ));
    }
    if !problems.is_empty() {
        return Ok(PlanOutcome::Rejected(validate::rejection(&problems)));
    }
    plan_with_overrides(spec, input)
}

/// Plans with values and patches, whatever they are: what holds here does not rely on any list of allowed values.
///
/// Public for tests that show this. Everything else takes [`build_plan`].
pub fn plan_with_overrides(spec: &ValidatedSpec, input: PlanInput<'_>) -> Result<PlanOutcome, Error> {
    let document = document(spec, input)?;
    if let Err(rejection) = validate::check_rendered_limits(&document) {
        return Ok(PlanOutcome::Rejected(rejection));
    }
    let mut plan = match render_document(&document, spec, input) {
        Ok(plan) => plan,
        Err(error) => {
            return Ok(PlanOutcome::Rejected(validate::rejection(&find_unrenderable_values(
                spec, input, error,
            )?)));
        }
    };
    let mut problems = find_forbidden_values(spec, input, &plan)?;
    if problems.is_empty() {
        plan.warnings.extend(nulls::warnings(spec, input, &plan)?);
        problems.extend(apply_patches(spec, input.override_mode, &mut plan));
    }
    Ok(if problems.is_empty() {
        PlanOutcome::Plan(plan)
    } else {
        PlanOutcome::Rejected(validate::rejection(&problems))
    })
}

/// Validates a spec. If it has problems, the names of its values are checked, too, so that its author sees all problems at
/// once; those of a spec without other problems are reported by [`build_plan`].
pub fn validate_with_values(
    spec: &IstioSpec,
    feature_stage: FeatureStage,
    input: PlanInput<'_>,
) -> Result<ValidatedSpec, Rejection> {
    validate::check_spec(spec, feature_stage).map_err(|invalid| {
        let further = invalid.spec().map(|spec| value_problems(spec, input));
        // A failure to read the charts is reported when there is something to render.
        invalid.rejection(&further.and_then(Result::ok).unwrap_or_default())
    })
}

/// What is wrong with the values of the resource and of the administrator by their names, before anything is rendered.
fn value_problems(spec: &ValidatedSpec, input: PlanInput<'_>) -> Result<Vec<Problem>, Error> {
    if spec.values.is_empty() && input.administrator_values.as_map().is_empty() {
        return Ok(Vec::new());
    }
    let (names, version) = (known_value_names(input)?, input.bundle.version());
    let mut problems = check_administrator_values(input.administrator_values, &names, version);
    problems.extend(check_values(&spec.values, input.override_mode, &names, version));
    Ok(problems)
}

/// In ambient mode it is the CNI agent that leads the traffic of pods to ztunnel: without it they would have no mTLS.
fn check_ambient_needs_cni(spec: &ValidatedSpec, facts: &ClusterFacts) -> Option<Problem> {
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

/// Renders with other values than those of the resource.
fn render_with_values(
    values: Map<String, Value>,
    spec: &ValidatedSpec,
    input: PlanInput<'_>,
) -> Result<Plan, Error> {
    let spec = ValidatedSpec { values, patches: Vec::new(), ..spec.clone() };
    let document = document(&spec, input)?;
    render_document(&document, &spec, input)
}

fn document(spec: &ValidatedSpec, input: PlanInput<'_>) -> Result<Value, Error> {
    let mut document =
        configuration::build_configuration(spec, input.facts, input.images, input.administrator_values)?;
    if spec.compatibility_mode {
        let release = IstioRelease::of(input.bundle);
        let switches = release.compatibility_switches().map_err(|source| Error::Render {
            version: release.version().to_owned(),
            source: Box::new(source.into()),
        })?;
        configuration::components::merge_compatibility_switches(&mut document, &switches);
    }
    Ok(document)
}

fn render_document(document: &Value, spec: &ValidatedSpec, input: PlanInput<'_>) -> Result<Plan, Error> {
    let extras = extra_resources(spec, input.facts, document, input.owner);
    render_plan(input.bundle, document, input.kubernetes_version, extras)
}

/// The names of values that the charts know, and those that the operator itself uses.
fn known_value_names(input: PlanInput<'_>) -> Result<ValueNames, Error> {
    let unreadable = |source: istio_charts::BundleError| Error::Render {
        version: input.bundle.version().to_owned(),
        source: Box::new(source.into()),
    };
    let mut names = ValueNames::of(input.bundle).map_err(unreadable)?;
    let none = AdministratorValues::default();
    let own = document(&ValidatedSpec::default(), PlanInput { administrator_values: &none, ..input })?;
    names.extend(own.pointer("/spec/values").unwrap_or(&Value::Null));
    Ok(names)
}

/// Values with which the charts do not render. If they do not without them either, the error is ours.
fn find_unrenderable_values(
    spec: &ValidatedSpec,
    input: PlanInput<'_>,
    error: Error,
) -> Result<Vec<Problem>, Error> {
    if spec.values.is_empty() || render_with_values(Map::new(), spec, input).is_err() {
        return Err(error);
    }
    let leaves = leaves(&spec.values);
    let failure = |chosen: &[Range<usize>]| render_with_values(subset(&leaves, chosen), spec, input).err();
    let any_failure = BTreeSet::from([()]);
    let result =
        bisect::bisect(leaves.len(), any_failure, |chosen| failure(chosen).map(|_| ()).into_iter().collect());
    let problems = result.rejected.into_iter().filter_map(|(group, _)| {
        let error = failure(std::slice::from_ref(&group))?;
        Some(problem(&leaves[group], format_error_chain(&error)))
    });
    let problems: Vec<Problem> = problems.collect();
    Ok(if problems.is_empty() { vec![problem(&leaves, format_error_chain(&error))] } else { problems })
}

/// Values whose effect is closed to authors, told by rendering without them. Costs renderings only where there are any.
fn find_forbidden_values(
    spec: &ValidatedSpec,
    input: PlanInput<'_>,
    plan: &Plan,
) -> Result<Vec<Problem>, Error> {
    if spec.values.is_empty() || input.override_mode == OverrideMode::Unrestricted {
        return Ok(Vec::new());
    }
    let before = render_with_values(Map::new(), spec, input)?.rendered();
    let policy = RenderingPolicy { before, switched_on: &|| everything_switched_on(spec, input) };
    let violations = policy.violations(&plan.rendered());
    Ok(if violations.is_empty() {
        Vec::new()
    } else {
        find_rejected_values(spec, input, &policy, violations)
    })
}

/// What the charts render with everything switched on that values may switch on, and no other value of the author.
fn everything_switched_on(spec: &ValidatedSpec, input: PlanInput<'_>) -> Vec<(ObjectId, Value)> {
    let values = rendering_policy::everything_switched_on(!spec.network_policies_enabled);
    let values = values.as_object().cloned().unwrap_or_default();
    // Without it, what appears has no counterpart and is refused.
    render_with_values(values, spec, input).map(|plan| plan.rendered()).unwrap_or_default()
}

/// Which of the values is to blame for which violation.
fn find_rejected_values(
    spec: &ValidatedSpec,
    input: PlanInput<'_>,
    policy: &RenderingPolicy<'_>,
    violations: Vec<Violation>,
) -> Vec<Problem> {
    let leaves = leaves(&spec.values);
    let violations_of = |chosen: &[Range<usize>]| -> BTreeSet<Violation> {
        // Values may need others to render at all; then they are judged with those.
        let plan = render_with_values(subset(&leaves, chosen), spec, input);
        plan.map(|plan| policy.violations(&plan.rendered()).into_iter().collect()).unwrap_or_default()
    };
    let result = bisect::bisect(leaves.len(), violations.into_iter().collect(), violations_of);
    let named = result.rejected.into_iter().take(MAX_PROBLEMS);
    let mut problems: Vec<Problem> = named
        .filter_map(|(group, harms)| Some(problem(&leaves[group], rejection_message(harms.first()?))))
        .collect();
    match result.unexplained.first() {
        Some(violation) if problems.is_empty() => {
            problems.push(problem(&leaves, rejection_message(violation)))
        }
        Some(violation) => problems.push(Problem::warning(
            "spec.values",
            format!("{} further changes are rejected, such as {violation}", result.unexplained.len()),
        )),
        None => {}
    }
    problems
}

fn rejection_message(violation: &Violation) -> String {
    format!("{violation}. The administrator of the operator can set it (--values-file)")
}

/// Something wrong with one value, or with some that could not be told apart.
fn problem(leaves: &[Leaf<'_>], message: String) -> Problem {
    let names: Vec<String> = leaves.iter().take(MAX_NAMED_VALUES).map(Leaf::shown).collect();
    let further = if leaves.len() > names.len() { ", …" } else { "" };
    let field = match names.as_slice() {
        [one] => format!("spec.values.{one}"),
        several => format!("spec.values (one of: {}{further})", several.join(", ")),
    };
    Problem::warning(field, message)
}

/// One value, with the names that lead to it.
#[derive(Debug)]
struct Leaf<'v> {
    path: Vec<&'v str>,
    value: &'v Value,
}

impl Leaf<'_> {
    /// The path, escaped and shortened: its names are the author's.
    fn shown(&self) -> String {
        let path = self.path.join(".");
        let short: String = path.chars().take(MAX_PATH).flat_map(char::escape_debug).collect();
        if path.len() > MAX_PATH { format!("{short}…") } else { short }
    }
}

/// Each single value.
fn leaves(values: &Map<String, Value>) -> Vec<Leaf<'_>> {
    let mut leaves = Vec::new();
    let mut open: Vec<Leaf<'_>> = Vec::new();
    open.extend(values.iter().rev().map(|(name, value)| Leaf { path: vec![name], value }));
    while let Some(leaf) = open.pop() {
        match leaf.value.as_object().filter(|map| !map.is_empty()) {
            Some(map) => open.extend(map.iter().rev().map(|(name, value)| {
                let mut path = leaf.path.clone();
                path.push(name);
                Leaf { path, value }
            })),
            None => leaves.push(leaf),
        }
    }
    leaves
}

/// Some of the values, in a map like the one that they are from.
fn subset(leaves: &[Leaf<'_>], chosen: &[Range<usize>]) -> Map<String, Value> {
    let mut values = Value::Object(Map::new());
    for leaf in chosen.iter().flat_map(|range| &leaves[range.clone()]) {
        let place = leaf.path.iter().fold(&mut values, |place, name| &mut place[*name]);
        *place = leaf.value.clone();
    }
    match values {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}

/// Applies the patches to the plan, and remembers its warnings.
fn apply_patches(spec: &ValidatedSpec, mode: OverrideMode, plan: &mut Plan) -> Vec<Problem> {
    if spec.patches.is_empty() {
        return Vec::new();
    }
    let mut objects = plan.rendered();
    let patched = patches::apply(&spec.patches, mode, &mut objects);
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
