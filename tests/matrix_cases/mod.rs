//! Installations that differ in everything that can differ: kind of cluster, features and fields of the resource.

// Shared by several test programs, none of which uses all of it.
#![allow(dead_code, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod whole;

use std::collections::BTreeSet;
use std::path::Path;

use istio_charts::Bundle;
use istio_manager::api::IstioSpec;
use istio_manager::kubernetes::object::ObjectId;
use istio_manager::plan::configuration::{ClusterFacts, Images};
use istio_manager::plan::{
    AdministratorValues, OverrideMode, OverrideRules, PlanInput, PlanOutcome, Stage, build_plan,
};
use istio_manager::validate::{FeatureStage, validate};
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Each choice with the number of its values. The order is that of [`ValueCase`]'s numbers.
const CHOICES: [(&str, usize); 11] = [
    ("small", 2),
    ("provider", 7),
    ("dual stack", 2),
    ("features", 4),
    ("autoscaler definition", 2),
    ("network policies", 2),
    ("compatibility", 2),
    ("egress gateway", 2),
    ("ambient", 2),
    ("istiod experiments", 2),
    ("mesh and components", 2),
];

/// One combination of values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case([usize; CHOICES.len()]);

impl Case {
    /// A production cluster of no known provider, and a resource that asks for nothing.
    pub fn plain() -> Self {
        Self([0; CHOICES.len()])
    }

    /// Every case that differs from the plain one in a single choice, with its name.
    pub fn variations() -> Vec<(String, Self)> {
        let values = CHOICES.iter().flat_map(|(name, values)| (1..*values).map(move |value| (*name, value)));
        values.map(|(name, value)| (format!("{name} {value}"), Self::plain().with(name, value))).collect()
    }

    /// The same with another value of one choice.
    pub fn with(mut self, choice: &str, value: usize) -> Self {
        for ((name, _), own) in CHOICES.iter().zip(&mut self.0) {
            if *name == choice {
                *own = value;
            }
        }
        self
    }

    fn value(&self, choice: &str) -> usize {
        let place = CHOICES.iter().position(|(name, _)| *name == choice);
        place.and_then(|place| self.0.get(place)).copied().unwrap_or_default()
    }

    /// Whether a choice of two has its second value.
    pub fn is(&self, choice: &str) -> bool {
        self.value(choice) == 1
    }

    /// Whether the cluster goes without the CNI agent.
    pub fn disables_cni(&self) -> bool {
        self.value("features") & 1 == 1
    }

    /// Whether the resource asks for ambient mode, which a cluster without the CNI agent cannot have.
    pub fn is_ambient(&self) -> bool {
        self.is("ambient") && !self.disables_cni()
    }

    /// Whether the cluster wants vertical autoscalers.
    pub fn scales_vertically(&self) -> bool {
        self.value("features") & 2 == 2
    }

    /// The objects that stand for the cluster.
    pub fn cluster(&self) -> Vec<Value> {
        let (kubelet, provider_id, os) = match self.value("provider") {
            0 => ("v1.36.3", "azure:///x", "Ubuntu"),
            1 => ("v1.35.1+k3s1", "k3s://x", "K3s"),
            2 => ("v1.35.1-gke.200", "gce://x", "Container-Optimized OS"),
            3 | 4 => ("v1.36.3", "aws:///eu/i-0", "Garden Linux 1592.5"),
            5 => ("v1.36.3", "openstack:///x", "Ubuntu"),
            _ => ("v1.36.3", "openstack:///x", "Garden Linux 1592.5"),
        };
        let (cpu, memory) = if self.is("small") { ("2", "8Gi") } else { ("8", "32Gi") };
        let config_map = |namespace: &str, name: &str, data: Value| json!({"kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": data});
        let features =
            json!({"disableCni": self.disables_cni(), "enableControlPlaneVPA": self.scales_vertically()});
        let details = format!("networkDetails: {{dualStackIPEnabled: {}}}", self.is("dual stack"));
        let mut objects = vec![
            json!({
                "kind": "Node", "metadata": {"name": "n"}, "spec": {"providerID": provider_id},
                "status": {
                    "capacity": {"cpu": cpu, "memory": memory},
                    "nodeInfo": {"kubeletVersion": kubelet, "osImage": os},
                },
            }),
            config_map("kyma-system", "istio-features", json!({"features": features.to_string()})),
            config_map("kyma-system", "kyma-provisioning-info", json!({"details": details})),
        ];
        if self.value("provider") == 4 {
            objects.push(config_map("istio-system", "elb-deprecated", json!({})));
        }
        if self.is("autoscaler definition") {
            let name = "verticalpodautoscalers.autoscaling.k8s.io";
            objects.push(json!({"kind": "CustomResourceDefinition", "metadata": {"name": name}}));
        }
        objects
    }

