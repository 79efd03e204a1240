//! The shim: behind each istiod pod one real istiod, bound to the pod's address. It does for these pods what a kubelet
//! does: starts the process as the pod says, asks its readiness probe, writes the pod's status, restarts and ends it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, ClusterError, ISTIOD_SERVER};
use crate::door::Door;
use crate::failures::FAIL_LABEL;
use crate::kubeconfig;
use crate::process::{Process, ProcessSpec};

/// A real kubelet asks every three seconds; tests would wait for nothing.
const PROBE_PERIOD: Duration = Duration::from_millis(100);
/// How long an istiod that is to end serves on for the sake of its endpoint; a real kubelet gives it 30 s.
const ENDPOINT_REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// What istiod listens to, and the flag for it.
const PORTS: [(&str, u16); 5] = [
    ("httpAddr", 8080),
    ("httpsAddr", 15017),
    ("grpcAddr", 15010),
    ("secureGRPCAddr", 15012),
    ("monitoringAddr", 15014),
];

/// Runs until the future is dropped; every istiod it started ends with it. `kubelet` writes the status of the pods.
pub(crate) async fn run(cluster: Cluster, kubelet: Client) {
    let pods: Api<Pod> = Api::all(kubelet.clone());
    let config = watcher::Config::default().labels("app=istiod");
    let mut events = pin!(watcher(pods, config).default_backoff());
    let mut shim =
        Shim { cluster, kubelet, running: HashMap::new(), tasks: JoinSet::new(), listed: Vec::new() };
    while let Some(event) = events.next().await {
        // Errors of the watch are retried by its backoff.
        if let Ok(event) = event {
            shim.handle(event);
        }
        while shim.tasks.try_join_next().is_some() {}
    }
}

struct Shim {
    cluster: Cluster,
    kubelet: Client,
    /// By UID of the pod; dropping the sender lets the task end its istiod.
    running: HashMap<String, oneshot::Sender<()>>,
    tasks: JoinSet<()>,
    listed: Vec<String>,
}

impl Shim {
    fn handle(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(pod) => {
                self.listed.extend(pod.uid());
                self.sync(pod);
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.running.retain(|uid, _| listed.contains(uid));
            }
            watcher::Event::Apply(pod) => self.sync(pod),
            watcher::Event::Delete(pod) => self.stop(&pod),
        }
    }

    fn sync(&mut self, pod: Pod) {
        if !should_run(&pod) {
            self.stop(&pod);
            return;
        }
        let Some(uid) = pod.uid() else { return };
        if self.running.contains_key(&uid) {
            return;
        }
        let (stop, stopped) = oneshot::channel();
        self.running.insert(uid, stop);
        let (cluster, kubelet) = (self.cluster.clone(), self.kubelet.clone());
        let istiod = Istiod { cluster, kubelet, pod, listens_at: own_address() };
        self.tasks.spawn(istiod.keep_running(stopped));
    }

    fn stop(&mut self, pod: &Pod) {
        if let Some(uid) = pod.uid() {
            self.running.remove(&uid);
        }
    }
}

fn should_run(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let started = status.and_then(|status| status.phase.as_deref()) == Some("Running");
    started
        && status.is_some_and(|status| status.pod_ip.is_some())
        && pod.metadata.deletion_timestamp.is_none()
        && !pod.labels().contains_key(FAIL_LABEL)
}

