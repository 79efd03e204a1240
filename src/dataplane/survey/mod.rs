//! A look at the data plane with everything decided, but nothing done: shared by the operator and the command line.

pub mod judge;
pub mod sweep;
#[cfg(test)]
mod sweep_tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use thiserror::Error;

use self::judge::{Judge, Proven};
use self::sweep::{Namespaces, Scope, Sweep};
use crate::api::names::ISTIO_NAMESPACE;
use crate::dataplane::decide::disruption::{Budget, Budgets};
use crate::dataplane::decide::finding::{Decision, Finding, Method, Steering, decide, method};
use crate::dataplane::decide::found::Survey;
use crate::dataplane::decide::rollout::{Rollout, rollout};
use crate::dataplane::decide::settings::Settings;
use crate::dataplane::kind::Kind;
use crate::dataplane::look::mesh::{self, Mesh};
use crate::dataplane::memory::Memory;
use crate::dataplane::names::{INJECTED_SELECTOR, INJECTOR_CONFIG_MAP, MESH_CONFIG_MAP, UNLABELLED_SELECTOR};
use crate::dataplane::objects::{Meta, Workload};
use crate::dataplane::part::Part;
use crate::dataplane::prove::prover::Prover;
use crate::dataplane::requests::{self, Pages};
use crate::dataplane::tell::metrics::Metrics;
use crate::object::{self, ObjectId};
use crate::observe::istiod::ISTIOD;

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
    Sweep {
        /// What happened.
        #[from]
        source: sweep::Error,
    },
}

/// Whether injection can be asked.
#[derive(Debug)]
pub enum ControlPlane {
    /// istiod serves this mesh.
    Serves(Box<Mesh>),
    /// Not yet, and why; what injection gives now is not what it will give.
    NotReady(String),
}

/// Reads what injection gives.
pub async fn control_plane(client: &Client) -> Result<ControlPlane, Error> {
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
        return Ok(ControlPlane::NotReady("istiod is not installed".to_owned()));
    };
    match rollout(Kind::Deployment, &istiod) {
        Rollout::Complete => {}
        Rollout::UnderWay(why) | Rollout::Failed(why) => {
            return Ok(ControlPlane::NotReady(format!("istiod is not ready: {why}")));
        }
    }
    let (injector, mesh) =
        futures::try_join!(config_map(client, INJECTOR_CONFIG_MAP), config_map(client, MESH_CONFIG_MAP))?;
    let (Some(injector), Some(mesh)) = (injector, mesh) else {
        return Ok(ControlPlane::NotReady("istiod has no configuration yet".to_owned()));
    };
    let spec = istiod.spec.template.and_then(|template| template.spec);
    let spec = spec.as_ref().map(Part::value).unwrap_or_default();
    let image = spec.pointer("/containers/0/image").and_then(serde_json::Value::as_str);
    let data = |map: ConfigMap| map.data.unwrap_or_default();
    let mesh = Mesh::read(&data(injector), &data(mesh), image.unwrap_or_default())?;
    Ok(ControlPlane::Serves(Box::new(mesh)))
}

async fn config_map(client: &Client, name: &'static str) -> Result<Option<ConfigMap>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    api.get_opt(name).await.map_err(|source| Error::ConfigMap { name, source: Box::new(source) })
}

/// The means of a survey.
pub struct Surveyor<'a> {
    /// Client for reads and dry runs.
    pub client: &'a Client,
    /// What injection gives.
    pub mesh: &'a Mesh,
    /// Which workloads are asked for.
    pub scope: Scope,
    /// How restarts are made.
    pub settings: &'a Settings,
    /// Which were made.
    pub memory: &'a Memory,
    /// What was proven before.
    pub proven: &'a Proven,
    /// Counts judgements.
    pub metrics: &'a Metrics,
    /// Whether pods without the label of injection are looked at, too: all pods of the cluster.
    pub unlabelled: bool,
    /// Owners that were outdated at the last look, by hash; asked for in any case.
    pub revisit: &'a HashSet<u64>,
    /// Whether a "no" of injection is final.
    pub settled: bool,
    /// Pods that were made since then, in seconds since the epoch, came after the first restart for the present mesh, and are
    /// only asked for if they look outdated.
    pub renewed: Option<i64>,
    /// Now, in seconds since the epoch.
    pub now: i64,
}

/// Looks for somebody who has not looked before and will not look again: at all pods, and a "no" of injection is final.
pub async fn look_once(
    client: &Client,
    mesh: &Mesh,
    scope: Scope,
    settings: &Settings,
    memory: &Memory,
) -> Result<Survey, Error> {
    let surveyor = Surveyor {
        client,
        mesh,
        scope,
        settings,
        memory,
        proven: &Proven::default(),
        metrics: &Metrics::default(),
        unlabelled: true,
        revisit: &HashSet::new(),
        settled: true,
        renewed: None,
        now: Timestamp::now().as_second(),
    };
    surveyor.survey().await
}

