//! A real Kubernetes control plane on this machine, for tests and for the demo.
//!
//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok run as plain processes inside network, mount
//! and process namespaces of their own; behind each istiod pod runs a real istiod. Nothing is simulated above the
//! kubelet. This crate knows Kubernetes and how istiod is run, but nothing of the operator that is tested with it.

mod audit;
mod cluster;
mod control_plane;
mod door;
mod etcd;
mod eventually;
mod failures;
mod fault_proxy;
mod harness;
mod istiod;
pub mod kubeconfig;
mod kwok;
mod memory;
pub mod namespace;
mod nodes;
mod pki;
mod process;
mod shim_thread;
mod tools;
mod trap;

pub use audit::{AuditError, AuditLog, Mark, Request, Requests};
pub use cluster::{Cluster, ClusterError};
pub use control_plane::{ControlPlane, Options, StartError};
pub use etcd::{Etcd, EtcdError};
pub use eventually::eventually;
pub use failures::{FAIL_LABEL, Failure};
pub use fault_proxy::{FaultProxy, FaultProxyError};
pub use harness::{Test, TestResult, run_tests};
pub use kwok::KEEP_RUNNING_LABEL;
pub use nodes::{Size, node};
pub use pki::PkiError;
pub use process::{Process, ProcessError, ProcessSpec, run};
pub use tools::{Tools, ToolsError};
pub use trap::HeldAnswer;
