//! Takes the sidecars out of workloads while Istio is removed: injection is off already and istiod still runs, so that
//! workloads with and without a sidecar reach each other until the last one is restarted.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use thiserror::Error;

use super::events::Announcer;
use super::finding::{Decision, Finding, Method};
use super::judge::Proven;
use super::memory::{self, Store};
use super::mesh::Mesh;
use super::metrics::Metrics;
use super::settings::Settings;
use super::survey::{self, Surveyor};
use super::sweep::Scope;
use super::wave::{self, Progress, Wave};

/// The sidecars could not be taken out.
#[derive(Debug, Error)]
pub enum Error {
    /// The workloads could not be found.
    #[error("cannot tell which workloads have a sidecar")]
    Survey {
        /// What happened.
        #[from]
        source: survey::Error,
    },
    /// What was restarted could not be remembered.
    #[error("cannot remember which workloads were restarted")]
    Memory {
        /// What happened.
        #[from]
        source: memory::Error,
    },
    /// The restarts could not go on.
    #[error("cannot restart the workloads that have a sidecar")]
    Wave {
        /// What happened.
        #[from]
        source: wave::Error,
    },
}

/// The means of taking sidecars out.
pub struct Removal {
    /// Client whose writes are gated by leadership.
    pub client: Client,
    /// Where restarts are remembered.
    pub namespace: String,
    /// This process, for Events.
    pub identity: String,
    /// The resource that goes; another removal restarts anew.
    pub uid: String,
    /// How restarts are made.
    pub settings: Settings,
    /// Longest time for all of it.
    pub deadline: Duration,
}

impl Removal {
    /// Restarts every workload that has a sidecar and may be restarted, and waits for it until the deadline.
    ///
    /// What cannot be restarted, or is not done in time, is left; who goes on removing names it.
    pub async fn run(&self, say: &(dyn Fn(&dyn Display) + Sync)) -> Result<(), Error> {
        let settings = Settings { allow_interruption: true, ..self.settings.clone() };
        let mut store = Store::new(self.client.clone(), &self.namespace);
        let mut memory = store.load().await?;
        let surveyor = Surveyor {
            client: &self.client,
            mesh: &Mesh::leaving(&self.uid),
            scope: Scope::Removal,
            settings: &settings,
            memory: &memory,
            proven: &Proven::default(),
            metrics: &Metrics::default(),
            unlabelled: true,
            revisit: &HashSet::new(),
            settled: true,
            now: Timestamp::now().as_second(),
        };
        let plan: Vec<(Finding, Method)> =
            surveyor.survey().await?.decisions.into_iter().filter_map(restart).collect();
        if plan.is_empty() {
            return Ok(());
        }
        let total = plan.len();
        let progress = Mutex::new(|progress: Progress| {
            let ended = progress.done + progress.failed;
            say(&format_args!(
                "restarting workloads without a sidecar: {ended} of {total}, {} failed",
                progress.failed
            ));
        });
        let mut wave = Wave {
            client: &self.client,
            store: &mut store,
            memory: &mut memory,
            settings: &settings,
            events: &Announcer::new(self.client.clone(), self.identity.clone()),
            metrics: &Metrics::default(),
            superseded: &|| false,
            progress: &progress,
        };
        if let Ok(outcome) = tokio::time::timeout(self.deadline, wave.run(plan)).await {
            outcome?;
        } else {
            tracing::warn!("not every workload was restarted in time; the removal goes on");
        }
        Ok(())
    }

    /// Forgets all restarts, once Istio is gone.
    pub async fn forget(&self) -> Result<(), Error> {
        Ok(Store::new(self.client.clone(), &self.namespace).delete().await?)
    }
}

/// Gateways without Istio serve nothing; their image is named by injection, so that a restart would only break them.
fn restart((finding, decision): (Finding, Decision)) -> Option<(Finding, Method)> {
    match decision {
        Decision::Restart(method) if !finding.gateway => Some((finding, method)),
        _ => None,
    }
}
