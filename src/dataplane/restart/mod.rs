//! Restarting workloads and following them: the only room that changes workloads.

pub mod component_restarts;
pub mod eviction;
#[cfg(test)]
mod eviction_tests;
pub mod owned_pods;
pub mod patch;
pub mod rollout_watcher;
pub mod uninstall_restarts;
pub mod wave;
