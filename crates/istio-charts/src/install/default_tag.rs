//! The revision tag `default`: what makes `istio-injection: enabled` and validation work for the default revision.
//!
//! Pure. Istio's installer makes its three objects from the *live* webhook in a second step and switches that one off
//! afterwards, so for a while two webhooks select the same pods. Here they are rendered together with the rest, and the
//! canonical injector is rendered switched off. No `caBundle` is rendered: istiod writes it.
//! See <https://istio.io/latest/docs/setup/upgrade/canary/#stable-revision-labels>.

use super::layers::entry;
use super::{ComponentName, Error, render_chart};
use crate::bundle::Bundle;
use helm_chart::Options;
use serde_json::{Map, Value, json};

const TAG: &str = "default";

/// Whether the installation needs the tag: it is for the default revision with webhooks that the charts render.
pub(super) fn is_wanted(values: &Value) -> bool {
    let revision = values.get("revision").and_then(Value::as_str).unwrap_or_default();
    let managed_elsewhere = values.pointer("/global/operatorManageWebhooks") == Some(&json!(true));
    revision.is_empty() && !managed_elsewhere
}

/// Makes istiod's chart render the tag's webhook and Service along with the rest.
pub(super) fn request(values: &mut Value) {
    let tags = entry(values, &["pilot", "revisionTags"]);
    match tags.as_array_mut() {
        Some(tags) if tags.contains(&json!(TAG)) => {}
        Some(tags) => tags.push(json!(TAG)),
        None => *tags = json!([TAG]),
    }
}

/// Completes istiod's objects, rendered after [`request`]: adds the default validator, labels the tag's objects, and
/// switches the canonical injector off.
pub(super) fn complete(
    bundle: &Bundle,
    values: &Value,
    options: &Options,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    let validator = render_chart(bundle, ComponentName::Pilot, "default", values, options)?;
    objects.extend(
        validator.objects.into_iter().filter(|object| object["kind"] == "ValidatingWebhookConfiguration"),
    );
    let canonical = objects.iter_mut().find(|object| is_canonical_injector(object));
    let canonical =
        canonical.ok_or(Error::NotRendered { what: "the injector webhook of the default revision" })?;
    switch_off(canonical);
    let common = canonical["metadata"].clone();
    for object in objects
        .iter_mut()
        .filter(|object| object.pointer("/metadata/labels/istio.io~1tag") == Some(&json!(TAG)))
    {
        inherit(object, &common);
    }
    Ok(())
}

fn is_canonical_injector(object: &Value) -> bool {
    let labels = object.pointer("/metadata/labels");
    let label = |name: &str| labels.and_then(|labels| labels.get(name));
    object["kind"] == "MutatingWebhookConfiguration"
        && label("istio.io/tag").is_none()
        && label("app") == Some(&json!("sidecar-injector"))
}

/// Selectors that no namespace and no pod matches; Istio's own values, so that its tools recognize the state.
fn switch_off(webhooks: &mut Value) {
    for webhook in webhooks["webhooks"].as_array_mut().into_iter().flatten() {
        for selector in ["namespaceSelector", "objectSelector"] {
            webhook[selector] = json!({"matchLabels": {"istio.io/deactivated": "never-match"}});
        }
    }
}

/// The tag's webhooks carry labels and annotations of the canonical one, except for the label that identifies them; its
/// Service keeps its own. The last label excludes them from the pruning of Istio's installer.
fn inherit(object: &mut Value, common: &Value) {
    if object["kind"] != "Service" {
        for field in ["labels", "annotations"] {
            let inherited: Map<String, Value> =
                common.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
            if !inherited.is_empty() {
                let own = entry(object, &["metadata", field]);
                inherited
                    .into_iter()
                    .filter(|(key, _)| key != "app")
                    .for_each(|(key, value)| own[key] = value);
            }
        }
    }
    entry(object, &["metadata", "labels"])["install.operator.istio.io/owning-resource-not-pruned"] =
        json!("true");
}
