//! The operator may do what its code and Istio's charts need, and nothing more.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use gotemplate::yaml;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

mod parity_cases;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// All of them together have every kind, gateway and flavour that can be rendered.
const CASES: [&str; 9] = [
    "01-default-production",
    "02-default-evaluation",
    "06-egress-evaluation",
    "08-aws-nlb",
    "10-gke",
    "12-openstack-garden",
    "14-features",
    "15-ambient",
    "17-dual-stack",
];

const AUTOSCALERS: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: verticalpodautoscalers.autoscaling.k8s.io}
";
const POLICIES: &str = "\
apiVersion: operator.kyma-project.io/v1alpha2
kind: Istio
metadata: {name: default, namespace: kyma-system}
spec: {networkPoliciesEnabled: true}
";

/// What the code does besides applying, watching and removing what the charts render.
const OWN: &[(&str, &str, &[&str])] = &[
    // The resource: followed, held by a finalizer, reported on.
    ("operator.kyma-project.io", "istios", &["get", "list", "watch", "patch"]),
    ("operator.kyma-project.io", "istios/status", &["get", "patch"]),
    // Needed to set owner references that block deletion, as the admission plugin of that name wants.
    ("operator.kyma-project.io", "istios/finalizers", &["update"]),
    ("events.k8s.io", "events", &["create", "patch"]),
    // Who keeps the namespace of the control plane.
    ("", "persistentvolumeclaims", &["list"]),
    ("", "pods", &["list"]),
    ("", "secrets", &["list"]),
    ("apps", "statefulsets", &["list"]),
    ("batch", "cronjobs", &["list"]),
    ("batch", "jobs", &["list"]),
    // Workloads with outdated sidecars: asking injection in a dry run, following owners, restarting.
    ("", "pods", &["create"]),
    ("", "pods/eviction", &["create"]),
    ("apps", "statefulsets", &["get", "watch", "patch"]),
    ("argoproj.io", "rollouts", &["get", "watch", "patch"]),
    ("batch", "cronjobs", &["get"]),
    ("batch", "jobs", &["get"]),
    SCALE,
    ("networking.k8s.io", "ingresses", &["list"]),
    ("networking.k8s.io", "networkpolicies", &["list"]),
    ("gateway.networking.k8s.io", "gateways", &["list"]),
    ("gateway.networking.k8s.io", "httproutes", &["list"]),
    // Facts of the cluster, and whether istiod has an endpoint.
    ("", "nodes", &["list"]),
    ("discovery.k8s.io", "endpointslices", &["list", "watch"]),
];

/// How many pods an owner of any kind wants. A number that is read; the kinds of others cannot be listed here.
const SCALE: (&str, &str, &[&str]) = ("*", "*/scale", &["get"]);

/// What applying, watching and removing an object takes.
const APPLY: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// One thing that may be done: API group, resource and verb.
type Right = (String, String, String);

fn rights(rules: &Value) -> BTreeSet<Right> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let list = rule[field].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

/// Whether holding `held` allows to grant or do `wanted`, as the API server judges it.
fn covers(held: &Right, wanted: &Right) -> bool {
    let matches = |held: &str, wanted: &str| held == wanted || held == "*";
    let resource = matches(&held.1, &wanted.1)
        || held.1.strip_prefix("*/").is_some_and(|sub| wanted.1.ends_with(&format!("/{sub}")));
    matches(&held.0, &wanted.0) && resource && matches(&held.2, &wanted.2)
}

fn rendered() -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for case in parity_cases::cases(&CASES)? {
        objects.extend(yaml::parse_json_documents(&parity_cases::render(&case)?)?);
    }
    objects.extend(with_all_extras()?);
    Ok(objects)
}

/// The NetworkPolicies and autoscalers that are only made when they are asked for and can be had.
fn with_all_extras() -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let features = parity_cases::cases(&["14-features"])?.swap_remove(0);
    let cluster = std::fs::read_to_string(features.join("cluster.yaml"))?;
    std::fs::write(folder.path().join("cluster.yaml"), format!("{cluster}\n---\n{AUTOSCALERS}"))?;
    std::fs::write(folder.path().join("cr.yaml"), POLICIES)?;
    Ok(yaml::parse_json_documents(&parity_cases::render(folder.path())?)?)
}

