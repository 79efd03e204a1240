//! What a snippet gives here, and what it gives in Helm.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "helpers of tests, of which each uses some")]

use crate::oracle::{Oracle, Request};
use gotemplate::{Environment, Map, MapType, Templates, Value, yaml};
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

const VALUES: &str = include_str!("../snippets/values.yaml");

/// A template that the snippets can include.
const HELPERS: &str = r#"{{ define "greet" }}hello {{ . }}{{ end }}{{ define "name" }}{{ .name }}{{ end -}}
{{- define "loop" }}{{ include "loop" . }}{{ end }}{{ define "empty" }}  {{ end -}}
{{- define "count" }}{{ if gt . 0 }}{{ . }},{{ include "count" (sub . 1 | int) }}{{ end }}{{ end }}"#;

pub fn ours(snippet: &str) -> Result<String, String> {
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
    if let Some(release) = root.get("Release").as_ref().and_then(Value::as_map) {
        release.insert("Revision", Value::Int(1));
    }
    let template = Map::new();
    template.insert("Name", Value::string("snippet/templates/snippet.txt"));
    template.insert("BasePath", Value::string("snippet/templates"));
    root.insert("Template", Value::Map(Map::of(MapType::Values, template.entries())));
    // Some snippets ask what kind of thing `now` is; none asks for the time.
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut templates = Templates::with_environment(Environment::new().with_now(now).with_seed([7; 32]));
    templates.parse("snippet/templates/snippet.txt", snippet).map_err(|error| error.pretty())?;
    templates.parse("snippet/templates/_helpers.tpl", HELPERS).map_err(|error| error.pretty())?;
    let text = templates
        .execute("snippet/templates/snippet.txt", &Value::Map(root))
        .map_err(|error| error.pretty())?;
    Ok(text.replace("<no value>", ""))
}

pub fn helms(oracle: &mut Oracle, snippet: &str) -> Result<String, String> {
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

/// Compares snippets with Helm, and adds each difference to a text.
pub fn compare(oracle: &mut Oracle, snippets: impl IntoIterator<Item = String>) -> Comparison {
    let mut comparison = Comparison::default();
    for snippet in snippets {
        comparison.count += 1;
        let ours = ours(&snippet);
        // Go ends the process when it prints a value that contains itself.
        if ours.as_ref().is_err_and(|error| error.contains("is cyclic")) {
            continue;
        }
        let helms = helms(oracle, &snippet);
        // The root holds addresses.
        if helms.as_ref().is_ok_and(|text| text.to_lowercase().contains("capabilities:0x")) {
            continue;
        }
        comparison.errors += usize::from(helms.is_err());
        let same = match (&ours, &helms) {
            (Ok(ours), Ok(helms)) => ours == helms,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !same {
            writeln!(comparison.differences, "\n{snippet}\n  ours:  {ours:?}\n  Helm:  {helms:?}").unwrap();
        }
    }
    comparison
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    pub count: usize,
    /// Snippets that fail in Helm.
    pub errors: usize,
    pub differences: String,
}
