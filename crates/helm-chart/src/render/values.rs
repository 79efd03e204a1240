//! A user's values over the defaults of a chart and of the charts within it, by Helm's rules.
//!
//! On shared maps, because Go's are: a chart and those within it hold the same tables of globals, below the first level.
//! What is merged into one of them, or set by a template, all of them see.
//!
//! See <https://helm.sh/docs/chart_template_guide/values_files/>.

use crate::chart::Chart;
use gotemplate::{Map, MapType, Value as Data};
use serde_json::Value;

/// What Helm does with nulls: a user's null removes a default (`Coalesce`), unless they are still needed (`Merge`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Coalesce,
    Merge,
}

/// The values that a chart's templates see, those of the charts within it below their names.
///
/// The error names a value that should be a map and is none.
pub(super) fn coalesce(chart: &Chart, user: &Value, nulls: Nulls) -> Result<Map, String> {
    coalesce_table(chart, table(user), nulls)
}

/// As [`coalesce`], from a table of the user's values, which is changed.
pub(super) fn coalesce_table(chart: &Chart, values: Map, nulls: Nulls) -> Result<Map, String> {
    coalesce_chart(chart, &values, nulls)?;
    Ok(values)
}

/// Values as JSON, in which nothing is shared.
pub(super) fn to_json(values: &Map) -> Result<Value, String> {
    Data::Map(values.clone()).to_json().map_err(|error| error.to_string())
}

/// A map of its own from JSON, with integers as such; an empty one from anything else.
pub(super) fn table_with_integers(json: &Value) -> Map {
    match Data::from_json_with_integers(json) {
        Data::Map(map) => map,
        _ => Map::new(),
    }
}

/// A map of its own from JSON; an empty one from anything else.
pub(super) fn table(json: &Value) -> Map {
    match Data::from_json(json) {
        Data::Map(map) => map,
        _ => Map::new(),
    }
}

fn coalesce_chart(chart: &Chart, values: &Map, nulls: Nulls) -> Result<(), String> {
    add_defaults(chart, values, nulls);
    for subchart in &chart.dependencies {
        let own = own_values(values, subchart.name())?;
        add_globals(&own, values.get("global"));
        coalesce_chart(subchart, &own, nulls)?;
    }
    Ok(())
}

/// The values of a chart within, in those of its parent.
fn own_values(values: &Map, name: &str) -> Result<Map, String> {
    match values.get(name) {
        Some(Data::Map(own)) => Ok(own),
        Some(_) => Err(format!("type mismatch on {name}: not a map")),
        None => {
            let own = Map::new();
            values.insert(name, Data::Map(own.clone()));
            Ok(own)
        }
    }
}

/// Adds the defaults of a chart where nothing is set.
fn add_defaults(chart: &Chart, values: &Map, nulls: Nulls) {
    for (key, default) in table(&chart.values).entries() {
        match (values.get(&key), default) {
            // At the top level a null removes the key even when the default is null as well.
            (Some(Data::Nil), _) if nulls == Nulls::Coalesce => drop(values.remove(&key)),
            (Some(Data::Map(own)), Data::Map(default)) => {
                let is_subchart = chart.dependencies.iter().any(|subchart| subchart.name() == &*key);
                let nulls = if is_subchart { Nulls::Merge } else { nulls };
                if nulls == Nulls::Coalesce {
                    remove_nulls(&default);
                }
                coalesce_tables(&own, &default, nulls);
            }
            (Some(_), _) => {}
            (None, Data::Nil) if nulls == Nulls::Coalesce => {}
            (None, default) => {
                if let (Data::Map(default), Nulls::Coalesce) = (&default, nulls) {
                    remove_nulls(default);
                }
                values.insert(key, default);
            }
        }
    }
}

/// Merges `source` into `target`, which wins. Tables that only `source` has are shared from then on.
pub(super) fn coalesce_tables(target: &Map, source: &Map, nulls: Nulls) {
    for (key, value) in source.entries() {
        match (target.get(&key), value) {
            (None, value) => target.insert(key, value),
            // A user's null removes a default; a null without default stays.
            (Some(Data::Nil), value) if nulls == Nulls::Coalesce && !matches!(value, Data::Nil) => {
                drop(target.remove(&key));
            }
            (Some(Data::Map(own)), Data::Map(value)) => coalesce_tables(&own, &value, nulls),
            _ => {}
        }
    }
}

/// A default of null is not a default. Elements of lists stay, they are values of their own.
fn remove_nulls(table: &Map) {
    for (key, value) in table.entries() {
        match value {
            Data::Nil => drop(table.remove(&key)),
            Data::Map(table) => remove_nulls(&table),
            _ => {}
        }
    }
}

/// The globals of a chart go to those within it, and win there.
fn add_globals(values: &Map, globals: Option<Data>) {
    let as_table = |value: Option<Data>| match value {
        None => Some(Map::new()),
        Some(Data::Map(table)) => Some(table),
        Some(_) => None,
    };
    let (Some(own), Some(globals)) = (as_table(values.get("global")), as_table(globals)) else { return };
    for (key, value) in globals.entries() {
        match (own.get(&key), value) {
            (None, Data::Map(table)) => own.insert(key, Data::Map(shallow(&table))),
            (Some(Data::Map(known)), Data::Map(table)) => {
                let table = shallow(&table);
                // Where both have a table, that of the parent takes what the chart within has, and both hold it.
                coalesce_tables(&table, &known, Nulls::Merge);
                own.insert(key, Data::Map(table));
            }
            // A map and something else do not mix: what the chart has stays.
            (Some(_), Data::Map(_)) | (Some(Data::Map(_)), _) => {}
            (_, value) => own.insert(key, value),
        }
    }
    values.insert("global", Data::Map(own));
}

fn shallow(table: &Map) -> Map {
    Map::of(MapType::Any, table.entries())
}

/// The value at a path of keys with dots between them.
pub(super) fn lookup(values: &Map, path: &str) -> Option<Data> {
    path.split('.').try_fold(Data::Map(values.clone()), |value, key| value.as_map()?.get(key))
}

#[cfg(test)]
mod tests {
    use super::{Nulls, coalesce, to_json};
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
            let values = coalesce(&chart, &user, Nulls::Coalesce).unwrap();
            assert_eq!(to_json(&values).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn globals_and_values_of_a_chart_within_reach_it() {
        let chart = chart(&[
            ("", &json!({"global": {"a": 1}, "sub": {"x": "parent"}})),
            ("charts/sub/", &json!({"x": "own", "y": "own", "global": {"a": 2, "b": 3}})),
        ]);
        let values = coalesce(&chart, &json!({"global": {"c": 4}}), Nulls::Coalesce).unwrap();
        let values = to_json(&values).unwrap();
        assert_eq!(values["sub"], json!({"x": "parent", "y": "own", "global": {"a": 1, "b": 3, "c": 4}}));
        assert!(coalesce(&chart, &json!({"sub": 1}), Nulls::Coalesce).is_err());
    }
}
