//! The outdated workloads that a scan keeps, bounded in number and bytes. Pure.
//!
//! If there are too many, those of the namespace with the most are dropped, so that a tenant who fills one namespace does not
//! keep the workloads of others from being restarted.

use std::collections::BTreeMap;

use super::stale_workload::StaleWorkload;

/// Outdated workloads that are kept at most.
const MAX_WORKLOADS: usize = 5_000;
/// Bytes of them, approximately.
const MAX_BYTES: usize = 8 << 20;

/// Outdated workloads by namespace.
#[derive(Debug, Default)]
pub struct StaleWorkloads {
    namespaces: BTreeMap<String, NamespaceShare>,
    count: usize,
    bytes: usize,
    dropped: usize,
}

/// The outdated workloads of one namespace.
#[derive(Debug, Default)]
struct NamespaceShare {
    workloads: Vec<StaleWorkload>,
    bytes: usize,
}

impl StaleWorkloads {
    /// Keeps `stale`; if there is no room, a workload of the fullest namespace is dropped.
    pub fn push(&mut self, stale: StaleWorkload) {
        let (namespace, bytes) = (stale.workload.namespace.clone().unwrap_or_default(), stale.memory_bytes());
        let share = self.namespaces.entry(namespace).or_default();
        share.workloads.push(stale);
        share.bytes += bytes;
        self.count += 1;
        self.bytes += bytes;
        while self.count > MAX_WORKLOADS || self.bytes > MAX_BYTES {
            self.drop_one();
        }
    }

    fn drop_one(&mut self) {
        let fullest = self.namespaces.values_mut().max_by_key(|share| share.bytes);
        let Some(stale) = fullest.and_then(|share| {
            let stale = share.workloads.pop()?;
            share.bytes = share.bytes.saturating_sub(stale.memory_bytes());
            Some(stale)
        }) else {
            return;
        };
        self.count -= 1;
        self.bytes = self.bytes.saturating_sub(stale.memory_bytes());
        self.dropped += 1;
    }

    /// The number of workloads that were dropped since the last call.
    pub fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }

    /// The workloads that are kept.
    #[must_use]
    pub fn into_vec(self) -> Vec<StaleWorkload> {
        self.namespaces.into_values().flat_map(|share| share.workloads).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::stale_workload;

    fn in_namespace(namespace: &str, labels: usize) -> StaleWorkload {
        let mut stale = stale_workload("w");
        stale.workload.namespace = Some(namespace.to_owned());
        stale.labels = [("a".to_owned(), "x".repeat(labels))].into();
        stale
    }

    #[test]
    fn a_full_namespace_does_not_displace_workloads_of_others() {
        for (count, labels) in [(2 * MAX_WORKLOADS, 0), (100, 1 << 20)] {
            let mut workloads = StaleWorkloads::default();
            (0..count).for_each(|_| workloads.push(in_namespace("full", labels)));
            (0..10).for_each(|_| workloads.push(in_namespace("other", 0)));
            let dropped = workloads.take_dropped();
            let (count_kept, bytes) = (workloads.count, workloads.bytes);
            let remaining = workloads.into_vec();
            let others =
                remaining.iter().filter(|it| it.workload.namespace.as_deref() == Some("other")).count();
            assert_eq!((others, remaining.len()), (10, count_kept));
            assert_eq!(dropped + count_kept, count + 10);
            assert!(count_kept <= MAX_WORKLOADS && bytes <= MAX_BYTES, "{count_kept} {bytes}");
            assert!(bytes >= MAX_BYTES / 2 || count_kept == MAX_WORKLOADS, "{count_kept} {bytes}");
        }
    }
}
