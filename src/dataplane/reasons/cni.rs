//! Traffic is redirected by an init container and should be by the CNI agent, or the reverse.

use super::{Detail, ReasonSpec, RestartPolicy};
use crate::dataplane::model::Injected;
use crate::dataplane::names::{INIT_CONTAINER, VALIDATION_CONTAINER};

/// Traffic is redirected in the wrong way.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| difference(pod.live.injected, pod.mesh.cni),
    prove: |proof| difference(proof.live.injected, uses_cni(proof.wanted.injected)?),
    ..ReasonSpec::stated(
        "Cni",
        RestartPolicy::Restart,
        "traffic redirection: CNI agent or init container",
        |detail| match detail {
            Detail::ShouldBe(true) => {
                "traffic is redirected by istio-init, expected the CNI agent".to_owned()
            }
            _ => "traffic is redirected by the CNI agent, expected istio-init".to_owned(),
        },
    )
};

/// Whether the CNI agent redirects the traffic of a pod; `None` if nothing redirects it.
pub(super) fn uses_cni(injected: &Injected) -> Option<bool> {
    let has = |name| injected.init_containers.contains_key(name);
    if has(VALIDATION_CONTAINER) { Some(true) } else { has(INIT_CONTAINER).then_some(false) }
}

/// The difference between a pod and whether the CNI agent should redirect its traffic.
pub(super) fn difference(live: &Injected, cni: bool) -> Option<Detail> {
    let unwanted = if cni { INIT_CONTAINER } else { VALIDATION_CONTAINER };
    live.init_containers.contains_key(unwanted).then_some(Detail::ShouldBe(cni))
}
