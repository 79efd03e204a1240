//! What the tests share: the operator as a process, and the resource that it follows.

use std::net::TcpListener;
use std::time::Duration;

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, Process, ProcessSpec};

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
}

impl<'c> Bed<'c> {
    pub async fn start(control_plane: &'c ControlPlane) -> Result<Self> {
        Self::start_with(control_plane, &[]).await
    }

    pub async fn start_with(control_plane: &'c ControlPlane, arguments: &[&str]) -> Result<Self> {
        crate::chart::install(control_plane).await?;
        let operator = operator(control_plane, arguments).await?;
        Ok(Self { control_plane, operator })
    }

    /// Kills the operator without warning and starts it anew.
    pub async fn crash(&mut self) -> Result {
        self.operator.kill().await?;
        self.operator = operator(self.control_plane, &[]).await?;
        Ok(())
    }

    /// Ends the operator and starts it anew with other arguments, as an update of its Deployment does.
    pub async fn restart_with(&mut self, arguments: &[&str]) -> Result {
        self.operator.terminate(Duration::from_secs(10)).await?;
        self.operator = operator(self.control_plane, arguments).await?;
        Ok(())
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

    pub async fn edit(&self, name: &str, spec: Value) -> Result<Istio> {
        let patch = Patch::Merge(json!({"spec": spec}));
        Ok(self.resources().patch(name, &PatchParams::default(), &patch).await?)
    }

    pub async fn delete(&self, name: &str) -> Result {
        self.resources().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until the resource shows `state` for its present generation.
    pub async fn settles(&self, name: &str, state: State) -> Result<Istio> {
        self.settles_in(NAMESPACE, name, state).await
    }

    pub async fn settles_in(&self, namespace: &str, name: &str, state: State) -> Result<Istio> {
        let api: Api<Istio> = Api::namespaced(self.control_plane.client(), namespace);
        let settled = |resource: Option<&Istio>| {
            resource.is_some_and(|resource| {
                let status = resource.status.as_ref();
                status.is_some_and(|s| {
                    s.state == state && s.observed_generation == resource.metadata.generation
                })
            })
        };
        let what = format!("Istio in state {}", state.as_str());
        let found = self.control_plane.wait_for(api, name, &what, DEADLINE, settled).await;
        let found = found.map_err(|error| format!("{error}\noperator says:\n{}", self.operator.log()))?;
        Ok(found.ok_or("the resource is gone")?)
    }

    /// Waits until the resource is gone.
    pub async fn goes(&self, name: &str) -> Result {
        let api = self.resources();
        let gone = self
            .control_plane
            .wait_for(api, name, "gone Istio", DEADLINE, |r: Option<&Istio>| r.is_none())
            .await;
        gone.map_err(|error| format!("{error}\noperator says:\n{}", self.operator.log()))?;
        Ok(())
    }

    /// Waits until the namespace of the control plane is gone.
    pub async fn namespace_goes(&self) -> Result {
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

/// Runs a command of the program as the administrator of the cluster: exit code, standard output, standard error.
pub async fn command(control_plane: &ControlPlane, arguments: &[&str]) -> Result<(i32, String, String)> {
    let kubeconfig = format!("--kubeconfig={}", control_plane.kubeconfig().display());
    let arguments = arguments.iter().copied().chain([kubeconfig.as_str()]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_istio-manager"));
    let output = testbed::run(program, arguments, &[]).await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

async fn operator(control_plane: &ControlPlane, arguments: &[&str]) -> Result<Process> {
    let kubeconfig = control_plane.kubeconfig_for(NAMESPACE, "istio-controller-manager").await?;
    let spec = ProcessSpec::new("operator", env!("CARGO_BIN_EXE_istio-manager"))
        .args([
            "run".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect".to_owned(),
        ])
        .args([format!("--health-probe-bind-address=127.0.0.1:{}", free_port()?)])
        .args([format!("--metrics-bind-address=127.0.0.1:{}", free_port()?)])
        // A killed predecessor must not hold up a test for long.
        .args([
            "--leader-elect-lease-duration=3s",
            "--leader-elect-renew-deadline=2s",
            "--leader-elect-retry-period=300ms",
        ])
        .args(arguments.iter().copied())
        .only_given_env();
    Ok(control_plane.start(spec)?)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The description and the reason of the Ready condition.
pub fn told(resource: &Istio) -> (String, String) {
    let status = resource.status.clone().unwrap_or_default();
    let ready =
        status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Ready");
    (status.description.unwrap_or_default(), ready.map(|condition| condition.reason).unwrap_or_default())
}

/// Whether the operator holds the resource.
pub fn is_held(resource: &Istio) -> bool {
    resource
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == "istios.operator.kyma-project.io/istio-installation")
}
