//! Writes kubeconfig files and makes clients from them. Decides nothing about who may do what.

use std::io;
use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// Why there is no kubeconfig or client.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be read or makes no configuration.
    #[error("cannot use {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the library said.
        source: Box<kube::config::KubeconfigError>,
    },
    /// No client could be made of it.
    #[error("cannot make a client of {path}")]
    Client {
        /// The file.
        path: PathBuf,
        /// What the library said.
        source: Box<kube::Error>,
    },
}

/// Writes a kubeconfig file (JSON, which is YAML) for the holder of `token`; `namespace` is its default namespace.
pub(crate) fn write(
    path: &Path,
    server: &str,
    ca_file: &Path,
    token: &str,
    namespace: &str,
) -> Result<(), KubeconfigError> {
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed", "namespace": namespace}}],
        "clusters": [{"name": "testbed", "cluster": {"server": server, "certificate-authority": ca_file}}],
        "users": [{"name": "testbed", "user": {"token": token}}],
    });
    std::fs::write(path, format!("{document:#}\n"))
        .map_err(|source| KubeconfigError::Write { path: path.into(), source })
}

/// A copy of a kubeconfig file that leads to another server, without TLS.
pub(crate) fn with_server(original: &Path, server: &str) -> io::Result<PathBuf> {
    let mut document: serde_json::Value = serde_json::from_slice(&std::fs::read(original)?)?;
    document["clusters"][0]["cluster"] = json!({"server": server});
    let port = server.rsplit(':').next().unwrap_or_default();
    let path = original.with_extension(format!("{port}.kubeconfig"));
    std::fs::write(&path, document.to_string())?;
    Ok(path)
}

/// A client as the kubeconfig file at `path` says. Needs a running tokio runtime, to which the client stays bound.
pub async fn client(path: &Path) -> Result<Client, KubeconfigError> {
    let read = |source| KubeconfigError::Read { path: path.into(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(read)?;
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(read)?;
    Client::try_from(config)
        .map_err(|source| KubeconfigError::Client { path: path.into(), source: Box::new(source) })
}
