//! A Kubernetes API server in this process, for tests: no sockets, no threads, on tokio's paused time.
//!
//! It stands between unit tests, which have no API, and tests on a control plane, which take minutes. It serves the verbs
//! of the API on a store of objects (versions, UIDs, generations, finalizers, managed fields), streams watches, and
//! carries out faults that a test sets. What controllers and kubelets do are [`rules`] that a test adds.
//!
//! It must not know what is tested with it, and where it differs from a real API server it refuses rather than guesses:
//! there are no schemas, defaults, validation, conversion, or permissions. What depends on these belongs to the control
//! plane.
//!
//! ```
//! use fake_apiserver::{FakeApiServer, Fault, Occurrence, RequestMatcher, Verb};
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::Api;
//! use serde_json::json;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let server = FakeApiServer::new();
//! server.put(json!({"apiVersion": "v1", "kind": "ConfigMap",
//!     "metadata": {"name": "settings", "namespace": "default"}, "data": {"a": "1"}}));
//!
//! let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
//! assert_eq!(api.get("settings").await.unwrap().data.unwrap()["a"], "1");
//!
//! // The next read fails; what a test asserts are the requests and the objects.
//! server.fail(RequestMatcher::verb(Verb::Get), Occurrence::First(1), Fault::status(403, "not you"));
//! assert!(api.get("settings").await.is_err());
//! assert_eq!(server.requests().len(), 2);
//! # });
//! ```

#![allow(clippy::must_use_candidate, reason = "what a test sets up is mostly set up for its effect")]

mod error;
mod faults;
mod fields;
mod kinds;
mod managed;
mod request;
pub mod rules;
mod selectors;
mod service;
mod store;
mod stream;

use std::sync::Arc;

use serde_json::{Value, json};

pub use self::faults::{Fault, FaultHandle, Occurrence, RequestMatcher};
pub use self::request::{ApiRequest, Verb};
pub use self::rules::{ChangeType, ObjectChange, Reaction};
pub use self::service::{ApiService, ConnectionReset};
pub use self::stream::{AnswerBody, WatchBody};

use self::faults::FaultRule;
use self::kinds::Kind;
use self::store::{Shared, Target};

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];

/// An API server. Cheap to clone; all clones are the same server.
///
/// Resources are named by their plural, with their group (`gateways.networking.istio.io`) where the plural is not unique.
/// The namespace of a cluster-wide object is empty.
#[derive(Clone)]
pub struct FakeApiServer {
    shared: Arc<Shared>,
}

impl Default for FakeApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeApiServer {
    /// A server of Kubernetes' own kinds with the namespaces `default`, `kube-public` and `kube-system`.
    #[must_use]
    pub fn new() -> Self {
        let server = Self { shared: Shared::new() };
        for name in NAMESPACES {
            server.put_namespace(name, &json!({}));
        }
        server
    }

    /// The server as a service.
    #[must_use]
    pub fn service(&self) -> ApiService {
        ApiService { shared: self.shared.clone() }
    }

