//! Null in the values of an installation: what it names is absent from the rendered objects.
//!
//! Pure. Helm lets a null remove a chart's default, but Istio's charts keep their defaults and profiles where that rule does
//! not reach, so those of a null come back. Here they are removed before the chart is rendered. A default within a template
//! (`.Values.image | default "pilot"`) cannot be removed.

use crate::bundle::{Bundle, BundleError};
use crate::install::ComponentName;
use crate::names::DEFAULTS;
use gotemplate::yaml;
use helm_chart::Chart;
use serde_json::{Map, Value};

/// The mesh configuration: its template has defaults, over which only a null wins.
const MESH: &str = "meshConfig";
/// Values for all charts.
const GLOBAL: &str = "global";
/// How the charts name the files of their profiles.
const PROFILE_FILES: &str = "files/profile-";

/// Names from a map of values to one of them.
type ValuePath = Vec<String>;

/// Removes the nulls in `values`, and what `chart` has in their place: its defaults and those of its profiles. `section` is
/// where the chart's own values stand, which it reads without that prefix, too. Returns whether a null removed anything.
///
/// A null in the place of an empty default stays, as Helm has it: there is nothing to remove. One that is of no concern to the
/// chart does not count.
pub(super) fn remove(values: &mut Value, chart: &mut Chart, section: &[&str]) -> bool {
    let paths = null_paths(values);
    let mut is_any_removed = false;
    for path in &paths {
        let places = places(path, section);
        let is_mesh = path[0] == MESH;
        let Some(defaults) = defaults_mut(chart) else { continue };
        let default = places.iter().find_map(|place| at(defaults, place));
        if !is_mesh && default.is_some_and(is_empty) {
            continue;
        }
        let is_of_this_chart =
            default.is_some() || is_mesh || path[0] == GLOBAL || starts_with(path, section);
        for place in &places {
            take(defaults, place);
        }
        remove_from_profiles(chart, &places);
        if !is_mesh {
            take(values, path);
        }
        is_any_removed |= is_of_this_chart;
    }
    is_any_removed
}

/// The default of the charts for the value at `path`, such as `pilot.image`; `None` if no chart has one.
pub fn default_of(bundle: &Bundle, path: &[&str]) -> Result<Option<Value>, BundleError> {
    let path: ValuePath = path.iter().map(|name| (*name).to_owned()).collect();
    for component in ComponentName::ALL {
        let mut chart = bundle.chart(component.chart())?;
        let Some(defaults) = defaults_mut(&mut chart) else { continue };
        let places = places(&path, component.values_path());
        if let Some(default) = places.iter().find_map(|place| at(defaults, place)) {
            return Ok(Some(default.clone()));
        }
    }
    Ok(None)
}

/// Removes the nulls from rendered objects, also from the text of a mesh configuration.
pub(super) fn clean(object: &mut Value) {
    remove_nulls(object);
    if object["kind"] != "ConfigMap" {
        return;
    }
    let Some(mesh) = object.pointer_mut("/data/mesh") else { return };
    let parsed = mesh.as_str().and_then(|text| yaml::parse_json(text).ok());
    if let Some(mut parsed) = parsed.filter(Value::is_object) {
        remove_nulls(&mut parsed);
        *mesh = Value::String(yaml::json_to_string(&parsed).trim_end().to_owned());
    }
}

/// The paths of all nulls that no list is around.
pub(super) fn null_paths(values: &Value) -> Vec<ValuePath> {
    let mut paths = Vec::new();
    collect_nulls(values, &mut Vec::new(), &mut paths);
    paths
}

fn collect_nulls(value: &Value, path: &mut ValuePath, paths: &mut Vec<ValuePath>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        path.push(name.clone());
        if value.is_null() {
            paths.push(path.clone());
        } else {
            collect_nulls(value, path, paths);
        }
        path.pop();
    }
}

/// Where a chart may have what is at `path` in the values of an installation.
fn places<'p>(path: &'p [String], section: &[&str]) -> Vec<&'p [String]> {
    let has_own = !section.is_empty() && starts_with(path, section);
    let own = has_own.then(|| &path[section.len()..]).filter(|own| !own.is_empty());
    std::iter::once(path).chain(own).collect()
}

