//! A look at the data plane with everything decided, but nothing done: shared by the operator and the command line.

pub mod evaluator;
pub mod scanner;
#[cfg(test)]
mod scanner_tests;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use thiserror::Error;

use self::evaluator::{Evaluator, UpToDateCache};
use self::scanner::{Namespaces, PodScanner, ScanScope};
use crate::api::names::ISTIO_NAMESPACE;
use crate::dataplane::discovery::mesh::{self, Mesh};
use crate::dataplane::injection::dry_run::InjectionDryRun;
use crate::dataplane::names::{INJECTED_SELECTOR, INJECTOR_CONFIG_MAP, MESH_CONFIG_MAP, UNLABELLED_SELECTOR};
use crate::dataplane::raw_json::RawJson;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::requests::{self, Pages};
use crate::dataplane::restart_ledger::RestartLedger;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::settings::RestartSettings;
use crate::dataplane::schedule::stale_workload::{
    Decision, RestartAnnotations, RestartStrategy, StaleWorkload, decide, restart_strategy,
};
use crate::dataplane::types::{Meta, Workload};
use crate::dataplane::workload::disruption::{DisruptionBudget, DisruptionBudgets};
use crate::dataplane::workload::kind::WorkloadKind;
use crate::dataplane::workload::rollout::{RolloutStatus, rollout_status};
use crate::gather::istiod::ISTIOD;
use crate::kubernetes::object::{self, ObjectId};

