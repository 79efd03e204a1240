//! Metrics of the application are merged with those of the proxy and should not be, or the reverse.

use super::{CheapCheck, Detail, Proof, ReasonSpec, RestartPolicy};

/// Merging of Prometheus metrics is not as configured.
pub const SPEC: ReasonSpec = ReasonSpec {
    check: |pod| (!matches_mesh(pod)).then_some(Detail::Plain),
    prove: |proof| differs(proof).then_some(Detail::Plain),
    variables: &[VARIABLE],
    ..ReasonSpec::stated("PrometheusMerge", RestartPolicy::Restart, "merging of Prometheus metrics", |_| {
        "merging of Prometheus metrics differs from the configuration".to_owned()
    })
};

const VARIABLE: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";

/// The annotations of a pod do not show whether injection or its author wrote them. If they do not fit, the proof decides.
fn matches_mesh(pod: &CheapCheck<'_>) -> bool {
    let opted_out = |key: &str| pod.annotations.get(key).is_some_and(|value| value == "false");
    if opted_out("prometheus.io/scrape") || opted_out("prometheus.istio.io/merge-metrics") {
        return true;
    }
    let port = pod.mesh.status_port.to_string();
    let is =
        |key: &str, value: &str| pod.live.injected.prometheus.get(key).is_some_and(|found| found == value);
    let is_merged = is("prometheus.io/path", "/stats/prometheus") && is("prometheus.io/port", &port);
    is_merged == pod.mesh.prometheus_merge
}

fn differs(proof: &Proof<'_>) -> bool {
    let (live, wanted) = (&proof.live, &proof.wanted);
    live.injected.prometheus != wanted.injected.prometheus
        || live.proxy.variable(VARIABLE) != wanted.proxy.variable(VARIABLE)
}
