//! Restarts workloads and follows their rollouts. This is the only module of the data plane that changes workloads; it must
//! not decide which ones are restarted.

pub mod component_restarts;
pub mod eviction;
#[cfg(test)]
mod eviction_tests;
pub mod owned_pods;
pub mod patch;
pub mod rollout_watcher;
pub mod uninstall_restarts;
pub mod wave;
