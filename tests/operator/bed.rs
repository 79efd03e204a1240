//! What the tests share: the operator as a process, and the resource that it follows.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, FaultProxy, Process, ProcessSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

pub const NAMESPACE: &str = "kyma-system";
/// The user that the audit log shows for the operator.
pub const USER: &str = "system:serviceaccount:kyma-system:istio-controller-manager";
/// Far longer than anything here takes, also on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The operator's chart is installed and the operator runs.
pub struct Bed<'c> {
    pub control_plane: &'c ControlPlane,
    pub operator: Process,
    kubeconfig: PathBuf,
    metrics: u16,
}

impl<'c> Bed<'c> {
    pub async fn start(control_plane: &'c ControlPlane) -> Result<Self> {
        Self::start_with(control_plane, &[]).await
    }

    /// An operator on a control plane with a complete installation, whatever was there before.
    pub async fn installed(control_plane: &'c ControlPlane) -> Result<Self> {
        let bed = Self::start(control_plane).await?;
        bed.ensure_installed().await?;
        Ok(bed)
    }

    pub async fn start_with(control_plane: &'c ControlPlane, arguments: &[&str]) -> Result<Self> {
        // The chart sets the flag together with the permissions that it takes.
        let is_experimental = arguments.contains(&"--allow-experimental");
        let values: &[&str] = if is_experimental { &["istio.allowExperimental=true"] } else { &[] };
        let direct = install(control_plane, values).await?;
        delete_leases(control_plane).await?;
        Self::start_by(control_plane, direct, LONG_LEASE, arguments)
    }

    /// The operator behind a proxy that loses requests.
    pub async fn start_through(control_plane: &'c ControlPlane, proxy: &FaultProxy) -> Result<Self> {
        let through = proxy.kubeconfig(&install(control_plane, &[]).await?)?;
        delete_leases(control_plane).await?;
        Self::start_by(control_plane, through, LONG_LEASE, &[])
    }

    /// The operator behind a proxy, with a Lease that is soon over when it hangs.
    pub async fn start_with_short_lease(control_plane: &'c ControlPlane, proxy: &FaultProxy) -> Result<Self> {
        let through = proxy.kubeconfig(&install(control_plane, &[]).await?)?;
        Self::start_by(control_plane, through, SHORT_LEASE, &[])
    }

    fn start_by(
        control_plane: &'c ControlPlane,
        kubeconfig: PathBuf,
        lease: [&str; 3],
        arguments: &[&str],
    ) -> Result<Self> {
        let metrics = free_port()?;
        let replica = Replica { name: "operator", kubeconfig: kubeconfig.clone(), metrics, lease };
        let operator = replica.start(control_plane, arguments)?;
        Ok(Self { control_plane, operator, kubeconfig, metrics })
    }

    /// One more replica, under a ServiceAccount of its own.
    pub async fn replica(&self, account: &str) -> Result<Process> {
        let kubeconfig = self.control_plane.kubeconfig_for(NAMESPACE, account).await?;
        let replica = Replica { name: account, kubeconfig, metrics: free_port()?, lease: SHORT_LEASE };
        replica.start(self.control_plane, &[])
    }

    /// Kills the operator without warning and starts it anew.
    pub async fn crash(&mut self) -> Result {
        self.operator.kill().await?;
        delete_leases(self.control_plane).await?;
        self.operator = self.respawn(&[])?;
        Ok(())
    }

    /// Ends the operator and starts it anew with other arguments, as an update of its Deployment does.
    pub async fn restart_with(&mut self, arguments: &[&str]) -> Result {
        self.operator.terminate(Duration::from_secs(10)).await?;
        self.operator = self.respawn(arguments)?;
        Ok(())
    }

    /// Starts the operator anew after it has ended.
    pub fn start_again(&mut self) -> Result {
        self.operator = self.respawn(&[])?;
        Ok(())
    }

    fn respawn(&self, arguments: &[&str]) -> Result<Process> {
        let kubeconfig = self.kubeconfig.clone();
        let replica = Replica { name: "operator", kubeconfig, metrics: self.metrics, lease: LONG_LEASE };
        replica.start(self.control_plane, arguments)
    }

    pub async fn stop(mut self) -> Result {
        self.operator.terminate(Duration::from_secs(10)).await?;
        Ok(())
    }

    pub fn resources(&self) -> Api<Istio> {
        Api::namespaced(self.control_plane.client(), NAMESPACE)
    }

    pub async fn create(&self, name: &str, spec: Value) -> Result<Istio> {
        self.create_in(NAMESPACE, name, spec).await
    }

