//! Renders charts with this crate and with Helm, and tells where the two differ.
//!
//! usage: `compare_with_helm FOLDER…`: every chart in the folders, with its default values, with those in its `ci/`, and
//! with values made from its defaults: all switches on, all off, and a few random ones.
//!
//! Helm is the program that `tools/build.sh helm` builds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool of tests fails by panicking, like the tests")]

mod certificates;
#[path = "../tests/judge/mod.rs"]
mod judge;
#[path = "../../gotemplate/tests/oracle/mod.rs"]
mod oracle;

use helm_chart::parse_values;
use judge::Comparison;
use oracle::{Oracle, Request};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Templates that call each other need more than a usual stack.
const STACK: usize = 64 << 20;
/// Sets of random values for each chart.
const RANDOM_SETS: u64 = 3;

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        eprintln!("usage: compare_with_helm FOLDER…");
        return ExitCode::FAILURE;
    }
    let comparing = std::thread::Builder::new().stack_size(STACK).spawn(move || compare(&folders)).unwrap();
    if comparing.join().unwrap() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether all is equal.
fn compare(folders: &[PathBuf]) -> bool {
    let mut charts = Vec::new();
    for folder in folders {
        find_charts(folder, &mut charts);
    }
    let mut oracle = Oracle::start();
    let mut counts = Counts::default();
    for chart in &charts {
        for (name, values) in variants(chart) {
            let request = request(chart, values);
            let comparison = judge::compare_with_helm(&mut oracle, &request);
            if let (Comparison::Differ(_), [values]) = (&comparison, request.values.as_slice()) {
                println!("with the values {values}");
            }
            counts.add(&format!("{} ({name})", chart.display()), comparison);
        }
    }
    println!(
        "{} charts: {} renderings are Helm's, {} are but for what is random, {} fail with both, {} differ",
        charts.len(),
        counts.equal,
        counts.random,
        counts.fail,
        counts.differ
    );
    counts.differ == 0
}

#[derive(Default)]
struct Counts {
    equal: usize,
    random: usize,
    fail: usize,
    differ: usize,
}

impl Counts {
    fn add(&mut self, what: &str, comparison: Comparison) {
        match comparison {
            Comparison::Equal => self.equal += 1,
            Comparison::EqualButRandom => self.random += 1,
            Comparison::BothFail { ours, helms } => {
                self.fail += 1;
                if std::env::var_os("SHOW_FAILURES").is_some() {
                    println!("{what} fails\n    ours: {ours}\n    Helm: {helms}");
                }
            }
            Comparison::Differ(difference) => {
                self.differ += 1;
                println!("{what}: {difference}");
            }
        }
    }
}

/// Charts at or below a folder, not those within charts.
fn find_charts(folder: &Path, charts: &mut Vec<PathBuf>) {
    if folder.join("Chart.yaml").is_file() {
        charts.push(folder.to_owned());
        return;
    }
    let mut below: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    below.sort();
    for path in below.iter().filter(|path| path.is_dir()) {
        find_charts(path, charts);
    }
}

fn request(chart: &Path, values: Option<String>) -> Request {
    Request {
        chart: chart.display().to_string(),
        values: values.into_iter().collect(),
        name: "demo".to_owned(),
        namespace: "test".to_owned(),
        include_crds: true,
        ..Request::default()
    }
}

/// Values to render a chart with, by a name.
fn variants(chart: &Path) -> Vec<(String, Option<String>)> {
    let mut variants = vec![("defaults".to_owned(), None)];
    let mut files: Vec<PathBuf> = fs::read_dir(chart.join("ci"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
        variants.push((file.display().to_string(), fs::read_to_string(file).ok()));
    }
    let defaults =
        fs::read_to_string(chart.join("values.yaml")).ok().and_then(|text| parse_values(&text).ok());
    if let Some(defaults) = defaults.filter(|defaults| defaults != &json!({})) {
        let mut add = |name: String, change: &mut dyn FnMut(&Value) -> Option<Value>| {
            let values = changed(&defaults, change).unwrap_or_else(|| json!({}));
            variants.push((name, Some(values.to_string())));
        };
        add("all on".to_owned(), &mut |value| (value == &json!(false)).then(|| json!(true)));
        add("all off".to_owned(), &mut |value| (value == &json!(true)).then(|| json!(false)));
        for seed in 0..RANDOM_SETS {
            let mut random = Random(seed);
            add(format!("random {seed}"), &mut |value| random.replacement(value));
        }
    }
    variants
}

/// The values below a value that a change replaces, and nothing else.
fn changed(value: &Value, change: &mut dyn FnMut(&Value) -> Option<Value>) -> Option<Value> {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let below: Map<String, Value> = fields
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), changed(value, change)?)))
                .collect();
            (!below.is_empty()).then_some(Value::Object(below))
        }
        other => change(other),
    }
}

/// A small generator: the same values in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// At times something of the same kind in place of a value, and rarely nothing.
    fn replacement(&mut self, value: &Value) -> Option<Value> {
        if self.below(4) > 0 {
            return None;
        }
        if self.below(40) == 0 {
            return Some(Value::Null);
        }
        Some(match value {
            Value::Bool(flag) => json!(!flag),
            Value::Number(_) => [json!(0), json!(1), json!(8080), json!(1.5)][self.index(4)].clone(),
            Value::String(_) => {
                let texts = [
                    "",
                    "text",
                    "10",
                    "true",
                    "a: b",
                    "two\nlines",
                    "{{ .Release.Name }}",
                    "ä-\u{1f600}",
                    "1.2.3",
                ];
                json!(texts[self.index(9)])
            }
            Value::Array(_) => {
                [json!([]), json!(["a", "b"]), json!([{"name": "n", "value": "v"}])][self.index(3)].clone()
            }
            Value::Object(_) => {
                [json!({"a": "b"}), json!({"enabled": true, "x.y/z": 1e7})][self.index(2)].clone()
            }
            Value::Null => [json!("text"), json!({"a": 1}), json!(["a"]), json!(true)][self.index(4)].clone(),
        })
    }

    fn index(&mut self, limit: u64) -> usize {
        usize::try_from(self.below(limit)).unwrap_or_default()
    }
}
