//! A user's values over the defaults of a chart, by Helm's rules.
//!
//! Pure. See <https://helm.sh/docs/chart_template_guide/values_files/>.

use serde_json::{Map, Value};

/// The values that templates see. A user's null removes a default; for a key without default it stays.
pub(super) fn coalesce(defaults: &Value, user: &Value) -> Value {
    let mut values = user.as_object().cloned().unwrap_or_default();
    for (key, default) in defaults.as_object().into_iter().flatten() {
        match values.get_mut(key) {
            None => insert_default(&mut values, key, default),
            // At the top level a null removes the key even when the default is null as well.
            Some(Value::Null) => {
                values.shift_remove(key);
            }
            Some(own) => coalesce_below(own, default),
        }
    }
    Value::Object(values)
}

fn coalesce_below(own: &mut Value, default: &Value) {
    let (Value::Object(own), Value::Object(defaults)) = (own, default) else { return };
    for (key, default) in defaults.iter().filter(|(_, default)| !default.is_null()) {
        match own.get_mut(key) {
            None => insert_default(own, key, default),
            Some(Value::Null) => {
                own.shift_remove(key);
            }
            Some(own) => coalesce_below(own, default),
        }
    }
}

fn insert_default(values: &mut Map<String, Value>, key: &str, default: &Value) {
    if !default.is_null() {
        values.insert(key.to_owned(), without_null_fields(default));
    }
}

/// A default that is null is no default. Elements of lists stay, they are values of their own.
fn without_null_fields(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_null_fields(value))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::coalesce;
    use serde_json::json;

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
                json!({"a": 1, "b": {"c": 2}}),
                json!({"a": null, "b": {"c": null}}),
                json!({"b": {}}),
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
            assert_eq!(coalesce(&defaults, &user), expected, "{name}");
        }
    }
}