fn starts_with(path: &[String], section: &[&str]) -> bool {
    path.len() >= section.len() && path.iter().zip(section).all(|(name, known)| name == known)
}

fn defaults_mut(chart: &mut Chart) -> Option<&mut Value> {
    let values = chart.values_mut();
    if values.get(DEFAULTS).is_some() { values.get_mut(DEFAULTS) } else { Some(values) }
}

/// Profiles are merged over the defaults; what they have must go, too.
fn remove_from_profiles(chart: &mut Chart, places: &[&[String]]) {
    chart.rewrite_files(|path, data| {
        let text = std::str::from_utf8(data).ok().filter(|_| path.starts_with(PROFILE_FILES))?;
        let mut profile = yaml::parse_json(text).ok()?;
        let is_changed = places.iter().filter(|place| take(&mut profile, place)).count() > 0;
        // JSON is YAML.
        is_changed.then(|| profile.to_string().into_bytes())
    });
}

fn at<'v>(values: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(values, |node, name| node.get(name))
}

/// Removes the value at a path; returns whether there was one.
fn take(values: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let parent = parents.iter().try_fold(values, |node, name| node.get_mut(name));
    parent.and_then(Value::as_object_mut).is_some_and(|parent| parent.shift_remove(last).is_some())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        value => value.is_null(),
    }
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> =
                std::mem::take(map).into_iter().filter(|(_, value)| !value.is_null()).collect();
            *map = kept;
            map.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chart(defaults: &Value, profile: &Value) -> Chart {
        let files = [
            ("Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\n".to_owned()),
            ("values.yaml", json!({DEFAULTS: defaults}).to_string()),
            ("files/profile-platform-x.yaml", profile.to_string()),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
        Chart::from_files(files.into()).unwrap()
    }

    #[test]
    fn a_null_removes_the_defaults_of_the_chart_and_of_its_profiles() {
        let defaults = json!({"replicaCount": 1, "cpu": {"target": 80}, "global": {"a": 1, "b": 2}});
        let profile = json!({"replicaCount": 2, "pilot": {"replicaCount": 3, "x": 1}});
        for (mut values, left, expected, in_profile) in [
            (
                json!({"pilot": {"replicaCount": null}, "y": 1}),
                json!({"pilot": {}, "y": 1}),
                json!({"cpu": {"target": 80}, "global": {"a": 1, "b": 2}}),
                json!({"pilot": {"x": 1}}),
            ),
            (
                json!({"pilot": {"cpu": {"target": null}}, "global": {"a": null}}),
                json!({"pilot": {"cpu": {}}, "global": {}}),
                json!({"replicaCount": 1, "cpu": {}, "global": {"b": 2}}),
                profile.clone(),
            ),
            (json!({"pilot": {"new": null}}), json!({"pilot": {}}), defaults.clone(), profile.clone()),
        ] {
            let mut chart = chart(&defaults, &profile);
            assert!(remove(&mut values, &mut chart, &["pilot"]));
            assert_eq!((&values, &chart.values_mut()[DEFAULTS]), (&left, &expected));
            chart.rewrite_files(|path, data| {
                let text = std::str::from_utf8(data).unwrap();
                assert_eq!(yaml::parse_json(text).unwrap(), in_profile, "{path}");
                None
            });
        }
    }

    #[test]
    fn a_null_stays_where_there_is_nothing_to_remove() {
        let mut chart = chart(&json!({"labels": {}, "text": ""}), &json!({}));
        let mut values = json!({"pilot": {"labels": null, "text": null, "list": [{"a": null}]}});
        let before = values.clone();
        assert!(!remove(&mut values, &mut chart, &["pilot"]));
        assert_eq!(values, before);
    }

    #[test]
    fn nulls_leave_objects_and_the_text_of_the_mesh_configuration() {
        let mut object = json!({
            "kind": "ConfigMap", "metadata": {"labels": null},
            "data": {"mesh": "a: 1\nb: null\nc:\n- d: null\n  e: 2", "other": "x: null"},
        });
        clean(&mut object);
        assert_eq!(
            object,
            json!({"kind": "ConfigMap", "metadata": {}, "data": {"mesh": "a: 1\nc:\n- e: 2", "other": "x: null"}})
        );
    }
}
