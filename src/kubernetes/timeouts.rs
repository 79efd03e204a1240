//! Timeouts of requests, and whether a request may start at all: the pure part of the client with the write fence.
//!
//! Kept although `tower-http` has a `Timeout` layer: that has one duration for all requests. Here the timeout depends on the kind
//! of request, is shortened by the remaining Lease, and the error names the request.

use std::error::Error as StdError;
use std::time::Duration;

use http::{Method, Uri};
use tokio::time::Instant;

use crate::leader::Leadership;

/// Timeouts by kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a read, its complete response included.
    pub read: Duration,
    /// Of a write. The remaining time of the Lease shortens it.
    pub write: Duration,
    /// Of the start of a stream, such as a watch; of each silence in its initial list; and of its end after the time at which the
    /// API server was requested to end it.
    pub stream_start: Duration,
}

impl Default for Limits {
    /// A write may wait for admission webhooks, whose own timeout is 30 s at most, and a read of a large list may wait in the queue
    /// of the API server.
    fn default() -> Self {
        let limit = Duration::from_secs(30);
        Self { read: limit, write: limit, stream_start: limit }
    }
}

/// The kind of a request, by which its timeout is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Changes nothing, and its response ends.
    Read,
    /// Changes nothing, and its response continues.
    Stream,
    /// May change something. Dry runs and access reviews count, too: a standby needs none.
    Write,
}

impl RequestKind {
    /// The kind that follows from the method and the query.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Self::Write;
        }
        let endless = |pair: &str| matches!(pair, "watch=true" | "watch=1" | "follow=true" | "follow=1");
        if uri.query().is_some_and(|query| query.split('&').any(endless)) { Self::Stream } else { Self::Read }
    }
}

/// The options of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// Whether it begins with a list.
    pub has_initial_list: bool,
    /// After which time the API server ends it.
    pub server_timeout: Option<Duration>,
}

impl StreamRequest {
    /// Reads the options from the query.
    #[must_use]
    pub fn of(uri: &Uri) -> Self {
        let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let seconds = pairs.clone().find(|(key, _)| *key == "timeoutSeconds");
        Self {
            has_initial_list: pairs.any(|pair| pair == ("sendInitialEvents", "true")),
            server_timeout: seconds.and_then(|(_, seconds)| seconds.parse().ok()).map(Duration::from_secs),
        }
    }
}

