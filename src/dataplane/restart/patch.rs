//! Restarts one workload. What is written is fixed beforehand, so that a repeated write changes nothing.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::names::RESTARTED_AT_ANNOTATION;
use crate::dataplane::requests::{self, is_transient};
use crate::dataplane::schedule::stale_workload::{RestartStrategy, StaleWorkload};
use crate::dataplane::types::Meta;
use crate::telemetry::format_error_chain;

/// Writes that meet an API server in trouble are tried so often.
const MAX_ATTEMPTS: u32 = 4;
const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(200);

/// What became of the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartResult {
    /// The workload rolls out its template of this generation, which the API server stored under this version.
    Rolling {
        /// Generation.
        generation: i64,
        /// Resource version.
        version: String,
        /// Whether a write before may have begun it, whose answer was lost: the rollout may be over by now.
        retried: bool,
    },
    /// The workload is gone, or another has its name.
    Gone,
    /// The API server or a webhook refused, in these words.
    Refused(String),
    /// The API server did not answer or was busy, or a webhook failed, each time.
    NoResponse(String),
}

#[derive(Deserialize)]
struct PatchedObject {
    metadata: Meta,
}

/// Begins the rollout of a workload. Evictions are not begun here.
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

/// Whether there is no such workload any more. One that was made anew under its name keeps its UID, which the API server
/// tells as an invalid change of it.
fn is_gone(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 404
        || (status.code == 422 && causes.into_iter().any(|cause| cause.field == "metadata.uid"))
}

/// The patch names no version, so that only somebody else's write, an admission webhook's above all, can be in its way.
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
    // The UID guards a workload that was made anew under the same name.
    json!({"metadata": {"uid": stale.uid}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::dataplane::fixtures::stale_workload;

    /// An API server that answers with these codes, one after the other, and counts the requests.
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
    async fn a_deleted_workload_is_no_failure_and_a_busy_api_server_is_retried() {
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
