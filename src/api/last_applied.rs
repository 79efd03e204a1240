//! The annotation `operator.kyma-project.io/lastAppliedConfiguration`: the last complete installation.
//!
//! Its format is that of the Go operator: the Kyma dashboard shows `IstioTag`, and the Go operator depends on it after a switch
//! back. Parsing is tolerant, because an invalid annotation must not block the resource.

use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::names::{LAST_APPLIED_ANNOTATION, LAST_APPLIED_VERSION_KEY};
use super::{Istio, IstioSpec};

/// The content of the annotation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastApplied {
    /// Tag of the Istio images of the last complete installation, such as `1.31.0-distroless`.
    pub istio_tag: Option<String>,
    /// The spec of the last complete installation; the default one if it is unreadable.
    pub spec: IstioSpec,
}

/// Reads the annotation of a resource. `None` without a complete installation, or if it is unreadable.
#[must_use]
pub fn read(resource: &Istio) -> Option<LastApplied> {
    let fields: Map<String, Value> =
        serde_json::from_str(resource.annotations().get(LAST_APPLIED_ANNOTATION)?).ok()?;
    let istio_tag = fields.get(LAST_APPLIED_VERSION_KEY).and_then(Value::as_str).map(str::to_owned);
    let spec = serde_json::from_value(Value::Object(fields)).unwrap_or_default();
    Some(LastApplied { istio_tag: istio_tag.filter(|tag| !tag.is_empty()), spec })
}

/// The text of the annotation for a complete installation of `spec` with images of the tag `istio_tag`.
///
/// The Go operator always writes `config.telemetry.metrics`, so that readers may depend on it, and `null` for absent settings of
/// components. It does not know `values` and `patches`, and a copy of them could exceed the limit of annotations.
#[must_use]
pub fn render(spec: &IstioSpec, istio_tag: &str) -> String {
    let mut fields = match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    for unknown in ["values", "patches"] {
        fields.shift_remove(unknown);
    }
    for (name, component) in fields.get_mut("components").and_then(Value::as_object_mut).into_iter().flatten()
    {
        if name == "egressGateway" && component.get("k8s").is_none() {
            component["k8s"] = Value::Null;
        }
        let update = component.pointer_mut("/k8s/strategy/rollingUpdate").and_then(Value::as_object_mut);
        if let Some(update) = update {
            for bound in ["maxSurge", "maxUnavailable"] {
                update.entry(bound).or_insert(Value::Null);
            }
        }
    }
    let mut value = json!({"config": fields.shift_remove("config").unwrap_or_else(|| json!({}))});
    for part in ["telemetry", "metrics"] {
        let parent =
            if part == "telemetry" { &mut value["config"] } else { &mut value["config"]["telemetry"] };
        if parent[part].is_null() {
            parent[part] = json!({});
        }
    }
    if let Some(value) = value.as_object_mut() {
        value.extend(fields);
        value.insert(LAST_APPLIED_VERSION_KEY.to_owned(), json!(istio_tag));
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(text: &str) -> Istio {
        let mut resource = Istio::default();
        resource.annotations_mut().insert(LAST_APPLIED_ANNOTATION.to_owned(), text.to_owned());
        resource
    }

    fn spec(value: Value) -> IstioSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_empty_spec_is_written_as_the_go_operator_writes_it() {
        assert_eq!(
            render(&IstioSpec::default(), "1.31.0-distroless"),
            r#"{"config":{"telemetry":{"metrics":{}}},"IstioTag":"1.31.0-distroless"}"#
        );
    }

    #[test]
    fn absent_component_settings_are_null_like_in_the_go_operator() {
        let written = spec(json!({"components": {
            "pilot": {"k8s": {"strategy": {"rollingUpdate": {"maxSurge": "50%"}}}},
            "egressGateway": {"enabled": true},
        }}));
        let text = render(&written, "1.31.0-distroless");
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap()["components"],
            json!({
                "pilot": {"k8s": {"strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": null}}}},
                "egressGateway": {"k8s": null, "enabled": true},
            })
        );
        assert_eq!(read(&annotated(&text)).unwrap().spec.components, written.components);
    }

    #[test]
    fn last_applied_survives_a_round_trip() {
        let written = spec(json!({
            "config": {"numTrustedProxies": 2, "telemetry": {"metrics": {"prometheusMerge": true}}},
            "components": {"egressGateway": {"enabled": true}},
            "compatibilityMode": true,
        }));
        let read = read(&annotated(&render(&written, "1.30.3-distroless"))).unwrap();
        assert_eq!((read.istio_tag.as_deref(), read.spec), (Some("1.30.3-distroless"), written));
    }

    #[test]
    fn an_annotation_of_the_go_operator_is_understood() {
        let text = r#"{"config":{"numTrustedProxies":1,"telemetry":{"metrics":{}}},"unheardOf":[1],"IstioTag":"1.30.1"}"#;
        let read = read(&annotated(text)).unwrap();
        assert_eq!(read.istio_tag.as_deref(), Some("1.30.1"));
        assert_eq!(serde_json::to_value(&read.spec.config).unwrap()["numTrustedProxies"], 1);
    }

    #[test]
    fn an_unreadable_annotation_is_ignored_or_read_in_part() {
        for text in ["", "null", "[]", "{", "1.31.0"] {
            assert_eq!(read(&annotated(text)), None, "{text}");
        }
        assert_eq!(read(&Istio::default()), None);
        for text in ["{}", r#"{"IstioTag":""}"#, r#"{"IstioTag":131}"#] {
            assert_eq!(read(&annotated(text)), Some(LastApplied::default()), "{text}");
        }
        let odd = read(&annotated(r#"{"config":"none","IstioTag":"1.30.3"}"#)).unwrap();
        assert_eq!((odd.istio_tag.as_deref(), odd.spec), (Some("1.30.3"), IstioSpec::default()));
    }
}