/// The URI of a streaming list that is consistent; `None` for any other request.
///
/// Kept because kube 5 always requests a streaming list of any age (`resourceVersion=0`) and has no option for this. With several
/// API servers such a list can be older than our last write, so that a rollout would seem complete (ADR 12). To be deleted once
/// kube's `watcher` can request a consistent list.
#[must_use]
pub fn consistent_list_uri(uri: &Uri) -> Option<Uri> {
    let query = uri.query()?;
    if !query.split('&').any(|pair| pair == "sendInitialEvents=true") {
        return None;
    }
    let pairs =
        query.split('&').map(|pair| if pair == "resourceVersion=0" { "resourceVersion=" } else { pair });
    let address = format!("{}?{}", uri.path(), pairs.collect::<Vec<_>>().join("&"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(address.parse().ok()?);
    Uri::from_parts(parts).ok()
}

impl Limits {
    /// The timeout of a request of this kind that starts at `now`; `None` if it must not start.
    #[must_use]
    pub fn budget(&self, kind: RequestKind, leadership: &Leadership, now: Instant) -> Option<Duration> {
        match kind {
            RequestKind::Read => Some(self.read),
            RequestKind::Stream => Some(self.stream_start),
            RequestKind::Write => leadership.remaining(now).map(|remaining| remaining.min(self.write)),
        }
    }
}

/// A write that was not sent because this process is not the leader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path} was not sent: this process does not hold the leader election Lease")]
pub struct WriteDenied {
    /// The method of the request.
    pub method: Method,
    /// The path of the request.
    pub path: String,
}

/// A request that timed out. A write may or may not have taken effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path} timed out after {after:?}")]
pub struct RequestTimeout {
    /// The method of the request.
    pub method: Method,
    /// The path of the request.
    pub path: String,
    /// The timeout.
    pub after: Duration,
}

/// The [`WriteDenied`] in an error of the client with the write fence, if there is one.
#[must_use]
pub fn write_denied(error: &kube::Error) -> Option<&WriteDenied> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    if let kube::Error::Service(inner) = error {
        cause = Some(inner.as_ref());
    }
    std::iter::successors(cause, |error| (*error).source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_classified_by_method_and_query() {
        for (method, uri, kind) in [
            (Method::GET, "/api/v1/nodes", RequestKind::Read),
            (Method::GET, "/api/v1/nodes?limit=250&watch=false", RequestKind::Read),
            (Method::GET, "/api/v1/nodes?labelSelector=watch%3Dtrue", RequestKind::Read),
            (Method::GET, "/api/v1/nodes?&watch=true&timeoutSeconds=290", RequestKind::Stream),
            (Method::GET, "/api/v1/namespaces/a/pods/b/log?&follow=true", RequestKind::Stream),
            (Method::POST, "/api/v1/nodes?dryRun=All", RequestKind::Write),
            (Method::PUT, "/api/v1/nodes/a", RequestKind::Write),
            (Method::PATCH, "/api/v1/nodes/a", RequestKind::Write),
            (Method::DELETE, "/api/v1/nodes/a", RequestKind::Write),
        ] {
            assert_eq!(RequestKind::of(&method, &uri.parse().unwrap()), kind, "{method} {uri}");
        }
    }

    #[test]
    fn stream_options_are_read_from_the_query() {
        let minutes = Some(Duration::from_secs(290));
        for (uri, has_initial_list, server_timeout) in [
            ("/api/v1/pods?&watch=true&timeoutSeconds=290&sendInitialEvents=true", true, minutes),
            ("/api/v1/pods?watch=true&timeoutSeconds=290", false, minutes),
            ("/api/v1/namespaces/a/pods/b/log?&follow=true", false, None),
        ] {
            assert_eq!(
                StreamRequest::of(&uri.parse().unwrap()),
                StreamRequest { has_initial_list, server_timeout },
                "{uri}"
            );
        }
    }

    #[test]
    fn a_streamed_list_is_requested_consistent() {
        let streamed = "/api/v1/pods?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=";
        assert_eq!(
            consistent_list_uri(&format!("{streamed}0").parse().unwrap()),
            Some(streamed.parse().unwrap())
        );
        for other in ["/api/v1/pods?&watch=true&resourceVersion=0", "/api/v1/pods"] {
            assert_eq!(consistent_list_uri(&other.parse().unwrap()), None);
        }
    }

    #[test]
    fn a_write_ends_before_the_lease_does() {
        let now = Instant::now();
        let second = Duration::from_secs;
        let limits = Limits { read: second(30), write: second(10), stream_start: second(5) };
        let until = |seconds| Leadership::Leading { until: Some(now + second(seconds)) };
        for (leadership, allowed) in [
            (Leadership::Standby { holder: None }, None),
            (Leadership::Ended, None),
            (until(0), None),
            (until(3), Some(second(3))),
            (until(14), Some(second(10))),
            (Leadership::Leading { until: None }, Some(second(10))),
        ] {
            assert_eq!(limits.budget(RequestKind::Write, &leadership, now), allowed, "{leadership:?}");
            assert_eq!(limits.budget(RequestKind::Read, &leadership, now), Some(second(30)));
            assert_eq!(limits.budget(RequestKind::Stream, &leadership, now), Some(second(5)));
        }
        assert_eq!(limits.budget(RequestKind::Write, &until(3), now + second(4)), None);
    }

    #[test]
    fn a_denied_write_is_found_in_the_error_of_the_client() {
        let denied = WriteDenied { method: Method::PATCH, path: "/api/v1/nodes/a".to_owned() };
        assert_eq!(write_denied(&kube::Error::Service(denied.clone().into())), Some(&denied));
        assert_eq!(write_denied(&kube::Error::LinesCodecMaxLineLengthExceeded), None);
    }
}
