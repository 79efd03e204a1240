//! The nodes a test bed starts with. They exist as objects only; kwok keeps them ready.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How large the cluster is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// Three nodes of 4 CPU and 16 Gi each.
    #[default]
    Production,
    /// One node of 2 CPU and 8 Gi, as on a laptop.
    Evaluation,
}

impl Size {
    pub(crate) fn nodes(self) -> Vec<Node> {
        let (count, cpu, memory) = match self {
            Self::Production => (3, "4", "16Gi"),
            Self::Evaluation => (1, "2", "8Gi"),
        };
        (1..=count).map(|number| node(&format!("node-{number}"), cpu, memory)).collect()
    }
}

/// A Linux node called `name` with these resources; create it and it becomes ready.
#[must_use]
pub fn node(name: &str, cpu: &str, memory: &str) -> Node {
    let labels =
        [("kubernetes.io/hostname", name), ("kubernetes.io/os", "linux"), ("kubernetes.io/arch", "amd64")];
    let resources: BTreeMap<String, Quantity> =
        [("cpu", cpu), ("memory", memory), ("pods", "1000"), ("ephemeral-storage", "100Gi")]
            .into_iter()
            .map(|(resource, amount)| (resource.to_owned(), Quantity(amount.to_owned())))
            .collect();
    Node {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec::default()),
        status: Some(NodeStatus {
            allocatable: Some(resources.clone()),
            capacity: Some(resources),
            ..NodeStatus::default()
        }),
    }
}

pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
