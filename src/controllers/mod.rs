//! The two doors of the operator: a controller for `Istio` resources and one for the data plane.
//!
//! A controller watches, runs its pipeline and hands its part of the status to the writer in `crate::status`. It contains
//! no rules of its own.

pub(crate) mod dataplane;
pub mod istio;
