//! Finds the cluster in the configuration, and connects to its API server.
//!
//! kube's own client is replaced because it does not speak HTTP/2 and does not set `TCP_NODELAY`: one connection for all thirty
//! watches instead of thirty saves several MiB of memory (ADR 12).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderName, HeaderValue};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ConfigExt};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tower::{BoxError, ServiceBuilder};

use super::account::ServiceAccountRef;
use super::request_metrics::RequestMetrics;
use super::timeouts::Limits;
use super::write_fence::limited_client;

/// Timeout of a TCP connection, which takes milliseconds unless the address is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed soon after a burst of writes. Renewals of the Lease keep one open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest read buffer: a connection keeps the buffer that it once needed.
const READ_BUFFER_BYTES: usize = 32 << 10;
/// A shared connection that died silently takes all watches along, so that pings check whether it is alive; connections
/// without HTTP/2 are checked by the kernel.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 2;
/// Unread bytes of one stream, and of all streams of a connection. The second is more than a hundred times the first, which is the
/// number of streams that an API server allows, so that a stream that is not read does not block the others.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Protocols offered to the API server, in order of preference.
const HTTP1_ALPN: [&[u8]; 1] = [b"http/1.1"];
const HTTP2_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The connections to one API server.
#[derive(Clone)]
pub struct Connections {
    /// For requests that end, by HTTP/1.1: a request that times out closes its connection, so that the next one, such as a renewal
    /// of the Lease, does not wait on a dead connection.
    pub requests: kube::Client,
    /// For streams: by HTTP/2 if the API server supports it, all on one connection.
    pub streams: kube::Client,
}

/// Why no client could be created.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file of `--kubeconfig` cannot be used.
    #[error("cannot use the kubeconfig {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// The files in the variable KUBECONFIG cannot be used.
    #[error("cannot use the kubeconfig in the environment variable KUBECONFIG")]
    Environment(#[source] KubeconfigError),
    /// No cluster is configured, this is not a Pod with a ServiceAccount, and the file in the home directory cannot be used.
    #[error(
        "no cluster found: --kubeconfig and KUBECONFIG are not set, this is not a Pod with a ServiceAccount \
         ({in_cluster}), and the kubeconfig in the home directory cannot be used"
    )]
    NoCluster {
        /// Why this is not a Pod with a ServiceAccount.
        in_cluster: Box<InClusterError>,
        /// Why the file in the home directory cannot be used.
        source: KubeconfigError,
    },
    /// The user to impersonate has an invalid name.
    #[error("invalid user name {user:?}")]
    InvalidUser {
        /// The name.
        user: String,
    },
    /// The API server does not respond, or rejects the client.
    #[error("cannot reach the API server at {address}")]
    Unreachable {
        /// The address of the API server.
        address: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The address, certificates or credentials cannot be used.
    #[error("cannot set up the client for the API server at {address}")]
    Setup {
        /// The address of the API server.
        address: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// A client for command-line users, with the default limits. The cluster is found in the order of controller-runtime: the file
/// `kubeconfig`, the files in the variable KUBECONFIG, the ServiceAccount of the Pod, `~/.kube/config`. With `user`, the client
/// impersonates that user.
///
/// Sends one request for which no permission is needed, so that an unreachable cluster is reported as such.
pub async fn connect(kubeconfig: Option<&Path>, user: Option<&str>) -> Result<kube::Client, ConnectError> {
    let mut config = find_config(kubeconfig).await?;
    if let Some(user) = user {
        let value =
            HeaderValue::from_str(user).map_err(|_| ConnectError::InvalidUser { user: user.to_owned() })?;
        config.headers.push((HeaderName::from_static("impersonate-user"), value));
    }
    let (requests, streams) = open_clients(&config)?;
    let client = limited_client(Connections { requests, streams }, Limits::default());
    match client.apiserver_version().await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(client),
        Err(source) => {
            let address = config.cluster_url.to_string();
            Err(ConnectError::Unreachable { address, source: Box::new(source) })
        }
        Ok(_) => Ok(client),
    }
}

/// The connections to the cluster that [`connect`] finds, with counted requests, and the `ServiceAccount` of the client, if any.
///
/// Nothing is retried inside these clients: a retry there would outlast the timeouts set outside.
pub async fn connections(
    kubeconfig: Option<&Path>,
    count: &RequestMetrics,
) -> Result<(Connections, Option<ServiceAccountRef>), ConnectError> {
    let config = find_config(kubeconfig).await?;
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let (requests, streams) = open_clients(&config)?;
    let connections = Connections {
        requests: count.instrument(requests, &host),
        streams: count.instrument(streams, &host),
    };
    Ok((connections, ServiceAccountRef::of(&config)))
}

fn open_clients(config: &Config) -> Result<(kube::Client, kube::Client), ConnectError> {
    Ok((open_client(config, &HTTP1_ALPN)?, open_client(config, &HTTP2_ALPN)?))
}

fn open_client(config: &Config, protocols: &[&[u8]]) -> Result<kube::Client, ConnectError> {
    let address = config.cluster_url.to_string();
    let mut config = config.clone();
    // Without it, `managedFields` records writes as those of "unknown".
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(concat!("istio-manager/", env!("CARGO_PKG_VERSION")))));
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Only kube's own client supports a proxy, or a server with another TLS name.
    let is_plain = config.proxy_url.is_none() && config.tls_server_name.is_none();
    let opened = if is_plain { new_client(&config, protocols) } else { kube::Client::try_from(config) };
    opened.map_err(|source| ConnectError::Setup { address, source: Box::new(source) })
}

/// kube's own client cannot be configured to use HTTP/2, nor to send each part of a large request at once.
fn new_client(config: &Config, protocols: &[&[u8]]) -> Result<kube::Client, kube::Error> {
    let mut tls = config.rustls_client_config()?;
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    client_with_connector(HttpsConnector::from((tcp_connector(), Arc::new(tls))), config)
}

fn tcp_connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(PING_INTERVAL));
    tcp.set_keepalive_interval(Some(PING_TIMEOUT / KEEPALIVE_PROBES));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    tcp
}

fn client_with_connector(
    connector: HttpsConnector<HttpConnector>,
    config: &Config,
) -> Result<kube::Client, kube::Error> {
    let client: Client<_, Body> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_max_buf_size(READ_BUFFER_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

async fn find_config(kubeconfig: Option<&Path>) -> Result<Config, ConnectError> {
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
            .map_err(|source| ConnectError::NoCluster { in_cluster: Box::new(in_cluster), source }),
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
        let error = connect(Some(Path::new("/does/not/exist")), None).await.err().unwrap();
        assert_eq!(error.to_string(), "cannot use the kubeconfig /does/not/exist");
    }

    #[test]
    fn connections_use_the_cryptographic_module_of_the_build() {
        crate::fips::install();
        let mut config = Config::new(http::Uri::from_static("https://127.0.0.1:1"));
        config.root_cert = Some(Vec::new());
        assert_eq!(config.rustls_client_config().unwrap().fips(), cfg!(feature = "fips"));
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
        let config = find_config(Some(file.path())).await.unwrap();
        assert_eq!(config.default_namespace, "team-a");
        let error = connect(Some(file.path()), None).await.err().unwrap();
        assert_eq!(error.to_string(), "cannot reach the API server at http://127.0.0.1:1/");
    }
}
