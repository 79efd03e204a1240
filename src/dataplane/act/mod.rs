//! Restarting workloads and following them: the only room that changes workloads.

pub mod components;
pub mod evict;
pub mod follow;
pub mod patch;
pub mod removal;
pub mod siblings;
pub mod wave;
