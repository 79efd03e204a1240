//! Catches one write on its way through the fault proxy: the API server does it, but its answer is held back. Whoever dies
//! then has written, and does not know it.

use std::sync::{Mutex, PoisonError};

use axum::http::{Method, Uri};
use tokio::sync::oneshot;

use crate::fault_proxy::FaultProxyError;

/// The write that is waited for, if one is.
#[derive(Debug, Default)]
pub(crate) struct Traps(Mutex<Option<Trap>>);

/// What is done with the answer to the write.
#[derive(Debug)]
pub(crate) struct Trap {
    method: Method,
    path: String,
    caught: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

/// The other side of a trap. The answer goes on its way when this is dropped.
#[derive(Debug)]
pub struct HeldAnswer {
    what: String,
    caught: oneshot::Receiver<()>,
    _release: oneshot::Sender<()>,
}

impl HeldAnswer {
    /// Waits until the write was done.
    pub async fn caught(&mut self) -> Result<(), FaultProxyError> {
        let caught = (&mut self.caught).await;
        caught.map_err(|_| FaultProxyError::NotCaught { what: self.what.clone() })
    }
}

impl Traps {
    /// Sets the trap, in place of one that caught nothing.
    pub(crate) fn set(&self, method: Method, path: &str) -> HeldAnswer {
        let (catch, caught) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let what = format!("{method} {path}");
        let trap = Trap { method, path: path.to_owned(), caught: catch, released };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
        HeldAnswer { what, caught, _release: release }
    }

    /// The trap, if this request is the one. Dry runs change nothing and are let through.
    pub(crate) fn spring(&self, method: &Method, uri: &Uri) -> Option<Trap> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let is_it =
            |trap: &mut Trap| trap.method == method && path.contains(&trap.path) && !path.contains("dryRun=");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take_if(is_it)
    }
}

impl Trap {
    /// Tells that the write was done, and holds its answer until the other side lets it go.
    pub(crate) async fn hold_answer(self) {
        // Nobody may be left to be told, or to let go: then it goes on at once.
        let _caught = self.caught.send(());
        let _released = self.released.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_matching_write_is_caught_and_only_once() {
        let traps = Traps::default();
        let _answer = traps.set(Method::PATCH, "/deployments/istiod?");
        let springs = |method: Method, path: &'static str| traps.spring(&method, &Uri::from_static(path));
        for (method, path) in [
            (Method::GET, "/deployments/istiod?"),
            (Method::PATCH, "/deployments/other?"),
            (Method::PATCH, "/deployments/istiod?dryRun=All"),
        ] {
            assert!(springs(method, path).is_none(), "{path}");
        }
        assert!(springs(Method::PATCH, "/deployments/istiod?force=true").is_some());
        assert!(springs(Method::PATCH, "/deployments/istiod?force=true").is_none());
    }
}