impl Surveyor<'_> {
    /// Looks at the data plane and decides.
    pub async fn survey(&self) -> Result<Survey, Error> {
        let namespaces = sweep::namespaces(self.client).await?;
        let prover = Prover::new(self.client.clone());
        let scales = Mutex::new(HashMap::new());
        let large = tokio::sync::Mutex::new(());
        let judge = Judge {
            client: self.client,
            prover: &prover,
            namespaces: &namespaces,
            mesh: self.mesh,
            scope: self.scope,
            proven: self.proven,
            metrics: self.metrics,
            settled: self.settled,
            scales: &scales,
            large: &large,
        };
        let sweep = |selector| Sweep {
            selector,
            client: self.client,
            mesh: self.mesh,
            scope: self.scope,
            renewed: self.renewed,
            revisit: self.revisit,
            judge: &judge,
        };
        let mut found = sweep(INJECTED_SELECTOR).run().await?;
        if self.unlabelled {
            // What has no proxy is asked for by what its labels say, never all of it.
            let scope = if self.scope == Scope::All { Scope::Suspects } else { self.scope };
            let unlabelled = Sweep { scope, ..sweep(UNLABELLED_SELECTOR) }.run().await?;
            found.missing = unlabelled.stale.len();
            found.add(unlabelled);
        }
        found.more += found.findings.take_dropped();
        let findings = merged(std::mem::take(&mut found.findings).into_findings());
        found.window_open = self.is_window_open(&namespaces, &findings);
        let concerned: HashSet<&str> =
            findings.iter().filter_map(|finding| finding.workload.namespace.as_deref()).collect();
        let budgets = if findings.is_empty() { Vec::new() } else { budgets(self.client, &concerned).await? };
        let mut decisions: Vec<(Finding, Decision)> = findings
            .into_iter()
            .map(|finding| {
                let decision = self.decide(&finding, &budgets);
                (finding, decision)
            })
            .collect();
        decisions.sort_by_cached_key(|(finding, _)| (finding.urgency(), finding.workload.clone()));
        Ok(Survey { found, decisions })
    }

    fn is_window_open(&self, namespaces: &Namespaces, findings: &[Finding]) -> bool {
        let is_open = |meta: &Meta| Steering::of(&meta.annotations, &BTreeMap::new()).is_open(self.now);
        namespaces.values().any(is_open) || findings.iter().any(|finding| finding.steering.is_open(self.now))
    }

    fn decide(&self, finding: &Finding, budgets: &[Budget]) -> Decision {
        let tried = match method(finding) {
            Some(Method::Evict) => self.memory.replaced(&finding.uid, &finding.target, finding.pod_created),
            _ => self.memory.tried(&finding.uid, &finding.target, finding.generation),
        };
        decide(finding, self.settings, budgets, tried, self.now)
    }
}

/// One finding for each workload: its pods may look different, and be told by different owners in between.
fn merged(mut findings: Vec<Finding>) -> Vec<Finding> {
    let key = |finding: &Finding| (finding.uid.clone(), finding.workload.clone());
    findings.sort_by_cached_key(key);
    findings.dedup_by(|later, first| {
        let same = later.uid == first.uid && later.workload == first.workload;
        if same {
            first.merge(later);
        }
        same
    });
    findings
}

/// The disruption budgets of the namespaces that are `concerned`.
async fn budgets(client: &Client, concerned: &HashSet<&str>) -> Result<Vec<Budget>, Error> {
    let resource = object::resource("policy", "v1", "PodDisruptionBudget");
    let mut pages = Pages::new(client, &resource, None);
    let mut budgets = Budgets::default();
    loop {
        let each = |budget: Budget, bytes| {
            if concerned.contains(budget.namespace()) {
                budgets.push(budget, bytes);
            }
        };
        let more = pages.next(each).await;
        if !more.map_err(|source| Error::Budgets { source: Box::new(source) })? {
            return Ok(budgets.into_all());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::finding;
    use crate::dataplane::reason::Reason;

    #[test]
    fn a_workload_whose_pods_look_different_is_restarted_once_for_all_of_them() {
        let with = |name: &str, reason: Reason, pod_created: i64| Finding {
            reasons: vec![reason],
            pod_created,
            ..finding(name)
        };
        let found = vec![
            with("a", Reason::StatsMatcher, 20),
            with("b", Reason::DnsCapture, 5),
            with("a", Reason::DnsCapture, 10),
        ];
        let merged = merged(found);
        let told: Vec<_> = merged
            .iter()
            .map(|finding| (finding.uid.as_str(), finding.reasons.len(), finding.pod_created))
            .collect();
        assert_eq!(told, [("a", 2, 10), ("b", 1, 5)]);
    }
}
