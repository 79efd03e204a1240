//! The client for everything but the Lease: every request has a timeout, and no write starts unless this process is the leader
//! and is not stopping.
//!
//! Kept because the fence must be inside the client: a check before a request is outdated when the request starts, and a retry
//! layer above the fence would repeat writes after the Lease was lost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Service};

use super::body_timeout::DeadlineBody;
use super::connect::Connections;
use super::nesting::DepthLimitedBody;
use super::retry::is_retryable_status;
use super::timeouts::{Limits, RequestKind, RequestTimeout, StreamRequest, WriteDenied, consistent_list_uri};
use crate::leader::Leadership;

/// Delays between attempts; their number limits the attempts.
const RETRY_DELAYS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// Ends all writes of a client permanently, before the Lease is released.
#[derive(Clone, Debug)]
pub struct WriteFence {
    state: Arc<watch::Sender<FenceState>>,
}

#[derive(Debug, Default)]
struct FenceState {
    closed: bool,
    in_flight: usize,
}

/// Counts a write for as long as it exists.
struct InFlight(WriteFence);

impl WriteFence {
    fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(FenceState::default())) }
    }

    /// Denies all further writes, and waits until those in flight have ended.
    pub async fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.state.subscribe().wait_for(|state| state.in_flight == 0).await;
    }

    fn enter(&self) -> Option<InFlight> {
        let entered = self.state.send_if_modified(|state| {
            state.in_flight += usize::from(!state.closed);
            !state.closed
        });
        entered.then(|| InFlight(self.clone()))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.in_flight -= 1);
    }
}

/// A client over `connections` that applies `limits` and writes only while `leadership` allows it, and the fence that ends its
/// writes.
///
/// A denied write fails with [`WriteDenied`] inside [`kube::Error::Service`]; [`super::write_denied`] finds it there.
#[must_use]
pub fn fenced_client(
    connections: Connections,
    leadership: watch::Receiver<Leadership>,
    limits: Limits,
) -> (kube::Client, WriteFence) {
    let fence = WriteFence::new();
    let namespace = connections.requests.default_namespace().to_owned();
    let fenced = FencedClient { connections, leadership, limits, fence: fence.clone() };
    (kube::Client::new(fenced, namespace), fence)
}

/// A client over `connections` that applies `limits` and always writes: for command-line users, who hold no Lease.
#[must_use]
pub fn limited_client(connections: Connections, limits: Limits) -> kube::Client {
    // The last value remains readable after its sender is dropped.
    let (_, leadership) = watch::channel(Leadership::Leading { until: None });
    fenced_client(connections, leadership, limits).0
}

struct FencedClient {
    connections: Connections,
    leadership: watch::Receiver<Leadership>,
    limits: Limits,
    fence: WriteFence,
}

impl FencedClient {
    /// Admits one request: its deadline and, for a write, its entry among the writes in flight.
    fn admit(&self, kind: RequestKind, now: Instant) -> Option<(RequestDeadline, Option<InFlight>)> {
        let after = self.limits.budget(kind, &self.leadership.borrow(), now)?;
        let in_flight = match kind {
            RequestKind::Write => Some(self.fence.enter()?),
            RequestKind::Read | RequestKind::Stream => None,
        };
        Some((RequestDeadline { after, deadline: now + after }, in_flight))
    }
}

#[derive(Clone, Copy)]
struct RequestDeadline {
    after: std::time::Duration,
    deadline: Instant,
}

