//! The operator may do what its code and Istio's charts need, where they need it, and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::sync::LazyLock;

use gotemplate::yaml;
use istio_charts::Bundle;
use istio_manager::inventory::ownership;
use istio_manager::kubernetes::object::ObjectId;
use serde_json::{Value, json};

mod matrix_cases;

use matrix_cases::Case;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const ISTIO_NAMESPACE: &str = "istio-system";

/// What the code does in the whole cluster besides applying, watching and removing what the charts render.
const OWN: &[(&str, &str, &[&str])] = &[
    // The resource: followed, held by a finalizer, reported on.
    ("operator.kyma-project.io", "istios", &["get", "list", "watch", "patch"]),
    ("operator.kyma-project.io", "istios/status", &["get", "patch"]),
    // Needed to set owner references that block deletion, as the admission plugin of that name wants.
    ("operator.kyma-project.io", "istios/finalizers", &["update"]),
    ("events.k8s.io", "events", &["create", "patch"]),
    // Its own access to the namespace that it creates; see `OWN_NAMED`.
    ("rbac.authorization.k8s.io", "rolebindings", &["create"]),
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
    ("apps", "daemonsets", &["get", "watch", "patch"]),
    ("apps", "deployments", &["get", "watch", "patch"]),
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
/// The same for single objects: group, resource, name, verbs.
const OWN_NAMED: &[(&str, &str, &str, &[&str])] = &[
    ("rbac.authorization.k8s.io", "clusterroles", "istio-manager-control-plane", &["bind"]),
    ("rbac.authorization.k8s.io", "rolebindings", "istio-manager-control-plane", &["patch"]),
];
/// What the code does in the operator's own namespace: group, resource, name where there can be one, verbs.
const OWN_NAMESPACE: &[(&str, &str, Option<&str>, &[&str])] = &[
    ("coordination.k8s.io", "leases", None, &["create"]),
    ("coordination.k8s.io", "leases", Some("76223278.kyma-project.io"), &["get", "watch", "update"]),
    ("", "secrets", None, &["create"]),
    ("", "secrets", Some("istio-manager-inventory"), &["get", "patch", "delete"]),
    // As many as it takes to remember restarts, with a number in their names.
    ("", "configmaps", None, &["create", "get", "patch", "delete"]),
];

/// How many pods an owner of any kind wants. A number that is read; the kinds of others cannot be listed here.
const SCALE: (&str, &str, &[&str]) = ("*", "*/scale", &["get"]);

/// Writes in the whole cluster that no admission policy has to limit, each for its reason.
const HARMLESS: &[(&str, &str, &str)] = &[
    // The operator's own resource, and what it reports about it and about workloads.
    ("operator.kyma-project.io", "istios", "it is the operator's own"),
    ("operator.kyma-project.io", "istios/status", "it is the operator's own"),
    ("operator.kyma-project.io", "istios/finalizers", "it is the operator's own"),
    ("events.k8s.io", "events", "reports about any object"),
    ("", "events", "reports about any object"),
    ("", "pods/eviction", "what restarts are; budgets limit it"),
    ("authentication.k8s.io", "tokenreviews", "questions, which change nothing"),
    ("authorization.k8s.io", "subjectaccessreviews", "questions, which change nothing"),
];

/// One thing that may be done: API group, resource, name if it is about single objects, and verb.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

impl Right {
    fn new(group: &str, resource: &str, name: Option<&str>, verb: &str) -> Self {
        let own = str::to_owned;
        Self { group: own(group), resource: own(resource), name: name.map(own), verb: own(verb) }
    }

    /// Whether holding this allows to grant or do `wanted`, as the API server judges it.
    fn covers(&self, wanted: &Self) -> bool {
        let matches = |granted: &str, wanted: &str| granted == wanted || granted == "*";
        let resource = matches(&self.resource, &wanted.resource)
            || self
                .resource
                .strip_prefix("*/")
                .is_some_and(|sub| wanted.resource.ends_with(&format!("/{sub}")));
        let name = self.name.is_none() || self.name == wanted.name;
        matches(&self.group, &wanted.group) && resource && name && matches(&self.verb, &wanted.verb)
    }

    fn is_write(&self) -> bool {
        !["get", "list", "watch", "bind"].contains(&self.verb.as_str())
    }
}

type Rights = BTreeSet<Right>;

fn covered(granted: &Rights, wanted: &Right) -> bool {
    granted.iter().any(|held| held.covers(wanted))
}

fn rights(rules: &Value) -> Rights {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let list = rule[field].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = Rights::new();
    for rule in rules.as_array().into_iter().flatten() {
        let names = match texts(rule, "resourceNames") {
            names if names.is_empty() => vec![None],
            names => names.into_iter().map(Some).collect(),
        };
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    rights.extend(
                        names.iter().map(|name| Right::new(&group, &resource, name.as_deref(), &verb)),
                    );
                }
            }
        }
    }
    rights
}

