//! What people suffered with Istio and its installers, as values that must give what they meant.

use super::*;
use crate::plan::cluster::Platform;

fn plan_with(administrator: &Value) -> Plan {
    plan_on(ClusterFacts::default(), administrator)
}

fn mesh_of(plan: &Plan) -> Value {
    let mesh = object(plan, "ConfigMap", "istio")["data"]["mesh"].as_str().unwrap().to_owned();
    gotemplate::yaml::parse_json(&mesh).unwrap()
}

fn provider(plan: &Plan, name: &str) -> Value {
    let mesh = mesh_of(plan);
    let mut providers = mesh["extensionProviders"].as_array().unwrap().iter();
    providers.find(|provider| provider["name"] == name).unwrap().clone()
}

fn container(plan: &Plan, kind: &str, name: &str) -> Value {
    object(plan, kind, name).pointer("/spec/template/spec/containers/0").unwrap().clone()
}

#[test]
fn a_text_log_format_replaces_the_labels_of_the_envoy_provider() {
    let format = json!({"text": "%START_TIME%\n"});
    let provider_values =
        json!({"name": "envoy", "envoyFileAccessLog": {"path": "/dev/stdout", "logFormat": format}});
    let plan = built_plan(json!({"values": {"meshConfig": {"extensionProviders": [provider_values]}}}));
    assert_eq!(provider(&plan, "envoy")["envoyFileAccessLog"]["logFormat"], format);
}

#[test]
fn a_provider_of_another_type_replaces_the_built_in_one() {
    let zipkin = json!({"service": "zipkin.observability.svc.cluster.local", "port": 9411});
    let values = json!({"meshConfig": {"extensionProviders": [{"name": "kyma-traces", "zipkin": zipkin}]}});
    let plan = built_plan(json!({"values": values}));
    assert_eq!(provider(&plan, "kyma-traces"), json!({"name": "kyma-traces", "zipkin": zipkin}));
}

#[test]
fn two_types_of_one_provider_are_a_warning_with_both_names() {
    let both = json!({"name": "x", "zipkin": {"service": "a.b", "port": 1}, "opentelemetry": {"service": "a.b", "port": 1}});
    let message = refused(json!({"values": {"meshConfig": {"extensionProviders": [both]}}}));
    for words in ["spec.values.meshConfig.extensionProviders[0]", "zipkin", "opentelemetry"] {
        assert!(message.contains(words), "{words} is missing in: {message}");
    }
}

#[test]
fn a_null_limit_is_no_limit_and_not_that_of_the_chart() {
    let no_cpu = json!({"resources": {"limits": {"cpu": null}}});
    let values = json!({
        "global": {"proxy": no_cpu}, "pilot": no_cpu, "gateways": {"istio-ingressgateway": no_cpu}, "cni": no_cpu,
    });
    let plan = built_plan(json!({"values": values}));
    for (kind, name, memory) in [
        ("Deployment", "istiod", "2Gi"),
        ("Deployment", "istio-ingressgateway", "1024Mi"),
        ("DaemonSet", "istio-cni-node", "1024Mi"),
    ] {
        assert_eq!(container(&plan, kind, name)["resources"]["limits"], json!({"memory": memory}), "{name}");
    }
    let injector = object(&plan, "ConfigMap", "istio-sidecar-injector");
    let values: Value = serde_json::from_str(injector["data"]["values"].as_str().unwrap()).unwrap();
    assert_eq!(values["global"]["proxy"]["resources"]["limits"], json!({"memory": "1024Mi"}));
    assert_eq!(plan.warnings(), [""; 0]);
}

#[test]
fn replicas_are_left_to_another_autoscaler_such_as_keda() {
    let off = json!({"autoscaleEnabled": false, "replicaCount": null});
    let values = json!({"pilot": off, "gateways": {"istio-ingressgateway": off}});
    let plan = built_plan(json!({"values": values}));
    for name in ["istiod", "istio-ingressgateway"] {
        assert_eq!(object(&plan, "Deployment", name)["spec"].get("replicas"), None, "{name}");
    }
    assert_eq!(plan.warnings(), [""; 0]);
}

