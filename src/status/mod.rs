//! The status of the `Istio` resource and Events about it.
//!
//! All controllers report to one writer, because `conditions` is an atomic list that two writers would overwrite for each
//! other. The writer merges reports and writes only changes. It decides nothing about Istio.

mod bound;
mod events;
mod merge;
mod patch;
mod publisher;
mod writer;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use tokio::sync::{Notify, mpsc};

pub use self::merge::{ConditionUpdate, ControlPlaneReport, DataPlaneReport};
pub(crate) use self::publisher::{EventContent, EventPublisher};
pub use self::writer::StatusWriter;
use crate::api::{Istio, IstioStatus};
use crate::messages::EventReason;
use crate::plan::Stage;

/// The resource that a report is about, as it was when its reconcile began.
#[derive(Clone, Debug)]
struct ReportedResource {
    reference: ObjectReference,
    uid: String,
    generation: i64,
    deleting: bool,
    status: IstioStatus,
}

#[derive(Clone, Debug)]
enum StatusReport {
    Progress(String),
    Finished(ControlPlaneReport),
    DataPlane(Box<DataPlaneReport>),
    Event(ResourceEvent),
    Flush(Arc<Notify>),
}

/// An Event about the resource that does not follow from its status.
#[derive(Clone, Debug)]
pub(crate) struct ResourceEvent {
    /// Machine-readable reason, which determines the type.
    pub(crate) reason: EventReason,
    /// The text.
    pub(crate) note: String,
    /// Another object that the Event is about.
    pub(crate) about: Option<ObjectReference>,
}

impl From<ResourceEvent> for EventContent {
    fn from(event: ResourceEvent) -> Self {
        Self { secondary: event.about, ..Self::new(event.reason, event.note) }
    }
}

/// Reports on one resource during one reconcile.
#[derive(Clone)]
pub struct Progress {
    subject: Arc<ReportedResource>,
    prefix: String,
    reports: mpsc::UnboundedSender<(Arc<ReportedResource>, StatusReport)>,
}

impl Progress {
    /// Reports what the reconcile does or waits for. Written at most once per interval; the last report is always written.
    pub fn report(&self, text: impl fmt::Display) {
        self.send(StatusReport::Progress(format!("{}{text}", self.prefix)));
    }

    /// Reports how the reconcile ended. Written immediately.
    pub fn finish(&self, control_plane: ControlPlaneReport) {
        self.send(StatusReport::Finished(control_plane));
    }

    /// Publishes an Event about the resource.
    pub(crate) fn emit_event(&self, event: ResourceEvent) {
        self.send(StatusReport::Event(event));
    }

    /// Waits until all reports so far are written or have failed. For use before the resource is deleted.
    pub async fn flush(&self) {
        let written = Arc::new(Notify::new());
        self.send(StatusReport::Flush(written.clone()));
        if !self.reports.is_closed() {
            written.notified().await;
        }
    }

    /// Reports the state of the sidecars. Written at most once per interval. The part of the control plane stays.
    pub fn report_data_plane(&self, part: DataPlaneReport) {
        self.send(StatusReport::DataPlane(Box::new(part)));
    }

    /// The same reporter, whose reports begin with the stage.
    #[must_use]
    pub fn for_stage(&self, stage: Stage) -> Self {
        Self { prefix: format!("{stage}: "), ..self.clone() }
    }

    fn send(&self, report: StatusReport) {
        // The writer ends only with the process.
        let _ = self.reports.send((self.subject.clone(), report));
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("subject", &self.subject.reference.name).finish_non_exhaustive()
    }
}

impl ReportedResource {
    fn of(resource: &Istio) -> Self {
        Self {
            reference: resource.object_ref(&()),
            uid: resource.metadata.uid.clone().unwrap_or_default(),
            generation: resource.metadata.generation.unwrap_or_default(),
            deleting: resource.metadata.deletion_timestamp.is_some(),
            status: resource.status.clone().unwrap_or_default(),
        }
    }
}
