//! The keywords that only texts, numbers, lists or maps have.

use super::checker::Checker;
use super::{Draft, equal, field_path, formats};
use gotemplate::regular_expression::Pattern;
use serde_json::{Map, Value};

impl<'s> Checker<'_, 's> {
    pub(super) fn check_text(&mut self, keywords: &'s Map<String, Value>, text: &str, path: &str) {
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
            Err(error) => self.wrong(path, &error.to_string()),
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

    pub(super) fn check_number(&mut self, keywords: &Map<String, Value>, number: f64, path: &str) {
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

    pub(super) fn check_list(&mut self, keywords: &'s Map<String, Value>, values: &[Value], path: &str) {
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
            (0..values.len()).filter(|index| self.matches(schema, &values[*index], path)).collect();
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

    pub(super) fn check_map(
        &mut self,
        keywords: &'s Map<String, Value>,
        fields: &Map<String, Value>,
        path: &str,
    ) {
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
                    Err(error) => self.wrong(path, &error.to_string()),
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
