//! Decides whether the CRDs of one apply may be written; the rules are in [`super::compatibility`].
//!
//! Reads existing CRDs only if the cluster serves any API of Istio: one request shows that a new cluster does not.

use std::sync::{Mutex, PoisonError};

use kube::Client;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::OnceCell;

use super::compatibility::{self, CrdDecision};
use crate::kubernetes::object::ObjectId;
use crate::kubernetes::ok_if_not_found;
use crate::lock::lock;

/// An existing CRD could not be compared.
#[derive(Debug, Error)]
pub enum Error {
    /// The served APIs could not be listed.
    #[error("failed to list the API groups of the cluster")]
    Discover {
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// A CRD could not be read.
    #[error("failed to read {object}")]
    Read {
        /// The CRD.
        object: ObjectId,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
}

/// Decides about the CRDs of one apply, and collects warnings for users.
pub struct CrdPolicy {
    client: Client,
    has_istio_apis: OnceCell<bool>,
    warnings: Mutex<Vec<String>>,
}

impl CrdPolicy {
    /// A policy for one apply.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, has_istio_apis: OnceCell::new(), warnings: Mutex::default() }
    }

    /// Whether `manifest` may replace the existing CRD.
    pub async fn allows(&self, id: &ObjectId, manifest: &Value) -> Result<bool, Error> {
        if !self.has_istio_apis().await? {
            return Ok(true);
        }
        let live = ok_if_not_found(id.api(self.client.clone()).get(&id.name).await);
        let live = live.map_err(|source| Error::Read { object: id.clone(), source: Box::new(source) })?;
        let Some(live) = live.and_then(|live| serde_json::to_value(live).ok()) else { return Ok(true) };
        let decision = compatibility::decide(manifest, &live);
        let version = compatibility::version(manifest).map(|version| version.to_string()).unwrap_or_default();
        if let CrdDecision::KeepNewer(newer) = &decision {
            tracing::info!(object = %id, %newer, "keeping the CRD of a newer Istio");
        }
        self.warnings().extend(decision.warning(&id.name, &version));
        Ok(decision == CrdDecision::Replace)
    }

    /// Whether the API groups were listed, and none is of Istio.
    #[must_use]
    pub fn found_no_istio_apis(&self) -> bool {
        self.has_istio_apis.get() == Some(&false)
    }

    /// The warnings for users, sorted.
    pub fn into_warnings(self) -> Vec<String> {
        let mut warnings = self.warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
        warnings.sort();
        warnings
    }

    fn warnings(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        lock(&self.warnings)
    }

    async fn has_istio_apis(&self) -> Result<bool, Error> {
        let discover = || async {
            let groups = self.client.list_api_groups().await;
            let groups = groups.map_err(|source| Error::Discover { source: Box::new(source) })?;
            Ok(groups.groups.iter().any(|group| group.name.ends_with(".istio.io")))
        };
        self.has_istio_apis.get_or_try_init(discover).await.copied()
    }
}
