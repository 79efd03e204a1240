//! Whether an applied object is ready, and why it is not.
//!
//! Rules are pure; [`wait`] follows the objects of a stage. Nothing is written here.

pub mod conditions;
pub mod pod_diagnostics;
pub mod rules;
pub mod wait;
