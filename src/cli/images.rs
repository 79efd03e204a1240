//! `images`: lists the container images that a resource needs, for mirroring into a private registry.

use clap::Args;

use super::error::CliError;
use super::render::{self, RenderArguments};
use crate::plan::images;

/// Examples of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  # List the images of an installation
    istio-manager images -f istio.yaml

  # Copy the images into a private registry
    istio-manager images -f istio.yaml | while read image; do
      crane copy \"$image\" \"registry.example.com/istio/${image##*/}\"
    done

To use the copies, set the environment variables pilot, install-cni, proxyv2 and ztunnel of the operator.";

/// Arguments of `images`.
#[derive(Args, Debug)]
pub(crate) struct ImagesArguments {
    #[command(flatten)]
    render: RenderArguments,
}

/// The images, sorted, one per line.
pub(super) fn list_images(arguments: &ImagesArguments) -> Result<String, CliError> {
    let plan = render::plan_resource(&arguments.render)?;
    Ok(images::images_of_plan(&plan)?.into_iter().collect::<Vec<_>>().join("\n"))
}
