//! Whether applied objects are ready, and why they are not.
//!
//! The rules are pure; [`wait`] watches the objects of a stage. It applies nothing, and must not know inventory or drift.

pub mod conditions;
pub mod pod_diagnostics;
pub mod rules;
pub mod wait;
