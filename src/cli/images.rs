//! `images`: every container image that a resource needs, for mirroring into a private registry.

use clap::Args;

use super::render::{self, RenderArguments, RenderError};
use crate::plan::images;

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  The images of a default installation:
    istio-manager images -f istio.yaml
  Copy them into a private registry:
    istio-manager images -f istio.yaml | while read image; do
      crane copy \"$image\" \"registry.example.com/istio/${image##*/}\"
    done

Then tell the operator by its variables pilot, install-cni, proxyv2 and ztunnel.";

/// What `images` is told on the command line.
#[derive(Args, Debug)]
pub struct ImagesArguments {
    #[command(flatten)]
    render: RenderArguments,
}

/// The images, sorted, one a line.
pub(super) fn list_images(arguments: &ImagesArguments) -> Result<String, RenderError> {
    let plan = render::plan_resource(&arguments.render)?;
    Ok(images::images_of_plan(&plan)?.into_iter().collect::<Vec<_>>().join("\n"))
}
