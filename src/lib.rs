//! The istio-manager operator: it installs Istio from one `Istio` resource, keeps it as configured and removes it.
//!
//! The binary is `main.rs`, which hands its arguments to [`cli`]. Everything else is a library so that tests and
//! tools can use the same parts.

pub mod api;
mod apply;
pub mod cli;
pub mod context;
pub mod controllers;
mod crds;
pub mod dataplane;
mod diff;
mod drift;
mod duration;
pub mod fips;
mod gather;
pub mod inventory;
pub mod istio_release;
pub mod kubernetes;
pub mod leader;
mod lock;
mod messages;
pub mod names;
pub mod plan;
mod preflight;
mod readiness;
#[cfg(test)]
mod scenarios;
pub mod server;
mod signals;
mod ssa;
mod status;
mod telemetry;
mod text;
mod uninstall;
pub mod validate;
