use super::violations;
use serde_json::{Value, json};

const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";

fn is_valid(schema: &Value, value: &Value) -> bool {
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
        (
            json!({"properties": {"a": true}, "unevaluatedProperties": false}),
            json!({"a": 1}),
            json!({"b": 1}),
        ),
        (
            json!({"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": {"type": "string"}}),
            json!({"a": 1, "b": "x"}),
            json!({"a": 1, "b": 2}),
        ),
        (
            json!({"anyOf": [{"properties": {"a": {"const": 1}}}, true], "unevaluatedProperties": false}),
            json!({"a": 1}),
            json!({"a": 2}),
        ),
        (
            json!({"prefixItems": [true], "contains": {"const": 3}, "unevaluatedItems": false}),
            json!([1, 3]),
            json!([1, 3, 4]),
        ),
        (json!({"$defs": {"x": {"type": "string"}}, "$ref": "#/$defs/x"}), json!("a"), json!(1)),
        (json!({"$schema": DRAFT_7, "format": "ipv4"}), json!("10.0.0.1"), json!("10.0.0")),
        (
            json!({"$schema": DRAFT_7, "items": [{"type": "string"}], "additionalItems": false}),
            json!(["a"]),
            json!(["a", 1]),
        ),
    ] {
        assert!(is_valid(&schema, &good), "{schema} {good}: {:?}", violations(&schema, &good));
        assert!(!is_valid(&schema, &bad), "{schema} {bad}");
    }
}

#[test]
fn unsupported_schemas_are_reported() {
    for schema in [
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"properties": {"a": {"$ref": "other.json"}}}),
        json!({"$schema": "https://example.com/draft"}),
        json!({"$ref": "#"}),
    ] {
        assert!(!is_valid(&schema, &json!({})), "{schema}");
    }
}

#[test]
fn a_violation_names_its_place() {
    let schema = json!({"properties": {"a": {"items": {"type": "string"}}}});
    assert_eq!(violations(&schema, &json!({"a": ["x", 1]})), ["- at '/a/1': got number, want string"]);
}
