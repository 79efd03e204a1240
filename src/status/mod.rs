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

pub use self::merge::{Condition, DataPlane, Settled};
pub use self::writer::{Error, Writer};
use crate::api::{Istio, IstioStatus};
use crate::plan::Stage;

/// The resource that a report is about, as it was when its reconcile began.
#[derive(Clone, Debug)]
struct Subject {
    reference: ObjectReference,
    uid: String,
    generation: i64,
    deleting: bool,
    status: IstioStatus,
}

#[derive(Clone, Debug)]
enum Report {
    Progress(String),
    Settled(Settled),
    DataPlane(Box<DataPlane>),
    Announcement(Announcement),
    Flush(Arc<Notify>),
}

/// Something that happened, told by an Event about the resource.
#[derive(Clone, Debug)]
pub struct Announcement {
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
    subject: std::sync::Arc<Subject>,
    prefix: String,
    reports: mpsc::UnboundedSender<(std::sync::Arc<Subject>, Report)>,
}

impl Progress {
    /// Tells what is being done or waited for; shown at most once a second, the last one always.
    pub fn say(&self, text: impl fmt::Display) {
        self.send(Report::Progress(format!("{}{text}", self.prefix)));
    }

    /// Tells how the reconcile ended; written at once.
    pub fn settle(&self, settled: Settled) {
        self.send(Report::Settled(settled));
    }

    /// Publishes an Event about the resource.
    pub fn announce(&self, announcement: Announcement) {
        self.send(Report::Announcement(announcement));
    }

    /// Waits until what was said so far is written, or could not be: before the resource vanishes.
    pub async fn flush(&self) {
        let written = Arc::new(Notify::new());
        self.send(Report::Flush(written.clone()));
        if !self.reports.is_closed() {
            written.notified().await;
        }
    }

    /// Tells what is known of the sidecars; shown at most once a second. The control plane's part stays.
    pub fn data_plane(&self, part: DataPlane) {
        self.send(Report::DataPlane(Box::new(part)));
    }

    /// The same reports, with the stage they are about in front.
    #[must_use]
    pub fn within(&self, stage: Stage) -> Self {
        Self { prefix: format!("{stage}: "), ..self.clone() }
    }

    fn send(&self, report: Report) {
        // The writer ends only with the process; nobody reads a status after that.
        let _ = self.reports.send((self.subject.clone(), report));
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("subject", &self.subject.reference.name).finish_non_exhaustive()
    }
}

impl Subject {
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