    pub async fn create_in(&self, namespace: &str, name: &str, spec: Value) -> Result<Istio> {
        let api: Api<Istio> = Api::namespaced(self.control_plane.client(), namespace);
        let resource: Istio = serde_json::from_value(json!({
            "apiVersion": "operator.kyma-project.io/v1alpha2",
            "kind": "Istio",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }))?;
        Ok(api.create(&PostParams::default(), &resource).await?)
    }

    /// Has Istio installed by a resource `default` that says nothing, whatever earlier tests left behind.
    pub async fn ensure_installed(&self) -> Result {
        for other in self.resources().list(&ListParams::default()).await? {
            if other.name_any() != "default" {
                self.delete(&other.name_any()).await?;
                self.wait_until_gone(&other.name_any()).await?;
            }
        }
        if self.resources().get_opt("default").await?.is_none() {
            self.create("default", json!({})).await?;
        }
        self.wait_for_state("default", State::Ready).await?;
        self.wait_until_reconciled().await
    }

    pub async fn edit(&self, name: &str, spec: Value) -> Result<Istio> {
        let patch = Patch::Merge(json!({"spec": spec}));
        Ok(self.resources().patch(name, &PatchParams::default(), &patch).await?)
    }

    pub async fn delete(&self, name: &str) -> Result {
        self.resources().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until this process has reconciled once.
    pub async fn wait_until_reconciled(&self) -> Result {
        self.wait_for_log("reconciled").await
    }

    /// Waits until this process has logged `words`.
    pub async fn wait_for_log(&self, words: &str) -> Result {
        Ok(self.operator.wait_for_log(words, DEADLINE).await?)
    }

    /// Waits until this process has logged `words` so often more.
    pub async fn wait_for_log_again(&self, words: &str, times: usize) -> Result {
        let times = self.operator.count_in_log(words) + times;
        Ok(self.operator.wait_for_log_times(words, times, DEADLINE).await?)
    }

    /// Waits until the operator has written down that no sidecar is outdated.
    pub async fn wait_until_data_plane_converged(&self) -> Result {
        let api: Api<ConfigMap> = Api::namespaced(self.control_plane.client(), NAMESPACE);
        let written = |ledger: Option<&ConfigMap>| {
            let data = ledger.and_then(|memory| memory.data.as_ref());
            data.is_some_and(|data| data.get("converged-mesh").is_some_and(|mesh| mesh != "superseded"))
        };
        let name = "istio-manager-restarts";
        self.control_plane.wait_for(api, name, "settled data plane", DEADLINE, written).await?;
        let is_reported = |resource: Option<&Istio>| {
            resource.and_then(|resource| resource.status.as_ref()?.data_plane.as_ref()).is_some()
        };
        self.control_plane
            .wait_for(self.resources(), "default", "told data plane", DEADLINE, is_reported)
            .await?;
        Ok(())
    }

    /// What the operator serves at `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Waits until the resource shows `state` for its present generation.
    pub async fn wait_for_state(&self, name: &str, state: State) -> Result<Istio> {
        self.wait_for_state_in(NAMESPACE, name, state).await
    }

    pub async fn wait_for_state_in(&self, namespace: &str, name: &str, state: State) -> Result<Istio> {
        let api: Api<Istio> = Api::namespaced(self.control_plane.client(), namespace);
        let is_in_state = |resource: Option<&Istio>| {
            resource.is_some_and(|resource| {
                let status = resource.status.as_ref();
                status.is_some_and(|s| {
                    s.state == state && s.observed_generation == resource.metadata.generation
                })
            })
        };
        let what = format!("Istio in state {}", state.as_str());
        let found = self.control_plane.wait_for(api, name, &what, DEADLINE, is_in_state).await;
        let found = found.map_err(|error| format!("{error}\noperator says:\n{}", self.operator.log()))?;
        Ok(found.ok_or("the resource is gone")?)
    }

    /// Waits until the description of the resource contains `text`.
    pub async fn wait_for_description(&self, name: &str, text: &str) -> Result<Istio> {
        self.wait_until(name, text, |resource| description_and_reason(resource).0.contains(text)).await
    }

    /// Waits until the control plane is as the resource describes it; sidecars that are outdated may be a Warning.
    pub async fn wait_until_applied(&self) -> Result {
        let is_applied = |resource: &Istio| {
            resource.status.as_ref().is_some_and(|status| {
                let is_finished = [State::Ready, State::Warning].contains(&status.state);
                is_finished && status.observed_generation == resource.metadata.generation
            })
        };
        self.wait_until("default", "applied resource", is_applied).await?;
        Ok(())
    }

    /// Waits until the resource shows what is wanted.
    pub async fn wait_until(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Istio) -> bool,
    ) -> Result<Istio> {
        let shows = |resource: Option<&Istio>| resource.is_some_and(&condition);
        let found = self.control_plane.wait_for(self.resources(), name, what, DEADLINE, shows).await;
        let found = found.map_err(|error| format!("{error}\noperator says:\n{}", self.operator.log()))?;
        Ok(found.ok_or("the resource is gone")?)
    }

