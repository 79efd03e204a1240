use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn severities(findings: &[Finding]) -> Vec<FindingSeverity> {
    findings.iter().map(|finding| finding.severity).collect()
}

#[test]
fn an_old_kubernetes_is_a_warning() {
    for (version, expected) in [
        ("v1.36.3", vec![]),
        ("v1.32.0", vec![]),
        ("v1.33.1-gke.1234", vec![]),
        ("v2.0.0", vec![]),
        ("v1.31.9", vec![FindingSeverity::Warning]),
        ("latest", vec![FindingSeverity::Warning]),
    ] {
        let oldest = Some(MinorVersion { major: 1, minor: 32 });
        assert_eq!(severities(&kubernetes(version, oldest)), expected, "{version}");
        assert_eq!(kubernetes(version, None), [], "{version}");
    }
}

#[test]
fn a_version_step_is_a_note_and_a_refused_one_is_an_error() {
    let installation = |installed: Option<&str>| Installation {
        installed: installed.map(str::to_owned),
        allowed_downgrade: None,
    };
    for (installed, expected) in [
        (None, vec![]),
        (Some("1.31.0-distroless"), vec![]),
        (Some("1.30.3"), vec![FindingSeverity::Note]),
        (Some("1.32.0"), vec![FindingSeverity::Error]),
        (Some("1.29.0"), vec![FindingSeverity::Error]),
    ] {
        assert_eq!(severities(&version(&installation(installed), "1.31.0")), expected, "{installed:?}");
    }
}

