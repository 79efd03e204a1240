//! `values.schema.json`.

use super::{Case, DUMP, case, metadata};

#[expect(clippy::too_many_lines, reason = "a table of cases")]
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
    .chain(addressed())
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

/// Schemas with addresses of their own, and references to them.
fn addressed() -> Vec<Case> {
    let nested = r##""$id": "https://example.com/schemas/root.json", "properties": {"p": {"$ref": "part.json"}, "q": {"$ref": "/schemas/part.json#/$defs/b"},
        "r": {"$ref": "#/$defs/b"}, "s": {"$ref": "values.schema.json"}, "t": {"$ref": "part.json#named"}},
        "$defs": {"b": {"type": "number"}, "part": {"$id": "part.json", "properties": {"x": {"$ref": "#/$defs/b"}},
        "$defs": {"b": {"type": "string"}, "n": {"$anchor": "named", "type": "boolean"}}}}"##;
    let fine = "{p: {x: a}, q: a, r: 1, t: true}";
    let without_file = nested.replace(r#""s": {"$ref": "values.schema.json"}, "#, "");
    let by_name = r#""properties": {"a": {"$ref": "values.schema.json#/$defs/b"}, "c": {"$ref": "file:///values.schema.json"}}, "$defs": {"b": {"type": "string"}}"#;
    let meta = r#""properties": {"s": {"$ref": "http://json-schema.org/draft-07/schema#"}, "t": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}"#;
    let tree = r##""$id": "https://example.com/strict", "$dynamicAnchor": "node", "$ref": "tree", "unevaluatedProperties": false, "$defs": {"tree": {"$id": "tree",
        "$dynamicAnchor": "node", "type": "object", "properties": {"data": true, "below": {"type": "array", "items": {"$dynamicRef": "#node"}}}}}"##;
    let loose = tree.replacen(r#""$dynamicAnchor": "node", "#, "", 1);
    let recursion = r##""$id": "https://example.com/strict", "$recursiveAnchor": true, "$ref": "tree", "unevaluatedProperties": false, "$defs": {"tree": {"$id": "tree",
        "$recursiveAnchor": true, "type": "object", "properties": {"data": true, "below": {"type": "array", "items": {"$recursiveRef": "#"}}}}}"##;
    let older = r#""properties": {"a": {"$ref": "old.json"}}, "$defs": {"o": {"$id": "old.json", "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [{"type": "string"}], "additionalItems": false}}"#;
    let elsewhere = r##""x-parts": {"a": {"type": "string"}, "b": {"type": 1}}, "properties": {"a": {"$ref": "#/x-parts/a"}}"##;
    vec![
        checked("a lost address beside fine ones", YEAR_2020, nested, fine).fails(),
        checked("nested addresses", YEAR_2020, &without_file, fine),
        checked("a nested address that is violated", YEAR_2020, &without_file, "{p: {x: 1}}").fails(),
        checked("a path below an address", YEAR_2020, &without_file, "{q: 1}").fails(),
        checked("a path of the document", YEAR_2019, &without_file, "{r: a}").fails(),
        checked("an anchor of a nested address", YEAR_2019, &without_file, "{t: 1}").fails(),
        checked("the file by its name", YEAR_2020, by_name, "{a: x, c: {a: z}}"),
        checked("the file by its name, violated", DRAFT_7, &by_name.replace("$defs", "definitions"), "{c: {a: 1}}").fails(),
        checked("schemas in values", YEAR_2020, meta, "{s: {type: string}, t: {items: {type: number}}}"),
        checked("a broken schema in values", YEAR_2020, meta, "{s: {type: 5}}").fails(),
        checked("a broken schema of a newer draft in values", DRAFT_7, meta, "{t: {items: [{}]}}").fails(),
        checked("dynamic references to the outermost", YEAR_2020, tree, "{data: 1, below: [{data: 2}]}"),
        checked("dynamic references to the outermost, violated", YEAR_2020, tree, "{below: [{dat: 2}]}").fails(),
        checked("dynamic references to the only one", YEAR_2020, &loose, "{below: [{dat: 2}]}"),
        checked("recursion to the outermost", YEAR_2019, recursion, "{data: 1, below: [{data: 2}]}"),
        checked("recursion to the outermost, violated", YEAR_2019, recursion, "{below: [{dat: 2}]}").fails(),
        checked("a part of an older draft", YEAR_2020, older, "{a: [x]}"),
        checked("a part of an older draft that is violated", YEAR_2020, older, "{a: [x, y]}").fails(),
        checked("a part that is none in its draft", YEAR_2020, &older.replace(r#"[{"type": "string"}]"#, r#"{"type": 1}"#), "{}").fails(),
        checked("a schema where none is expected", DRAFT_7, elsewhere, "{a: x}"),
        checked("a schema where none is expected, violated", DRAFT_7, elsewhere, "{a: 1}").fails(),
        checked("a broken schema where none is expected", DRAFT_7, &elsewhere.replace("x-parts/a", "x-parts/b"), "{}")
            .fails(),
        checked(
            "an anchor of another address",
            YEAR_2020,
            r##""properties": {"a": {"$ref": "#n"}}, "$defs": {"b": {"$id": "b.json", "$defs": {"c": {"$anchor": "n"}}}}"##,
            "{a: 1}",
        )
        .fails(),
        checked(
            "one address twice",
            YEAR_2020,
            r#""$defs": {"a": {"$id": "b.json"}, "c": {"$id": "b.json"}}"#,
            "{a: 1}",
        )
        .fails(),
        checked(
            "one anchor twice",
            YEAR_2020,
            r#""$defs": {"a": {"$anchor": "n"}, "c": {"$dynamicAnchor": "n"}}"#,
            "{a: 1}",
        )
        .fails(),
        checked(
            "an address beside a reference counts only since 2019",
            DRAFT_7,
            r##""properties": {"a": {"$id": "https://example.com/b/c.json", "$ref": "#/definitions/d"}}, "definitions": {"d": {"type": "string"}}"##,
            "{a: x}",
        ),
        checked(
            "an address that is an anchor",
            DRAFT_6,
            r##""properties": {"a": {"$ref": "#d"}}, "definitions": {"d": {"$id": "#d", "type": "string"}}"##,
            "{a: 1}",
        )
        .fails(),
        checked(
            "an address of draft 4",
            DRAFT_4,
            r#""id": "http://example.com/x/", "properties": {"a": {"$ref": "d"}}, "definitions": {"d": {"id": "d", "type": "string"}}"#,
            "{a: x}",
        ),
        checked(
            "percent signs in a path",
            YEAR_2020,
            r##""properties": {"a": {"$ref": "#/$defs/b%20c~1d"}}, "$defs": {"b c/d": {"type": "string"}}"##,
            "{a: 1}",
        )
        .fails(),
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
        broken("a flag without its limit in draft 4", DRAFT_4, r#""exclusiveMinimum": true"#),
        broken("examples that are no list", DRAFT_7, r#""examples": 1"#),
        sound("examples of draft 6", DRAFT_6, r#""examples": 1"#),
        broken("a flag that is a text", DRAFT_7, r#""readOnly": "yes""#),
        broken("an age that is a text", YEAR_2019, r#""deprecated": "yes""#),
        sound("an age before 2019", DRAFT_7, r#""deprecated": "yes""#),
        broken("an anchor with a blank", YEAR_2019, r#""$anchor": "a b""#),
        broken("an address that is a number", YEAR_2020, r#""$defs": {"a": {"$id": 1}}"#),
        broken("another draft", "http://json-schema.org/draft-03/schema#", r#""type": "object""#),
    ]
}