    /// Waits until the resource is gone.
    pub async fn wait_until_gone(&self, name: &str) -> Result {
        let api = self.resources();
        let gone = self
            .control_plane
            .wait_for(api, name, "gone Istio", DEADLINE, |r: Option<&Istio>| r.is_none())
            .await;
        gone.map_err(|error| format!("{error}\noperator says:\n{}", self.operator.log()))?;
        Ok(())
    }

    /// Waits until the namespace of the control plane is gone.
    pub async fn wait_until_namespace_is_gone(&self) -> Result {
        let api: Api<Namespace> = Api::all(self.control_plane.client());
        let gone = |namespace: Option<&Namespace>| namespace.is_none();
        self.control_plane.wait_for(api, "istio-system", "gone namespace", DEADLINE, gone).await?;
        Ok(())
    }

    /// The writes of the operator since `mark`, Lease renewals not counted, as `verb resource/name`.
    pub async fn writes_since(&self, mark: &testbed::Mark) -> Result<Vec<String>> {
        let requests = self.control_plane.audit().since(mark).await?;
        Ok(requests.of(USER).without_leases().writes().iter().map(|request| format!("{request:?}")).collect())
    }
}

/// How a replica of the operator runs.
struct Replica<'a> {
    name: &'a str,
    kubeconfig: PathBuf,
    metrics: u16,
    lease: [&'a str; 3],
}

/// For tests in which another replica has to take over.
const SHORT_LEASE: [&str; 3] = [
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=300ms",
];
/// For all others: a machine that is busy must not end the leadership of the only one.
const LONG_LEASE: [&str; 3] = [
    "--leader-elect-lease-duration=60s",
    "--leader-elect-renew-deadline=50s",
    "--leader-elect-retry-period=300ms",
];

impl Replica<'_> {
    fn start(&self, control_plane: &ControlPlane, arguments: &[&str]) -> Result<Process> {
        let spec = ProcessSpec::new(self.name, env!("CARGO_BIN_EXE_istio-manager"))
            .args(["run".to_owned(), format!("--kubeconfig={}", self.kubeconfig.display())])
            .args(["--leader-elect".to_owned(), format!("--metrics-bind-address=127.0.0.1:{}", self.metrics)])
            .args([format!("--health-probe-bind-address=127.0.0.1:{}", free_port()?)])
            .args(self.lease)
            .args(arguments.iter().copied())
            .only_given_env();
        Ok(control_plane.start(spec)?)
    }
}

/// Runs a command of the program as the administrator of the cluster: exit code, standard output, standard error.
pub async fn command(control_plane: &ControlPlane, arguments: &[&str]) -> Result<(i32, String, String)> {
    let kubeconfig = format!("--kubeconfig={}", control_plane.kubeconfig().display());
    let arguments = arguments.iter().copied().chain([kubeconfig.as_str()]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_istio-manager"));
    let output = testbed::run(program, arguments, &[]).await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// Installs the operator's chart; returns the kubeconfig file of its ServiceAccount.
async fn install(control_plane: &ControlPlane, values: &[&str]) -> Result<PathBuf> {
    crate::chart::install_with(control_plane, values).await?;
    Ok(control_plane.kubeconfig_for(NAMESPACE, "istio-controller-manager").await?)
}

/// Takes the Lease from one that was killed: to wait until it is over would only cost time.
async fn delete_leases(control_plane: &ControlPlane) -> Result {
    let leases: Api<Lease> = Api::namespaced(control_plane.client(), NAMESPACE);
    leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Sets the switches of the operator to this text, which is JSON if it is to be followed.
pub async fn set_features(control_plane: &ControlPlane, switches: &str) -> Result {
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio-features"},
        "data": {"features": switches},
    });
    maps.patch("istio-features", &PatchParams::apply("test").force(), &Patch::Apply(&map)).await?;
    Ok(())
}

/// The description and the reason of the Ready condition.
pub fn description_and_reason(resource: &Istio) -> (String, String) {
    let status = resource.status.clone().unwrap_or_default();
    let ready =
        status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Ready");
    (status.description.unwrap_or_default(), ready.map(|condition| condition.reason).unwrap_or_default())
}

/// Whether the operator holds the resource.
pub fn has_finalizer(resource: &Istio) -> bool {
    resource
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == "istios.operator.kyma-project.io/istio-installation")
}
