//! What the API server lets through and what it refuses, rule by rule.

#![expect(clippy::needless_pass_by_value, reason = "the values of a table are written where they are used")]

use istio_manager::api::conditions::State;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, NAMESPACE, description_and_reason};

/// A rule with a spec that passes and one that does not.
struct Rule {
    name: &'static str,
    passes: Value,
    refused: Value,
}

fn rule(name: &'static str, passes: Value, refused: Value) -> Rule {
    Rule { name, passes, refused }
}

/// `value` as a setting of the whole mesh.
fn config(field: &str, value: Value) -> Value {
    json!({"config": {field: value}})
}

fn authorizer(value: Value) -> Value {
    config("authorizers", json!([value]))
}

fn pilot(k8s: Value) -> Value {
    json!({"components": {"pilot": {"k8s": k8s}}})
}

fn update(field: &str, value: Value) -> Value {
    pilot(json!({"strategy": {"rollingUpdate": {field: value}}}))
}

fn amount(name: &str, value: Value) -> Value {
    pilot(json!({"resources": {"limits": {name: value}}}))
}

fn scaling(field: &str, value: Value) -> Value {
    pilot(json!({"hpaSpec": {field: value}}))
}

fn restarter(field: &str, value: Value) -> Value {
    json!({"restarter": {field: value}})
}

fn cni_affinity(term: Value) -> Value {
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    json!({"components": {"cni": {"k8s": {"affinity": affinity}}}})
}

fn rules_of_the_mesh() -> Vec<Rule> {
    let long = "a".repeat(255);
    let too_long = "a".repeat(256);
    let proxies = |value: Value| config("numTrustedProxies", value);
    let domain = |value: &str| config("trustDomain", json!(value));
    vec![
        rule("trusted proxies, least", proxies(json!(0)), proxies(json!(-1))),
        rule("trusted proxies, most", proxies(json!(4_294_967_295_u32)), proxies(json!(4_294_967_296_u64))),
        rule("trusted proxies, type", proxies(json!(1)), proxies(json!("1"))),
        rule(
            "client certificate header",
            config("forwardClientCertDetails", json!("SANITIZE")),
            config("forwardClientCertDetails", json!("FORWARD")),
        ),
        rule(
            "traffic policy",
            config("gatewayExternalTrafficPolicy", json!("Local")),
            config("gatewayExternalTrafficPolicy", json!("local")),
        ),
        rule("trust domain, shortest", domain("a"), domain("")),
        rule("trust domain, longest", domain(&long), domain(&too_long)),
        rule("trust domain, characters", domain("my-cluster.example.com"), domain("My Cluster")),
        rule(
            "authorizer, name",
            authorizer(json!({"name": "a", "port": 80})),
            authorizer(json!({"port": 80})),
        ),
        rule(
            "authorizer, port",
            authorizer(json!({"name": "a", "port": 80})),
            authorizer(json!({"name": "a"})),
        ),
        rule(
            "authorizer, port's size",
            authorizer(json!({"name": "a", "port": i32::MAX})),
            authorizer(json!({"name": "a", "port": 4_294_967_296_u64})),
        ),
        rule(
            "authorizer, headers",
            authorizer(json!({"name": "a", "port": 80, "headers": {"inCheck": {"add": {"x": "y"}}}})),
            authorizer(json!({"name": "a", "port": 80, "headers": {"inCheck": {"add": {"x": 1}}}})),
        ),
        rule(
            "DNS proxying",
            config("enableDNSProxying", json!(false)),
            config("enableDNSProxying", json!("no")),
        ),
        rule(
            "statistics",
            config("proxyStatsMatcher", json!({"inclusionRegexps": [".*"]})),
            config("proxyStatsMatcher", json!({"inclusionRegexps": ".*"})),
        ),
        rule("compatibility", json!({"compatibilityMode": true}), json!({"compatibilityMode": "true"})),
        rule("policies", json!({"networkPoliciesEnabled": true}), json!({"networkPoliciesEnabled": 1})),
    ]
}

