//! What the kubelet and Prometheus ask for over HTTP: liveness, readiness and metrics, served before leadership is
//! won. It reports what others tell it and must not look at the cluster itself.

mod metrics;
mod readiness;
mod reconciles;
mod resource;
mod server;

pub use metrics::Metrics;
pub use readiness::{Pending, Readiness};
pub use reconciles::{End, Reconciles, Running};
pub use resource::ResourceGauges;
pub use server::{BindError, Server};