/// What is needed or held, by the place where it is.
#[derive(Debug, Default)]
struct Permissions {
    /// In the whole cluster.
    cluster: Rights,
    /// In `istio-system`.
    control_plane: Rights,
    /// In the operator's own namespace.
    own: Rights,
}

/// Everything that can be rendered, with the definitions; with what only experimental options bring, or without.
fn rendered(is_experimental: bool) -> Result<&'static [(ObjectId, Value)]> {
    type Rendered = std::result::Result<Vec<(ObjectId, Value)>, String>;
    static REGULAR: LazyLock<Rendered> = LazyLock::new(|| render(false).map_err(|error| error.to_string()));
    static ALL: LazyLock<Rendered> = LazyLock::new(|| render(true).map_err(|error| error.to_string()));
    let rendered = if is_experimental { &*ALL } else { &*REGULAR };
    Ok(rendered.as_ref().map_err(Clone::clone)?)
}

fn render(is_experimental: bool) -> Result<Vec<(ObjectId, Value)>> {
    let mut cases = matrix_cases::pairwise();
    cases.extend(Case::variations().into_iter().map(|(_, case)| case));
    cases
        .push(Case::plain().with("network policies", 1).with("autoscaler definition", 1).with("features", 2));
    cases.retain(|case| is_experimental || !case.is_experimental());
    let mut objects = BTreeMap::new();
    for case in cases {
        for (id, object) in case.planned()? {
            // Roles may grant more in one case than in another.
            let version = object["rules"].to_string();
            objects.insert((id, version), object);
        }
    }
    let mut objects: Vec<(ObjectId, Value)> =
        objects.into_iter().map(|((id, _), object)| (id, object)).collect();
    for crd in Bundle::embedded().crds() {
        let crd = crd?;
        objects.push((ObjectId::of(&crd)?, crd));
    }
    Ok(objects)
}

/// What the charts want to be granted, what their objects take to be applied, watched and removed, and what the code does.
fn needed(objects: &[(ObjectId, Value)]) -> Permissions {
    let mut needed = Permissions::default();
    for (id, object) in objects {
        let (group, resource) = (id.group.clone(), id.api_resource().plural);
        match id.kind.as_str() {
            "ClusterRole" => needed.cluster.extend(rights(&object["rules"])),
            "Role" => needed.control_plane.extend(rights(&object["rules"])),
            _ => {}
        }
        // Watched in all namespaces, by a label.
        needed.cluster.extend(["get", "list", "watch"].map(|verb| Right::new(&group, &resource, None, verb)));
        let create = Right::new(&group, &resource, None, "create");
        let named = ["patch", "delete"].map(|verb| Right::new(&group, &resource, Some(&id.name), verb));
        match id.namespace.as_deref() {
            None => {
                needed.cluster.insert(create);
                needed.cluster.extend(named);
            }
            // What values add has names of its own.
            Some(ISTIO_NAMESPACE) => {
                needed.control_plane.insert(create);
                needed.control_plane.extend(named.map(|right| Right { name: None, ..right }));
            }
            Some(_) => {
                needed.own.insert(create);
                needed.own.extend(named);
            }
        }
    }
    for (group, resource, verbs) in OWN {
        needed.cluster.extend(verbs.iter().map(|verb| Right::new(group, resource, None, verb)));
    }
    for (group, resource, name, verbs) in OWN_NAMED {
        needed.cluster.extend(verbs.iter().map(|verb| Right::new(group, resource, Some(name), verb)));
    }
    for (group, resource, name, verbs) in OWN_NAMESPACE {
        needed.own.extend(verbs.iter().map(|verb| Right::new(group, resource, *name, verb)));
    }
    needed
}

