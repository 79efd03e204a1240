//! From a validated resource and what is known of the cluster to the plan: the one way, for the reconcile and for the
//! commands that change nothing.
//!
//! Pure. Values and patches of the resource are checked here, because only the charts know which values there are, and only
//! the rendered objects show the effect of values and patches.

mod nulls;

use std::collections::BTreeSet;
use std::ops::Range;

use istio_charts::{Bundle, ValueNames};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value};

use super::cluster::ClusterFacts;
use super::configuration::{
    self, CheckedValues, Images, ValueRules, base_values, check_administrator_values, check_values,
};
use super::extra_resources::extra_resources;
use super::rendering_policy::{self, RenderingPolicy, Violation};
use super::{AdministratorValues, Error, OverrideMode, Plan, bisect, boundary, patches, render_plan};
use crate::api::IstioSpec;
use crate::api::names::{FEATURES_CONFIG_MAP, OPERATOR_NAMESPACE};
use crate::istio_release::IstioRelease;
use crate::kubernetes::object::ObjectId;
use crate::telemetry::format_error_chain;
use crate::text::escaped;
use crate::validate::{self, FeatureStage, Problem, Problems, Rejection, Remedy, ValidatedSpec};

/// Most values that are named together, where it is not known which of them is the cause.
const MAX_NAMED_VALUES: usize = 5;
/// Longest path of a value in a message, in characters.
const MAX_PATH: usize = 120;

/// What a plan depends on besides the resource.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The charts and images to install, and what may be overridden.
    pub rules: OverrideRules<'a>,
    /// Size, provider, and settings of the cluster.
    pub facts: &'a ClusterFacts,
    /// Version of the API server, such as `v1.36.3`.
    pub kubernetes_version: &'a str,
    /// The resource, as owner of what must not outlive it; `None` if it does not exist in a cluster.
    pub owner: Option<&'a OwnerReference>,
}

/// What decides about values and patches without knowing the cluster.
#[derive(Clone, Copy, Debug)]
pub struct OverrideRules<'a> {
    /// Charts of the version to install.
    pub bundle: &'a Bundle,
    /// Images of that version.
    pub images: &'a Images,
    /// Whether `spec.patches` may be used.
    pub allow_patches: bool,
    /// How far the author of the resource is trusted with values and patches.
    pub override_mode: OverrideMode,
    /// The administrator's values, below those of the resource.
    pub administrator_values: &'a AdministratorValues,
}

/// The result of planning a resource.
#[derive(Debug)]
pub enum PlanOutcome {
    /// The objects that should exist.
    Plan(Plan),
    /// The values or patches cannot be followed.
    Rejected(Rejection),
}

/// Checks a spec. If it is invalid, its values and patches are checked by their names as well, so that the author learns of
/// all problems at once; if it is valid, [`build_plan`] checks them.
///
/// # Errors
/// A rejection that reports all problems together.
pub fn check_spec(
    spec: &IstioSpec,
    feature_stage: FeatureStage,
    rules: OverrideRules<'_>,
) -> Result<ValidatedSpec, Rejection> {
    let (spec, mut problems) = validate::check(spec, feature_stage)?;
    if !problems.is_empty() {
        // An error of the charts is reported once the spec is valid.
        if let Ok(checked) = check_overrides(&spec, rules, &ClusterFacts::default()) {
            problems.extend(checked.problems);
        }
    }
    problems.into_rejection().map_or(Ok(spec), Err)
}

/// Plans the objects that should exist.
///
/// # Errors
/// If the charts cannot be rendered for a reason that the author cannot correct.
pub fn build_plan(spec: &ValidatedSpec, input: PlanInput<'_>) -> Result<PlanOutcome, Error> {
    let mut problems: Problems = check_ambient_needs_cni(spec, input.facts).into_iter().collect();
    let checked = check_overrides(spec, input.rules, input.facts)?;
    problems.extend(checked.problems);
    if let Some(rejection) = problems.into_rejection() {
        return Ok(PlanOutcome::Rejected(rejection));
    }
    plan_without_allow_list(&ValidatedSpec { values: checked.values, ..spec.clone() }, input)
}

