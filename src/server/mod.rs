//! What the kubelet and Prometheus ask for over HTTP: liveness, readiness and metrics, served before leadership is
//! won. It reports what others tell it and must not look at the cluster itself.

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
