//! Reads the facts that the rules evaluate, reduced to what they need.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use istio_charts::Bundle;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;

use super::{Finding, rules};
use crate::api::Istio;
use crate::api::names::{
    ALLOW_DOWNGRADE_ANNOTATION, FEATURES_CONFIG_MAP, ISTIO_NAMESPACE, OPERATOR_NAMESPACE,
};
use crate::gather::installed;
use crate::kubernetes::endpoints::has_ready_endpoint;
use crate::kubernetes::object::{ObjectId, resource};
use crate::kubernetes::ok_if_not_found;
use crate::plan::configuration::{ClusterFacts, FactsError, Features};

const MAX_CONCURRENT_READS: usize = 4;
/// The class of istiod, the gateways and the operator; the chart of the operator creates it.
pub const PRIORITY_CLASS: &str = "istio-kyma-priority";

/// A read failed.
#[derive(Debug, Error)]
pub enum Error {
    /// A request failed.
    #[error("failed to read {what}")]
    Read {
        /// What was to be read.
        what: String,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// istiod could not be read.
    #[error(transparent)]
    Installed(#[from] installed::Error),
    /// The CRDs in the bundle could not be read.
    #[error("failed to read the CustomResourceDefinitions of the bundle")]
    Bundle(#[from] istio_charts::BundleError),
    /// A CRD in the bundle has no identity.
    #[error("failed to read the CustomResourceDefinitions of the bundle")]
    Object(#[from] crate::kubernetes::object::Error),
    /// The switches in the ConfigMap `istio-features`.
    #[error("failed to read the enabled features")]
    Features(#[from] FactsError),
}

pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |source| Error::Read { what, source: Box::new(source) }
}

/// The version of the API server, such as `v1.36.3`.
pub async fn kubernetes_version(client: &Client) -> Result<String, Error> {
    let info = client.apiserver_version().await.map_err(failed("the version of the API server"))?;
    Ok(info.git_version)
}

/// The installed version, from the active resource if it records one, else from istiod.
#[derive(Debug, Default)]
pub struct Installation {
    /// Version or image tag.
    pub installed: Option<String>,
    /// The version to which the active resource allows a downgrade.
    pub allowed_downgrade: Option<String>,
}

pub async fn installation(client: &Client) -> Result<Installation, Error> {
    let resource = resources(client).await?.into_iter().min_by_key(ResourceExt::creation_timestamp);
    let installed = installed::version(client, resource.as_ref()).await?;
    let allowed_downgrade =
        resource.and_then(|istio| istio.annotations().get(ALLOW_DOWNGRADE_ANNOTATION).cloned());
    Ok(Installation { installed, allowed_downgrade })
}

async fn resources(client: &Client) -> Result<Vec<Istio>, Error> {
    let api: Api<Istio> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let all =
        ok_if_not_found(api.list(&ListParams::default()).await).map_err(failed("the Istio resources"))?;
    Ok(all.map(|all| all.items).unwrap_or_default())
}

/// Findings about CRDs that exist already, evaluated one by one because they are large.
pub async fn crds(client: &Client, bundle: &Bundle) -> Result<Vec<Finding>, Error> {
    let found: Vec<Option<Finding>> = stream::iter(bundle.crds())
        .map(|ours| async move {
            let mut ours = ours?;
            istio_charts::add_owner_labels(&mut ours, istio_charts::ComponentName::Base, bundle.version());
            let id = ObjectId::of(&ours)?;
            let live = id.api(client.clone()).get_opt(&id.name).await.map_err(failed(id.to_string()))?;
            let live = live.and_then(|live| serde_json::to_value(live).ok());
            Ok::<_, Error>(live.and_then(|live| rules::crd(&ours, &live, bundle.version())))
        })
        .buffered(MAX_CONCURRENT_READS)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// An istiod somewhere in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredIstiod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: String,
    /// The Helm release that it belongs to, if one.
    pub helm_release: Option<String>,
}

pub async fn istiods(client: &Client) -> Result<Vec<DiscoveredIstiod>, Error> {
    let api: Api<Deployment> = Api::all(client.clone());
    let params = ListParams::default().labels("app=istiod");
    let found = api.list_metadata(&params).await.map_err(failed("Deployments"))?;
    Ok(found
        .items
        .iter()
        .map(|istiod| DiscoveredIstiod {
            namespace: istiod.namespace().unwrap_or_default(),
            name: istiod.name_any(),
            revision: istiod.labels().get("istio.io/rev").cloned().unwrap_or_else(|| "default".to_owned()),
            helm_release: istiod.annotations().get("meta.helm.sh/release-name").cloned(),
        })
        .collect())
}

/// The kinds by which other operators of Istio are recognised, of those that this cluster has.
pub async fn competing_operators(client: &Client) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for name in ["istios.sailoperator.io", "istiooperators.install.istio.io"] {
        let crds = resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &crds);
        if api
            .get_metadata_opt(name)
            .await
            .map_err(failed(format!("CustomResourceDefinition {name}")))?
            .is_some()
        {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// A webhook that is called through a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Kind and name of its configuration.
    pub configuration: String,
    /// Its name in there.
    pub name: String,
    /// Whether objects of the installation are rejected if it does not respond.
    pub can_block: bool,
    /// Whether it injects sidecars.
    pub injects: bool,
    /// Namespace and name of its Service.
    pub service: (String, String),
    /// Whether that Service has a ready endpoint.
    pub has_ready_endpoint: bool,
}

pub async fn webhooks(client: &Client) -> Result<Vec<Webhook>, Error> {
    let mut found = Vec::new();
    let mut ready_services: BTreeMap<(String, String), bool> = BTreeMap::new();
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let configurations = resource("admissionregistration.k8s.io", "v1", kind);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &configurations);
        for configuration in api.list(&ListParams::default()).await.map_err(failed(format!("{kind}s")))? {
            for mut webhook in rules::webhooks_of(kind, &configuration.name_any(), &configuration.data) {
                let is_ready = match ready_services.get(&webhook.service) {
                    Some(is_ready) => *is_ready,
                    None => has_endpoint(client, &webhook.service).await?,
                };
                ready_services.insert(webhook.service.clone(), is_ready);
                webhook.has_ready_endpoint = is_ready;
                found.push(webhook);
            }
        }
    }
    Ok(found)
}

async fn has_endpoint(client: &Client, (namespace, name): &(String, String)) -> Result<bool, Error> {
    let slices = resource("discovery.k8s.io", "v1", "EndpointSlice");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &slices);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let slices = api.list(&params).await.map_err(failed(format!("EndpointSlices of {namespace}/{name}")))?;
    Ok(slices.iter().any(|slice| has_ready_endpoint(&slice.data)))
}

/// The namespace of the control plane, and what its pods need there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlaneNamespace {
    /// Labels of the namespace; `None` if it does not exist.
    pub labels: Option<BTreeMap<String, String>>,
    /// Whether the namespace is being deleted.
    pub is_terminating: bool,
    /// Whether the CNI agent will be installed.
    pub cni: bool,
    /// Whether the `PriorityClass` of the control plane exists.
    pub has_priority_class: bool,
}

