//! Checks one value by one schema, and by those that it refers to.

use super::document::{Document, Target};
use super::{DEPTH_LIMIT, Draft, equal, field_path, shape, type_name};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The most violations that are reported.
const MOST_VIOLATIONS: usize = 50;
/// Schemas that one check tries. References within alternatives multiply.
const MOST_STEPS: usize = 2_000_000;

pub(super) struct Checker<'d, 's> {
    document: &'d Document<'s>,
    /// That the current schema belongs to.
    resource: usize,
    /// The resources and schemas that led here, outermost first.
    scope: Vec<(usize, &'s Value)>,
    pub(super) draft: Draft,
    violations: Vec<String>,
    /// Of the current value, by the current schema.
    pub(super) evaluated: Evaluated,
    steps: usize,
}

/// The fields or items of a value that a schema has evaluated, for `unevaluatedProperties` and `unevaluatedItems`.
#[derive(Default)]
pub(super) struct Evaluated {
    pub(super) fields: BTreeSet<String>,
    pub(super) items: BTreeSet<usize>,
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

impl<'d, 's> Checker<'d, 's> {
    pub(super) fn new(document: &'d Document<'s>) -> Self {
        Self {
            document,
            resource: 0,
            scope: Vec::new(),
            draft: document.draft(0),
            violations: Vec::new(),
            evaluated: Evaluated::default(),
            steps: 0,
        }
    }

    /// What is wrong with values.
    pub(super) fn violations(mut self, values: &Value) -> Vec<String> {
        self.check(self.document.root(), values, "");
        self.violations
    }

    pub(super) fn wrong(&mut self, path: &str, what: &str) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(format!("- at '{}': {what}", at(path)));
        }
    }

    /// Whether a value fits a schema; violations are not kept, and what a schema that does not fit has evaluated neither.
    pub(super) fn matches(&mut self, schema: &'s Value, value: &Value, path: &str) -> bool {
        let violations = std::mem::take(&mut self.violations);
        let before = std::mem::take(&mut self.evaluated);
        self.check(schema, value, path);
        let is_valid = std::mem::replace(&mut self.violations, violations).is_empty();
        let evaluated = std::mem::replace(&mut self.evaluated, before);
        if is_valid {
            self.evaluated.absorb(evaluated);
        }
        is_valid
    }

    /// Checks a field or an item of the current value.
    pub(super) fn check_below(&mut self, schema: &'s Value, value: &Value, path: &str) {
        let before = std::mem::take(&mut self.evaluated);
        self.check(schema, value, path);
        self.evaluated = before;
    }

    pub(super) fn tracks_evaluation(&self) -> bool {
        self.draft >= Draft::Year2019
    }

    /// Checks the current value. What one schema evaluates, those beside it do not see.
    pub(super) fn check(&mut self, schema: &'s Value, value: &Value, path: &str) {
        self.steps += 1;
        if self.scope.len() >= DEPTH_LIMIT || self.steps > MOST_STEPS {
            return self.wrong(path, "the schema refers to itself endlessly");
        }
        let outer = self.resource;
        self.enter(self.document.resource_of(schema).unwrap_or(outer));
        self.scope.push((self.resource, schema));
        let before = std::mem::take(&mut self.evaluated);
        match schema {
            Value::Bool(true) => {}
            Value::Bool(false) => self.wrong(path, "nothing is allowed here"),
            Value::Object(keywords) => self.check_keywords(keywords, value, path),
            _ => self.wrong(path, "the schema is neither a map nor a boolean"),
        }
        let evaluated = std::mem::replace(&mut self.evaluated, before);
        self.evaluated.absorb(evaluated);
        self.scope.pop();
        self.enter(outer);
    }

    fn enter(&mut self, resource: usize) {
        self.resource = resource;
        self.draft = self.document.draft(resource);
    }

