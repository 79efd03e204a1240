//! The arguments of `render`.

use std::path::PathBuf;

use clap::Args;

/// What `render` is told on the command line.
#[derive(Args, Debug)]
pub struct RenderArguments {
    /// File with the Istio resource; - reads standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub filename: PathBuf,

    /// File with the Kubernetes objects (Nodes, ConfigMaps, ...) that stand for the cluster; without it: a cluster
    /// of production size at an unknown provider
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,

    /// Further Istio versions, <DIRECTORY>/<version>/{charts,profiles}, beside the embedded one
    #[arg(long, value_name = "DIRECTORY")]
    pub charts_dir: Option<PathBuf>,

    /// Istio version to render; without it the embedded one
    #[arg(long, env = "ISTIO_VERSION", value_name = "VERSION")]
    pub istio_version: Option<String>,
}
