//! The HTTP servers of the probes and of the metrics.
//!
//! Anyone who reaches the ports may connect, so a connection costs little and not for long: it serves one request, must
//! send its header within seconds, and is closed when too many newer ones arrive. The newest connections are the ones
//! that are served, because a probe of the kubelet sends its request at once and a flood of half-open ones does not: what
//! is refused under a flood is the flood.

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

use super::metrics::{CONTENT_TYPE, Metrics};
use super::readiness::Readiness;
use crate::telemetry::one_line;

/// Connections that are open at the same time. Beyond them the oldest one is closed.
const CONNECTIONS: usize = 64;
/// Connections that are accepted before those that are open get their turn: few enough that each gets several turns until
/// it is the oldest one, and more than one, since a queue that is not emptied fast enough refuses probes, too.
const BATCH: usize = CONNECTIONS / 4;
/// Connections that wait to be accepted; the kernel has a limit of its own, usually as many.
const QUEUE: u32 = 4096;
/// How long the header of a request may take.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take in all, so that nobody holds an answer by not reading it.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Bytes of a request's header; the least that hyper accepts.
const HEADER_BYTES: usize = 8 << 10;
/// Wait after the operating system has no further connection to give, as when all file descriptors are in use.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
#[error("the {server} server cannot listen on {address}")]
pub struct BindError {
    server: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// The answer to a GET of a path; `None` where there is nothing.
type Answers = Arc<dyn Fn(&str) -> Option<Response<String>> + Send + Sync>;

/// A server that listens and has a queue for connections, but does not answer before [`Server::spawn`].
pub struct Server {
    name: &'static str,
    listener: TcpListener,
    answers: Answers,
}

impl Server {
    /// The server of `/healthz`, 200 as long as the process can answer, and of `/readyz`, 200 when nothing is
    /// pending and 503 with the list of it otherwise, or when the process is stopping.
    pub fn probes(
        address: SocketAddr,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<Self, BindError> {
        let answers = move |path: &str| match path {
            "/healthz" => Some(plain(StatusCode::OK, "ok\n".to_owned())),
            "/readyz" => Some(readyz(&readiness, &shutdown)),
            _ => None,
        };
        Self::bind("health probe", address, Arc::new(answers))
    }

    /// The server of `/metrics`.
    pub fn metrics(address: SocketAddr, metrics: Metrics) -> Result<Self, BindError> {
        let answers = move |path: &str| (path == "/metrics").then(|| exposition(&metrics));
        Self::bind("metrics", address, Arc::new(answers))
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
        tokio::spawn(self.accept());
    }

    /// Accepts connections for ever.
    async fn accept(self) {
        let mut open = Open::default();
        for accepted in (1..=BATCH).cycle() {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    open.add(tokio::spawn(serve(stream, self.answers.clone())).abort_handle());
                    // Connections get to read what they were sent before newer ones can close them.
                    if accepted == BATCH {
                        yield_now().await;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!("the {} server cannot accept a connection: {}", self.name, one_line(&error));
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn bind(name: &'static str, address: SocketAddr, answers: Answers) -> Result<Self, BindError> {
        let listener = listen(address).map_err(|source| BindError { server: name, address, source })?;
        Ok(Self { name, listener, answers })
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

/// The connections that are open, oldest first.
#[derive(Default)]
struct Open(VecDeque<AbortHandle>);

impl Open {
    /// Adds a connection and closes the oldest one if there are too many.
    fn add(&mut self, connection: AbortHandle) {
        if self.0.len() >= CONNECTIONS {
            self.0.retain(|connection| !connection.is_finished());
        }
        if self.0.len() >= CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

/// Serves one request of a connection. The body of a request is not read, however long it is.
async fn serve(stream: TcpStream, answers: Answers) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&answers, request.method(), request.uri().path());
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a connection ended early: {}", one_line(&error)),
        Err(_) => debug!("a connection was closed, since it took too long"),
    }
}

fn answer(answers: &Answers, method: &Method, path: &str) -> Response<String> {
    let Some(answer) = answers(path) else {
        return plain(StatusCode::NOT_FOUND, String::new());
    };
    // hyper leaves the body of an answer to HEAD out.
    if matches!(*method, Method::GET | Method::HEAD) {
        return answer;
    }
    let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, String::new());
    refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    refusal
}

fn plain(status: StatusCode, text: String) -> Response<String> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A client that gave up before its connection was accepted says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Where the kernel has no IPv6, every interface means every IPv4 interface.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_at(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            listen_at((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        other => other,
    }
}

/// As `TcpListener::bind`, with a longer queue.
fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // The port of a process that has just ended can be used again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// The kernel says `EAFNOSUPPORT` without IPv6 and `EADDRNOTAVAIL` with IPv6 switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn readyz(readiness: &Readiness, shutdown: &CancellationToken) -> Response<String> {
    if shutdown.is_cancelled() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let pending = readiness.pending();
    if pending.is_empty() {
        return plain(StatusCode::OK, "ok\n".to_owned());
    }
    let list = pending.join("\nwaiting for ");
    plain(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {list}\n"))
}

fn exposition(metrics: &Metrics) -> Response<String> {
    match metrics.text() {
        Ok(text) => typed(StatusCode::OK, CONTENT_TYPE, text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
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
        let server = Server::probes(LOOPBACK, readiness, shutdown.clone()).unwrap();
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
        let server = Server::metrics(LOOPBACK, Metrics::default()).unwrap();
        let address = server.address().unwrap();
        server.spawn();
        assert_eq!(ask(address, "/metrics").await, ("HTTP/1.1 200 OK".to_owned(), "# EOF\n".to_owned()));
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = Server::metrics(LOOPBACK, Metrics::default()).unwrap();
        let address = first.address().unwrap();
        let error = Server::metrics(address, Metrics::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("the metrics server cannot listen on {address}"));
    }

    fn probes() -> SocketAddr {
        let server = Server::probes(LOOPBACK, Readiness::default(), CancellationToken::new()).unwrap();
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
            assert!(before.elapsed() >= HEADER_TIME, "{sent:?}: closed for another reason");
            assert!(before.elapsed() < CONNECTION_TIME, "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_probe_is_answered_while_the_port_is_flooded() {
        let address = probes();
        let mut flood = Vec::new();
        for _ in 0..4 * CONNECTIONS {
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
        assert!(closed >= flood.len() - CONNECTIONS, "only {closed} of {} were closed", flood.len());
    }
}