/// Why there is no istiod.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("the pod has no address")]
    Address(#[from] std::net::AddrParseError),
    #[error("its ports cannot be had: {0}")]
    Door(#[from] std::io::Error),
    #[error("its kubeconfig file cannot be had: {0}")]
    Kubeconfig(#[source] std::io::Error),
}

struct Istiod {
    cluster: Cluster,
    kubelet: Client,
    pod: Pod,
    /// Not the address of the pod: kwok soon gives that to another one, while this istiod may not have ended yet.
    listens_at: IpAddr,
}

impl Istiod {
    async fn keep_running(self, mut stopped: oneshot::Receiver<()>) {
        let mut restarts = 0;
        loop {
            let ended = match self.start().await {
                Ok((mut process, door)) => {
                    tokio::select! {
                        () = self.report_readiness(&mut process, restarts) => {}
                        _ = &mut stopped => {
                            self.end(process, door).await;
                            return;
                        }
                    }
                    format!("istiod ended; its log: {}", process.log_file().display())
                }
                Err(error) => format!("cannot start istiod: {error}"),
            };
            restarts += 1;
            self.report(Readiness::Crashed { message: ended, restarts }).await;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                _ = &mut stopped => return,
            }
        }
    }

    /// Lets nobody call it any more, then ends it.
    async fn end(&self, mut process: Process, door: Door) {
        let _still_there = tokio::time::timeout(ENDPOINT_REMOVAL_TIMEOUT, self.endpoint_is_gone()).await;
        door.close().await;
        let _killed_on_drop = process.terminate(Duration::from_secs(5)).await;
    }

    /// Waits until no Service leads to the pod.
    async fn endpoint_is_gone(&self) {
        let slices: Api<EndpointSlice> =
            Api::namespaced(self.kubelet.clone(), &self.pod.namespace().unwrap_or_default());
        loop {
            if let Ok(slices) = slices.list(&ListParams::default()).await {
                let mut endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
                if !endpoints.any(|endpoint| self.is_behind(endpoint)) {
                    return;
                }
            }
            tokio::time::sleep(PROBE_PERIOD).await;
        }
    }

    fn is_behind(&self, endpoint: &Endpoint) -> bool {
        let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_ref());
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
        target == self.pod.uid().as_ref() && ready != Some(false)
    }

    async fn start(&self) -> Result<(Process, Door), StartError> {
        let name = self.pod.name_any();
        let namespace = self.pod.namespace().unwrap_or_default();
        let spec = self.pod.spec.clone().unwrap_or_default();
        let account = spec.service_account_name.clone().unwrap_or_else(|| "default".into());
        let mut kubeconfig = self.cluster.kubeconfig_for(&namespace, &account).await?;
        if let Ok(server) = std::fs::read_to_string(self.cluster.dir().join(ISTIOD_SERVER)) {
            kubeconfig = kubeconfig::with_server(&kubeconfig, &server).map_err(StartError::Kubeconfig)?;
        }
        let directory = self.cluster.dir().join("pods").join(self.pod.uid().unwrap_or_default());
        // A missing folder shows when the process is started in it.
        let _exists = std::fs::create_dir_all(&directory);
        let container = spec.containers.into_iter().next().unwrap_or_default();
        let program = self.cluster.tools().program("pilot-discovery").map_err(ClusterError::from)?;
        let mut process = ProcessSpec::new(name, program)
            .only_given_env()
            .current_dir(&directory)
            .args(container.args.clone().unwrap_or_default())
            .args(addresses(self.listens_at))
            .args(["--kubeconfig".into(), kubeconfig.to_string_lossy().into_owned()]);
        for variable in container.env.iter().flatten().filter(|variable| !is_ours(&variable.name)) {
            let value = variable.value.clone().or_else(|| field(&self.pod, variable)).unwrap_or_default();
            process = process.env(variable.name.clone(), value);
        }
        // Several of them share a small machine with the control plane.
        process = process.env("GOMAXPROCS", "2").env("GOGC", "200").env("HOME", directory.to_string_lossy());
        let door = Door::open(self.ip().parse()?, self.listens_at, &PORTS.map(|(_, port)| port)).await?;
        Ok((self.cluster.start(process)?, door))
    }

    fn ip(&self) -> &str {
        self.pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default()
    }

    /// Asks the readiness probe and writes changes to the pod's status. Returns when the process ended.
    async fn report_readiness(&self, process: &mut Process, restarts: i32) {
        let mut reported = None;
        while let Ok(None) = process.try_wait() {
            let ready = answers(self.listens_at).await;
            if reported != Some(ready) && (ready || reported.is_some() || restarts > 0) {
                let readiness =
                    if ready { Readiness::Ready { restarts } } else { Readiness::NotReady { restarts } };
                self.report(readiness).await;
                reported = Some(ready);
            }
            tokio::time::sleep(PROBE_PERIOD).await;
        }
    }

    async fn report(&self, readiness: Readiness) {
        let pods: Api<Pod> = Api::namespaced(self.kubelet.clone(), &self.pod.namespace().unwrap_or_default());
        let status = readiness.status(&self.pod);
        // A pod that is gone needs no status; anything else shows as a pod that never gets ready.
        let _pod =
            pods.patch_status(&self.pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await;
    }
}

/// Set below for a process outside a container, whatever the pod says.
fn is_ours(variable: &str) -> bool {
    matches!(variable, "KUBECONFIG" | "GOMAXPROCS" | "GOMEMLIMIT" | "HOME")
}

fn addresses(ip: IpAddr) -> Vec<String> {
    let listeners = PORTS.iter().map(|(flag, port)| format!("--{flag}={ip}:{port}"));
    listeners.chain([format!("--ctrlz_address={ip}")]).collect()
}

/// An address of this machine that no other istiod has had.
fn own_address() -> IpAddr {
    static LAST_ADDRESS: AtomicU32 = AtomicU32::new(0);
    let number = LAST_ADDRESS.fetch_add(1, Ordering::Relaxed) + 1;
    IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + number))
}

fn field(pod: &Pod, variable: &k8s_openapi::api::core::v1::EnvVar) -> Option<String> {
    let path = &variable.value_from.as_ref()?.field_ref.as_ref()?.field_path;
    match path.as_str() {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone(),
        "spec.nodeName" => pod.spec.as_ref()?.node_name.clone(),
        "status.podIP" => pod.status.as_ref()?.pod_ip.clone(),
        "status.hostIP" => pod.status.as_ref()?.host_ip.clone(),
        _ => None,
    }
}

/// Whether the readiness endpoint of the istiod at `ip` answers with 200.
async fn answers(ip: IpAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((ip, 8080)).await.ok()?;
        stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.ok()?;
        answer.ends_with(b" 200").then_some(())
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Some(())))
}

enum Readiness {
    Ready { restarts: i32 },
    NotReady { restarts: i32 },
    Crashed { message: String, restarts: i32 },
}

impl Readiness {
    fn status(&self, pod: &Pod) -> serde_json::Value {
        let container = pod.spec.iter().flat_map(|spec| &spec.containers).next();
        let (name, image) =
            container.map_or(("", None), |container| (&container.name, container.image.as_deref()));
        let now = k8s_openapi::jiff::Timestamp::now();
        let running = json!({"running": {"startedAt": now}});
        let (ready, state, restarts) = match self {
            Self::Ready { restarts } => (true, running, restarts),
            Self::NotReady { restarts } => (false, running, restarts),
            Self::Crashed { message, restarts } => {
                (false, json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}}), restarts)
            }
        };
        let condition = |kind| {
            if ready {
                json!({"type": kind, "status": "True", "reason": null, "message": null, "lastTransitionTime": now})
            } else {
                json!({"type": kind, "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": now,
                    "message": format!("containers with unready status: [{name}]")})
            }
        };
        json!({"status": {
            "conditions": [condition("Ready"), condition("ContainersReady")],
            "containerStatuses": [{"name": name, "image": image, "imageID": "", "ready": ready, "started": ready,
                "restartCount": restarts, "state": state}],
        }})
    }
}