/// Plans with values and patches, whatever they are: what holds here does not rely on any list of allowed values.
///
/// Public for tests that show this. Everything else uses [`build_plan`].
///
/// # Errors
/// If the charts cannot be rendered for a reason that the author cannot correct.
pub fn plan_without_allow_list(spec: &ValidatedSpec, input: PlanInput<'_>) -> Result<PlanOutcome, Error> {
    let document = document(spec, input)?;
    if let Some(rejection) = validate::check_rendered_limits(&document).into_rejection() {
        return Ok(PlanOutcome::Rejected(rejection));
    }
    let mut plan = match render_document(&document, spec, input) {
        Ok(plan) => plan,
        Err(error) => {
            let rejection = find_unrenderable_values(spec, input, &error).into_rejection();
            return rejection.map(PlanOutcome::Rejected).ok_or(error);
        }
    };
    let mut problems = find_forbidden_values(spec, input, &plan)?;
    if problems.is_empty() {
        plan.warnings.extend(nulls::warnings(spec, input, &plan)?);
        problems.extend(apply_patches(spec, input.rules.override_mode, &mut plan));
    }
    Ok(problems.into_rejection().map_or(PlanOutcome::Plan(plan), PlanOutcome::Rejected))
}

/// Checks the values of the resource and of the administrator by their names, and whether patches may be used, before anything
/// is rendered.
fn check_overrides(
    spec: &ValidatedSpec,
    rules: OverrideRules<'_>,
    facts: &ClusterFacts,
) -> Result<CheckedValues, Error> {
    let mut checked = CheckedValues::default();
    if !spec.values.is_empty() || !rules.administrator_values.as_map().is_empty() {
        let names = known_value_names(rules.bundle)?;
        let spec_without_values = ValidatedSpec { values: Map::new(), ..spec.clone() };
        let document = configuration::build_configuration(
            &spec_without_values,
            facts,
            rules.images,
            rules.administrator_values,
        )?;
        let value_rules = ValueRules { names: &names, version: rules.bundle.version(), document: &document };
        checked = check_values(&spec.values, rules.override_mode, value_rules);
        checked.problems.splice(0..0, check_administrator_values(rules.administrator_values, value_rules));
    }
    if !spec.patches.is_empty() && !rules.allow_patches {
        let problem =
            Problem::warning("spec.patches", "patches are not allowed in this operator. Remove them");
        checked.problems.push(problem.with_remedy(Remedy::AllowPatches));
    }
    Ok(checked)
}