fn documents(file: &str) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
    Ok(yaml::parse_json_documents(&std::fs::read_to_string(path)?)?)
}

fn granted_by(file: &str) -> Result<Rights> {
    Ok(documents(file)?.iter().flat_map(|role| rights(&role["rules"])).collect())
}

/// What the roles of the manifests allow, with or without those of experimental options.
fn granted(is_experimental: bool) -> Result<Permissions> {
    let mut granted = Permissions {
        cluster: granted_by("rbac/role.yaml")?,
        control_plane: granted_by("rbac/control-plane-role.yaml")?,
        own: granted_by("rbac/operator-role.yaml")?,
    };
    if is_experimental {
        granted.cluster.extend(granted_by("components/experimental/experimental-role.yaml")?);
    }
    Ok(granted)
}

#[test]
fn everything_that_the_charts_grant_and_the_code_does_is_allowed() -> Result {
    for is_experimental in [false, true] {
        let (granted, needed) = (granted(is_experimental)?, needed(rendered(is_experimental)?));
        let lacks = |here: &Rights, wanted: &Rights| -> Vec<Right> {
            let here: Rights = here.union(&granted.cluster).cloned().collect();
            wanted.iter().filter(|wanted| !covered(&here, wanted)).cloned().collect()
        };
        let none: [Vec<Right>; 3] = Default::default();
        let missing = [
            lacks(&granted.cluster, &needed.cluster),
            lacks(&granted.control_plane, &needed.control_plane),
            lacks(&granted.own, &needed.own),
        ];
        assert_eq!(
            missing, none,
            "not allowed, so the installation would fail (experimental: {is_experimental})"
        );
    }
    Ok(())
}

#[test]
fn nothing_is_allowed_that_neither_the_charts_nor_the_code_need() -> Result {
    let (granted, needed) = (granted(false)?, needed(rendered(false)?));
    let surplus: Vec<&Right> = granted.cluster.difference(&needed.cluster).collect();
    assert!(surplus.is_empty(), "allowed in the whole cluster for nothing: {surplus:#?}");
    for (place, granted_here, needed_here) in [
        ("istio-system", &granted.control_plane, &needed.control_plane),
        ("the operator's namespace", &granted.own, &needed.own),
    ] {
        let surplus: Vec<&Right> = granted_here
            .iter()
            .filter(|right| !needed_here.contains(right) || covered(&granted.cluster, right))
            .collect();
        assert!(
            surplus.is_empty(),
            "allowed in {place} for nothing, or in the whole cluster, too: {surplus:#?}"
        );
    }
    Ok(())
}

#[test]
fn experimental_options_add_only_what_is_not_needed_without_them() -> Result {
    let (needed, regular) = (needed(rendered(true)?), granted(false)?.cluster);
    let experimental = granted_by("components/experimental/experimental-role.yaml")?;
    let surplus: Vec<&Right> = experimental
        .iter()
        .filter(|right| !needed.cluster.contains(right) || covered(&regular, right))
        .collect();
    assert!(surplus.is_empty(), "{surplus:#?}");
    Ok(())
}

