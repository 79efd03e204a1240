//! The connection to the API server: where it is, and the two clients, a plain one for the Lease and a guarded one
//! for everything else. It adds limits to requests and must not know what any of them means.

mod account;
mod answer;
mod coalesced;
mod connect;
mod counted;
mod deadline;
mod guard;
mod limits;
mod nesting;
mod streamed;

pub use account::ServiceAccountRef;
pub use answer::{is_not_found, ok_if_not_found};
pub use coalesced::Coalesce;
pub use connect::{ConnectError, Connections, connect, connections};
pub use counted::RequestMetrics;
pub use guard::{WriteFence, fenced_client};
pub use limits::{Limits, RequestTimeout, WriteDenied, write_denied};
pub use streamed::{is_not_served, streaming_watcher};
