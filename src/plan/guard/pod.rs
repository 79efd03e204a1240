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

/// Compares the specs of two pod templates at `path`.
pub(super) fn compare(found: &mut Findings, path: &str, before: &Value, after: &Value) {
    for (field, what) in FIXED {
        found.equal(before, after, path, field, what);
    }
    volumes(found, path, before, after);
    for list in CONTAINER_LISTS {
        for container in items(after, list) {
            let name = name(container);
            let path = format!("{path}.{list}[{name}]");
            match items(before, list).find(|old| super::pod::name(old) == name) {
                Some(old) => {
                    found.equal(old, container, &path, "securityContext", "the privilege of a container");
                }
                None => new_container(found, &path, container),
            }
            host_ports(found, &path, before, container);
            host_mounts(found, &path, (before, after), container);
        }
    }
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

/// A container of the user's own may give up privileges, but not ask for any.
fn new_container(found: &mut Findings, path: &str, container: &Value) {
    let Some(context) = container.get("securityContext") else { return };
    let is = |field: &str, value: bool| context.get(field).and_then(Value::as_bool) == Some(value);
    let profile = |field: &str| context.get(field).and_then(|profile| profile.get("type")?.as_str());
    let asks = is("privileged", true)
        || is("allowPrivilegeEscalation", true)
        || is("runAsNonRoot", false)
        || context.get("runAsUser").and_then(Value::as_i64) == Some(0)
        || context.pointer("/capabilities/add").is_some()
        || ["procMount", "seLinuxOptions", "windowsOptions"]
            .iter()
            .any(|field| context.get(*field).is_some())
        || ["seccompProfile", "appArmorProfile"].iter().any(|field| profile(field) == Some("Unconfined"));
    if asks {
        found.add(&join(path, "securityContext"), "the privilege of a container");
    }
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
        let is_of_host =
            |volume: &Value| volume.get("name") == mount.get("name") && volume.get("hostPath").is_some();
        if items(after, "volumes").any(is_of_host) && !known.contains(&mount) {
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
