//! The components of an installation: which exist, which charts make them, and what an `IstioOperator` may set on each.
//!
//! Data and its strict reading only; knows nothing of charts' contents or of rendering.

use super::Error;
use serde_json::{Map, Value};

/// Name of a component, as in the label `operator.istio.io/component`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentName {
    /// Definitions and accounts that belong to no revision.
    Base,
    /// istiod, its configuration and its webhooks.
    Pilot,
    /// Gateways for incoming traffic.
    IngressGateways,
    /// Gateways for outgoing traffic.
    EgressGateways,
    /// The CNI node agent.
    Cni,
    /// The node proxy of ambient mode.
    Ztunnel,
}

impl ComponentName {
    /// All components in the order in which Istio's installer renders them.
    pub const ALL: [Self; 6] =
        [Self::Base, Self::Pilot, Self::IngressGateways, Self::EgressGateways, Self::Cni, Self::Ztunnel];

    /// The name as text, for labels and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "Base",
            Self::Pilot => "Pilot",
            Self::IngressGateways => "IngressGateways",
            Self::EgressGateways => "EgressGateways",
            Self::Cni => "Cni",
            Self::Ztunnel => "Ztunnel",
        }
    }

    pub(super) fn is_gateway(self) -> bool {
        matches!(self, Self::IngressGateways | Self::EgressGateways)
    }

    /// Key below `spec.components`.
    pub(super) fn spec_key(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Pilot => "pilot",
            Self::IngressGateways => "ingressGateways",
            Self::EgressGateways => "egressGateways",
            Self::Cni => "cni",
            Self::Ztunnel => "ztunnel",
        }
    }

    /// Folder of the chart below `charts/`.
    pub(super) fn chart(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Pilot => "istio-control/istio-discovery",
            Self::IngressGateways => "gateways/istio-ingress",
            Self::EgressGateways => "gateways/istio-egress",
            Self::Cni => "istio-cni",
            Self::Ztunnel => "ztunnel",
        }
    }

    /// Where the component's own settings are below `spec.values`.
    pub(super) fn values_path(self) -> &'static [&'static str] {
        match self {
            Self::Base => &["global"],
            Self::Pilot => &["pilot"],
            Self::IngressGateways => &["gateways", "istio-ingressgateway"],
            Self::EgressGateways => &["gateways", "istio-egressgateway"],
            Self::Cni => &["cni"],
            Self::Ztunnel => &["ztunnel"],
        }
    }

    /// The workload that `k8s` settings patch: kind, name, container. Gateways are named by their item.
    pub(super) fn workload(self) -> Option<Workload> {
        let (kind, name, container) = match self {
            Self::Base => return None,
            Self::Pilot => ("Deployment", "istiod", "discovery"),
            Self::IngressGateways => ("Deployment", "istio-ingressgateway", "istio-proxy"),
            Self::EgressGateways => ("Deployment", "istio-egressgateway", "istio-proxy"),
            Self::Cni => ("DaemonSet", "istio-cni-node", "install-cni"),
            Self::Ztunnel => ("DaemonSet", "ztunnel", "istio-proxy"),
        };
        Some(Workload { kind, name, container })
    }

    fn is_on_by_default(self) -> bool {
        matches!(self, Self::Base | Self::Pilot | Self::IngressGateways)
    }
}

impl std::fmt::Display for ComponentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The workload of a component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    pub kind: &'static str,
    pub name: &'static str,
    pub container: &'static str,
}

/// One thing to install: a component, or one item of a gateway list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub component: ComponentName,
    /// Name of a gateway item; others have none.
    pub name: Option<String>,
    pub namespace: String,
    pub hub: Option<Value>,
    pub tag: Option<Value>,
    /// Labels of a gateway item.
    pub labels: Map<String, Value>,
    /// Settings applied to the rendered objects; empty when there are none.
    pub k8s: Map<String, Value>,
}

const NAMESPACE: &str = "istio-system";