fn rules_of_the_components() -> Vec<Rule> {
    let most = i64::from(i32::MAX);
    let term = json!({"topologyKey": "kubernetes.io/hostname"});
    vec![
        rule("settings of istiod", pilot(json!({})), json!({"components": {"pilot": {}}})),
        rule(
            "settings of the ingress gateway",
            json!({"components": {"ingressGateway": {"k8s": {}}}}),
            json!({"components": {"ingressGateway": {}}}),
        ),
        rule(
            "settings of the CNI",
            json!({"components": {"cni": {"k8s": {}}}}),
            json!({"components": {"cni": {}}}),
        ),
        rule(
            "settings of the sidecars",
            json!({"components": {"proxy": {"k8s": {}}}}),
            json!({"components": {"proxy": {}}}),
        ),
        rule(
            "egress gateway",
            json!({"components": {"egressGateway": {"enabled": true}}}),
            json!({"components": {"egressGateway": {"enabled": "yes"}}}),
        ),
        rule("strategy", update("maxSurge", json!(1)), pilot(json!({"strategy": {}}))),
        rule("surge, number", update("maxSurge", json!(most)), update("maxSurge", json!(-1))),
        rule("surge, largest", update("maxSurge", json!(0)), update("maxSurge", json!(most + 1))),
        rule("surge, percentage", update("maxSurge", json!("250%")), update("maxSurge", json!("all"))),
        rule(
            "unavailable, number",
            update("maxUnavailable", json!(most)),
            update("maxUnavailable", json!(-1)),
        ),
        rule(
            "unavailable, largest",
            update("maxUnavailable", json!(0)),
            update("maxUnavailable", json!(most + 1)),
        ),
        rule(
            "unavailable, percentage",
            update("maxUnavailable", json!("100%")),
            update("maxUnavailable", json!("101%")),
        ),
        rule("fewest replicas", scaling("minReplicas", json!(0)), scaling("minReplicas", json!(-1))),
        rule("most replicas", scaling("maxReplicas", json!(most)), scaling("maxReplicas", json!(most + 1))),
        rule("CPU in thousandths", amount("cpu", json!("250m")), amount("cpu", json!("250M"))),
        rule("CPU as a fraction", amount("cpu", json!("0.25")), amount("cpu", json!("0.2500"))),
        rule("CPU as a text", amount("cpu", json!("2")), amount("cpu", json!(2))),
        rule("memory's unit", amount("memory", json!("512Mi")), amount("memory", json!("512MB"))),
        rule("memory as an exponent", amount("memory", json!("1e9")), amount("memory", json!("1e"))),
        rule("memory as a text", amount("memory", json!("1024")), amount("memory", json!(1024))),
        rule("affinity", cni_affinity(term), cni_affinity(json!({}))),
    ]
}

fn rules_of_the_restarter() -> Vec<Rule> {
    let mut rules = vec![
        rule("restarts, switch", restarter("enabled", json!(false)), restarter("enabled", json!("no"))),
        rule(
            "restarts, interruption",
            restarter("allowInterruption", json!(true)),
            restarter("allowInterruption", json!(1)),
        ),
        rule(
            "restarts, reasons",
            restarter("restartAlsoFor", json!(["TrustDomain", "Field"])),
            restarter("restartAlsoFor", json!(["TrustDomian"])),
        ),
        rule(
            "restarts, list of reasons",
            restarter("restartAlsoFor", json!([])),
            restarter("restartAlsoFor", json!("TrustDomain")),
        ),
    ];
    for (field, most) in [
        ("maxUnfinished", 1000),
        ("maxUnfinishedPerNamespace", 1000),
        ("rolloutTimeoutSeconds", 86_400),
        ("failureLimit", 1000),
        ("unexplainedSharePercent", 100),
    ] {
        rules.push(rule(field, restarter(field, json!(1)), restarter(field, json!(0))));
        rules.push(rule(field, restarter(field, json!(most)), restarter(field, json!(most + 1))));
    }
    rules
}

pub async fn every_schema_rule_accepts_and_rejects(control_plane: &ControlPlane) -> TestResult {
    crate::chart::install(control_plane).await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("operator.kyma-project.io", "v1alpha2", "Istio"));
    let api: Api<DynamicObject> = Api::namespaced_with(control_plane.client(), NAMESPACE, &kind);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let create = async |spec: &Value| {
        let object = DynamicObject::new("tried", &kind).data(json!({"spec": spec}));
        api.create(&dry_run, &object).await
    };
    for Rule { name, passes, refused } in
        rules_of_the_mesh().into_iter().chain(rules_of_the_components()).chain(rules_of_the_restarter())
    {
        if let Err(error) = create(&passes).await {
            return Err(format!("{name}: {passes} is refused: {error}").into());
        }
        match create(&refused).await {
            Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => {}
            other => return Err(format!("{name}: {refused} is not refused: {other:?}").into()),
        }
    }
    Ok(())
}

pub async fn values_that_conflict_with_defaults_are_a_warning_and_change_nothing(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let mark = control_plane.audit().mark().await?;
    for (spec, words) in [
        (
            scaling("minReplicas", json!(100)),
            "spec.components.pilot.k8s.hpaSpec: minReplicas 100 is greater than maxReplicas",
        ),
        (
            pilot(json!({"resources": {"requests": {"memory": "900Gi"}}})),
            "spec.components.pilot.k8s.resources.requests.memory: 900Gi is greater than the limit",
        ),
        (update("maxSurge", json!("5")), "spec.components.pilot.k8s.strategy.rollingUpdate.maxSurge"),
        (
            config("trustDomain", json!("under_score")),
            "spec.config.trustDomain: \"under_score\" is not a DNS name",
        ),
    ] {
        bed.edit("default", json!({"config": null, "components": null})).await?;
        bed.edit("default", spec).await?;
        let (description, reason) =
            description_and_reason(&bed.wait_for_state("default", State::Warning).await?);
        assert_eq!(reason, "ValidationFailed", "{description}");
        assert!(description.contains(words), "{description}");
    }
    let writes = bed.writes_since(&mark).await?;
    let others = |write: &&String| !write.contains("istios") && !write.contains("events");
    assert_eq!(writes.iter().filter(others).collect::<Vec<_>>(), Vec::<&String>::new());
    bed.edit("default", json!({"config": null, "components": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}
