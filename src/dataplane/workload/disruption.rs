//! How many pods of a workload stay available while it is restarted, and whether that is enough for its disruption
//! budgets. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::dataplane::types::Workload;
use crate::dataplane::workload::kind::WorkloadKind;

/// How the pods of a workload are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodReplacement {
    /// Pods are replaced by the workload's controller, which keeps at least so many available.
    Rolling {
        /// Pods that stay available.
        min_available: i64,
    },
    /// All pods go before new ones come.
    Recreate,
    /// Only pods that somebody deletes are replaced.
    OnDelete,
    /// As before, and some are of an older template, which would go with them.
    OnDeletePending,
    /// A part of the pods stays at the old template until the owner moves on.
    Partitioned,
}

/// How the pods of a workload with `replicas` pods are replaced when its template changes.
#[must_use]
pub fn pod_replacement(kind: WorkloadKind, workload: &Workload, replicas: i64) -> PodReplacement {
    match kind {
        WorkloadKind::Deployment => deployment(workload.spec.strategy.as_ref(), replicas),
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet if is_on_delete(workload) => {
            on_delete(kind, workload, replicas)
        }
        WorkloadKind::StatefulSet => stateful_set(workload, replicas),
        WorkloadKind::DaemonSet => daemon_set(workload.spec.update_strategy.as_ref(), replicas),
        // Argo replaces one pod after the other at a restart, whatever the strategy of updates is.
        _ => PodReplacement::Rolling { min_available: (replicas - 1).max(0) },
    }
}

fn deployment(strategy: Option<&Value>, replicas: i64) -> PodReplacement {
    if strategy.and_then(|strategy| strategy.get("type")).is_some_and(|kind| kind == "Recreate") {
        return PodReplacement::Recreate;
    }
    let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
    let amount = |field| rolling.and_then(|rolling| rolling.get(field)).cloned();
    let surge = scaled_value(amount("maxSurge").as_ref(), "25%", replicas, Rounding::Up);
    let unavailable = scaled_value(amount("maxUnavailable").as_ref(), "25%", replicas, Rounding::Down);
    // Neither may be zero with the other; Kubernetes then takes one pod away.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    PodReplacement::Rolling { min_available: (replicas - unavailable).max(0) }
}

/// Whether the pods of a set are replaced only when somebody deletes them.
#[must_use]
pub fn is_on_delete(workload: &Workload) -> bool {
    let strategy = workload.spec.update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.get("type")).is_some_and(|kind| kind == "OnDelete")
}

/// How many pods of a `StatefulSet`, the first ones, stay at the template before.
#[must_use]
pub fn partition(workload: &Workload) -> i64 {
    let strategy = workload.spec.update_strategy.as_ref();
    let partition = strategy.and_then(|strategy| strategy.pointer("/rollingUpdate/partition")?.as_i64());
    partition.unwrap_or(0)
}

fn on_delete(kind: WorkloadKind, workload: &Workload, replicas: i64) -> PodReplacement {
    let status = &workload.status;
    let updated = if kind == WorkloadKind::DaemonSet {
        status.updated_number_scheduled
    } else {
        status.updated_replicas
    };
    if updated < replicas { PodReplacement::OnDeletePending } else { PodReplacement::OnDelete }
}

fn stateful_set(workload: &Workload, replicas: i64) -> PodReplacement {
    if partition(workload) > 0 {
        return PodReplacement::Partitioned;
    }
    let strategy = workload.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
    let unavailable =
        scaled_value(rolling.and_then(|rolling| rolling.get("maxUnavailable")), "1", replicas, Rounding::Up)
            .max(1);
    PodReplacement::Rolling { min_available: (replicas - unavailable).max(0) }
}

