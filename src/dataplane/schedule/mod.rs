//! Decides which outdated workloads are restarted, when, and how many at once.
//! Pure: this module must not have a client or a clock.

pub mod maintenance_window;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod scan_result;
pub mod stale_workload;
pub mod stale_workload_list;
pub mod throttle;
