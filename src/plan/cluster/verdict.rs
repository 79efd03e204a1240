//! From what was seen and what is remembered to the facts that a plan is made of.

use gotemplate::yaml;

use super::provider::provider;
use super::size::size;
use super::{ClusterFacts, Error, Features, Memory, Sightings};

/// What follows from a look at the cluster.
#[derive(Debug)]
pub struct Verdict {
    /// What to plan with. Only meaningful if [`Self::is_decided`].
    pub facts: ClusterFacts,
    /// What to remember until the next look.
    pub memory: Memory,
    /// Settings that cannot be read; the facts hold the last good ones.
    pub complaints: Vec<Error>,
    /// Whether there was an answer, given now or remembered, to every question.
    pub is_decided: bool,
}

/// Decides on what was `seen`, given what is remembered of earlier looks.
#[must_use]
pub fn decide(seen: &Sightings, remembered: &Memory) -> Verdict {
    let mut complaints = Vec::new();
    let memory = Memory {
        size: size(seen.nodes.values(), remembered.size),
        features: readable(features(seen), &mut complaints).or(remembered.features),
        dual_stack: readable(dual_stack(seen), &mut complaints).or(remembered.dual_stack),
    };
    let facts = ClusterFacts {
        size: memory.size.unwrap_or_default(),
        provider: provider(seen),
        dual_stack: memory.dual_stack.unwrap_or_default(),
        features: memory.features.unwrap_or_default(),
        vertical_autoscaling: seen.vertical_autoscaling,
        api_port: seen.api_port.unwrap_or_default(),
    };
    let is_decided = memory.features.is_some() && memory.dual_stack.is_some();
    Verdict { facts, memory, complaints, is_decided }
}

fn readable<T>(answer: Result<T, Error>, complaints: &mut Vec<Error>) -> Option<T> {
    answer.map_err(|error| complaints.push(error)).ok()
}

fn features(seen: &Sightings) -> Result<Features, Error> {
    let Some(text) = &seen.features else { return Ok(Features::default()) };
    Features::parse(text).map_err(|cause| Error::Features { cause })
}

fn dual_stack(seen: &Sightings) -> Result<bool, Error> {
    let Some(details) = &seen.provisioning_details else { return Ok(false) };
    let details = yaml::parse_json(details).map_err(|cause| Error::ProvisioningInfo { cause })?;
    Ok(details["networkDetails"]["dualStackIPEnabled"] == true)
}
