//! A user's values over the defaults of a chart and of the charts within it, by Helm's rules.
//!
//! Pure. See <https://helm.sh/docs/chart_template_guide/values_files/>.

use crate::chart::Chart;
use serde_json::{Map, Value, json};

type Table = Map<String, Value>;

/// What Helm does with nulls: a user's null removes a default (`Coalesce`), unless they are still needed (`Merge`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Coalesce,
    Merge,
}

/// The values that a chart's templates see, those of the charts within it below their names.
///
/// The error names a value that should be a map and is none.
pub(super) fn coalesce(chart: &Chart, user: &Value, nulls: Nulls) -> Result<Value, String> {
    let mut values = user.as_object().cloned().unwrap_or_default();
    coalesce_chart(chart, &mut values, nulls)?;
    Ok(Value::Object(values))
}

fn coalesce_chart(chart: &Chart, values: &mut Table, nulls: Nulls) -> Result<(), String> {
    add_defaults(chart, values, nulls);
    for subchart in &chart.dependencies {
        let name = subchart.name();
        let globals = values.get("global").cloned();
        let own = values.entry(name.to_owned()).or_insert_with(|| json!({}));
        let Value::Object(own) = own else { return Err(format!("type mismatch on {name}: it is no map")) };
        add_globals(own, globals);
        coalesce_chart(subchart, own, nulls)?;
    }
    Ok(())
}

/// The defaults of a chart below what is set already.
fn add_defaults(chart: &Chart, values: &mut Table, nulls: Nulls) {
    for (key, default) in chart.values.as_object().into_iter().flatten() {
        match values.get_mut(key) {
            // At the top level a null removes the key even when the default is null as well.
            Some(Value::Null) if nulls == Nulls::Coalesce => drop(values.shift_remove(key)),
            Some(Value::Object(own)) => {
                if let Value::Object(default) = default {
                    let is_subchart = chart.dependencies.iter().any(|subchart| subchart.name() == key);
                    let nulls = if is_subchart { Nulls::Merge } else { nulls };
                    let mut default = default.clone();
                    if nulls == Nulls::Coalesce {
                        remove_nulls(&mut default);
                    }
                    coalesce_tables(own, default, nulls);
                }
            }
            Some(_) => {}
            None if nulls == Nulls::Coalesce => match default {
                Value::Null => {}
                Value::Object(default) => {
                    let mut default = default.clone();
                    remove_nulls(&mut default);
                    values.insert(key.clone(), Value::Object(default));
                }
                other => drop(values.insert(key.clone(), other.clone())),
            },
            None => drop(values.insert(key.clone(), default.clone())),
        }
    }
}

/// Merges `source` into `target`, which wins.
pub(super) fn coalesce_tables(target: &mut Table, source: Table, nulls: Nulls) {
    for (key, value) in source {
        match target.get_mut(&key) {
            None => drop(target.insert(key, value)),
            // A user's null removes a default; a null without default stays.
            Some(Value::Null) if nulls == Nulls::Coalesce && !value.is_null() => {
                drop(target.shift_remove(&key));
            }
            Some(Value::Object(own)) => {
                if let Value::Object(value) = value {
                    coalesce_tables(own, value, nulls);
                }
            }
            Some(_) => {}
        }
    }
}

/// A default that is null is no default. Elements of lists stay, they are values of their own.
fn remove_nulls(table: &mut Table) {
    table.retain(|_, value| !value.is_null());
    for value in table.values_mut() {
        if let Value::Object(table) = value {
            remove_nulls(table);
        }
    }
}

/// The globals of a chart go to those within it, and win there.
fn add_globals(values: &mut Table, globals: Option<Value>) {
    let Value::Object(globals) = globals.unwrap_or_else(|| json!({})) else { return };
    let own = values.entry("global").or_insert_with(|| json!({}));
    let Value::Object(own) = own else { return };
    for (key, value) in globals {
        match (own.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(mut table)) => {
                coalesce_tables(&mut table, std::mem::take(known), Nulls::Merge);
                *known = table;
            }
            // A map and something else do not mix: what the chart has stays.
            (Some(Value::Object(_)), _) => {}
            (Some(known), Value::Object(_)) if !known.is_object() => {}
            (_, value) => drop(own.insert(key, value)),
        }
    }
}

/// The value at a path of keys with dots between them.
pub(super) fn lookup<'v>(values: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(values, |value, key| value.as_object()?.get(key))
}

#[cfg(test)]
mod tests {
    use super::{Nulls, coalesce};
    use crate::chart::Chart;
    use serde_json::{Value, json};

    fn chart(files: &[(&str, &Value)]) -> Chart {
        let metadata = |name: &str| format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n").into_bytes();
        let mut all = std::collections::BTreeMap::from([("Chart.yaml".to_owned(), metadata("parent"))]);
        for (folder, values) in files {
            all.insert(format!("{folder}values.yaml"), values.to_string().into_bytes());
            if let Some(name) = folder.strip_prefix("charts/") {
                all.insert(format!("{folder}Chart.yaml"), metadata(name.trim_end_matches('/')));
            }
        }
        Chart::from_files(all).unwrap()
    }

    #[test]
    fn users_values_win_and_defaults_fill_the_gaps() {
        let cases = [
            ("gap", json!({"a": 1, "b": {"c": 2}}), json!({}), json!({"a": 1, "b": {"c": 2}})),
            (
                "override",
                json!({"a": 1, "b": {"c": 2, "d": 3}}),
                json!({"b": {"c": 4}}),
                json!({"a": 1, "b": {"c": 4, "d": 3}}),
            ),
            ("lists replace", json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (
                "null removes a default",
                json!({"a": 1, "b": {"c": null, "d": 1}}),
                json!({"a": null, "b": {"c": null, "d": null}}),
                json!({"b": {"c": null}}),
            ),
            (
                "null without default stays",
                json!({"b": {}}),
                json!({"a": null, "b": {"c": null}}),
                json!({"a": null, "b": {"c": null}}),
            ),
            (
                "a null default is none",
                json!({"a": null, "b": {"c": null, "d": 1}}),
                json!({}),
                json!({"b": {"d": 1}}),
            ),
            ("other type", json!({"a": {"b": 1}}), json!({"a": "text"}), json!({"a": "text"})),
        ];
        for (name, defaults, user, expected) in cases {
            let chart = chart(&[("", &defaults)]);
            assert_eq!(coalesce(&chart, &user, Nulls::Coalesce).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn globals_and_values_of_a_chart_within_reach_it() {
        let chart = chart(&[
            ("", &json!({"global": {"a": 1}, "sub": {"x": "parent"}})),
            ("charts/sub/", &json!({"x": "own", "y": "own", "global": {"a": 2, "b": 3}})),
        ]);
        let values = coalesce(&chart, &json!({"global": {"c": 4}}), Nulls::Coalesce).unwrap();
        assert_eq!(values["sub"], json!({"x": "parent", "y": "own", "global": {"a": 1, "b": 3, "c": 4}}));
        assert!(coalesce(&chart, &json!({"sub": 1}), Nulls::Coalesce).is_err());
    }
}