    /// The resource's spec.
    pub fn spec(&self) -> Value {
        let mut spec = Map::new();
        let mut components = Map::new();
        if self.is("mesh and components") {
            spec.insert("config".into(), full_config());
            components = full_components();
        }
        if self.is("egress gateway") {
            components.entry("egressGateway").or_insert_with(|| json!({}))["enabled"] = json!(true);
        }
        spec.insert("components".into(), components.into());
        spec.insert("compatibilityMode".into(), json!(self.is("compatibility")));
        spec.insert("networkPoliciesEnabled".into(), json!(self.is("network policies")));
        let experiments = self.is("istiod experiments");
        spec.insert(
            "experimental".into(),
            json!({
                "enableAmbient": self.is_ambient(),
                "pilot": {"enableAlphaGatewayAPI": experiments, "enableMultiNetworkDiscoverGatewayAPI": experiments},
            }),
        );
        Value::Object(spec)
    }

    /// Whether an operator has to allow experimental options for this case.
    pub fn is_experimental(&self) -> bool {
        self.is_ambient() || self.is("istiod experiments") || self.is("dual stack")
    }

    /// Writes the resource and the cluster as files for the commands, `cr.yaml` and `cluster.yaml`. JSON is YAML.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut spec = self.spec();
        if !self.is_experimental()
            && let Some(spec) = spec.as_object_mut()
        {
            spec.remove("experimental");
        }
        let resource = json!({
            "apiVersion": "operator.kyma-project.io/v1alpha2",
            "kind": "Istio",
            "metadata": {"name": "default", "namespace": "kyma-system"},
            "spec": spec,
        });
        let cluster: Vec<String> = self.cluster().iter().map(Value::to_string).collect();
        std::fs::write(folder.join("cr.yaml"), resource.to_string())?;
        Ok(std::fs::write(folder.join("cluster.yaml"), cluster.join("\n---\n"))?)
    }

    /// Everything that would be applied, but the definitions.
    pub fn planned(&self) -> Result<Vec<(ObjectId, Value)>> {
        let spec: IstioSpec = serde_json::from_value(self.spec())?;
        let spec = validate(&spec, FeatureStage::Experimental)?;
        let bundle = Bundle::embedded();
        let input = PlanInput {
            rules: OverrideRules {
                bundle: &bundle,
                images: &Images::official(bundle.version()),
                allow_patches: false,
                override_mode: OverrideMode::Restricted,
                administrator_values: &AdministratorValues::default(),
            },
            facts: &ClusterFacts::from_objects(&self.cluster())?,
            kubernetes_version: "v1.36.3",
            owner: None,
        };
        let plan = match build_plan(&spec, input)? {
            PlanOutcome::Plan(plan) => plan,
            PlanOutcome::Rejected(rejection) => return Err(rejection.into()),
        };
        let stages = Stage::ALL.into_iter().filter(|stage| *stage != Stage::CustomResourceDefinitions);
        Ok(stages.flat_map(|stage| plan.objects(stage)).collect::<std::result::Result<_, _>>()?)
    }
}