fn daemon_set(strategy: Option<&Value>, replicas: i64) -> PodReplacement {
    let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
    let surge =
        scaled_value(rolling.and_then(|rolling| rolling.get("maxSurge")), "0", replicas, Rounding::Up);
    let unavailable =
        scaled_value(rolling.and_then(|rolling| rolling.get("maxUnavailable")), "1", replicas, Rounding::Up);
    let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
    PodReplacement::Rolling { min_available: (replicas - unavailable).max(0) }
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// A number, or a share of `replicas`.
fn scaled_value(amount: Option<&Value>, default: &str, replicas: i64, rounding: Rounding) -> i64 {
    let default = Value::String(default.to_owned());
    let amount = amount.unwrap_or(&default);
    if let Some(number) = amount.as_i64() {
        return number;
    }
    let text = amount.as_str().unwrap_or_default();
    match text.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok()) {
        None => text.parse().unwrap_or(0),
        Some(percent) => match rounding {
            Rounding::Up => (percent * replicas + 99) / 100,
            Rounding::Down => percent * replicas / 100,
        },
    }
}

/// A disruption budget, reduced to what it asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DisruptionBudget {
    metadata: DisruptionBudgetMeta,
    spec: DisruptionBudgetSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct DisruptionBudgetMeta {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DisruptionBudgetSpec {
    selector: Option<LabelSelector>,
    min_available: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
}

/// The disruption budgets of several namespaces, bounded in bytes.
///
/// Where a namespace has more than that, one that covers all its pods stands for the rest: nothing is disrupted that they may
/// protect.
#[derive(Debug, Default)]
pub struct DisruptionBudgets {
    budgets: Vec<DisruptionBudget>,
    bytes_by_namespace: BTreeMap<String, usize>,
}

impl DisruptionBudgets {
    /// Bytes of the budgets of one namespace as the API server writes them: some hundred.
    const MAX_NAMESPACE_BYTES: usize = 512 << 10;

    /// Keeps a budget of so many bytes.
    pub fn push(&mut self, budget: DisruptionBudget, bytes: usize) {
        let sum = self.bytes_by_namespace.entry(budget.metadata.namespace.clone()).or_default();
        let had_room = *sum <= Self::MAX_NAMESPACE_BYTES;
        *sum += bytes;
        if *sum <= Self::MAX_NAMESPACE_BYTES {
            self.budgets.push(budget);
        } else if had_room {
            let selector = Some(LabelSelector::default());
            let spec = DisruptionBudgetSpec {
                selector,
                max_unavailable: Some(IntOrString::Int(0)),
                min_available: None,
            };
            self.budgets.push(DisruptionBudget { spec, ..budget });
        }
    }

    /// All that are kept.
    #[must_use]
    pub fn into_vec(self) -> Vec<DisruptionBudget> {
        self.budgets
    }
}

impl DisruptionBudget {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Whether it covers pods with these labels.
    #[must_use]
    pub fn covers(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.metadata.namespace == namespace
            && self.spec.selector.as_ref().is_some_and(|selector| selector_matches(selector, labels))
    }

    /// How many of `replicas` pods have to stay available.
    ///
    /// A budget may cover further workloads; that these lose no pod meanwhile is assumed, as rollouts are paced.
    #[must_use]
    pub fn required_available(&self, replicas: i64) -> i64 {
        let number = |amount: &IntOrString| match amount {
            IntOrString::Int(number) => i64::from(*number),
            IntOrString::String(text) => {
                scaled_value(Some(&Value::String(text.clone())), "0", replicas, Rounding::Up)
            }
        };
        match (&self.spec.min_available, &self.spec.max_unavailable) {
            (Some(min), _) => number(min),
            (None, Some(max)) => replicas - number(max),
            (None, None) => replicas - 1,
        }
    }
}

/// Whether a selector selects these labels; one that says nothing selects everything.
#[must_use]
pub fn selector_matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let value = labels.get(&expression.key);
        let listed =
            || value.is_some_and(|value| expression.values.iter().flatten().any(|other| other == value));
        match expression.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal && expressions
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Two of its pods are of the present template.
    fn workload(spec: &Value) -> Workload {
        let status = json!({"updatedReplicas": 2, "updatedNumberScheduled": 2});
        let object = json!({"metadata": {"name": "w"}, "spec": spec, "status": status});
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn what_stays_available_follows_from_strategy_and_replicas() {
        let rolling = |min_available| PodReplacement::Rolling { min_available };
        for (kind, spec, replicas, expected) in [
            (WorkloadKind::Deployment, json!({}), 1, rolling(1)),
            (WorkloadKind::Deployment, json!({}), 4, rolling(3)),
            (
                WorkloadKind::Deployment,
                json!({"strategy": {"type": "Recreate"}}),
                3,
                PodReplacement::Recreate,
            ),
            (
                WorkloadKind::Deployment,
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
                1,
                rolling(0),
            ),
            (
                WorkloadKind::Deployment,
                json!({"strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}}),
                3,
                rolling(3),
            ),
            (
                WorkloadKind::Deployment,
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}}),
                3,
                rolling(2),
            ),
            (WorkloadKind::StatefulSet, json!({}), 3, rolling(2)),
            (WorkloadKind::StatefulSet, json!({}), 1, rolling(0)),
            (
                WorkloadKind::StatefulSet,
                json!({"updateStrategy": {"type": "OnDelete"}}),
                2,
                PodReplacement::OnDelete,
            ),
            (
                WorkloadKind::StatefulSet,
                json!({"updateStrategy": {"type": "OnDelete"}}),
                3,
                PodReplacement::OnDeletePending,
            ),
            (
                WorkloadKind::StatefulSet,
                json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}),
                3,
                PodReplacement::Partitioned,
            ),
            (WorkloadKind::DaemonSet, json!({}), 5, rolling(4)),
            (
                WorkloadKind::DaemonSet,
                json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
                5,
                rolling(5),
            ),
            (
                WorkloadKind::DaemonSet,
                json!({"updateStrategy": {"type": "OnDelete"}}),
                2,
                PodReplacement::OnDelete,
            ),
            (
                WorkloadKind::DaemonSet,
                json!({"updateStrategy": {"type": "OnDelete"}}),
                5,
                PodReplacement::OnDeletePending,
            ),
        ] {
            assert_eq!(pod_replacement(kind, &workload(&spec), replicas), expected, "{kind:?} {spec}");
        }
    }

    fn budget(spec: &Value) -> DisruptionBudget {
        let budget = json!({"metadata": {"namespace": "n", "name": "b"}, "spec": spec});
        serde_json::from_value(budget).unwrap()
    }

    #[test]
    fn budgets_of_any_size_protect_and_take_bounded_memory() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let mut budgets = DisruptionBudgets::default();
        for _ in 0..1000 {
            budgets.push(
                budget(&json!({"selector": {"matchLabels": {"app": "api"}}})),
                DisruptionBudgets::MAX_NAMESPACE_BYTES / 10,
            );
        }
        let all = budgets.into_vec();
        assert_eq!(all.len(), 11);
        let strict = all.iter().filter(|it| it.covers("n", &labels)).map(|it| it.required_available(3));
        assert_eq!(strict.collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_budget_asks_for_a_number_of_available_pods() {
        for (spec, replicas, required) in [
            (json!({"minAvailable": 2}), 3, 2),
            (json!({"minAvailable": "50%"}), 3, 2),
            (json!({"maxUnavailable": 1}), 3, 2),
            (json!({"maxUnavailable": "30%"}), 3, 2),
            (json!({"maxUnavailable": 0}), 3, 3),
            (json!({}), 3, 2),
        ] {
            assert_eq!(budget(&spec).required_available(replicas), required, "{spec}");
        }
    }

    #[test]
    fn a_budget_covers_what_its_selector_selects_in_its_namespace() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let with = |selector| budget(&json!({"selector": selector}));
        assert!(with(json!({"matchLabels": {"app": "web"}})).covers("n", &labels));
        assert!(!with(json!({"matchLabels": {"app": "web"}})).covers("other", &labels));
        assert!(!with(json!({"matchLabels": {"app": "api"}})).covers("n", &labels));
        assert!(with(json!({})).covers("n", &labels));
        assert!(!budget(&json!({})).covers("n", &labels));
        let expression = |operator: &str| {
            with(json!({"matchExpressions": [{"key": "app", "operator": operator, "values": ["web"]}]}))
        };
        assert!(expression("In").covers("n", &labels));
        assert!(!expression("NotIn").covers("n", &labels));
        assert!(!expression("DoesNotExist").covers("n", &labels));
    }
}
