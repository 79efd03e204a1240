//! Values and patches through the real charts: their effect.

mod administrator;
mod closed;
mod documented;
mod field_reports;

use serde_json::json;

use super::*;
use crate::api::conditions::State;
use crate::istio_release::IstioRelease;
use crate::plan::configuration::{Features, Size};
use crate::validate::FeatureStage;

fn spec(content: Value) -> ValidatedSpec {
    validate::validate(&serde_json::from_value(content).unwrap(), FeatureStage::Stable).unwrap()
}

fn plan_outcome(content: Value, allow_patches: bool) -> PlanOutcome {
    plan_outcome_in_mode(OverrideMode::Restricted, &json!({}), content, allow_patches)
}

/// What a test plans with: the embedded charts in restricted mode on a cluster, unless it says otherwise.
struct TestInput {
    bundle: Bundle,
    images: Images,
    facts: ClusterFacts,
    override_mode: OverrideMode,
    allow_patches: bool,
    administrator_values: AdministratorValues,
}

impl TestInput {
    fn on(facts: ClusterFacts) -> Self {
        let bundle = Bundle::embedded();
        Self {
            images: Images::official(bundle.version()),
            bundle,
            facts,
            override_mode: OverrideMode::Restricted,
            allow_patches: false,
            administrator_values: AdministratorValues::default(),
        }
    }

    fn with_administrator(self, values: &Value) -> Self {
        Self { administrator_values: values.as_object().unwrap().clone().into(), ..self }
    }

    fn rules(&self) -> OverrideRules<'_> {
        OverrideRules {
            bundle: &self.bundle,
            images: &self.images,
            allow_patches: self.allow_patches,
            override_mode: self.override_mode,
            administrator_values: &self.administrator_values,
        }
    }

    fn input(&self) -> PlanInput<'_> {
        PlanInput { rules: self.rules(), facts: &self.facts, kubernetes_version: "v1.36.0", owner: None }
    }
}

/// The outcome in a mode of overrides and with values of the administrator.
fn plan_outcome_in_mode(
    override_mode: OverrideMode,
    administrator: &Value,
    content: Value,
    allow_patches: bool,
) -> PlanOutcome {
    let facts = ClusterFacts { size: Size::Production, ..ClusterFacts::default() };
    let test = TestInput::on(facts).with_administrator(administrator);
    let test = TestInput { override_mode, allow_patches, ..test };
    build_plan(&spec(content), test.input()).unwrap()
}

