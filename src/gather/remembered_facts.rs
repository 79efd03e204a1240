//! Stores the remembered facts about the cluster in a ConfigMap, so that choices survive a restart.
//!
//! In a ConfigMap and not in the Secret of the inventory: users may read it, and delete it to have everything chosen again. It is
//! read by the watch of the cluster's settings, never here.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;

use crate::api::names::{MODULE_LABEL, MODULE_LABEL_VALUE, OWN_FIELD_MANAGER, REMEMBERED_FACTS_CONFIG_MAP};
use crate::kubernetes::is_not_found;
use crate::plan::cluster::RememberedFacts;

/// The ConfigMap could not be written.
#[derive(Debug, Error)]
#[error(
    "failed to write the remembered settings of the cluster, ConfigMap {namespace}/{REMEMBERED_FACTS_CONFIG_MAP}"
)]
pub struct Error {
    namespace: String,
    source: Box<kube::Error>,
}

/// Writes the remembered facts.
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

    /// Writes `facts` if they differ from the `saved` ones; returns whether it wrote.
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

    /// Deletes the ConfigMap.
    pub async fn delete(&self) -> Result<(), Error> {
        match self.api().delete(REMEMBERED_FACTS_CONFIG_MAP, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
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