/// What the charts want to be granted, and what their objects take to be applied.
fn needed(objects: &[Value]) -> BTreeSet<Right> {
    let mut needed = BTreeSet::new();
    for object in objects {
        if matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")) {
            needed.extend(rights(&object["rules"]));
        }
        let (group, plural) = resource_of(object);
        needed.extend(APPLY.map(|verb| (group.clone(), plural.clone(), verb.to_owned())));
    }
    for (group, resource, verbs) in OWN {
        needed.extend(
            verbs.iter().map(|verb| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned())),
        );
    }
    needed
}

fn resource_of(object: &Value) -> (String, String) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    (group.to_owned(), resource.plural)
}

/// The operator's `ClusterRole` and its Role.
fn held() -> Result<BTreeSet<Right>> {
    let mut held = BTreeSet::new();
    for file in ["role.yaml", "operator-role.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac").join(file);
        for document in yaml::parse_json_documents(&std::fs::read_to_string(path)?)? {
            held.extend(rights(&document["rules"]));
        }
    }
    Ok(held)
}

#[test]
fn everything_that_the_charts_grant_and_the_code_does_is_allowed() -> Result {
    let held = held()?;
    let missing: Vec<Right> = needed(&rendered()?)
        .into_iter()
        .filter(|wanted| !held.iter().any(|held| covers(held, wanted)))
        .collect();
    assert!(missing.is_empty(), "not allowed, so the installation would fail: {missing:#?}");
    Ok(())
}

#[test]
fn nothing_is_allowed_that_neither_the_charts_nor_the_code_need() -> Result {
    let needed = needed(&rendered()?);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac/role.yaml");
    let role = yaml::parse_json_documents(&std::fs::read_to_string(path)?)?;
    let superfluous: Vec<Right> =
        role.iter().flat_map(|role| rights(&role["rules"])).filter(|held| !needed.contains(held)).collect();
    assert!(superfluous.is_empty(), "allowed for nothing: {superfluous:#?}");
    Ok(())
}

#[test]
fn a_wildcard_is_held_only_where_a_chart_grants_that_very_wildcard() -> Result {
    let charts: BTreeSet<Right> = rendered()?
        .iter()
        .filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")))
        .flat_map(|object| rights(&object["rules"]))
        .collect();
    let is_wild = |right: &&Right| [&right.0, &right.1, &right.2].iter().any(|part| part.contains('*'));
    let wild: Vec<Right> = held()?
        .iter()
        .filter(is_wild)
        .filter(|right| !charts.contains(*right) && !is_scale(right))
        .cloned()
        .collect();
    assert!(wild.is_empty(), "{wild:#?}");
    Ok(())
}

/// Without these the API server lets nobody grant what he does not hold himself.
#[test]
fn nothing_may_be_granted_that_is_not_held() -> Result {
    let beyond = ["escalate", "bind", "impersonate", "*"];
    let about_permissions = |(group, resource, verb): &&Right| {
        let any = ["rbac.authorization.k8s.io", "*"].contains(&group.as_str()) && !resource.contains('/');
        (any && beyond.contains(&verb.as_str())) || verb == "impersonate"
    };
    let held = held()?;
    assert_eq!(held.iter().filter(about_permissions).collect::<Vec<_>>(), Vec::<&Right>::new());
    Ok(())
}

fn is_scale((group, resource, verb): &Right) -> bool {
    (group.as_str(), resource.as_str(), [verb.as_str()].as_slice()) == SCALE
}

#[test]
fn a_wildcard_covers_what_it_stands_for_and_nothing_else() {
    let right =
        |group: &str, resource: &str, verb: &str| (group.to_owned(), resource.to_owned(), verb.to_owned());
    let all = rights(&json!([{"apiGroups": ["a"], "resources": ["*"], "verbs": ["get"]}]));
    let held = all.first().cloned().unwrap_or_default();
    assert!(covers(&held, &right("a", "things", "get")));
    assert!(!covers(&held, &right("a", "things", "list")));
    assert!(!covers(&held, &right("b", "things", "get")));
}
