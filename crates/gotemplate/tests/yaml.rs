//! YAML as Go reads and writes it.

use gotemplate::{Value, yaml};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

#[allow(clippy::unwrap_used)] // A helper of tests, though not one itself.
fn read(text: &str) -> Json {
    yaml::parse(text).unwrap().to_json().unwrap()
}

#[test]
fn plain_scalars_follow_yaml_1_1() {
    for (text, expected) in [
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("y", json!(true)),
        ("~", Json::Null),
        ("", Json::Null),
        ("0777", json!(511)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("1_000", json!(1000)),
        ("1e3", json!(1000)),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("\"yes\"", json!("yes")),
        ("'1'", json!("1")),
        ("1.2.3", json!("1.2.3")),
        ("!!str 1", json!("1")),
        ("-", json!([null])),
        ("08", json!(8)),
        ("1Gi", json!("1Gi")),
        ("2001-01-01", json!("2001-01-01")),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn anchors_aliases_and_merge_keys_are_resolved() {
    assert_eq!(
        read("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n"),
        json!({"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}})
    );
}

#[test]
fn keys_become_strings() {
    assert_eq!(read("1: a\ntrue: b\n"), json!({"1": "a", "true": "b"}));
}

#[test]
fn the_last_of_equal_keys_wins_as_in_helm() {
    assert_eq!(read("a: 1\nb: 2\na: 3\n"), json!({"a": 3, "b": 2}));
}

#[test]
fn an_empty_collection_ends_the_document_whatever_stands_behind_it() {
    for text in ["{}b:     ", "{} b", "---\n{}\"d\\n\"<<: &a *a*a\n|-\n", "{}: v"] {
        assert_eq!(read(text), json!({}), "{text}");
    }
    assert_eq!(read("[]: v"), json!([]));
    assert_eq!(read("a: {}\nb: []\n"), json!({"a": {}, "b": []}));
    for text in ["{x: 1}: v", "a: {} b: c", "- {}: v"] {
        assert!(yaml::parse(text).is_err(), "{text}");
    }
}

#[test]
fn documents_are_split() {
    let documents = yaml::parse_documents("a: 1\n---\nb: 2\n---\n").unwrap();
    assert_eq!(documents.len(), 3);
}

#[test]
fn errors_have_a_place() {
    let error = yaml::parse("a: 1\nb: [1\n").unwrap_err();
    assert!(error.line >= 2, "{error}");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", ")));
    }
    assert!(yaml::parse(&text).is_err());
    assert!(yaml::parse(&"[".repeat(10_000)).is_err());
}

#[test]
fn output_is_as_helm_prints_it() {
    for (value, expected) in [
        (
            json!({"b": 1, "a": [1, {"x": "y", "z": []}], "c": {}}),
            "a:\n- 1\n- x: \"y\"\n  z: []\nb: 1\nc: {}",
        ),
        (
            json!({"t": "true", "n": "1", "e": "", "s": "a: b", "m": "l1\nl2\n", "o": "l1\nl2"}),
            "e: \"\"\nm: |\n  l1\n  l2\n\"n\": \"1\"\no: |-\n  l1\n  l2\ns: 'a: b'\nt: \"true\"",
        ),
        (json!("%x"), "'%x'"),
        (json!(null), "null"),
        (json!([[1, 2], []]), "- - 1\n  - 2\n- []"),
    ] {
        assert_eq!(yaml::to_string(&Value::from_json(&value)).unwrap(), expected);
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        "[ -~\n\u{e4}]{0,12}".prop_map(Json::from),
        "(yes|no|on|1_0|0x1|~|null|-|1e3|:|#|a: b|a #b|\\?|---|=|<<|0777|.5|2001-01-01| x|x |\n|\t|'|\")"
            .prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            // Helm writes the key `<<` as it stands, and reads a merge.
            proptest::collection::btree_map(
                "[ -~]{0,6}".prop_filter("merges", |key| key != "<<"),
                inner,
                0..4
            )
            .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_json()) {
        let text = yaml::to_string(&Value::from_json(&value)).unwrap() + "\n";
        prop_assert_eq!(read(&text), value, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = yaml::parse_documents(&text);
    }

    #[test]
    fn no_template_makes_the_parser_panic(text in "(\\{\\{|\\}\\}|-|\\.|\\$|[a-z ()|:=\"'`]|if|end|range|else|with|define){0,40}") {
        let mut templates = gotemplate::Templates::new();
        if templates.parse("t", &text).is_ok() {
            let _ = templates.execute("t", &Value::Nil);
        }
    }
}