#[test]
fn null_is_absent_wherever_it_is_set() {
    let sets = |text: String, name: &str| text.contains(name);
    for (values, kind, name, field) in [
        (json!({"pilot": {"resources": null}}), "Deployment", "istiod", "\"limits\":"),
        (json!({"pilot": {"rollingMaxSurge": null}}), "Deployment", "istiod", "maxSurge"),
        (json!({"pilot": {"traceSampling": null}}), "Deployment", "istiod", "PILOT_TRACE_SAMPLING"),
        (json!({"global": {"priorityClassName": null}}), "Deployment", "istiod", "priorityClassName"),
        (json!({"global": {"logging": {"level": null}}}), "Deployment", "istiod", "log_output_level"),
        (json!({"cni": {"tolerations": null}}), "DaemonSet", "istio-cni-node", "tolerations"),
        (json!({"cni": {"updateStrategy": null}}), "DaemonSet", "istio-cni-node", "updateStrategy"),
        (
            json!({"gateways": {"istio-ingressgateway": {"secretVolumes": null}}}),
            "Deployment",
            "istio-ingressgateway",
            "ingressgateway-certs",
        ),
        (json!({"meshConfig": {"defaultProviders": null}}), "ConfigMap", "istio", "defaultProviders"),
        (json!({"meshConfig": {"rootNamespace": null}}), "ConfigMap", "istio", "null"),
        (
            json!({"meshConfig": {"defaultConfig": {"tracingServiceName": null}}}),
            "ConfigMap",
            "istio",
            "tracingServiceName",
        ),
        (
            json!({"global": {"proxy": {"startupProbe": null}}}),
            "ConfigMap",
            "istio-sidecar-injector",
            "\"startupProbe\"",
        ),
    ] {
        let plan = plan_with(&values);
        let text = object(&plan, kind, name).to_string();
        let text = if kind == "ConfigMap" { object(&plan, kind, name)["data"].to_string() } else { text };
        let text = if name == "istio-sidecar-injector" {
            object(&plan, kind, name)["data"]["values"].as_str().unwrap().to_owned()
        } else {
            text
        };
        assert!(!sets(text.clone(), field), "{values}: {text}");
    }
}

#[test]
fn a_null_that_a_template_fills_in_is_a_warning() {
    for (values, path) in [
        (json!({"cni": {"cniBinDir": null}}), "cni.cniBinDir"),
        (
            json!({"pilot": {"keepaliveMaxServerConnectionAge": null}}),
            "pilot.keepaliveMaxServerConnectionAge",
        ),
    ] {
        let warnings = plan_with(&values).warnings().to_vec();
        let [warning] = &warnings[..] else { panic!("{values}: {warnings:?}") };
        assert!(warning.starts_with(&format!("--values-file: {path}: null has no effect")), "{warning}");
    }
    for unused in [
        json!({"gateways": {"istio-egressgateway": {"rollingMaxSurge": null}}}),
        json!({"pilot": {"podLabels": null}}),
    ] {
        assert_eq!(plan_with(&unused).warnings(), [""; 0], "{unused}");
    }
}

#[test]
fn the_cni_agent_of_a_microk8s_cluster_finds_its_folders() {
    let node = json!({"kind": "Node", "metadata": {"name": "n", "labels": {"microk8s.io/cluster": "true"}}});
    let detected = ClusterFacts::from_objects(&[node]).unwrap();
    let named = json!({"global": {"platform": "microk8s"}});
    let folders = json!({
        "cni": {
            "cniConfDir": "/var/snap/microk8s/current/args/cni-network",
            "cniBinDir": "/var/snap/microk8s/current/opt/cni/bin",
        },
    });
    let plain = ClusterFacts::default;
    for (facts, values) in [(detected, json!({})), (plain(), named), (plain(), folders)] {
        let agent = object(&plan_on(facts, &values), "DaemonSet", "istio-cni-node").to_string();
        for folder in
            ["/var/snap/microk8s/current/args/cni-network", "/var/snap/microk8s/current/opt/cni/bin"]
        {
            assert!(agent.contains(folder), "{values}: {agent}");
        }
    }
}

