//! Whether a schema is one: its keywords have the types that the draft wants, and its references lead somewhere. Helm
//! refuses all values when a schema is broken, even in a part that no value reaches.

use super::Draft;
use gotemplate::regular_expression::Pattern;
use serde_json::{Map, Value};

/// What stands behind a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Schema,
    /// A list of schemas, not empty.
    Schemas,
    SchemaOrSchemas,
    SchemaMap,
    /// A schema by each pattern.
    PatternMap,
    /// A schema or names by each property.
    Dependencies,
    NamesMap,
    Names,
    Types,
    Choices,
    List,
    Number,
    Positive,
    Count,
    Flag,
    Text,
    Anchor,
    Pattern,
}

/// The shape of a keyword in a draft; `None` when the keyword means nothing there.
fn shape(keyword: &str, draft: Draft) -> Option<Shape> {
    let since = |first: Draft, shape: Shape| (draft >= first).then_some(shape);
    match keyword {
        "allOf" | "anyOf" | "oneOf" => Some(Shape::Schemas),
        "prefixItems" => since(Draft::Year2020, Shape::Schemas),
        "items" if draft < Draft::Year2020 => Some(Shape::SchemaOrSchemas),
        "not" | "additionalProperties" | "items" => Some(Shape::Schema),
        "contains" | "propertyNames" => since(Draft::Six, Shape::Schema),
        "if" | "then" | "else" => since(Draft::Seven, Shape::Schema),
        "unevaluatedItems" | "unevaluatedProperties" => since(Draft::Year2019, Shape::Schema),
        "additionalItems" => (draft < Draft::Year2020).then_some(Shape::Schema),
        "definitions" | "properties" => Some(Shape::SchemaMap),
        "$defs" | "dependentSchemas" => since(Draft::Year2019, Shape::SchemaMap),
        "patternProperties" => Some(Shape::PatternMap),
        "dependencies" => Some(Shape::Dependencies),
        "dependentRequired" => since(Draft::Year2019, Shape::NamesMap),
        "required" => Some(Shape::Names),
        "type" => Some(Shape::Types),
        "enum" => Some(Shape::Choices),
        "examples" => since(Draft::Seven, Shape::List),
        "exclusiveMinimum" | "exclusiveMaximum" if draft == Draft::Four => Some(Shape::Flag),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => Some(Shape::Number),
        "multipleOf" => Some(Shape::Positive),
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            Some(Shape::Count)
        }
        "minContains" | "maxContains" => since(Draft::Year2019, Shape::Count),
        "uniqueItems" => Some(Shape::Flag),
        "readOnly" | "writeOnly" => since(Draft::Seven, Shape::Flag),
        "deprecated" => since(Draft::Year2019, Shape::Flag),
        "$recursiveAnchor" => (draft == Draft::Year2019).then_some(Shape::Flag),
        "title" | "description" | "format" | "$ref" | "$schema" => Some(Shape::Text),
        "id" => (draft == Draft::Four).then_some(Shape::Text),
        "$id" => since(Draft::Six, Shape::Text),
        "$comment" | "contentMediaType" | "contentEncoding" => since(Draft::Seven, Shape::Text),
        "$anchor" => since(Draft::Year2019, Shape::Anchor),
        "$dynamicAnchor" => since(Draft::Year2020, Shape::Anchor),
        "$dynamicRef" => since(Draft::Year2020, Shape::Text),
        "$recursiveRef" => (draft == Draft::Year2019).then_some(Shape::Text),
        "pattern" => Some(Shape::Pattern),
        _ => None,
    }
}

/// Checks the form of a schema.
pub(super) fn check(schema: &Value, draft: Draft) -> Result<(), String> {
    Inspector { draft, depth: 0 }.schema(schema, false)
}

/// The schemas right below a schema, each with whether a value that reaches the schema reaches it as well: those among
/// definitions are reached by references only.
pub(super) fn below(keywords: &Map<String, Value>, draft: Draft) -> Vec<(&Value, bool)> {
    let mut schemas = Vec::new();
    for (keyword, value) in keywords {
        let is_reached = !matches!(keyword.as_str(), "definitions" | "$defs");
        match shape(keyword, draft) {
            Some(Shape::Schema) => schemas.push((value, true)),
            Some(Shape::Schemas | Shape::SchemaOrSchemas) => match value {
                Value::Array(all) => schemas.extend(all.iter().map(|schema| (schema, true))),
                schema => schemas.push((schema, true)),
            },
            Some(Shape::SchemaMap | Shape::PatternMap | Shape::Dependencies) => {
                let values = value.as_object().into_iter().flat_map(Map::values);
                schemas.extend(values.map(|schema| (schema, is_reached)));
            }
            _ => {}
        }
    }
    schemas
}

struct Inspector {
    draft: Draft,
    depth: usize,
}

