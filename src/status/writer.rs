//! The one task that writes the status of `Istio` resources: it merges reports and limits how often it writes. What a report
//! becomes is decided in `merge`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::bound::{bounded, without_data_plane};
use super::events::event_of_change;
use super::merge::{ControlPlaneReport, DataPlaneReport, merge, merge_data_plane};
use super::patch::{Error, replace_status};
use super::publisher::EventPublisher;
use super::{Progress, ReportedResource, StatusReport};
use crate::api::{Istio, IstioStatus};
use crate::telemetry::format_error_chain;

/// Controller that the Events name.
const CONTROLLER: &str = "istio-manager";

/// Minimum interval between writes of progress for one resource, and the delay after a failed write.
const WRITE_INTERVAL: Duration = Duration::from_secs(2);

/// Creates reporters, whose reports one task writes.
#[derive(Clone, Debug)]
pub struct StatusWriter {
    reports: mpsc::UnboundedSender<(Arc<ReportedResource>, StatusReport)>,
}

/// The writing side of one resource.
struct Slot {
    subject: Arc<ReportedResource>,
    written: IstioStatus,
    /// How the last reconcile of the control plane ended.
    control_plane: Option<ControlPlaneReport>,
    pending: Option<StatusReport>,
    /// Independent of `pending`: neither part of the status replaces the other.
    pending_data_plane: Option<Box<DataPlaneReport>>,
    not_before: Instant,
}

impl Slot {
    fn is_pending(&self) -> bool {
        self.pending.is_some() || self.pending_data_plane.is_some()
    }
}

impl StatusWriter {
    /// Starts the writing task, which ends when all reporters are gone.
    #[must_use]
    pub fn start(client: Client, reporting_instance: String) -> Self {
        let (reports, received) = mpsc::unbounded_channel();
        let publisher = EventPublisher::new(client.clone(), CONTROLLER, reporting_instance, "Reconcile");
        tokio::spawn(run(client, publisher, received));
        Self { reports }
    }

    /// A reporter for one reconcile of `resource`.
    #[must_use]
    pub fn report_on(&self, resource: &Istio) -> Progress {
        Progress {
            subject: Arc::new(ReportedResource::of(resource)),
            prefix: String::new(),
            reports: self.reports.clone(),
        }
    }
}

