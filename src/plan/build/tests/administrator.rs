//! The administrator's values: where they rank, and that nothing of them is silently ignored.

use super::*;
use crate::plan::cluster::Platform;

fn outcome(mode: OverrideMode, administrator: &Value, spec: Value) -> PlanOutcome {
    plan_outcome_in_mode(mode, administrator, spec, false)
}

fn planned_with(administrator: &Value, spec: Value) -> Plan {
    match outcome(OverrideMode::Restricted, administrator, spec) {
        PlanOutcome::Plan(plan) => plan,
        PlanOutcome::Rejected(rejection) => panic!("{administrator}: {rejection}"),
    }
}

fn refusal(mode: OverrideMode, administrator: &Value, spec: Value) -> String {
    match outcome(mode, administrator, spec) {
        PlanOutcome::Rejected(rejection) => rejection.message,
        PlanOutcome::Plan(_) => panic!("{administrator} was not refused"),
    }
}

#[test]
fn administrator_values_rank_above_the_base_and_below_the_resource() {
    let cpu = |value: &str| json!({"pilot": {"resources": {"requests": {"cpu": value}}}});
    let requests = "/spec/template/spec/containers/0/resources/requests";
    let author = json!({"values": cpu("22m")});
    let field = json!({"values": cpu("22m"), "components": {"pilot": {"k8s": {"resources": {"requests": {"cpu": "33m"}}}}}});
    for (administrator, spec, expected) in [
        (json!({}), json!({}), "100m"),
        (cpu("11m"), json!({}), "11m"),
        (cpu("11m"), author.clone(), "22m"),
        (json!({}), author, "22m"),
        (cpu("11m"), field, "33m"),
    ] {
        let istiod = object(&planned_with(&administrator, spec), "Deployment", "istiod");
        assert_eq!(istiod.pointer(requests).unwrap()["cpu"], expected, "{administrator}");
        assert_eq!(istiod.pointer(requests).unwrap()["memory"], "512Mi");
    }
}

#[test]
fn null_of_the_administrator_removes_a_base_value() {
    let without = json!({"pilot": {"env": {"CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE": null}}});
    let variable = |administrator: &Value| {
        let istiod = object(&planned_with(administrator, json!({})), "Deployment", "istiod");
        istiod.to_string().contains("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE")
    };
    assert!(variable(&json!({})));
    assert!(!variable(&without));
    let message = refused(json!({"values": without}));
    assert!(message.contains("spec.values.pilot.env.CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE"), "{message}");
}

#[test]
fn cni_directories_of_the_administrator_win_over_the_detected_ones() {
    let facts = ClusterFacts { platform: Some(Platform::Gke), ..ClusterFacts::default() };
    let folder = |administrator: Value| {
        let plan = plan_on(facts.clone(), &administrator);
        let agent = object(&plan, "DaemonSet", "istio-cni-node");
        let volumes = agent.pointer("/spec/template/spec/volumes").unwrap().as_array().unwrap().clone();
        volumes.iter().find(|volume| volume["name"] == "cni-bin-dir").unwrap()["hostPath"]["path"].clone()
    };
    assert_eq!(folder(json!({})), "/home/kubernetes/bin");
    assert_eq!(folder(json!({"cni": {"cniBinDir": "/mnt/cni/bin"}})), "/mnt/cni/bin");
}

#[test]
fn the_platform_of_the_administrator_reaches_istiod_and_the_cni_agent() {
    let plan = planned_with(&json!({"global": {"platform": "openshift"}}), json!({}));
    let istiod = object(&plan, "Deployment", "istiod");
    let env = istiod.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap().clone();
    assert!(env.contains(&json!({"name": "PLATFORM", "value": "openshift"})), "{env:?}");
    let refused = refused(json!({"values": {"global": {"platform": "openshift"}}}));
    assert!(refused.contains("spec.values.global.platform: not allowed"), "{refused}");
}

#[test]
fn an_administrator_may_set_what_is_closed_to_authors() {
    let values = json!({"pilot": {"extraContainerArgs": ["--x=y"]}, "meshConfig": {"trustDomainAliases": ["old.example"]}});
    let plan = planned_with(&values, json!({"values": {"pilot": {"traceSampling": 5}}}));
    assert!(object(&plan, "Deployment", "istiod").to_string().contains("--x=y"));
    let mesh = object(&plan, "ConfigMap", "istio")["data"]["mesh"].as_str().unwrap().to_owned();
    assert!(mesh.contains("old.example"), "{mesh}");
    let message = refused(json!({"values": values}));
    for path in ["spec.values.pilot.extraContainerArgs", "spec.values.meshConfig.trustDomainAliases"] {
        assert!(message.contains(path), "{path}: {message}");
    }
}

