//! The `components.*.k8s` settings of an `IstioOperator`, applied to rendered objects.
//!
//! Pure. Each setting is a strategic merge patch on the component's workload, autoscaler, disruption budget or Service;
//! overlays come after all of them, in their order, as Istio's installer does it.

use super::component::{Item, Workload};
use super::{Error, overlay, strategic_merge};
use serde_json::{Value, json};

/// What a setting patches, and where the setting's value goes.
#[derive(Clone, Copy)]
enum Target {
    /// `spec.template.spec.FIELD` of the workload.
    Pod,
    /// A field of the component's container.
    Container,
    /// `spec.template.metadata.annotations` of the workload.
    PodAnnotations,
    /// `spec.FIELD` of the workload, under the given field name.
    Workload(&'static str),
    /// `spec` of the object of that kind with the workload's name.
    Spec(&'static str),
    /// `metadata.annotations` of the Service.
    ServiceAnnotations,
    /// Accepted and without effect, as in Istio's installer.
    Ignored,
    /// Handled after all patches.
    Overlays,
}

const SETTINGS: [(&str, Target); 19] = [
    ("affinity", Target::Pod),
    ("env", Target::Container),
    ("hpaSpec", Target::Spec("HorizontalPodAutoscaler")),
    ("imagePullPolicy", Target::Container),
    ("nodeSelector", Target::Pod),
    ("overlays", Target::Overlays),
    ("podAnnotations", Target::PodAnnotations),
    ("podDisruptionBudget", Target::Spec("PodDisruptionBudget")),
    ("priorityClassName", Target::Pod),
    ("readinessProbe", Target::Container),
    ("replicaCount", Target::Workload("replicas")),
    ("resources", Target::Container),
    ("securityContext", Target::Pod),
    ("service", Target::Spec("Service")),
    ("serviceAnnotations", Target::ServiceAnnotations),
    ("strategy", Target::Workload("strategy")),
    ("tolerations", Target::Pod),
    ("volumeMounts", Target::Ignored),
    ("volumes", Target::Ignored),
];

/// Whether `k8s` has such a setting.
pub(super) fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|(setting, _)| *setting == name)
}

/// Applies the item's `k8s` settings to the objects of its chart. `revision` is the suffix of istiod's name, if any.
pub(super) fn apply(item: &Item, revision: Option<&str>, objects: &mut [Value]) -> Result<(), Error> {
    if item.k8s.is_empty() {
        return Ok(());
    }
    if let Some(workload) = item.component.workload() {
        let name = workload_name(item, workload, revision);
        for (setting, target) in SETTINGS {
            if let Some(value) = item.k8s.get(setting) {
                patch(item, workload, &name, target, setting, value, objects);
            }
        }
    }
    apply_overlays(item, objects)
}

fn workload_name(item: &Item, workload: Workload, revision: Option<&str>) -> String {
    match (&item.name, revision) {
        (Some(name), _) => name.clone(),
        (None, Some(revision)) if item.component == super::ComponentName::Pilot => {
            format!("{}-{revision}", workload.name)
        }
        _ => workload.name.to_owned(),
    }
}

fn patch(
    item: &Item,
    workload: Workload,
    name: &str,
    target: Target,
    setting: &str,
    value: &Value,
    objects: &mut [Value],
) {
    let (kind, patch) = match target {
        Target::Pod => (workload.kind, json!({"spec": {"template": {"spec": {setting: value}}}})),
        Target::Container => (
            workload.kind,
            json!({"spec": {"template": {"spec": {"containers": [{"name": workload.container, setting: value}]}}}}),
        ),
        Target::PodAnnotations => {
            (workload.kind, json!({"spec": {"template": {"metadata": {"annotations": value}}}}))
        }
        Target::Workload(field) => (workload.kind, json!({"spec": {field: value}})),
        Target::Spec(kind) => (kind, json!({"spec": spec_patch(item, setting, value)})),
        Target::ServiceAnnotations => ("Service", json!({"metadata": {"annotations": value}})),
        Target::Ignored | Target::Overlays => return,
    };
    for object in objects.iter_mut().filter(|object| is(object, kind, name)) {
        strategic_merge::merge(object, &patch);
        if kind == "PodDisruptionBudget" {
            keep_one_bound(object);
        }
    }
}

/// The ports of a gateway's Service reach its chart as values, because the pod needs them too.
fn spec_patch(item: &Item, setting: &str, value: &Value) -> Value {
    let mut patch = value.clone();
    if setting == "service" && item.component.is_gateway() {
        patch.as_object_mut().into_iter().for_each(|service| {
            service.shift_remove("ports");
        });
    }
    patch
}

/// A budget may have one bound only. The charts set `minAvailable`, so a patch that sets the other one means to replace it.
fn keep_one_bound(budget: &mut Value) {
    let Some(spec) = budget.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.contains_key("maxUnavailable") {
        spec.shift_remove("minAvailable");
    }
}

