//! Which subcharts are rendered, under which names, and which values they export.
//!
//! Pure. See <https://helm.sh/docs/topics/charts/#chart-dependencies>.

use super::values::{Nulls, coalesce, coalesce_tables, lookup, to_json};
use crate::chart::{Chart, Dependency};
use gotemplate::semver::{Constraint, Version};
use gotemplate::{Map, Value as Data};
use serde_json::{Value, json};

/// Prepares a chart as Helm does before it renders it: aliases, conditions, tags, then imported values.
pub(super) fn process(chart: &mut Chart, user: &Value) -> Result<(), String> {
    check_present(chart)?;
    enable(chart, user, "")?;
    import_all(chart)
}

/// Every chart that Chart.yaml depends on must be present.
fn check_present(chart: &Chart) -> Result<(), String> {
    let wanted = chart.metadata.dependencies.iter().flatten().map(|dependency| dependency.name.as_str());
    let missing: Vec<&str> =
        wanted.filter(|name| !chart.dependencies.iter().any(|present| present.name() == *name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("found in Chart.yaml, but missing in charts/ directory: {}", missing.join(", ")))
}

/// Whether a version fits a constraint.
pub(super) fn is_compatible(constraint: &str, version: &str) -> bool {
    match (Constraint::parse(constraint), Version::parse(version)) {
        (Ok(constraint), Some(version)) => constraint.check(&version),
        _ => false,
    }
}

fn satisfies(chart: &Chart, dependency: &Dependency) -> bool {
    chart.name() == dependency.name && is_compatible(&dependency.version, &chart.metadata.version)
}

/// Names the subcharts and drops those that are disabled.
fn enable(chart: &mut Chart, values: &Value, path: &str) -> Result<(), String> {
    let Some(mut wanted) = chart.metadata.dependencies.take() else { return Ok(()) };
    chart.dependencies = named(&chart.dependencies, &mut wanted);
    let values = coalesce(chart, values, Nulls::Coalesce)?;
    for dependency in &mut wanted {
        dependency.enabled = true;
        switch_by_tags(dependency, &values);
        switch_by_condition(dependency, &values, path);
    }
    let is_off = |name: &str| wanted.iter().any(|dependency| !dependency.enabled && dependency.name == name);
    chart.dependencies.retain(|subchart| !is_off(subchart.name()));
    let enabled: Vec<Dependency> =
        wanted.iter().filter(|dependency| !is_off(&dependency.name)).cloned().collect();
    let values = to_json(&values)?;
    for subchart in &mut chart.dependencies {
        let below = format!("{path}{}.", subchart.name());
        enable(subchart, &values, &below)?;
    }
    chart.metadata.dependencies = (!enabled.is_empty()).then_some(enabled);
    Ok(())
}

/// The charts under the names that the dependencies give them; those that no dependency mentions come first.
fn named(present: &[Chart], wanted: &mut [Dependency]) -> Vec<Chart> {
    let mut charts: Vec<Chart> = present
        .iter()
        .filter(|chart| !wanted.iter().any(|dependency| satisfies(chart, dependency)))
        .cloned()
        .collect();
    for dependency in wanted {
        if let Some(chart) = present.iter().find(|chart| satisfies(chart, dependency)) {
            let mut chart = chart.clone();
            if !dependency.alias.is_empty() {
                chart.metadata.name.clone_from(&dependency.alias);
            }
            charts.push(chart);
        }
        if !dependency.alias.is_empty() {
            dependency.name.clone_from(&dependency.alias);
        }
    }
    charts
}

/// One true tag enables; without a true one, a false one disables.
fn switch_by_tags(dependency: &mut Dependency, values: &Map) {
    let Some(Data::Map(tags)) = values.get("tags") else { return };
    let flags: Vec<bool> = dependency.tags.iter().filter_map(|tag| as_flag(&tags.get(tag)?)).collect();
    dependency.enabled = flags.is_empty() || flags.contains(&true);
}

fn as_flag(value: &Data) -> Option<bool> {
    if let Data::Bool(flag) = value { Some(*flag) } else { None }
}

/// The first path that leads to a boolean decides.
fn switch_by_condition(dependency: &mut Dependency, values: &Map, path: &str) {
    let condition = dependency.condition.trim().to_owned();
    let mut flags = condition
        .split(',')
        .filter(|condition| !condition.is_empty())
        .filter_map(|condition| as_flag(&lookup(values, &format!("{path}{condition}"))?));
    if let Some(flag) = flags.next() {
        dependency.enabled = flag;
    }
}

fn import_all(chart: &mut Chart) -> Result<(), String> {
    for subchart in &mut chart.dependencies {
        import_all(subchart)?;
    }
    import(chart)
}

/// Adds the values that subcharts export to the defaults of their parent, which win.
fn import(chart: &mut Chart) -> Result<(), String> {
    let Some(mut dependencies) = chart.metadata.dependencies.clone() else { return Ok(()) };
    let values = coalesce(chart, &json!({}), Nulls::Merge)?;
    let imported = Map::new();
    for dependency in &mut dependencies {
        let mut normal = Vec::new();
        for wanted in &dependency.import_values {
            let Some((child, parent)) = paths(wanted) else { continue };
            normal.push(json!({"child": child, "parent": parent}));
            let table = lookup(&values, &format!("{}.{child}", dependency.name));
            if let Some(Data::Map(table)) = table {
                coalesce_tables(&imported, &at_path(&parent, table), Nulls::Merge);
            }
        }
        dependency.import_values = normal;
    }
    chart.metadata.dependencies = Some(dependencies);
    // From here on nothing is shared.
    let unshared = |values: &Map| Data::Map(values.clone()).deep_copy().map_err(|error| error.to_string());
    if let (Data::Map(values), Data::Map(imported)) = (unshared(&values)?, unshared(&imported)?) {
        coalesce_tables(&values, &imported, Nulls::Merge);
        chart.values = to_json(&values)?;
    }
    Ok(())
}

/// From where to where values are imported: a name below `exports`, or two paths.
fn paths(wanted: &Value) -> Option<(String, String)> {
    let path = |key: &str| match wanted.get(key) {
        Some(Value::String(path)) => path.clone(),
        Some(other) => other.to_string(),
        None => "<nil>".to_owned(),
    };
    match wanted {
        Value::String(name) => Some((format!("exports.{name}"), ".".to_owned())),
        Value::Object(_) => Some((path("child"), path("parent"))),
        _ => None,
    }
}

fn at_path(path: &str, table: Map) -> Map {
    if path == "." {
        return table;
    }
    path.rsplit('.').fold(table, |table, key| Map::from_iter([(key.into(), Data::Map(table))]))
}
