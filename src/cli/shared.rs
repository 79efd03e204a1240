//! Flags that several commands share, so that their names and their help are the same everywhere.

use std::path::PathBuf;

use clap::Args;
use istio_charts::{Bundle, BundleError};
use kube::Client;

use super::flags::parse_bool;
use super::identity;
use super::overrides::OverrideArguments;
use crate::kubernetes::{self, ConnectError};
use crate::plan::configuration::{Images, ImagesError};
use crate::validate::FeatureStage;

/// Selects the cluster.
#[derive(Args, Debug)]
pub(super) struct ClusterArguments {
    /// Path to the kubeconfig file. If not set: the files in KUBECONFIG, the service account of the Pod, or
    /// ~/.kube/config, in this order
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,

    /// Namespace of the operator. If not set: the namespace of the Pod, or kyma-system
    #[arg(
        long,
        env = "POD_NAMESPACE",
        hide_env_values = true,
        value_name = "NAMESPACE",
        help_heading = "Cluster"
    )]
    operator_namespace: Option<String>,

    /// Username to impersonate, such as system:serviceaccount:kyma-system:istio-controller-manager
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    user: Option<String>,
}

impl ClusterArguments {
    /// A client for the cluster, which has answered one request.
    pub(super) async fn connect(&self) -> Result<Client, ConnectError> {
        kubernetes::connect(self.kubeconfig.as_deref(), self.user.as_deref()).await
    }

    /// The namespace of the operator.
    pub(super) fn namespace(&self) -> String {
        identity::namespace(self.operator_namespace.as_deref())
    }
}

/// Selects the version of Istio.
#[derive(Args, Debug)]
pub(super) struct VersionArguments {
    /// Directory with the charts of further Istio versions, <DIRECTORY>/<VERSION>/{charts,profiles}. Each is the directory
    /// `manifests` of an Istio release, renamed to its version
    #[arg(long, value_name = "DIRECTORY", help_heading = "Istio")]
    charts_dir: Option<PathBuf>,

    /// Istio version. If not set: the built-in version
    #[arg(
        long,
        env = "ISTIO_VERSION",
        hide_env_values = true,
        value_name = "VERSION",
        help_heading = "Istio"
    )]
    istio_version: Option<String>,
}

impl VersionArguments {
    /// The charts of the version.
    pub(super) fn bundle(&self) -> Result<Bundle, BundleError> {
        let version = self.istio_version.as_deref().filter(|version| !version.is_empty());
        Bundle::select(self.charts_dir.as_deref(), version)
    }
}

/// What the operator allows authors of `Istio` resources.
#[derive(Args, Debug)]
pub(super) struct AllowArguments {
    #[command(flatten)]
    pub(super) overrides: OverrideArguments,

    /// Allow spec.experimental, as an operator with this flag does
    #[arg(long, env = "ALLOW_EXPERIMENTAL", hide_env_values = true, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL",
          help_heading = "Istio")]
    allow_experimental: bool,
}

impl AllowArguments {
    /// Whether experimental options may be used.
    pub(super) fn feature_stage(&self) -> FeatureStage {
        FeatureStage::of(self.allow_experimental)
    }
}

/// The images in the environment variables, for a version.
pub(super) fn images(bundle: &Bundle) -> Result<Images, ImagesError> {
    Images::from_environment(|name| std::env::var(name).ok(), bundle.version())
}
