//! What the operator as a whole does at an API server: its controllers run against the in-process double, on paused time.
//!
//! Each test starts a cluster of its own, drives the operator through its entrance ([`crate::controllers::istio::run`])
//! and asserts objects, requests and reasons. What schemas, defaults or a real istiod decide is tested on the control
//! plane (`tests/operator`).

mod cluster;
mod drift;
mod install;
mod leadership;
mod mesh;
mod status;
mod uninstall;
mod wave;
