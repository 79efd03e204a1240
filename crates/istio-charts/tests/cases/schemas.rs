//! `values.schema.json`.

use super::{Case, DUMP, case, metadata};

pub(super) fn all() -> Vec<Case> {
    const SCHEMA: &str = r##"{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["port"],
        "properties": {"port": {"type": "integer", "minimum": 1, "maximum": 65535}, "name": {"type": "string", "pattern": "^[a-z]+$"},
        "mode": {"enum": ["a", "b", null]}, "list": {"type": "array", "items": {"$ref": "#/definitions/item"}, "uniqueItems": true},
        "address": {"format": "ipv4"}, "either": {"oneOf": [{"type": "string"}, {"type": "number"}]}},
        "definitions": {"item": {"type": "object", "additionalProperties": false, "properties": {"x": {"type": ["string", "null"]}}}}}"##;
    let with = |name, values: &str| {
        case(
            name,
            "",
            &[("values.schema.json", SCHEMA), ("templates/dump.yaml", DUMP), ("values.yaml", "port: 80\n")],
        )
        .values(values)
    };
    let with_draft = |name, draft: &str, schema: &str, values: &str| {
        let schema = format!("{{\"$schema\": \"{draft}\", {schema}}}");
        case(name, "", &[("values.schema.json", &schema), ("templates/dump.yaml", DUMP)]).values(values)
    };
    vec![
        with("schema fits", "name: abc\nmode: a\nlist: [{x: z}, {}]\naddress: 10.0.0.1\neither: 1\n"),
        with("wrong type", "port: '80'\n").fails(),
        with("out of range", "port: 70000\n").fails(),
        with("whole float", "port: 80.0\n"),
        with("fraction", "port: 80.5\n").fails(),
        with("missing", "port: null\n").fails(),
        with("pattern", "name: ABC\n").fails(),
        with("enum", "mode: c\n").fails(),
        with("unknown property", "list: [{y: 1}]\n").fails(),
        with("double item", "list: [{x: y}, {x: y}]\n").fails(),
        with("format", "address: 300.0.0.1\n").fails(),
        with("none of one", "either: []\n").fails(),
        with_draft(
            "format is no assertion in 2020-12",
            "https://json-schema.org/draft/2020-12/schema",
            "\"properties\": {\"a\": {\"format\": \"ipv4\"}}",
            "a: x\n",
        ),
        with_draft(
            "prefix items",
            "https://json-schema.org/draft/2020-12/schema",
            "\"properties\": {\"a\": {\"prefixItems\": [{\"type\": \"string\"}], \"items\": false}}",
            "a: [x, y]\n",
        )
        .fails(),
        with_draft(
            "exclusive minimum of draft 4",
            "http://json-schema.org/draft-04/schema#",
            "\"properties\": {\"a\": {\"minimum\": 1, \"exclusiveMinimum\": true}}",
            "a: 1\n",
        )
        .fails(),
        with_draft(
            "conditions",
            "http://json-schema.org/draft-07/schema#",
            "\"if\": {\"properties\": {\"a\": {\"const\": 1}}}, \"then\": {\"required\": [\"b\"]}, \"else\": {\"required\": [\"c\"]}",
            "a: 1\nb: 1\n",
        ),
        with_draft(
            "dependent",
            "https://json-schema.org/draft/2019-09/schema",
            "\"dependentRequired\": {\"a\": [\"b\"]}",
            "a: 1\n",
        )
        .fails(),
        case("broken schema", "", &[("values.schema.json", "{"), ("templates/dump.yaml", DUMP)]).fails(),
        case(
            "schema of a chart within",
            "",
            &[
                ("values.yaml", "sub: {x: 1}\n"),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/values.schema.json", "{\"properties\": {\"x\": {\"type\": \"string\"}}}"),
            ],
        )
        .fails(),
        case(
            "schema of a chart within that is off",
            "dependencies:\n- name: sub\n  version: '*'\n  condition: sub.enabled\n",
            &[
                ("values.yaml", "sub: {x: 1, enabled: false}\n"),
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                ("charts/sub/values.schema.json", "{\"properties\": {\"x\": {\"type\": \"string\"}}}"),
            ],
        ),
        case(
            "globals in a schema",
            "",
            &[
                ("charts/sub/Chart.yaml", &metadata("sub", "")),
                (
                    "charts/sub/values.schema.json",
                    "{\"additionalProperties\": false, \"properties\": {\"x\": {}}}",
                ),
            ],
        )
        .fails(),
    ]
    .into_iter()
    .chain(evaluated())
    .chain(broken())
    .collect()
}

const YEAR_2020: &str = "https://json-schema.org/draft/2020-12/schema";
const YEAR_2019: &str = "https://json-schema.org/draft/2019-09/schema";
const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";
const DRAFT_6: &str = "http://json-schema.org/draft-06/schema#";
const DRAFT_4: &str = "http://json-schema.org/draft-04/schema#";

/// A chart with a schema of a draft, given by its keywords, and values.
fn checked(name: &'static str, draft: &str, keywords: &str, values: &str) -> Case {
    let schema = format!("{{\"$schema\": \"{draft}\", {keywords}}}");
    case(name, "", &[("values.schema.json", &schema), ("templates/dump.yaml", DUMP)]).values(values)
}

