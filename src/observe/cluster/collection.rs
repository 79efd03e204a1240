//! What all watches of the cluster's settings have told so far.
//! Pure: takes changes in, tells what follows.

use std::collections::BTreeMap;

use kube::runtime::watcher;
use serde_json::Value;

use super::source::{Change, Fact, Source};
use crate::kubernetes::is_not_served;
use crate::plan::cluster::{Memory, Sightings, api_port, load_balancer_type};

/// What one watch has told so far.
#[derive(Debug, Default)]
struct Told {
    facts: BTreeMap<String, Fact>,
    /// The list that is under way.
    listing: BTreeMap<String, Fact>,
    is_complete: bool,
    /// Why the watch does not get on at present.
    trouble: Option<String>,
}

/// What all watches have told so far.
#[derive(Debug, Default)]
pub(super) struct Collection {
    told: BTreeMap<Source, Told>,
}

impl Collection {
    /// Takes a change in; returns whether anything may follow from it.
    pub(super) fn take_in(&mut self, source: Source, change: Change) -> bool {
        let told = self.told.entry(source).or_default();
        let trouble = match &change {
            Change::Failed(error) => Some(crate::telemetry::one_line(error)),
            _ => None,
        };
        let is_news = trouble.is_some() && told.trouble.is_none();
        if let (true, Change::Failed(error)) = (is_news, &change) {
            log(source, error);
        }
        told.trouble = trouble;
        match change {
            Change::Listing => told.listing.clear(),
            Change::Listed(name, fact) => {
                told.listing.insert(name, fact);
            }
            Change::Complete => {
                let listed = std::mem::take(&mut told.listing);
                let changed = !told.is_complete || listed != told.facts;
                (told.facts, told.is_complete) = (listed, true);
                return changed;
            }
            Change::Seen(name, fact) => return told.facts.insert(name, fact.clone()) != Some(fact),
            Change::Gone(name) => return told.facts.remove(&name).is_some(),
            Change::Failed(_) => return is_news,
        }
        false
    }

    /// Forgets a source that is not watched any more.
    pub(super) fn forget(&mut self, source: Source) {
        self.told.remove(&source);
    }

    /// The needed sources that have not been read yet, with what keeps them.
    pub(super) fn missing(&self) -> Vec<(Source, Option<String>)> {
        let missing = |source: &Source| !self.is_complete(*source);
        Source::NEEDED
            .into_iter()
            .filter(missing)
            .map(|source| (source, self.told.get(&source).and_then(|told| told.trouble.clone())))
            .collect()
    }

    pub(super) fn is_complete(&self, source: Source) -> bool {
        self.told.get(&source).is_some_and(|told| told.is_complete)
    }

    /// Whether a source has any object.
    pub(super) fn exists(&self, source: Source) -> bool {
        self.facts(source).next().is_some()
    }

    /// Whether there can be filters.
    pub(super) fn serves_filters(&self) -> bool {
        self.facts(Source::FilterDefinition).any(|(_, fact)| *fact == Fact::Established(true))
    }

    pub(super) fn sightings(&self) -> Sightings {
        let machine = |(name, fact): (&String, &Fact)| match fact {
            Fact::Machine(machine) => Some((name.clone(), *machine)),
            _ => None,
        };
        let text = |source, key: &str| Some(self.object(source)?["data"][key].as_str()?.to_owned());
        Sightings {
            nodes: self.facts(Source::Nodes).filter_map(machine).collect(),
            features: text(Source::Features, "features"),
            provisioning_details: text(Source::ProvisioningInfo, "details"),
            keeps_classic_load_balancer: self.exists(Source::ClassicLoadBalancer),
            load_balancer_type: self.object(Source::IngressService).and_then(load_balancer_type),
            api_port: self.object(Source::ApiService).and_then(api_port),
            vertical_autoscaling: self.exists(Source::AutoscalerDefinition),
        }
    }

    pub(super) fn memory(&self) -> Memory {
        let data = self.object(Source::Memory).and_then(|map| map["data"].as_object());
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        Memory::parse(&data.into_iter().flatten().filter_map(text).collect())
    }

