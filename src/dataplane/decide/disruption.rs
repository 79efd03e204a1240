//! How many pods of a workload stay available while it is restarted, and whether that is enough for its disruption
//! budgets. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::dataplane::kind::Kind;
use crate::dataplane::objects::Workload;

/// How the pods of a workload are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Pods are replaced by the workload's controller, which keeps at least so many available.
    Rolling {
        /// Pods that stay available.
        keeps: i64,
    },
    /// All pods go before new ones come.
    Recreate,
    /// Only pods that somebody deletes are replaced.
    OnDelete,
    /// As before, and some are of an older template, which would go with them.
    Withheld,
    /// A part of the pods stays at the old template until the owner moves on.
    Partitioned,
}

/// How the pods of a workload with `replicas` pods are replaced when its template changes.
#[must_use]
pub fn replacement(kind: Kind, workload: &Workload, replicas: i64) -> Replacement {
    match kind {
        Kind::Deployment => deployment(workload.spec.strategy.as_ref(), replicas),
        Kind::StatefulSet | Kind::DaemonSet if is_on_delete(workload) => on_delete(kind, workload, replicas),
        Kind::StatefulSet => stateful_set(workload, replicas),
        Kind::DaemonSet => daemon_set(workload.spec.update_strategy.as_ref(), replicas),
        // Argo replaces one pod after the other at a restart, whatever the strategy of updates is.
        _ => Replacement::Rolling { keeps: (replicas - 1).max(0) },
    }
}

