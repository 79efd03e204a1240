//! Nulls in values that do not make their setting absent, because a template of Istio fills it in by itself.
//!
//! Costs a rendering for each null, and nothing where there is none.

use serde_json::{Map, Value, json};

use super::{Error, OverrideRules, Plan, PlanInput, document, render_document};
use crate::kubernetes::object::ObjectId;
use crate::plan::AdministratorValues;
use crate::validate::ValidatedSpec;

/// Most nulls that are examined.
const MAX_NULLS: usize = 20;
/// The chart keeps copies of all values in `ConfigMap`s whose names begin like this.
const COPIES: &str = "values";
/// It repeats the values of the CNI agent, of which the injection templates use only the provider.
const INJECTOR: &str = "istio-sidecar-injector";

/// The warnings about nulls of the resource and of the administrator that remove nothing from `plan`, which is rendered with
/// them and without patches.
pub(super) fn warnings(
    spec: &ValidatedSpec,
    input: PlanInput<'_>,
    plan: &Plan,
) -> Result<Vec<String>, Error> {
    let administrator = input.rules.administrator_values.as_map();
    let authors = null_paths(&spec.values).into_iter().map(|path| (Layer::Author, path));
    let nulls = authors.chain(null_paths(administrator).into_iter().map(|path| (Layer::Administrator, path)));
    let mut after = None;
    let mut warnings = Vec::new();
    for (layer, path) in nulls.take(MAX_NULLS) {
        let case = NullCase { spec, input, layer, path };
        let after = after.get_or_insert_with(|| plan.rendered());
        if case.is_filled_in(after)? {
            warnings.push(case.warning());
        }
    }
    Ok(warnings)
}

/// Whose value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Author,
    Administrator,
}

/// One null.
struct NullCase<'a> {
    spec: &'a ValidatedSpec,
    input: PlanInput<'a>,
    layer: Layer,
    path: Vec<String>,
}

impl NullCase<'_> {
    /// Whether a template sets the value nevertheless; `after` are the objects with the null.
    fn is_filled_in(&self, after: &[(ObjectId, Value)]) -> Result<bool, Error> {
        let Some(default) = self.default()?.filter(|default| !is_empty(default)) else { return Ok(false) };
        // What cannot be rendered without the null is not changed by it for the worse.
        let Ok(before) = self.render(None) else { return Ok(false) };
        let (before, after) = (self.without_copies(&before), self.without_copies(after));
        if before != after {
            return Ok(has_replacement(&before, &after));
        }
        // Either the template has the same default, or nothing that is installed uses the value.
        let Some(probe) = probe(&default) else { return Ok(false) };
        Ok(self.render(Some(probe)).map_or(true, |probed| self.without_copies(&probed) != before))
    }

    /// The objects without those that only repeat values: a null is always absent there.
    fn without_copies<'o>(&self, objects: &'o [(ObjectId, Value)]) -> Vec<&'o (ObjectId, Value)> {
        let is_of_agent = self.path[0] == "cni";
        let is_copy = |id: &ObjectId| {
            id.kind == "ConfigMap" && (id.name.starts_with(COPIES) || is_of_agent && id.name == INJECTOR)
        };
        objects.iter().filter(|(id, _)| !is_copy(id)).collect()
    }

    /// What the value is without the null.
    fn default(&self) -> Result<Option<Value>, Error> {
        let (spec, administrator) = self.layers(None);
        let rules = OverrideRules { administrator_values: &administrator, ..self.input.rules };
        let input = PlanInput { rules, ..self.input };
        let document = document(&spec, input)?;
        let places = if self.path[0] == "meshConfig" { "/spec" } else { "/spec/values" };
        let mut set = document.pointer(places);
        for name in &self.path {
            set = set.and_then(|node| node.get(name));
        }
        if let Some(value) = set {
            return Ok(Some(value.clone()));
        }
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let unreadable = |source: istio_charts::BundleError| Error::Render {
            version: self.input.rules.bundle.version().to_owned(),
            source: Box::new(source.into()),
        };
        istio_charts::default_of(self.input.rules.bundle, &path).map_err(unreadable)
    }

    fn render(&self, value: Option<Value>) -> Result<Vec<(ObjectId, Value)>, Error> {
        let (spec, administrator) = self.layers(value);
        let rules = OverrideRules { administrator_values: &administrator, ..self.input.rules };
        let input = PlanInput { rules, ..self.input };
        let document = document(&spec, input)?;
        Ok(render_document(&document, &spec, input)?.rendered())
    }

    /// The resource without patches and the administrator's values, with another value in the place of the null.
    fn layers(&self, value: Option<Value>) -> (ValidatedSpec, AdministratorValues) {
        let mut spec = ValidatedSpec { patches: Vec::new(), ..self.spec.clone() };
        let mut administrator = self.input.rules.administrator_values.as_map().clone();
        let values = if self.layer == Layer::Author { &mut spec.values } else { &mut administrator };
        replace(values, &self.path, value);
        (spec, administrator.into())
    }

    fn warning(&self) -> String {
        let prefix = if self.layer == Layer::Author { "spec.values." } else { "--values-file: " };
        format!(
            "{prefix}{}: null has no effect: a template of Istio sets a default by itself. Set a value, or remove the null",
            self.path.join(".")
        )
    }
}

/// The paths of all nulls that no list is around.
fn null_paths(values: &Map<String, Value>) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (name, value) in values {
        match value {
            Value::Null => paths.push(vec![name.clone()]),
            Value::Object(map) => paths.extend(null_paths(map).into_iter().map(|mut path| {
                path.insert(0, name.clone());
                path
            })),
            _ => {}
        }
    }
    paths
}

/// Sets the value at a path that exists, or removes it.
fn replace(values: &mut Map<String, Value>, path: &[String], value: Option<Value>) {
    let Some((name, rest)) = path.split_first() else { return };
    match (values.get_mut(name), value) {
        (Some(Value::Object(map)), value) if !rest.is_empty() => replace(map, rest, value),
        (_, Some(value)) => drop(values.insert(name.clone(), value)),
        (_, None) => drop(values.shift_remove(name)),
    }
}

/// Another value of the same type.
fn probe(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(value) => Some(json!(!value)),
        Value::Number(number) => number.as_i64().map(|number| json!(number.saturating_add(1))),
        Value::String(text) => Some(json!(format!("{text}x"))),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Whether any single value of `before` is another one in `after`, instead of absent.
fn has_replacement(before: &[&(ObjectId, Value)], after: &[&(ObjectId, Value)]) -> bool {
    before.iter().any(|(id, before)| {
        let after = after.iter().find(|(other, _)| other == id);
        after.is_some_and(|(_, after)| is_replaced(before, after))
    })
}

fn is_replaced(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .any(|(name, before)| after.get(name).is_some_and(|after| is_replaced(before, after))),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            before.iter().zip(after).any(|(before, after)| is_replaced(before, after))
        }
        // Something is absent.
        (Value::Array(_), Value::Array(_)) => false,
        (Value::String(before), Value::String(after)) if before != after => {
            match (nested(before), nested(after)) {
                (Some(before), Some(after)) => is_replaced(&before, &after),
                _ => true,
            }
        }
        (before, after) => before != after,
    }
}

/// A configuration in the text of a `ConfigMap`.
fn nested(text: &str) -> Option<Value> {
    gotemplate::yaml::parse_json(text).ok().filter(Value::is_object)
}