type Inspected = Result<(), String>;

impl Inspector {
    fn schema(&mut self, schema: &Value, may_be_boolean: bool) -> Inspected {
        if self.depth > super::DEPTH_LIMIT {
            return Err("it is nested too deeply".to_owned());
        }
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(_) if may_be_boolean || self.draft > Draft::Four => return Ok(()),
            other => return Err(format!("{other} is not a schema")),
        };
        self.depth += 1;
        let outer = self.draft;
        self.draft = Draft::within(schema, outer);
        for (keyword, value) in keywords {
            if let Some(shape) = shape(keyword, self.draft) {
                self.keyword(shape, keyword, value).map_err(|message| format!("'{keyword}': {message}"))?;
            }
        }
        // Draft 4 asks for the limit beside the flag.
        for (flag, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
            if self.draft == Draft::Four && keywords.contains_key(flag) && !keywords.contains_key(limit) {
                return Err(format!("'{flag}' without '{limit}'"));
            }
        }
        self.draft = outer;
        self.depth -= 1;
        Ok(())
    }

    fn keyword(&mut self, shape: Shape, keyword: &str, value: &Value) -> Inspected {
        match shape {
            Shape::Schema => self.schema(value, keyword.starts_with("additional")),
            Shape::Schemas => self.schemas(value),
            Shape::SchemaOrSchemas if value.is_array() => self.schemas(value),
            Shape::SchemaOrSchemas => self.schema(value, false),
            Shape::SchemaMap => map(value)?.values().try_for_each(|schema| self.schema(schema, false)),
            Shape::PatternMap => map(value)?.iter().try_for_each(|(key, schema)| {
                pattern(key)?;
                self.schema(schema, false)
            }),
            Shape::Dependencies => map(value)?.values().try_for_each(|wanted| match wanted {
                Value::Array(_) => self.names(wanted),
                schema => self.schema(schema, false),
            }),
            Shape::NamesMap => map(value)?.values().try_for_each(|wanted| self.names(wanted)),
            Shape::Names => self.names(value),
            Shape::Types => types(value),
            Shape::Choices => self.choices(value),
            scalar => {
                if is_scalar(scalar, value)? {
                    Ok(())
                } else {
                    Err(format!("{value} is not what belongs here"))
                }
            }
        }
    }

    fn schemas(&mut self, value: &Value) -> Inspected {
        match value.as_array().map(Vec::as_slice) {
            None | Some([]) => Err("it is not a list of schemas".to_owned()),
            Some(schemas) => schemas.iter().try_for_each(|schema| self.schema(schema, false)),
        }
    }

    fn names(&self, value: &Value) -> Inspected {
        let names = value.as_array().ok_or_else(|| format!("{value} is not a list of names"))?;
        let is_empty = names.is_empty() && self.draft == Draft::Four;
        if is_empty || !names.iter().all(Value::is_string) || !are_unique(names) {
            return Err("it is not a list of different names".to_owned());
        }
        Ok(())
    }

    fn choices(&self, value: &Value) -> Inspected {
        let choices = value.as_array().ok_or_else(|| format!("{value} is not a list"))?;
        if self.draft <= Draft::Seven && (choices.is_empty() || !are_unique(choices)) {
            return Err("it is not a list of different values".to_owned());
        }
        Ok(())
    }
}

fn map(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{value} is not a map"))
}

fn pattern(text: &str) -> Inspected {
    Pattern::parse(text).map(drop).map_err(|message| format!("'{text}' is not a pattern: {message}"))
}

fn types(value: &Value) -> Inspected {
    const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
    let is_type = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let fits = match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(is_type) && are_unique(names),
        name => is_type(name),
    };
    if fits { Ok(()) } else { Err(format!("{value} is not a type")) }
}

fn is_scalar(shape: Shape, value: &Value) -> Result<bool, String> {
    Ok(match shape {
        Shape::Flag => value.is_boolean(),
        Shape::List => value.is_array(),
        Shape::Text => value.is_string(),
        Shape::Anchor => value.as_str().is_some_and(is_anchor),
        Shape::Number => value.is_number(),
        Shape::Positive => value.as_f64().is_some_and(|number| number > 0.0),
        Shape::Count => value.as_f64().is_some_and(|number| number >= 0.0 && number.fract() == 0.0),
        Shape::Pattern => match value.as_str() {
            Some(text) => pattern(text).map(|()| true)?,
            None => false,
        },
        _ => true,
    })
}

fn is_anchor(name: &str) -> bool {
    let is_later = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_later)
}

fn are_unique(values: &[Value]) -> bool {
    // Lists of schemas are written by people.
    values.len() > 1000
        || values.iter().enumerate().all(|(index, value)| {
            values.get(..index).into_iter().flatten().all(|other| !super::equal(other, value))
        })
}
