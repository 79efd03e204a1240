//! Checks values against `values.schema.json`, by the JSON Schema drafts 4, 6, 7, 2019-09 and 2020-12.
//!
//! Pure. A keyword that is not supported (`unevaluatedProperties`, references to other files) is a violation that says
//! so: values that nobody checked must not pass.

mod formats;

use super::RenderError;
use crate::chart::Chart;
use gotemplate::regular_expression::Pattern;
use serde_json::{Map, Value};

/// Deepest nesting of schemas and references; a reference to itself ends here.
const DEPTH_LIMIT: usize = 100;
/// Violations that are told; more help nobody.
const MOST_VIOLATIONS: usize = 50;
/// Schemas that one check tries. References within alternatives multiply.
const MOST_STEPS: usize = 2_000_000;

/// Checks the values of a chart and of the charts within it.
pub(super) fn check(chart: &Chart, values: &Value) -> Result<(), RenderError> {
    let failed = |violations| RenderError::Schema { chart: chart.name().to_owned(), violations };
    if let Some(text) = &chart.schema {
        let schema = serde_json::from_slice(text)
            .map_err(|error| failed(vec![format!("values.schema.json is no JSON: {error}")]))?;
        let violations = violations(&schema, values);
        if !violations.is_empty() {
            return Err(failed(violations));
        }
    }
    for subchart in &chart.dependencies {
        match values.get(subchart.name()) {
            None | Some(Value::Null) => {}
            Some(own) => check(subchart, own)?,
        }
    }
    Ok(())
}

/// The draft that a schema follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Draft {
    Four,
    Six,
    Seven,
    Year2019,
    Year2020,
}

impl Draft {
    fn of(schema: &Value) -> Option<Self> {
        let Some(name) = schema.get("$schema") else { return Some(Self::Year2020) };
        let name = name.as_str()?.trim_end_matches('#').rsplit_once("json-schema.org/")?.1;
        match name {
            "draft-04/schema" => Some(Self::Four),
            "draft-06/schema" => Some(Self::Six),
            "draft-07/schema" => Some(Self::Seven),
            "draft/2019-09/schema" => Some(Self::Year2019),
            "draft/2020-12/schema" | "schema" => Some(Self::Year2020),
            _ => None,
        }
    }
}

/// What is wrong with values by a schema, one sentence each with the path of the value.
pub(super) fn violations(schema: &Value, values: &Value) -> Vec<String> {
    let Some(draft) = Draft::of(schema) else {
        return vec![format!("the schema's draft {} is not supported", schema["$schema"])];
    };
    let mut checker = Checker { root: schema, draft, violations: Vec::new(), depth: 0, steps: 0 };
    checker.check(schema, values, "");
    checker.violations
}

struct Checker<'s> {
    root: &'s Value,
    draft: Draft,
    violations: Vec<String>,
    depth: usize,
    steps: usize,
}

