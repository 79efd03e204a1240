//! What differs between the injected part of a live pod and what injection gives now. Pure. The rules are in
//! [`reasons`](crate::dataplane::reasons).
//!
//! Both sides went through the same admission, so that defaults and other webhooks make no difference. What comes from the
//! workload itself (its ports, name and owner) is left out, because the mesh does not control it.

use std::collections::BTreeMap;

use crate::dataplane::model::Injected;
use crate::dataplane::reasons::{
    Detail, Proof, Sidecar, StaleReason, field, missing_sidecar, no_longer_injected,
};

/// Why a pod with these annotations is outdated: everything that differs, except what its author chose.
///
/// `live` is `None` if the pod has no sidecar, `wanted` if injection would give none.
#[must_use]
pub fn stale_reasons(
    annotations: &BTreeMap<String, String>,
    live: Option<&Injected>,
    wanted: Option<&Injected>,
) -> Vec<StaleReason> {
    let Some(live) = live else {
        return wanted.map(|_| StaleReason::plain(&missing_sidecar::SPEC)).into_iter().collect();
    };
    let Some(wanted) = wanted else { return vec![StaleReason::plain(&no_longer_injected::SPEC)] };
    match (Sidecar::new(live), Sidecar::new(wanted)) {
        (Some(live), Some(wanted)) => Proof { annotations, live, wanted }.reasons(),
        _ => vec![StaleReason::new(&field::SPEC, Detail::Names(vec!["the proxy container".to_owned()]))],
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
