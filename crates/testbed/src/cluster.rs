//! A running control plane as tests and people see it: clients, kubeconfig files and small helpers.
//! It owns no process of the control plane, so that a second program in the same namespaces can attach to it.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Event, Namespace, ServiceAccount};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::AuditLog;
use crate::control_plane::{API_SERVER, kubeconfig_file};
use crate::fault_proxy::FaultProxy;
use crate::kubeconfig::{self, KubeconfigError};
use crate::pki::Identity;
use crate::process::{Process, ProcessError, ProcessSpec};
use crate::tools::{Tools, ToolsError};

/// What could not be done with a running cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A Go program is missing.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// A kubeconfig file or client could not be made.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A process could not be started or controlled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The API server refused or did not answer.
    #[error("cannot {action} {object}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// With which object.
        object: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// What was waited for did not come.
    #[error("no {what} within {after:?}; last seen: {seen}")]
    NotInTime {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The last state that was seen, as JSON.
        seen: String,
    },
}

impl ClusterError {
    pub(crate) fn api(action: &'static str, object: &str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { action, object: object.to_owned(), source: Box::new(source) }
    }
}

/// A handle on a running control plane.
#[derive(Clone)]
pub struct Cluster {
    tools: Tools,
    dir: PathBuf,
    admin: Client,
}

impl Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The control plane that another program started in these namespaces.
    pub async fn attach() -> Result<Self, ClusterError> {
        let tools = Tools::locate()?;
        let dir = tools.control_plane_dir();
        Self::attach_to(tools, dir).await
    }

    pub(crate) async fn attach_to(tools: Tools, dir: PathBuf) -> Result<Self, ClusterError> {
        let admin = kubeconfig::client(&kubeconfig_file(&dir, Identity::Admin)).await?;
        Ok(Self { tools, dir, admin })
    }

    /// A client that may do everything; in the audit log its user is `admin`.
    #[must_use]
    pub fn client(&self) -> Client {
        self.admin.clone()
    }

    /// The kubeconfig file of the administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig_file(&self.dir, Identity::Admin)
    }

    /// The in-memory folder of this control plane, with the logs of its programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The Go programs.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The requests of everybody.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.dir.join("audit.log"), self.client())
    }

    /// A fresh token of a `ServiceAccount`, good for a day.
    pub async fn token(&self, namespace: &str, service_account: &str) -> Result<String, ClusterError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(service_account, &PostParams::default(), &request).await;
        let answer =
            answer.map_err(ClusterError::api("request a token of ServiceAccount", service_account))?;
        Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
    }

    /// Writes a kubeconfig file for a `ServiceAccount` and returns its path. A later call renews the token.
    pub async fn kubeconfig_for(
        &self,
        namespace: &str,
        service_account: &str,
    ) -> Result<PathBuf, ClusterError> {
        let token = self.token(namespace, service_account).await?;
        let path = self.dir.join(format!("{namespace}.{service_account}.kubeconfig"));
        kubeconfig::write(&path, API_SERVER, &self.dir.join("ca.crt"), &token, namespace)?;
        Ok(path)
    }

    /// A client with the rights of a `ServiceAccount`.
    pub async fn client_for(&self, namespace: &str, service_account: &str) -> Result<Client, ClusterError> {
        let path = self.kubeconfig_for(namespace, service_account).await?;
        Ok(kubeconfig::client(&path).await?)
    }

    /// Makes a namespace with these labels, unless it is there, and waits for its `ServiceAccount` `default`, without
    /// which pods are refused.
    pub async fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<(), ClusterError> {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let metadata = ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() };
        create_if_missing(&Api::all(self.client()), &Namespace { metadata, ..Namespace::default() }).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), name);
        self.wait_for(accounts, "default", "ServiceAccount", CONTROLLER_TIMEOUT, |account| account.is_some())
            .await
            .map(|_| ())
    }

    /// Makes the `PriorityClass` that Istio's pods name; without it they are refused.
    pub async fn create_priority_class(&self) -> Result<(), ClusterError> {
        let class = PriorityClass {
            metadata: ObjectMeta { name: Some("istio-kyma-priority".into()), ..ObjectMeta::default() },
            value: Some(2_100_000),
            ..PriorityClass::default()
        };
        create_if_missing(&Api::all(self.client()), &class).await
    }

    /// Watches one object until `condition` holds, at most `deadline`; returns the object as it was then.
    ///
    /// `what` completes the sentence "no … within 10 s". The condition gets `None` while the object is not there.
    pub async fn wait_for<K>(
        &self,
        api: Api<K>,
        name: &str,
        what: &str,
        deadline: Duration,
        condition: impl Fn(Option<&K>) -> bool,
    ) -> Result<Option<K>, ClusterError>
    where
        K: Resource + Clone + Debug + Send + Serialize + DeserializeOwned + 'static,
    {
        let mut last = None;
        let wait = async {
            let mut states = pin!(watcher::watch_object(api, name));
            while let Some(state) = states.next().await {
                // Errors of a watch are those of a moment; the deadline tells when they are not.
                let Ok(state) = state else { continue };
                last = state;
                if condition(last.as_ref()) {
                    return;
                }
            }
        };
        match tokio::time::timeout(deadline, wait).await {
            Ok(()) => Ok(last),
            Err(_) => Err(ClusterError::NotInTime {
                what: format!("{what} ({name})"),
                after: deadline,
                seen: json_without_managed_fields(last),
            }),
        }
    }

    /// The core Events about one object, oldest first.
    pub async fn events_of(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
    ) -> Result<Vec<Event>, ClusterError> {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let events: Api<Event> = Api::namespaced(self.client(), namespace);
        let list = events.list(&ListParams::default().fields(&fields)).await;
        let mut items = list.map_err(ClusterError::api("list the Events of", name))?.items;
        items.sort_by_key(Event::creation_timestamp);
        Ok(items)
    }

    /// Has each istiod that starts from now on reach the API server through `proxy`, or directly again.
    pub fn route_istiod(&self, proxy: Option<&FaultProxy>) -> io::Result<()> {
        let file = self.dir.join(ISTIOD_SERVER);
        match proxy {
            Some(proxy) => std::fs::write(file, proxy.server()),
            None => std::fs::remove_file(file),
        }
    }

    /// Starts a program, for example the operator, with its log in the folder of this control plane.
    pub fn start(&self, spec: ProcessSpec) -> Result<Process, ClusterError> {
        Ok(spec.start(&self.dir)?)
    }
}

/// The file that names the server to which istiod is led, while it is led to another than the API server.
pub(crate) const ISTIOD_SERVER: &str = "istiod.server";

/// For what a control plane does by itself within a second or two.
const CONTROLLER_TIMEOUT: Duration = Duration::from_secs(30);

async fn create_if_missing<K>(api: &Api<K>, object: &K) -> Result<(), ClusterError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(ClusterError::api("create", &object.name_any())(error)),
    }
}

fn json_without_managed_fields<K: Resource + Serialize>(object: Option<K>) -> String {
    let Some(mut object) = object else { return "nothing".into() };
    object.meta_mut().managed_fields = None;
    serde_json::to_string(&object).unwrap_or_else(|error| error.to_string())
}
