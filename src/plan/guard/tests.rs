use serde_json::json;

use super::*;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod", "kyma-project.io/module": "istio"}},
        "spec": {
            "selector": {"matchLabels": {"app": "istiod"}},
            "template": {
                "metadata": {"labels": {"app": "istiod"}, "annotations": {"sidecar.istio.io/inject": "false"}},
                "spec": {
                    "serviceAccountName": "istiod",
                    "securityContext": {"runAsNonRoot": true},
                    "containers": [{"name": "discovery", "image": "pilot", "securityContext": {"readOnlyRootFilesystem": true},
                        "volumeMounts": [{"name": "bin", "mountPath": "/bin"}]}],
                    "volumes": [{"name": "bin", "hostPath": {"path": "/opt"}}, {"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    })
}

/// Sets the value at `pointer`; at `/-` of a list it is added.
pub(super) fn set(mut object: Value, pointer: &str, value: Value) -> Value {
    if let Some(list) = pointer.strip_suffix("/-") {
        object.pointer_mut(list).unwrap().as_array_mut().unwrap().push(value);
        return object;
    }
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let field = field.replace("~1", "/");
    match object.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        parent => parent[field.as_str()] = value,
    }
    object
}

pub(super) fn told(before: &Value, after: &Value) -> Vec<String> {
    let id = ObjectId::of(before).unwrap();
    changes(&id, before, after)
        .iter()
        .map(|violation| format!("{}: {}", violation.path, violation.what))
        .collect()
}

#[test]
fn identity_selectors_and_labels_that_others_rely_on_are_closed() {
    for (pointer, value, expected) in [
        ("/apiVersion", json!("apps/v2"), "apiVersion: its identity"),
        ("/metadata/name", json!("other"), "metadata.name: its identity"),
        ("/metadata/namespace", json!("other"), "metadata.namespace: its identity"),
        ("/metadata/ownerReferences", json!([]), "metadata.ownerReferences: its identity"),
        ("/metadata/finalizers", json!(["a/b"]), "metadata.finalizers: its identity"),
        ("/metadata/labels/app", json!("x"), "metadata.labels[app]: a label that others rely on"),
        (
            "/metadata/labels/kyma-project.io~1module",
            json!("x"),
            "metadata.labels[kyma-project.io/module]: a label that others rely on",
        ),
        (
            "/metadata/labels/operator.istio.io~1component",
            json!("Cni"),
            "metadata.labels[operator.istio.io/component]: a label that others rely on",
        ),
        (
            "/metadata/annotations",
            json!({"istios.operator.kyma-project.io/x": "y"}),
            "metadata.annotations[istios.operator.kyma-project.io/x]: an annotation that others rely on",
        ),
        ("/spec/selector/matchLabels/app", json!("x"), "spec.selector: a selector"),
        (
            "/spec/template/metadata/labels/app",
            json!("x"),
            "spec.template.metadata.labels[app]: a label that others rely on",
        ),
        (
            "/spec/template/metadata/annotations/sidecar.istio.io~1inject",
            json!("true"),
            "spec.template.metadata.annotations[sidecar.istio.io/inject]: an annotation that others rely on",
        ),
        (
            "/spec/template/metadata/annotations/sidecar.istio.io~1userVolume",
            json!("[]"),
            "spec.template.metadata.annotations[sidecar.istio.io/userVolume]: an annotation that others rely on",
        ),
        (
            "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1discovery",
            json!("unconfined"),
            "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/discovery]: \
             an annotation that others rely on",
        ),
    ] {
        assert_eq!(told(&deployment(), &set(deployment(), pointer, value)), [expected], "{pointer}");
    }
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "istiod"}, "spec": {"selector": {"app": "istiod"}}});
    for field in ["selector", "externalName"] {
        let pointer = format!("/spec/{field}");
        assert_eq!(told(&service, &set(service.clone(), &pointer, json!("x"))).len(), 1, "{field}");
    }
    for (kind, field) in [
        ("NetworkPolicy", "podSelector"),
        ("EnvoyFilter", "workloadSelector"),
        ("EnvoyFilter", "targetRefs"),
        ("PeerAuthentication", "selector"),
        ("VerticalPodAutoscaler", "targetRef"),
    ] {
        let object =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": {field: {"a": "b"}}});
        let after = set(object.clone(), &format!("/spec/{field}"), json!({}));
        assert_eq!(told(&object, &after), [format!("spec.{field}: a selector")]);
    }
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "istiod"},
        "spec": {"scaleTargetRef": {"name": "istiod"}}});
    assert_eq!(
        told(&scaler, &set(scaler.clone(), "/spec/scaleTargetRef/name", json!("x"))),
        ["spec.scaleTargetRef: a selector"]
    );
}

