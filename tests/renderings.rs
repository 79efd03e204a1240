//! What is rendered for installations of our own choosing, word for word, so that no change goes unseen.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test --test renderings`, and read the difference.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod matrix_cases;

use std::collections::{BTreeMap, BTreeSet};

use istio_manager::kubernetes::object::ObjectId;
use serde_json::Value;

use matrix_cases::Case;

/// Everything but the definitions, one object after the other. Of injection only what depends on the resource: the rest
/// of its templates is Istio's.
fn text(case: &Case) -> String {
    case.planned().unwrap().iter().map(|(id, object)| format!("{id}\n{}\n\n", shown(id, object))).collect()
}

fn shown(id: &ObjectId, object: &Value) -> String {
    let mut object = object.clone();
    if id.name == "istio-sidecar-injector" && id.kind == "ConfigMap" {
        let values: Value = serde_json::from_str(object["data"]["values"].as_str().unwrap()).unwrap();
        object["data"] = values;
    }
    if id.name == "values" && id.kind == "ConfigMap" {
        object["data"] = "a copy of all values, for debugging".into();
    }
    serde_json::to_string_pretty(&object).unwrap()
}

#[test]
fn a_small_cluster_without_any_wish() {
    insta::assert_snapshot!(text(&Case::plain().with("small", 1)));
}

#[test]
fn a_classic_load_balancer_on_aws_with_every_extra_resource() {
    insta::assert_snapshot!(text(&every_extra_resource()));
}

fn every_extra_resource() -> Case {
    Case::plain()
        .with("provider", 4)
        .with("features", 2)
        .with("autoscaler definition", 1)
        .with("network policies", 1)
        .with("egress gateway", 1)
        .with("mesh and components", 1)
}

/// Every kind of cluster and every setting by itself, as the lines in which it differs from the plain installation. Objects
/// that vanish are only named, and so are those that appear if the other snapshots have them.
#[test]
fn what_each_choice_changes_in_a_plain_installation() {
    let (plain, shown) = (Lines::of(&Case::plain()), Lines::of(&every_extra_resource()));
    let mut text = String::new();
    for (name, case) in Case::variations() {
        text.push_str(&format!("## {name}\n{}", plain.difference(&Lines::of(&case), &shown)));
    }
    insta::assert_snapshot!(text);
}

/// Every leaf of every object as `path = value`, long texts line by line.
struct Lines(BTreeMap<ObjectId, BTreeSet<String>>);

impl Lines {
    fn of(case: &Case) -> Self {
        let lines = case.planned().unwrap().into_iter().map(|(id, object)| {
            let mut lines = BTreeSet::new();
            let object = serde_json::from_str(&shown(&id, &object)).unwrap();
            leaves(&object, &mut String::new(), &mut lines);
            (id, lines)
        });
        Self(lines.collect())
    }

    fn difference(&self, other: &Self, shown_elsewhere: &Self) -> String {
        let mut text = String::new();
        for (id, before) in &self.0 {
            let Some(after) = other.0.get(id) else {
                text.push_str(&format!("- {id}\n"));
                continue;
            };
            before.difference(after).for_each(|line| text.push_str(&format!("- {id}{line}\n")));
            after.difference(before).for_each(|line| text.push_str(&format!("+ {id}{line}\n")));
        }
        for (id, lines) in other.0.iter().filter(|(id, _)| !self.0.contains_key(id)) {
            text.push_str(&format!("+ {id}\n"));
            if !shown_elsewhere.0.contains_key(id) {
                for line in lines {
                    text.push_str(&format!("+ {id}{line}\n"));
                }
            }
        }
        text
    }
}

fn leaves(value: &Value, path: &mut String, lines: &mut BTreeSet<String>) {
    let mut below = |name: &str, value: &Value| {
        let length = path.len();
        path.push_str(name);
        leaves(value, path, lines);
        path.truncate(length);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| below(&format!(" {name}"), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| {
            let name = item["name"].as_str().map_or_else(|| index.to_string(), str::to_owned);
            below(&format!(" [{name}]"), item);
        }),
        Value::String(text) => lines.extend(text.lines().map(|line| format!("{path} = {line}"))),
        other => {
            lines.insert(format!("{path} = {other}"));
        }
    }
}
