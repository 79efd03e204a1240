//! The connection to the API server: where it is, and the two clients, a plain one for the Lease and a guarded one
//! for everything else. It adds limits to requests and must not know what any of them means.

mod account;
mod body_timeout;
mod connect;
mod error_ext;
mod nesting;
pub mod object;
pub(crate) mod quantity;
mod request_metrics;
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
