//! How many pods of a workload stay available during a restart, and how many its `PodDisruptionBudget`s require. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::RestartStrategy;
use crate::dataplane::model::Workload;

/// How the pods of a workload are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodReplacement {
    /// The controller replaces pods and keeps some available.
    Rolling {
        /// Pods that stay available.
        min_available: i64,
    },
    /// All pods are deleted before new ones are created.
    Recreate,
    /// Only pods that somebody deletes are replaced.
    OnDelete,
    /// As `OnDelete`, and some pods have an older template, so that evicting them would roll out more than a new sidecar.
    OnDeletePending,
    /// A part of the pods keeps the old template until the owner lowers the partition.
    Partitioned,
}

impl PodReplacement {
    /// Of a set with the update strategy `OnDelete`, of whose `replicas` pods `updated` have the current template.
    pub(super) fn on_delete(updated: i64, replicas: i64) -> Self {
        if updated < replicas { Self::OnDeletePending } else { Self::OnDelete }
    }

    /// How a set is restarted, which rolls out by itself only with some update strategies.
    pub(super) fn strategy_of_set(&self) -> Option<RestartStrategy> {
        match self {
            Self::Rolling { .. } | Self::Recreate => Some(RestartStrategy::Template),
            Self::OnDelete | Self::Partitioned => Some(RestartStrategy::Evict),
            Self::OnDeletePending => None,
        }
    }
}

/// Whether the pods of a set are replaced only when somebody deletes them.
pub(super) fn is_on_delete(workload: &Workload) -> bool {
    let strategy = workload.spec.update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.get("type")).is_some_and(|kind| kind == "OnDelete")
}

/// How a percentage of pods becomes a number of pods.
#[derive(Clone, Copy)]
pub(super) enum Rounding {
    Up,
    Down,
}

/// An `IntOrString`: a number, or a percentage of `replicas`; `default` if it is not set.
pub(super) fn scaled_value(amount: Option<&Value>, default: &str, replicas: i64, rounding: Rounding) -> i64 {
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

/// A `PodDisruptionBudget`, reduced to what it requires.
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
/// If a namespace exceeds the bound, one budget that covers all its pods stands for the rest, so that nothing is disrupted
/// that the dropped budgets may protect.
#[derive(Debug, Default)]
pub struct DisruptionBudgets {
    budgets: Vec<DisruptionBudget>,
    bytes_by_namespace: BTreeMap<String, usize>,
}

impl DisruptionBudgets {
    /// Bytes of the budgets of one namespace, as JSON: room for several hundred budgets.
    const MAX_NAMESPACE_BYTES: usize = 512 << 10;

    /// Keeps a budget whose JSON has `bytes` bytes.
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

    /// The budgets that are kept.
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
    /// A budget may cover other workloads, too. Because rollouts are throttled, they are assumed to lose no pod meanwhile.
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

/// Whether a selector selects these labels; an empty selector selects everything.
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
pub(super) mod test_support {
    use serde_json::json;

    use super::*;
    use crate::dataplane::workload::WorkloadKind;

    /// How the pods of a workload are replaced of which two have the current template.
    pub fn replacement(kind: WorkloadKind, spec: &Value, replicas: i64) -> PodReplacement {
        let status = json!({"updatedReplicas": 2, "updatedNumberScheduled": 2});
        let object = json!({"metadata": {"name": "w"}, "spec": spec, "status": status});
        kind.pod_replacement(&serde_json::from_str(&object.to_string()).unwrap(), replicas)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
    fn a_budget_requires_a_number_of_available_pods() {
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
