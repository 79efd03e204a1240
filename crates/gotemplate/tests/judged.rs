//! Hundreds of template snippets, each of which must give what it gives in Helm, or fail where it fails in Helm.
//!
//! The snippets stand in `snippets/`, one a line; `⏎` is a line break.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

mod oracle;

use gotemplate::{Environment, Map, MapType, Templates, Value, yaml};
use oracle::{Oracle, Request};
use std::fmt::Write as _;
use std::path::Path;

const VALUES: &str = include_str!("snippets/values.yaml");

/// A template that the snippets can include.
const HELPERS: &str = r#"{{ define "greet" }}hello {{ . }}{{ end }}{{ define "name" }}{{ .name }}{{ end -}}
{{- define "loop" }}{{ include "loop" . }}{{ end }}{{ define "empty" }}  {{ end -}}
{{- define "count" }}{{ if gt . 0 }}{{ . }},{{ include "count" (sub . 1 | int) }}{{ end }}{{ end }}"#;

fn ours(snippet: &str) -> Result<String, String> {
    let root = Map::of(MapType::Values, []);
    let values = yaml::parse(VALUES).unwrap();
    root.insert("Values", Value::Map(Map::of(MapType::Values, values.as_map().unwrap().entries())));
    root.insert(
        "Release",
        Value::from_json(
            &serde_json::json!({"Name": "demo", "Namespace": "test", "Service": "Helm", "IsInstall": true,
            "IsUpgrade": false}),
        ),
    );
    let template = Map::new();
    template.insert("Name", Value::string("snippet/templates/snippet.txt"));
    template.insert("BasePath", Value::string("snippet/templates"));
    root.insert("Template", Value::Map(Map::of(MapType::Values, template.entries())));
    let mut templates = Templates::new();
    // Some snippets ask what kind of thing `now` is; none asks for the time.
    templates.set_environment(Environment { now: Some(1_700_000_000), seed: None });
    templates.parse("snippet/templates/snippet.txt", snippet).map_err(|error| error.pretty())?;
    templates.parse("snippet/templates/_helpers.tpl", HELPERS).map_err(|error| error.pretty())?;
    let text = templates
        .execute("snippet/templates/snippet.txt", &Value::Map(root))
        .map_err(|error| error.pretty())?;
    Ok(text.replace("<no value>", ""))
}

fn helms(oracle: &mut Oracle, snippet: &str) -> Result<String, String> {
    let templates = [("templates/snippet.txt", snippet), ("templates/_helpers.tpl", HELPERS)];
    let answer = oracle.ask(&Request {
        templates: templates.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect(),
        values: vec![VALUES.to_owned()],
        name: "demo".to_owned(),
        namespace: "test".to_owned(),
        ..Request::default()
    });
    if !answer.error.is_empty() {
        return Err(answer.error);
    }
    Ok(answer.files.get("snippet/templates/snippet.txt").cloned().unwrap_or_default())
}

/// Judges all snippets of a file and tells every difference.
fn judge(topic: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snippets").join(format!("{topic}.txt"));
    let text = std::fs::read_to_string(file).unwrap();
    let mut oracle = Oracle::start();
    let mut differences = String::new();
    let mut count = 0;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("## ")) {
        let snippet = line.replace('⏎', "\n");
        count += 1;
        let (ours, helms) = (ours(&snippet), helms(&mut oracle, &snippet));
        let same = match (&ours, &helms) {
            (Ok(ours), Ok(helms)) => ours == helms,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !same {
            writeln!(differences, "\n{line}\n  ours:  {ours:?}\n  Helm:  {helms:?}").unwrap();
        }
    }
    assert!(count > 10, "only {count} snippets of {topic}");
    assert!(differences.is_empty(), "{differences}");
}

macro_rules! topics {
    ($($topic:ident)*) => { $(
        #[test]
        fn $topic() {
            judge(stringify!($topic));
        }
    )* };
}

topics! {
    actions arithmetic case comparisons dates dicts encodings errors fields lists printing regular_expressions strings
    structured types urls_and_paths versions yaml_output yaml_input
}
