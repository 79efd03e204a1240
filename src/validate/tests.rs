use serde_json::{Value, json};

use super::*;
use crate::api::Istio;
use crate::api::conditions::{Reason, State};
use crate::api::v1alpha2::IntOrString;

fn spec(value: Value) -> IstioSpec {
    serde_json::from_value(value).unwrap()
}

fn authorizers(authorizers: &Value) -> Value {
    json!({"config": {"authorizers": authorizers}})
}

fn one_authorizer(changes: &Value) -> Value {
    let mut authorizer = json!({"name": "oauth", "service": "oauth.auth.svc.cluster.local", "port": 80});
    authorizer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    authorizers(&json!([authorizer]))
}

#[test]
fn a_spec_is_refused_with_the_field_and_what_to_write() {
    use State::{Error, Warning};
    let authorizer = |changes: Value| one_authorizer(&changes);
    for (written, state, field, words) in [
        (json!({"experimental": {}}), Error, "spec.experimental", "Remove the field"),
        (
            json!({"config": {"proxyStatsMatcher": {"inclusionRegexps": [".*", "("]}}}),
            Error,
            "spec.config.proxyStatsMatcher.inclusionRegexps[1]",
            "not closed",
        ),
        (
            authorizers(&json!([
                {"name": "a", "service": "a.b", "port": 1}, {"name": "a", "service": "a.b", "port": 1},
            ])),
            Warning,
            "spec.config.authorizers[1].name",
            "its own name",
        ),
        (authorizer(json!({"name": " "})), Warning, "spec.config.authorizers[0].name", "empty"),
        (authorizer(json!({"name": "envoy"})), Warning, "spec.config.authorizers[0].name", "built-in"),
        (authorizer(json!({"name": "prometheus"})), Warning, "spec.config.authorizers[0].name", "built-in"),
        (authorizer(json!({"service": ""})), Warning, "spec.config.authorizers[0].service", "full host name"),
        (
            authorizer(json!({"service": "http://x"})),
            Warning,
            "spec.config.authorizers[0].service",
            "full host",
        ),
        (
            authorizer(json!({"service": "a/b/c"})),
            Warning,
            "spec.config.authorizers[0].service",
            "full host name",
        ),
        (authorizer(json!({"port": 0})), Warning, "spec.config.authorizers[0].port", "1 to 65535"),
        (authorizer(json!({"port": 65536})), Warning, "spec.config.authorizers[0].port", "1 to 65535"),
        (authorizer(json!({"port": -1})), Warning, "spec.config.authorizers[0].port", "1 to 65535"),
        (authorizer(json!({"timeout": "soon"})), Warning, "spec.config.authorizers[0].timeout", "such as"),
        (authorizer(json!({"timeout": "1d"})), Warning, "spec.config.authorizers[0].timeout", "such as"),
        (authorizer(json!({"timeout": "0s"})), Warning, "spec.config.authorizers[0].timeout", "above zero"),
        (authorizer(json!({"timeout": "-2s"})), Warning, "spec.config.authorizers[0].timeout", "negative"),
        (
            authorizer(json!({"pathPrefix": "check"})),
            Warning,
            "spec.config.authorizers[0].pathPrefix",
            "slash",
        ),
        (json!({"config": {"trustDomain": "a_b"}}), Warning, "spec.config.trustDomain", "DNS name"),
        (json!({"config": {"trustDomain": "-a"}}), Warning, "spec.config.trustDomain", "DNS name"),
        (json!({"config": {"trustDomain": "a..b"}}), Warning, "spec.config.trustDomain", "DNS name"),
    ] {
        let rejection = validate(&spec(written), FeatureStage::Stable).unwrap_err();
        assert_eq!(rejection.reason, Reason::ValidationFailed, "{rejection}");
        assert_eq!(rejection.state, state, "{rejection}");
        assert!(rejection.message.starts_with(&format!("{field}: ")), "{rejection}");
        assert!(rejection.message.contains(words), "{rejection}");
    }
}

#[test]
fn every_problem_is_named_and_the_worst_sets_the_state() {
    let spec = spec(json!({"experimental": {}, "config": {"trustDomain": "a..b"}}));
    let rejection = validate(&spec, FeatureStage::Stable).unwrap_err();
    assert_eq!(rejection.state, State::Error);
    assert!(
        rejection.message.contains("spec.experimental")
            && rejection.message.contains("spec.config.trustDomain")
    );
}

