//! The proxy has other requests or limits.

use std::collections::BTreeMap;

use super::image::has_own_image;
use super::{CheapCheck, Detail, ReasonSpec, RestartPolicy};
use crate::dataplane::model::{ResourceList, ResourceRequirements};
use crate::plan::configuration::thousandths;

/// The proxy has other requests or limits.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| {
        let expected = expected_by_mesh(pod)?;
        difference(pod.annotations, &pod.live.proxy.resources, &expected, false)
    },
    prove: |proof| {
        let (actual, expected) = (&proof.live.proxy.resources, &proof.wanted.proxy.resources);
        difference(proof.annotations, actual, expected, proof.wanted.injected.undefaulted)
    },
    ..ReasonSpec::stated("Resources", RestartPolicy::Restart, "requests and limits of the proxy", |detail| {
        match detail {
            Detail::Mismatch { actual, expected } => {
                format!("proxy resources are {actual}, expected {expected}")
            }
            _ => "proxy resources differ".to_owned(),
        }
    })
};

/// Annotations with which a pod chooses its resources: the requests of CPU and memory, then the limits.
const RESOURCE_ANNOTATIONS: [&str; 4] = [
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyMemoryLimit",
];
/// Annotation with which a pod chooses injection templates; its proxy is then not the usual sidecar.
const TEMPLATES_ANNOTATION: &str = "inject.istio.io/templates";

/// The injection template takes either all quantities from annotations or all from the mesh.
fn expected_by_mesh(pod: &CheapCheck<'_>) -> Option<ResourceRequirements> {
    let annotated = RESOURCE_ANNOTATIONS.map(|annotation| pod.annotations.get(annotation).cloned());
    // Injection fails on an invalid quantity, so that nothing is known about such a pod.
    let is_valid = annotated.iter().flatten().all(|quantity| thousandths(quantity).is_some());
    if !is_valid || pod.annotations.contains_key(TEMPLATES_ANNOTATION) {
        return None;
    }
    let expected = match annotated {
        [None, None, None, None] => pod.mesh.resources.clone(),
        [cpu, memory, cpu_limit, memory_limit] => ResourceRequirements {
            requests: ResourceList { cpu, memory },
            limits: ResourceList { cpu: cpu_limit, memory: memory_limit },
        },
    };
    Some(expected.with_defaults())
}

/// What `expected` leaves open is set by the API server and by limit ranges; `undefaulted` says that this did not happen yet.
fn difference(
    annotations: &BTreeMap<String, String>,
    actual: &ResourceRequirements,
    expected: &ResourceRequirements,
    undefaulted: bool,
) -> Option<Detail> {
    let differs = !has_own_image(annotations) && actual.differs_from(expected, undefaulted);
    differs.then(|| Detail::Mismatch { actual: actual.to_string(), expected: expected.to_string() })
}
