//! Rewrites `managedFields`: adopts the fields of previous installers, and assigns yielded fields to their new owners.
//!
//! Pure. An apply alone achieves neither. Fields that a previous installer set by an update would stay forever, because only
//! the owner of a field can remove it. And a yielded field that only we own would be removed when we stop sending it: an
//! injector without its `caBundle` injects nothing, and with `failurePolicy: Fail` no pod starts.

use serde_json::{Value, json};

use super::managed_fields;
use crate::api::names::{FIELD_MANAGER, OWN_FIELD_MANAGER, RESTARTED_AT_ANNOTATION};

/// Field managers whose fields are adopted: Helm, `istioctl`, and the processes of the Go operator.
const PREVIOUS_INSTALLERS: [&str; 4] = ["helm", "istioctl", "manager", "istio_install"];

/// A field that is left to another manager, with the entry of that manager.
struct YieldedField {
    path: Vec<String>,
    manager: &'static str,
    subresource: Option<&'static str>,
}

/// The `managedFields` that `live` must have before `manifest` is applied; `None` if it has them already.
#[must_use]
pub fn adopted_managed_fields(live: &Value, manifest: &Value) -> Option<Vec<Value>> {
    let before = live.pointer("/metadata/managedFields")?.as_array()?;
    let api_version = manifest.get("apiVersion")?;
    let (adopted, mut others): (Vec<Value>, Vec<Value>) =
        before.iter().cloned().partition(|entry| is_adoptable(entry, manifest));
    let mut ours = remove_entry(&mut others, is_ours)
        .unwrap_or_else(|| entry(FIELD_MANAGER, "Apply", api_version, None));
    for adopted_entry in &adopted {
        managed_fields::union(&mut ours["fieldsV1"], &adopted_entry["fieldsV1"]);
        if ours["time"].is_null() {
            ours["time"] = adopted_entry["time"].clone();
        }
    }
    managed_fields::remove(&mut ours["fieldsV1"], &["f:status"]);
    let mut has_yielded = false;
    for yielded in find_yielded_fields(live, manifest) {
        let path: Vec<&str> = yielded.path.iter().map(String::as_str).collect();
        if managed_fields::remove(&mut ours["fieldsV1"], &path) {
            has_yielded = true;
            assign_owner(&mut others, &yielded, &path, &ours);
        }
    }
    if adopted.is_empty() && !has_yielded {
        return None;
    }
    others.push(ours);
    Some(others)
}

/// Whether an entry is to be merged into ours.
///
/// Not on namespaces: several of these manager names are common, and Istio sets nothing on a namespace that is to be removed.
fn is_adoptable(entry: &Value, manifest: &Value) -> bool {
    let manager = entry["manager"].as_str().unwrap_or_default();
    let is_previous_installer = PREVIOUS_INSTALLERS.contains(&manager)
        || (manager == FIELD_MANAGER && entry["operation"] == "Update");
    is_previous_installer
        && manifest["kind"] != "Namespace"
        && entry["apiVersion"] == manifest["apiVersion"]
        && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
}

fn is_ours(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER
        && entry["operation"] == "Apply"
        && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
}

fn remove_entry(entries: &mut Vec<Value>, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    let at = entries.iter().position(wanted)?;
    Some(entries.remove(at))
}

fn entry(manager: &str, operation: &str, api_version: &Value, subresource: Option<&str>) -> Value {
    let mut entry = json!({
        "manager": manager, "operation": operation, "apiVersion": api_version,
        "fieldsType": "FieldsV1", "fieldsV1": {},
    });
    if let Some(subresource) = subresource {
        entry["subresource"] = json!(subresource);
    }
    entry
}

/// Makes the manager that a field is yielded to its owner.
fn assign_owner(others: &mut Vec<Value>, yielded: &YieldedField, path: &[&str], ours: &Value) {
    let same = |entry: &Value| {
        entry["manager"] == yielded.manager
            && entry["operation"] == "Update"
            && entry["apiVersion"] == ours["apiVersion"]
            && entry.get("subresource").and_then(Value::as_str) == yielded.subresource
    };
    let mut owner = remove_entry(others, same)
        .unwrap_or_else(|| entry(yielded.manager, "Update", &ours["apiVersion"], yielded.subresource));
    managed_fields::insert(&mut owner["fieldsV1"], path);
    others.push(owner);
}

