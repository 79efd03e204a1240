//! Values of an author through the real charts, without the allow-list, and an oracle that does not know how the rendering
//! policy compares: what is closed is equal to the rendering without them, by plain equality.
//!
//! Shared by `tests/overrides.rs` and the fuzz target `overrides`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use gotemplate::yaml;
use istio_charts::Bundle;
use istio_manager::plan::cluster::ClusterFacts;
use istio_manager::plan::configuration::{Images, Size};
use istio_manager::plan::{
    AdministratorValues, OverrideMode, OverrideRules, Plan, PlanInput, PlanOutcome, Stage,
    plan_without_allow_list,
};
use istio_manager::validate::{FeatureStage, validate};
use serde_json::{Value, json};

/// Kinds of objects that values may switch on, and off except for NetworkPolicies.
const OPTIONAL_KINDS: [&str; 5] =
    ["HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ResourceQuota", "EnvoyFilter"];
/// Kinds that are as the charts have them.
const PROTECTED_KINDS: [&str; 10] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PeerAuthentication",
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
];
/// Fields of pods and of their containers that decide what runs, as whom and with what.
const POD_FIELDS: [&str; 11] = [
    "serviceAccountName",
    "automountServiceAccountToken",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "hostAliases",
    "initContainers",
    "volumes",
    "securityContext",
    "dnsConfig",
    "nodeName",
];
const CONTAINER_FIELDS: [&str; 8] =
    ["name", "image", "command", "workingDir", "envFrom", "volumeMounts", "securityContext", "lifecycle"];
/// Fields of Services that decide where traffic goes.
const SERVICE_FIELDS: [&str; 4] = ["selector", "externalIPs", "externalName", "clusterIP"];
/// Fields of the mesh configuration that say who is trusted and what policies apply to.
const MESH_FIELDS: [&str; 12] = [
    "/trustDomain",
    "/trustDomainAliases",
    "/rootNamespace",
    "/ca",
    "/caCertificates",
    "/defaultConfig/discoveryAddress",
    "/defaultConfig/interceptionMode",
    "/defaultConfig/gatewayTopology/proxyProtocol",
    "/defaultConfig/connectionSettings/httpMergeSlashes",
    "/ingressClass",
    "/ingressService",
    "/enableAutoMtls",
];
/// Values of injection that decide which pods and ports are subject to policies, and as what the proxy runs.
const INJECTION_FIELDS: [&str; 6] = [
    "/global/proxy/autoInject",
    "/global/proxy/excludeInboundPorts",
    "/global/proxy/includeInboundPorts",
    "/global/proxy/privileged",
    "/global/proxy/image",
    "/global/caAddress",
];

type Objects = BTreeMap<(String, String, String), Vec<Value>>;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(Bundle::embedded);
static BASELINE: LazyLock<Objects> = LazyLock::new(|| match build_plan(json!({})) {
    Ok(plan) => objects(&plan),
    Err(rejection) => panic!("{rejection}"),
});

/// The plan of a spec whose values and patches only the rendering policy checks, or why there is none.
pub fn build_plan(spec: Value) -> Result<Plan, String> {
    build_plan_in_mode(OverrideMode::Restricted, spec)
}

pub fn build_plan_in_mode(override_mode: OverrideMode, spec: Value) -> Result<Plan, String> {
    let spec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    let spec = validate(&spec, FeatureStage::Stable).map_err(|rejection| rejection.message)?;
    let images = Images::official(BUNDLE.version());
    let facts = ClusterFacts { size: Size::Production, ..ClusterFacts::default() };
    let input = PlanInput {
        rules: OverrideRules {
            bundle: &BUNDLE,
            images: &images,
            allow_patches: true,
            override_mode,
            administrator_values: &AdministratorValues::default(),
        },
        facts: &facts,
        kubernetes_version: "v1.36.0",
        owner: None,
    };
    match plan_without_allow_list(&spec, input).map_err(|error| format!("{error:?}"))? {
        PlanOutcome::Plan(plan) => Ok(plan),
        PlanOutcome::Rejected(rejection) => Err(rejection.message),
    }
}

/// Whatever the values are, they are refused or leave what is closed as it is. Returns whether they are accepted.
pub fn assert_refused_or_harmless(values: &Value) -> bool {
    let Ok(plan) = build_plan(json!({"values": values})) else { return false };
    compare(&BASELINE, &objects(&plan), values);
    true
}

/// All rendered objects of a plan; the CRDs come from the bundle as they are.
pub fn objects(plan: &Plan) -> Objects {
    let mut objects = Objects::new();
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::CustomResourceDefinitions) {
        for object in plan.objects(stage) {
            let (id, object) = object.unwrap();
            let place = (id.kind, id.namespace.unwrap_or_default(), id.name);
            objects.entry(place).or_default().push(object);
        }
    }
    objects
}