impl Service<Request<Body>> for FencedClient {
    type Response = Response<DeadlineBody<DepthLimitedBody>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(fresh) = consistent_list_uri(request.uri()) {
            *request.uri_mut() = fresh;
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        tracing::trace!(%method, uri = %request.uri(), "requesting");
        let kind = RequestKind::of(&method, request.uri());
        let stream = StreamRequest::of(request.uri());
        let Some((limit, in_flight)) = self.admit(kind, Instant::now()) else {
            return Box::pin(async { Err(WriteDenied { method, path }.into()) });
        };
        let Connections { requests, streams } = &self.connections;
        let client = match kind {
            RequestKind::Stream => streams.clone(),
            RequestKind::Read | RequestKind::Write => requests.clone(),
        };
        Box::pin(async move {
            let timed_out = RequestTimeout { method, path, after: limit.after };
            let limit_depth = |body| DepthLimitedBody::new(body, &timed_out.path);
            let result = timeout_at(limit.deadline, send_with_retries(&client, request)).await;
            drop(in_flight);
            let response = result.map_err(|_| timed_out.clone())??.map(limit_depth);
            Ok(response.map(|body| match kind {
                RequestKind::Stream => stream.limit_body(body, timed_out),
                RequestKind::Read | RequestKind::Write => {
                    DeadlineBody::until(body, limit.deadline, timed_out)
                }
            }))
        })
    }
}

impl StreamRequest {
    /// Limits the body of a stream whose start has the timeout `start`.
    fn limit_body(self, body: DepthLimitedBody, start: RequestTimeout) -> DeadlineBody<DepthLimitedBody> {
        let body = match self.server_timeout {
            Some(served) => {
                let after = served + start.after;
                let error = RequestTimeout { after, ..start.clone() };
                DeadlineBody::until(body, Instant::now() + after, error)
            }
            None => DeadlineBody::endless(body),
        };
        if self.has_initial_list { body.with_list(start) } else { body }
    }
}

