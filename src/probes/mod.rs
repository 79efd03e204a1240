//! What the kubelet and Prometheus ask for over HTTP: liveness, readiness and metrics, served before leadership is
//! won. It reports what others tell it and must not look at the cluster itself.

mod readiness;

pub use readiness::{Pending, Readiness};
