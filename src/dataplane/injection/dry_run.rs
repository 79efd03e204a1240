//! What injection gives a workload now, from a dry run of the API server; if a quota or policy rejects the pod, from istiod
//! itself.

use kube::Client;
use thiserror::Error;
use tokio::sync::OnceCell;

use super::injector::{self, Injector};
use super::probe_pod::ProbePod;
use crate::dataplane::model::{Injected, Pod};
use crate::dataplane::requests;

/// Injection could not be asked.
#[derive(Debug, Error)]
pub enum Error {
    /// The dry run failed.
    #[error("failed to create a pod {namespace}/{prefix}* in a dry run")]
    DryRun {
        /// Namespace of the pod.
        namespace: String,
        /// Prefix of its name.
        prefix: String,
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// The dry run was rejected, and istiod could not be called.
    #[error(
        "dry run of a pod {namespace}/{prefix}* was rejected ({refusal}), and istiod cannot be called instead"
    )]
    Refused {
        /// Namespace of the pod.
        namespace: String,
        /// Prefix of its name.
        prefix: String,
        /// The message of the API server.
        refusal: String,
        /// Why istiod could not be called.
        source: injector::Error,
    },
}

/// Determines what injection gives. Finds istiod once, when it is first needed.
pub struct InjectionDryRun {
    client: Client,
    injector: OnceCell<Injector>,
}

impl InjectionDryRun {
    /// Dry runs through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, injector: OnceCell::new() }
    }

    /// The injected part that `probe` would get now; `None` if nothing would be injected.
    pub async fn inject(&self, probe: &ProbePod) -> Result<Option<Injected>, Error> {
        let (namespace, prefix) = (probe.namespace().to_owned(), probe.name_prefix().to_owned());
        match requests::create::<Pod>(&self.client, &requests::pods_path(&namespace), probe, true).await {
            Ok(pod) => Ok(Injected::from_pod(&pod)),
            Err(kube::Error::Api(status)) if is_rejection(status.code, &status.message) => {
                let refused =
                    |source| Error::Refused { namespace, prefix, refusal: status.message.clone(), source };
                self.ask_istiod(probe).await.map_err(refused)
            }
            Err(source) => Err(Error::DryRun { namespace, prefix, source: Box::new(source) }),
        }
    }

    async fn ask_istiod(&self, probe: &ProbePod) -> Result<Option<Injected>, injector::Error> {
        let injector = self.injector.get_or_try_init(|| Injector::find(&self.client)).await?;
        let pod = injector.inject(probe).await?;
        Ok(Injected::from_pod(&pod).map(|injected| Injected { undefaulted: true, ..injected }))
    }
}

/// Whether quota, policy or validation rejected the pod, rather than that injection failed.
fn is_rejection(code: u16, message: &str) -> bool {
    let injection_failed = message.contains("istio") && message.contains("failed calling webhook");
    matches!(code, 400 | 403 | 422) && !injection_failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rejection_of_the_pod_itself_falls_back_to_istiod() {
        for (code, message, refused) in [
            (403, "pods \"web-\" is forbidden: exceeded quota: small", true),
            (422, "Pod is invalid", true),
            (400, "admission webhook \"policy.example.com\" denied the request", true),
            (500, "Internal error: failed calling webhook \"namespace.sidecar-injector.istio.io\"", false),
            (429, "too many requests", false),
            (404, "namespaces \"x\" not found", false),
        ] {
            assert_eq!(is_rejection(code, message), refused, "{message}");
        }
    }
}
