//! Starts the restart of one workload. The patch is computed once, so that a retry changes nothing.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::names::RESTARTED_AT_ANNOTATION;
use crate::dataplane::model::Meta;
use crate::dataplane::requests::{self, is_transient};
use crate::dataplane::schedule::stale_workload::{RestartStrategy, StaleWorkload};
use crate::telemetry::format_error_chain;

/// Attempts at a write that fails transiently.
const MAX_ATTEMPTS: u32 = 4;
const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The result of starting a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartResult {
    /// The rollout of this generation started.
    Rolling {
        /// Generation of the workload.
        generation: i64,
        /// Resource version of the workload.
        version: String,
        /// Whether a former write may have succeeded whose response was lost: the rollout may be complete already.
        retried: bool,
    },
    /// The workload does not exist, or another one has its name.
    Gone,
    /// The API server or an admission webhook rejected the restart, with this message.
    Refused(String),
    /// Each time, the API server did not respond or was overloaded, or an admission webhook failed.
    NoResponse(String),
}

#[derive(Deserialize)]
struct PatchedObject {
    metadata: Meta,
}

/// Starts the rollout of a workload. Evictions do not start here.
pub async fn restart(
    client: &Client,
    stale: &StaleWorkload,
    strategy: RestartStrategy,
    at: Timestamp,
) -> StartResult {
    let patch = restart_patch(stale, strategy, at);
    let (mut delay, mut attempt) = (INITIAL_RETRY_DELAY, 1);
    loop {
        let error = match requests::merge_patch::<PatchedObject>(client, &stale.workload, &patch).await {
            Ok(written) => {
                let Meta { generation, resource_version, .. } = written.metadata;
                return StartResult::Rolling { generation, version: resource_version, retried: attempt > 1 };
            }
            Err(error) => error,
        };
        let why = match &error {
            kube::Error::Api(status) if is_gone(status) => return StartResult::Gone,
            kube::Error::Api(status) => status.message.clone(),
            error => format_error_chain(error),
        };
        if !is_conflict(&error) && !is_transient(&error) {
            return StartResult::Refused(why);
        }
        if attempt == MAX_ATTEMPTS {
            return StartResult::NoResponse(why);
        }
        tokio::time::sleep(delay).await;
        delay *= 2;
        attempt += 1;
    }
}

/// Whether the workload does not exist any more. If it was recreated under its name, the API server rejects the UID of the
/// patch as an invalid change.
fn is_gone(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 404
        || (status.code == 422 && causes.into_iter().any(|cause| cause.field == "metadata.uid"))
}

/// The patch has no resource version, so that a conflict comes from a concurrent write, mostly by an admission webhook.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn restart_patch(stale: &StaleWorkload, strategy: RestartStrategy, at: Timestamp) -> Value {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
    let spec = match strategy {
        RestartStrategy::RestartAt => json!({"restartAt": at}),
        RestartStrategy::Template | RestartStrategy::Evict => {
            json!({"template": {"metadata": {"annotations": {RESTARTED_AT_ANNOTATION: at}}}})
        }
    };
    // The UID protects a workload that was recreated under the same name.
    json!({"metadata": {"uid": stale.uid.as_str()}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::dataplane::fixtures::stale_workload;

    /// An API double that responds with these codes, one after the other, and counts the requests.
    fn server(codes: &'static [u16]) -> (Client, Arc<AtomicUsize>) {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let answer = move |_: Request<Body>| {
            let code = codes[counter.fetch_add(1, Ordering::Relaxed).min(codes.len() - 1)];
            let object = match code {
                200 => json!({"metadata": {"generation": 2, "resourceVersion": "7"}}),
                _ => json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "no", "reason": "No", "code": code}),
            };
            let body = Body::from(object.to_string().into_bytes());
            let response = Response::builder().status(code).body(body);
            std::future::ready(response)
        };
        (Client::new(tower::service_fn(answer), "default"), requests)
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_workload_is_no_failure_and_transient_errors_are_retried() {
        let refused = || StartResult::Refused("no".to_owned());
        let no_response = || StartResult::NoResponse("no".to_owned());
        let rolling = |retried| StartResult::Rolling { generation: 2, version: "7".to_owned(), retried };
        let cases: [(&'static [u16], StartResult, usize); 9] = [
            (&[404], StartResult::Gone, 1),
            (&[200], rolling(false), 1),
            (&[409, 409, 200], rolling(true), 3),
            (&[409], no_response(), 4),
            (&[403], refused(), 1),
            (&[503, 403], refused(), 2),
            (&[422], refused(), 1),
            (&[500, 429, 200], rolling(true), 3),
            (&[503], no_response(), 4),
        ];
        for (codes, expected, requests) in cases {
            let (client, counter) = server(codes);
            let started =
                restart(&client, &stale_workload("w"), RestartStrategy::Template, Timestamp::UNIX_EPOCH)
                    .await;
            assert_eq!((started, counter.load(Ordering::Relaxed)), (expected, requests), "{codes:?}");
        }
    }
}
