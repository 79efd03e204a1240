//! Which size of installation fits a cluster.
//!
//! Pure. A size once chosen is kept until the cluster has changed by more than one node: another size means other replicas and
//! other resources of every sidecar, so it must not follow each node that an autoscaler adds or that is being replaced.

use serde::{Deserialize, Serialize};

use super::NodeFacts;

/// Below this sum over all nodes, in thousandths of a core, a cluster is small.
const PRODUCTION_CPU: i128 = 5 * 1_000;
/// Below this sum over all nodes, in thousandths of a byte, a cluster is small.
const PRODUCTION_MEMORY: i128 = 10_000_000_000 * 1_000;

/// Size of an installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    /// Several replicas, room to grow.
    #[default]
    Production,
    /// As small as possible.
    Evaluation,
}

impl Size {
    /// The size as it is shown and remembered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "Production",
            Self::Evaluation => "Evaluation",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Production, Self::Evaluation].into_iter().find(|size| size.as_str() == text)
    }
}

/// The size that fits a cluster of `nodes`; `None` if nothing is known.
///
/// `chosen` is the size that it had so far. It is left for a smaller one only if one more node, as large as the largest,
/// would not bring it back, and for a larger one only if it fits without the largest node. Without nodes, as in a
/// cluster that is hibernated, it stays.
pub(super) fn choose_size<'a>(
    nodes: impl IntoIterator<Item = &'a NodeFacts>,
    chosen: Option<Size>,
) -> Option<Size> {
    let mut sum = (0_i128, 0_i128);
    let mut largest = (0_i128, 0_i128);
    let mut count = 0_usize;
    for node in nodes {
        sum = (sum.0.saturating_add(node.cpu), sum.1.saturating_add(node.memory));
        largest = (largest.0.max(node.cpu), largest.1.max(node.memory));
        count += 1;
    }
    if count == 0 {
        return chosen;
    }
    let adjusted = match chosen {
        None => sum,
        Some(Size::Production) => (sum.0.saturating_add(largest.0), sum.1.saturating_add(largest.1)),
        Some(Size::Evaluation) => (sum.0 - largest.0, sum.1 - largest.1),
    };
    let is_small = adjusted.0 < PRODUCTION_CPU || adjusted.1 < PRODUCTION_MEMORY;
    Some(if is_small { Size::Evaluation } else { Size::Production })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(cores: i128, gigabytes: i128) -> NodeFacts {
        NodeFacts { cpu: cores * 1_000, memory: gigabytes * 1_000_000_000_000, ..NodeFacts::default() }
    }

    #[test]
    fn a_first_choice_follows_the_sums_alone() {
        for (nodes, expected) in [
            (vec![], None),
            (vec![node(5, 10)], Some(Size::Production)),
            (vec![node(4, 64)], Some(Size::Evaluation)),
            (vec![node(64, 9)], Some(Size::Evaluation)),
            (vec![node(4, 5), node(1, 5)], Some(Size::Production)),
        ] {
            assert_eq!(choose_size(&nodes, None), expected, "{nodes:?}");
        }
    }

    #[test]
    fn a_chosen_size_does_not_change_with_a_single_node() {
        use Size::{Evaluation, Production};
        for (nodes, chosen, expected) in [
            (vec![node(4, 16); 2], Production, Production),
            (vec![node(4, 16); 1], Production, Production),
            (vec![node(2, 8)], Production, Evaluation),
            (vec![node(4, 16); 2], Evaluation, Evaluation),
            (vec![node(4, 16); 3], Evaluation, Production),
            (vec![node(2, 8), node(16, 64)], Evaluation, Evaluation),
            (vec![], Evaluation, Evaluation),
        ] {
            assert_eq!(choose_size(&nodes, Some(chosen)), Some(expected), "{nodes:?} {chosen:?}");
        }
    }

    proptest! {
        #[test]
        fn one_node_more_or_less_does_not_change_the_size(
            cores in 1_i128..64, gigabytes in 1_i128..256, count in 1_usize..20,
        ) {
            let nodes = vec![node(cores, gigabytes); count];
            let chosen = choose_size(&nodes, None);
            prop_assert_eq!(choose_size(&nodes[1..], chosen), chosen);
            let more = vec![node(cores, gigabytes); count + 1];
            prop_assert_eq!(choose_size(&more, chosen), chosen);
        }

        #[test]
        fn a_choice_is_stable_for_the_same_nodes(
            nodes in proptest::collection::vec((1_i128..16, 1_i128..64), 1..6), first in any::<bool>(),
        ) {
            let nodes: Vec<_> = nodes.into_iter().map(|(cpu, memory)| node(cpu, memory)).collect();
            let before = if first { Size::Production } else { Size::Evaluation };
            let chosen = choose_size(&nodes, Some(before));
            prop_assert_eq!(choose_size(&nodes, chosen), chosen);
        }
    }
}
