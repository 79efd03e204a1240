//! Takes the sidecars out of workloads while Istio is removed: injection is off already and istiod still runs, so that
//! workloads with and without a sidecar reach each other until the last one is restarted.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use thiserror::Error;
use tokio::time::Instant;

use super::wave::{self, Outcome, Wave};
use crate::dataplane::decide::finding::{Decision, Finding, Hindrance, Method};
use crate::dataplane::decide::pace::Progress;
use crate::dataplane::decide::settings::Settings;
use crate::dataplane::look::mesh::Mesh;
use crate::dataplane::memory::{self, Memory, Store};
use crate::dataplane::survey;
use crate::dataplane::survey::sweep::Scope;
use crate::dataplane::tell::events::Announcer;
use crate::dataplane::tell::metrics::Metrics;

/// How often rollouts are looked at that a process before this one began.
const LOOK: Duration = Duration::from_secs(2);

/// How long rollouts of others are waited for: pods that came before injection was off have a sidecar.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// What there is to do at one moment.
struct Outlook {
    restarts: Vec<(Finding, Method)>,
    /// Restarts without a sidecar that are not through, begun by a process before this one.
    under_way: usize,
    /// Rollouts of others, a wave that was under way among them.
    others: usize,
}

impl Removal {
    /// Restarts every workload that has a sidecar and may be restarted, and waits for it until the deadline.
    ///
    /// What cannot be restarted, or is not done in time, is left; who goes on removing names it.
    pub async fn run(&self, say: &(dyn Fn(&dyn Display) + Sync)) -> Result<(), Error> {
        if let Ok(ended) = tokio::time::timeout(self.deadline, self.until_settled(say)).await {
            return ended;
        }
        tracing::warn!("not every workload was restarted in time; the removal goes on");
        Ok(())
    }

    async fn until_settled(&self, say: &(dyn Fn(&dyn Display) + Sync)) -> Result<(), Error> {
        let settings = Settings { allow_interruption: true, ..self.settings.clone() };
        let mut given_up = HashSet::new();
        let started = Instant::now();
        loop {
            let mut store = Store::new(self.client.clone(), &self.namespace);
            let mut memory = store.load().await?;
            let Outlook { restarts, under_way, others } = self.look(&settings, &memory, &given_up).await?;
            if !restarts.is_empty() {
                let outcome = self.restart(&settings, (&mut store, &mut memory), restarts, say).await?;
                given_up.extend(outcome.left.into_iter().map(|(finding, _)| finding.uid));
            } else if under_way > 0 || (others > 0 && started.elapsed() < PATIENCE) {
                say(&format_args!("waiting for the rollouts of {} workloads", under_way + others));
                tokio::time::sleep(LOOK).await;
            } else {
                return Ok(());
            }
        }
    }

    async fn look(
        &self,
        settings: &Settings,
        memory: &Memory,
        given_up: &HashSet<String>,
    ) -> Result<Outlook, Error> {
        let (client, mesh) = (&self.client, &Mesh::leaving(&self.uid));
        let survey = survey::look_once(client, mesh, Scope::Removal, settings, memory).await?;
        let mut outlook = Outlook { restarts: Vec::new(), under_way: 0, others: 0 };
        for (finding, decision) in survey.decisions {
            match decision {
                // Gateways without Istio serve nothing; their image is named by injection, so that a restart would only
                // break them.
                _ if finding.gateway => {}
                Decision::Restart(method) if !given_up.contains(&finding.uid) => {
                    outlook.restarts.push((finding, method));
                }
                Decision::Hold(Hindrance::RolloutUnderWay(_))
                    if memory.is_remembered(&finding.uid, &finding.target) =>
                {
                    outlook.under_way += 1;
                }
                Decision::Hold(Hindrance::RolloutUnderWay(_)) => outlook.others += 1,
                Decision::Restart(_) | Decision::Hold(_) => {}
            }
        }
        Ok(outlook)
    }

    async fn restart(
        &self,
        settings: &Settings,
        (store, memory): (&mut Store, &mut Memory),
        plan: Vec<(Finding, Method)>,
        say: &(dyn Fn(&dyn Display) + Sync),
    ) -> Result<Outcome, Error> {
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
            store,
            memory,
            settings,
            events: &Announcer::new(self.client.clone(), self.identity.clone()),
            metrics: &Metrics::default(),
            superseded: &|| false,
            progress: &progress,
        };
        Ok(wave.run(plan).await?)
    }

    /// Forgets all restarts, once Istio is gone.
    pub async fn forget(&self) -> Result<(), Error> {
        Ok(Store::new(self.client.clone(), &self.namespace).delete().await?)
    }
}
