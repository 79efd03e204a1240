//! `images`: every container image that a resource needs, for mirroring into a private registry.

use clap::Args;

use super::render::{self, RenderArguments, RenderError};
use crate::plan::images;

/// What `images` is told on the command line.
#[derive(Args, Debug)]
pub struct ImagesArguments {
    #[command(flatten)]
    render: RenderArguments,
}

/// The images, sorted, one a line.
pub(super) fn list(arguments: &ImagesArguments) -> Result<String, RenderError> {
    let plan = render::planned(&arguments.render)?;
    Ok(images::of(&plan)?.into_iter().collect::<Vec<_>>().join("\n"))
}
