//! The facts that the watches of the cluster's settings have reported so far.
//! Pure: applies events and returns the observed facts.

use std::collections::BTreeMap;

use kube::runtime::watcher;
use serde_json::Value;

use super::source::{Fact, Source, SourceEvent};
use crate::kubernetes::is_not_served;
use crate::plan::cluster::{ObservedCluster, RememberedFacts, api_port, load_balancer_type};

/// The state of one watch.
#[derive(Debug, Default)]
struct SourceState {
    facts: BTreeMap<String, Fact>,
    /// The list in progress.
    listing: BTreeMap<String, Fact>,
    is_complete: bool,
    /// Why the watch currently fails.
    failure: Option<String>,
}

/// The state of all watches.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    states: BTreeMap<Source, SourceState>,
}

impl Collection {
    /// Applies an event; returns whether the facts may have changed.
    pub(crate) fn apply_event(&mut self, source: Source, event: SourceEvent) -> bool {
        let state = self.states.entry(source).or_default();
        let failure = match &event {
            SourceEvent::Failed(error) => Some(crate::telemetry::format_error_chain(error)),
            _ => None,
        };
        let is_new_failure = failure.is_some() && state.failure.is_none();
        if let (true, SourceEvent::Failed(error)) = (is_new_failure, &event) {
            log(source, error);
        }
        state.failure = failure;
        match event {
            SourceEvent::ListStarted => state.listing.clear(),
            SourceEvent::ListItem(name, fact) => {
                state.listing.insert(name, fact);
            }
            SourceEvent::ListCompleted => {
                let listed = std::mem::take(&mut state.listing);
                let changed = !state.is_complete || listed != state.facts;
                (state.facts, state.is_complete) = (listed, true);
                return changed;
            }
            SourceEvent::Updated(name, fact) => return state.facts.insert(name, fact.clone()) != Some(fact),
            SourceEvent::Deleted(name) => return state.facts.remove(&name).is_some(),
            SourceEvent::Failed(_) => return is_new_failure,
        }
        false
    }

    /// Removes a source that is no longer watched.
    pub(crate) fn remove(&mut self, source: Source) {
        self.states.remove(&source);
    }

    /// The required sources that are not read yet, with the cause if known.
    pub(crate) fn missing(&self) -> Vec<(Source, Option<String>)> {
        let missing = |source: &Source| !self.is_complete(*source);
        Source::REQUIRED
            .into_iter()
            .filter(missing)
            .map(|source| (source, self.states.get(&source).and_then(|state| state.failure.clone())))
            .collect()
    }

    pub(crate) fn is_complete(&self, source: Source) -> bool {
        self.states.get(&source).is_some_and(|state| state.is_complete)
    }

    /// Whether a source has any object.
    pub(crate) fn exists(&self, source: Source) -> bool {
        self.facts(source).next().is_some()
    }

    /// Whether the API server serves `EnvoyFilter`s.
    pub(crate) fn serves_filters(&self) -> bool {
        self.facts(Source::EnvoyFilterCrd).any(|(_, fact)| *fact == Fact::Established(true))
    }

    pub(crate) fn observed(&self) -> ObservedCluster {
        let node_facts = |(name, fact): (&String, &Fact)| match fact {
            Fact::Node(facts) => Some((name.clone(), *facts)),
            _ => None,
        };
        let text = |source, key: &str| Some(self.object(source)?["data"][key].as_str()?.to_owned());
        ObservedCluster {
            nodes: self.facts(Source::Nodes).filter_map(node_facts).collect(),
            features: text(Source::Features, "features"),
            provisioning_details: text(Source::ProvisioningInfo, "details"),
            keeps_classic_load_balancer: self.exists(Source::ClassicLoadBalancer),
            load_balancer_type: self.object(Source::IngressService).and_then(load_balancer_type),
            api_port: self.object(Source::ApiService).and_then(api_port),
            vertical_autoscaling: self.exists(Source::AutoscalerCrd),
        }
    }

    pub(crate) fn remembered(&self) -> RememberedFacts {
        let data = self.object(Source::RememberedFacts).and_then(|map| map["data"].as_object());
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        RememberedFacts::parse(&data.into_iter().flatten().filter_map(text).collect())
    }