#[test]
fn a_crd_that_loses_fields_or_has_another_manager_is_a_warning() {
    let crd = |fields: &[&str], manager: &str| {
        let fields: Map<String, Value> =
            fields.iter().map(|field| ((*field).to_owned(), json!({}))).collect();
        json!({
            "metadata": {"name": "gateways.networking.istio.io", "managedFields": [{"manager": manager}]},
            "spec": {"versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"properties": fields}}}]},
        })
    };
    let ours = crd(&["spec"], "");
    for (live, expected) in [
        (crd(&["spec"], "helm"), None),
        (crd(&["spec", "more"], "helm"), Some("v1.more")),
        (crd(&["spec"], "argocd-controller"), Some("argocd-controller")),
    ] {
        let found = super::crd(&ours, &live, "1.31.0");
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        if let (Some(found), Some(text)) = (found, expected) {
            assert_eq!(found.severity, FindingSeverity::Warning);
            assert!(found.message.contains(text) && found.message.contains("gateways.networking.istio.io"));
        }
    }
}

fn istiod(namespace: &str, revision: &str, helm_release: Option<&str>) -> DiscoveredIstiod {
    DiscoveredIstiod {
        namespace: namespace.to_owned(),
        name: "istiod".to_owned(),
        revision: revision.to_owned(),
        helm_release: helm_release.map(str::to_owned),
    }
}

#[test]
fn another_control_plane_is_named_and_our_own_is_not() {
    assert_eq!(other_istio(&[istiod("istio-system", "default", None)], &[]), []);
    for (other, text) in [
        (istiod("mesh", "default", None), "mesh/istiod"),
        (istiod("istio-system", "canary", None), "revision canary"),
        (istiod("istio-system", "default", Some("istiod")), "Helm release istiod"),
    ] {
        let found = other_istio(&[other], &[]);
        assert_eq!(severities(&found), [FindingSeverity::Warning]);
        assert!(found[0].message.contains(text), "{}", found[0].message);
    }
    let found = other_istio(&[], &["istios.sailoperator.io".to_owned()]);
    assert!(found[0].message.contains("istios.sailoperator.io"));
}

#[expect(clippy::needless_pass_by_value, reason = "cases read better with values")]
fn configuration(policy: &str, resource: &str, selector: Value, path: &str) -> Value {
    json!({"webhooks": [{
        "name": "a.example.com", "failurePolicy": policy, "namespaceSelector": selector,
        "clientConfig": {"service": {"namespace": "policies", "name": "engine", "path": path}},
        "rules": [{"resources": [resource]}],
    }]})
}

fn set_ready_endpoint(webhooks: &mut [Webhook], is_ready: bool) {
    for webhook in webhooks {
        webhook.has_ready_endpoint = is_ready;
    }
}

#[test]
fn a_webhook_that_blocks_without_an_answer_is_an_error() {
    let name = "kubernetes.io/metadata.name";
    let not_in = |namespace: &str| json!({"matchExpressions": [{"key": name, "operator": "NotIn", "values": [namespace]}]});
    for (case, policy, resource, selector, is_ready, blocks) in [
        ("dead", "Fail", "pods", json!({}), false, true),
        ("any resource", "Fail", "*", json!({}), false, true),
        ("alive", "Fail", "pods", json!({}), true, false),
        ("lenient", "Ignore", "pods", json!({}), false, false),
        ("other resources", "Fail", "virtualservices", json!({}), false, false),
        ("excludes us", "Fail", "pods", not_in("istio-system"), false, false),
        ("excludes others", "Fail", "pods", not_in("kube-system"), false, true),
        ("selects others", "Fail", "pods", json!({"matchLabels": {name: "shop"}}), false, false),
    ] {
        let configuration = configuration(policy, resource, selector, "/validate");
        let mut found = webhooks_of("ValidatingWebhookConfiguration", "policies", &configuration);
        set_ready_endpoint(&mut found, is_ready);
        let expected = if blocks { vec![FindingSeverity::Error] } else { vec![] };
        assert_eq!(severities(&webhooks(&found)), expected, "{case}");
    }
}

#[test]
fn an_injector_that_is_not_ours_is_a_warning() {
    let injector = configuration("Fail", "pods", json!({}), "/inject");
    for (name, expected) in [
        ("istio-sidecar-injector", vec![]),
        ("istio-revision-tag-default", vec![]),
        ("istio-sidecar-injector-canary", vec![FindingSeverity::Warning]),
    ] {
        let mut found = webhooks_of("MutatingWebhookConfiguration", name, &injector);
        set_ready_endpoint(&mut found, true);
        assert_eq!(severities(&webhooks(&found)), expected, "{name}");
    }
}

#[test]
fn a_webhook_that_is_called_by_url_is_not_checked() {
    let configuration = json!({"webhooks": [{"name": "a", "clientConfig": {"url": "https://example.com"}}]});
    assert_eq!(webhooks_of("ValidatingWebhookConfiguration", "x", &configuration), []);
}

#[test]
fn a_namespace_that_refuses_the_pods_is_an_error() {
    let fine =
        || ControlPlaneNamespace { labels: None, is_terminating: false, cni: true, has_priority_class: true };
    let enforcing = |level: &str| {
        Some(BTreeMap::from([("pod-security.kubernetes.io/enforce".to_owned(), level.to_owned())]))
    };
    for (case, control_plane, errors) in [
        ("none yet", fine(), 0),
        ("privileged", ControlPlaneNamespace { labels: enforcing("privileged"), ..fine() }, 0),
        ("baseline", ControlPlaneNamespace { labels: enforcing("baseline"), ..fine() }, 1),
        ("restricted", ControlPlaneNamespace { labels: enforcing("restricted"), ..fine() }, 1),
        (
            "baseline without CNI",
            ControlPlaneNamespace { labels: enforcing("baseline"), cni: false, ..fine() },
            0,
        ),
        ("going", ControlPlaneNamespace { is_terminating: true, ..fine() }, 1),
        ("no class", ControlPlaneNamespace { has_priority_class: false, ..fine() }, 1),
    ] {
        assert_eq!(severities(&namespace(&control_plane)), vec![FindingSeverity::Error; errors], "{case}");
    }
}

#[test]
fn settings_of_network_plug_ins_that_collide_are_warnings() {
    let cilium = |settings: &[(&str, &str)]| Network {
        cilium: Some(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        cni: true,
        ..Network::default()
    };
    let felix = |spec: Value| Network { felix: Some(spec), ..Network::default() };
    for (case, network, warnings) in [
        ("none", Network::default(), 0),
        ("exclusive", cilium(&[("cni-exclusive", "true")]), 1),
        ("exclusive without CNI", Network { cni: false, ..cilium(&[("cni-exclusive", "true")]) }, 0),
        ("shared", cilium(&[("cni-exclusive", "false")]), 0),
        ("masquerade", cilium(&[("enable-bpf-masquerade", "true")]), 0),
        (
            "masquerade with ambient",
            Network { ambient: true, ..cilium(&[("enable-bpf-masquerade", "true")]) },
            1,
        ),
        ("sockets", cilium(&[("bpf-lb-sock", "true")]), 1),
        ("sockets of hosts", cilium(&[("bpf-lb-sock", "true"), ("bpf-lb-sock-hostns-only", "true")]), 0),
        ("strict", cilium(&[("kube-proxy-replacement", "strict")]), 1),
        ("Calico without eBPF", felix(json!({"bpfEnabled": false})), 0),
        ("Calico at connect time", felix(json!({"bpfConnectTimeLoadBalancing": "TCP"})), 1),
        ("Calico disabled", felix(json!({"bpfConnectTimeLoadBalancing": "Disabled"})), 0),
        ("Calico, older field", felix(json!({"bpfConnectTimeLoadBalancingEnabled": true})), 1),
    ] {
        assert_eq!(severities(&super::network(&network)), vec![FindingSeverity::Warning; warnings], "{case}");
    }
}
