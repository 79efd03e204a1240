//! Istio's charts must print what `helm template` prints, or fail where it fails.
//!
//! With `JUDGE_FULL=1`, every combination of profiles, platforms and compatibility versions instead of every pair, and
//! many more random values. With `JUDGE_MANIFESTS=<istio release>/manifests`, the charts of that release instead of those
//! that are embedded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

#[path = "../../gotemplate/tests/oracle/mod.rs"]
mod oracle;

#[path = "../../helm-chart/tests/judge/mod.rs"]
mod judge;

use helm_chart::parse_values;
use judge::compare;
use oracle::{Oracle, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What the judge wants of a test that makes keys and certificates, which Istio's charts do not ask for.
mod certificates {
    pub fn make(function: &str, _: &[gotemplate::Value]) -> gotemplate::CallResult {
        Err(format!("{function} is not called by Istio's charts").into())
    }
}

const ISTIO_CHARTS: [&str; 8] = [
    "base",
    "default",
    "gateway",
    "gateways/istio-egress",
    "gateways/istio-ingress",
    "istio-cni",
    "istio-control/istio-discovery",
    "ztunnel",
];

fn folder(chart: &str) -> PathBuf {
    let embedded = || {
        let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.charts");
        charts.join(include_str!("../../../tools/istio/VERSION").trim())
    };
    std::env::var_os("JUDGE_MANIFESTS").map_or_else(embedded, PathBuf::from).join("charts").join(chart)
}

fn is_full() -> bool {
    std::env::var_os("JUDGE_FULL").is_some()
}

fn request(chart: &Path, values: &Value) -> Request {
    Request {
        chart: chart.display().to_string(),
        values: vec![values.to_string()],
        name: "demo".to_owned(),
        namespace: "istio-system".to_owned(),
        ..Request::default()
    }
}

/// The names that files `profile-PREFIX*.yaml` of the charts have, with none and with one that does not exist.
fn names(prefix: &str, others: &[&str]) -> Vec<Option<String>> {
    let mut names = BTreeSet::new();
    for chart in ISTIO_CHARTS {
        for entry in std::fs::read_dir(folder(chart).join("files")).into_iter().flatten() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let name = file.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".yaml"));
            names.extend(
                name.filter(|name| !others.iter().any(|other| name.starts_with(other))).map(str::to_owned),
            );
        }
    }
    assert!(names.len() > 2, "profiles of {prefix}: {names:?}");
    names.into_iter().map(Some).chain([None, Some("missing".to_owned())]).collect()
}

/// Rows in which every pair of choices occurs: the second and third choice run through all their combinations, and the
/// first runs along with them.
fn pairwise(counts: [usize; 3]) -> BTreeSet<[usize; 3]> {
    let [a, b, c] = counts;
    let mut rows = BTreeSet::new();
    for i in 0..a {
        for j in 0..b {
            rows.insert([i, j, (i + j) % c]);
        }
        for k in 0..c {
            rows.insert([i, (i + k) % b, k]);
        }
    }
    for j in 0..b {
        for k in 0..c {
            rows.insert([(j + k) % a, j, k]);
        }
    }
    rows
}

fn product([a, b, c]: [usize; 3]) -> BTreeSet<[usize; 3]> {
    (0..a).flat_map(|i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k]))).collect()
}

#[test]
fn istios_charts_print_the_same_as_helm_for_all_profiles() {
    let profiles = names("profile-", &["platform-", "compatibility-version-"]);
    let platforms = names("profile-platform-", &[]);
    let versions = names("profile-compatibility-version-", &[]);
    let counts = [profiles.len(), platforms.len(), versions.len()];
    let rows = if is_full() { product(counts) } else { pairwise(counts) };
    let mut oracle = Oracle::start();
    let (mut rendered, mut failed, mut differences) = (0, 0, Vec::new());
    for (number, [profile, platform, version]) in rows.into_iter().enumerate() {
        // In turn as values of the chart and as global ones.
        let values = if number % 2 == 0 {
            json!({"profile": profiles[profile], "platform": platforms[platform],
                "compatibilityVersion": versions[version]})
        } else {
            json!({"global": {"profile": profiles[profile], "platform": platforms[platform]},
                "compatibilityVersion": versions[version]})
        };
        for chart in ISTIO_CHARTS {
            match compare(&mut oracle, &request(&folder(chart), &values)) {
                Ok(true) => rendered += 1,
                Ok(false) => failed += 1,
                Err(difference) => differences.push(difference),
            }
        }
    }
    println!("{rendered} renderings and {failed} failures are Helm's");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(rendered > 200 && failed > 20);
}