/// The plan for values of the administrator, on a cluster.
fn plan_on(facts: ClusterFacts, administrator: &Value) -> Plan {
    let test = TestInput::on(facts).with_administrator(administrator);
    match build_plan(&ValidatedSpec::default(), test.input()).unwrap() {
        PlanOutcome::Plan(plan) => plan,
        PlanOutcome::Rejected(rejection) => panic!("{administrator}: {rejection}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "cases read better with values")]
fn built_plan(content: Value) -> Plan {
    match plan_outcome(content.clone(), true) {
        PlanOutcome::Plan(plan) => plan,
        PlanOutcome::Rejected(rejection) => panic!("{content}: {rejection}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "cases read better with values")]
fn refused(content: Value) -> String {
    match plan_outcome(content.clone(), true) {
        PlanOutcome::Rejected(rejection) => rejection.message,
        PlanOutcome::Plan(_) => panic!("{content} was not refused"),
    }
}

fn object(plan: &Plan, kind: &str, name: &str) -> Value {
    let found = plan.rendered().into_iter().find(|(id, _)| id.kind == kind && id.name == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}")).1
}

#[test]
fn ambient_mode_without_the_cni_agent_names_both_settings() {
    let spec = json!({"experimental": {"enableAmbient": true}});
    let spec =
        validate::validate(&serde_json::from_value(spec).unwrap(), FeatureStage::Experimental).unwrap();
    let outcome = |disable_cni| {
        let features = Features { disable_cni, ..Features::default() };
        let test = TestInput::on(ClusterFacts { features, ..ClusterFacts::default() });
        build_plan(&spec, test.input()).unwrap()
    };
    assert!(matches!(outcome(false), PlanOutcome::Plan(_)));
    let PlanOutcome::Rejected(rejection) = outcome(true) else { panic!("not refused") };
    assert_eq!(rejection.state, State::Warning);
    for words in ["spec.experimental.enableAmbient", "kyma-system/istio-features"] {
        assert!(rejection.message.contains(words), "{rejection}");
    }
}

#[test]
fn without_values_and_patches_nothing_is_different() {
    let before = built_plan(json!({})).rendered();
    assert_eq!(built_plan(json!({"values": {}, "patches": []})).rendered(), before);
}

/// Value, kind and name of the object that it reaches, and where it shows there.
type ValueCase = (Value, &'static str, &'static str, String, Value);

fn reaches(cases: impl IntoIterator<Item = ValueCase>) {
    for (values, kind, name, pointer, expected) in cases {
        let plan = built_plan(json!({"values": values}));
        let object = object(&plan, kind, name);
        assert_eq!(object.pointer(&pointer), Some(&expected), "{values}: {pointer} in {object:#}");
    }
}

#[test]
fn values_of_istiod_override_the_base_configuration() {
    let container = "/spec/template/spec/containers/0";
    reaches([
        (
            json!({"pilot": {"resources": {"requests": {"cpu": "77m"}}}}),
            "Deployment",
            "istiod",
            format!("{container}/resources/requests"),
            json!({"cpu": "77m", "memory": "512Mi"}),
        ),
        (
            json!({"pilot": {"autoscaleMin": 5}}),
            "HorizontalPodAutoscaler",
            "istiod",
            "/spec/minReplicas".into(),
            json!(5),
        ),
        (
            json!({"pilot": {"autoscaleMax": 7}}),
            "HorizontalPodAutoscaler",
            "istiod",
            "/spec/maxReplicas".into(),
            json!(7),
        ),
        (
            json!({"pilot": {"rollingMaxSurge": "33%"}}),
            "Deployment",
            "istiod",
            "/spec/strategy/rollingUpdate/maxSurge".into(),
            json!("33%"),
        ),
        (
            json!({"pilot": {"nodeSelector": {"pool": "system"}}}),
            "Deployment",
            "istiod",
            "/spec/template/spec/nodeSelector/pool".into(),
            json!("system"),
        ),
        (
            json!({"pilot": {"affinity": {"nodeAffinity": {}}}}),
            "Deployment",
            "istiod",
            "/spec/template/spec/affinity".into(),
            json!({"nodeAffinity": {}}),
        ),
        (
            json!({"pilot": {"podAnnotations": {"example.com/a": "b"}}}),
            "Deployment",
            "istiod",
            "/spec/template/metadata/annotations/example.com~1a".into(),
            json!("b"),
        ),
    ]);
}

#[test]
fn compatibility_mode_sets_the_switches_of_the_bundle() {
    let env = |plan: &Plan| {
        let istiod = object(plan, "Deployment", "istiod");
        istiod.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap().clone()
    };
    let (regular, compatible) = (built_plan(json!({})), built_plan(json!({"compatibilityMode": true})));
    let regular = env(&regular);
    let added: Vec<Value> = env(&compatible).into_iter().filter(|entry| !regular.contains(entry)).collect();
    let switches = IstioRelease::of(&Bundle::embedded()).compatibility_switches().unwrap();
    let expected: Vec<Value> =
        switches.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    assert!(!expected.is_empty());
    assert_eq!(added, expected);
}

#[test]
fn values_of_gateways_and_cni_override_the_base_configuration() {
    let container = "/spec/template/spec/containers/0";
    reaches([
        (
            json!({"gateways": {"istio-ingressgateway": {"autoscaleMin": 4}}}),
            "HorizontalPodAutoscaler",
            "istio-ingressgateway",
            "/spec/minReplicas".into(),
            json!(4),
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"cpu": {"targetAverageUtilization": 55}}}}),
            "HorizontalPodAutoscaler",
            "istio-ingressgateway",
            "/spec/metrics/0/resource/target/averageUtilization".into(),
            json!(55),
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"rollingMaxUnavailable": "10%"}}}),
            "Deployment",
            "istio-ingressgateway",
            "/spec/strategy/rollingUpdate/maxUnavailable".into(),
            json!("10%"),
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}}),
            "Service",
            "istio-ingressgateway",
            "/spec/loadBalancerSourceRanges/0".into(),
            json!("10.0.0.0/8"),
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"serviceAnnotations": {"example.com/a": "b"}}}}),
            "Service",
            "istio-ingressgateway",
            "/metadata/annotations/example.com~1a".into(),
            json!("b"),
        ),
        (
            json!({"cni": {"resources": {"limits": {"cpu": "333m"}}}}),
            "DaemonSet",
            "istio-cni-node",
            format!("{container}/resources/limits/cpu"),
            json!("333m"),
        ),
        (
            json!({"global": {"networkPolicy": {"enabled": true}}}),
            "NetworkPolicy",
            "istiod",
            "/metadata/name".into(),
            json!("istiod"),
        ),
    ]);
}