fn evaluated() -> Vec<Case> {
    let branches = r##""allOf": [{"properties": {"a": {}}}], "anyOf": [{"properties": {"b": {"const": 1}}, "required": ["b"]},
        {"patternProperties": {"^c": {}}}], "if": {"properties": {"d": {"const": 1}}, "required": ["d"]},
        "then": {"properties": {"e": {}}}, "dependentSchemas": {"f": {"properties": {"f": {}, "g": {}}}}, "$ref": "#/$defs/h",
        "$defs": {"h": {"properties": {"h": {}}}}, "unevaluatedProperties": false"##;
    let items = r#""properties": {"l": {"prefixItems": [{}], "contains": {"const": "x"}, "unevaluatedItems": {"type": "number"}}}"#;
    let apart = r#""allOf": [{"properties": {"a": {}}}, {"unevaluatedProperties": false}]"#;
    let tree = r##""$recursiveAnchor": true, "properties": {"x": {"$recursiveRef": "#"}}, "unevaluatedProperties": false"##;
    let node = r##""$dynamicAnchor": "node", "properties": {"x": {"$dynamicRef": "#node"}}, "unevaluatedProperties": false"##;
    vec![
        checked("all is evaluated", YEAR_2020, branches, "{a: 1, b: 1, d: 1, e: 1, f: 1, g: 1, h: 1}"),
        checked("a pattern evaluates", YEAR_2020, branches, "{c1: 1, c2: 1}"),
        checked("all branches evaluate", YEAR_2020, branches, "{b: 1, c: 1}"),
        checked("a branch that does not fit evaluates nothing", YEAR_2020, branches, "{b: 2}").fails(),
        checked("a condition that does not hold", YEAR_2020, branches, "{d: 2}").fails(),
        checked("nothing depends", YEAR_2020, branches, "{g: 1}").fails(),
        checked("not evaluated", YEAR_2019, branches, "{z: 1}").fails(),
        checked("ignored before 2019", DRAFT_7, "\"unevaluatedProperties\": false", "{z: 1}"),
        checked("siblings do not count", YEAR_2020, apart, "{a: 1}").fails(),
        checked("items that are evaluated", YEAR_2020, items, "{l: [y, x, 3]}"),
        checked("items that are not evaluated", YEAR_2020, items, "{l: [y, x, z]}").fails(),
        checked("items that only contain", YEAR_2019, items, "{l: [3, x]}").fails(),
        checked("recursion", YEAR_2019, tree, "{x: {x: {}}}"),
        checked("recursion that is violated", YEAR_2019, tree, "{x: {y: {}}}").fails(),
        checked("dynamic references", YEAR_2020, node, "{x: {x: {}}}"),
        checked("dynamic references that are violated", YEAR_2020, node, "{x: {x: {y: 1}}}").fails(),
        checked("names", YEAR_2020, "\"properties\": {\"a\": {\"$ref\": \"urn:example:a\"}}", "{a: 1}"),
    ]
}

/// Schemas that are none, be it in parts that no value reaches.
fn broken() -> Vec<Case> {
    let broken = |name, draft, keywords| checked(name, draft, keywords, "a: 1").fails();
    let sound = |name, draft, keywords| checked(name, draft, keywords, "a: 1");
    vec![
        broken("required is a flag", DRAFT_7, r#""properties": {"b": {"type": "string", "required": true}}"#),
        broken("unknown type", DRAFT_7, r#""properties": {"b": {"type": "text"}}"#),
        broken("types that are none", DRAFT_7, r#""type": []"#),
        broken("properties that are a list", DRAFT_7, r#""properties": []"#),
        broken("a boolean schema in draft 4", DRAFT_4, r#""properties": {"b": true}"#),
        sound("a boolean schema in draft 6", DRAFT_6, r#""properties": {"b": true}"#),
        sound("additional flag in draft 4", DRAFT_4, r#""additionalProperties": true"#),
        broken("exclusive number in draft 4", DRAFT_4, r#""exclusiveMinimum": 1"#),
        broken("exclusive flag in draft 6", DRAFT_6, r#""exclusiveMinimum": true"#),
        broken("required of nothing in draft 4", DRAFT_4, r#""required": []"#),
        sound("required of nothing in draft 7", DRAFT_7, r#""required": []"#),
        broken("enum of equals in draft 7", DRAFT_7, r#""properties": {"b": {"enum": [1, 1]}}"#),
        sound("enum of equals in 2019", YEAR_2019, r#""properties": {"b": {"enum": [1, 1]}}"#),
        broken("negative length", YEAR_2020, r#""properties": {"b": {"minLength": -1}}"#),
        broken("a pattern with a look-ahead", DRAFT_7, r#""properties": {"b": {"pattern": "^(?!x)"}}"#),
        broken("a property's pattern that is none", YEAR_2019, r#""patternProperties": {"(": {}}"#),
        broken("items that are a list in 2020", YEAR_2020, r#""properties": {"b": {"items": [{}]}}"#),
        sound("items that are a list in 2019", YEAR_2019, r#""properties": {"b": {"items": [{}]}}"#),
        broken(
            "a reference that leads nowhere",
            DRAFT_7,
            r##""properties": {"b": {"$ref": "#/definitions/none"}}"##,
        ),
        sound(
            "a lost reference among definitions",
            DRAFT_7,
            r##""definitions": {"b": {"$ref": "#/definitions/none"}}"##,
        ),
        broken("a broken definition", DRAFT_7, r#""definitions": {"b": {"type": 1}}"#),
        sound(
            "an unknown keyword",
            DRAFT_7,
            r#""x-note": {"type": 1}, "properties": {"b": {"unevaluatedItems": 1}}"#,
        ),
        broken("a reference to a file", DRAFT_7, r#""properties": {"b": {"$ref": "none.json"}}"#),
        broken("a description that is a list", DRAFT_7, r#""description": []"#),
        broken("a multiple of nothing", DRAFT_7, r#""properties": {"b": {"multipleOf": 0}}"#),
        broken("an empty choice", DRAFT_7, r#""anyOf": []"#),
        broken("another draft", "http://json-schema.org/draft-03/schema#", r#""type": "object""#),
    ]
}