    /// A client of the server.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// Serves a further kind, as if a CustomResourceDefinition had been established.
    pub fn serve(&self, group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) {
        self.shared.lock().kinds.push(Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
            custom: true,
        });
    }

    /// Sets the version that `/version` reports.
    pub fn set_version(&self, git_version: &str) {
        git_version.clone_into(&mut self.shared.lock().git_version);
    }

    /// Whether lists can be streamed by watches, as by default since Kubernetes 1.34; they can, unless set otherwise.
    pub fn set_streaming_lists(&self, served: bool) {
        self.shared.lock().streams_lists = served;
    }

    /// Whether definitions are established as soon as they are written; they are, unless set otherwise.
    pub fn set_establish_crds(&self, established: bool) {
        self.shared.lock().establishes_crds = established;
    }

    /// What access reviews answer; yes, unless set otherwise.
    pub fn set_allowed(&self, allowed: bool) {
        self.shared.lock().allowed = allowed;
    }

    /// Objects of one page at most, whatever limit a client asks for.
    pub fn set_page_limit(&self, objects: usize) {
        self.shared.lock().page_limit = objects;
    }

    // ---- objects ----

    /// Stores an object as it is, its status included. One that is there keeps its UID, unless the object has another.
    /// No admission, no managed fields but those of the object. Returns what is stored.
    ///
    /// # Panics
    /// If the kind is not served.
    #[allow(clippy::needless_pass_by_value, reason = "callers write the object where it is needed")]
    #[allow(clippy::panic, reason = "a test that stores what is not served cannot go on")]
    pub fn put(&self, object: Value) -> Value {
        match self.shared.lock().put(&object) {
            Some(stored) => stored,
            None => panic!("{} {} is not served", object["apiVersion"], object["kind"]),
        }
    }

    /// Stores a namespace with these labels.
    pub fn put_namespace(&self, name: &str, labels: &Value) {
        self.put(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
            "status": {"phase": "Active"}}),
        );
    }

    /// An object, if it is there.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.shared.lock();
        let target = Target { kind: state.kind_of_plural(resource)?, namespace: namespace.to_owned() };
        state.get(&target.key(name)).map(|object| (**object).clone())
    }

    /// The objects of a resource in one namespace, or in all if `namespace` is empty.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let state = self.shared.lock();
        let Some(kind) = state.kind_of_plural(resource) else { return Vec::new() };
        let target = Target { kind, namespace: namespace.to_owned() };
        state.select(&target, "", "").cloned().collect()
    }

    /// Changes an object by a merge patch as another client, of which the managed fields tell; `status` in the patch is
    /// written as the status. `None` if there is no such object.
    #[allow(clippy::needless_pass_by_value, reason = "callers write the patch where it is needed")]
    pub fn patch_as(
        &self,
        manager: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Option<Value> {
        self.shared.lock().patch_as(manager, resource, namespace, name, &patch)
    }

    /// Applies an object on the server's side as another client, forced. `None` if it is refused.
    #[allow(clippy::needless_pass_by_value, reason = "callers write the object where it is needed")]
    pub fn apply_as(&self, manager: &str, object: Value) -> Option<Value> {
        self.shared.lock().apply_as(manager, &object)
    }

    /// Deletes an object as another client; finalizers keep it. Tells whether it is gone.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let mut state = self.shared.lock();
        let Some(kind) = state.kind_of_plural(resource) else { return true };
        let key = Target { kind, namespace: namespace.to_owned() }.key(name);
        state.delete(&key).is_none()
    }

    /// Waits until an object changes after `seen`, and returns the version of the store then.
    pub async fn changed_after(&self, seen: u64) -> u64 {
        let mut changed = self.shared.lock().changed.subscribe();
        let version = changed.wait_for(|version| *version > seen).await.map(|version| *version);
        version.unwrap_or(seen)
    }

    /// The version of the store.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.lock().version
    }

    // ---- behavior ----

    /// Adds a rule: what controllers or kubelets do when an object changes. It must come to rest: its reactions are changes
    /// that it sees, too.
    pub fn rule(&self, rule: impl Fn(&ObjectChange<'_>) -> Vec<Reaction> + Send + Sync + 'static) {
        self.shared.lock().rules.push(Arc::new(rule));
    }

    /// Adds a mutating admission of one resource, by its plural: it may change each object that a client writes, in dry
    /// runs as well.
    pub fn admission(&self, plural: &str, admit: impl Fn(&ApiRequest, &mut Value) + Send + Sync + 'static) {
        self.shared.lock().admission.push((plural.to_owned(), Arc::new(admit)));
    }

    /// Sets a fault. Of several that a request meets, the one that was set first counts.
    pub fn fail(&self, requests: RequestMatcher, occurrence: Occurrence, fault: Fault) -> FaultHandle {
        let rule = FaultRule::new(requests, occurrence, fault);
        let handle = rule.handle();
        self.shared.lock().faults.push(rule);
        handle
    }

    /// Ends all open watches, as a restart of the server does.
    pub fn end_watches(&self) {
        let mut state = self.shared.lock();
        state.epoch += 1;
        state.wake();
    }

    /// Forgets the changes so far: watches from older versions and lists under way are refused with `410 Expired`.
    pub fn expire_history(&self) {
        let mut state = self.shared.lock();
        state.expired = state.version;
    }

    // ---- requests ----

    /// The requests so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<ApiRequest> {
        self.shared.lock().requests.clone()
    }

    /// The requests so far that `matcher` selects.
    #[must_use]
    pub fn matching(&self, matcher: &RequestMatcher) -> Vec<ApiRequest> {
        self.shared.lock().requests.iter().filter(|request| matcher.matches(request)).cloned().collect()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.lock().requests.clear();
    }
}
