//! What the process passes to its controllers: the client, the settings, and the state of leadership, shutdown and probes.
//! It carries values and decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::ServiceAccountRef;
use crate::leader::Leadership;
use crate::plan::{AdministratorValues, OverrideMode};
use crate::server::{MetricsRegistry, Readiness};
use crate::validate::FeatureStage;

/// Everything a controller needs from the process it runs in. Cheap to clone; all clones share the same values.
#[derive(Clone)]
pub struct Context {
    /// The client for all requests. It rejects writes without leadership, so that callers need not check it.
    pub client: kube::Client,
    /// The `ServiceAccount` of the client; `None` if the operator runs with the permissions of a user.
    pub account: Option<ServiceAccountRef>,
    /// The namespace of the operator, of its Lease and its inventory.
    pub operator_namespace: String,
    /// The state of leadership. Controllers start when [`Leadership::is_leading`] is true for the first time.
    pub leadership: watch::Receiver<Leadership>,
    /// Cancelled when the process has to stop: after SIGTERM or SIGINT, or when the Lease is lost.
    pub shutdown: CancellationToken,
    /// The readiness of the process, which `/readyz` reports.
    pub readiness: Readiness,
    /// Where controllers register their metrics.
    pub metrics: MetricsRegistry,
    /// The settings from flags and environment.
    pub settings: OperatorSettings,
    /// The identity of this process, `<pod name>_<uuid>`: the holder of the Lease and the reporting instance of Events.
    pub identity: String,
}

impl Context {
    /// Waits until this process leads. Returns `false` if it has to stop before.
    pub async fn wait_for_leadership(&self) -> bool {
        let mut leadership = self.leadership.clone();
        tokio::select! {
            led = leadership.wait_for(Leadership::is_leading) => led.is_ok(),
            () = self.shutdown.cancelled() => false,
        }
    }
}

/// The validated settings of the controllers, from flags and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSettings {
    /// A directory with further versions of the charts, `<directory>/<version>/{charts,profiles}`.
    pub charts_dir: Option<PathBuf>,
    /// The version of Istio to install; by default, the built-in one.
    pub istio_version: Option<String>,
    /// Whether `spec.patches` is allowed.
    pub allow_patches: bool,
    /// How far authors of resources are trusted with values and patches.
    pub override_mode: OverrideMode,
    /// The values of the administrator, which those of the resource are applied on top of.
    pub administrator_values: AdministratorValues,
    /// Whether experimental options are allowed.
    pub feature_stage: FeatureStage,
    /// Maximum duration until a stage is ready.
    pub install_timeout: Duration,
    /// Interval between reconciles of an unchanged resource.
    pub reconciliation_interval: Duration,
    /// Delay after the first failure.
    pub failure_base_delay: Duration,
    /// Maximum delay after consecutive failures.
    pub failure_max_delay: Duration,
    /// Maximum number of reconciles per second, for all resources together.
    pub rate_limiter_frequency: u32,
    /// Number of reconciles that may exceed [`OperatorSettings::rate_limiter_frequency`] for a short time.
    pub rate_limiter_burst: u32,
    /// Whether workloads with outdated sidecars are only reported. Takes precedence over the resource.
    pub report_restarts_only: bool,
}
