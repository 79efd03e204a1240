//! The HTTP servers for health probes and metrics.
//!
//! Everyone who reaches the ports can connect, so that a connection is cheap and short: it serves one request, must send its
//! header within seconds, and is closed when too many newer ones arrive. The newest connections are served first, because a
//! probe of the kubelet sends its request immediately, which half-open connections of a flood do not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::health::Readiness;
use super::metrics::{CONTENT_TYPE, MetricsRegistry};
use crate::telemetry::format_error_chain;

/// Maximum number of open connections. If there are more, the oldest one is closed.
const MAX_CONNECTIONS: usize = 64;
/// Number of connections that are accepted before open ones are polled: few enough that each is polled several times before it
/// is the oldest one, and more than one, because a full queue rejects probes, too.
const ACCEPT_BATCH: usize = MAX_CONNECTIONS / 4;
/// Length of the queue of connections to be accepted. The kernel has a limit of its own, usually the same.
const LISTEN_BACKLOG: u32 = 4096;
/// Timeout for the header of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for a whole connection, so that a client cannot keep a response by not reading it.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum size of a request's header, in bytes: the smallest that hyper accepts.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// Delay after a failed accept, for example when all file descriptors are in use.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A server could not listen.
#[derive(Debug, thiserror::Error)]
#[error("the {server} server failed to listen on {address}")]
pub struct BindError {
    server: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// The response to a GET of a path; `None` if the path does not exist.
type RequestHandler = Arc<dyn Fn(&str) -> Option<Response<String>> + Send + Sync>;

/// A server that listens, but answers only after [`Server::spawn`].
pub struct Server {
    name: &'static str,
    listener: TcpListener,
    handler: RequestHandler,
}

impl Server {
    /// The server of `/healthz`, which is always 200, and of `/readyz`, which is 200 without pending checks; otherwise, or when
    /// the process is stopping, it is 503 with their list.
    pub fn health(
        address: SocketAddr,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<Self, BindError> {
        let handler = move |path: &str| match path {
            "/healthz" => Some(plain_text_response(StatusCode::OK, "ok\n".to_owned())),
            "/readyz" => Some(readyz_response(&readiness, &shutdown)),
            _ => None,
        };
        Self::bind("health probe", address, Arc::new(handler))
    }

    /// The server of `/metrics`.
    pub fn metrics(address: SocketAddr, metrics: MetricsRegistry) -> Result<Self, BindError> {
        let handler = move |path: &str| (path == "/metrics").then(|| metrics_response(&metrics));
        Self::bind("metrics", address, Arc::new(handler))
    }

    /// The address of the listener, with the actual port if 0 was requested.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the runtime ends: probes are also answered while the process stops.
    pub fn spawn(self) {
        if let Ok(address) = self.address() {
            info!(%address, "{} server listening", self.name);
        }
        tokio::spawn(self.accept());
    }

    /// Accepts connections until the runtime ends.
    async fn accept(self) {
        let mut open = OpenConnections::default();
        for accepted in (1..=ACCEPT_BATCH).cycle() {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    open.add(tokio::spawn(serve(stream, self.handler.clone())).abort_handle());
                    // Open connections are polled before newer ones can close them.
                    if accepted == ACCEPT_BATCH {
                        yield_now().await;
                    }
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    warn!(
                        "the {} server failed to accept a connection: {}",
                        self.name,
                        format_error_chain(&error)
                    );
                    sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            }
        }
    }

