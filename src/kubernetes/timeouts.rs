//! How long a request may take, and whether it may start at all: the pure part of the guarded client.

use std::error::Error as StdError;
use std::time::Duration;

use http::{Method, Uri};
use tokio::time::Instant;

use crate::leader::Leadership;

/// The longest that requests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a request that reads, its whole answer included.
    pub read: Duration,
    /// For a request that writes. What remains of the Lease shortens it further.
    pub write: Duration,
    /// For the start of an answer that then goes on as events happen, such as a watch; for each silence in the list with
    /// which it may begin; and for its end after the time that the API server was asked to end it.
    pub stream_start: Duration,
}

impl Default for Limits {
    /// A write may wait for admission webhooks, whose own limit is 30 s at the most; so may a read of a large list
    /// for its turn in the API server's queue.
    fn default() -> Self {
        let limit = Duration::from_secs(30);
        Self { read: limit, write: limit, stream_start: limit }
    }
}

/// What kind of request it is, as far as its limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// It changes nothing and its answer ends.
    Read,
    /// It changes nothing and its answer goes on.
    Stream,
    /// It may change something. Dry runs and reviews count as well: a standby has no use for them.
    Write,
}

impl RequestKind {
    /// Tells the kind from the method and the query.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Self::Write;
        }
        let endless = |pair: &str| matches!(pair, "watch=true" | "watch=1" | "follow=true" | "follow=1");
        if uri.query().is_some_and(|query| query.split('&').any(endless)) { Self::Stream } else { Self::Read }
    }
}

/// What an answer that goes on was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// Whether it begins with a list.
    pub has_initial_list: bool,
    /// When the API server ends it.
    pub server_timeout: Option<Duration>,
}

impl StreamRequest {
    /// What the query asks for.
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

/// The address of a streamed list, asking for the present; `None` for any other request.
///
/// kube asks for a list of any age there, which may be older than what we wrote a moment ago.
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
    /// How long a request of this kind may take that starts at `now`, or `None` if it must not start.
    #[must_use]
    pub fn budget(&self, kind: RequestKind, leadership: &Leadership, now: Instant) -> Option<Duration> {
        match kind {
            RequestKind::Read => Some(self.read),
            RequestKind::Stream => Some(self.stream_start),
            RequestKind::Write => leadership.remaining(now).map(|remaining| remaining.min(self.write)),
        }
    }
}

/// A write that was not sent because this process does not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path} was not sent: this process does not hold the Lease that allows it to write")]
pub struct WriteDenied {
    /// The method of the request.
    pub method: Method,
    /// The path of the request.
    pub path: String,
}

/// A request that took too long. A write may or may not have had its effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path} was given up after {after:?} without an answer")]
pub struct RequestTimeout {
    /// The method of the request.
    pub method: Method,
    /// The path of the request.
    pub path: String,
    /// How long it was waited for.
    pub after: Duration,
}

/// The [`WriteDenied`] behind an error of the guarded client, if that is what it is.
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
    fn a_denied_write_is_recognised_behind_the_clients_error() {
        let denied = WriteDenied { method: Method::PATCH, path: "/api/v1/nodes/a".to_owned() };
        assert_eq!(write_denied(&kube::Error::Service(denied.clone().into())), Some(&denied));
        assert_eq!(write_denied(&kube::Error::LinesCodecMaxLineLengthExceeded), None);
    }
}
