//! Telling people: status, Events and metrics.

pub mod events;
pub mod metrics;
pub mod summary;