fn at(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

impl<'s> Checker<'s> {
    fn wrong(&mut self, path: &str, what: &str) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(format!("- at '{}': {what}", at(path)));
        }
    }

    /// Whether a value fits a schema; violations are not kept.
    fn fits(&mut self, schema: &'s Value, value: &Value, path: &str) -> bool {
        let before = std::mem::take(&mut self.violations);
        self.check(schema, value, path);
        std::mem::replace(&mut self.violations, before).is_empty()
    }

    fn check(&mut self, schema: &'s Value, value: &Value, path: &str) {
        self.steps += 1;
        if self.depth >= DEPTH_LIMIT || self.steps > MOST_STEPS {
            return self.wrong(path, "the schema refers to itself without end");
        }
        self.depth += 1;
        match schema {
            Value::Bool(true) => {}
            Value::Bool(false) => self.wrong(path, "nothing is allowed here"),
            Value::Object(keywords) => self.check_keywords(keywords, value, path),
            _ => self.wrong(path, "the schema is neither a map nor a boolean"),
        }
        self.depth -= 1;
    }

    fn check_keywords(&mut self, keywords: &'s Map<String, Value>, value: &Value, path: &str) {
        if let Some(reference) = keywords.get("$ref") {
            self.check_reference(reference, value, path);
            // Up to draft 7, nothing else counts beside a reference.
            if self.draft <= Draft::Seven {
                return;
            }
        }
        for keyword in ["unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"] {
            if keywords.contains_key(keyword) {
                self.wrong(path, &format!("the keyword '{keyword}' of the schema is not supported"));
            }
        }
        self.check_any(keywords, value, path);
        self.check_combined(keywords, value, path);
        match value {
            Value::String(text) => self.check_text(keywords, text, path),
            Value::Number(number) => self.check_number(keywords, number.as_f64().unwrap_or(f64::NAN), path),
            Value::Array(values) => self.check_list(keywords, values, path),
            Value::Object(fields) => self.check_map(keywords, fields, path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn check_reference(&mut self, reference: &'s Value, value: &Value, path: &str) {
        let found = reference.as_str().and_then(|reference| resolve(self.root, reference));
        match found {
            Some(schema) => self.check(schema, value, path),
            None => self.wrong(path, &format!("the reference {reference} of the schema is not supported")),
        }
    }

    fn check_any(&mut self, keywords: &'s Map<String, Value>, value: &Value, path: &str) {
        if let Some(wanted) = keywords.get("type") {
            let names: Vec<&str> = match wanted {
                Value::String(name) => vec![name],
                Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            if !names.iter().any(|name| self.is_type(name, value)) {
                self.wrong(path, &format!("got {}, want {}", type_name(value), names.join(" or ")));
            }
        }
        if let Some(allowed) = keywords.get("enum").and_then(Value::as_array)
            && !allowed.iter().any(|allowed| equal(allowed, value))
        {
            let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
            self.wrong(path, &format!("value must be one of {}", allowed.join(", ")));
        }
        if let Some(wanted) = keywords.get("const")
            && self.draft > Draft::Four
            && !equal(wanted, value)
        {
            self.wrong(path, &format!("value must be {wanted}"));
        }
    }

    fn is_type(&self, name: &str, value: &Value) -> bool {
        match name {
            "integer" => match value {
                Value::Number(number) if number.is_f64() => {
                    self.draft > Draft::Four && number.as_f64().is_some_and(|number| number.fract() == 0.0)
                }
                other => other.is_number(),
            },
            name => name == type_name(value),
        }
    }

    fn check_combined(&mut self, keywords: &'s Map<String, Value>, value: &Value, path: &str) {
        let schemas =
            |name: &str| keywords.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for schema in schemas("allOf") {
            self.check(schema, value, path);
        }
        let any = schemas("anyOf");
        if !any.is_empty() && !any.iter().any(|schema| self.fits(schema, value, path)) {
            self.wrong(path, "it fits none of 'anyOf'");
            if let [only] = any {
                self.check(only, value, path);
            }
        }
        let one = schemas("oneOf");
        if !one.is_empty() {
            match one.iter().filter(|schema| self.fits(schema, value, path)).count() {
                1 => {}
                0 => self.wrong(path, "it fits none of 'oneOf'"),
                count => self.wrong(path, &format!("it fits {count} of 'oneOf', not one")),
            }
        }
        if let Some(schema) = keywords.get("not")
            && self.fits(schema, value, path)
        {
            self.wrong(path, "it fits what 'not' excludes");
        }
        if let Some(condition) = keywords.get("if").filter(|_| self.draft >= Draft::Seven) {
            let branch = if self.fits(condition, value, path) { "then" } else { "else" };
            if let Some(schema) = keywords.get(branch) {
                self.check(schema, value, path);
            }
        }
    }

    fn check_text(&mut self, keywords: &'s Map<String, Value>, text: &str, path: &str) {
        let length = text.chars().count();
        self.check_size(keywords, ("minLength", "maxLength"), length, path);
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str) {
            self.check_pattern(pattern, text, path);
        }
        let format = keywords.get("format").and_then(Value::as_str).filter(|_| self.draft <= Draft::Seven);
        if let Some(format) = format
            && !formats::is_valid(format, text)
        {
            self.wrong(path, &format!("'{text}' is not a valid {format}"));
        }
    }

    fn check_pattern(&mut self, pattern: &str, text: &str, path: &str) {
        match Pattern::parse(pattern) {
            Ok(compiled) if compiled.is_match(text) => {}
            Ok(_) => self.wrong(path, &format!("'{text}' does not match pattern '{pattern}'")),
            Err(message) => self.wrong(path, &message),
        }
    }

    /// Checks a length or a count.
    fn check_size(
        &mut self,
        keywords: &Map<String, Value>,
        (least, most): (&str, &str),
        size: usize,
        path: &str,
    ) {
        let bound = |name: &str| keywords.get(name).and_then(Value::as_f64);
        #[allow(clippy::cast_precision_loss)] // No text has so many characters.
        let number = size as f64;
        if let Some(bound) = bound(least).filter(|bound| number < *bound) {
            self.wrong(path, &format!("{least}: got {size}, want {bound}"));
        }
        if let Some(bound) = bound(most).filter(|bound| number > *bound) {
            self.wrong(path, &format!("{most}: got {size}, want {bound}"));
        }
    }

    fn check_number(&mut self, keywords: &Map<String, Value>, number: f64, path: &str) {
        let bound = |name: &str| keywords.get(name).and_then(Value::as_f64);
        let excludes = |name: &str| keywords.get(name) == Some(&Value::Bool(true));
        let (low, high) = (bound("minimum"), bound("maximum"));
        let is_low = low.is_some_and(|low| number < low || number <= low && excludes("exclusiveMinimum"))
            || bound("exclusiveMinimum").is_some_and(|low| number <= low);
        let is_high = high
            .is_some_and(|high| number > high || number >= high && excludes("exclusiveMaximum"))
            || bound("exclusiveMaximum").is_some_and(|high| number >= high);
        if is_low {
            self.wrong(path, &format!("{number} is below the minimum"));
        }
        if is_high {
            self.wrong(path, &format!("{number} is above the maximum"));
        }
        if let Some(unit) = bound("multipleOf").filter(|unit| *unit > 0.0) {
            let ratio = number / unit;
            if (ratio - ratio.round()).abs() > 1e-9 {
                self.wrong(path, &format!("{number} is not a multiple of {unit}"));
            }
        }
    }

    fn check_list(&mut self, keywords: &'s Map<String, Value>, values: &[Value], path: &str) {
        self.check_size(keywords, ("minItems", "maxItems"), values.len(), path);
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            let is_double =
                |(index, value): (usize, &Value)| values[..index].iter().any(|other| equal(other, value));
            if values.len() <= 5000 && values.iter().enumerate().any(is_double) {
                self.wrong(path, "items are not unique");
            }
        }
        let (first, others) = match (self.draft, keywords.get("items")) {
            (Draft::Year2020, items) => (keywords.get("prefixItems"), items),
            (_, Some(Value::Array(_))) => (keywords.get("items"), keywords.get("additionalItems")),
            (_, items) => (None, items),
        };
        let first = first.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, value) in values.iter().enumerate() {
            if let Some(schema) = first.get(index).or(others) {
                self.check(schema, value, &format!("{path}/{index}"));
            }
        }
        self.check_contains(keywords, values, path);
    }

    fn check_contains(&mut self, keywords: &'s Map<String, Value>, values: &[Value], path: &str) {
        let Some(schema) = keywords.get("contains").filter(|_| self.draft > Draft::Four) else { return };
        let count = values.iter().filter(|value| self.fits(schema, value, path)).count();
        let bound = |name: &str, default: u64| keywords.get(name).and_then(Value::as_u64).unwrap_or(default);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if count < bound("minContains", 1) || count > bound("maxContains", u64::MAX) {
            self.wrong(path, &format!("{count} items fit 'contains'"));
        }
    }

    fn check_map(&mut self, keywords: &'s Map<String, Value>, fields: &Map<String, Value>, path: &str) {
        self.check_size(keywords, ("minProperties", "maxProperties"), fields.len(), path);
        self.check_required(keywords.get("required"), fields, path);
        let map = |name: &str| keywords.get(name).and_then(Value::as_object);
        let properties = map("properties");
        let patterns: Vec<(&String, &Value)> = map("patternProperties").into_iter().flatten().collect();
        for (key, value) in fields {
            let below = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
            let known = properties.and_then(|properties| properties.get(key));
            if let Some(schema) = known {
                self.check(schema, value, &below);
            }
            let mut is_known = known.is_some();
            for (pattern, schema) in &patterns {
                match Pattern::parse(pattern) {
                    Ok(compiled) if compiled.is_match(key) => {
                        is_known = true;
                        self.check(schema, value, &below);
                    }
                    Ok(_) => {}
                    Err(message) => self.wrong(path, &message),
                }
            }
            match keywords.get("additionalProperties").filter(|_| !is_known) {
                Some(Value::Bool(false)) => {
                    self.wrong(path, &format!("additional properties '{key}' not allowed"));
                }
                Some(schema) => self.check(schema, value, &below),
                None => {}
            }
            if let Some(schema) = keywords.get("propertyNames").filter(|_| self.draft > Draft::Four) {
                self.check(schema, &Value::String(key.clone()), &below);
            }
        }
        self.check_dependent(keywords, fields, path);
    }

    fn check_required(&mut self, required: Option<&Value>, fields: &Map<String, Value>, path: &str) {
        let names = required.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let missing: Vec<&str> = names.filter(|name| !fields.contains_key(*name)).collect();
        if !missing.is_empty() {
            self.wrong(path, &format!("missing properties '{}'", missing.join("', '")));
        }
    }

    /// What one property asks of the others.
    fn check_dependent(&mut self, keywords: &'s Map<String, Value>, fields: &Map<String, Value>, path: &str) {
        for keyword in ["dependencies", "dependentRequired", "dependentSchemas"] {
            let dependent = keywords.get(keyword).and_then(Value::as_object).into_iter().flatten();
            for (_, wanted) in dependent.filter(|(key, _)| fields.contains_key(*key)) {
                if wanted.is_array() {
                    self.check_required(Some(wanted), fields, path);
                } else {
                    self.check(wanted, &Value::Object(fields.clone()), path);
                }
            }
        }
    }
}