#[test]
fn a_wildcard_is_granted_only_where_a_chart_grants_the_same() -> Result {
    let objects = rendered(true)?;
    let roles = objects.iter().filter(|(id, _)| matches!(id.kind.as_str(), "Role" | "ClusterRole"));
    let charts: Rights = roles.flat_map(|(_, object)| rights(&object["rules"])).collect();
    let is_wild =
        |right: &&Right| [&right.group, &right.resource, &right.verb].iter().any(|part| part.contains('*'));
    let scale = Right::new(SCALE.0, SCALE.1, None, SCALE.2[0]);
    let Permissions { cluster, control_plane, own } = granted(true)?;
    let all = cluster.iter().chain(&control_plane).chain(&own);
    let wild: Vec<&Right> =
        all.filter(is_wild).filter(|right| !charts.contains(right) && **right != scale).collect();
    assert!(wild.is_empty(), "{wild:#?}");
    Ok(())
}

/// Without these the API server lets nobody grant a permission that they do not have.
#[test]
fn no_role_allows_privilege_escalation() -> Result {
    let access =
        Right::new("rbac.authorization.k8s.io", "clusterroles", Some("istio-manager-control-plane"), "bind");
    let Permissions { cluster, control_plane, own } = granted(true)?;
    let beyond: Vec<&Right> = cluster
        .iter()
        .chain(&control_plane)
        .chain(&own)
        .filter(|right| {
            let any = ["rbac.authorization.k8s.io", "*"].contains(&right.group.as_str())
                && !right.resource.contains('/');
            let verb = right.verb.as_str();
            (any && ["escalate", "bind", "*"].contains(&verb)) || verb == "impersonate"
        })
        .filter(|right| **right != access)
        .collect();
    assert_eq!(beyond, Vec::<&Right>::new());
    Ok(())
}

/// The policies that limit what RBAC cannot: each as its name, what it is about, and the names of objects that it lists.
fn policies() -> Result<Vec<Value>> {
    let mut policies = documents("rbac/boundary-policies.yaml")?;
    policies.extend(documents("rbac/dry-run-policy.yaml")?);
    Ok(policies)
}

/// The verbs of RBAC that the operations of admission stand for.
fn verbs(operations: &Value) -> Value {
    let verbs = |operation: &Value| -> &[&str] {
        match operation.as_str() {
            Some("CREATE") => &["create"],
            Some("UPDATE") => &["update", "patch"],
            Some("DELETE") => &["delete", "deletecollection"],
            _ => &[],
        }
    };
    operations.as_array().into_iter().flatten().flat_map(verbs).copied().collect()
}

/// What the verb `*` stands for, as far as it writes.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

#[test]
fn every_write_that_rbac_cannot_limit_is_limited_by_a_policy() -> Result {
    let limited: BTreeSet<(String, String, String)> = policies()?
        .iter()
        .flat_map(|policy| {
            let rules = policy["spec"]["matchConstraints"]["resourceRules"].as_array().cloned();
            rules.unwrap_or_default()
        })
        .flat_map(|mut rule| {
            rule["verbs"] = verbs(&rule["operations"]);
            rights(&json!([rule]))
        })
        .map(|right| (right.group, right.resource, right.verb))
        .collect();
    let is_harmless = |right: &Right| {
        HARMLESS.iter().any(|(group, resource, _)| right.group == *group && right.resource == *resource)
    };
    let cluster = granted(true)?.cluster;
    let unlimited: Vec<&Right> = cluster
        .iter()
        .filter(|right| right.is_write() && right.name.is_none() && !is_harmless(right))
        .filter(|right| {
            let verbs = if right.verb == "*" { &WRITES[..] } else { &[right.verb.as_str()] };
            !verbs.iter().all(|verb| {
                limited.contains(&(right.group.clone(), right.resource.clone(), (*verb).to_owned()))
            })
        })
        .collect();
    assert!(unlimited.is_empty(), "{unlimited:#?}");
    let own = granted(true)?.own;
    let secrets =
        own.iter().filter(|right| right.is_write() && right.name.is_none() && right.resource == "secrets");
    assert_eq!(secrets.count(), 1, "the creation of Secrets is limited by a policy, too");
    assert!(limited.contains(&(String::new(), "secrets".to_owned(), "create".to_owned())));
    Ok(())
}