#[test]
fn a_valid_spec_has_parsed_values() {
    let valid = validate(
        &spec(json!({
            "config": {
                "trustDomain": "mesh.example.com.",
                "authorizers": [
                    {"name": "a", "service": "ns/host.ns.svc.cluster.local", "port": 443, "timeout": "1m30.5s"},
                    {"name": "b", "service": "10.0.0.1", "port": 65535, "pathPrefix": "/check?x="},
                    {"name": "c", "service": "fd00::1", "port": 1, "pathPrefix": ""},
                ],
            },
            "components": {"pilot": {"k8s": {"strategy": {"rollingUpdate": {"maxSurge": "25%"}}}}},
        })),
        FeatureStage::Stable,
    )
    .unwrap();
    let timeouts: Vec<_> = valid.mesh.authorizers.iter().map(|authorizer| authorizer.timeout).collect();
    assert_eq!(timeouts, [Some(std::time::Duration::from_millis(90_500)), None, None]);
    assert_eq!(valid.mesh.authorizers[2].path_prefix, None);
    let strategy = valid.components.pilot.unwrap().k8s.strategy.unwrap();
    assert_eq!(strategy.rolling_update.max_surge, Some(IntOrString::String("25%".to_owned())));
}

#[test]
fn experimental_options_are_accepted_where_allowed() {
    let spec = spec(json!({"experimental": {"enableAmbient": true}}));
    let valid = validate(&spec, FeatureStage::Experimental).unwrap();
    assert_eq!(valid.experimental.enable_ambient, Some(true));
}

#[test]
fn an_empty_spec_is_valid() {
    assert_eq!(validate(&IstioSpec::default(), FeatureStage::Stable), Ok(ValidatedSpec::default()));
}

fn istio(namespace: &str, name: &str, created: &str, uid: &str) -> Istio {
    serde_json::from_value(json!({
        "apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio",
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created, "uid": uid},
    }))
    .unwrap()
}

const NINE: &str = "2026-01-01T09:00:00Z";
const TEN: &str = "2026-01-01T10:00:00Z";

#[test]
fn the_oldest_resource_is_active_and_ties_go_by_uid() {
    let elsewhere = istio("default", "elsewhere", NINE, "0");
    let oldest = istio("kyma-system", "oldest", NINE, "b");
    let same_second = istio("kyma-system", "same-second", NINE, "c");
    let younger = istio("kyma-system", "younger", TEN, "a");
    let mut all = vec![elsewhere.clone(), younger.clone(), same_second.clone(), oldest.clone()];
    for _ in 0..all.len() {
        all.rotate_left(1);
        assert_eq!(check_active_instance(&all, &oldest, "kyma-system"), InstanceStatus::Active);
        for loser in [&same_second, &younger] {
            let status = check_active_instance(&all, loser, "kyma-system");
            assert_eq!(
                status,
                InstanceStatus::OlderExists {
                    namespace: "kyma-system".to_owned(),
                    name: "oldest".to_owned()
                }
            );
        }
    }
    assert!(matches!(
        check_active_instance(&all, &elsewhere, "kyma-system"),
        InstanceStatus::WrongNamespace { .. }
    ));
}

#[test]
fn an_ignored_resource_names_the_active_one() {
    let older =
        InstanceStatus::OlderExists { namespace: "kyma-system".to_owned(), name: "oldest".to_owned() };
    let rejection = older.rejection().unwrap();
    assert_eq!((rejection.reason, rejection.state), (Reason::OlderCRExists, State::Warning));
    assert!(rejection.message.contains("kyma-system/oldest"));

    let wrong = InstanceStatus::WrongNamespace {
        namespace: "default".to_owned(),
        expected: "kyma-system".to_owned(),
    };
    let rejection = wrong.rejection().unwrap();
    assert_eq!((rejection.reason, rejection.state), (Reason::ReconcileFailed, State::Error));
    assert!(rejection.message.contains("kyma-system"));
    assert_eq!(InstanceStatus::Active.rejection(), None);
}

/// A resource that cannot be read would end the list of all of them. Older definitions let such values into the cluster.
#[test]
fn one_invalid_resource_does_not_block_others() {
    let metadata = json!({"name": "default", "namespace": "kyma-system"});
    for authorizer in [
        json!({"name": "a", "service": "a.b", "port": -1, "timeout": "soon"}),
        json!({"name": "", "port": i64::MAX}),
    ] {
        let resource = json!({"apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio", "metadata": metadata,
            "spec": {"config": {"authorizers": [authorizer]}, "unknown": [1]}});
        let read: Istio = serde_json::from_value(resource).unwrap();
        assert!(validate(&read.spec, FeatureStage::Stable).is_err());
    }
}

#[test]
fn a_spec_that_is_too_large_is_rejected_before_other_checks() {
    let values = serde_json::from_str(&format!("{}1{}", r#"{"a":"#.repeat(70), "}".repeat(70))).unwrap();
    let spec = spec(json!({"values": Value::clone(&values), "experimental": {}}));
    let rejection = validate(&spec, FeatureStage::Stable).unwrap_err();
    assert_eq!((rejection.reason, rejection.state), (Reason::ValidationFailed, State::Warning));
    assert!(rejection.message.starts_with("spec.values: "), "{rejection}");
    assert!(rejection.message.contains("more than 64 levels"), "{rejection}");
    assert!(!rejection.message.contains("experimental"), "{rejection}");
}
