//! The language, behaviour by behaviour, as the documentation of Go's `text/template` has it.

use gotemplate::{Environment, Error, ErrorKind, Functions, Limits, MissingKey, Templates, Value};
use serde_json::json;

fn run(source: &str, dot: &serde_json::Value) -> Result<String, Error> {
    let mut templates = Templates::new();
    templates.parse("t", source)?;
    templates.execute("t", &Value::from_json(dot))
}

fn table(cases: &[(&str, &str)]) {
    let dot = json!({"a": {"b": "x", "n": 1, "zero": 0, "empty": "", "list": [1, 2, 3], "nil": null},
        "m": {"k2": "v2", "k1": "v1"}, "big": 1_000_000, "yes": true});
    for (source, expected) in cases {
        assert_eq!(run(source, &dot).as_deref(), Ok(*expected), "{source}");
    }
}

#[test]
fn trim_markers_take_all_adjacent_white_space() {
    table(&[
        ("x \n {{- 1 -}} \n y", "x1y"),
        ("x {{ 1 }} y", "x 1 y"),
        ("{{-3}}", "-3"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{/* c */}}b", "b"),
    ]);
}

#[test]
fn fields_follow_maps_and_missing_keys_are_nil() {
    table(&[
        ("{{ .a.b }}", "x"),
        ("{{ .a.missing }}", "<no value>"),
        ("{{ (.missing).x }}", "<no value>"),
        ("{{ $.a.b }}", "x"),
    ]);
}

#[test]
fn a_field_of_nil_is_an_error() {
    assert!(run("{{ .missing.x }}", &json!({})).unwrap_err().to_string().contains("nil pointer evaluating"));
}

#[test]
fn conditions_follow_gos_truth() {
    table(&[
        ("{{ if .a.zero }}t{{ else }}f{{ end }}", "f"),
        ("{{ if .a.empty }}t{{ else if .a.b }}b{{ else }}f{{ end }}", "b"),
        ("{{ if .a.nil }}t{{ end }}", ""),
        ("{{ if and .a.b .a.zero }}t{{ else }}f{{ end }}", "f"),
        ("{{ or .a.zero .a.b }}", "x"),
        ("{{ and .a.b 0 }}", "0"),
        ("{{ not .a.list }}", "false"),
    ]);
}

#[test]
fn and_or_stop_at_the_argument_that_decides() {
    table(&[("{{ or .a.b (fail \"evaluated\") }}", "x"), ("{{ and .a.zero (fail \"evaluated\") }}", "0")]);
}

#[test]
fn with_and_range_move_the_dot() {
    table(&[
        ("{{ with .a }}{{ .b }}{{ $.a.n }}{{ end }}", "x1"),
        ("{{ with .a.empty }}t{{ else }}{{ .a.b }}{{ end }}", "x"),
        ("{{ with .a.empty }}t{{ else with .a.b }}{{ . }}{{ end }}", "x"),
        ("{{ range .a.list }}{{ . }},{{ end }}", "1,2,3,"),
        ("{{ range $i, $e := .a.list }}{{ $i }}={{ $e }} {{ end }}", "0=1 1=2 2=3 "),
        ("{{ range $k, $v := .m }}{{ $k }}:{{ $v }};{{ end }}", "k1:v1;k2:v2;"),
        ("{{ range .a.nil }}t{{ else }}none{{ end }}", "none"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range .a.list }}{{ if eq . 2.0 }}{{ continue }}{{ end }}{{ . }}{{ end }}", "13"),
        ("{{ range .a.list }}{{ if eq . 2.0 }}{{ break }}{{ end }}{{ . }}{{ end }}", "1"),
    ]);
}

#[test]
fn variables_are_scoped_to_the_block_that_declares_them() {
    table(&[
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
        ("{{ with $x := .a.b }}{{ $x }}{{ end }}", "x"),
        ("{{ $x := \"\" }}{{ range .a.list }}{{ $x = print $x . }}{{ end }}{{ $x }}", "123"),
    ]);
}

#[test]
fn an_undefined_variable_or_function_is_refused_when_parsing() {
    for (source, message) in [
        ("{{ $x }}", "undefined variable \"$x\""),
        ("{{ nope }}", "function \"nope\" not defined"),
        ("{{ $x = 1 }}", "undefined variable"),
    ] {
        assert!(run(source, &json!({})).unwrap_err().message().contains(message), "{source}");
    }
}

#[test]
fn pipelines_pass_their_value_last() {
    table(&[
        ("{{ \"a\" | printf \"%s-%s\" \"b\" }}", "b-a"),
        ("{{ .a.b | upper | quote }}", "\"X\""),
        ("{{ (printf \"%d\" 3) | indent 2 }}", "  3"),
    ]);
}

