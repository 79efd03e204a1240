//! Fields that another manager may keep once it owns them.
//!
//! Pure. The validating webhooks are created with `failurePolicy: Ignore`, because istiod does not serve yet; istiod sets `Fail`
//! once it does. Sending `Ignore` again would open a gap in validation at every reconcile, so the field is left out as soon as
//! another manager owns it.

use serde_json::Value;

use super::managed_fields;
use crate::api::names::FIELD_MANAGER;

const VALIDATOR: &str = "ValidatingWebhookConfiguration";

/// Removes from `manifest` the fields that another manager owns in `live` and may keep.
pub fn yield_fields(manifest: &mut Value, live: &Value) {
    if manifest["kind"] != VALIDATOR {
        return;
    }
    for webhook in manifest.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = webhook.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if is_owned_by_other(live, &name, "f:failurePolicy")
            && let Some(webhook) = webhook.as_object_mut()
        {
            webhook.remove("failurePolicy");
        }
    }
}

/// The injector `manifest` with the certificate of the injector `other`; `None` if that has none.
#[must_use]
pub fn with_certificate(manifest: &Value, other: &Value) -> Option<Value> {
    let webhooks = other.get("webhooks")?.as_array()?;
    let certificate = webhooks.iter().find_map(|webhook| {
        let bundle = webhook.pointer("/clientConfig/caBundle")?;
        bundle.as_str().filter(|bundle| !bundle.is_empty())
    })?;
    let mut certified = manifest.clone();
    for webhook in certified.get_mut("webhooks").and_then(Value::as_array_mut)? {
        webhook["clientConfig"]["caBundle"] = certificate.into();
    }
    Some(certified)
}

/// Removes from the fields of an entry those that may be yielded, whoever owns them.
pub fn remove_yielded(kind: &str, fields: &mut Value) {
    if kind != VALIDATOR {
        return;
    }
    let webhooks = fields.get_mut("f:webhooks").and_then(Value::as_object_mut);
    for webhook in webhooks.into_iter().flat_map(serde_json::Map::values_mut) {
        managed_fields::remove(webhook, &["f:failurePolicy"]);
    }
}

/// Whether a manager other than ours owns a field of the named webhook.
fn is_owned_by_other(live: &Value, webhook: &str, field: &str) -> bool {
    let key = format!("k:{{\"name\":\"{webhook}\"}}");
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers.into_iter().flatten().filter(|entry| entry["manager"] != FIELD_MANAGER).any(|entry| {
        entry
            .get("fieldsV1")
            .and_then(|f| f.get("f:webhooks"))
            .and_then(|w| w.get(&key))
            .is_some_and(|w| w.get(field).is_some())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validator(policy: &str) -> Value {
        json!({"kind": "ValidatingWebhookConfiguration", "webhooks": [{"name": "v.istio.io", "failurePolicy": policy}]})
    }

    fn owned_by(manager: &str) -> Value {
        let mut live = validator("Fail");
        live["metadata"] = json!({"managedFields": [
            {"manager": manager, "fieldsV1": {"f:webhooks": {"k:{\"name\":\"v.istio.io\"}": {"f:failurePolicy": {}}}}}]});
        live
    }

    #[test]
    fn a_failure_policy_that_istiod_owns_is_not_sent() {
        let mut manifest = validator("Ignore");
        yield_fields(&mut manifest, &owned_by("pilot-discovery"));
        assert_eq!(manifest["webhooks"][0].get("failurePolicy"), None);
    }

    #[test]
    fn a_failure_policy_that_we_own_is_sent() {
        let mut manifest = validator("Ignore");
        yield_fields(&mut manifest, &owned_by(FIELD_MANAGER));
        assert_eq!(manifest, validator("Ignore"));
    }

    #[test]
    fn an_injector_takes_the_certificate_of_the_previous_one() {
        let injector =
            |bundle: &str| json!({"webhooks": [{"name": "w", "clientConfig": {"caBundle": bundle}}]});
        let manifest = json!({"webhooks": [{"name": "v", "clientConfig": {"service": {}}}]});
        let certified = with_certificate(&manifest, &injector("Y2E=")).unwrap();
        assert_eq!(certified["webhooks"][0]["clientConfig"], json!({"service": {}, "caBundle": "Y2E="}));
        assert_eq!(super::with_certificate(&manifest, &injector("")), None);
        assert_eq!(super::with_certificate(&manifest, &json!({})), None);
    }

    #[test]
    fn an_injector_yields_no_fields() {
        let mut manifest = validator("Fail");
        manifest["kind"] = json!("MutatingWebhookConfiguration");
        let before = manifest.clone();
        yield_fields(&mut manifest, &owned_by("pilot-discovery"));
        assert_eq!(manifest, before);
    }
}
