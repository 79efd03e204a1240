//! The HTTP servers of the probes and of the metrics.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::metrics::{CONTENT_TYPE, Metrics};
use super::readiness::Readiness;
use crate::telemetry::one_line;

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
#[error("the {server} server cannot listen on {address}")]
pub struct BindError {
    server: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// A server that listens and has a queue for connections, but does not answer before [`Server::spawn`].
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    listener: TcpListener,
    router: Router,
}

impl Server {
    /// The server of `/healthz`, 200 as long as the process can answer, and of `/readyz`, 200 when nothing is
    /// pending and 503 with the list of it otherwise, or when the process is stopping.
    pub async fn probes(
        address: SocketAddr,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<Self, BindError> {
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .with_state((readiness, shutdown));
        Self::bind("health probe", address, router).await
    }

    /// The server of `/metrics`.
    pub async fn metrics(address: SocketAddr, metrics: Metrics) -> Result<Self, BindError> {
        let router = Router::new().route("/metrics", get(exposition)).with_state(metrics);
        Self::bind("metrics", address, router).await
    }

    /// Where it listens: the port is the real one if 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers from now on, until the runtime ends: probes are asked while the process stops as well.
    pub fn spawn(self) {
        if let Ok(address) = self.address() {
            info!(%address, "{} server listening", self.name);
        }
        tokio::spawn(async move {
            if let Err(error) = axum::serve(self.listener, self.router).await {
                error!("the {} server ended: {}", self.name, one_line(&error));
            }
        });
    }

    async fn bind(name: &'static str, address: SocketAddr, router: Router) -> Result<Self, BindError> {
        let listener = listen(address).await.map_err(|source| BindError { server: name, address, source })?;
        Ok(Self { name, listener, router })
    }
}

/// Where the kernel has no IPv6, every interface means every IPv4 interface.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
}

/// The kernel says `EAFNOSUPPORT` without IPv6 and `EADDRNOTAVAIL` with IPv6 switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

async fn readyz(State((readiness, shutdown)): State<(Readiness, CancellationToken)>) -> Response {
    if shutdown.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let pending = readiness.pending();
    if pending.is_empty() {
        return "ok\n".into_response();
    }
    let list = pending.join("\nwaiting for ");
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {list}\n")).into_response()
}

async fn exposition(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// The status line and the body of the answer to one GET.
    async fn ask(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn readiness_lists_what_is_pending_while_liveness_is_fine() {
        let readiness = Readiness::default();
        let shutdown = CancellationToken::new();
        let pending = readiness.wait_for("istios", "the first list of Istio resources");
        let server = Server::probes(LOOPBACK, readiness, shutdown.clone()).await.unwrap();
        let address = server.address().unwrap();
        server.spawn();
        assert_eq!(ask(address, "/healthz").await, ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
        let (status, body) = ask(address, "/readyz").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(body, "waiting for istios: the first list of Istio resources\n");
        pending.done();
        assert_eq!(ask(address, "/readyz").await.0, "HTTP/1.1 200 OK");
        shutdown.cancel();
        assert_eq!(ask(address, "/readyz").await.1, "stopping\n");
        assert_eq!(ask(address, "/healthz").await.0, "HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn metrics_are_served() {
        let server = Server::metrics(LOOPBACK, Metrics::default()).await.unwrap();
        let address = server.address().unwrap();
        server.spawn();
        assert_eq!(ask(address, "/metrics").await, ("HTTP/1.1 200 OK".to_owned(), "# EOF\n".to_owned()));
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = Server::metrics(LOOPBACK, Metrics::default()).await.unwrap();
        let address = first.address().unwrap();
        let error = Server::metrics(address, Metrics::default()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the metrics server cannot listen on {address}"));
    }
}
