//! Changes of applied objects by others: watches for them, separates drift from allowed changes, and decides when to revert it.
//!
//! It writes nothing, and must not know how an apply proceeds.

pub mod conflict_backoff;
pub mod field_conflicts;
pub(crate) mod observations;
pub mod pause;
pub(crate) mod reverts;
pub mod snapshot;
pub mod state;
pub(crate) mod watcher;
pub(crate) mod workload_health;

use futures::future::BoxFuture;

use self::snapshot::LiveObjects;

/// Watches what an apply has written while it waits for a stage to become ready.
pub trait StageMonitor: Sync {
    /// Sets the snapshots that these objects are to keep.
    fn set_expected(&self, objects: LiveObjects);
    /// Completes when one of the expected objects has changed.
    fn changed(&self) -> BoxFuture<'_, ()>;
}
