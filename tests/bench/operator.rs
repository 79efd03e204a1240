//! The operator as a process, and what is read off it. Shared by everything that measures.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use testbed::{ControlPlane, Mark, Process, ProcessSpec, Requests};

use super::Result;

pub const NAMESPACE: &str = "kyma-system";
const SERVICE_ACCOUNT: &str = "istio-controller-manager";
const USER: &str = "system:serviceaccount:kyma-system:istio-controller-manager";
const IDLE_RECONCILES: usize = 5;
const DEADLINE: Duration = Duration::from_secs(120);

/// The release build, or the one that the variable `ISTIO_MANAGER` names.
pub fn release_binary() -> Result<PathBuf> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/istio-manager");
    let binary = std::env::var_os("ISTIO_MANAGER").map_or_else(built, PathBuf::from);
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!("{} is not there; `make build` makes a release build", binary.display()).into())
}

/// A running operator under its own `ServiceAccount`.
pub struct Operator<'c> {
    control_plane: &'c ControlPlane,
    process: Process,
}

/// What an installation took.
pub struct Install {
    pub time: Duration,
    pub requests: Requests,
}

/// What the kernel says of a process, in KiB.
pub struct Memory {
    resident: u64,
    peak: u64,
}

impl Install {
    pub fn seconds(&self) -> String {
        format!("{:.1} s", self.time.as_secs_f64())
    }
}

impl Memory {
    pub fn resident(&self) -> String {
        mebibytes(self.resident)
    }

    pub fn peak(&self) -> String {
        mebibytes(self.peak)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes for people")]
fn mebibytes(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

impl<'c> Operator<'c> {
    /// Starts it with its default flags and `arguments`, and waits until it leads.
    pub async fn start(control_plane: &'c ControlPlane, binary: &Path, arguments: &[&str]) -> Result<Self> {
        let kubeconfig = control_plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await?;
        let spec = ProcessSpec::new("operator", binary)
            .args([
                "run".to_owned(),
                format!("--kubeconfig={}", kubeconfig.display()),
                "--leader-elect".to_owned(),
            ])
            .args(arguments.iter().copied())
            .only_given_env();
        let operator = Self { control_plane, process: control_plane.start(spec)? };
        operator.wait_for_log("acquired the leader lease", 1, DEADLINE).await?;
        Ok(operator)
    }

    /// Creates the resource and waits until it is Ready.
    pub async fn install(&self) -> Result<Install> {
        let api: Api<Istio> = Api::namespaced(self.control_plane.client(), NAMESPACE);
        let resource: Istio = serde_json::from_value(json!({
            "apiVersion": "operator.kyma-project.io/v1alpha2", "kind": "Istio",
            "metadata": {"name": "default", "namespace": NAMESPACE}, "spec": {},
        }))?;
        // The API server holds back the first create of a kind until its definition is two seconds old.
        api.create(&PostParams { dry_run: true, ..PostParams::default() }, &resource).await?;
        let mark = self.control_plane.audit().mark().await?;
        let started = Instant::now();
        api.create(&PostParams::default(), &resource).await?;
        let ready = |resource: Option<&Istio>| {
            resource.and_then(|r| r.status.as_ref()).is_some_and(|status| status.state == State::Ready)
        };
        self.control_plane.wait_for(api, "default", "Ready Istio", DEADLINE, ready).await?;
        let time = started.elapsed();
        Ok(Install { time, requests: self.requests_since(&mark).await? })
    }

    /// The requests of the operator since `mark`, its Lease not counted.
    pub async fn requests_since(&self, mark: &Mark) -> Result<Requests> {
        Ok(self.control_plane.audit().since(mark).await?.of(USER).without_leases())
    }

    /// The requests from the end of one reconcile to that of the next: the median of some, because now and then the data
    /// plane looks around between two.
    pub async fn idle_reconcile(&self) -> Result<Requests> {
        self.wait_for_reconciles(1).await?;
        let mut windows = Vec::new();
        for _ in 0..IDLE_RECONCILES {
            let mark = self.control_plane.audit().mark().await?;
            self.wait_for_reconciles(1).await?;
            windows.push(self.requests_since(&mark).await?);
        }
        windows.sort_by_key(Requests::len);
        Ok(windows.swap_remove(IDLE_RECONCILES / 2))
    }

    /// Waits until `more` reconciles have ended.
    pub async fn wait_for_reconciles(&self, more: usize) -> Result {
        let times = self.count("reconciled") + more;
        self.wait_for_log("reconciled", times, DEADLINE).await
    }

    /// Its memory once that stopped to change.
    pub async fn memory_at_rest(&self) -> Result<Memory> {
        let mut last = self.memory()?;
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = self.memory()?;
            if now.resident >= last.resident {
                return Ok(now);
            }
            last = now;
        }
    }

    pub async fn stop(mut self) -> Result {
        self.process.terminate(Duration::from_secs(10)).await?;
        Ok(())
    }

    pub fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
            Ok(line.trim_start_matches(':').trim_end_matches("kB").trim().parse()?)
        };
        Ok(Memory { resident: field("VmRSS")?, peak: field("VmHWM")? })
    }

    /// User and system time, from proc(5) in hundredths of a second.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = self.process.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub fn count(&self, words: &str) -> usize {
        self.process.count_in_log(words)
    }

    /// Waits until the log has `words` so often.
    pub async fn wait_for_log(&self, words: &str, times: usize, deadline: Duration) -> Result {
        Ok(self.process.wait_for_log_times(words, times, deadline).await?)
    }
}