/// The data plane could not be looked at.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration of istiod could not be read.
    #[error("cannot read ConfigMap {ISTIO_NAMESPACE}/{name}")]
    ConfigMap {
        /// Its name.
        name: &'static str,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// istiod could not be looked at.
    #[error("cannot read Deployment {ISTIO_NAMESPACE}/{ISTIOD}")]
    Istiod {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The configuration of istiod makes no sense.
    #[error("cannot tell what injection gives")]
    Mesh {
        /// Why.
        #[from]
        source: mesh::Error,
    },
    /// Disruption budgets could not be listed.
    #[error("cannot list the PodDisruptionBudgets")]
    Budgets {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Pods or namespaces could not be listed.
    #[error("cannot look at the data plane")]
    Pods {
        /// What happened.
        #[from]
        source: scanner::Error,
    },
}

/// Whether injection can be asked.
#[derive(Debug)]
pub enum ControlPlaneState {
    /// istiod serves this mesh.
    Ready(Box<Mesh>),
    /// Not yet, and why; what injection gives now is not what it will give.
    NotReady(String),
}

/// Reads what injection gives.
pub async fn read_control_plane(client: &Client) -> Result<ControlPlaneState, Error> {
    let id = ObjectId {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(ISTIO_NAMESPACE.to_owned()),
        name: ISTIOD.to_owned(),
    };
    let istiod: Option<Workload> =
        requests::get(client, &id).await.map_err(|source| Error::Istiod { source: Box::new(source) })?;
    let Some(istiod) = istiod else {
        return Ok(ControlPlaneState::NotReady("istiod is not installed".to_owned()));
    };
    match rollout_status(WorkloadKind::Deployment, &istiod) {
        RolloutStatus::Complete => {}
        RolloutStatus::InProgress(why) | RolloutStatus::Failed(why) => {
            return Ok(ControlPlaneState::NotReady(format!("istiod is not ready: {why}")));
        }
    }
    let (injector, mesh) =
        futures::try_join!(config_map(client, INJECTOR_CONFIG_MAP), config_map(client, MESH_CONFIG_MAP))?;
    let (Some(injector), Some(mesh)) = (injector, mesh) else {
        return Ok(ControlPlaneState::NotReady("istiod has no configuration yet".to_owned()));
    };
    let spec = istiod.spec.template.and_then(|template| template.spec);
    let spec = spec.as_ref().map(RawJson::value).unwrap_or_default();
    let image = spec.pointer("/containers/0/image").and_then(serde_json::Value::as_str);
    let data = |map: ConfigMap| map.data.unwrap_or_default();
    let mesh = Mesh::read(&data(injector), &data(mesh), image.unwrap_or_default())?;
    Ok(ControlPlaneState::Ready(Box::new(mesh)))
}

async fn config_map(client: &Client, name: &'static str) -> Result<Option<ConfigMap>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    api.get_opt(name).await.map_err(|source| Error::ConfigMap { name, source: Box::new(source) })
}

/// The means of a survey.
pub struct DataPlaneScanner<'a> {
    /// Client for reads and dry runs.
    pub client: &'a Client,
    /// What injection gives.
    pub mesh: &'a Mesh,
    /// Which workloads are asked for.
    pub scope: ScanScope,
    /// How restarts are made.
    pub settings: &'a RestartSettings,
    /// Which were made.
    pub ledger: &'a RestartLedger,
    /// What was proven before.
    pub up_to_date: &'a UpToDateCache,
    /// Counts judgements.
    pub metrics: &'a DataPlaneMetrics,
    /// Whether pods without the label of injection are looked at, too: all pods of the cluster.
    pub unlabelled: bool,
    /// Owners that were outdated at the last look, by hash; asked for in any case.
    pub known_stale: &'a HashSet<u64>,
    /// Whether a "no" of injection is final.
    pub config_propagated: bool,
    /// Pods that were made since then, in seconds since the epoch, came after the first restart for the present mesh, and are
    /// only asked for if they look outdated.
    pub restarted_since: Option<i64>,
    /// Now, in seconds since the epoch.
    pub now: i64,
}

/// Looks for somebody who has not looked before and will not look again: at all pods, and a "no" of injection is final.
pub async fn scan_once(
    client: &Client,
    mesh: &Mesh,
    scope: ScanScope,
    settings: &RestartSettings,
    ledger: &RestartLedger,
) -> Result<Assessment, Error> {
    let scanner = DataPlaneScanner {
        client,
        mesh,
        scope,
        settings,
        ledger,
        up_to_date: &UpToDateCache::default(),
        metrics: &DataPlaneMetrics::default(),
        unlabelled: true,
        known_stale: &HashSet::new(),
        config_propagated: true,
        restarted_since: None,
        now: Timestamp::now().as_second(),
    };
    scanner.scan().await
}

impl DataPlaneScanner<'_> {
    /// Looks at the data plane and decides.
    pub async fn scan(&self) -> Result<Assessment, Error> {
        let namespaces = scanner::namespaces(self.client).await?;
        let dry_run = InjectionDryRun::new(self.client.clone());
        let scales = Mutex::new(HashMap::new());
        let large = tokio::sync::Mutex::new(());
        let evaluator = Evaluator {
            client: self.client,
            dry_run: &dry_run,
            namespaces: &namespaces,
            mesh: self.mesh,
            scope: self.scope,
            up_to_date: self.up_to_date,
            metrics: self.metrics,
            config_propagated: self.config_propagated,
            scales: &scales,
            large_object_lock: &large,
        };
        let scanner = |selector| PodScanner {
            selector,
            client: self.client,
            mesh: self.mesh,
            scope: self.scope,
            restarted_since: self.restarted_since,
            known_stale: self.known_stale,
            evaluator: &evaluator,
        };
        let mut result = scanner(INJECTED_SELECTOR).run().await?;
        if self.unlabelled {
            // What has no proxy is asked for by what its labels say, never all of it.
            let scope = if self.scope == ScanScope::All { ScanScope::Candidates } else { self.scope };
            let unlabelled = PodScanner { scope, ..scanner(UNLABELLED_SELECTOR) }.run().await?;
            result.missing_sidecars = unlabelled.stale_owners.len();
            result.merge(unlabelled);
        }
        result.more_stale += result.stale_workloads.take_dropped();
        let stale_workloads = merge_by_workload(std::mem::take(&mut result.stale_workloads).into_vec());
        result.window_open = self.is_window_open(&namespaces, &stale_workloads);
        let stale_namespaces: HashSet<&str> =
            stale_workloads.iter().filter_map(|stale| stale.workload.namespace.as_deref()).collect();
        let budgets = if stale_workloads.is_empty() {
            Vec::new()
        } else {
            list_budgets(self.client, &stale_namespaces).await?
        };
        let mut decisions: Vec<(StaleWorkload, Decision)> = stale_workloads
            .into_iter()
            .map(|stale| {
                let decision = self.decide(&stale, &budgets);
                (stale, decision)
            })
            .collect();
        decisions.sort_by_cached_key(|(stale, _)| (stale.priority(), stale.workload.clone()));
        Ok(Assessment { scan: result, decisions })
    }

    fn is_window_open(&self, namespaces: &Namespaces, stale_workloads: &[StaleWorkload]) -> bool {
        let is_open = |meta: &Meta| {
            RestartAnnotations::from_annotations(&meta.annotations, &BTreeMap::new()).is_window_open(self.now)
        };
        namespaces.values().any(is_open)
            || stale_workloads.iter().any(|stale| stale.restart_annotations.is_window_open(self.now))
    }

    fn decide(&self, stale: &StaleWorkload, budgets: &[DisruptionBudget]) -> Decision {
        let already_restarted = match restart_strategy(stale) {
            Some(RestartStrategy::Evict) => {
                self.ledger.is_replacement(&stale.uid, &stale.target, stale.pod_created)
            }
            _ => self.ledger.was_restarted(&stale.uid, &stale.target, stale.generation),
        };
        decide(stale, self.settings, budgets, already_restarted, self.now)
    }
}