#[test]
fn a_value_of_the_administrator_is_refused_where_it_would_be_ignored() {
    for (values, words) in [
        (json!({"global": {"hub": "x"}}), "--values-file: global.hub: cannot be set here: images"),
        (
            json!({"cni": {"enabled": false}}),
            "--values-file: cni.enabled: cannot be set here: use the ConfigMap",
        ),
        (
            json!({"pilto": {}}),
            "--values-file: pilto: Istio's charts have no such value, did you mean pilot?",
        ),
        (
            json!({"meshConfig": {"trust_domain": "x"}}),
            "--values-file: meshConfig.trust_domain: write trustDomain (camelCase)",
        ),
    ] {
        let message = refusal(OverrideMode::Restricted, &values, json!({}));
        assert!(message.contains(words), "{words} is missing in: {message}");
    }
}

#[test]
fn an_unknown_name_is_refused_in_unrestricted_mode_as_well() {
    let spec = json!({"values": {"pilot": {"autoscaleMn": 1}, "global": {"tag": "x"}}});
    let message = refusal(OverrideMode::Unrestricted, &json!({}), spec);
    for words in ["did you mean pilot.autoscaleMin?", "spec.values.global.tag: cannot be set here"] {
        assert!(message.contains(words), "{words} is missing in: {message}");
    }
}

/// An author must not take away what the administrator hardened, by whatever way.
#[test]
fn an_author_cannot_relax_what_the_administrator_hardened() {
    let administrator = json!({
        "pilot": {"env": {"PILOT_SCOPE_GATEWAY_TO_NAMESPACE": "true", "ENABLE_DEBUG_ON_HTTP": "false"}},
        "global": {"networkPolicy": {"enabled": true}},
        "meshConfig": {
            "tlsDefaults": {"minProtocolVersion": "TLSV1_3"},
            "meshMTLS": {"minProtocolVersion": "TLSV1_3"},
            "pathNormalization": {"normalization": "DECODE_AND_MERGE_SLASHES"},
            "defaultConfig": {
                "connectionSettings": {"httpMergeSlashes": true, "httpPathWithEscapedSlashesAction": "REJECT_REQUEST"},
                "gatewayTopology": {"proxyProtocol": {}},
            },
        },
    });
    let facts = ClusterFacts { size: Size::Production, ..ClusterFacts::default() };
    let test = TestInput::on(facts).with_administrator(&administrator);
    for (values, is_relaxing) in [
        (json!({"pilot": {"env": {"PILOT_SCOPE_GATEWAY_TO_NAMESPACE": null}}}), true),
        (json!({"pilot": {"env": {"ENABLE_DEBUG_ON_HTTP": null}}}), true),
        (json!({"global": {"networkPolicy": {"enabled": false}}}), true),
        (json!({"global": {"networkPolicy": {"enabled": null}}}), true),
        (json!({"meshConfig": {"tlsDefaults": {"minProtocolVersion": null}}}), true),
        (json!({"meshConfig": {"meshMTLS": null}}), true),
        (json!({"meshConfig": {"pathNormalization": {"normalization": "MERGE_SLASHES"}}}), true),
        (json!({"meshConfig": {"pathNormalization": {"normalization": "DECODE_AND_MERGE_SLASHES"}}}), false),
        (json!({"meshConfig": {"defaultConfig": {"connectionSettings": null}}}), true),
        (
            json!({"meshConfig": {"defaultConfig": {"connectionSettings": {"httpPathWithEscapedSlashesAction": "UNESCAPE_AND_FORWARD"}}}}),
            true,
        ),
        (json!({"meshConfig": {"defaultConfig": {"connectionSettings": {"httpIdleTimeout": "1m"}}}}), false),
        (json!({"meshConfig": {"defaultConfig": {"gatewayTopology": null}}}), true),
        (json!({"meshConfig": {"defaultConfig": {"gatewayTopology": {"numTrustedProxies": 2}}}}), false),
    ] {
        let spec = ValidatedSpec { values: values.as_object().unwrap().clone(), ..ValidatedSpec::default() };
        let is_refused = |outcome: PlanOutcome| matches!(outcome, PlanOutcome::Rejected(_));
        assert_eq!(is_refused(build_plan(&spec, test.input()).unwrap()), is_relaxing, "{values}");
        // The rendering policy alone, without the list.
        assert_eq!(
            is_refused(plan_without_allow_list(&spec, test.input()).unwrap()),
            is_relaxing,
            "{values}"
        );
    }
}
