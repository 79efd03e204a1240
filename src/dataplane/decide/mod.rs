//! Deciding what is done about an outdated workload, how fast and when. Pure: no client, no clock.

pub mod course;
pub mod disruption;
pub mod finding;
pub mod found;
pub mod kept;
#[cfg(test)]
mod laws;
pub mod pace;
pub mod rollout;
pub mod settings;
pub mod window;
