//! What of a pod's template is closed: whose rights it has, and what power over its node.

use serde_json::Value;

use super::{Findings, join};

/// Fields that have to stay as they are, and why.
const FIXED: [(&str, &str); 10] = [
    ("automountServiceAccountToken", "a service account"),
    ("hostIPC", "a namespace of the host"),
    ("hostNetwork", "a namespace of the host"),
    ("hostPID", "a namespace of the host"),
    ("hostUsers", "a namespace of the host"),
    ("runtimeClassName", "the privilege of a pod"),
    ("securityContext", "the privilege of a pod"),
    ("serviceAccount", "a service account"),
    ("serviceAccountName", "a service account"),
    ("shareProcessNamespace", "the privilege of a pod"),
];
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// What a container runs. Its arguments are not among it: the programs of Istio cannot be told by them to run another.
const PROGRAM: [&str; 6] =
    ["command", "image", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
/// Variables by which a program of Istio knows who it is.
const IDENTITY: [&str; 7] = [
    "INJECTION_WEBHOOK_CONFIG_NAME",
    "KUBECONFIG",
    "POD_NAME",
    "POD_NAMESPACE",
    "REVISION",
    "SERVICE_ACCOUNT",
    "VALIDATION_WEBHOOK_CONFIG_NAME",
];

/// Compares the specs of two pod templates at `path`.
pub(super) fn compare(found: &mut Findings, path: &str, before: &Value, after: &Value) {
    for (field, what) in FIXED {
        found.equal(before, after, path, field, what);
    }
    volumes(found, path, before, after);
    for list in CONTAINER_LISTS {
        for container in items(after, list) {
            let path = format!("{path}.{list}[{}]", name(container));
            match items(before, list).find(|old| name(old) == name(container)) {
                Some(old) => known_container(found, &path, before, (old, container)),
                None => new_container(found, &path, before, container),
            }
            host_ports(found, &path, before, container);
            host_mounts(found, &path, (before, after), container);
        }
        for old in items(before, list) {
            if !items(after, list).any(|container| name(container) == name(old)) {
                found.add(&format!("{path}.{list}[{}]", name(old)), "which containers there are");
            }
        }
    }
}

/// A container of the charts keeps its rights, and what has rights over the node keeps its program.
fn known_container(found: &mut Findings, path: &str, pod: &Value, (before, after): (&Value, &Value)) {
    found.equal(before, after, path, "securityContext", "the privilege of a container");
    if is_powerful(pod, before) {
        for field in PROGRAM {
            found.equal(before, after, path, field, "the program of a container with privileges");
        }
    }
    for variable in IDENTITY {
        if value_of(before, variable) != value_of(after, variable) {
            found.add(&join(path, &format!("env[{variable}]")), "its identity");
        }
    }
}

/// The variable as a container gets it: the last one of its name counts.
fn value_of<'v>(container: &'v Value, variable: &str) -> Option<&'v Value> {
    items(container, "env").filter(|candidate| name(candidate) == variable).last()
}

/// Whether a container has more rights on its node than any pod.
fn is_powerful(pod: &Value, container: &Value) -> bool {
    container.get("securityContext").is_some_and(asks_for_privileges)
        || host_namespaces(pod)
        || items(container, "volumeMounts").any(|mount| is_mount_of_host(pod, mount))
}

fn host_namespaces(pod: &Value) -> bool {
    ["hostIPC", "hostNetwork", "hostPID"].iter().any(|field| pod.get(*field) == Some(&Value::Bool(true)))
}

fn is_mount_of_host(pod: &Value, mount: &Value) -> bool {
    items(pod, "volumes")
        .any(|volume| volume.get("name") == mount.get("name") && volume.get("hostPath").is_some())
}

/// Volumes that reach into the node, or that hold a token of a service account.
fn volumes(found: &mut Findings, path: &str, before: &Value, after: &Value) {
    for volume in items(after, "volumes") {
        if items(before, "volumes").any(|old| old == volume) {
            continue;
        }
        let path = format!("{path}.volumes[{}]", name(volume));
        if volume.get("hostPath").is_some() {
            found.add(&join(&path, "hostPath"), "a path of the host");
        }
        let sources = volume.pointer("/projected/sources").and_then(Value::as_array);
        if sources.into_iter().flatten().any(|source| source.get("serviceAccountToken").is_some()) {
            found.add(&join(&path, "projected"), "a token of a service account");
        }
    }
}

/// A container of the user's own may give up privileges, but not ask for any, nor get those that its pod has.
fn new_container(found: &mut Findings, path: &str, pod: &Value, container: &Value) {
    if host_namespaces(pod) {
        found.add(path, "a namespace of the host");
    }
    if container.get("securityContext").is_some_and(asks_for_privileges) {
        found.add(&join(path, "securityContext"), "the privilege of a container");
    }
}

fn asks_for_privileges(context: &Value) -> bool {
    let is = |field: &str, value: bool| context.get(field).and_then(Value::as_bool) == Some(value);
    let profile = |field: &str| context.get(field).and_then(|profile| profile.get("type")?.as_str());
    is("privileged", true)
        || is("allowPrivilegeEscalation", true)
        || is("runAsNonRoot", false)
        || context.get("runAsUser").and_then(Value::as_i64) == Some(0)
        || context.pointer("/capabilities/add").is_some()
        || ["procMount", "seLinuxOptions", "windowsOptions"].iter().any(|field| context.get(*field).is_some())
        || ["seccompProfile", "appArmorProfile"].iter().any(|field| profile(field) == Some("Unconfined"))
}

fn host_ports(found: &mut Findings, path: &str, before: &Value, container: &Value) {
    let ports = |container: &Value| -> Vec<Value> {
        items(container, "ports").filter_map(|port| port.get("hostPort").cloned()).collect()
    };
    let known: Vec<Value> = same_container(before, container).map(ports).unwrap_or_default();
    if ports(container).iter().any(|port| !known.contains(port)) {
        found.add(&join(path, "ports"), "a port of the host");
    }
}

/// A volume of the host is for the containers that the chart gives it to.
fn host_mounts(found: &mut Findings, path: &str, (before, after): (&Value, &Value), container: &Value) {
    let known: Vec<&Value> =
        same_container(before, container).map(|old| items(old, "volumeMounts").collect()).unwrap_or_default();
    for mount in items(container, "volumeMounts") {
        if is_mount_of_host(after, mount) && !known.contains(&mount) {
            found.add(&join(path, &format!("volumeMounts[{}]", name(mount))), "a path of the host");
        }
    }
}

fn same_container<'v>(pod: &'v Value, container: &Value) -> Option<&'v Value> {
    CONTAINER_LISTS.iter().flat_map(|list| items(pod, list)).find(|old| name(old) == name(container))
}

fn items<'v>(value: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn name(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}
