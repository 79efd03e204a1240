//! A running control plane as tests and people see it: clients, kubeconfig files and small helpers.
//! It owns no process of the control plane, so that a second program in the same namespaces can attach to it.

use std::path::{Path, PathBuf};

use kube::Client;

use crate::control_plane::kubeconfig_file;
use crate::kubeconfig::{self, KubeconfigError};
use crate::pki::Identity;
use crate::tools::{Tools, ToolsError};

/// What could not be done with a running cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A Go program is missing.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// A kubeconfig file or client could not be made.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
}

/// A handle on a running control plane.
#[derive(Clone)]
pub struct Cluster {
    tools: Tools,
    dir: PathBuf,
    admin: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Cluster {
    pub(crate) async fn attach_to(tools: Tools, dir: PathBuf) -> Result<Self, ClusterError> {
        let admin = kubeconfig::client(&kubeconfig_file(&dir, Identity::Admin)).await?;
        Ok(Self { tools, dir, admin })
    }

    /// A client that may do everything; in the audit log its user is `admin`.
    #[must_use]
    pub fn client(&self) -> Client {
        self.admin.clone()
    }

    /// The kubeconfig file of the administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig_file(&self.dir, Identity::Admin)
    }

    /// The in-memory folder of this control plane, with the logs of its programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The Go programs.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }
}
