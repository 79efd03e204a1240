//! Other fields of injected containers or volumes differ.

use std::collections::{BTreeMap, BTreeSet};

use super::json::contains_part;
use super::{Detail, Proof, ReasonSpec, RestartPolicy, cni};
use crate::dataplane::model::{Injected, InjectedContainer, RawJson};
use crate::dataplane::names::{INIT_CONTAINER, PROXY_CONTAINER, VALIDATION_CONTAINER};

/// Other fields of injected containers or volumes differ.
pub const SPEC: ReasonSpec = ReasonSpec {
    prove: |proof| Detail::names(differing(proof)),
    ..ReasonSpec::stated(
        "Field",
        RestartPolicy::OptIn,
        "other fields of injected containers and volumes",
        |detail| detail.about("injected fields differ"),
    )
};

/// Where the token of the ServiceAccount is mounted, from a volume with a random name.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn differing(proof: &Proof<'_>) -> Vec<String> {
    let (live, wanted) = (proof.live.injected, proof.wanted.injected);
    let mut names =
        container_fields(proof.live.proxy, proof.wanted.proxy, live.is_native() != wanted.is_native());
    names.extend(other_containers(live, wanted));
    names.extend(volumes(&live.volumes, &wanted.volumes));
    names
}

/// The fields of one container that differ. How a container is stopped follows from whether it is a native sidecar.
fn container_fields(live: &InjectedContainer, wanted: &InjectedContainer, kind_differs: bool) -> Vec<String> {
    let parts = [
        ("securityContext", &live.security_context, &wanted.security_context),
        ("startupProbe", &live.startup_probe, &wanted.startup_probe),
        ("readinessProbe", &live.readiness_probe, &wanted.readiness_probe),
        ("lifecycle", &live.lifecycle, &wanted.lifecycle),
    ];
    let parts = parts.into_iter().filter(|(name, live, wanted)| {
        let depends_on_kind = kind_differs && *name == "lifecycle";
        !depends_on_kind && !contains_part(live.as_ref(), wanted.as_ref())
    });
    // A response of istiod itself lacks API server defaults; only what it sets can differ.
    let policy = !wanted.image_pull_policy.is_empty() && live.image_pull_policy != wanted.image_pull_policy;
    let others = [
        ("args", live.args != wanted.args),
        ("imagePullPolicy", policy),
        ("volumeMounts", !contains_mounts(live, wanted)),
    ];
    let others = others.into_iter().filter_map(|(name, differs)| differs.then_some(name));
    let names = parts.map(|(name, ..)| name).chain(others);
    names.map(|field| format!("{field} of {}", live.name)).collect()
}

fn contains_mounts(live: &InjectedContainer, wanted: &InjectedContainer) -> bool {
    wanted
        .volume_mounts
        .iter()
        .all(|mount| mount.mount_path == TOKEN_PATH || live.volume_mounts.contains(mount))
}

/// Injected containers other than the proxy. Which of them redirects traffic is the reason `Cni`.
fn other_containers(live: &Injected, wanted: &Injected) -> Vec<String> {
    let mut differing = Vec::new();
    let redirection_differs = cni::uses_cni(wanted).is_some_and(|cni| cni::difference(live, cni).is_some());
    for (has, wants) in
        [(&live.init_containers, &wanted.init_containers), (&live.containers, &wanted.containers)]
    {
        let names: BTreeSet<&String> = has.keys().chain(wants.keys()).collect();
        for name in names.into_iter().filter(|name| *name != PROXY_CONTAINER) {
            let redirects = matches!(name.as_str(), INIT_CONTAINER | VALIDATION_CONTAINER);
            match (has.get(name), wants.get(name)) {
                (Some(has), Some(wants)) => differing.extend(container_fields(has, wants, false)),
                _ if redirects && redirection_differs => {}
                _ => differing.push(format!("container {name}")),
            }
        }
    }
    differing
}

fn volumes(live: &BTreeMap<String, RawJson>, wanted: &BTreeMap<String, RawJson>) -> Vec<String> {
    let differs = |(name, wanted): &(&String, &RawJson)| !contains_part(live.get(*name), Some(wanted));
    wanted.iter().filter(differs).map(|(name, _)| format!("volume {name}")).collect()
}
