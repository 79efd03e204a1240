//! What is done with any input: by libFuzzer (`fuzz/`), and by `hostile.rs` with texts made by rule.
//!
//! An answer or an error with its place; never a panic.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests, of which each uses some")]

use std::time::{Duration, UNIX_EPOCH};

use gotemplate::{Environment, Error, Limits, Map, Templates, Value, yaml};

/// Limits that let a test end soon.
pub const SMALL: Limits = Limits::GENEROUS
    .with_steps(20_000)
    .with_output_bytes(1 << 20)
    .with_memory_bytes(64 << 20)
    .with_stack_bytes(512 << 10);

/// Functions with a text in every place that takes one.
pub const READERS: [&str; 22] = [
    "{{ fromJson .t | toJson }}{{ fromJsonArray .t | toPrettyJson }}",
    "{{ fromYaml .t | toYaml }}{{ fromYamlArray .t | toYamlPretty }}",
    "{{ fromToml .t | toToml }}",
    "{{ regexReplaceAll .t .o .t }}{{ regexSplit .t .o 3 }}",
    "{{ regexFindAll .o .t -1 }}{{ regexReplaceAllLiteral .o .t .o }}",
    "{{ semverCompare .t \"1.2.3\" }}",
    "{{ semverCompare \">1-0\" .t }}{{ (semver .t).IncPatch }}",
    "{{ toDate .t .o }}{{ mustToDate .o .t }}",
    "{{ dateInZone .t 1000000000 .o }}{{ dateInZone .t -9223372036854775808 .t }}",
    "{{ date .t (toDate \"2006\" \"9999\") }}{{ dateModify .t (toDate \"2006\" \"9999\") }}",
    "{{ mustToDuration .t }}{{ durationRound .t }}{{ durationRoundTo .t .o }}",
    "{{ printf .t 1 \"a\" 2.5 .l }}{{ printf .o .t .t }}",
    "{{ tpl .t . }}",
    "{{ urlParse .t | urlJoin }}",
    "{{ b64dec .t }}{{ b32dec .t }}{{ encryptAES .t .o | decryptAES .t }}{{ decryptAES .o .t }}",
    "{{ snakecase .t }}{{ camelcase .t }}{{ kebabcase .t }}{{ title .t }}{{ swapcase .t }}{{ initials .t }}",
    "{{ wrapWith 3 .o .t }}{{ wrap 5 .t }}{{ abbrev 9 .t }}{{ abbrevboth 5 9 .t }}{{ trunc -4 .t }}{{ substr 2 5 .t }}",
    "{{ splitList .o .t | toJson }}{{ splitn .o 2 .t }}{{ replace .o .t .t }}{{ trimAll .o .t }}",
    "{{ quote .t }}{{ squote .t }}{{ js .t }}{{ html .t }}{{ urlquery .t }}{{ regexQuoteMeta .t }}",
    "{{ int .t }}{{ int64 .t }}{{ float64 .t }}{{ atoi .t }}{{ toDecimal .t }}{{ addf .t .o }}{{ divf 1 .t }}",
    "{{ clean .t }}{{ dir .t }}{{ base .t }}{{ ext .t }}",
    "{{ dict .t .o | toYaml }}{{ dict .t .o | toToml }}{{ sortAlpha (list .t .o) }}{{ nindent 2 .t }}",
];

/// A text as a template, over the values of the snippets.
pub fn template(source: &str) -> Result<String, Error> {
    placed(run(SMALL, source))
}

pub fn run(limits: Limits, source: &str) -> Result<String, Error> {
    let mut templates = Templates::new();
    templates.set_limits(limits);
    templates.parse("hostile.yaml", source)?;
    let values = yaml::parse(include_str!("../snippets/values.yaml")).unwrap();
    let root = Map::new();
    root.insert("Values", values);
    templates.execute("hostile.yaml", &Value::Map(root))
}

/// Two texts in the hands of functions that read one.
pub fn function(reader: usize, text: &[u8], other: &str) -> Result<String, Error> {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut templates = Templates::with_environment(Environment::new().with_now(now).with_seed([1; 32]));
    templates.set_limits(SMALL);
    templates.parse("reader", READERS[reader % READERS.len()])?;
    let dot = Map::new();
    dot.insert("t", Value::text(text.to_vec()));
    dot.insert("o", Value::string(other));
    dot.insert("l", Value::list(vec![Value::Int(1), Value::string("x"), Value::Nil]));
    placed(templates.execute("reader", &Value::Map(dot)))
}

/// A text as YAML: what is read can be written, and what is written reads back the same.
pub fn yaml(text: &str) {
    if let Ok(documents) = yaml::parse_documents(text) {
        for document in documents {
            let _ = document.to_json();
        }
    }
    let Ok(json) = yaml::parse_json(text) else { return };
    let written = yaml::json_to_string(&json) + "\n";
    // Helm writes the key `<<` as it stands, and reads a merge.
    if let Ok(read) = yaml::parse_json(&written)
        && !has_merge_key(&json)
    {
        assert_eq!(read, json, "{written}");
    }
}

fn placed(result: Result<String, Error>) -> Result<String, Error> {
    if let Err(error) = &result {
        assert!(error.line() > 0 && error.column() > 0 && !error.pretty().is_empty(), "{error}");
    }
    result
}

fn has_merge_key(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Object(fields) => {
            fields.iter().any(|(key, value)| key == "<<" || has_merge_key(value))
        }
        serde_json::Value::Array(values) => values.iter().any(has_merge_key),
        _ => false,
    }
}