fn compare(before: &Objects, after: &Objects, values: &Value) {
    let places: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for place in places {
        let (kind, namespace, name) = place;
        assert!(
            ["", "istio-system", "kyma-system"].contains(&&**namespace),
            "{place:?} is outside, by {values}"
        );
        match (before.get(place).map(Vec::as_slice), after.get(place).map(Vec::as_slice)) {
            (Some([before]), Some([after])) => compare_object(kind, name, before, after, values),
            (None, Some([_])) | (Some([_]), None) => {
                let is_policy_gone = kind == "NetworkPolicy" && !after.contains_key(place);
                assert!(!is_policy_gone, "{place:?} is gone, by {values}");
                let is_overlay = kind == "ConfigMap" && name.starts_with("istio-default-gatewayclass-");
                assert!(
                    OPTIONAL_KINDS.contains(&&**kind) || is_overlay,
                    "{place:?} came or went, by {values}"
                );
            }
            _ => panic!("{place:?} is there more than once, by {values}"),
        }
    }
}

fn compare_object(kind: &str, name: &str, before: &Value, after: &Value, values: &Value) {
    if PROTECTED_KINDS.contains(&kind) {
        assert_eq!(before, after, "{kind} {name}, by {values}");
    }
    let (old, new) = (&before["spec"], &after["spec"]);
    if kind == "Service" {
        equal(&SERVICE_FIELDS, old, new, name, values);
    }
    equal(&["selector", "scaleTargetRef", "podSelector"], old, new, name, values);
    let (old, new) = (&old["template"]["spec"], &new["template"]["spec"]);
    equal(&POD_FIELDS, old, new, name, values);
    let containers = |pod: &Value| pod["containers"].as_array().cloned().unwrap_or_default();
    let (old, new) = (containers(old), containers(new));
    assert_eq!(old.len(), new.len(), "containers of {name}, by {values}");
    for (old, new) in old.iter().zip(&new) {
        equal(&CONTAINER_FIELDS, old, new, name, values);
        compare_programs(old, new, name, values);
    }
    if kind == "ConfigMap" {
        compare_texts(name, &before["data"], &after["data"], values);
    }
}

/// Variables from elsewhere, probes and arguments.
fn compare_programs(before: &Value, after: &Value, name: &str, values: &Value) {
    let sources = |container: &Value| -> Vec<Value> {
        let env = container["env"].as_array().cloned().unwrap_or_default();
        env.into_iter().filter(|variable| variable.get("valueFrom").is_some()).collect()
    };
    assert_eq!(sources(before), sources(after), "sources of variables of {name}, by {values}");
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        equal(&["exec", "httpGet", "tcpSocket", "grpc"], &before[probe], &after[probe], name, values);
    }
    let arguments = after["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let known: Vec<&str> =
        before["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for argument in arguments.filter(|argument| argument.starts_with('-') && !known.contains(argument)) {
        let flag = argument.split('=').next().unwrap();
        let logging = ["--log_output_level", "--log_as_json", "--proxyLogLevel", "--proxyComponentLogLevel"];
        assert!(logging.contains(&flag), "{argument} of {name}, by {values}");
    }
}

fn compare_texts(name: &str, before: &Value, after: &Value, values: &Value) {
    let read = |data: &Value, key: &str| {
        yaml::parse_json(data[key].as_str().unwrap_or_default()).unwrap_or_default()
    };
    if name == "istio" {
        let (old, new) = (read(before, "mesh"), read(after, "mesh"));
        for pointer in MESH_FIELDS {
            assert_eq!(old.pointer(pointer), new.pointer(pointer), "{pointer}, by {values}");
        }
        assert_eq!(before["meshNetworks"], after["meshNetworks"], "networks, by {values}");
    }
    if name == "istio-sidecar-injector" {
        equal(
            &[
                "policy",
                "templates",
                "defaultTemplates",
                "aliases",
                "neverInjectSelector",
                "injectedAnnotations",
            ],
            &read(before, "config"),
            &read(after, "config"),
            name,
            values,
        );
        let (old, new) = (read(before, "values"), read(after, "values"));
        for pointer in INJECTION_FIELDS {
            assert_eq!(old.pointer(pointer), new.pointer(pointer), "{pointer}, by {values}");
        }
    }
}

fn equal(fields: &[&str], before: &Value, after: &Value, name: &str, values: &Value) {
    for field in fields {
        assert_eq!(before.get(*field), after.get(*field), "{field} of {name}, by {values}");
    }
}
