//! The flags of `run`: names, defaults and help, and their meaning as [`OperatorSettings`]. The names are those of the Kyma
//! Go operator, so that its Deployment starts this operator unchanged.

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

/// Arguments of `run`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// Path to the kubeconfig file. If not set: the files in KUBECONFIG, the service account of the Pod, or
    /// ~/.kube/config, in this order
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(super) kubeconfig: Option<PathBuf>,

    /// Namespace of the operator, its Lease and its inventory. If not set: the namespace of the Pod, or kyma-system
    #[arg(
        long = "operator-namespace",
        env = "POD_NAMESPACE",
        hide_env_values = true,
        value_name = "NAMESPACE",
        help_heading = "Cluster"
    )]
    pub(super) operator_namespace: Option<String>,

    /// Enable leader election with the Lease 76223278.kyma-project.io, so that only one replica is active
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Leader election")]
    pub(super) leader_elect: bool,

    /// Duration that other replicas wait before they acquire a Lease that is not renewed
    #[arg(long, default_value = "15s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Leader election")]
    pub(super) leader_elect_lease_duration: Duration,

    /// Duration that the leader tries to renew its Lease before it exits. Must be shorter than the lease duration
    #[arg(long, default_value = "10s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Leader election")]
    pub(super) leader_elect_renew_deadline: Duration,

    /// Interval between attempts to acquire or renew the Lease. Must be shorter than the renew deadline
    #[arg(long, default_value = "2s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Leader election")]
    pub(super) leader_elect_retry_period: Duration,

    /// Address of the /metrics endpoint. Set to 0 to disable it
    #[arg(long, default_value = ":8090", value_name = "ADDRESS", help_heading = "Serving")]
    pub(super) metrics_bind_address: BindAddress,

    /// Address of the /healthz and /readyz endpoints. Set to 0 to disable them
    #[arg(long, default_value = ":8091", value_name = "ADDRESS", help_heading = "Serving")]
    pub(super) health_probe_bind_address: BindAddress,

    /// Directory with the charts of further Istio versions, <DIRECTORY>/<VERSION>/{charts,profiles}
    #[arg(long, value_name = "DIRECTORY", help_heading = "Istio")]
    pub(super) charts_dir: Option<PathBuf>,

    /// Istio version to install. If not set: the built-in version
    #[arg(
        long,
        env = "ISTIO_VERSION",
        hide_env_values = true,
        value_name = "VERSION",
        help_heading = "Istio"
    )]
    pub(super) istio_version: Option<String>,

    #[command(flatten)]
    pub(super) overrides: OverrideArguments,

    /// Maximum duration until a stage of the installation is ready
    #[arg(long, default_value = "6m", value_parser = duration::parse, value_name = "DURATION", help_heading = "Istio")]
    pub(super) install_timeout: Duration,

    /// Allow spec.experimental of the Istio resource, and configure dual-stack if the cluster supports it. If false, a
    /// resource with experimental options is rejected
    #[arg(long, env = "ALLOW_EXPERIMENTAL", hide_env_values = true, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL",
          help_heading = "Istio")]
    pub(super) allow_experimental: bool,

    /// Interval between reconciles of an unchanged resource
    #[arg(long, default_value = "10h", value_parser = duration::parse, value_name = "DURATION", help_heading = "Reconciling")]
    pub(super) reconciliation_interval: Duration,

    /// Delay after the first failed reconcile. Doubled with each consecutive failure
    #[arg(long, default_value = "1s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Reconciling")]
    pub(super) failure_base_delay: Duration,

    /// Maximum delay after consecutive failures
    #[arg(long, default_value = "1000s", value_parser = duration::parse, value_name = "DURATION", help_heading = "Reconciling")]
    pub(super) failure_max_delay: Duration,

    /// Maximum number of reconciles per second, for all resources together
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER", help_heading = "Reconciling")]
    pub(super) rate_limiter_frequency: u32,

    /// Number of reconciles that may exceed this rate for a short time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER", help_heading = "Reconciling")]
    pub(super) rate_limiter_burst: u32,

    /// Only report workloads with outdated sidecars, and never restart them. Takes precedence over spec.restarter.enabled
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Istio")]
    pub(super) report_restarts_only: bool,

    /// Start only if the TLS connections of the operator use a FIPS module, which requires a build with the cargo feature
    /// `fips`. If false, FIPS mode without a module is logged as a warning
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Cluster")]
    pub(super) require_fips: bool,

    #[command(flatten)]
    logging: LoggingArguments,
}

/// The logging flags of Go operators built on zap.
#[expect(clippy::struct_field_names, reason = "clap makes the flags' names of the fields")]
#[derive(Args, Debug)]
struct LoggingArguments {
    /// Development mode: if true, logs are text, otherwise JSON. --zap-encoder takes precedence
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Logging")]
    zap_devel: bool,

    /// Encoding of log lines
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Logging")]
    zap_encoder: Option<Encoder>,

    /// Minimum log level: error, warn, info, debug, or a verbosity above 0 (1 is debug, 2 and more is trace). The
    /// environment variable `RUST_LOG` sets levels per module
    #[arg(long, default_value = "info", value_name = "LEVEL", help_heading = "Logging")]
    zap_log_level: Level,

    /// Accepted for compatibility and ignored: errors are logged with their causes instead of stack traces
    #[arg(long, value_name = "LEVEL", help_heading = "Logging")]
    zap_stacktrace_level: Option<Level>,

    /// Format of the time of log lines, in UTC
    #[arg(long, value_enum, default_value = "rfc3339", value_name = "FORMAT", help_heading = "Logging")]
    zap_time_encoding: TimeEncoding,
}

impl RunArguments {
    /// The settings of the controllers.
    ///
    /// # Errors
    /// If the file of `--values-file` cannot be used.
    pub(super) fn settings(&self) -> Result<OperatorSettings, ValuesFileError> {
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
    pub(super) fn timing(&self) -> Result<Timing, TimingError> {
        Timing::new(
            self.leader_elect_lease_duration,
            self.leader_elect_renew_deadline,
            self.leader_elect_retry_period,
        )
    }

    /// Whether the operator starts without a FIPS module.
    #[must_use]
    pub(super) fn fips_policy(&self) -> fips::Policy {
        if self.require_fips { fips::Policy::Require } else { fips::Policy::Report }
    }

    /// The format and the level of the logs.
    #[must_use]
    pub(super) fn logging(&self) -> Logging {
        let by_mode = if self.logging.zap_devel { Encoder::Console } else { Encoder::Json };
        Logging {
            encoder: self.logging.zap_encoder.unwrap_or(by_mode),
            level: self.logging.zap_log_level,
            time: self.logging.zap_time_encoding,
        }
    }
}

/// Parses the values of Go's `strconv.ParseBool`, which Go's `flag` package accepts.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false".to_owned()),
    }
}
