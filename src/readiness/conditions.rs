//! What must be ready before the next stage of an installation may start.
//!
//! Pure; `wait` does the waiting.

use crate::kubernetes::object::ObjectId;
use crate::plan::Stage;

/// The Service that the webhooks of injection call.
const WEBHOOK_SERVICE: &str = "istiod";

/// Something that must be ready before the next stage starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadinessCondition {
    /// These custom resource definitions are established.
    Crds(Vec<ObjectId>),
    /// One object, with the rule for its kind.
    Object(ObjectId),
    /// A Service has a ready endpoint.
    Endpoint {
        /// The Service.
        service: ObjectId,
        /// The workload behind it, which knows why there is none.
        workload: Option<ObjectId>,
    },
}

/// What must be ready after `stage` before the next may start, of the objects applied so far.
///
/// Nothing before istiod needs a definition to be established, so that is awaited last: what can be written meanwhile is.
/// One istiod that answers is enough for the webhooks that call it; what comes after them needs all of it. CNI and gateways
/// roll out at the same time and are awaited together.
#[must_use]
pub fn readiness_conditions(stage: Stage, applied: &[(Stage, ObjectId)]) -> Vec<ReadinessCondition> {
    let of = |stages: &'static [Stage]| applied.iter().filter(|(s, _)| stages.contains(s)).map(|(_, id)| id);
    let workloads = |stages| {
        of(stages).filter(|id| is_workload(&id.group, &id.kind)).cloned().map(ReadinessCondition::Object)
    };
    match stage {
        Stage::Configuration => {
            let crds: Vec<_> = of(&[Stage::CustomResourceDefinitions]).cloned().collect();
            // A gate without an object would never open: no event is about it.
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

/// Whether a kind is one that has pods, whose rollout is awaited.
#[must_use]
pub fn is_workload(group: &str, kind: &str) -> bool {
    group == "apps" && matches!(kind, "Deployment" | "DaemonSet")
}

impl ReadinessCondition {
    /// How the objects that the gate waits for are called in messages.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Crds(ids) => ids.iter().map(ToString::to_string).collect(),
            Self::Object(id) => vec![id.to_string()],
            Self::Endpoint { service, .. } => vec![endpoint_name(service)],
        }
    }
}

/// How the endpoint of a Service is called in messages.
pub(crate) fn endpoint_name(service: &ObjectId) -> String {
    format!("the endpoint of {service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(group: &str, kind: &str, name: &str) -> ObjectId {
        let namespace = (kind != "MutatingWebhookConfiguration").then(|| "istio-system".to_owned());
        ObjectId {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            namespace,
            name: name.into(),
        }
    }

    fn crd() -> ObjectId {
        let kind = "CustomResourceDefinition";
        ObjectId { namespace: None, ..id("apiextensions.k8s.io", kind, "gateways.networking.istio.io") }
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
            panic!("another gate")
        };
        assert_eq!(workload.as_ref(), Some(&id("apps", "Deployment", "istiod")));
    }

    #[test]
    fn cni_and_gateways_are_waited_for_together() {
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