#[test]
fn every_policy_is_bound_and_denies_only_the_operator() -> Result {
    let policies = policies()?;
    let of_kind = |kind: &'static str| policies.iter().filter(move |object| object["kind"] == kind);
    for policy in of_kind("ValidatingAdmissionPolicy") {
        let name = &policy["metadata"]["name"];
        let is_bound = of_kind("ValidatingAdmissionPolicyBinding").any(|binding| {
            binding["spec"]["policyName"] == *name && binding["spec"]["validationActions"] == json!(["Deny"])
        });
        assert!(is_bound, "{name} is not in force");
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{name}");
        let account =
            "request.userInfo.username == \"system:serviceaccount:kyma-system:istio-controller-manager\"";
        let conditions = policy["spec"]["matchConditions"].as_array().cloned().unwrap_or_default();
        let conditions: Vec<&str> =
            conditions.iter().filter_map(|condition| condition["expression"].as_str()).collect();
        // A second condition can switch a policy off. What lies in the namespace of the control plane is limited by a Role.
        let elsewhere = "request.namespace != \"istio-system\"";
        assert!(conditions == [account] || conditions == [account, elsewhere], "{name}: {conditions:?}");
        let validations = policy["spec"]["validations"].as_array().cloned().unwrap_or_default();
        assert!(!validations.is_empty(), "{name} validates nothing");
        for validation in validations {
            let expression = validation["expression"].as_str().unwrap_or("true").trim();
            assert!(!["", "true"].contains(&expression), "{name} allows everything");
        }
    }
    Ok(())
}

#[test]
fn the_policy_for_objects_of_the_cluster_lists_what_the_charts_render() -> Result {
    let mut rendered_names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, _) in rendered(true)? {
        if id.namespace.is_none() {
            rendered_names.entry(id.api_resource().plural).or_default().insert(id.name.clone());
        }
    }
    let policies = policies()?;
    let policy = policies.iter().find(|policy| {
        policy["kind"] == "ValidatingAdmissionPolicy"
            && policy["metadata"]["name"] == "istio-manager-cluster-objects"
    });
    let policy = policy.ok_or("the policy is missing")?;
    let names = policy["spec"]["variables"][0]["expression"].as_str().unwrap_or_default();
    // A map of lists of texts is written alike in CEL and JSON.
    let listed: BTreeMap<String, BTreeSet<String>> = serde_json::from_str(names)?;
    assert_eq!(listed, rendered_names);
    Ok(())
}

/// What may be deleted although others created it.
#[test]
fn the_list_of_istios_own_objects_is_what_the_charts_render() -> Result {
    let lines: BTreeSet<String> = rendered(true)?.iter().map(|(id, _)| ownership::describe(id)).collect();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inventory/istio_objects.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text)?;
    }
    assert_eq!(std::fs::read_to_string(path)?, text, "run `make generate` and read the difference");
    Ok(())
}

#[test]
fn a_right_covers_only_what_it_grants() {
    let right =
        |group: &str, resource: &str, name: Option<&str>, verb: &str| Right::new(group, resource, name, verb);
    for (granted, wanted, expected) in [
        (right("a", "*", None, "get"), right("a", "things", None, "get"), true),
        (right("a", "*", None, "get"), right("a", "things", None, "list"), false),
        (right("a", "*", None, "get"), right("b", "things", None, "get"), false),
        (right("*", "*/scale", None, "get"), right("a", "things/scale", None, "get"), true),
        (right("*", "*/scale", None, "get"), right("a", "things", None, "get"), false),
        (right("a", "things", None, "get"), right("a", "things", Some("x"), "get"), true),
        (right("a", "things", Some("x"), "get"), right("a", "things", Some("x"), "get"), true),
        (right("a", "things", Some("x"), "get"), right("a", "things", Some("y"), "get"), false),
        (right("a", "things", Some("x"), "get"), right("a", "things", None, "get"), false),
    ] {
        assert_eq!(granted.covers(&wanted), expected, "{granted:?} {wanted:?}");
    }
}