#[test]
fn service_accounts_host_namespaces_and_privileges_of_a_pod_are_closed() {
    let pod = "/spec/template/spec";
    for (field, value, what) in [
        ("serviceAccountName", json!("admin"), "a service account"),
        ("serviceAccount", json!("admin"), "a service account"),
        ("automountServiceAccountToken", json!(true), "a service account"),
        ("hostNetwork", json!(true), "a namespace of the host"),
        ("hostPID", json!(true), "a namespace of the host"),
        ("hostIPC", json!(true), "a namespace of the host"),
        ("hostUsers", json!(true), "a namespace of the host"),
        ("shareProcessNamespace", json!(true), "the privilege of a pod"),
        ("runtimeClassName", json!("x"), "the privilege of a pod"),
        ("securityContext", json!({}), "the privilege of a pod"),
    ] {
        let after = set(deployment(), &format!("{pod}/{field}"), value);
        assert_eq!(told(&deployment(), &after), [format!("spec.template.spec.{field}: {what}")]);
    }
    let after =
        set(deployment(), "/spec/template/spec/containers/0/securityContext", json!({"privileged": true}));
    assert_eq!(
        told(&deployment(), &after),
        ["spec.template.spec.containers[discovery].securityContext: the privilege of a container"]
    );
}

#[test]
fn paths_and_ports_of_the_host_are_closed() {
    let pod = "/spec/template/spec";
    for (pointer, value, expected) in [
        (
            "volumes/-",
            json!({"name": "x", "hostPath": {"path": "/"}}),
            "volumes[x].hostPath: a path of the host",
        ),
        ("volumes/0/hostPath/path", json!("/"), "volumes[bin].hostPath: a path of the host"),
        (
            "volumes/1",
            json!({"name": "tmp", "hostPath": {"path": "/"}}),
            "volumes[tmp].hostPath: a path of the host",
        ),
        (
            "volumes/-",
            json!({"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}}),
            "volumes[x].projected: a token of a service account",
        ),
        (
            "containers/0/ports",
            json!([{"containerPort": 80, "hostPort": 80}]),
            "containers[discovery].ports: a port of the host",
        ),
        (
            "containers/0/volumeMounts/-",
            json!({"name": "bin", "mountPath": "/other"}),
            "containers[discovery].volumeMounts[bin]: a path of the host",
        ),
        (
            "containers/-",
            json!({"name": "x", "volumeMounts": [{"name": "bin", "mountPath": "/bin"}]}),
            "containers[x].volumeMounts[bin]: a path of the host",
        ),
        (
            "initContainers",
            json!([{"name": "x", "ports": [{"hostPort": 1}]}]),
            "initContainers[x].ports: a port of the host",
        ),
    ] {
        let after = set(deployment(), &format!("{pod}/{pointer}"), value);
        assert_eq!(told(&deployment(), &after), [format!("spec.template.spec.{expected}")], "{pointer}");
    }
}

#[test]
fn a_container_of_the_users_own_may_not_ask_for_privileges() {
    for (context, allowed) in [
        (json!({"privileged": true}), false),
        (json!({"allowPrivilegeEscalation": true}), false),
        (json!({"runAsUser": 0}), false),
        (json!({"runAsNonRoot": false}), false),
        (json!({"capabilities": {"add": ["NET_ADMIN"]}}), false),
        (json!({"procMount": "Unmasked"}), false),
        (json!({"seLinuxOptions": {"type": "spc_t"}}), false),
        (json!({"windowsOptions": {"hostProcess": true}}), false),
        (json!({"seccompProfile": {"type": "Unconfined"}}), false),
        (json!({"appArmorProfile": {"type": "Unconfined"}}), false),
        (
            json!({"capabilities": {"drop": ["ALL"]}, "runAsUser": 1000, "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"}, "allowPrivilegeEscalation": false}),
            true,
        ),
    ] {
        let container = json!({"name": "x", "securityContext": context});
        let after = set(deployment(), "/spec/template/spec/containers/-", container);
        assert_eq!(told(&deployment(), &after).is_empty(), allowed, "{context}");
    }
}

#[test]
fn everything_else_of_a_workload_is_open() {
    for (pointer, value) in [
        ("/spec/replicas", json!(3)),
        ("/spec/strategy", json!({"type": "Recreate"})),
        ("/metadata/labels/team", json!("mesh")),
        ("/metadata/annotations", json!({"example.com/a": "b"})),
        ("/spec/template/metadata/labels/example.com~1team", json!("mesh")),
        ("/spec/template/metadata/annotations/prometheus.io~1scrape", json!("true")),
        ("/spec/template/spec/nodeSelector", json!({"pool": "system"})),
        ("/spec/template/spec/containers/0/env", json!([{"name": "A", "value": "1"}])),
        ("/spec/template/spec/containers/0/resources", json!({"limits": {"cpu": "1"}})),
        ("/spec/template/spec/containers/-", json!({"name": "helper", "image": "x"})),
        ("/spec/template/spec/volumes/-", json!({"name": "x", "configMap": {"name": "x"}})),
    ] {
        assert_eq!(
            told(&deployment(), &set(deployment(), pointer, value)),
            Vec::<String>::new(),
            "{pointer}"
        );
    }
}

fn of_kind(kind: &str, namespace: Option<&str>) -> (ObjectId, Value) {
    let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
    (ObjectId::of(&object).unwrap(), object)
}

#[test]
fn permissions_webhooks_definitions_and_accounts_are_closed_as_a_whole() {
    for (kind, what) in [
        ("ClusterRole", "a permission"),
        ("ClusterRoleBinding", "a permission"),
        ("Role", "a permission"),
        ("RoleBinding", "a permission"),
        ("ValidatingAdmissionPolicy", "a permission"),
        ("ServiceAccount", "a service account"),
        ("MutatingWebhookConfiguration", "a webhook"),
        ("ValidatingWebhookConfiguration", "a webhook"),
        ("CustomResourceDefinition", "a definition"),
        ("Namespace", "a namespace"),
    ] {
        let (id, object) = of_kind(kind, None);
        let changed = set(object.clone(), "/anything", json!(1));
        let what = [Violation { object: id.clone(), path: String::new(), what }];
        assert_eq!(changes(&id, &object, &changed), what, "changed {kind}");
        assert_eq!(violations(&[], &[(id.clone(), object.clone())]), what, "new {kind}");
        assert_eq!(violations(&[(id, object)], &[]), what, "vanished {kind}");
    }
}

#[test]
fn what_an_installation_needs_neither_appears_nor_vanishes() {
    for (kind, may_appear, may_vanish) in [
        ("Deployment", false, false),
        ("DaemonSet", false, false),
        ("Service", false, false),
        ("ConfigMap", true, false),
        ("EndpointSlice", false, true),
        ("NetworkAttachmentDefinition", false, true),
        ("Secret", false, true),
        ("HorizontalPodAutoscaler", true, true),
        ("PodDisruptionBudget", true, true),
        ("NetworkPolicy", true, true),
        ("ResourceQuota", true, true),
    ] {
        let object = of_kind(kind, Some("istio-system"));
        assert_eq!(violations(&[], std::slice::from_ref(&object)).is_empty(), may_appear, "new {kind}");
        assert_eq!(violations(std::slice::from_ref(&object), &[]).is_empty(), may_vanish, "vanished {kind}");
        assert_eq!(violations(std::slice::from_ref(&object), std::slice::from_ref(&object)), [], "{kind}");
    }
    assert_eq!(violations(&[], &[of_kind("Something", None)]).len(), 1, "a new object of the whole cluster");
}

/// The agent of the CNI: it has the rights of its node.
fn agent() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "istio-cni-node", "namespace": "istio-system"},
    "spec": {"template": {"spec": {
        "hostNetwork": true,
        "containers": [{"name": "install-cni", "image": "install-cni", "args": ["--log_output_level=info"],
            "securityContext": {"runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}}}],
    }}}})
}

