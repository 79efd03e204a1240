//! The flags of `run`: their names, defaults and help, and their meaning as [`Settings`]. The names are those of
//! the Kyma reference operator, so that its Deployment starts this one unchanged.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::bind::BindAddress;
use super::overrides::{OverrideArguments, ValuesFileError};
use crate::context::OperatorSettings;
use crate::duration;
use crate::fips;
use crate::leader::{Timing, TimingError};
use crate::telemetry::{Encoder, Level, Logging, TimeEncoding};
use crate::validate::FeatureStage;

/// What `run` is told on the command line.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Kubeconfig file; without it: the files named by KUBECONFIG, else the Pod's service account, else
    /// ~/.kube/config
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of the operator itself, for its Lease and inventory; without it: that of the Pod, else kyma-system
    #[arg(
        long = "operator-namespace",
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        help_heading = "Cluster"
    )]
    pub operator_namespace: Option<String>,

    /// Write only while holding the Lease 76223278.kyma-project.io, so that one of several replicas works
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Leader election")]
    pub leader_elect: bool,

    /// How long a replica that died keeps others from taking over
    #[arg(long, default_value = "15s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Leader election")]
    pub leader_elect_lease_duration: Duration,

    /// How long the leader tries to renew its Lease before it gives up and exits; shorter than the lease duration
    #[arg(long, default_value = "10s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Leader election")]
    pub leader_elect_renew_deadline: Duration,

    /// How often the Lease is renewed or tried for; shorter than the renew deadline
    #[arg(long, default_value = "2s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Leader election")]
    pub leader_elect_retry_period: Duration,

    /// Where /metrics is served; 0 turns it off
    #[arg(long, default_value = ":8090", value_name = "ADDRESS", help_heading = "Serving")]
    pub metrics_bind_address: BindAddress,

    /// Where /healthz and /readyz are served; 0 turns them off
    #[arg(long, default_value = ":8091", value_name = "ADDRESS", help_heading = "Serving")]
    pub health_probe_bind_address: BindAddress,

    /// Further Istio versions, each in its folder `VERSION/{charts,profiles}` there, beside the embedded one
    #[arg(long, value_name = "DIRECTORY", help_heading = "Istio")]
    pub charts_dir: Option<PathBuf>,

    /// Istio version to install; without it the embedded one
    #[arg(long, env = "ISTIO_VERSION", value_name = "VERSION", help_heading = "Istio")]
    pub istio_version: Option<String>,

    #[command(flatten)]
    pub(super) overrides: OverrideArguments,

    /// How long a stage of the installation may take to become ready
    #[arg(long, default_value = "6m", value_parser = duration::parse, value_name = "DURATION", help_heading = "Istio")]
    pub install_timeout: Duration,

    /// Follow spec.experimental of the Istio resource, and make Istio dual-stack where the cluster is; otherwise a
    /// resource with experimental options is refused
    #[arg(long, env = "ALLOW_EXPERIMENTAL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL",
          help_heading = "Istio")]
    pub allow_experimental: bool,

    /// How often an unchanged resource is looked at again
    #[arg(long, default_value = "10h", value_parser = duration::parse, value_name = "DURATION", help_heading = "Reconciling")]
    pub reconciliation_interval: Duration,

    /// Wait after the first failure in a row; doubled with each further one
    #[arg(long, default_value = "1s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Reconciling")]
    pub failure_base_delay: Duration,

    /// Longest wait between failures in a row
    #[arg(long, default_value = "1000s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Reconciling")]
    pub failure_max_delay: Duration,

    /// Reconciles per second in the long run
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER", help_heading = "Reconciling")]
    pub rate_limiter_frequency: u32,

    /// Reconciles that may run at once above that rate
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER", help_heading = "Reconciling")]
    pub rate_limiter_burst: u32,

    /// Report workloads with outdated sidecars and never restart one, whatever the Istio resource says
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Istio")]
    pub report_restarts_only: bool,

    /// Start only if the operator's own TLS connections use a FIPS module, which takes a build with the cargo feature
    /// `fips`; otherwise FIPS mode without one is logged as a warning
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Cluster")]
    pub require_fips: bool,

    #[command(flatten)]
    logging: LoggingArguments,
}

/// The logging flags of Go operators built on zap.
#[expect(clippy::struct_field_names, reason = "clap makes the flags' names of the fields")]
#[derive(Args, Debug)]
struct LoggingArguments {
    /// Development mode: true logs text, false logs JSON, unless --zap-encoder says otherwise
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Logging")]
    zap_devel: bool,

    /// Form of a log line
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Logging")]
    zap_encoder: Option<Encoder>,

    /// Least severity that is logged: error, warn, info, debug, or a verbosity above 0 (1 is debug, 2 and more trace).
    /// The environment variable `RUST_LOG` refines it per module
    #[arg(long, default_value = "info", value_name = "LEVEL", help_heading = "Logging")]
    zap_log_level: Level,

    /// Accepted for compatibility; errors are logged with their causes, never with stack traces
    #[arg(long, value_name = "LEVEL", help_heading = "Logging")]
    zap_stacktrace_level: Option<Level>,

    /// Form of a log line's time, in UTC
    #[arg(long, value_enum, default_value = "rfc3339", value_name = "FORM", help_heading = "Logging")]
    zap_time_encoding: TimeEncoding,
}

impl RunArguments {
    /// What the controllers are told.
    ///
    /// # Errors
    /// If the file of `--values-file` cannot be used.
    pub fn settings(&self) -> Result<OperatorSettings, ValuesFileError> {
        Ok(OperatorSettings {
            charts_dir: self.charts_dir.clone(),
            istio_version: self.istio_version.clone().filter(|version| !version.is_empty()),
            allow_patches: self.overrides.allow_patches,
            override_mode: self.overrides.overrides,
            administrator_values: self.overrides.administrator_values()?,
            feature_stage: FeatureStage::of(self.allow_experimental),
            install_timeout: self.install_timeout,
            reconciliation_interval: self.reconciliation_interval,
            failure_base_delay: self.failure_base_delay,
            failure_max_delay: self.failure_max_delay,
            rate_limiter_frequency: self.rate_limiter_frequency,
            rate_limiter_burst: self.rate_limiter_burst,
            report_restarts_only: self.report_restarts_only,
        })
    }

    /// The durations of the leader election.
    pub fn timing(&self) -> Result<Timing, TimingError> {
        Timing::new(
            self.leader_elect_lease_duration,
            self.leader_elect_renew_deadline,
            self.leader_elect_retry_period,
        )
    }

    /// Whether a start without a FIPS module is accepted.
    #[must_use]
    pub fn fips_policy(&self) -> fips::Policy {
        if self.require_fips { fips::Policy::Require } else { fips::Policy::Report }
    }

    /// How to log.
    #[must_use]
    pub fn logging(&self) -> Logging {
        let by_mode = if self.logging.zap_devel { Encoder::Console } else { Encoder::Json };
        Logging {
            encoder: self.logging.zap_encoder.unwrap_or(by_mode),
            level: self.logging.zap_log_level,
            time: self.logging.zap_time_encoding,
        }
    }
}

/// The spellings of Go's `strconv.ParseBool`, which its `flag` package reads.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}