#[test]
fn templates_call_each_other() {
    table(&[
        ("{{ define \"d\" }}[{{ .b }}]{{ end }}{{ template \"d\" .a }}", "[x]"),
        ("{{ define \"d\" }}[{{ . }}]{{ end }}{{ include \"d\" .a.b | upper }}", "[X]"),
        ("{{ block \"d\" .a }}({{ .b }}){{ end }}", "(x)"),
        ("{{ define \"d\" }}{{ . }}{{ end }}{{ tpl \"{{ include \\\"d\\\" .b }}!\" .a }}", "x!"),
    ]);
}

#[test]
fn the_last_definition_wins_unless_it_is_empty() {
    let mut templates = Templates::new();
    templates.parse("a", "{{ define \"d\" }}one{{ end }}").unwrap();
    templates.parse("b", "{{ define \"d\" }}two{{ end }}").unwrap();
    templates.parse("c", "{{ define \"d\" }} {{ end }}{{ template \"d\" }}").unwrap();
    assert_eq!(templates.execute("c", &Value::Nil).unwrap(), "two");
}

#[test]
fn comparisons_are_typed() {
    table(&[
        ("{{ eq 1 1 }}", "true"),
        ("{{ eq .a.b \"y\" \"x\" }}", "true"),
        ("{{ eq .a.missing \"x\" }}", "false"),
        ("{{ gt (int 2) 1 }}", "true"),
    ]);
    for source in ["{{ eq .a.b 1 }}", "{{ eq .a.n 1 }}", "{{ lt .a.b 1 }}", "{{ eq .m .m }}"] {
        assert!(run(source, &json!({"a": {"b": "x", "n": 1}, "m": {}})).is_err(), "{source}");
    }
}

#[test]
fn numbers_print_as_in_go() {
    table(&[
        ("{{ .big }}", "1e+06"),
        ("{{ 1000000 }}", "1000000"),
        ("{{ .a.n }}", "1"),
        ("{{ 1.5 }}", "1.5"),
        ("{{ 0x10 }}", "16"),
        ("{{ 'a' }}", "97"),
    ]);
}

#[test]
fn raw_strings_may_hold_delimiters() {
    table(&[("{{ `{{ x }}` }}", "{{ x }}"), ("{{ \"a\\tb\" }}", "a\tb")]);
}

#[test]
fn maps_are_shared_by_all_references() {
    table(&[
        ("{{ $m := dict \"a\" 1 }}{{ $n := $m }}{{ $_ := set $n \"b\" 2 }}{{ $m.b }}", "2"),
        (
            "{{ $s := dict \"x\" (dict \"y\" 1) }}{{ $t := mergeOverwrite (dict) $s }}{{ $_ := set $t.x \"y\" 2 }}{{ $s.x.y }}",
            "2",
        ),
        (
            "{{ $s := dict \"x\" (dict \"y\" 1) }}{{ $t := deepCopy $s }}{{ $_ := set $t.x \"y\" 2 }}{{ $s.x.y }}",
            "1",
        ),
    ]);
}

#[test]
fn an_error_names_line_column_and_expression() {
    let error = run("a\n  {{ .a | upper }}", &json!({"a": {}})).unwrap_err();
    assert_eq!((error.line(), error.column()), (2, 11));
    assert_eq!(error.expression(), "upper");
}

#[test]
fn broken_templates_are_refused() {
    for source in [
        "{{",
        "{{ if }}x{{ end }}",
        "{{ if true }}x",
        "{{ end }}",
        "{{ else }}",
        "{{ \"a }}",
        "{{ 1 | 2 }}",
        "{{ /* x }}",
        "{{ break }}",
        "{{ .a b }}",
        "{{ (1 }}",
        "{{ }}",
        "{{ 1a }}",
    ] {
        assert!(run(source, &json!({})).is_err(), "{source}");
    }
}

#[test]
fn endless_work_ends_with_an_error() {
    let mut templates = Templates::new();
    templates
        .set_limits(Limits::default().with_steps(1000).with_output_bytes(1000).with_stack_bytes(64 << 10));
    for (name, source) in [
        ("recursion", "{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}"),
        ("steps", "{{ range 100000 }}{{ $x := 1 }}{{ end }}"),
        ("output", "{{ range 500 }}abcdefgh{{ end }}"),
        ("tpl", "{{ define \"x\" }}{{ tpl \"{{ include \\\"x\\\" . }}\" . }}{{ end }}{{ include \"x\" . }}"),
    ] {
        templates.parse(name, source).unwrap();
        assert!(templates.execute(name, &Value::Nil).is_err(), "{name}");
    }
}

