//! Reports what was found and done: status, Events and metrics.
//! This module must not decide anything.

pub mod events;
pub mod metrics;
pub mod summary;
