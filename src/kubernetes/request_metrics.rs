//! Counts requests to the API server under the metric name and labels of Go clients, so that alerts for the Go operator keep
//! working. Each attempt counts, including those for the Lease.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use kube::client::Body;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tower::{BoxError, Service};

/// Label value if there was no response, as in Go's client.
const NO_RESPONSE: &str = "<error>";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    code: String,
    host: String,
    method: String,
}

/// The counts of requests. Cheap to clone; all clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
}

impl RequestMetrics {
    /// Registers the metric.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API server by status code, method and host";
        registry.register("rest_client_requests", help, self.requests.clone());
    }

    /// A client for the same API server, labeled `host`, whose requests are counted.
    pub(super) fn instrument(&self, client: kube::Client, host: &str) -> kube::Client {
        let namespace = client.default_namespace().to_owned();
        kube::Client::new(CountingService { client, host: host.to_owned(), count: self.clone() }, namespace)
    }

    fn record(&self, code: String, host: String, method: &Method) {
        self.requests.get_or_create(&RequestLabels { code, host, method: method.to_string() }).inc();
    }
}

struct CountingService {
    client: kube::Client,
    host: String,
    count: RequestMetrics,
}

impl Service<Request<Body>> for CountingService {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, host, count } = self;
        let (client, host, count) = (client.clone(), host.clone(), count.clone());
        Box::pin(async move {
            let method = request.method().clone();
            let result = client.send(request).await;
            let code = result.as_ref().map(|response| response.status().as_str().to_owned());
            count.record(code.unwrap_or_else(|_| NO_RESPONSE.to_owned()), host, &method);
            result.map_err(|error| match error {
                // The client around this one wraps it again.
                kube::Error::Service(inner) => inner,
                other => other.into(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use tower::service_fn;

    use super::*;

    async fn answer(request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let response = |code: u16| Response::builder().status(code).body(Body::empty());
        match request.uri().path() {
            "/lost" => Err("connection reset".into()),
            "/absent" => Ok(response(404)?),
            _ => Ok(response(200)?),
        }
    }

    #[tokio::test]
    async fn each_request_is_counted_by_its_status() {
        let count = RequestMetrics::default();
        let client = kube::Client::new(service_fn(answer), "default");
        let client = count.instrument(client, "10.96.0.1:443");
        for path in ["/api", "/api", "/absent", "/lost"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let _ = client.send(request).await;
        }
        let mut registry = Registry::default();
        count.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "rest_client_requests_total{code=\"200\",host=\"10.96.0.1:443\",method=\"GET\"} 2",
            "rest_client_requests_total{code=\"404\",host=\"10.96.0.1:443\",method=\"GET\"} 1",
            "rest_client_requests_total{code=\"<error>\",host=\"10.96.0.1:443\",method=\"GET\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in:\n{text}");
        }
    }
}