/// Refuses components and settings that Istio does not know, so that a slip of the pen is an error and not silence.
pub(super) fn check_names(document: &Value) -> Result<(), Error> {
    let Some(components) = document.pointer("/spec/components").and_then(Value::as_object) else {
        return Ok(());
    };
    for (key, settings) in components {
        let path = format!("spec.components.{key}");
        let Some(component) = ComponentName::ALL.into_iter().find(|component| component.spec_key() == key)
        else {
            // Part of the IstioOperator type, but rendered by no chart of its own.
            if key == "istiodRemote" {
                continue;
            }
            return Err(Error::UnknownField { path, field: key.clone() });
        };
        let items = match settings {
            Value::Array(items) if component.is_gateway() => items.iter().collect(),
            Value::Object(_) if !component.is_gateway() => vec![settings],
            Value::Null => Vec::new(),
            _ => {
                return Err(Error::WrongType {
                    path,
                    expected: if component.is_gateway() { "a list" } else { "a map" },
                });
            }
        };
        for item in items {
            check_item(component, &path, item)?;
        }
    }
    Ok(())
}

fn check_item(component: ComponentName, path: &str, item: &Value) -> Result<(), Error> {
    const COMPONENT: [&str; 5] = ["enabled", "namespace", "hub", "tag", "k8s"];
    const GATEWAY: [&str; 2] = ["name", "label"];
    let fields =
        item.as_object().ok_or_else(|| Error::WrongType { path: path.to_owned(), expected: "a map" })?;
    let known =
        |field: &str| COMPONENT.contains(&field) || component.is_gateway() && GATEWAY.contains(&field);
    if let Some(field) = fields.keys().find(|field| !known(field)) {
        return Err(Error::UnknownField { path: path.to_owned(), field: field.clone() });
    }
    let k8s = fields.get("k8s").and_then(Value::as_object);
    match k8s.and_then(|k8s| k8s.keys().find(|setting| !super::patch::is_setting(setting))) {
        Some(field) => Err(Error::UnknownField { path: format!("{path}.k8s"), field: field.clone() }),
        None => Ok(()),
    }
}

/// What the merged document asks to install of `component`.
pub(super) fn items(component: ComponentName, document: &Value) -> Result<Vec<Item>, Error> {
    let forced = component.is_gateway() && is_enabled_in_values(component, document);
    let settings =
        document.pointer("/spec/components").and_then(|components| components.get(component.spec_key()));
    let Some(settings) = settings.filter(|settings| !settings.is_null()) else {
        let default = if component.is_on_by_default() || forced {
            vec![item(component, document, &Map::new())?]
        } else {
            vec![]
        };
        return Ok(default);
    };
    let candidates = settings.as_array().map_or_else(|| std::slice::from_ref(settings), Vec::as_slice);
    candidates
        .iter()
        .filter_map(Value::as_object)
        .filter(|settings| {
            forced || settings.get("enabled").is_none_or(|enabled| enabled != &Value::Bool(false))
        })
        .map(|settings| item(component, document, settings))
        .collect()
}

/// `values.gateways.NAME.enabled` switches a gateway on as well.
fn is_enabled_in_values(component: ComponentName, document: &Value) -> bool {
    let values = document.pointer("/spec/values");
    let settings = component.values_path().iter().fold(values, |node, key| node?.get(*key));
    settings.and_then(|settings| settings.get("enabled")).and_then(Value::as_bool).unwrap_or(false)
}

fn item(component: ComponentName, document: &Value, settings: &Map<String, Value>) -> Result<Item, Error> {
    let text = |key: &str| {
        settings.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let map = |key: &str| settings.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let default_namespace =
        document.pointer("/metadata/namespace").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = text("name");
    if component.is_gateway() && name.is_none() && !settings.is_empty() {
        return Err(Error::Unnamed { component });
    }
    Ok(Item {
        component,
        name,
        namespace: text("namespace").unwrap_or_else(|| default_namespace.unwrap_or(NAMESPACE).to_owned()),
        hub: settings.get("hub").filter(|hub| !hub.is_null()).cloned(),
        tag: settings.get("tag").filter(|tag| !tag.is_null()).cloned(),
        labels: map("label"),
        k8s: map("k8s"),
    })
}
