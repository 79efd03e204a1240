//! How the API server is reached from pods.

/// Port on which the API server listens behind its Service, the one that a NetworkPolicy sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiPort(pub u16);

impl Default for ApiPort {
    /// The port of the Service itself.
    fn default() -> Self {
        Self(443)
    }
}