fn apply_overlays(item: &Item, objects: &mut [Value]) -> Result<(), Error> {
    for overlay in item.k8s.get("overlays").and_then(Value::as_array).into_iter().flatten() {
        let field = |name: &str| overlay.get(name).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (field("kind"), field("name"));
        // The version is not compared: Istio's installer ignores it, so that overlays outlive a version of the API.
        let mut matching = objects.iter_mut().filter(|object| is(object, kind, name)).peekable();
        if matching.peek().is_none() {
            let component = item.component;
            return Err(Error::OverlayWithoutObject {
                component,
                kind: kind.to_owned(),
                name: name.to_owned(),
            });
        }
        for object in matching {
            write_all(object, overlay).map_err(|(path, source)| Error::Overlay {
                component: item.component,
                kind: kind.to_owned(),
                name: name.to_owned(),
                path,
                source: Box::new(source),
            })?;
        }
    }
    Ok(())
}

fn write_all(object: &mut Value, overlay: &Value) -> Result<(), (String, overlay::PathError)> {
    for patch in overlay.get("patches").and_then(Value::as_array).into_iter().flatten() {
        let path = patch.get("path").and_then(Value::as_str).unwrap_or_default();
        let value = patch.get("value").unwrap_or(&Value::Null);
        overlay::set(object, path, value).map_err(|error| (path.to_owned(), error))?;
    }
    Ok(())
}

fn is(object: &Value, kind: &str, name: &str) -> bool {
    object.get("kind").is_some_and(|found| found == kind)
        && object.pointer("/metadata/name").is_some_and(|found| found == name)
}

#[cfg(test)]
mod tests {
    use super::super::component::{ComponentName, items};
    use super::{Error, apply};
    use serde_json::{Value, json};

    fn pilot(k8s: &Value) -> super::Item {
        let document = json!({"spec": {"components": {"pilot": {"k8s": k8s}}}});
        items(ComponentName::Pilot, &document).unwrap().remove(0)
    }

    fn istiod() -> Vec<Value> {
        vec![
            json!({"kind": "Deployment", "metadata": {"name": "istiod"}, "spec": {"template": {"spec": {"containers": [
                {"name": "discovery", "image": "pilot", "resources": {"requests": {"cpu": "500m", "memory": "2Gi"}}}]}}}}),
            json!({"kind": "PodDisruptionBudget", "metadata": {"name": "istiod"}, "spec": {"minAvailable": 1}}),
            json!({"kind": "Service", "metadata": {"name": "istiod"}, "spec": {"ports": [{"port": 443}]}}),
        ]
    }

    #[test]
    fn settings_reach_the_workload_its_container_and_its_companions() {
        let mut objects = istiod();
        let item = pilot(&json!({
            "resources": {"requests": {"cpu": "100m"}}, "priorityClassName": "high", "podAnnotations": {"a": "b"},
            "replicaCount": 2, "serviceAnnotations": {"c": "d"}, "podDisruptionBudget": {"maxUnavailable": 1}}));
        apply(&item, None, &mut objects).unwrap();
        let spec = &objects[0]["spec"];
        assert_eq!(
            spec["template"]["spec"]["containers"][0]["resources"]["requests"],
            json!({"cpu": "100m", "memory": "2Gi"})
        );
        assert_eq!(spec["template"]["spec"]["priorityClassName"], "high");
        assert_eq!(spec["template"]["metadata"]["annotations"]["a"], "b");
        assert_eq!(spec["replicas"], 2);
        assert_eq!(objects[1]["spec"], json!({"maxUnavailable": 1}));
        assert_eq!(objects[2]["metadata"]["annotations"]["c"], "d");
    }

    #[test]
    fn overlays_come_after_the_patches() {
        let mut objects = istiod();
        let item = pilot(
            &json!({"replicaCount": 2, "overlays": [{"kind": "Deployment", "name": "istiod", "patches": [
            {"path": "spec.replicas", "value": 5}, {"path": "spec.template.metadata.labels.a\\.b", "value": "c"}]}]}),
        );
        apply(&item, None, &mut objects).unwrap();
        assert_eq!(objects[0]["spec"]["replicas"], 5);
        assert_eq!(objects[0]["spec"]["template"]["metadata"]["labels"], json!({"a.b": "c"}));
    }

    #[test]
    fn an_overlay_that_cannot_apply_is_an_error_that_names_it() {
        let unmatched = pilot(&json!({"overlays": [{"kind": "Deployment", "name": "other", "patches": []}]}));
        let error = apply(&unmatched, None, &mut istiod()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "component Pilot: the overlay for Deployment 'other' matches no rendered object"
        );
        let mismatched = pilot(&json!({"overlays": [{"kind": "Service", "name": "istiod", "patches": [
            {"path": "spec.ports.[port:80].name", "value": "x"}]}]}));
        let error = apply(&mismatched, None, &mut istiod()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "component Pilot: cannot apply overlay for Service 'istiod' at 'spec.ports.[port:80].name'"
        );
        assert!(matches!(error, Error::Overlay { .. }));
    }
}
