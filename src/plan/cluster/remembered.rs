//! What is remembered of a cluster between two observations, so that one failed observation changes nothing.

use std::collections::BTreeMap;

use super::{Features, Size};

const SIZE: &str = "size";
const FEATURES: &str = "features";
const DUAL_STACK: &str = "dualStack";

/// The last good facts; empty before the first observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RememberedFacts {
    /// The size that was chosen.
    pub size: Option<Size>,
    /// The switches that could be read last.
    pub features: Option<Features>,
    /// Whether there are both IP families, as read last.
    pub dual_stack: Option<bool>,
}

impl RememberedFacts {
    /// Reads the data of a ConfigMap. What cannot be read is not remembered, and decided again.
    #[must_use]
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| data.get(key).map(|text| text.trim());
        Self {
            size: text(SIZE).and_then(Size::parse),
            features: text(FEATURES).and_then(|text| Features::parse(text).ok()),
            dual_stack: text(DUAL_STACK).and_then(|text| text.parse().ok()),
        }
    }

    /// The data of a ConfigMap, as [`Self::parse`] reads it.
    #[must_use]
    pub fn to_data(self) -> BTreeMap<String, String> {
        let entries = [
            (SIZE, self.size.map(|size| size.as_str().to_owned())),
            (FEATURES, self.features.map(Features::to_json)),
            (DUAL_STACK, self.dual_stack.map(|on| on.to_string())),
        ];
        entries.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_facts_survive_a_round_trip() {
        for facts in [
            RememberedFacts::default(),
            RememberedFacts { size: Some(Size::Evaluation), ..RememberedFacts::default() },
            RememberedFacts {
                size: Some(Size::Production),
                features: Some(Features { disable_cni: true, enable_control_plane_vpa: false }),
                dual_stack: Some(true),
            },
        ] {
            assert_eq!(RememberedFacts::parse(&facts.to_data()), facts);
        }
    }

    #[test]
    fn corrupt_entries_are_dropped_one_by_one() {
        let data = [("size", "huge"), ("features", "{"), ("dualStack", "true")]
            .map(|(key, text)| (key.to_owned(), text.to_owned()));
        let facts = RememberedFacts::parse(&BTreeMap::from(data));
        assert_eq!(facts, RememberedFacts { dual_stack: Some(true), ..RememberedFacts::default() });
    }
}