pub async fn namespace(client: &Client) -> Result<ControlPlaneNamespace, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let live =
        namespaces.get_metadata_opt(ISTIO_NAMESPACE).await.map_err(failed("Namespace istio-system"))?;
    let classes: Api<PriorityClass> = Api::all(client.clone());
    let class = classes.get_metadata_opt(PRIORITY_CLASS).await;
    Ok(ControlPlaneNamespace {
        is_terminating: live.as_ref().is_some_and(|live| live.metadata.deletion_timestamp.is_some()),
        labels: live.map(|live| live.metadata.labels.unwrap_or_default()),
        cni: !features(client).await?.disable_cni,
        has_priority_class: class.map_err(failed(format!("PriorityClass {PRIORITY_CLASS}")))?.is_some(),
    })
}

async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<BTreeMap<String, String>>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(failed(format!("ConfigMap {namespace}/{name}")))?;
    Ok(found.map(|map| map.data.unwrap_or_default()))
}

async fn features(client: &Client) -> Result<Features, Error> {
    let Some(data) = config_map(client, OPERATOR_NAMESPACE, FEATURES_CONFIG_MAP).await? else {
        return Ok(Features::default());
    };
    let object = json!({"kind": "ConfigMap", "data": data,
        "metadata": {"namespace": OPERATOR_NAMESPACE, "name": FEATURES_CONFIG_MAP}});
    Ok(ClusterFacts::from_objects(&[object])?.features)
}

/// Settings of network plug-ins that are known to conflict with Istio.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// ConfigMap `kube-system/cilium-config`.
    pub cilium: Option<BTreeMap<String, String>>,
    /// `spec` of Calico's `FelixConfiguration` named `default`.
    pub felix: Option<Value>,
    /// Whether the CNI agent will be installed.
    pub cni: bool,
    /// Whether ambient mode is requested.
    pub ambient: bool,
}

pub async fn network(client: &Client) -> Result<Network, Error> {
    let configurations = resource("crd.projectcalico.org", "v1", "FelixConfiguration");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &configurations);
    let felix = ok_if_not_found(api.get("default").await).map_err(failed("FelixConfiguration default"))?;
    let wants_ambient = |istio: &Istio| {
        istio.spec.experimental.as_ref().is_some_and(|options| options.enable_ambient == Some(true))
    };
    Ok(Network {
        cilium: config_map(client, "kube-system", "cilium-config").await?,
        felix: felix.and_then(|felix| felix.data.get("spec").cloned()),
        cni: !features(client).await?.disable_cni,
        ambient: resources(client).await?.iter().any(wants_ambient),
    })
}
