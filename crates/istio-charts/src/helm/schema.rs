//! Checks values against `values.schema.json`, by the JSON Schema drafts 4, 6, 7, 2019-09 and 2020-12.
//!
//! Pure. What is not supported (references to other documents) is a violation that says so: values that nobody checked
//! must not pass.

mod formats;
mod reference;
mod shape;

use super::RenderError;
use crate::chart::Chart;
use gotemplate::regular_expression::Pattern;
use reference::resolve;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

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
    if let Some(fault) = shape::fault(schema, draft) {
        return vec![format!("the schema is not valid: {fault}")];
    }
    let mut checker = Checker {
        root: schema,
        draft,
        violations: Vec::new(),
        evaluated: Evaluated::default(),
        depth: 0,
        steps: 0,
    };
    checker.check(schema, values, "");
    checker.violations
}

struct Checker<'s> {
    root: &'s Value,
    draft: Draft,
    violations: Vec<String>,
    /// Of the current value, by the current schema.
    evaluated: Evaluated,
    depth: usize,
    steps: usize,
}

/// The fields or items of a value that a schema has looked at, for `unevaluatedProperties` and `unevaluatedItems`.
#[derive(Default)]
struct Evaluated {
    fields: BTreeSet<String>,
    items: BTreeSet<usize>,
}

impl Evaluated {
    fn absorb(&mut self, mut other: Self) {
        self.fields.append(&mut other.fields);
        self.items.append(&mut other.items);
    }
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

    /// Whether a value fits a schema; violations are not kept, and what a schema that does not fit has evaluated neither.
    fn fits(&mut self, schema: &'s Value, value: &Value, path: &str) -> bool {
        let violations = std::mem::take(&mut self.violations);
        let before = std::mem::take(&mut self.evaluated);
        self.check(schema, value, path);
        let fits = std::mem::replace(&mut self.violations, violations).is_empty();
        let evaluated = std::mem::replace(&mut self.evaluated, before);
        if fits {
            self.evaluated.absorb(evaluated);
        }
        fits
    }

    /// Checks a field or an item of the current value.
    fn check_below(&mut self, schema: &'s Value, value: &Value, path: &str) {
        let before = std::mem::take(&mut self.evaluated);
        self.check(schema, value, path);
        self.evaluated = before;
    }

    fn tracks_evaluation(&self) -> bool {
        self.draft >= Draft::Year2019
    }

    /// Checks the current value. What one schema evaluates, those beside it do not see.
    fn check(&mut self, schema: &'s Value, value: &Value, path: &str) {
        self.steps += 1;
        if self.depth >= DEPTH_LIMIT || self.steps > MOST_STEPS {
            return self.wrong(path, "the schema refers to itself without end");
        }
        self.depth += 1;
        let before = std::mem::take(&mut self.evaluated);
        match schema {
            Value::Bool(true) => {}
            Value::Bool(false) => self.wrong(path, "nothing is allowed here"),
            Value::Object(keywords) => self.check_keywords(keywords, value, path),
            _ => self.wrong(path, "the schema is neither a map nor a boolean"),
        }
        let evaluated = std::mem::replace(&mut self.evaluated, before);
        self.evaluated.absorb(evaluated);
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
        // Without `$id` in between, there is one document, in which these are references like any other.
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if let Some(reference) = keywords.get(keyword).filter(|_| self.draft >= Draft::Year2019) {
                self.check_reference(reference, value, path);
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
        if self.tracks_evaluation() {
            self.check_unevaluated(keywords, value, path);
        }
    }

    fn check_unevaluated(&mut self, keywords: &'s Map<String, Value>, value: &Value, path: &str) {
        match (value, keywords.get("unevaluatedProperties"), keywords.get("unevaluatedItems")) {
            (Value::Object(fields), Some(schema), _) => {
                for (key, value) in fields {
                    if self.evaluated.fields.insert(key.clone()) {
                        self.check_below(schema, value, &field_path(path, key));
                    }
                }
            }
            (Value::Array(values), _, Some(schema)) => {
                for (index, value) in values.iter().enumerate() {
                    if self.evaluated.items.insert(index) {
                        self.check_below(schema, value, &format!("{path}/{index}"));
                    }
                }
            }
            _ => {}
        }
    }

    fn check_reference(&mut self, reference: &'s Value, value: &Value, path: &str) {
        let found = reference.as_str().and_then(|reference| resolve(self.root, reference));
        match found {
            Some(schema) => self.check(schema, value, path),
            // Helm looks nothing up there, and allows everything.
            None if reference.as_str().is_some_and(|reference| reference.starts_with("urn:")) => {}
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
        if !any.is_empty() && !self.fits_any(any, value, path) {
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

    /// Whether a value fits one of the schemas. All are tried where it matters what they evaluate.
    fn fits_any(&mut self, schemas: &'s [Value], value: &Value, path: &str) -> bool {
        if !self.tracks_evaluation() {
            return schemas.iter().any(|schema| self.fits(schema, value, path));
        }
        schemas.iter().filter(|schema| self.fits(schema, value, path)).count() > 0
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
                self.check_below(schema, value, &format!("{path}/{index}"));
                self.evaluated.items.insert(index);
            }
        }
        self.check_contains(keywords, values, path);
    }

    fn check_contains(&mut self, keywords: &'s Map<String, Value>, values: &[Value], path: &str) {
        let Some(schema) = keywords.get("contains").filter(|_| self.draft > Draft::Four) else { return };
        let before = std::mem::take(&mut self.evaluated);
        let fitting: Vec<usize> =
            (0..values.len()).filter(|index| self.fits(schema, &values[*index], path)).collect();
        self.evaluated = before;
        let count = fitting.len();
        if self.draft == Draft::Year2020 {
            self.evaluated.items.extend(fitting);
        }
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
            let below = field_path(path, key);
            let known = properties.and_then(|properties| properties.get(key));
            if let Some(schema) = known {
                self.check_below(schema, value, &below);
            }
            let mut is_known = known.is_some();
            for (pattern, schema) in &patterns {
                match Pattern::parse(pattern) {
                    Ok(compiled) if compiled.is_match(key) => {
                        is_known = true;
                        self.check_below(schema, value, &below);
                    }
                    Ok(_) => {}
                    Err(message) => self.wrong(path, &message),
                }
            }
            match keywords.get("additionalProperties").filter(|_| !is_known) {
                Some(Value::Bool(false)) => {
                    self.wrong(path, &format!("additional properties '{key}' not allowed"));
                }
                Some(schema) => {
                    is_known = true;
                    self.check_below(schema, value, &below);
                }
                None => {}
            }
            if is_known && self.tracks_evaluation() {
                self.evaluated.fields.insert(key.clone());
            }
            if let Some(schema) = keywords.get("propertyNames").filter(|_| self.draft > Draft::Four) {
                self.check_below(schema, &Value::String(key.clone()), &below);
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

fn field_path(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
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
mod tests;
