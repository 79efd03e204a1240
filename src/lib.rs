//! The istio-manager operator: it installs Istio from one `Istio` resource, keeps it as configured and removes it.
//!
//! The binary is `main.rs`, which hands its arguments to [`cli`]. Everything else is a library so that tests and
//! tools can use the same parts.

pub mod api;
pub mod apply;
pub mod check;
pub mod cli;
pub mod context;
pub mod dataplane;
mod duration;
pub mod kubernetes;
pub mod leader;
mod lock;
pub mod memory;
pub mod object;
pub mod observe;
pub mod plan;
pub mod preview;
pub mod probes;
pub mod remove;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod text;
pub mod validate;
pub mod watch;
