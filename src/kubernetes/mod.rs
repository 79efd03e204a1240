//! The API server: how to reach it, and what its objects and responses mean, each judgment in one place.
//!
//! Requests get limits and the write fence here; which requests to send, and what Istio is, is decided elsewhere.

mod account;
mod body_timeout;
pub mod conditions;
mod connect;
pub(crate) mod endpoints;
mod error_ext;
pub mod json;
mod nesting;
pub mod object;
pub(crate) mod quantity;
mod request_metrics;
pub(crate) mod retry;
pub mod rollout;
mod streaming_list;
mod timeouts;
mod write_fence;

pub use self::account::ServiceAccountRef;
pub use self::connect::{ConnectError, Connections, connect, connections};
pub use self::error_ext::{is_not_found, ok_if_not_found};
pub use self::request_metrics::RequestMetrics;
pub use self::streaming_list::{is_not_served, streaming_watcher};
pub use self::timeouts::{Limits, RequestTimeout, WriteDenied, write_denied};
pub use self::write_fence::{WriteFence, fenced_client};