#[test]
fn environment_variables_of_istiod_win_over_those_of_the_base() {
    let plan =
        built_plan(json!({"values": {"pilot": {"env": {"PILOT_HTTP10": "0", "PILOT_PUSH_THROTTLE": "7"}}}}));
    let istiod = object(&plan, "Deployment", "istiod");
    let env = istiod.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap().clone();
    let value =
        |name: &str| env.iter().filter(|v| v["name"] == name).map(|v| v["value"].clone()).collect::<Vec<_>>();
    assert_eq!(value("PILOT_HTTP10"), [json!("0")]);
    assert_eq!(value("PILOT_PUSH_THROTTLE"), [json!("7")]);
    assert_eq!(value("ENABLE_DEBUG_ENDPOINT_AUTH"), [json!("false")]);
}

/// Charts print variables of users beside their own; the API server refuses both in one container.
#[test]
fn a_variable_that_the_chart_sets_too_is_set_once() {
    let values = json!({
        "pilot": {"env": {"PILOT_TRACE_SAMPLING": "10", "GOMAXPROCS": "4", "CLUSTER_ID": "mine", "PLATFORM": "x"}},
        "gateways": {"istio-ingressgateway": {"env": {"ISTIO_META_UNPRIVILEGED_POD": "false"}}},
    });
    let unrestricted =
        plan_outcome_in_mode(OverrideMode::Unrestricted, &json!({}), json!({"values": values}), false);
    let administrator = plan_outcome_in_mode(OverrideMode::Restricted, &values, json!({}), false);
    for outcome in [unrestricted, administrator] {
        let PlanOutcome::Plan(plan) = outcome else { panic!("refused") };
        let env = |name: &str| {
            object(&plan, "Deployment", name).pointer("/spec/template/spec/containers/0/env").cloned()
        };
        let value_of = |deployment: &str, name: &str| -> Vec<Value> {
            let env = env(deployment).unwrap();
            env.as_array().unwrap().iter().filter(|v| v["name"] == name).map(|v| v["value"].clone()).collect()
        };
        assert_eq!(value_of("istiod", "PILOT_TRACE_SAMPLING"), [json!("10")]);
        assert_eq!(value_of("istiod", "GOMAXPROCS"), [json!("4")]);
        assert_eq!(value_of("istiod", "CLUSTER_ID"), [json!("mine")]);
        assert_eq!(value_of("istio-ingressgateway", "ISTIO_META_UNPRIVILEGED_POD"), [json!("false")]);
    }
}

#[test]
fn a_patch_cannot_repeat_a_variable() {
    let patch = json!({"kind": "Deployment", "name": "istiod", "json": [
        {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "REVISION", "value": "x"}},
    ]});
    let spec = json!({"patches": [patch]});
    let PlanOutcome::Rejected(rejection) =
        plan_outcome_in_mode(OverrideMode::Unrestricted, &json!({}), spec, true)
    else {
        panic!("not refused")
    };
    assert!(rejection.message.contains("REVISION"), "{rejection}");
}

