//! Faults that a test sets: which requests meet them, and what happens to those.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::error::{reason, status};
use crate::request::{ApiRequest, Verb};

type Predicate = Arc<dyn Fn(&ApiRequest) -> bool + Send + Sync>;

/// Selects requests; one that says nothing selects all.
#[derive(Clone, Default)]
pub struct RequestMatcher {
    verb: Option<Verb>,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
    predicate: Option<Predicate>,
}

impl fmt::Debug for RequestMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.verb, self.resource, self.name)
    }
}

impl RequestMatcher {
    /// All requests.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests with this verb.
    #[must_use]
    pub fn verb(verb: Verb) -> Self {
        Self { verb: Some(verb), ..Self::default() }
    }

    /// Requests that store something.
    #[must_use]
    pub fn writes() -> Self {
        Self::default().matching(ApiRequest::is_write)
    }

    /// Of those, the requests for this resource, by its plural.
    #[must_use]
    pub fn resource(self, plural: &str) -> Self {
        Self { resource: Some(plural.to_owned()), ..self }
    }

    /// Of those, the requests in this namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Of those, the requests for the object of this name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Of those, the requests for this subresource; an empty one stands for the object itself.
    #[must_use]
    pub fn subresource(self, subresource: &str) -> Self {
        Self { subresource: Some(subresource.to_owned()), ..self }
    }

    /// Of those, the requests for which `predicate` holds.
    #[must_use]
    pub fn matching(self, predicate: impl Fn(&ApiRequest) -> bool + Send + Sync + 'static) -> Self {
        Self { predicate: Some(Arc::new(predicate)), ..self }
    }

    /// Whether a request is one of them.
    #[must_use]
    pub fn matches(&self, request: &ApiRequest) -> bool {
        let is =
            |wanted: &Option<String>, actual: &str| wanted.as_deref().is_none_or(|wanted| wanted == actual);
        self.verb.is_none_or(|verb| verb == request.verb)
            && is(&self.resource, &request.resource)
            && is(&self.namespace, &request.namespace)
            && is(&self.name, &request.name)
            && is(&self.subresource, &request.subresource)
            && self.predicate.as_ref().is_none_or(|predicate| predicate(request))
    }
}

/// Which of the selected requests meet a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrence {
    /// The one with this number, from 1.
    Nth(usize),
    /// So many, from the first on.
    First(usize),
    /// All.
    Always,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered with this code and body, and not carried out.
    Answer(u16, Value),
    /// It gets no answer and is not carried out, as if the connection broke on the way there.
    Drop,
    /// It is carried out and gets no answer, as if the connection broke on the way back.
    LoseAnswer,
    /// It is carried out after this time.
    Delay(Duration),
    /// It is carried out when the fault is released.
    Hold,
}

impl Fault {
    /// A `Status` with this code, the reason that belongs to it, and a message.
    #[must_use]
    pub fn status(code: u16, message: &str) -> Self {
        Self::Answer(code, status(code, reason(code), message))
    }
}

/// A fault that is set. It stays when the handle is dropped.
#[derive(Clone, Debug)]
pub struct FaultHandle {
    pub(crate) counters: Arc<Counters>,
    pub(crate) release: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicUsize,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
}

impl FaultHandle {
    /// Requests that met the fault.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.counters.hits.load(Ordering::Relaxed)
    }

    /// Requests that are delayed or held now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.counters.in_flight.load(Ordering::Relaxed)
    }

    /// The most requests that were delayed or held at the same time.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.counters.max_in_flight.load(Ordering::Relaxed)
    }

    /// Ends the fault: requests that are held go on, and no others meet it.
    pub fn release(&self) {
        self.release.send_replace(true);
    }
}

/// Counts a request for as long as it is delayed or held.
pub(crate) struct InFlight(Arc<Counters>);

impl InFlight {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        let now = counters.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        counters.max_in_flight.fetch_max(now, Ordering::Relaxed);
        Self(counters.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One fault with the requests that meet it.
pub(crate) struct FaultRule {
    matcher: RequestMatcher,
    occurrence: Occurrence,
    fault: Fault,
    seen: usize,
    handle: FaultHandle,
}

impl FaultRule {
    pub(crate) fn new(matcher: RequestMatcher, occurrence: Occurrence, fault: Fault) -> Self {
        let handle = FaultHandle { counters: Arc::default(), release: watch::Sender::new(false) };
        Self { matcher, occurrence, fault, seen: 0, handle }
    }

    pub(crate) fn handle(&self) -> FaultHandle {
        self.handle.clone()
    }

    /// Takes a request into account; whether it meets the fault.
    pub(crate) fn observe(&mut self, request: &ApiRequest) -> bool {
        if *self.handle.release.borrow() || !self.matcher.matches(request) {
            return false;
        }
        self.seen += 1;
        match self.occurrence {
            Occurrence::Nth(number) => self.seen == number,
            Occurrence::First(count) => self.seen <= count,
            Occurrence::Always => true,
        }
    }

    /// The fault, which a request meets now.
    pub(crate) fn strike(&self) -> (Fault, FaultHandle) {
        self.handle.counters.hits.fetch_add(1, Ordering::Relaxed);
        (self.fault.clone(), self.handle.clone())
    }
}
