//! Finds the API server and opens a client on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderName, HeaderValue};
use kube::Config;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};

/// Reaching the address of an API server takes milliseconds or does not happen.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file named by `--kubeconfig` cannot be used.
    #[error("the kubeconfig {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// The files named by the variable KUBECONFIG cannot be used.
    #[error("the kubeconfig named by the environment variable KUBECONFIG cannot be used")]
    Environment(#[source] KubeconfigError),
    /// No cluster was named, this is no Pod with a service account, and the file in the home directory cannot be used.
    #[error(
        "no cluster was found: --kubeconfig and KUBECONFIG are not set, this is not a Pod with a service account \
         ({in_cluster}), and the kubeconfig in the home directory cannot be used"
    )]
    Nowhere {
        /// Why this is no Pod with a service account.
        in_cluster: Box<InClusterError>,
        /// Why the file in the home directory cannot be used.
        source: KubeconfigError,
    },
    /// The user to act for cannot be one.
    #[error("{user:?} is no name of a user")]
    User {
        /// The name.
        user: String,
    },
    /// The address, certificates or credentials that were found cannot be used.
    #[error("the client for the API server at {address} cannot be set up")]
    Setup {
        /// The address of the API server.
        address: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// A client without limits for the cluster that is found in this order, which is controller-runtime's: the file
/// `kubeconfig`, the files that the variable KUBECONFIG names, the service account of the Pod, `~/.kube/config`.
///
/// No request is made. Nothing is retried inside the client: a retry there would outlast any deadline set outside.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<kube::Client, ConnectError> {
    connect_as(kubeconfig, None).await
}

/// Like [`connect`], as another user if one is named: the API server then asks whether the real one may act for him.
pub async fn connect_as(kubeconfig: Option<&Path>, user: Option<&str>) -> Result<kube::Client, ConnectError> {
    let mut config = find(kubeconfig).await?;
    if let Some(user) = user {
        let value = HeaderValue::from_str(user).map_err(|_| ConnectError::User { user: user.to_owned() })?;
        config.headers.push((HeaderName::from_static("impersonate-user"), value));
    }
    // Without a name of their own, writes are noted in `managedFields` as those of "unknown".
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(concat!("istio-manager/", env!("CARGO_PKG_VERSION")))));
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let address = config.cluster_url.to_string();
    kube::Client::try_from(config).map_err(|source| ConnectError::Setup { address, source: Box::new(source) })
}

async fn find(kubeconfig: Option<&Path>) -> Result<Config, ConnectError> {
    if let Some(path) = kubeconfig {
        let file = |source| ConnectError::File { path: path.to_owned(), source };
        return select_context(Kubeconfig::read_from(path).map_err(file)?).await.map_err(file);
    }
    if let Some(kubeconfig) = Kubeconfig::from_env().map_err(ConnectError::Environment)? {
        return select_context(kubeconfig).await.map_err(ConnectError::Environment);
    }
    match Config::incluster() {
        Ok(config) => Ok(config),
        Err(in_cluster) => Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .map_err(|source| ConnectError::Nowhere { in_cluster: Box::new(in_cluster), source }),
    }
}

async fn select_context(kubeconfig: Kubeconfig) -> Result<Config, KubeconfigError> {
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = connect(Some(Path::new("/does/not/exist"))).await.err().unwrap();
        assert_eq!(error.to_string(), "the kubeconfig /does/not/exist cannot be used");
    }

    #[tokio::test]
    async fn a_kubeconfig_given_by_flag_is_used_with_its_current_context() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "\
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: local, namespace: team-a}}
clusters:
- {name: local, cluster: {server: 'http://127.0.0.1:1'}}
";
        file.write_all(text.as_bytes()).unwrap();
        let client = connect(Some(file.path())).await.unwrap();
        assert_eq!(client.default_namespace(), "team-a");
    }
}
