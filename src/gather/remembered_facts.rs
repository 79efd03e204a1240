//! Keeps what is remembered of the cluster in a ConfigMap, so that a restart forgets no choice.
//!
//! A ConfigMap and not the inventory's Secret: people may look at it, and delete it to have everything chosen anew. It is
//! read by the watch of the cluster's settings, never here.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;

use crate::api::names::{MODULE_LABEL, MODULE_LABEL_VALUE, OWN_FIELD_MANAGER, REMEMBERED_FACTS_CONFIG_MAP};
use crate::plan::cluster::RememberedFacts;

/// The memory could not be kept.
#[derive(Debug, Error)]
#[error(
    "cannot write ConfigMap {namespace}/{REMEMBERED_FACTS_CONFIG_MAP}, which remembers the size and the settings of the cluster"
)]
pub struct Error {
    namespace: String,
    source: Box<kube::Error>,
}

/// Writes the memory.
pub struct RememberedFactsStore {
    client: Client,
    namespace: String,
}

impl RememberedFactsStore {
    /// A store in the operator's own namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// Writes `memory`, unless it is what is `kept` already; returns whether it wrote.
    pub async fn save(&self, facts: &RememberedFacts, saved: &RememberedFacts) -> Result<bool, Error> {
        if facts == saved {
            return Ok(false);
        }
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": REMEMBERED_FACTS_CONFIG_MAP, "labels": {MODULE_LABEL: MODULE_LABEL_VALUE}},
            "data": facts.to_data(),
        });
        let params = PatchParams::apply(OWN_FIELD_MANAGER).force();
        match self.api().patch_metadata(REMEMBERED_FACTS_CONFIG_MAP, &params, &Patch::Apply(&map)).await {
            Ok(_) => Ok(true),
            Err(source) => Err(self.error(source)),
        }
    }

    /// Forgets everything.
    pub async fn delete(&self) -> Result<(), Error> {
        match self.api().delete(REMEMBERED_FACTS_CONFIG_MAP, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(self.error(source)),
        }
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn error(&self, source: kube::Error) -> Error {
        Error { namespace: self.namespace.clone(), source: Box::new(source) }
    }
}
