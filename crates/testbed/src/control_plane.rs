//! Starts and ends the programs of one control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler
//! and kwok. What runs on it, and how tests look at it, is not decided here.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Request;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError};
use crate::kubeconfig::{self, KubeconfigError};
use crate::kwok;
use crate::namespace::{POD_CIDR, SERVICE_CIDR, SERVICE_CIDR_V6};
use crate::nodes::Size;
use crate::pki::{self, Identity, Pki, PkiError};
use crate::process::{Process, ProcessError, ProcessSpec};
use crate::shim_thread::ShimThread;
use crate::tools::{Tools, ToolsError};

/// The API server listens at the address and port of the Service `kubernetes`, so that in-cluster addresses work.
pub(crate) const API_ADDRESS: &str = "10.96.0.1";
pub(crate) const API_SERVER: &str = "https://10.96.0.1";
pub(crate) const ETCD: &str = "http://127.0.0.1:2379";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Far beyond the seconds a start takes, also on a loaded machine.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// Why a control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// [`crate::namespace::enter`] was not called first.
    #[error("a control plane needs namespaces of its own; call testbed::namespace::enter first")]
    Outside,
    /// A Go program is missing.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// Keys or certificates could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A kubeconfig file or client could not be made.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A program did not start or ended at once.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A configuration file could not be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The programs run, but what was waited for did not come.
    #[error("the control plane is not up after {after:?}: {what}")]
    NotUp {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// A node could not be made.
    #[error("cannot make node {name}")]
    Node {
        /// Its name.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The thread that runs istiod could not be started.
    #[error("cannot start the thread that runs istiod")]
    Shim(#[source] io::Error),
    /// The started cluster could not be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

const API_SERVER_NAME: &str = "kube-apiserver";

/// Bytes that etcd takes. By default these are 2 GiB, which the versions of some hundred large objects fill.
const ETCD_QUOTA: u64 = 8 << 30;

/// How the control plane shall be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The nodes it starts with.
    pub size: Size,
}

/// A running control plane. It dereferences to the [`Cluster`] that tests look at; dropping it ends everything.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: what runs on the control plane before the control plane.
    shim: ShimThread,
    cluster: Cluster,
    processes: Vec<Process>,
    pki: Pki,
}

impl Deref for ControlPlane {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl ControlPlane {
    /// Starts a fresh control plane and returns when its nodes and the `ServiceAccount` `default` are there.
    ///
    /// One at a time: a second in the same namespaces would want the same addresses.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        if !crate::namespace::is_inside() {
            return Err(StartError::Outside);
        }
        let tools = Tools::locate()?;
        let dir = tools.control_plane_dir();
        renew(&dir).map_err(|source| StartError::File { path: dir.clone(), source })?;
        let (pki, tokens) = pki::create(&dir, API_ADDRESS)?;
        for (identity, token) in Identity::ALL.iter().zip(&tokens) {
            kubeconfig::write(&kubeconfig_file(&dir, *identity), API_SERVER, &pki.ca_cert, token, "default")?;
        }
        let mut processes = vec![start_etcd(&tools, &dir)?, start_api_server(&tools, &dir, &pki)?];
        let client = kubeconfig::client(&kubeconfig_file(&dir, Identity::Admin)).await?;
        await_api_server(&client, &mut processes).await?;
        processes.push(start_controller_manager(&tools, &dir, &pki)?);
        processes.push(start_scheduler(&tools, &dir)?);
        processes.push(start_kwok(&tools, &dir)?);
        for node in options.size.nodes() {
            create_node(&client, &node).await?;
        }
        await_usable(&client, &mut processes).await?;
        let shim = ShimThread::start(tools.clone(), dir.clone())?;
        let cluster = Cluster::attach_to(tools, dir).await?;
        Ok(Self { shim, cluster, processes, pki })
    }

    /// Ends all that runs on it, then its programs, and returns when they are gone.
    pub async fn stop(mut self) -> Result<(), ProcessError> {
        self.shim.stop();
        for process in self.processes.iter_mut().rev() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Kills the API server and starts it again; returns when it answers.
    ///
    /// The caller keeps what this returns, and gives it back for the next restart: with it the API server ends.
    pub async fn restart_api_server(&self, present: Option<Process>) -> Result<Process, StartError> {
        self.kill_api_server(present).await?;
        self.start_api_server().await
    }

    /// Kills the API server; `present` is what the last restart returned.
    pub async fn kill_api_server(&self, present: Option<Process>) -> Result<(), StartError> {
        match present {
            Some(mut process) => process.kill().await?,
            None => {
                for process in self.processes.iter().filter(|process| process.name() == API_SERVER_NAME) {
                    process.kill_without_reaping().await?;
                }
            }
        }
        Ok(())
    }

    /// Starts the API server after it was killed; returns when it answers. With what is returned it ends.
    pub async fn start_api_server(&self) -> Result<Process, StartError> {
        let mut restarted = [start_api_server(self.cluster.tools(), self.cluster.dir(), &self.pki)?];
        await_api_server(&self.cluster.client(), &mut restarted).await?;
        let [process] = restarted;
        Ok(process)
    }

    /// The programs of the control plane, for looking at their logs and memory.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }
}

pub(crate) fn kubeconfig_file(dir: &Path, identity: Identity) -> PathBuf {
    dir.join(format!("{}.kubeconfig", identity.file_stem()))
}

fn renew(dir: &Path) -> io::Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)
}