/// In ambient mode the CNI agent redirects the traffic of pods to ztunnel: without it they would have no mTLS.
fn check_ambient_needs_cni(spec: &ValidatedSpec, facts: &ClusterFacts) -> Option<Problem> {
    (spec.experimental.enable_ambient == Some(true) && facts.features.disable_cni).then(|| {
        Problem::warning(
            "spec.experimental.enableAmbient",
            format!(
                "ambient mode needs the CNI agent, which disableCni in ConfigMap {OPERATOR_NAMESPACE}/{FEATURES_CONFIG_MAP} \
                 switches off. Write \"disableCni\": false there, or remove enableAmbient here"
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
    let mut document = configuration::build_configuration(
        spec,
        input.facts,
        input.rules.images,
        input.rules.administrator_values,
    )?;
    if spec.compatibility_mode {
        let release = IstioRelease::of(input.rules.bundle);
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
    render_plan(input.rules.bundle, document, input.kubernetes_version, extras)
}

/// The names of values that the charts know, and those that the operator itself uses.
fn known_value_names(bundle: &Bundle) -> Result<ValueNames, Error> {
    let unreadable = |source: istio_charts::BundleError| Error::Render {
        version: bundle.version().to_owned(),
        source: Box::new(source.into()),
    };
    let mut names = ValueNames::of(bundle).map_err(unreadable)?;
    names.extend(&base_values()?);
    Ok(names)
}

/// Values with which the charts do not render; empty if they do not without them either, so that the error is not the author's.
fn find_unrenderable_values(spec: &ValidatedSpec, input: PlanInput<'_>, error: &Error) -> Problems {
    if spec.values.is_empty() || render_with_values(Map::new(), spec, input).is_err() {
        return Problems::default();
    }
    let leaves = leaves(&spec.values);
    let failure = |chosen: &[Range<usize>]| render_with_values(subset(&leaves, chosen), spec, input).err();
    let any_failure = BTreeSet::from([()]);
    let result =
        bisect::bisect(leaves.len(), any_failure, |chosen| failure(chosen).map(|_| ()).into_iter().collect());
    let found = result.rejected.into_iter().filter_map(|(group, _)| {
        let error = failure(std::slice::from_ref(&group))?;
        Some(problem(&leaves[group], format_error_chain(&error)))
    });
    let mut problems: Problems = found.collect();
    if problems.is_empty() {
        problems.push(problem(&leaves, format_error_chain(error)));
    }
    problems
}

/// Values whose effect is closed to authors, found by rendering without them. Costs renderings only where there are values.
fn find_forbidden_values(spec: &ValidatedSpec, input: PlanInput<'_>, plan: &Plan) -> Result<Problems, Error> {
    if spec.values.is_empty() || input.rules.override_mode == OverrideMode::Unrestricted {
        return Ok(Problems::default());
    }
    let before = render_with_values(Map::new(), spec, input)?.rendered();
    let policy = RenderingPolicy { before, switched_on: &|| everything_switched_on(spec, input) };
    let violations = policy.violations(&plan.rendered());
    Ok(if violations.is_empty() {
        Problems::default()
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

/// Which of the values causes which violation.
fn find_rejected_values(
    spec: &ValidatedSpec,
    input: PlanInput<'_>,
    policy: &RenderingPolicy<'_>,
    violations: Vec<Violation>,
) -> Problems {
    let leaves = leaves(&spec.values);
    let violations_of = |chosen: &[Range<usize>]| -> BTreeSet<Violation> {
        // Values may need others to render at all; then they are checked with those.
        let plan = render_with_values(subset(&leaves, chosen), spec, input);
        plan.map(|plan| policy.violations(&plan.rendered()).into_iter().collect()).unwrap_or_default()
    };
    let result = bisect::bisect(leaves.len(), violations.into_iter().collect(), violations_of);
    let found = result.rejected.into_iter();
    let named = found.filter_map(|(group, violations)| Some(rejected(&leaves[group], violations.first()?)));
    let mut problems: Problems = named.collect();
    match result.unexplained.first() {
        Some(violation) if problems.is_empty() => problems.push(rejected(&leaves, violation)),
        Some(violation) => {
            let count = result.unexplained.len();
            let message = format!("{count} more changes are rejected, such as {violation}");
            problems.push(Problem::warning("spec.values", message).with_remedy(Remedy::AdministratorValues));
        }
        None => {}
    }
    problems
}

fn rejected(leaves: &[Leaf<'_>], violation: &Violation) -> Problem {
    problem(leaves, violation.to_string()).with_remedy(Remedy::AdministratorValues)
}

/// A problem of one value, or of several that could not be distinguished.
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
        escaped(&self.path.join("."), MAX_PATH)
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

/// Applies the patches to the plan, and keeps their warnings.
fn apply_patches(spec: &ValidatedSpec, mode: OverrideMode, plan: &mut Plan) -> Vec<Problem> {
    if spec.patches.is_empty() {
        return Vec::new();
    }
    let mut objects = plan.rendered();
    let mut patched = patches::apply(&spec.patches, mode, &mut objects);
    if patched.problems.is_empty()
        && let Err(error) = boundary::check_variables(&objects)
    {
        patched.problems.push(Problem::warning("spec.patches", error.to_string()));
    }
    plan.replace(objects);
    plan.warnings.extend(patched.warnings);
    patched.problems
}

impl Plan {
    /// All rendered objects; the CRDs are not among them.
    fn rendered(&self) -> Vec<(ObjectId, Value)> {
        self.stages.values().flatten().cloned().collect()
    }

    /// Replaces the objects with changed ones in the order of [`Plan::rendered`].
    fn replace(&mut self, objects: Vec<(ObjectId, Value)>) {
        for (place, object) in self.stages.values_mut().flatten().zip(objects) {
            *place = object;
        }
    }
}

#[cfg(test)]
mod tests;
