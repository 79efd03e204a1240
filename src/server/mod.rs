//! The HTTP endpoints for the kubelet and Prometheus: liveness, readiness and metrics, served also without leadership. It
//! publishes values of other modules and must not read the cluster.

mod health;
mod listener;
mod metrics;
mod reconcile_metrics;
mod resource_metrics;

pub use self::health::{PendingCheck, Readiness};
pub use self::listener::{BindError, Server};
pub use self::metrics::MetricsRegistry;
pub use self::reconcile_metrics::{ReconcileMetrics, ReconcileResult, RunningReconcile};
pub use self::resource_metrics::ResourceMetrics;
