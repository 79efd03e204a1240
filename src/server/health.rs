//! The checks that are pending before the process is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// The pending checks of `/readyz`. Cheap to clone; all clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeMap<String, String>>>,
}

/// One pending check. It is done when [`PendingCheck::mark_done`] is called. If it is dropped, as by a failed start, it stays
/// pending.
#[derive(Debug)]
#[must_use = "readiness waits until `done` is called"]
pub struct PendingCheck {
    readiness: Readiness,
    name: String,
}

impl Readiness {
    /// Adds a check with the short key `name`. `/readyz` reports `what` it waits for. A key that is registered twice is one
    /// check.
    pub fn add_pending(&self, name: impl Into<String>, what: impl Into<String>) -> PendingCheck {
        let name = name.into();
        self.with(|pending| pending.insert(name.clone(), what.into()));
        PendingCheck { readiness: self.clone(), name }
    }

    /// The pending checks as `name: what`, sorted by name; empty when ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.with(|pending| pending.iter().map(|(name, what)| format!("{name}: {what}")).collect())
    }

    /// A panic while the lock is held cannot leave the map inconsistent, so that a poisoned lock is usable.
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
        act(&mut lock(&self.pending))
    }
}

impl PendingCheck {
    /// Completes the check.
    pub fn mark_done(self) {
        self.readiness.with(|pending| pending.remove(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_registered_is_ready() {
        assert!(Readiness::default().pending().is_empty());
    }

    #[test]
    fn pending_things_are_listed_until_they_are_done() {
        let readiness = Readiness::default();
        let first = readiness.add_pending("watch", "the first list of Istio resources");
        let second = readiness.add_pending("charts", "the charts of Istio");
        assert_eq!(
            readiness.pending(),
            ["charts: the charts of Istio", "watch: the first list of Istio resources"]
        );
        first.mark_done();
        assert_eq!(readiness.clone().pending(), ["charts: the charts of Istio"]);
        second.mark_done();
        assert!(readiness.pending().is_empty());
    }

    #[test]
    fn a_dropped_registration_stays_pending() {
        let readiness = Readiness::default();
        drop(readiness.add_pending("watch", "the first list"));
        assert_eq!(readiness.pending().len(), 1);
    }
}