    fn check_keywords(&mut self, keywords: &'s Map<String, Value>, value: &Value, path: &str) {
        if let Some(reference) = keywords.get("$ref") {
            self.check_reference(reference, value, path);
            // Up to draft 7, nothing else counts beside a reference.
            if self.draft <= Draft::Seven {
                return;
            }
        }
        self.check_dynamic_reference(keywords, value, path);
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

    fn check_reference(&mut self, reference: &Value, value: &Value, path: &str) {
        let found = reference.as_str().and_then(|reference| self.document.resolve(self.resource, reference));
        match found {
            Some(target) => self.check_target(target, value, path),
            None => self.wrong(path, &format!("the reference {reference} of the schema is not supported")),
        }
    }

    fn check_target(&mut self, target: Target<'s>, value: &Value, path: &str) {
        match target {
            Target::Schema(schema, _) => self.check(schema, value, path),
            Target::Draft(draft) => {
                if let Err(fault) = shape::check(value, draft) {
                    self.wrong(path, &fault);
                }
            }
            Target::Anything => {}
        }
    }

    /// References that the outermost resource with an anchor of that name may draw to itself.
    fn check_dynamic_reference(&mut self, keywords: &Map<String, Value>, value: &Value, path: &str) {
        let keyword = match self.draft {
            Draft::Year2020 => "$dynamicRef",
            Draft::Year2019 => "$recursiveRef",
            _ => return,
        };
        let Some(reference) = keywords.get(keyword).and_then(Value::as_str) else { return };
        let target = match self.document.resolve(self.resource, reference) {
            Some(Target::Schema(schema, resource)) => {
                let outermost = match keyword {
                    "$dynamicRef" => self.outermost_anchor(schema, reference),
                    _ => self.outermost_recursion(schema),
                };
                Some(Target::Schema(outermost.unwrap_or(schema), resource))
            }
            other => other,
        };
        match target {
            Some(target) => self.check_target(target, value, path),
            None => self.wrong(path, &format!("the reference {reference} of the schema is not supported")),
        }
    }

    fn outermost_anchor(&self, schema: &Value, reference: &str) -> Option<&'s Value> {
        let (_, name) = reference.split_once('#')?;
        if schema.get("$dynamicAnchor").and_then(Value::as_str) != Some(name) {
            return None;
        }
        self.scope.iter().find_map(|(resource, _)| self.document.dynamic_anchor(*resource, name))
    }

    fn outermost_recursion(&self, schema: &Value) -> Option<&'s Value> {
        let recurs = |schema: &Value| schema.get("$recursiveAnchor") == Some(&Value::Bool(true));
        if !recurs(schema) {
            return None;
        }
        let mut scope = self.scope.iter();
        scope.find(|(resource, _)| recurs(self.document.root_of(*resource))).map(|(_, schema)| *schema)
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
        if !any.is_empty() && !self.matches_any(any, value, path) {
            self.wrong(path, "it fits none of 'anyOf'");
            if let [only] = any {
                self.check(only, value, path);
            }
        }
        let one = schemas("oneOf");
        if !one.is_empty() {
            match one.iter().filter(|schema| self.matches(schema, value, path)).count() {
                1 => {}
                0 => self.wrong(path, "it fits none of 'oneOf'"),
                count => self.wrong(path, &format!("it fits {count} of 'oneOf', not one")),
            }
        }
        if let Some(schema) = keywords.get("not")
            && self.matches(schema, value, path)
        {
            self.wrong(path, "it fits what 'not' excludes");
        }
        if let Some(condition) = keywords.get("if").filter(|_| self.draft >= Draft::Seven) {
            let branch = if self.matches(condition, value, path) { "then" } else { "else" };
            if let Some(schema) = keywords.get(branch) {
                self.check(schema, value, path);
            }
        }
    }

    /// Whether a value fits one of the schemas. All are tried where it matters what they evaluate.
    fn matches_any(&mut self, schemas: &'s [Value], value: &Value, path: &str) -> bool {
        if !self.tracks_evaluation() {
            return schemas.iter().any(|schema| self.matches(schema, value, path));
        }
        schemas.iter().filter(|schema| self.matches(schema, value, path)).count() > 0
    }
}
