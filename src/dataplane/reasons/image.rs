//! The proxy has another image. So has another injected container that runs as long as the pod.

use std::collections::BTreeMap;

use super::{Detail, Proof, ReasonSpec, RestartPolicy};
use crate::dataplane::names::PROXY_IMAGE_ANNOTATION;

/// The proxy has another image.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| {
        let expected = pod.mesh.image.as_deref().filter(|_| !has_own_image(pod.annotations))?;
        Detail::mismatch(&pod.live.proxy.image, expected)
    },
    prove: difference,
    ..ReasonSpec::stated("Image", RestartPolicy::Restart, "proxy image", |detail| detail.about("proxy image"))
};

fn difference(proof: &Proof<'_>) -> Option<Detail> {
    if has_own_image(proof.annotations) {
        return None;
    }
    let (live, wanted) = (proof.live.injected, proof.wanted.injected);
    let others = live.running_containers().filter_map(|container| {
        let wanted = wanted.container(&container.name)?;
        Detail::mismatch(&container.image, &wanted.image)
    });
    Detail::mismatch(&proof.live.proxy.image, &proof.wanted.proxy.image).or_else(|| others.into_iter().next())
}

/// Whether a pod chooses its proxy image. Image and resources are then up to its author.
pub(super) fn has_own_image(annotations: &BTreeMap<String, String>) -> bool {
    annotations.contains_key(PROXY_IMAGE_ANNOTATION)
}
