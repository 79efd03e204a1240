//! The objects that must be ready before the next stage of an installation starts.
//!
//! Pure; [`super::wait`] waits for them.

use crate::kubernetes::object::ObjectId;
use crate::plan::Stage;

/// The Service that the injector webhooks call.
const WEBHOOK_SERVICE: &str = "istiod";

/// A condition that must hold before the next stage starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadinessCondition {
    /// These CustomResourceDefinitions are established.
    Crds(Vec<ObjectId>),
    /// One object is ready by the rule for its kind.
    Object(ObjectId),
    /// A Service has a ready endpoint.
    Endpoint {
        /// The Service.
        service: ObjectId,
        /// The workload behind it, which explains why there is none.
        workload: Option<ObjectId>,
    },
}

/// The conditions after `stage`, given the objects applied so far.
///
/// Nothing before istiod needs an established CRD, so the wait for CRDs comes last and everything else is written meanwhile. One
/// ready istiod is enough for the webhooks that call it; later stages need all of its pods. CNI and gateways roll out at the
/// same time, with one wait for both.
#[must_use]
pub fn readiness_conditions(stage: Stage, applied: &[(Stage, ObjectId)]) -> Vec<ReadinessCondition> {
    let of = |stages: &'static [Stage]| applied.iter().filter(|(s, _)| stages.contains(s)).map(|(_, id)| id);
    let workloads = |stages| {
        of(stages).filter(|id| is_workload(&id.group, &id.kind)).cloned().map(ReadinessCondition::Object)
    };
    match stage {
        Stage::Configuration => {
            let crds: Vec<_> = of(&[Stage::CustomResourceDefinitions]).cloned().collect();
            // A condition without an object would never hold: no event reports it.
            if crds.is_empty() { Vec::new() } else { vec![ReadinessCondition::Crds(crds)] }
        }
        Stage::Istiod => {
            let services =
                of(&[Stage::Istiod]).filter(|id| id.is("", "Service") && id.name == WEBHOOK_SERVICE);
            let workload = of(&[Stage::Istiod]).find(|id| is_workload(&id.group, &id.kind));
            let endpoint = |service: &ObjectId| ReadinessCondition::Endpoint {
                service: service.clone(),
                workload: workload.cloned(),
            };
            services.map(endpoint).collect()
        }
        Stage::Injection => {
            let live = of(&[Stage::Injection]).filter(|id| id.name.starts_with("istio-revision-tag-"));
            workloads(&[Stage::Istiod]).chain(live.cloned().map(ReadinessCondition::Object)).collect()
        }
        Stage::Gateways => workloads(&[Stage::Cni, Stage::Gateways]).collect(),
        _ => Vec::new(),
    }
}

/// Whether a kind has pods whose rollout a stage waits for.
#[must_use]
pub fn is_workload(group: &str, kind: &str) -> bool {
    group == "apps" && matches!(kind, "Deployment" | "DaemonSet")
}

impl ReadinessCondition {
    /// The names of its objects in messages.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Crds(ids) => ids.iter().map(ToString::to_string).collect(),
            Self::Object(id) => vec![id.to_string()],
            Self::Endpoint { service, .. } => vec![endpoint_name(service)],
        }
    }
}

/// The name of a Service's endpoint in messages.
pub(crate) fn endpoint_name(service: &ObjectId) -> String {
    format!("the endpoint of {service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(group: &str, kind: &str, name: &str) -> ObjectId {
        let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        match kind {
            "MutatingWebhookConfiguration" => ObjectId::cluster_scoped(&api_version, kind, name),
            _ => ObjectId::namespaced(&api_version, kind, "istio-system", name),
        }
    }

    fn crd() -> ObjectId {
        let name = "gateways.networking.istio.io";
        ObjectId::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    }

    fn applied() -> Vec<(Stage, ObjectId)> {
        vec![
            (Stage::CustomResourceDefinitions, crd()),
            (Stage::Istiod, id("", "Service", "istiod")),
            (Stage::Istiod, id("", "Service", "istiod-revision-tag-default")),
            (Stage::Istiod, id("apps", "Deployment", "istiod")),
            (
                Stage::Injection,
                id(
                    "admissionregistration.k8s.io",
                    "MutatingWebhookConfiguration",
                    "istio-revision-tag-default",
                ),
            ),
            (
                Stage::Injection,
                id("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "istio-sidecar-injector"),
            ),
            (Stage::Cni, id("apps", "DaemonSet", "istio-cni-node")),
            (Stage::Gateways, id("apps", "Deployment", "istio-ingressgateway")),
        ]
    }

    fn names(stage: Stage) -> Vec<String> {
        readiness_conditions(stage, &applied()).iter().flat_map(ReadinessCondition::names).collect()
    }

    #[test]
    fn only_istiod_waits_until_the_crds_are_established() {
        let waits_for_crds = |stage: &Stage| {
            readiness_conditions(*stage, &applied()).contains(&ReadinessCondition::Crds(vec![crd()]))
        };
        let waits: Vec<Stage> = Stage::ALL.into_iter().filter(waits_for_crds).collect();
        assert_eq!(waits, [Stage::Configuration]);
        let next = Stage::ALL.into_iter().find(|stage| *stage > Stage::Configuration);
        assert_eq!(next, Some(Stage::Istiod));
    }

    #[test]
    fn injection_waits_for_one_ready_istiod_and_later_stages_for_all() {
        assert_eq!(names(Stage::Istiod), ["the endpoint of Service istio-system/istiod"]);
        assert_eq!(
            names(Stage::Injection),
            ["Deployment istio-system/istiod", "MutatingWebhookConfiguration istio-revision-tag-default"]
        );
    }

    #[test]
    fn an_istiod_without_an_endpoint_is_explained_by_its_deployment() {
        let [ReadinessCondition::Endpoint { workload, .. }] =
            &readiness_conditions(Stage::Istiod, &applied())[..]
        else {
            panic!("another condition")
        };
        assert_eq!(workload.as_ref(), Some(&id("apps", "Deployment", "istiod")));
    }

    #[test]
    fn one_wait_covers_cni_and_gateways() {
        assert_eq!(readiness_conditions(Stage::Cni, &applied()), []);
        assert_eq!(
            names(Stage::Gateways),
            ["DaemonSet istio-system/istio-cni-node", "Deployment istio-system/istio-ingressgateway"]
        );
    }

    #[test]
    fn a_stage_without_applied_objects_has_no_readiness_conditions() {
        for stage in Stage::ALL {
            assert!(readiness_conditions(stage, &[]).is_empty(), "{stage}");
        }
    }
}