/// Sends a request, and repeats reads and deletions if the API server is busy or the connection is lost.
///
/// Kept instead of kube's `RetryPolicy`, which repeats writes, too, does not repeat after 500, 502 or a lost connection, and waits
/// up to 1000 s. Without repetition, an uninstallation with about 60 requests hardly ever completes if one in ten fails (ADR 10).
async fn send_with_retries(
    client: &kube::Client,
    request: Request<Body>,
) -> Result<Response<Body>, kube::Error> {
    let (parts, body) = request.into_parts();
    let mut delays = RETRY_DELAYS.iter();
    let may_repeat = matches!(parts.method, http::Method::GET | http::Method::DELETE);
    let copy = body.try_clone().filter(|_| may_repeat);
    let Some(copy) = copy else { return client.send(Request::from_parts(parts, body)).await };
    loop {
        let body_copy = copy.try_clone().unwrap_or_else(Body::empty);
        let result = client.send(Request::from_parts(parts.clone(), body_copy)).await;
        let is_transient = match &result {
            Ok(response) => is_retryable_status(response.status().as_u16()),
            Err(_) => true,
        };
        match delays.next().filter(|_| is_transient) {
            Some(delay) => tokio::time::sleep(*delay).await,
            None => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use fake_apiserver::{FakeApiServer, Fault, Occurrence, RequestMatcher};
    use futures::FutureExt;
    use serde_json::json;
    use tokio::time::sleep;

    use super::*;
    use crate::kubernetes::write_denied;

    const SECOND: Duration = Duration::from_secs(1);

    /// A server with the nodes `a` and `b` that answers after a while.
    fn server(delay: Duration) -> FakeApiServer {
        let server = FakeApiServer::new();
        for name in ["a", "b"] {
            server.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}));
        }
        server.fail(RequestMatcher::any(), Occurrence::Always, Fault::Delay(delay));
        server
    }

    struct Bench {
        client: kube::Client,
        fence: WriteFence,
        publish: watch::Sender<Leadership>,
        server: FakeApiServer,
    }

    /// A guarded client with limits of 30 s in front of a server that takes `delay`.
    fn bench(delay: Duration, leadership: Leadership) -> Bench {
        let server = server(delay);
        let (publish, leadership) = watch::channel(leadership);
        let client = server.client();
        let connections = Connections { requests: client.clone(), streams: client };
        let (client, gate) = fenced_client(connections, leadership, Limits::default());
        Bench { client, fence: gate, publish, server }
    }

    async fn send(client: &kube::Client, method: &str, uri: &str) -> Result<String, kube::Error> {
        let patch = "application/merge-patch+json";
        let request = Request::builder().method(method).uri(uri).header(http::header::CONTENT_TYPE, patch);
        client.request_text(request.body(b"{}".to_vec()).unwrap()).await
    }

    fn leading_for(seconds: u64) -> Leadership {
        Leadership::Leading { until: Some(Instant::now() + Duration::from_secs(seconds)) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_reads_but_its_writes_never_reach_the_server() {
        let bench = bench(Duration::ZERO, Leadership::Standby { holder: None });
        send(&bench.client, "GET", "/api/v1/nodes").await.unwrap();
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let error = send(&bench.client, method, "/api/v1/nodes/a?x=y").await.unwrap_err();
            let denied = write_denied(&error).unwrap();
            assert_eq!((denied.method.as_str(), denied.path.as_str()), (method, "/api/v1/nodes/a"));
        }
        assert_eq!(bench.server.requests().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_leader_writes_until_its_lease_ends_or_is_renewed() {
        let bench = bench(Duration::ZERO, leading_for(10));
        send(&bench.client, "PATCH", "/api/v1/nodes/a").await.unwrap();
        sleep(10 * SECOND).await;
        let error = send(&bench.client, "PATCH", "/api/v1/nodes/a").await.unwrap_err();
        assert!(write_denied(&error).is_some(), "{error}");
        bench.publish.send_replace(leading_for(10));
        send(&bench.client, "PATCH", "/api/v1/nodes/a").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_write_times_out_before_the_lease_ends() {
        let bench = bench(Duration::from_secs(3600), leading_for(9));
        let started = Instant::now();
        let error = send(&bench.client, "PATCH", "/api/v1/nodes/a").await.unwrap_err();
        assert!(write_denied(&error).is_none());
        assert!(error.to_string().contains("PATCH /api/v1/nodes/a timed out after"), "{error}");
        let waited = started.elapsed();
        assert!(waited >= 8 * SECOND && waited <= 9 * SECOND + SECOND / 100, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_read_times_out_on_leader_and_standby() {
        let bench = bench(Duration::from_secs(3600), Leadership::Standby { holder: None });
        let error = send(&bench.client, "GET", "/api/v1/nodes").await.unwrap_err();
        assert!(error.to_string().contains("GET /api/v1/nodes timed out after 30s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_have_a_connection_of_their_own() {
        let servers = [(); 2].map(|()| server(Duration::ZERO));
        let [requests, streams] = servers.each_ref().map(FakeApiServer::client);
        let connections = Connections { requests, streams };
        let (_lead, leadership) = watch::channel(Leadership::Leading { until: None });
        let (client, _gate) = fenced_client(connections, leadership, Limits::default());
        let watch = "/api/v1/nodes?watch=true&timeoutSeconds=1";
        for (method, uri) in [("GET", "/api/v1/nodes"), ("PATCH", "/api/v1/nodes/a"), ("GET", watch)] {
            send(&client, method, uri).await.unwrap();
        }
        assert_eq!(servers.map(|server| server.requests().len()), [2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_fence_waits_for_writes_in_flight_and_stops_new_ones() {
        let bench = bench(5 * SECOND, Leadership::Leading { until: None });
        let (client, gate) = (bench.client.clone(), bench.fence.clone());
        let write = tokio::spawn(async move { send(&client, "PATCH", "/api/v1/nodes/a").await });
        sleep(SECOND).await;
        assert!(tokio::time::timeout(SECOND, gate.close()).await.is_err(), "closed with a write under way");
        let error = send(&bench.client, "PATCH", "/api/v1/nodes/b").await.unwrap_err();
        assert!(write_denied(&error).is_some(), "{error}");
        gate.close().await;
        assert!(write.now_or_never().is_some(), "closed before the write had ended");
        assert_eq!(bench.server.requests().len(), 1);
    }
}
