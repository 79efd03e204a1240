//! Charts whose parts are broken or mean harm: a text or an error each time, never a crash, never a hang.

mod bodies;
#[path = "../../gotemplate/tests/mutation/mod.rs"]
mod mutation;

use mutation::{Random, mutated, rounds};

/// Texts of each part of a chart.
const METADATA: [&str; 4] = [
    "apiVersion: v2\nappVersion: 1.10\nkeywords: [a, b]\nmaintainers: [{name: n, email: e}]\nannotations: {x: y}\n",
    "kubeVersion: '>=1.20-0 <2 || 3.x'\ntype: library\ndeprecated: true\n",
    "dependencies:\n- {name: sub, version: 1.x, alias: other, condition: 'a.b,c', tags: [t], import-values: [d, {child: e, parent: f.g}]}\n",
    "dependencies:\n- {name: sub, version: '*'}\n- {name: sub, version: '*', alias: two}\n",
];
const VALUES: [&str; 4] = [
    "a: {b: true}\nglobal: {x: {y: {z: 1}}}\nsub: {global: {x: {y: {w: 2}}}, l: [1, null]}\n",
    "c: null\ntags: {t: false}\nexports: {d: {a: {b: 1}}}\ne: {h: &i {j: k}, l: *i}\n",
    "---\na: 1\n---\na: |\n  text\nother: {enabled: false}\n",
    "{}",
];
const TEMPLATES: [&str; 4] = [
    "kind: A\nmetadata: {name: {{ .Release.Name }}}\nv: {{ toJson .Values }}\n---\nkind: Service\n",
    "{{ range $k, $v := .Values }}# {{ $k }}={{ $v }}\n{{ end }}{{ $_ := set .Values \"n\" . }}kind: B\n",
    "{{ define \"r\" }}{{ include \"r\" . }}{{ end }}{{ if .Values.a }}{{ include \"r\" . }}{{ end }}kind: C\n",
    "{{ (.Files.Glob \"**\").AsConfig }}{{ .Capabilities.APIVersions.Has \"v1\" }}{{ tpl (toYaml .Values) . }}",
];
const SCHEMAS: [&str; 4] = [
    r##"{"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"$ref": "#/definitions/x"}}, "definitions": {"x": {"type": ["object", "null"]}}}"##,
    r##"{"$id": "https://e.com/a", "$dynamicAnchor": "n", "$ref": "t", "unevaluatedProperties": false, "$defs": {"t": {"$id": "t", "$dynamicAnchor": "n", "additionalProperties": {"$dynamicRef": "#n"}}}}"##,
    r##"{"allOf": [{"$ref": "#"}, {"pattern": "^(a+)+$"}], "oneOf": [{"minProperties": 1}, {"not": {"$ref": "#/oneOf/0"}}]}"##,
    "{}",
];

#[test]
fn no_parts_of_a_chart_make_it_crash_or_hang() {
    let mut random = Random(13);
    let (mut fine, mut broken) = (0, 0);
    for _ in 0..rounds(3000) {
        let mut part = |texts: &[&str]| {
            let (text, other) = (texts[random.below(texts.len())], texts[random.below(texts.len())]);
            // Most parts are whole, or hardly anything would be rendered.
            if random.below(4) > 0 { text.to_owned() } else { mutated(text, other, &mut random) }
        };
        let (metadata, values) = (part(&METADATA), part(&VALUES));
        match bodies::chart(&metadata, &values, &part(&TEMPLATES), &part(&SCHEMAS)) {
            Ok(_) => fine += 1,
            Err(_) => broken += 1,
        }
    }
    assert!(fine > 100 && broken > 100, "{fine} fine, {broken} broken");
}
