//! The Deployment of istiod, reduced to the fields that are used: the rest is skipped while parsing.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::kubernetes::rollout::{DeploymentCounts, RolloutState};

/// Name of the Deployment.
pub const ISTIOD: &str = "istiod";
const DISCOVERY_CONTAINER: &str = "discovery";

/// The Deployment of istiod.
#[derive(Clone, Debug, Default, Deserialize, Serialize, kube::Resource)]
#[resource(inherit = Deployment)]
pub struct Istiod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: IstiodSpec,
    #[serde(default)]
    status: IstiodStatus,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct IstiodSpec {
    replicas: Option<i64>,
    template: IstiodTemplate,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct IstiodTemplate {
    spec: IstiodPodSpec,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct IstiodPodSpec {
    containers: Vec<IstiodContainer>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct IstiodContainer {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct IstiodStatus {
    observed_generation: Option<i64>,
    replicas: Option<i64>,
    updated_replicas: Option<i64>,
    available_replicas: Option<i64>,
}

impl Istiod {
    /// Whether its rollout is complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let status = &self.status;
        let counts = DeploymentCounts {
            generation: self.metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation.unwrap_or_default(),
            desired: self.spec.replicas.unwrap_or(1),
            total: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
        };
        counts.state() == RolloutState::Complete
    }

    /// Images of its containers.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.spec.template.spec.containers.iter().map(|container| container.image.as_str())
    }

    /// The tag of its image; `None` if no pod is available, or if the image has no tag.
    ///
    /// An istiod that never became available was never in use, so that any other version may replace it.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.status.available_replicas.filter(|available| *available > 0)?;
        let mut containers = self.spec.template.spec.containers.iter();
        let image = &containers.find(|container| container.name == DISCOVERY_CONTAINER)?.image;
        let name = image.rsplit('/').next()?.split('@').next()?;
        name.split_once(':').map(|(_, tag)| tag)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_that_of_an_available_istiod() {
        for (image, available, expected) in [
            ("docker.io/istio/pilot:1.30.3-distroless", 1, Some("1.30.3-distroless")),
            ("registry:5000/istio/pilot:1.30.3@sha256:0123", 2, Some("1.30.3")),
            ("registry:5000/istio/pilot@sha256:0123", 1, None),
            ("docker.io/istio/pilot:1.30.3", 0, None),
        ] {
            let istiod: Istiod = serde_json::from_value(json!({
                "metadata": {},
                "spec": {"selector": {}, "template": {"spec": {"containers": [
                    {"name": "other", "image": "x:1"}, {"name": "discovery", "image": image}]}}},
                "status": {"availableReplicas": available},
            }))
            .unwrap();
            assert_eq!(istiod.tag(), expected, "{image} {available}");
        }
    }

    #[test]
    fn a_rollout_is_complete_when_every_pod_is_new_and_available() {
        for (status, complete) in [
            (
                json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                true,
            ),
            (
                json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                false,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}),
                false,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}),
                false,
            ),
            (json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}), false),
        ] {
            let object = json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status});
            let istiod: Istiod = serde_json::from_value(object).unwrap();
            assert_eq!(istiod.is_complete(), complete, "{status}");
        }
    }
}
