//! Deciding what is done about an outdated workload, how fast and when. Pure: no client, no clock.

pub mod maintenance_window;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod scan_result;
pub mod settings;
pub mod stale_workload;
pub mod stale_workload_list;
pub mod throttle;
