//! Restarting workloads and following them: the only room that changes workloads.

pub mod components;
pub mod evict;
#[cfg(test)]
mod evict_tests;
pub mod follow;
pub mod patch;
pub mod removal;
pub mod siblings;
pub mod wave;
