//! Changes what etcd holds behind the API server's back: states that the API server leaves when it dies at the wrong moment,
//! and more objects than it would take in a reasonable time.

use std::time::Duration;

use axum::http::{Request, Uri};
use k8s_openapi::ByteString;
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, ETCD};

/// Why an entry was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// There is no client for it.
    #[error("cannot talk to etcd")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not answer, or not what was asked for.
    #[error("etcd does not answer about {key}")]
    Answer {
        /// The entry.
        key: String,
        /// What happened.
        source: Box<kube::Error>,
    },
    /// The entry is not there, or is no JSON. Definitions are JSON; most other objects are not.
    #[error("{key} is not in etcd as JSON")]
    NotJson {
        /// The entry.
        key: String,
    },
}

impl ControlPlane {
    /// What stores the objects of the API server.
    pub fn etcd(&self) -> Result<Etcd, EtcdError> {
        Etcd::connect()
    }

    /// Changes the definition of this name as it is stored. No API server may run meanwhile: it would not notice.
    pub async fn change_stored_crd(
        &self,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), EtcdError> {
        let path = format!("/registry/apiextensions.k8s.io/customresourcedefinitions/{name}");
        let key = ByteString(path.clone().into_bytes());
        let etcd = self.etcd()?;
        let found: Value = etcd.ask("range", &path, &json!({ "key": key })).await?;
        let stored = found.pointer("/kvs/0/value").cloned().unwrap_or_default();
        let not_json = |_| EtcdError::NotJson { key: path.clone() };
        let ByteString(bytes) = serde_json::from_value(stored).map_err(not_json)?;
        let mut crd: Value = serde_json::from_slice(&bytes).map_err(not_json)?;
        change(&mut crd);
        let changed = ByteString(crd.to_string().into_bytes());
        let _: Value = etcd.ask("put", &path, &json!({"key": key, "value": changed})).await?;
        Ok(())
    }
}

/// etcd's API in JSON, which it serves beside that in gRPC.
pub struct Etcd(Client);

impl Etcd {
    /// Stores objects as if the API server had written them, all in one step: address below `/registry/`, and JSON, which it
    /// reads as well as its own encoding.
    pub async fn put(&self, objects: impl IntoIterator<Item = (String, String)>) -> Result<(), EtcdError> {
        let put = |(address, object): (String, String)| {
            let key = ByteString(format!("/registry/{address}").into_bytes());
            json!({"requestPut": {"key": key, "value": ByteString(object.into_bytes())}})
        };
        let puts: Vec<Value> = objects.into_iter().map(put).collect();
        let _: Value = self.ask("txn", "a transaction", &json!({"success": puts})).await?;
        Ok(())
    }

    fn connect() -> Result<Self, EtcdError> {
        let mut config = Config::new(Uri::from_static(ETCD));
        config.read_timeout = Some(Duration::from_secs(10));
        let client = Client::try_from(config).map_err(|error| EtcdError::Client(error.into()))?;
        Ok(Self(client))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        key: &str,
        question: &Value,
    ) -> Result<T, EtcdError> {
        let request = Request::post(format!("/v3/kv/{what}")).body(question.to_string().into_bytes());
        let request = request.map_err(|error| EtcdError::Client(error.into()))?;
        let failed = |source| EtcdError::Answer { key: key.to_owned(), source: Box::new(source) };
        self.0.request(request).await.map_err(failed)
    }
}