    fn bind(name: &'static str, address: SocketAddr, handler: RequestHandler) -> Result<Self, BindError> {
        let listener = listen(address).map_err(|source| BindError { server: name, address, source })?;
        Ok(Self { name, listener, handler })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// The open connections, oldest first.
#[derive(Default)]
struct OpenConnections(VecDeque<AbortHandle>);

impl OpenConnections {
    /// Adds a connection, and closes the oldest one if there are too many.
    fn add(&mut self, connection: AbortHandle) {
        if self.0.len() >= MAX_CONNECTIONS {
            self.0.retain(|connection| !connection.is_finished());
        }
        if self.0.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

/// Serves one request of a connection. The body of the request is not read.
async fn serve(stream: TcpStream, handler: RequestHandler) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&handler, request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a connection ended early: {}", format_error_chain(&error)),
        Err(_) => debug!("closed a connection that exceeded its timeout"),
    }
}

fn respond(handler: &RequestHandler, method: &Method, path: &str) -> Response<String> {
    let Some(response) = handler(path) else {
        return plain_text_response(StatusCode::NOT_FOUND, String::new());
    };
    // hyper omits the body of a response to HEAD.
    if matches!(*method, Method::GET | Method::HEAD) {
        return response;
    }
    let mut refusal = plain_text_response(StatusCode::METHOD_NOT_ALLOWED, String::new());
    refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    refusal
}

fn plain_text_response(status: StatusCode, text: String) -> Response<String> {
    typed_response(status, "text/plain; charset=utf-8", text)
}

fn typed_response(status: StatusCode, content_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whether a client closed its connection before it was accepted, which does not affect the next one.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Without IPv6 in the kernel, all interfaces are all IPv4 interfaces.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_at(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            listen_at((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        other => other,
    }
}

/// `TcpListener::bind` with a longer queue.
fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // The port of a process that has just exited can be reused.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

/// The kernel returns `EAFNOSUPPORT` without IPv6 and `EADDRNOTAVAIL` with IPv6 disabled.
fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn readyz_response(readiness: &Readiness, shutdown: &CancellationToken) -> Response<String> {
    if shutdown.is_cancelled() {
        return plain_text_response(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let pending = readiness.pending();
    if pending.is_empty() {
        return plain_text_response(StatusCode::OK, "ok\n".to_owned());
    }
    let list = pending.join("\nwaiting for ");
    plain_text_response(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {list}\n"))
}

fn metrics_response(metrics: &MetricsRegistry) -> Response<String> {
    match metrics.text() {
        Ok(text) => typed_response(StatusCode::OK, CONTENT_TYPE, text),
        Err(error) => plain_text_response(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
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
    async fn readyz_lists_pending_checks_while_healthz_is_ok() {
        let readiness = Readiness::default();
        let shutdown = CancellationToken::new();
        let pending = readiness.add_pending("istios", "the first list of Istio resources");
        let server = Server::health(LOOPBACK, readiness, shutdown.clone()).unwrap();
        let address = server.address().unwrap();
        server.spawn();
        assert_eq!(ask(address, "/healthz").await, ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
        let (status, body) = ask(address, "/readyz").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(body, "waiting for istios: the first list of Istio resources\n");
        pending.mark_done();
        assert_eq!(ask(address, "/readyz").await.0, "HTTP/1.1 200 OK");
        shutdown.cancel();
        assert_eq!(ask(address, "/readyz").await.1, "stopping\n");
        assert_eq!(ask(address, "/healthz").await.0, "HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn metrics_are_served() {
        let server = Server::metrics(LOOPBACK, MetricsRegistry::default()).unwrap();
        let address = server.address().unwrap();
        server.spawn();
        assert_eq!(ask(address, "/metrics").await, ("HTTP/1.1 200 OK".to_owned(), "# EOF\n".to_owned()));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Server::metrics(LOOPBACK, MetricsRegistry::default()).unwrap();
        let address = first.address().unwrap();
        let error = Server::metrics(address, MetricsRegistry::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("the metrics server failed to listen on {address}"));
    }

    fn probes() -> SocketAddr {
        let server = Server::health(LOOPBACK, Readiness::default(), CancellationToken::new()).unwrap();
        let address = server.address().unwrap();
        server.spawn();
        address
    }

    /// The whole answer to what is sent, once the server has closed the connection.
    async fn exchange(address: SocketAddr, sent: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close before all of it is sent.
        let _ = stream.write_all(sent.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_connection_serves_one_request() {
        let address = probes();
        for (sent, expected) in [
            ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK"),
            ("GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK"),
            ("HEAD /healthz HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 Not Found"),
            ("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n", "HTTP/1.1 405 "),
            ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ] {
            let answer = exchange(address, sent).await;
            assert!(answer.starts_with(expected), "{sent:?}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_header_without_end_is_refused() {
        let sent = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
        let answer = exchange(probes(), &sent).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_nothing_or_half_a_header_is_closed() {
        let address = probes();
        for sent in ["", "GET /healthz HTTP/1.1\r\nHos"] {
            let before = tokio::time::Instant::now();
            let answer = exchange(address, sent).await;
            assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(before.elapsed() >= HEADER_TIMEOUT, "{sent:?}: closed for another reason");
            assert!(before.elapsed() < CONNECTION_TIMEOUT, "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_probe_is_answered_while_the_port_is_flooded() {
        let address = probes();
        let mut flood = Vec::new();
        for _ in 0..4 * MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may have closed it already.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHos").await;
            flood.push(stream);
        }
        assert_eq!(ask(address, "/healthz").await, ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
        let mut closed = 0;
        for stream in &mut flood {
            let read = tokio::time::timeout(Duration::from_millis(1), stream.read_u8()).await;
            closed += usize::from(matches!(read, Ok(Err(_))));
        }
        assert!(closed >= flood.len() - MAX_CONNECTIONS, "only {closed} of {} were closed", flood.len());
    }
}