#[test]
fn openshift_chooses_user_and_folders_whether_detected_or_named() {
    let detected = ClusterFacts { platform: Some(Platform::OpenShift), ..ClusterFacts::default() };
    let named = json!({"global": {"platform": "openshift"}});
    for (facts, values) in [(detected, json!({})), (ClusterFacts::default(), named)] {
        let plan = plan_on(facts, &values);
        let agent = object(&plan, "DaemonSet", "istio-cni-node").to_string();
        assert!(agent.contains("/etc/cni/multus/net.d") && agent.contains("/var/lib/cni/bin"), "{agent}");
        for name in ["istiod", "istio-ingressgateway"] {
            let pod = object(&plan, "Deployment", name).pointer("/spec/template/spec").unwrap().clone();
            assert_eq!(pod["securityContext"].get("runAsUser"), None, "{name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        }
    }
}

#[test]
fn booleans_and_numbers_in_annotations_are_texts() {
    let plan = built_plan(json!({"values": {
        "pilot": {"podAnnotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": true}},
        "gateways": {"istio-ingressgateway": {"serviceAnnotations": {
            "service.beta.kubernetes.io/azure-load-balancer-internal": true,
            "service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout": 4000,
        }}},
    }}));
    let pod =
        object(&plan, "Deployment", "istiod").pointer("/spec/template/metadata/annotations").unwrap().clone();
    assert_eq!(pod["cluster-autoscaler.kubernetes.io/safe-to-evict"], "true");
    let service = object(&plan, "Service", "istio-ingressgateway")["metadata"]["annotations"].clone();
    assert_eq!(service["service.beta.kubernetes.io/azure-load-balancer-internal"], "true");
    assert_eq!(service["service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout"], "4000");
}

#[test]
fn a_large_integer_stays_an_integer() {
    let large = 8_388_608;
    let provider_values = json!({"name": "als", "envoyHttpAls": {"service": "a.b", "port": large}});
    let values = json!({
        "pilot": {"env": {"ISTIO_GPRC_MAXRECVMSGSIZE": large}, "resources": {"limits": {"memory": 2_147_483_648_u64}}},
        "cni": {"terminationGracePeriodSeconds": 1_000_000},
        "meshConfig": {"extensionProviders": [provider_values]},
    });
    let plan = plan_with(&values);
    let env = container(&plan, "Deployment", "istiod")["env"].clone();
    let expected = json!({"name": "ISTIO_GPRC_MAXRECVMSGSIZE", "value": "8388608"});
    assert!(env.as_array().unwrap().contains(&expected), "{env}");
    let agent = object(&plan, "DaemonSet", "istio-cni-node");
    assert_eq!(agent["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 1_000_000);
    assert_eq!(provider(&plan, "als")["envoyHttpAls"]["port"], large);
}

#[test]
fn network_policies_follow_the_ports_that_an_author_gives_the_gateway() {
    let ports = json!([
        {"name": "http2", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "tcp", "port": 31400, "targetPort": 31400, "protocol": "TCP"},
    ]);
    let plan = built_plan(json!({
        "networkPoliciesEnabled": true, "values": {"gateways": {"istio-ingressgateway": {"ports": ports}}},
    }));
    let policy = object(&plan, "NetworkPolicy", "kyma-project.io--istio-ingressgateway");
    let tcp = |port: u16| json!({"protocol": "TCP", "port": port});
    assert_eq!(policy["spec"]["ingress"][0], json!({"ports": [tcp(8080), tcp(31400)]}));
}

#[test]
fn a_null_that_would_break_injection_is_refused_for_everybody() {
    for (path, null) in [
        ("statusPort", json!({"statusPort": null})),
        ("excludeIPRanges", json!({"excludeIPRanges": null})),
        ("includeIPRanges", json!({"includeIPRanges": null})),
        ("excludeOutboundPorts", json!({"excludeOutboundPorts": null})),
        ("readinessPeriodSeconds", json!({"readinessPeriodSeconds": null})),
        ("startupProbe.failureThreshold", json!({"startupProbe": {"failureThreshold": null}})),
    ] {
        let values = json!({"global": {"proxy": null}});
        for (administrator, author) in [(json!({}), &null), (null.clone(), &json!({}))] {
            let with = |proxy: &Value| {
                let mut values = values.clone();
                values["global"]["proxy"] = proxy.clone();
                values
            };
            let outcome = plan_outcome_in_mode(
                OverrideMode::Unrestricted,
                &with(&administrator),
                json!({"values": with(author)}),
                false,
            );
            let PlanOutcome::Rejected(rejection) = outcome else { panic!("{path} may be null") };
            assert!(rejection.message.contains(&format!("global.proxy.{path}: null ")), "{rejection}");
        }
    }
}