    /// Names of the `EnvoyFilter`s that change the ingress gateway, or why they are not known.
    pub(crate) fn filters(&self) -> Result<Vec<String>, Option<String>> {
        if self.is_complete(Source::EnvoyFilterCrd) && !self.serves_filters() {
            return Ok(Vec::new());
        }
        let state = self.states.get(&Source::EnvoyFilters);
        if !self.is_complete(Source::EnvoyFilters) {
            return Err(state.and_then(|state| state.failure.clone()));
        }
        let changing = |(_, fact): &(&String, &Fact)| matches!(fact, Fact::ChangesGateway(true));
        Ok(self.facts(Source::EnvoyFilters).filter(changing).map(|(name, _)| name.clone()).collect())
    }

    fn facts(&self, source: Source) -> impl Iterator<Item = (&String, &Fact)> {
        self.states.get(&source).into_iter().flat_map(|state| &state.facts)
    }

    fn object(&self, source: Source) -> Option<&Value> {
        self.facts(source).find_map(|(_, fact)| match fact {
            Fact::Object(object) => Some(object),
            _ => None,
        })
    }
}

fn log(source: Source, error: &watcher::Error) {
    let cause = crate::telemetry::format_error_chain(error);
    match error {
        // A kind is served with a delay after its CRD is established.
        error if is_not_served(error) => {
            tracing::debug!(cause, "{source} cannot be watched yet");
        }
        _ => tracing::warn!(cause, "failed to watch {source}, retrying"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn features(json: &str) -> Fact {
        Fact::Object(json!({"data": {"features": json}}))
    }

    fn listed(collection: &mut Collection, source: Source, facts: Vec<(&str, Fact)>) -> bool {
        collection.apply_event(source, SourceEvent::ListStarted);
        for (name, fact) in facts {
            collection.apply_event(source, SourceEvent::ListItem(name.to_owned(), fact));
        }
        collection.apply_event(source, SourceEvent::ListCompleted)
    }

    #[test]
    fn a_source_is_missing_until_its_list_is_complete() {
        let mut collection = Collection::default();
        assert_eq!(collection.missing().len(), Source::REQUIRED.len());
        for source in Source::REQUIRED {
            assert!(listed(&mut collection, source, vec![]), "an empty first list is a change, too");
        }
        assert_eq!(collection.missing(), []);
    }

    #[test]
    fn objects_missing_from_a_new_list_are_dropped_at_its_end() {
        let mut collection = Collection::default();
        listed(&mut collection, Source::Features, vec![("istio-features", features("{}"))]);
        collection.apply_event(Source::Features, SourceEvent::ListStarted);
        assert_eq!(
            collection.observed().features.as_deref(),
            Some("{}"),
            "a list in progress removes nothing"
        );
        assert!(collection.apply_event(Source::Features, SourceEvent::ListCompleted));
        assert_eq!(collection.observed().features, None);
    }

    #[test]
    fn an_event_that_repeats_a_known_fact_changes_nothing() {
        let mut collection = Collection::default();
        assert!(listed(&mut collection, Source::Features, vec![("istio-features", features("{}"))]));
        assert!(!listed(&mut collection, Source::Features, vec![("istio-features", features("{}"))]));
        let updated = |text: &str| SourceEvent::Updated("istio-features".to_owned(), features(text));
        assert!(!collection.apply_event(Source::Features, updated("{}")));
        assert!(collection.apply_event(Source::Features, updated("[]")));
        assert!(collection.apply_event(Source::Features, SourceEvent::Deleted("istio-features".to_owned())));
        assert!(!collection.apply_event(Source::Features, SourceEvent::Deleted("istio-features".to_owned())));
    }

    #[test]
    fn filters_are_unknown_until_listed_unless_they_are_not_served() {
        let mut collection = Collection::default();
        assert_eq!(collection.filters(), Err(None));
        listed(&mut collection, Source::EnvoyFilterCrd, vec![]);
        assert_eq!(collection.filters(), Ok(vec![]));
        for (established, filters) in [(false, Ok(vec![])), (true, Err(None))] {
            let crd = vec![("envoyfilters", Fact::Established(established))];
            listed(&mut collection, Source::EnvoyFilterCrd, crd);
            assert_eq!(collection.filters(), filters);
        }
        let filters = vec![("a", Fact::ChangesGateway(false)), ("b", Fact::ChangesGateway(true))];
        listed(&mut collection, Source::EnvoyFilters, filters);
        assert_eq!(collection.filters(), Ok(vec!["b".to_owned()]));
    }
}
