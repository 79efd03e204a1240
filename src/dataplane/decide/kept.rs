//! The outdated workloads that a look keeps, bounded in number and bytes. Pure.
//!
//! Where there are too many, those of the namespace that has most of them go: whoever fills one namespace keeps nobody else's
//! workloads from being restarted.

use std::collections::BTreeMap;

use super::finding::Finding;

/// Outdated workloads that are kept.
const MOST: usize = 5_000;
/// Bytes of them, roughly.
const MOST_BYTES: usize = 8 << 20;

/// Outdated workloads by namespace.
#[derive(Debug, Default)]
pub struct Kept {
    namespaces: BTreeMap<String, Share>,
    count: usize,
    bytes: usize,
    dropped: usize,
}

/// Those of one namespace.
#[derive(Debug, Default)]
struct Share {
    findings: Vec<Finding>,
    bytes: usize,
}

impl Kept {
    /// Keeps `finding`; where there is no room, one of the fullest namespace is dropped.
    pub fn push(&mut self, finding: Finding) {
        let (namespace, bytes) = (finding.workload.namespace.clone().unwrap_or_default(), finding.weight());
        let share = self.namespaces.entry(namespace).or_default();
        share.findings.push(finding);
        share.bytes += bytes;
        self.count += 1;
        self.bytes += bytes;
        while self.count > MOST || self.bytes > MOST_BYTES {
            self.drop_one();
        }
    }

    fn drop_one(&mut self) {
        let fullest = self.namespaces.values_mut().max_by_key(|share| share.bytes);
        let Some(finding) = fullest.and_then(|share| {
            let finding = share.findings.pop()?;
            share.bytes = share.bytes.saturating_sub(finding.weight());
            Some(finding)
        }) else {
            return;
        };
        self.count -= 1;
        self.bytes = self.bytes.saturating_sub(finding.weight());
        self.dropped += 1;
    }

    /// How many were dropped since this was asked last.
    pub fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }

    /// All that are kept.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.namespaces.into_values().flat_map(|share| share.findings).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::finding;

    fn of(namespace: &str, labels: usize) -> Finding {
        let mut finding = finding("w");
        finding.workload.namespace = Some(namespace.to_owned());
        finding.labels = [("a".to_owned(), "x".repeat(labels))].into();
        finding
    }

    #[test]
    fn whoever_fills_one_namespace_takes_nothing_from_the_others() {
        for (count, labels) in [(2 * MOST, 0), (100, 1 << 20)] {
            let mut kept = Kept::default();
            (0..count).for_each(|_| kept.push(of("full", labels)));
            (0..10).for_each(|_| kept.push(of("other", 0)));
            let dropped = kept.take_dropped();
            let (count_kept, bytes) = (kept.count, kept.bytes);
            let findings = kept.into_findings();
            let others =
                findings.iter().filter(|it| it.workload.namespace.as_deref() == Some("other")).count();
            assert_eq!((others, findings.len()), (10, count_kept));
            assert_eq!(dropped + count_kept, count + 10);
            assert!(count_kept <= MOST && bytes <= MOST_BYTES, "{count_kept} {bytes}");
            assert!(bytes >= MOST_BYTES / 2 || count_kept == MOST, "{count_kept} {bytes}");
        }
    }
}
