//! Proof: what injection gives a workload now, asked of the API server in a dry run; where quota or policy refuse that,
//! asked of istiod itself.

use kube::Client;
use thiserror::Error;
use tokio::sync::OnceCell;

use super::injector::{self, Injector};
use super::probe_pod::ProbePod;
use crate::dataplane::injected::Injected;
use crate::dataplane::requests;
use crate::dataplane::types::Pod;

/// Injection could not be asked.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server or a webhook did not answer as it should.
    #[error("the API server cannot show what injection gives pods {prefix}* in {namespace}")]
    DryRun {
        /// Namespace of the pod.
        namespace: String,
        /// Prefix of its name.
        prefix: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The dry run was refused, and istiod could not be asked.
    #[error("pods {prefix}* in {namespace} are refused ({refusal}), and istiod cannot be asked instead")]
    Refused {
        /// Namespace of the pod.
        namespace: String,
        /// Prefix of its name.
        prefix: String,
        /// What the API server said.
        refusal: String,
        /// Why istiod could not be asked.
        source: injector::Error,
    },
}

/// Asks what injection gives. Finds istiod once, when it is first needed.
pub struct InjectionDryRun {
    client: Client,
    injector: OnceCell<Injector>,
}

impl InjectionDryRun {
    /// A prover whose dry runs go over `client`.
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

/// Whether quota, policy or validation refused the pod, rather than that nobody could tell.
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