/// The schema that a reference within the document leads to.
fn resolve<'s>(root: &'s Value, reference: &str) -> Option<&'s Value> {
    let reference = match root.get("$id").or_else(|| root.get("id")).and_then(Value::as_str) {
        Some(id) => reference.strip_prefix(id.trim_end_matches('#')).unwrap_or(reference),
        None => reference,
    };
    let fragment = reference.strip_prefix('#')?;
    if fragment.is_empty() || fragment.starts_with('/') {
        return root.pointer(&fragment.replace("%25", "%").replace("%22", "\"").replace("%5E", "^"));
    }
    anchored(root, fragment, 0)
}

/// The schema that has an anchor of that name.
fn anchored<'s>(schema: &'s Value, name: &str, depth: usize) -> Option<&'s Value> {
    if depth > DEPTH_LIMIT {
        return None;
    }
    let is_named = schema.get("$anchor").and_then(Value::as_str) == Some(name)
        || schema.get("$id").and_then(Value::as_str).and_then(|id| id.strip_prefix('#')) == Some(name);
    if is_named {
        return Some(schema);
    }
    match schema {
        Value::Object(fields) => fields.values().find_map(|below| anchored(below, name, depth + 1)),
        Value::Array(values) => values.iter().find_map(|below| anchored(below, name, depth + 1)),
        _ => None,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Equality of JSON, in which 1 and 1.0 are the same.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::violations;
    use serde_json::{Value, json};

    const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";

    fn fits(schema: &Value, value: &Value) -> bool {
        violations(schema, value).is_empty()
    }

    #[test]
    fn each_keyword_refuses_what_it_should() {
        for (schema, good, bad) in [
            (json!({"type": "integer"}), json!(1), json!(1.5)),
            (json!({"type": ["string", "null"]}), json!(null), json!(1)),
            (json!({"enum": [1, "a"]}), json!(1.0), json!("b")),
            (json!({"const": {"a": 1}}), json!({"a": 1}), json!({})),
            (json!({"minLength": 2, "maxLength": 3}), json!("\u{e4}\u{e4}"), json!("a")),
            (json!({"pattern": "^a+$"}), json!("aa"), json!("b")),
            (json!({"minimum": 1, "exclusiveMaximum": 3}), json!(1), json!(3)),
            (json!({"multipleOf": 0.1}), json!(0.3), json!(0.35)),
            (json!({"items": {"type": "string"}, "minItems": 1}), json!(["a"]), json!([1])),
            (json!({"prefixItems": [{"type": "string"}], "items": false}), json!(["a"]), json!(["a", 1])),
            (json!({"uniqueItems": true}), json!([1, 2]), json!([1, 1])),
            (json!({"contains": {"type": "number"}}), json!(["a", 1]), json!(["a"])),
            (json!({"required": ["a"]}), json!({"a": null}), json!({})),
            (json!({"properties": {"a": {"type": "string"}}}), json!({"b": 1}), json!({"a": 1})),
            (
                json!({"additionalProperties": false, "patternProperties": {"^x": true}}),
                json!({"x1": 1}),
                json!({"y": 1}),
            ),
            (json!({"propertyNames": {"pattern": "^a"}}), json!({"a": 1}), json!({"b": 1})),
            (json!({"dependentRequired": {"a": ["b"]}}), json!({"b": 1}), json!({"a": 1})),
            (json!({"allOf": [{"type": "object"}, {"required": ["a"]}]}), json!({"a": 1}), json!({})),
            (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!("a"), json!(1)),
            (json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}), json!(1.5), json!(1)),
            (json!({"not": {"type": "string"}}), json!(1), json!("a")),
            (json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}}), json!({}), json!({"a": 1})),
            (json!({"$defs": {"x": {"type": "string"}}, "$ref": "#/$defs/x"}), json!("a"), json!(1)),
            (json!({"$schema": DRAFT_7, "format": "ipv4"}), json!("10.0.0.1"), json!("10.0.0")),
            (
                json!({"$schema": DRAFT_7, "items": [{"type": "string"}], "additionalItems": false}),
                json!(["a"]),
                json!(["a", 1]),
            ),
        ] {
            assert!(fits(&schema, &good), "{schema} {good}: {:?}", violations(&schema, &good));
            assert!(!fits(&schema, &bad), "{schema} {bad}");
        }
    }

    #[test]
    fn what_is_not_supported_is_told() {
        for schema in [
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"unevaluatedProperties": false}),
            json!({"$schema": "https://example.com/draft"}),
            json!({"$ref": "#"}),
        ] {
            assert!(!fits(&schema, &json!({})), "{schema}");
        }
    }

    #[test]
    fn a_violation_names_its_place() {
        let schema = json!({"properties": {"a": {"items": {"type": "string"}}}});
        assert_eq!(violations(&schema, &json!({"a": ["x", 1]})), ["- at '/a/1': got number, want string"]);
    }
}
