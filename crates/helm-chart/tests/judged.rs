//! Charts made to try Helm's rules must print what `helm template` prints, or fail where it fails.
//!
//! With `JUDGE_FULL=1`, many more random values.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

#[path = "../../gotemplate/tests/oracle/mod.rs"]
mod oracle;

mod cases;
#[path = "../examples/certificates/mod.rs"]
mod certificates;
mod judge;

use judge::{compare, ours};
use oracle::{Oracle, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use std::path::Path;

fn is_full() -> bool {
    std::env::var_os("JUDGE_FULL").is_some()
}

fn request(chart: &Path) -> Request {
    Request {
        chart: chart.display().to_string(),
        name: "demo".to_owned(),
        namespace: "test".to_owned(),
        ..Request::default()
    }
}

#[test]
fn charts_that_exercise_helms_rules_print_the_same_as_helm() {
    let mut oracle = Oracle::start();
    let mut differences = Vec::new();
    for case in cases::all() {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path());
        let request = Request {
            chart: folder.path().join(cases::PARENT).display().to_string(),
            name: "demo".to_owned(),
            namespace: "test".to_owned(),
            ..case.request.clone()
        };
        match compare(&mut oracle, &request) {
            Ok(rendered) if rendered == case.renders => {}
            Ok(rendered) => {
                differences.push(format!("{}: rendered is {rendered}: {:?}", case.name, ours(&request)));
            }
            Err(difference) => differences.push(format!("{}: {difference}", case.name)),
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Values in which keys of all levels meet: those of charts within, globals, switches and nulls.
fn tangled_values() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        3 => Just(Value::Null),
        2 => Just(json!(1)),
        2 => Just(json!("x")),
        1 => Just(json!(true)),
        1 => Just(json!(false)),
        1 => Just(json!([1, null])),
        1 => Just(json!({})),
    ];
    let key = proptest::sample::select(vec![
        "a", "b", "sub", "deep", "other", "global", "tags", "enabled", "exports",
    ]);
    let map = leaf.prop_recursive(4, 40, 6, move |inner| {
        proptest::collection::btree_map(key.clone(), inner, 0..6)
            .prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    });
    map.prop_map(|value| if value.is_object() { value } else { json!({ "a": value }) }).boxed()
}

/// A chart with a chart within a chart, whose dependencies use all there is.
fn write_tangled_chart(folder: &Path, values: &[Value]) {
    let dump = "kind: A\nname: {{ .Chart.Name }}\nvalues:\n{{ toYaml .Values | indent 2 }}\n";
    let charts = [
        (
            "",
            "parent",
            "dependencies:\n- {name: sub, version: '*', condition: 'sub.enabled,global.enabled', tags: [a], import-values: [a, {child: a, parent: b}]}\n- {name: sub, alias: other, version: '*', tags: [b]}\n",
        ),
        (
            "charts/sub",
            "sub",
            "dependencies:\n- {name: deep, version: '*', condition: deep.enabled, import-values: [{child: b, parent: exports.a}, a]}\n",
        ),
        ("charts/sub/charts/deep", "deep", ""),
    ];
    for ((path, name, more), values) in charts.into_iter().zip(values) {
        let root = folder.join(path);
        std::fs::create_dir_all(root.join("templates")).unwrap();
        std::fs::write(
            root.join("Chart.yaml"),
            format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n{more}"),
        )
        .unwrap();
        std::fs::write(root.join("values.yaml"), values.to_string()).unwrap();
        std::fs::write(root.join("templates/dump.yaml"), dump).unwrap();
    }
}

#[test]
fn random_values_of_charts_within_charts_meet_as_in_helm() {
    let cases = if is_full() { 20_000 } else { 1000 };
    let mut oracle = Oracle::start();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = proptest::collection::vec(tangled_values(), 5).boxed();
    let folder = tempfile::tempdir().unwrap();
    let (mut rendered, mut failed, mut differences) = (0, 0, Vec::new());
    for _ in 0..cases {
        let values = strategy.new_tree(&mut runner).unwrap().current();
        write_tangled_chart(folder.path(), &values);
        let user = values.iter().skip(3).map(Value::to_string).collect();
        let request = Request { values: user, ..request(folder.path()) };
        match compare(&mut oracle, &request) {
            Ok(true) => rendered += 1,
            Ok(false) => failed += 1,
            Err(difference) => differences.push(format!("{values:?}: {difference}")),
        }
    }
    println!("{rendered} renderings and {failed} failures are Helm's");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(rendered > 100 && failed > 10);
}