/// The paths of a chart's own values, with what stands there.
fn paths(values: &Value, path: &[String], found: &mut Vec<(Vec<String>, Value)>) {
    if let Value::Object(fields) = values {
        for (key, value) in fields {
            let below: Vec<String> = path.iter().cloned().chain([key.clone()]).collect();
            found.push((below.clone(), value.clone()));
            paths(value, &below, found);
        }
    }
}

/// Something to set in place of a value: mostly of its kind, at times of another.
fn replacement(value: &Value) -> BoxedStrategy<Value> {
    let texts = || {
        prop_oneof![
            Just(""),
            Just("a"),
            Just("istio"),
            Just("10.0.0.1"),
            Just("true"),
            Just("1"),
            Just("a: b"),
            Just("x\ny"),
            Just("{{ .Release.Name }}"),
            Just("ambient"),
            Just("a-very-long-name-that-goes-on-and-on-until-it-is-cut-somewhere-at-63"),
            Just("*"),
            Just("LoadBalancer"),
            Just("\u{e4}\u{1f600}"),
        ]
    };
    let text = texts().prop_map(Value::from);
    let number = prop_oneof![Just(0.0), Just(1.0), Just(2.5), Just(15000.0), Just(1e7), Just(-1.0)]
        .prop_map(Value::from);
    let flag = any::<bool>().prop_map(Value::from);
    let list = prop_oneof![
        Just(json!([])),
        Just(json!(["a", "b"])),
        Just(json!([{"name": "n", "value": "v"}])),
        Just(json!([1, null])),
        Just(json!([{"port": 80, "name": "http", "targetPort": 8080}])),
    ];
    let map = prop_oneof![
        Just(json!({})),
        Just(json!({"a": "b"})),
        Just(json!({"enabled": true})),
        Just(json!({"a": {"b": [1]}})),
        Just(json!({"requests": {"cpu": "1", "memory": "1Gi"}})),
        Just(json!({"a": null})),
    ];
    let same = match value {
        Value::String(_) => text.clone().boxed(),
        Value::Number(_) => number.clone().boxed(),
        Value::Bool(_) => flag.clone().boxed(),
        Value::Array(_) => list.clone().boxed(),
        _ => map.clone().boxed(),
    };
    prop_oneof![12 => same, 1 => Just(Value::Null), 1 => text, 1 => number, 1 => flag, 1 => list, 1 => map]
        .boxed()
}

fn set(values: &mut Value, path: &[String], value: Value) {
    let mut node = values;
    for key in path {
        if !node.is_object() {
            *node = json!({});
        }
        node = &mut node[key.as_str()];
    }
    *node = value;
}

/// Random values for a chart: some of its own paths, set to something else.
fn values_for(chart: &str) -> BoxedStrategy<Value> {
    let text = std::fs::read_to_string(folder(chart).join("values.yaml")).unwrap();
    let defaults = parse_values(&text).unwrap();
    let mut known = Vec::new();
    paths(defaults.get("_internal_defaults_do_not_set").unwrap_or(&defaults), &[], &mut known);
    let setting =
        proptest::sample::select(known).prop_flat_map(|(path, value)| (Just(path), replacement(&value)));
    proptest::collection::vec(setting, 1..6)
        .prop_map(|settings| {
            let mut values = json!({});
            for (path, value) in settings {
                set(&mut values, &path, value);
            }
            values
        })
        .boxed()
}

#[test]
fn istios_charts_print_what_helm_prints_for_random_values() {
    let cases = if is_full() { 2000 } else { 60 };
    let mut oracle = Oracle::start();
    let (mut rendered, mut failed, mut differences) = (0, 0, Vec::new());
    for chart in ISTIO_CHARTS {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let strategy = values_for(chart);
        for _ in 0..cases {
            let values = strategy.new_tree(&mut runner).unwrap().current();
            match compare(&mut oracle, &request(&folder(chart), &values)) {
                Ok(true) => rendered += 1,
                Ok(false) => failed += 1,
                Err(difference) => differences.push(difference),
            }
        }
    }
    println!("{rendered} renderings and {failed} failures are Helm's");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(rendered > 100 && failed > 10);
}
