//! What happens to an object after it was applied: who changed it, whether that is drift, and when to revert it.
//!
//! It watches and decides; objects are written by [`crate::apply`].

pub mod conflict_backoff;
pub mod field_conflicts;
pub(crate) mod observations;
pub mod pause;
pub(crate) mod reverts;
pub mod snapshot;
pub mod state;
pub(crate) mod watcher;
pub(crate) mod workload_health;