#[test]
fn a_cyclic_value_is_an_error_and_not_the_end() {
    assert_eq!(run("{{ $m := dict }}{{ $_ := set $m \"m\" $m }}{{ toYaml $m }}", &json!({})).unwrap(), "");
    assert!(run("{{ $m := dict }}{{ $_ := set $m \"m\" $m }}{{ deepCopy $m }}", &json!({})).is_err());
}

#[test]
fn an_error_tells_its_kind() {
    for (source, kind) in [
        ("{{ if }}", ErrorKind::Syntax),
        ("{{ nope }}", ErrorKind::UnknownFunction),
        ("{{ uniq (list 1) }}", ErrorKind::DisabledFunction),
        ("{{ template \"nope\" }}", ErrorKind::UnknownTemplate),
        ("{{ include \"nope\" . }}", ErrorKind::UnknownTemplate),
        ("{{ .missing.x }}", ErrorKind::Evaluation),
        ("{{ upper 1 }}", ErrorKind::Evaluation),
        ("{{ mustFromJson \"{\" }}", ErrorKind::Call),
        ("{{ fail \"no\" }}", ErrorKind::Rejected),
        ("{{ required \"no\" .missing }}", ErrorKind::Rejected),
        ("{{ tpl \"{{ fail \\\"no\\\" }}\" . }}", ErrorKind::Rejected),
        ("{{ range until 100000 }}{{ end }}", ErrorKind::LimitExceeded),
        ("{{ $x := dict }}{{ $_ := set $x \"x\" $x }}{{ $x }}", ErrorKind::LimitExceeded),
        ("{{ b64dec \"/w==\" }}", ErrorKind::Output),
    ] {
        let mut templates = Templates::new();
        templates.set_limits(Limits::default().with_steps(1000).with_functions(Functions::Inexpensive));
        let result =
            templates.parse("t", source).and_then(|()| templates.execute("t", &Value::from_json(&json!({}))));
        assert_eq!(result.map_err(|error| error.kind()), Err(kind), "{source}");
    }
}

#[test]
fn a_program_adds_functions_and_replaces_built_in_ones() {
    let environment = Environment::new()
        .with_function("sum", |arguments| {
            let numbers = arguments.iter().map(|value| value.as_integer().ok_or("want numbers"));
            Ok(Value::Int(numbers.sum::<Result<i64, _>>()?))
        })
        .with_function("upper", |_| Ok(Value::string("first")))
        .with_function("upper", |arguments| Ok(Value::string(format!("<{}>", arguments[0]))));
    let mut templates = Templates::with_environment(environment);
    for (source, expected) in [
        ("{{ sum }} {{ sum 1 2 }} {{ 3 | sum 1 2 }}", Ok("0 3 6")),
        ("{{ .a | upper }} {{ tpl \"{{ upper 1 }}\" . }} {{ upper nil }}", Ok("<x> <1> <<no value>>")),
        ("{{ sum 1 \"a\" }}", Err("t:1:4: at <sum 1 \"a\">: error calling sum: want numbers")),
    ] {
        templates.parse("t", source).unwrap();
        let result = templates.execute("t", &Value::from_json(&json!({"a": "x"})));
        assert_eq!(
            result.as_deref().map_err(ToString::to_string),
            expected.map_err(str::to_owned),
            "{source}"
        );
    }
}

#[test]
fn a_missing_key_is_refused_if_the_environment_says_so() {
    let mut templates = Templates::with_environment(Environment::new().with_missing_key(MissingKey::Error));
    for (source, message) in [
        ("{{ .a }}", None),
        ("{{ .b }}", Some("map has no entry for key \"b\"")),
        ("{{ $.a.c }}", Some("map has no entry for key \"c\"")),
        ("{{ (index . \"b\") }}", None),
    ] {
        templates.parse("t", source).unwrap();
        let result = templates.execute("t", &Value::from_json(&json!({"a": {"x": 1}})));
        let found = result.as_ref().err().map(|error| (error.kind(), error.message()));
        assert_eq!(found, message.map(|message| (ErrorKind::MissingKey, message)), "{source}");
    }
}

#[test]
fn data_of_the_program_keeps_its_integers() {
    let data = std::collections::BTreeMap::from([("port", 8_443_000)]);
    let mut templates = Templates::new();
    templates.parse("t", "{{ .port }} {{ kindOf .port }}").unwrap();
    let run = |dot: &Value| templates.execute("t", dot).unwrap();
    assert_eq!(run(&Value::from_serialize(&data).unwrap()), "8443000 int");
    assert_eq!(run(&Value::from_json(&json!(data))), "8.443e+06 float64");
    let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert!(Value::from_serialize(&keys).is_err());
}