#[test]
fn selected_namespaces_include_that_of_istio() {
    let values = json!({"meshConfig": {"discoverySelectors": [{"matchLabels": {"mesh": "yes"}}]}});
    for plan in [
        built_plan(json!({"values": values})),
        match plan_outcome_in_mode(OverrideMode::Restricted, &values, json!({}), false) {
            PlanOutcome::Plan(plan) => plan,
            PlanOutcome::Rejected(rejection) => panic!("{rejection}"),
        },
    ] {
        let mesh = object(&plan, "ConfigMap", "istio")["data"]["mesh"].as_str().unwrap().to_owned();
        let mesh = gotemplate::yaml::parse_json(&mesh).unwrap();
        let own = json!({"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}});
        assert_eq!(mesh["discoverySelectors"], json!([{"matchLabels": {"mesh": "yes"}}, own]));
    }
}

/// As in files that were written from a profile: what holds anyway is no change.
#[test]
fn a_closed_value_that_changes_nothing_is_accepted() {
    let values = json!({
        "global": {
            "caAddress": "", "mountMtlsCerts": false, "jwtPolicy": "third-party-jwt", "istioNamespace": "istio-system",
            "sds": {"token": {"aud": "istio-ca"}}, "configValidation": true, "networkPolicy": {"enabled": false},
            "proxy": {"privileged": false, "enableCoreDump": false, "autoInject": "enabled", "clusterDomain": "cluster.local",
                "includeInboundPorts": "*", "excludeInboundPorts": ""},
        },
        "cni": {"cniBinDir": "/opt/cni/bin", "ambient": {"enabled": false}, "excludeNamespaces": ["kube-system"]},
        "gateways": {"istio-ingressgateway": {"runAsRoot": false, "name": "istio-ingressgateway",
            "labels": {"app": "istio-ingressgateway", "istio": "ingressgateway"}}},
        "meshConfig": {"enableAutoMtls": true, "rootNamespace": "istio-system", "trustDomain": "cluster.local",
            "ingressService": "istio-ingressgateway", "meshMTLS": {"minProtocolVersion": "TLSV1_2"}},
        "pilot": {"configMap": true},
        "sidecarInjectorWebhook": {"enableNamespacesByDefault": false, "neverInjectSelector": []},
    });
    let plan = built_plan(json!({"values": values}));
    let changed: Vec<String> = plan
        .rendered()
        .into_iter()
        .zip(built_plan(json!({})).rendered())
        .filter(|(after, before)| after != before)
        .map(|((id, _), _)| id.to_string())
        .collect();
    assert_eq!(changed, [""; 0]);
    // What the base sets otherwise is a change.
    for values in [
        json!({"gateways": {"istio-ingressgateway": {"secretVolumes": []}}}),
        json!({"global": {"priorityClassName": ""}}),
        json!({"meshConfig": {"trustDomain": "other"}}),
    ] {
        refused(json!({"values": values}));
    }
}

/// The defaults that are written down are those of the charts: setting them changes nothing but the copy of all values.
#[test]
fn restated_defaults_are_those_of_the_charts() {
    let defaults = gotemplate::yaml::parse_json(include_str!("../../configuration/defaults.yaml")).unwrap();
    let test = TestInput::on(ClusterFacts::default());
    let test = TestInput { override_mode: OverrideMode::Unrestricted, ..test };
    let rendered = |values: &Value| {
        let spec = ValidatedSpec { values: values.as_object().unwrap().clone(), ..ValidatedSpec::default() };
        match plan_without_allow_list(&spec, test.input()).unwrap() {
            PlanOutcome::Plan(plan) => plan.rendered(),
            PlanOutcome::Rejected(rejection) => panic!("{rejection}"),
        }
    };
    let (before, after) = (rendered(&json!({})), rendered(&defaults["values"]));
    assert_eq!(before.len(), after.len());
    for ((id, before), (_, after)) in before.iter().zip(&after) {
        let is_copy = id.name == "values" || id.name == "istio-sidecar-injector";
        assert!(is_copy || before == after, "{id}: {before:#} {after:#}");
    }
}

#[test]
fn problems_of_the_spec_and_of_values_are_reported_together() {
    let test = TestInput::on(ClusterFacts::default());
    let spec = serde_json::from_value(json!({
        "config": {"trustDomain": "a..b"},
        "values": {"global": {"caAddress": "evil"}, "pilot": {"autoscaleMn": 1}},
        "patches": [{"kind": "Deployment", "name": "istiod", "json": []}],
    }))
    .unwrap();
    let rejection = check_spec(&spec, FeatureStage::Stable, test.rules()).unwrap_err();
    let fields = [
        "spec.config.trustDomain",
        "spec.values.global.caAddress",
        "spec.values.pilot.autoscaleMn",
        "spec.patches",
    ];
    for field in fields {
        assert!(rejection.message.contains(&format!("{field}: ")), "{field}: {rejection}");
    }
    assert_eq!(rejection.problems.len(), fields.len() + 2, "{rejection:?}");
}

#[test]
fn a_suggestion_stays_within_the_component() {
    for (values, words) in [
        (json!({"gateways": {"istio-ingressgateway": {"affinity": {}}}}), "cni.affinity"),
        (json!({"gateways": {"istio-ingressgateway": {"topologySpreadConstraints": []}}}), "pilot."),
        (json!({"global": {"enableTracing": true}}), "did you mean"),
    ] {
        let message = refused(json!({"values": values}));
        assert!(!message.contains(words), "{message}");
    }
}

#[test]
fn mesh_options_are_set_and_fields_of_the_resource_win_over_values() {
    let plan = built_plan(json!({
        "config": {"numTrustedProxies": 3},
        "components": {"pilot": {"k8s": {"resources": {"requests": {"cpu": "88m"}}}}},
        "values": {
            "meshConfig": {"accessLogFile": "/dev/stdout", "defaultConfig": {"gatewayTopology": {"numTrustedProxies": 1}}},
            "pilot": {"resources": {"requests": {"cpu": "11m", "memory": "99Mi"}}},
        },
    }));
    let mesh = object(&plan, "ConfigMap", "istio")["data"]["mesh"].as_str().unwrap().to_owned();
    assert!(mesh.contains("accessLogFile: /dev/stdout") && mesh.contains("numTrustedProxies: 3"), "{mesh}");
    let istiod = object(&plan, "Deployment", "istiod");
    assert_eq!(
        istiod.pointer("/spec/template/spec/containers/0/resources/requests"),
        Some(&json!({"cpu": "88m", "memory": "99Mi"}))
    );
}

#[test]
fn an_unknown_value_is_refused_with_a_suggestion() {
    let message =
        refused(json!({"values": {"global": {"proxy": {"logLevl": "debug"}}, "pilot": {"autoscaleMn": 1}}}));
    for words in [
        "spec.values.global.proxy.logLevl: Istio's charts have no such value, did you mean global.proxy.logLevel?",
        "spec.values.pilot.autoscaleMn: Istio's charts have no such value, did you mean pilot.autoscaleMin?",
    ] {
        assert!(message.contains(words), "{words} is missing in: {message}");
    }
}

#[test]
fn every_value_that_the_operator_itself_uses_is_known() {
    let bundle = Bundle::embedded();
    let images = Images::official(bundle.version());
    let own = configuration::build_configuration(
        &ValidatedSpec::default(),
        &ClusterFacts::default(),
        &images,
        &AdministratorValues::default(),
    )
    .unwrap();
    let mut names = ValueNames::of(&bundle).unwrap();
    names.extend(&own["spec"]["values"]);
    assert_eq!(names.unknown(&own["spec"]["values"]), []);
}

#[test]
fn a_value_decided_elsewhere_is_refused_with_advice() {
    for (values, path, advice) in [
        (json!({"global": {"hub": "x"}}), "spec.values.global.hub", "environment variables"),
        (json!({"pilot": {"image": "x"}}), "spec.values.pilot.image", "environment variables"),
        (
            json!({"meshConfig": {"trustDomain": "x"}}),
            "spec.values.meshConfig.trustDomain",
            "spec.config.trustDomain",
        ),
        (
            json!({"gateways": {"istio-ingressgateway": {"name": "mine"}}}),
            "spec.values.gateways.istio-ingressgateway.name",
            "refer to the names",
        ),
        (json!({"revision": "canary"}), "spec.values.revision", "default revision"),
        (json!({"global": {"istioNamespace": "mesh"}}), "spec.values.global.istioNamespace", "istio-system"),
        (
            json!({"gateways": {"istio-egressgateway": {"enabled": true}}}),
            "spec.values.gateways.istio-egressgateway.enabled",
            "spec.components.egressGateway.enabled",
        ),
    ] {
        let message = refused(json!({"values": values}));
        assert!(message.contains(path) && message.contains(advice), "{message}");
    }
}

#[test]
fn a_value_that_breaks_rendering_is_named() {
    let values = json!({"values": {"telemetry": {"v2": "x"}}});
    let PlanOutcome::Rejected(Rejection { message, .. }) =
        plan_outcome_in_mode(OverrideMode::Unrestricted, &json!({}), values, false)
    else {
        panic!("not refused")
    };
    assert!(message.contains("spec.values.telemetry.v2"), "{message}");
    assert!(message.contains("cannot render Istio"), "{message}");
}

#[test]
fn patches_need_to_be_allowed_by_the_operator() {
    let content = json!({"patches": [{"kind": "Deployment", "name": "istiod", "strategicMerge": {"spec": {"minReadySeconds": 5}}}]});
    let PlanOutcome::Rejected(rejection) = plan_outcome(content.clone(), false) else {
        panic!("not refused")
    };
    assert!(rejection.message.contains("--allow-patches"), "{rejection}");
    let istiod = object(&built_plan(content), "Deployment", "istiod");
    assert_eq!(istiod["spec"]["minReadySeconds"], 5);
}

#[test]
fn a_patch_without_an_object_leaves_a_warning_and_the_rest_as_planned() {
    let plan = built_plan(json!({"patches": [{"kind": "Deployment", "name": "gone", "json": []}]}));
    assert_eq!(plan.warnings().len(), 1);
    assert!(plan.warnings()[0].contains("spec.patches[0]"), "{:?}", plan.warnings());
    assert_eq!(plan.rendered(), built_plan(json!({})).rendered());
}
