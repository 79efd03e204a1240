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

pub use account::Account;
pub use answer::{if_found, is_not_found};
pub use coalesced::Coalesce;
pub use connect::{ConnectError, Connections, connect, connections};
pub use counted::RequestCount;
pub use guard::{WriteGate, guarded};
pub use limits::{Limits, RequestTimeout, WriteDenied, write_denied};
pub use streamed::{is_not_served, streamed};