/// One finding for each workload: its pods may look different, and be told by different owners in between.
fn merge_by_workload(mut stale_workloads: Vec<StaleWorkload>) -> Vec<StaleWorkload> {
    let key = |stale: &StaleWorkload| (stale.uid.clone(), stale.workload.clone());
    stale_workloads.sort_by_cached_key(key);
    stale_workloads.dedup_by(|later, first| {
        let same = later.uid == first.uid && later.workload == first.workload;
        if same {
            first.merge(later);
        }
        same
    });
    stale_workloads
}

/// The disruption budgets of the namespaces that are `concerned`.
async fn list_budgets(client: &Client, namespaces: &HashSet<&str>) -> Result<Vec<DisruptionBudget>, Error> {
    let resource = object::resource("policy", "v1", "PodDisruptionBudget");
    let mut pages = Pages::new(client, &resource, None);
    let mut budgets = DisruptionBudgets::default();
    loop {
        let each = |budget: DisruptionBudget, bytes| {
            if namespaces.contains(budget.namespace()) {
                budgets.push(budget, bytes);
            }
        };
        let more = pages.next(each).await;
        if !more.map_err(|source| Error::Budgets { source: Box::new(source) })? {
            return Ok(budgets.into_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::stale_workload;
    use crate::dataplane::reasons::StaleReason;

    #[test]
    fn a_workload_with_different_pods_is_restarted_once() {
        let with = |name: &str, reason: StaleReason, pod_created: i64| StaleWorkload {
            reasons: vec![reason],
            pod_created,
            ..stale_workload(name)
        };
        let found = vec![
            with("a", StaleReason::StatsMatcher, 20),
            with("b", StaleReason::DnsCapture, 5),
            with("a", StaleReason::DnsCapture, 10),
        ];
        let merged = merge_by_workload(found);
        let summaries: Vec<_> =
            merged.iter().map(|stale| (stale.uid.as_str(), stale.reasons.len(), stale.pod_created)).collect();
        assert_eq!(summaries, [("a", 2, 10), ("b", 1, 5)]);
    }
}