#[test]
fn what_has_rights_over_its_node_keeps_its_program() {
    let container = "/spec/template/spec/containers/0";
    for field in ["command", "image", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        let after = set(agent(), &format!("{container}/{field}"), json!("other"));
        let path = format!("spec.template.spec.containers[install-cni].{field}");
        assert_eq!(told(&agent(), &after), [format!("{path}: the program of a container with privileges")]);
    }
    let added = set(agent(), "/spec/template/spec/containers/-", json!({"name": "x", "image": "x"}));
    assert_eq!(told(&agent(), &added), ["spec.template.spec.containers[x]: a namespace of the host"]);
    for (field, value) in
        [("args", json!(["--log_output_level=debug"])), ("env", json!([{"name": "A", "value": "b"}]))]
    {
        let after = set(agent(), &format!("{container}/{field}"), value);
        assert_eq!(told(&agent(), &after), Vec::<String>::new(), "{field}");
    }
    let image = set(deployment(), "/spec/template/spec/containers/0/image", json!("other"));
    let because =
        ["spec.template.spec.containers[discovery].image: the program of a container with privileges"];
    assert_eq!(told(&deployment(), &image), because, "it mounts a path of the host");
    let harmless = set(deployment(), "/spec/template/spec/volumes", json!([]));
    assert_eq!(
        told(&harmless, &set(harmless.clone(), &format!("{container}/image"), json!("other"))),
        Vec::<String>::new()
    );
}

#[test]
fn a_container_of_the_charts_neither_vanishes_nor_forgets_who_it_is() {
    let pod = "/spec/template/spec";
    let gone = set(deployment(), &format!("{pod}/containers"), json!([]));
    assert_eq!(
        told(&deployment(), &gone),
        ["spec.template.spec.containers[discovery]: which containers there are"]
    );
    assert!(!told(&deployment(), &set(deployment(), "/spec/template", json!({}))).is_empty());
    let env = |value: Value| set(deployment(), &format!("{pod}/containers/0/env"), value);
    let revision = |revision: &str| json!({"name": "REVISION", "value": revision});
    let before = env(json!([revision("default"), {"name": "A", "value": "1"}]));
    for (after, is_open) in [
        (env(json!([revision("canary")])), false),
        (env(json!([])), false),
        (env(json!([revision("default"), revision("canary")])), false),
        (env(json!([revision("default"), {"name": "POD_NAMESPACE", "value": "x"}])), false),
        (env(json!([{"name": "B", "value": "1"}, revision("canary"), revision("default")])), true),
    ] {
        assert_eq!(told(&before, &after).is_empty(), is_open, "{after}");
    }
}
