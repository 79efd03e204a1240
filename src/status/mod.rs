//! What people see of a reconcile: the resource's status and Events about it.
//!
//! Controllers hand values to one writer, because `conditions` is an atomic list that two writers would take from each
//! other. The writer merges, and writes only what changed.

mod bound;
mod events;
mod merge;
mod writer;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use tokio::sync::{Notify, mpsc};

pub use self::merge::{ConditionUpdate, ControlPlaneReport, DataPlaneReport};
pub use self::writer::{Error, StatusWriter};
use crate::api::{Istio, IstioStatus};
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

/// Something that happened, told by an Event about the resource.
#[derive(Clone, Debug)]
pub struct ResourceEvent {
    /// Whether somebody has to do something about it.
    pub warning: bool,
    /// One word for machines.
    pub reason: &'static str,
    /// A sentence for people.
    pub note: String,
    /// Another object that it is about.
    pub about: Option<ObjectReference>,
}

/// Reports on one resource in one reconcile.
#[derive(Clone)]
pub struct Progress {
    subject: std::sync::Arc<ReportedResource>,
    prefix: String,
    reports: mpsc::UnboundedSender<(std::sync::Arc<ReportedResource>, StatusReport)>,
}

impl Progress {
    /// Tells what is being done or waited for; shown at most once a second, the last one always.
    pub fn report(&self, text: impl fmt::Display) {
        self.send(StatusReport::Progress(format!("{}{text}", self.prefix)));
    }

    /// Tells how the reconcile ended; written at once.
    pub fn finish(&self, control_plane: ControlPlaneReport) {
        self.send(StatusReport::Finished(control_plane));
    }

    /// Publishes an Event about the resource.
    pub fn emit_event(&self, event: ResourceEvent) {
        self.send(StatusReport::Event(event));
    }

    /// Waits until what was said so far is written, or could not be: before the resource vanishes.
    pub async fn flush(&self) {
        let written = Arc::new(Notify::new());
        self.send(StatusReport::Flush(written.clone()));
        if !self.reports.is_closed() {
            written.notified().await;
        }
    }

    /// Tells what is known of the sidecars; shown at most once a second. The control plane's part stays.
    pub fn report_data_plane(&self, part: DataPlaneReport) {
        self.send(StatusReport::DataPlane(Box::new(part)));
    }

    /// The same reports, with the stage they are about in front.
    #[must_use]
    pub fn for_stage(&self, stage: Stage) -> Self {
        Self { prefix: format!("{stage}: "), ..self.clone() }
    }

    fn send(&self, report: StatusReport) {
        // The writer ends only with the process; nobody reads a status after that.
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