/// The fields of `live` that the manifest leaves to others.
fn find_yielded_fields(live: &Value, manifest: &Value) -> Vec<YieldedField> {
    match manifest["kind"].as_str().unwrap_or_default() {
        "MutatingWebhookConfiguration" => {
            webhook_fields(live, manifest, &[&["f:clientConfig", "f:caBundle"]])
        }
        "ValidatingWebhookConfiguration" => {
            webhook_fields(live, manifest, &[&["f:clientConfig", "f:caBundle"], &["f:failurePolicy"]])
        }
        "Deployment" if manifest.pointer("/spec/replicas").is_none() => {
            let replicas = YieldedField {
                path: vec!["f:spec".into(), "f:replicas".into()],
                manager: "kube-controller-manager",
                subresource: Some("scale"),
            };
            restart_annotation(manifest).into_iter().chain([replicas]).collect()
        }
        "Deployment" | "DaemonSet" => restart_annotation(manifest).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The annotation of the last restart, which is kept as one of our restarts: removing it would replace all pods.
fn restart_annotation(manifest: &Value) -> Option<YieldedField> {
    let annotation = format!("f:{RESTARTED_AT_ANNOTATION}");
    let path = ["f:spec", "f:template", "f:metadata", "f:annotations", &annotation];
    let is_yielded = managed_fields::resolve(manifest, &path).is_none();
    let path = path.map(str::to_owned).to_vec();
    is_yielded.then_some(YieldedField { path, manager: OWN_FIELD_MANAGER, subresource: None })
}

/// The fields of each webhook that istiod sets: its certificate, and `Fail` once it serves.
fn webhook_fields(live: &Value, manifest: &Value, paths: &[&[&str]]) -> Vec<YieldedField> {
    let mut found = Vec::new();
    for webhook in live.get("webhooks").and_then(Value::as_array).into_iter().flatten() {
        let key = format!("k:{}", json!({"name": webhook["name"]}));
        for path in paths {
            let full: Vec<&str> = ["f:webhooks", &key].into_iter().chain(path.iter().copied()).collect();
            let (live, wanted) =
                (managed_fields::resolve(live, &full), managed_fields::resolve(manifest, &full));
            let istiod_has_set = wanted.is_none() || live == Some(&json!("Fail"));
            if live.is_some() && istiod_has_set {
                let path = full.into_iter().map(str::to_owned).collect();
                found.push(YieldedField { path, manager: "pilot-discovery", subresource: None });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, entries: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"managedFields": entries}})
    }

    fn owned(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": "2026-01-01T00:00:00Z", "fieldsV1": fields})
    }

    fn by_manager<'e>(entries: &'e [Value], manager: &str) -> Vec<&'e Value> {
        entries.iter().filter(|entry| entry["manager"] == manager).map(|entry| &entry["fieldsV1"]).collect()
    }

    #[test]
    fn fields_of_previous_installers_are_adopted_and_others_are_kept() {
        let live = object(
            "Service",
            &json!([
                owned("istio-operator", "Apply", &json!({"f:spec": {"f:type": {}}})),
                owned("istio-operator", "Update", &json!({"f:spec": {"f:externalName": {}}})),
                owned("helm", "Apply", &json!({"f:metadata": {"f:annotations": {}}})),
                owned("manager", "Update", &json!({"f:metadata": {"f:labels": {"f:a": {}}}})),
                owned("pilot-discovery", "Update", &json!({"f:spec": {"f:ports": {}}})),
                owned("kubectl-edit", "Update", &json!({"f:spec": {"f:selector": {}}})),
            ]),
        );
        let entries = adopted_managed_fields(&live, &json!({"apiVersion": "v1", "kind": "Service"})).unwrap();
        assert_eq!(
            by_manager(&entries, "istio-operator"),
            [&json!({"f:spec": {"f:type": {}, "f:externalName": {}},
                "f:metadata": {"f:annotations": {}, "f:labels": {"f:a": {}}}})]
        );
        assert_eq!(by_manager(&entries, "kubectl-edit"), [&json!({"f:spec": {"f:selector": {}}})]);
        assert_eq!(by_manager(&entries, "pilot-discovery"), [&json!({"f:spec": {"f:ports": {}}})]);
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn an_object_without_a_previous_installer_is_not_rewritten() {
        let manifest = json!({"apiVersion": "v1", "kind": "Service"});
        for entries in [
            json!([owned("istio-operator", "Apply", &json!({"f:spec": {}}))]),
            json!([owned("kubectl", "Apply", &json!({"f:spec": {}}))]),
            json!([]),
        ] {
            assert_eq!(adopted_managed_fields(&object("Service", &entries), &manifest), None);
        }
    }

    #[test]
    fn fields_of_others_on_a_namespace_are_not_adopted() {
        let live = object("Namespace", &json!([owned("manager", "Update", &json!({"f:metadata": {}}))]));
        assert_eq!(adopted_managed_fields(&live, &json!({"apiVersion": "v1", "kind": "Namespace"})), None);
    }

    #[test]
    fn the_status_of_a_previous_installer_is_not_adopted() {
        let live = object(
            "Service",
            &json!([owned("helm", "Update", &json!({"f:status": {"f:x": {}}, "f:a": {}}))]),
        );
        let entries = adopted_managed_fields(&live, &json!({"apiVersion": "v1", "kind": "Service"})).unwrap();
        assert_eq!(by_manager(&entries, "istio-operator"), [&json!({"f:a": {}})]);
    }

    fn webhook_key() -> &'static str {
        "k:{\"name\":\"w.istio.io\"}"
    }

    #[test]
    fn a_certificate_that_only_we_own_is_yielded_to_istiod() {
        let mut live = object(
            "MutatingWebhookConfiguration",
            &json!([owned(
                "istio-operator",
                "Apply",
                &json!({"f:webhooks": {webhook_key():
                {".": {}, "f:name": {}, "f:clientConfig": {"f:caBundle": {}, "f:service": {}}}}})
            )]),
        );
        live["webhooks"] =
            json!([{"name": "w.istio.io", "clientConfig": {"caBundle": "Y2E=", "service": {}}}]);
        let manifest = json!({"apiVersion": "v1", "kind": "MutatingWebhookConfiguration",
            "webhooks": [{"name": "w.istio.io", "clientConfig": {"service": {}}}]});
        let entries = adopted_managed_fields(&live, &manifest).unwrap();
        assert_eq!(
            by_manager(&entries, "pilot-discovery"),
            [&json!({"f:webhooks": {webhook_key(): {"f:clientConfig": {"f:caBundle": {}}}}})]
        );
        assert_eq!(
            by_manager(&entries, "istio-operator"),
            [
                &json!({"f:webhooks": {webhook_key(): {".": {}, "f:name": {}, "f:clientConfig": {"f:service": {}}}}})
            ]
        );
    }

    #[test]
    fn replicas_are_yielded_to_the_autoscaler_when_no_longer_planned() {
        let mut live = object(
            "Deployment",
            &json!([owned(
                "istio-operator",
                "Apply",
                &json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})
            )]),
        );
        live["spec"] = json!({"replicas": 5});
        let mut manifest = json!({"apiVersion": "v1", "kind": "Deployment", "spec": {}});
        let entries = adopted_managed_fields(&live, &manifest).unwrap();
        assert_eq!(by_manager(&entries, "kube-controller-manager"), [&json!({"f:spec": {"f:replicas": {}}})]);
        assert_eq!(by_manager(&entries, "istio-operator"), [&json!({"f:spec": {"f:paused": {}}})]);
        manifest["spec"]["replicas"] = json!(2);
        assert_eq!(adopted_managed_fields(&live, &manifest), None);
    }

    #[test]
    fn a_restart_by_a_previous_installer_is_adopted_and_not_undone() {
        let annotations =
            |names: Value| json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": names}}}});
        let restarted = annotations(json!({"f:istio-operator.kyma-project.io/restartedAt": {}}));
        for kind in ["Deployment", "DaemonSet"] {
            let live = object(
                kind,
                &json!([
                    owned("istio-operator", "Apply", &annotations(json!({"f:a": {}}))),
                    owned("manager", "Update", &restarted),
                ]),
            );
            let manifest = json!({"apiVersion": "v1", "kind": kind});
            let entries = adopted_managed_fields(&live, &manifest).unwrap();
            assert_eq!(by_manager(&entries, "istio-manager"), [&restarted]);
            assert_eq!(by_manager(&entries, "istio-operator"), [&annotations(json!({"f:a": {}}))]);
            assert_eq!(adopted_managed_fields(&object(kind, &json!(entries)), &manifest), None);
        }
    }

    #[test]
    fn only_the_failure_policy_fail_is_yielded_to_istiod() {
        for (policy, has_yielded) in [("Fail", true), ("Ignore", false)] {
            let mut live = object(
                "ValidatingWebhookConfiguration",
                &json!([owned(
                    "istio-operator",
                    "Apply",
                    &json!({"f:webhooks": {webhook_key(): {"f:name": {}, "f:failurePolicy": {}}}})
                )]),
            );
            live["webhooks"] = json!([{"name": "w.istio.io", "failurePolicy": policy}]);
            let manifest = json!({"apiVersion": "v1", "kind": "ValidatingWebhookConfiguration",
                "webhooks": [{"name": "w.istio.io", "failurePolicy": "Ignore"}]});
            assert_eq!(adopted_managed_fields(&live, &manifest).is_some(), has_yielded, "{policy}");
        }
    }
}
