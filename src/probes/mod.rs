//! What the kubelet and Prometheus ask for over HTTP: liveness, readiness and metrics, served before leadership is
//! won. It reports what others tell it and must not look at the cluster itself.

mod metrics;
mod readiness;
mod reconciles;
mod resource;
mod server;

pub use metrics::MetricsRegistry;
pub use readiness::{PendingCheck, Readiness};
pub use reconciles::{ReconcileMetrics, ReconcileResult, RunningReconcile};
pub use resource::ResourceMetrics;
pub use server::{BindError, Server};
