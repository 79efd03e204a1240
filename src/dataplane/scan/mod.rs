//! One scan of the data plane: everything is found and decided, but nothing changed. The operator and the command line share
//! it. This module must not write to the cluster, except for dry runs.

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
use crate::dataplane::clock::current_second;
use crate::dataplane::discovery::mesh::{self, Mesh};
use crate::dataplane::injection::dry_run::InjectionDryRun;
use crate::dataplane::model::{Meta, RawJson, Workload};
use crate::dataplane::names::{INJECTED_SELECTOR, INJECTOR_CONFIG_MAP, MESH_CONFIG_MAP, UNLABELLED_SELECTOR};
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::requests::{self, Pages};
use crate::dataplane::restart_ledger::RestartLedger;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::{
    Decision, RestartAnnotations, RestartStrategy, StaleWorkload, decide, restart_strategy,
};
use crate::dataplane::workload::deployment;
use crate::dataplane::workload::disruption::{DisruptionBudget, DisruptionBudgets};
use crate::dataplane::workload::rollout::{RolloutStatus, rollout_status};
use crate::gather::istiod::ISTIOD;
use crate::kubernetes::object;
use crate::validate::ValidatedRestarter;

/// The data plane could not be scanned.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration of istiod could not be read.
    #[error("failed to read ConfigMap {ISTIO_NAMESPACE}/{name}")]
    ConfigMap {
        /// Its name.
        name: &'static str,
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// The Deployment of istiod could not be read.
    #[error("failed to read Deployment {ISTIO_NAMESPACE}/{ISTIOD}")]
    Istiod {
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// The configuration of istiod is invalid.
    #[error("failed to determine the injected configuration")]
    Mesh {
        /// The cause.
        #[from]
        source: mesh::Error,
    },
    /// Disruption budgets could not be listed.
    #[error("failed to list PodDisruptionBudgets")]
    Budgets {
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// Pods or namespaces could not be listed.
    #[error("failed to scan the data plane")]
    Pods {
        /// The cause.
        #[from]
        source: scanner::Error,
    },
}

/// Whether injection serves the present mesh.
#[derive(Debug)]
pub enum ControlPlaneState {
    /// istiod serves this mesh.
    Ready(Box<Mesh>),
    /// Not yet; the text says why. Injection would give something else than later.
    NotReady(String),
}

/// Reads what injection gives, and whether istiod is ready to give it.
pub async fn read_control_plane(client: &Client) -> Result<ControlPlaneState, Error> {
    let id = deployment::KIND.object(ISTIO_NAMESPACE, ISTIOD);
    let istiod: Option<Workload> =
        requests::get(client, &id).await.map_err(|source| Error::Istiod { source: Box::new(source) })?;
    let Some(istiod) = istiod else {
        return Ok(ControlPlaneState::NotReady("istiod is not installed".to_owned()));
    };
    match rollout_status(deployment::KIND, &istiod) {
        RolloutStatus::Complete => {}
        RolloutStatus::InProgress(why) | RolloutStatus::Failed(why) => {
            return Ok(ControlPlaneState::NotReady(format!("istiod is not ready: {why}")));
        }
    }
    let (injector, mesh) =
        futures::try_join!(config_map(client, INJECTOR_CONFIG_MAP), config_map(client, MESH_CONFIG_MAP))?;
    let (Some(injector), Some(mesh)) = (injector, mesh) else {
        return Ok(ControlPlaneState::NotReady("the ConfigMaps of istiod do not exist yet".to_owned()));
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

/// The inputs of a scan.
pub struct DataPlaneScanner<'a> {
    /// Client for reads and dry runs.
    pub client: &'a Client,
    /// What injection gives.
    pub mesh: &'a Mesh,
    /// Which workloads are proven by a dry run.
    pub scope: ScanScope,
    /// The settings of restarts.
    pub settings: &'a ValidatedRestarter,
    /// The restarts that were made.
    pub ledger: &'a RestartLedger,
    /// Workloads that were proven to be up to date before.
    pub up_to_date: &'a UpToDateCache,
    /// Measures evaluations.
    pub metrics: &'a DataPlaneMetrics,
    /// Whether pods without the injection label are scanned, too: all pods of the cluster.
    pub unlabelled: bool,
    /// Owners that were outdated at the last scan, by hash; they are proven in any case.
    pub known_stale: &'a HashSet<u64>,
    /// Whether every istiod is expected to use the present configuration.
    pub config_propagated: bool,
    /// The first restart for the present mesh. Pods that were created since then are proven only if the cheap check finds them.
    pub restarted_since: Option<Timestamp>,
    /// The current time.
    pub now: Timestamp,
}

/// A scan without a history: it includes all pods, and takes what injection gives for final.
pub async fn scan_once(
    client: &Client,
    mesh: &Mesh,
    scope: ScanScope,
    settings: &ValidatedRestarter,
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
        now: current_second(),
    };
    scanner.scan().await
}

impl DataPlaneScanner<'_> {
    /// Scans the data plane and decides.
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
            // Of pods without a sidecar, only those whose labels ask for one are proven.
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

/// Merges what different pods of one workload show.
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

/// The disruption budgets in `namespaces`.
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
    use crate::dataplane::reasons::{ReasonSpec, StaleReason, dns_capture, stats_matcher};

    #[test]
    fn a_workload_with_different_pods_is_restarted_once() {
        let with = |name: &str, reason: &'static ReasonSpec, pod_created: i64| StaleWorkload {
            reasons: vec![StaleReason::plain(reason)],
            pod_created: Timestamp::from_second(pod_created).unwrap(),
            ..stale_workload(name)
        };
        let found = vec![
            with("a", &stats_matcher::SPEC, 20),
            with("b", &dns_capture::SPEC, 5),
            with("a", &dns_capture::SPEC, 10),
        ];
        let merged = merge_by_workload(found);
        let summaries: Vec<_> = merged
            .iter()
            .map(|stale| (stale.uid.as_str(), stale.reasons.len(), stale.pod_created.as_second()))
            .collect();
        assert_eq!(summaries, [("a", 2, 10), ("b", 1, 5)]);
    }
}
