//! The istio-manager operator: it installs Istio from one `Istio` resource, keeps it as configured and removes it.
//!
//! The binary is `main.rs`, which hands its arguments to [`cli`]. Everything else is a library so that tests and
//! tools can use the same parts.

pub mod api;
pub mod apply;
pub mod cli;
pub mod context;
pub mod controllers;
pub mod crds;
pub mod dataplane;
pub mod diff;
pub mod drift;
mod duration;
pub mod fips;
pub mod gather;
pub mod inventory;
pub mod kubernetes;
pub mod leader;
mod lock;
pub mod names;
pub mod plan;
pub mod preflight;
pub mod readiness;
pub mod server;
pub mod signals;
pub mod ssa;
pub mod status;
pub mod telemetry;
pub mod text;
pub mod uninstall;
pub mod validate;
