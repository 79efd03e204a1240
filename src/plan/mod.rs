//! From a valid resource and the facts of the cluster to what should exist in it.
//! Pure: no client, no clock, no environment.

pub mod configuration;
