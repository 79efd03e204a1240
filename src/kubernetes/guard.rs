//! The client for everything but the Lease: each request has a time limit, and no write starts unless this process
//! leads and has not begun to stop.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Service};

use super::deadline::DeadlineBody;
use super::limits::{Kind, Limits, RequestTimeout, WriteDenied};
use crate::leader::Leadership;

/// Ends the writing of a guarded client for good, before the Lease is given up.
#[derive(Clone, Debug)]
pub struct WriteGate {
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    in_flight: usize,
}

/// Counts a write for as long as it exists.
struct InFlight(WriteGate);

impl WriteGate {
    fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(GateState::default())) }
    }

    /// Refuses all writes from now on and waits until those under way have ended.
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

/// A client over the connections of `client` that keeps to `limits` and writes only while `leadership` allows it,
/// and the gate that ends its writing.
///
/// A refused write fails with [`WriteDenied`] inside [`kube::Error::Service`]; [`super::write_denied`] finds it there.
#[must_use]
pub fn guarded(
    client: kube::Client,
    leadership: watch::Receiver<Leadership>,
    limits: Limits,
) -> (kube::Client, WriteGate) {
    let gate = WriteGate::new();
    let namespace = client.default_namespace().to_owned();
    let guard = Guard { client, leadership, limits, gate: gate.clone() };
    (kube::Client::new(guard, namespace), gate)
}

struct Guard {
    client: kube::Client,
    leadership: watch::Receiver<Leadership>,
    limits: Limits,
    gate: WriteGate,
}

impl Guard {
    /// Decides about one request: how long it may take and, for a write, its mark as being under way.
    fn admit(&self, kind: Kind, now: Instant) -> Option<(RequestLimit, Option<InFlight>)> {
        let after = self.limits.budget(kind, &self.leadership.borrow(), now)?;
        let mark = match kind {
            Kind::Write => Some(self.gate.enter()?),
            Kind::Read | Kind::Stream => None,
        };
        Some((RequestLimit { after, deadline: now + after }, mark))
    }
}

#[derive(Clone, Copy)]
struct RequestLimit {
    after: std::time::Duration,
    deadline: Instant,
}

impl Service<Request<Body>> for Guard {
    type Response = Response<DeadlineBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let kind = Kind::of(&method, request.uri());
        let Some((limit, mark)) = self.admit(kind, Instant::now()) else {
            return Box::pin(async { Err(WriteDenied { method, path }.into()) });
        };
        let client = self.client.clone();
        Box::pin(async move {
            let timed_out = RequestTimeout { method, path, after: limit.after };
            let answer = timeout_at(limit.deadline, client.send(request)).await;
            drop(mark);
            let response = answer.map_err(|_| timed_out.clone())??;
            Ok(response.map(|body| match kind {
                Kind::Stream => DeadlineBody::endless(body),
                Kind::Read | Kind::Write => DeadlineBody::until(body, limit.deadline, timed_out),
            }))
        })
    }
}