fn deployment(strategy: Option<&Value>, replicas: i64) -> Replacement {
    if strategy.and_then(|strategy| strategy.get("type")).is_some_and(|kind| kind == "Recreate") {
        return Replacement::Recreate;
    }
    let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
    let amount = |field| rolling.and_then(|rolling| rolling.get(field)).cloned();
    let surge = scaled(amount("maxSurge").as_ref(), "25%", replicas, Round::Up);
    let unavailable = scaled(amount("maxUnavailable").as_ref(), "25%", replicas, Round::Down);
    // Neither may be zero with the other; Kubernetes then takes one pod away.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Replacement::Rolling { keeps: (replicas - unavailable).max(0) }
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

fn on_delete(kind: Kind, workload: &Workload, replicas: i64) -> Replacement {
    let status = &workload.status;
    let updated =
        if kind == Kind::DaemonSet { status.updated_number_scheduled } else { status.updated_replicas };
    if updated < replicas { Replacement::Withheld } else { Replacement::OnDelete }
}

fn stateful_set(workload: &Workload, replicas: i64) -> Replacement {
    if partition(workload) > 0 {
        return Replacement::Partitioned;
    }
    let strategy = workload.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
    let unavailable =
        scaled(rolling.and_then(|rolling| rolling.get("maxUnavailable")), "1", replicas, Round::Up).max(1);
    Replacement::Rolling { keeps: (replicas - unavailable).max(0) }
}

fn daemon_set(strategy: Option<&Value>, replicas: i64) -> Replacement {
    let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
    let surge = scaled(rolling.and_then(|rolling| rolling.get("maxSurge")), "0", replicas, Round::Up);
    let unavailable =
        scaled(rolling.and_then(|rolling| rolling.get("maxUnavailable")), "1", replicas, Round::Up);
    let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
    Replacement::Rolling { keeps: (replicas - unavailable).max(0) }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A number, or a share of `replicas`.
fn scaled(amount: Option<&Value>, default: &str, replicas: i64, round: Round) -> i64 {
    let default = Value::String(default.to_owned());
    let amount = amount.unwrap_or(&default);
    if let Some(number) = amount.as_i64() {
        return number;
    }
    let text = amount.as_str().unwrap_or_default();
    match text.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok()) {
        None => text.parse().unwrap_or(0),
        Some(percent) => match round {
            Round::Up => (percent * replicas + 99) / 100,
            Round::Down => percent * replicas / 100,
        },
    }
}

/// A disruption budget, reduced to what it asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Budget {
    metadata: BudgetMeta,
    spec: BudgetSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct BudgetMeta {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BudgetSpec {
    selector: Option<LabelSelector>,
    min_available: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
}

/// The disruption budgets of several namespaces, bounded in bytes.
///
/// Where a namespace has more than that, one that covers all its pods stands for the rest: nothing is disrupted that they may
/// protect.
#[derive(Debug, Default)]
pub struct Budgets {
    kept: Vec<Budget>,
    bytes: BTreeMap<String, usize>,
}

impl Budgets {
    /// Bytes of the budgets of one namespace as the API server writes them: some hundred.
    const MOST: usize = 512 << 10;

    /// Keeps a budget of so many bytes.
    pub fn push(&mut self, budget: Budget, bytes: usize) {
        let sum = self.bytes.entry(budget.metadata.namespace.clone()).or_default();
        let had_room = *sum <= Self::MOST;
        *sum += bytes;
        if *sum <= Self::MOST {
            self.kept.push(budget);
        } else if had_room {
            let selector = Some(LabelSelector::default());
            let spec =
                BudgetSpec { selector, max_unavailable: Some(IntOrString::Int(0)), min_available: None };
            self.kept.push(Budget { spec, ..budget });
        }
    }

    /// All that are kept.
    #[must_use]
    pub fn into_all(self) -> Vec<Budget> {
        self.kept
    }
}

impl Budget {
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
            && self.spec.selector.as_ref().is_some_and(|selector| matches(selector, labels))
    }

    /// How many of `replicas` pods have to stay available.
    ///
    /// A budget may cover further workloads; that these lose no pod meanwhile is assumed, as rollouts are paced.
    #[must_use]
    pub fn required(&self, replicas: i64) -> i64 {
        let number = |amount: &IntOrString| match amount {
            IntOrString::Int(number) => i64::from(*number),
            IntOrString::String(text) => scaled(Some(&Value::String(text.clone())), "0", replicas, Round::Up),
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
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
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
        let keeps = |keeps| Replacement::Rolling { keeps };
        for (kind, spec, replicas, expected) in [
            (Kind::Deployment, json!({}), 1, keeps(1)),
            (Kind::Deployment, json!({}), 4, keeps(3)),
            (Kind::Deployment, json!({"strategy": {"type": "Recreate"}}), 3, Replacement::Recreate),
            (
                Kind::Deployment,
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
                1,
                keeps(0),
            ),
            (
                Kind::Deployment,
                json!({"strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}}),
                3,
                keeps(3),
            ),
            (
                Kind::Deployment,
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}}),
                3,
                keeps(2),
            ),
            (Kind::StatefulSet, json!({}), 3, keeps(2)),
            (Kind::StatefulSet, json!({}), 1, keeps(0)),
            (Kind::StatefulSet, json!({"updateStrategy": {"type": "OnDelete"}}), 2, Replacement::OnDelete),
            (Kind::StatefulSet, json!({"updateStrategy": {"type": "OnDelete"}}), 3, Replacement::Withheld),
            (
                Kind::StatefulSet,
                json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}),
                3,
                Replacement::Partitioned,
            ),
            (Kind::DaemonSet, json!({}), 5, keeps(4)),
            (
                Kind::DaemonSet,
                json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
                5,
                keeps(5),
            ),
            (Kind::DaemonSet, json!({"updateStrategy": {"type": "OnDelete"}}), 2, Replacement::OnDelete),
            (Kind::DaemonSet, json!({"updateStrategy": {"type": "OnDelete"}}), 5, Replacement::Withheld),
        ] {
            assert_eq!(replacement(kind, &workload(&spec), replicas), expected, "{kind:?} {spec}");
        }
    }

    fn budget(spec: &Value) -> Budget {
        let budget = json!({"metadata": {"namespace": "n", "name": "b"}, "spec": spec});
        serde_json::from_value(budget).unwrap()
    }

    #[test]
    fn budgets_of_any_size_protect_and_take_bounded_memory() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let mut budgets = Budgets::default();
        for _ in 0..1000 {
            budgets.push(budget(&json!({"selector": {"matchLabels": {"app": "api"}}})), Budgets::MOST / 10);
        }
        let all = budgets.into_all();
        assert_eq!(all.len(), 11);
        let strict = all.iter().filter(|it| it.covers("n", &labels)).map(|it| it.required(3));
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
            assert_eq!(budget(&spec).required(replicas), required, "{spec}");
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
