//! Flags that several commands have, so that they are called and explained alike.

use std::io::IsTerminal;
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

/// Which cluster a command looks at.
#[derive(Args, Debug)]
pub struct ClusterArguments {
    /// Kubeconfig file; without it: the files named by KUBECONFIG, else the Pod's service account, else
    /// ~/.kube/config
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,

    /// Namespace of the operator; without it: that of the Pod, else kyma-system
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", help_heading = "Cluster")]
    operator_namespace: Option<String>,

    /// User as whom to ask, such as system:serviceaccount:kyma-system:istio-controller-manager
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    user: Option<String>,
}

impl ClusterArguments {
    /// A client for that cluster, which has answered once.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        kubernetes::connect(self.kubeconfig.as_deref(), self.user.as_deref()).await
    }

    /// The namespace of the operator there.
    pub fn namespace(&self) -> String {
        identity::namespace(self.operator_namespace.as_deref())
    }
}

/// Which Istio is meant.
#[derive(Args, Debug)]
pub struct VersionArguments {
    /// Further versions of Istio, <DIRECTORY>/<version>/{charts,profiles}, beside the one built in: the folder
    /// `manifests` of an Istio release, named after its version
    #[arg(long, value_name = "DIRECTORY", help_heading = "Istio")]
    charts_dir: Option<PathBuf>,

    /// Version of Istio; without it the one built in
    #[arg(long, env = "ISTIO_VERSION", value_name = "VERSION", help_heading = "Istio")]
    istio_version: Option<String>,
}

impl VersionArguments {
    /// The charts of that version.
    pub fn bundle(&self) -> Result<Bundle, BundleError> {
        let version = self.istio_version.as_deref().filter(|version| !version.is_empty());
        Bundle::select(self.charts_dir.as_deref(), version)
    }
}

/// What the operator allows that this command shall answer for.
#[derive(Args, Debug)]
pub struct AllowArguments {
    #[command(flatten)]
    pub overrides: OverrideArguments,

    /// Follow spec.experimental, as an operator with this flag does
    #[arg(long, env = "ALLOW_EXPERIMENTAL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL",
          help_heading = "Istio")]
    allow_experimental: bool,
}

impl AllowArguments {
    /// Whether experimental options may be used.
    pub fn feature_stage(&self) -> FeatureStage {
        FeatureStage::of(self.allow_experimental)
    }
}

/// The images that the environment names for a version.
pub fn images(bundle: &Bundle) -> Result<Images, ImagesError> {
    Images::from_environment(|name| std::env::var(name).ok(), bundle.version())
}

/// Whether standard output is to be coloured: on a terminal that can, for people who want it.
pub fn is_coloured() -> bool {
    shows_colours(std::io::stdout().is_terminal(), |name| std::env::var(name).ok())
}

/// See <https://no-color.org>.
fn shows_colours(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    is_terminal
        && variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_can_and_people_who_want_them() {
        for (is_terminal, no_color, term, expected) in [
            (true, None, Some("xterm"), true),
            (true, None, None, true),
            (true, Some(""), Some("xterm"), true),
            (true, Some("1"), Some("xterm"), false),
            (true, None, Some("dumb"), false),
            (false, None, Some("xterm"), false),
        ] {
            let variable = |name: &str| match name {
                "NO_COLOR" => no_color.map(str::to_owned),
                _ => term.map(str::to_owned),
            };
            assert_eq!(shows_colours(is_terminal, variable), expected, "{is_terminal} {no_color:?} {term:?}");
        }
    }
}
