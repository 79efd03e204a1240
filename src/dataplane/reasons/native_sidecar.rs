//! The proxy is an ordinary container and should be a native sidecar, or the reverse. Only a dry run shows what is expected:
//! it depends on the API server and on annotations.

use super::{Detail, ReasonSpec, RestartPolicy};

/// The proxy is the wrong kind of container.
pub const SPEC: ReasonSpec = ReasonSpec {
    prove: |proof| {
        let (actual, expected) = (proof.live.injected.is_native(), proof.wanted.injected.is_native());
        (actual != expected).then_some(Detail::ShouldBe(expected))
    },
    ..ReasonSpec::stated(
        "NativeSidecar",
        RestartPolicy::OptIn,
        "native sidecar or ordinary container",
        |detail| match detail {
            Detail::ShouldBe(true) => {
                "the proxy is an ordinary container, expected a native sidecar".to_owned()
            }
            _ => "the proxy is a native sidecar, expected an ordinary container".to_owned(),
        },
    )
};