async fn run(
    client: Client,
    publisher: EventPublisher,
    mut reports: mpsc::UnboundedReceiver<(Arc<ReportedResource>, StatusReport)>,
) {
    let mut slots: HashMap<String, Slot> = HashMap::new();
    loop {
        let due = slots.values().filter(|slot| slot.is_pending()).map(|slot| slot.not_before).min();
        tokio::select! {
            received = reports.recv() => match received {
                Some((subject, StatusReport::Event(event))) => publisher.publish(&subject.reference, event.into()).await,
                Some((subject, StatusReport::Flush(written))) => {
                    if let Some(slot) = slots.get_mut(&subject.uid) {
                        flush(&client, &publisher, slot).await;
                    }
                    written.notify_one();
                }
                Some((subject, report)) => accept(&mut slots, subject, report),
                None => return,
            },
            () = until(due) => {}
        }
        let now = Instant::now();
        for slot in slots.values_mut().filter(|slot| slot.is_pending() && slot.not_before <= now) {
            flush(&client, &publisher, slot).await;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Accepts a report. A later report replaces one that is not written yet.
fn accept(slots: &mut HashMap<String, Slot>, subject: Arc<ReportedResource>, report: StatusReport) {
    let slot = slots.entry(subject.uid.clone()).or_insert_with(|| Slot {
        subject: subject.clone(),
        written: subject.status.clone(),
        control_plane: None,
        pending: None,
        pending_data_plane: None,
        not_before: Instant::now(),
    });
    match report {
        // The subject stays: the data plane may still report on a generation before the last edit.
        StatusReport::DataPlane(part) => slot.pending_data_plane = Some(part),
        StatusReport::Finished(control_plane) => {
            slot.subject = subject;
            slot.not_before = Instant::now();
            slot.pending = Some(StatusReport::Finished(control_plane));
        }
        progress @ StatusReport::Progress(_) => {
            slot.subject = subject;
            slot.control_plane = None;
            slot.pending = Some(progress);
        }
        // Handled by the caller: they change no status.
        StatusReport::Event(_) | StatusReport::Flush(_) => {}
    }
}

async fn flush(client: &Client, publisher: &EventPublisher, slot: &mut Slot) {
    let (report, part) = (slot.pending.take(), slot.pending_data_plane.take());
    let now = Time(Timestamp::now());
    let mut merged = slot.written.clone();
    if let Some(report) = &report {
        merged = merge(&merged, &slot.subject, report, &now);
    }
    if let Some(StatusReport::Finished(control_plane)) = &report {
        slot.control_plane = Some(control_plane.clone());
    }
    if let Some(part) = &part {
        merged = merge_data_plane(&merged, &slot.subject, slot.control_plane.as_ref(), part, &now);
    }
    let merged = bounded(merged);
    if merged == slot.written {
        return;
    }
    slot.not_before = Instant::now() + WRITE_INTERVAL;
    match write_with_fallback(client, &slot.subject, merged).await {
        Ok(written) => {
            if let Some(event) = event_of_change(&slot.written, &written) {
                publisher.publish(&slot.subject.reference, event).await;
            }
            slot.written = written;
        }
        Err(error) if error.is_gone() => {}
        Err(error) => {
            tracing::warn!(error = format_error_chain(&error), "status update failed, retrying");
            slot.pending = report;
            slot.pending_data_plane = part;
        }
    }
}

/// Writes the status. If the API server rejects it as too large, the part of the data plane is left out: tenants fill it, and
/// it must not hide the state of the control plane. Returns what was written.
async fn write_with_fallback(
    client: &Client,
    subject: &ReportedResource,
    status: IstioStatus,
) -> Result<IstioStatus, Error> {
    match write(client, subject, &status).await {
        Err(error) if error.is_too_large() && status.data_plane.is_some() => {
            let cause = format_error_chain(&error);
            tracing::warn!(error = cause, "status is too large: writing it without the data plane");
            let status = without_data_plane(&status);
            write(client, subject, &status).await.map(|()| status)
        }
        written => written.map(|()| status),
    }
}

async fn write(client: &Client, subject: &ReportedResource, status: &IstioStatus) -> Result<(), Error> {
    replace_status::<Istio>(client, &subject.reference, status, &["description", "dataPlane"]).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response};
    use http_body::Body as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::conditions::{Reason, State};
    use crate::api::v1alpha2::{BlockedWorkload, DataPlaneStatus};
    use crate::status::ConditionUpdate;

    /// An API server that rejects a status with a data plane as too large, with its own message or that of etcd.
    fn server(code: u16, words: &'static str) -> (Client, Arc<Mutex<Vec<Value>>>) {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writes = written.clone();
        let answer = move |mut request: Request<Body>| {
            let writes = writes.clone();
            async move {
                let mut text = Vec::new();
                let body = request.body_mut();
                while let Some(frame) =
                    std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await
                {
                    text.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
                }
                let sent: Value = serde_json::from_slice(&text).unwrap();
                if sent["status"].is_null() {
                    return Response::builder().status(201).body(Body::from(text));
                }
                let is_refused = !sent["status"]["dataPlane"].is_null();
                writes.lock().unwrap().push(sent["status"].clone());
                let (code, object) = if is_refused {
                    (
                        code,
                        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": words, "reason": "x", "code": code}),
                    )
                } else {
                    (
                        200,
                        json!({"apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio",
                        "metadata": {"name": "default"}, "spec": {}}),
                    )
                };
                Response::builder().status(code).body(Body::from(object.to_string().into_bytes()))
            }
        };
        (Client::new(tower::service_fn(answer), "default"), written)
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_is_too_large_is_written_without_the_data_plane() {
        for (code, words) in [
            (413, "Request entity too large: limit is 3145728"),
            (500, "etcdserver: request is too large"),
            (422, "the request is too large"),
        ] {
            let (client, written) = server(code, words);
            let writer = StatusWriter::start(client, "test".to_owned());
            let resource: Istio = serde_json::from_value(json!({
                "apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio", "spec": {},
                "metadata": {"name": "default", "namespace": "kyma-system", "uid": "u", "generation": 4},
            }))
            .unwrap();
            let reporter = writer.report_on(&resource);
            let condition = |reason| ConditionUpdate { reason, message: None };
            reporter.report_data_plane(DataPlaneReport {
                condition: condition(Reason::ProxySidecarManualRestartRequired),
                status: DataPlaneStatus {
                    blocked_workloads: vec![BlockedWorkload::default()],
                    ..DataPlaneStatus::default()
                },
            });
            reporter.finish(ControlPlaneReport {
                state: State::Error,
                description: "istiod is not ready".to_owned(),
                conditions: vec![condition(Reason::IstioInstallUninstallFailed)],
            });
            reporter.flush().await;
            let written = written.lock().unwrap();
            let last = written.last().unwrap();
            assert!(!written[0]["dataPlane"].is_null(), "the whole status is written first");
            assert_eq!((&last["dataPlane"], &last["state"]), (&Value::Null, &json!("Error")), "{words}");
            assert_eq!(last["observedGeneration"], 4);
            assert_eq!(last["description"], "istiod is not ready");
        }
    }
}
