//! What the process frame hands to the controllers: the client, the settings, and the values that say whether to
//! write, whether to stop and what the probes report. It carries values only; it decides nothing.

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
    /// The client for every request. It refuses writes while [`Context::leadership`] does not allow them, so
    /// callers need no check of their own.
    pub client: kube::Client,
    /// The `ServiceAccount` that the client acts as; `None` for a person who runs the operator with permissions of their own.
    pub account: Option<ServiceAccountRef>,
    /// The namespace of the operator itself: its Lease and its inventory live here.
    pub operator_namespace: String,
    /// Who leads, as it changes. Controllers start when [`Leadership::is_leading`] first holds.
    pub leadership: watch::Receiver<Leadership>,
    /// Cancelled when the process has to stop: on SIGTERM or SIGINT, or when the Lease is lost.
    pub shutdown: CancellationToken,
    /// What `/readyz` waits for; controllers register here what has to happen before they are ready.
    pub readiness: Readiness,
    /// Where controllers register their metrics.
    pub metrics: MetricsRegistry,
    /// What the flags and the environment say.
    pub settings: OperatorSettings,
    /// This process among its replicas, `<pod name>_<uuid>`: the holder identity of the Lease and the reporting
    /// instance of Events.
    pub identity: String,
}

impl Context {
    /// Waits until this process leads. `false` if it has to stop before that ever happens.
    pub async fn wait_for_leadership(&self) -> bool {
        let mut leadership = self.leadership.clone();
        tokio::select! {
            led = leadership.wait_for(Leadership::is_leading) => led.is_ok(),
            () = self.shutdown.cancelled() => false,
        }
    }
}

/// The settings of a run that reach the controllers, from flags and environment, already validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSettings {
    /// A folder of further chart versions, `<folder>/<version>/{charts,profiles}`; without it only the embedded one.
    pub charts_dir: Option<PathBuf>,
    /// The version of Istio to install; without it the embedded one.
    pub istio_version: Option<String>,
    /// Whether `spec.patches` may be used.
    pub allow_patches: bool,
    /// How far authors of resources are trusted with values and patches.
    pub override_mode: OverrideMode,
    /// The administrator's values, below those of the resource.
    pub administrator_values: AdministratorValues,
    /// Whether experimental options are followed.
    pub feature_stage: FeatureStage,
    /// How long an installation may wait for one stage to become ready.
    pub install_timeout: Duration,
    /// How often an unchanged resource is looked at again.
    pub reconciliation_interval: Duration,
    /// The wait after the first failure in a row.
    pub failure_base_delay: Duration,
    /// The longest wait between failures in a row.
    pub failure_max_delay: Duration,
    /// Reconciles per second over all resources, in the long run.
    pub rate_limiter_frequency: u32,
    /// Reconciles that may run above [`OperatorSettings::rate_limiter_frequency`] at once.
    pub rate_limiter_burst: u32,
    /// Whether workloads with outdated sidecars are only reported, whatever the resource says.
    pub report_restarts_only: bool,
}