fn start_etcd(tools: &Tools, dir: &Path) -> Result<Process, StartError> {
    let peer = "http://127.0.0.1:2380";
    let spec = ProcessSpec::new("etcd", tools.program("etcd")?)
        .args(["--name", "testbed", "--unsafe-no-fsync", "--log-level", "warn"])
        .args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster".into(), format!("testbed={peer}")])
        .args(["--quota-backend-bytes".into(), ETCD_QUOTA.to_string()])
        .args(["--data-dir".into(), text(&dir.join("etcd"))]);
    Ok(spec.start(dir)?)
}

fn start_api_server(tools: &Tools, dir: &Path, pki: &Pki) -> Result<Process, StartError> {
    let policy = dir.join("audit-policy.json");
    // Every request once, without bodies; `since` tells long-running ones by their audit id.
    let rules = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}]});
    write(&policy, &rules.to_string())?;
    let spec = ProcessSpec::new(API_SERVER_NAME, tools.program("kube-apiserver")?).args([
        format!("--etcd-servers={ETCD}"),
        format!("--bind-address={API_ADDRESS}"),
        format!("--advertise-address={API_ADDRESS}"),
        "--secure-port=443".into(),
        format!("--service-cluster-ip-range={SERVICE_CIDR},{SERVICE_CIDR_V6}"),
        format!("--tls-cert-file={}", text(&pki.server_cert)),
        format!("--tls-private-key-file={}", text(&pki.server_key)),
        format!("--cert-dir={}", text(dir)),
        format!("--token-auth-file={}", text(&pki.token_file)),
        "--authorization-mode=RBAC".into(),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", text(&pki.service_account_public_key)),
        format!("--service-account-signing-key-file={}", text(&pki.service_account_key)),
        "--allow-privileged=true".into(),
        // Webhooks are then called at pod addresses, which are local here; there is no kube-proxy.
        "--enable-aggregator-routing=true".into(),
        format!("--audit-policy-file={}", text(&policy)),
        format!("--audit-log-path={}", text(&dir.join("audit.log"))),
        "--audit-log-mode=blocking".into(),
    ]);
    Ok(spec.start(dir)?)
}

fn start_controller_manager(tools: &Tools, dir: &Path, pki: &Pki) -> Result<Process, StartError> {
    let spec = ProcessSpec::new("kube-controller-manager", tools.program("kube-controller-manager")?).args([
        format!("--kubeconfig={}", text(&kubeconfig_file(dir, Identity::ControllerManager))),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
        "--use-service-account-credentials=true".into(),
        format!("--service-account-private-key-file={}", text(&pki.service_account_key)),
        format!("--root-ca-file={}", text(&pki.ca_cert)),
        "--kube-api-qps=300".into(),
        "--kube-api-burst=600".into(),
    ]);
    Ok(spec.start(dir)?)
}

fn start_scheduler(tools: &Tools, dir: &Path) -> Result<Process, StartError> {
    let file = dir.join("scheduler.json");
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig_file(dir, Identity::Scheduler), "qps": 300, "burst": 600},
        "leaderElection": {"leaderElect": false},
    });
    write(&file, &configuration.to_string())?;
    let spec = ProcessSpec::new("kube-scheduler", tools.program("kube-scheduler")?)
        .args([format!("--config={}", text(&file)), "--secure-port=0".into()]);
    Ok(spec.start(dir)?)
}

fn start_kwok(tools: &Tools, dir: &Path) -> Result<Process, StartError> {
    let file = dir.join("kwok.json");
    write(&file, &kwok::configuration())?;
    let spec = ProcessSpec::new("kwok", tools.program("kwok")?).args([
        format!("--kubeconfig={}", text(&kubeconfig_file(dir, Identity::Kubelets))),
        format!("--config={}", text(&tools.kwok_stages()?)),
        format!("--config={}", text(&file)),
        "--manage-all-nodes=true".into(),
        format!("--cidr={POD_CIDR}"),
        "--node-lease-duration-seconds=40".into(),
    ]);
    // Its default configuration file is looked for at home.
    Ok(spec.env("HOME", text(dir)).start(dir)?)
}

async fn await_api_server(client: &kube::Client, processes: &mut [Process]) -> Result<(), StartError> {
    // The controller manager waits for its health for ten seconds only, which is too short for a busy machine.
    poll("the API server is healthy", processes, async || {
        let question = Request::get("/healthz").body(Vec::new());
        match question {
            Ok(question) => client.request_text(question).await.is_ok(),
            Err(_) => false,
        }
    })
    .await
}

async fn await_usable(client: &kube::Client, processes: &mut [Process]) -> Result<(), StartError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    poll("the ServiceAccount default", processes, async || accounts.get("default").await.is_ok()).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    poll("the nodes are ready", processes, async || {
        nodes.list(&ListParams::default()).await.is_ok_and(|list| list.iter().all(crate::nodes::is_ready))
    })
    .await
}

async fn create_node(client: &kube::Client, node: &Node) -> Result<(), StartError> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let nodes: Api<Node> = Api::all(client.clone());
    let created = nodes.create(&PostParams::default(), node).await;
    created.map(|_| ()).map_err(|source| StartError::Node { name, source: Box::new(source) })
}

/// Asks until `done`; stops early when one of the programs ended. Before the API server is up there is nothing to watch.
async fn poll(
    what: &'static str,
    processes: &mut [Process],
    done: impl AsyncFn() -> bool,
) -> Result<(), StartError> {
    let started = Instant::now();
    while started.elapsed() < START_DEADLINE {
        if done().await {
            return Ok(());
        }
        for process in processes.iter_mut() {
            process.check_running()?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(StartError::NotUp { what, after: START_DEADLINE })
}

fn write(path: &Path, text: &str) -> Result<(), StartError> {
    std::fs::write(path, text).map_err(|source| StartError::File { path: path.into(), source })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