    /// Names of the filters that change the ingress gateway, or why they are not known.
    pub(super) fn filters(&self) -> Result<Vec<String>, Option<String>> {
        if self.is_complete(Source::FilterDefinition) && !self.serves_filters() {
            return Ok(Vec::new());
        }
        let told = self.told.get(&Source::Filters);
        if !self.is_complete(Source::Filters) {
            return Err(told.and_then(|told| told.trouble.clone()));
        }
        let changing = |(_, fact): &(&String, &Fact)| matches!(fact, Fact::ChangesGateway(true));
        Ok(self.facts(Source::Filters).filter(changing).map(|(name, _)| name.clone()).collect())
    }

    fn facts(&self, source: Source) -> impl Iterator<Item = (&String, &Fact)> {
        self.told.get(&source).into_iter().flat_map(|told| &told.facts)
    }

    fn object(&self, source: Source) -> Option<&Value> {
        self.facts(source).find_map(|(_, fact)| match fact {
            Fact::Object(object) => Some(object),
            _ => None,
        })
    }
}

fn log(source: Source, error: &watcher::Error) {
    let cause = crate::telemetry::one_line(error);
    match error {
        // A kind is served a moment after it has been defined.
        error if is_not_served(error) => {
            tracing::debug!(cause, "cannot watch {source} yet");
        }
        _ => tracing::warn!(cause, "cannot watch {source}, trying again"),
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
        collection.take_in(source, Change::Listing);
        for (name, fact) in facts {
            collection.take_in(source, Change::Listed(name.to_owned(), fact));
        }
        collection.take_in(source, Change::Complete)
    }

    #[test]
    fn a_source_is_missing_until_its_list_is_complete() {
        let mut collection = Collection::default();
        assert_eq!(collection.missing().len(), Source::NEEDED.len());
        for source in Source::NEEDED {
            assert!(listed(&mut collection, source, vec![]), "that there is nothing is news, too");
        }
        assert_eq!(collection.missing(), []);
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone_but_not_before_its_end() {
        let mut collection = Collection::default();
        listed(&mut collection, Source::Features, vec![("istio-features", features("{}"))]);
        collection.take_in(Source::Features, Change::Listing);
        assert_eq!(
            collection.sightings().features.as_deref(),
            Some("{}"),
            "a list under way takes nothing away"
        );
        assert!(collection.take_in(Source::Features, Change::Complete));
        assert_eq!(collection.sightings().features, None);
    }

    #[test]
    fn what_is_told_twice_is_no_news() {
        let mut collection = Collection::default();
        assert!(listed(&mut collection, Source::Features, vec![("istio-features", features("{}"))]));
        assert!(!listed(&mut collection, Source::Features, vec![("istio-features", features("{}"))]));
        let seen = |text: &str| Change::Seen("istio-features".to_owned(), features(text));
        assert!(!collection.take_in(Source::Features, seen("{}")));
        assert!(collection.take_in(Source::Features, seen("[]")));
        assert!(collection.take_in(Source::Features, Change::Gone("istio-features".to_owned())));
        assert!(!collection.take_in(Source::Features, Change::Gone("istio-features".to_owned())));
    }

    #[test]
    fn filters_are_unknown_until_they_are_listed_unless_there_can_be_none() {
        let mut collection = Collection::default();
        assert_eq!(collection.filters(), Err(None));
        listed(&mut collection, Source::FilterDefinition, vec![]);
        assert_eq!(collection.filters(), Ok(vec![]));
        for (established, filters) in [(false, Ok(vec![])), (true, Err(None))] {
            let definition = vec![("envoyfilters", Fact::Established(established))];
            listed(&mut collection, Source::FilterDefinition, definition);
            assert_eq!(collection.filters(), filters);
        }
        let filters = vec![("a", Fact::ChangesGateway(false)), ("b", Fact::ChangesGateway(true))];
        listed(&mut collection, Source::Filters, filters);
        assert_eq!(collection.filters(), Ok(vec!["b".to_owned()]));
    }
}