fn full_config() -> Value {
    json!({
        "numTrustedProxies": 2,
        "forwardClientCertDetails": "APPEND_FORWARD",
        "authorizers": [{
            "name": "oauth2", "service": "oauth2.auth.svc.cluster.local", "port": 8000, "timeout": "500ms",
            "pathPrefix": "/check", "headers": {
                "inCheck": {"include": ["authorization"], "add": {"x-from": "mesh"}},
                "toUpstream": {"onAllow": ["x-user"]},
                "toDownstream": {"onAllow": ["set-cookie"], "onDeny": ["www-authenticate"]},
            },
        }],
        "gatewayExternalTrafficPolicy": "Local",
        "telemetry": {"metrics": {"prometheusMerge": true}},
        "trustDomain": "mesh.example.com",
        "enableDNSProxying": true,
        "proxyStatsMatcher": {"inclusionRegexps": ["cluster\\..*"]},
    })
}

fn full_components() -> Map<String, Value> {
    let resources =
        json!({"requests": {"cpu": "250m", "memory": "300Mi"}, "limits": {"cpu": "3", "memory": "3Gi"}});
    let deployment = json!({"k8s": {
        "resources": resources,
        "hpaSpec": {"minReplicas": 2, "maxReplicas": 4},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "50%"}},
    }});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "mesh", "operator": "Exists"}]}],
    }}});
    [
        ("pilot", deployment.clone()),
        ("ingressGateway", deployment.clone()),
        ("egressGateway", deployment),
        ("cni", json!({"k8s": {"resources": resources, "affinity": affinity}})),
        ("proxy", json!({"k8s": {"resources": resources}})),
    ]
    .into_iter()
    .map(|(name, settings)| (name.to_owned(), settings))
    .collect()
}

/// Cases in which each value of a choice meets each value of every other choice at least once.
pub fn pairwise() -> Vec<Case> {
    let mut missing: BTreeSet<(usize, usize, usize, usize)> = BTreeSet::new();
    for (first, (_, values)) in CHOICES.iter().enumerate() {
        for (second, (_, others)) in CHOICES.iter().enumerate().skip(first + 1) {
            missing.extend((0..*values).flat_map(|a| (0..*others).map(move |b| (first, a, second, b))));
        }
    }
    let mut cases = Vec::new();
    while let Some(pair) = missing.first().copied() {
        let case = best_with(pair, &missing);
        missing.retain(|(first, a, second, b)| !(case.0[*first] == *a && case.0[*second] == *b));
        cases.push(case);
    }
    cases
}

/// A case with the given pair whose other values, chosen one after the other, meet most of what is missing.
fn best_with(
    (first, a, second, b): (usize, usize, usize, usize),
    missing: &BTreeSet<(usize, usize, usize, usize)>,
) -> Case {
    let mut chosen: Vec<Option<usize>> = vec![None; CHOICES.len()];
    (chosen[first], chosen[second]) = (Some(a), Some(b));
    for (place, (_, values)) in CHOICES.iter().enumerate() {
        if chosen[place].is_some() {
            continue;
        }
        let met = |value: usize| {
            let pairs = chosen.iter().enumerate().filter_map(|(other, chosen)| Some((other, (*chosen)?)));
            pairs
                .map(|(other, chosen_value)| {
                    if place < other {
                        (place, value, other, chosen_value)
                    } else {
                        (other, chosen_value, place, value)
                    }
                })
                .filter(|pair| missing.contains(pair))
                .count()
        };
        chosen[place] = (0..*values).max_by_key(|value| met(*value));
    }
    Case(std::array::from_fn(|place| chosen[place].unwrap_or_default()))
}

/// Every combination of size and provider with every combination of the rest, a few thousand.
pub fn product() -> Vec<Case> {
    CHOICES.iter().enumerate().fold(vec![Case::plain()], |cases, (place, (_, values))| {
        let with = |case: Case| {
            (0..*values).map(move |value| {
                let mut case = case.clone();
                case.0[place] = value;
                case
            })
        };
        cases.into_iter().flat_map(with).collect()
    })
}
