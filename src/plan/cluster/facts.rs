//! From what is observed and what is remembered to the facts that a plan is built from.

use gotemplate::yaml;

use super::provider::detect_provider;
use super::size::choose_size;
use super::{ClusterFacts, Error, Features, ObservedCluster, RememberedFacts};

/// The decision about an observation of the cluster.
#[derive(Debug)]
pub struct ClusterDecision {
    /// What to plan with. Only meaningful if [`Self::is_decided`].
    pub facts: ClusterFacts,
    /// What to remember until the next observation.
    pub remembered: RememberedFacts,
    /// Settings that cannot be read; the facts hold the last good ones.
    pub errors: Vec<Error>,
    /// Whether every fact is known, now or from before.
    pub is_decided: bool,
}

/// Decides on what is `seen`, given what is remembered of earlier observations.
#[must_use]
pub fn decide(observed: &ObservedCluster, remembered: &RememberedFacts) -> ClusterDecision {
    let mut errors = Vec::new();
    let facts_to_remember = RememberedFacts {
        size: choose_size(observed.nodes.values(), remembered.size),
        features: ok_or_collect(read_features(observed), &mut errors).or(remembered.features),
        dual_stack: ok_or_collect(read_dual_stack(observed), &mut errors).or(remembered.dual_stack),
    };
    let facts = ClusterFacts {
        size: facts_to_remember.size.unwrap_or_default(),
        provider: detect_provider(observed),
        dual_stack: facts_to_remember.dual_stack.unwrap_or_default(),
        features: facts_to_remember.features.unwrap_or_default(),
        vertical_autoscaling: observed.vertical_autoscaling,
        api_port: observed.api_port.unwrap_or_default(),
    };
    let is_decided = facts_to_remember.features.is_some() && facts_to_remember.dual_stack.is_some();
    ClusterDecision { facts, remembered: facts_to_remember, errors, is_decided }
}

fn ok_or_collect<T>(result: Result<T, Error>, errors: &mut Vec<Error>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn read_features(observed: &ObservedCluster) -> Result<Features, Error> {
    let Some(text) = &observed.features else { return Ok(Features::default()) };
    Features::parse(text).map_err(|cause| Error::Features { cause })
}

fn read_dual_stack(observed: &ObservedCluster) -> Result<bool, Error> {
    let Some(details) = &observed.provisioning_details else { return Ok(false) };
    let details = yaml::parse_json(details).map_err(|cause| Error::ProvisioningInfo { cause })?;
    Ok(details["networkDetails"]["dualStackIPEnabled"] == true)
}
