//! The flags about values and patches, which `run` and the commands that answer for it have in common.

use std::path::PathBuf;
use std::{fs, io};

use clap::Args;

use super::flags::parse_bool;
use crate::plan::{AdministratorValues, AdministratorValuesError, OverrideMode};

/// The file of `--values-file` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ValuesFileError {
    /// It cannot be read.
    #[error("cannot read {} (--values-file)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Its content is not a map of values.
    #[error("cannot use {} (--values-file)", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: AdministratorValuesError,
    },
}

/// What the administrator decides about values and patches.
#[derive(Args, Debug)]
pub struct OverrideArguments {
    /// How far authors of Istio resources are trusted with spec.values and spec.patches
    #[arg(long, value_enum, default_value = "restricted", value_name = "MODE", help_heading = "Istio")]
    pub overrides: OverrideMode,

    /// Apply spec.patches of the Istio resource. In the mode unrestricted, whoever may write the resource can then do
    /// everything that a cluster admin can
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL", help_heading = "Istio")]
    pub allow_patches: bool,

    /// File with values of Istio's charts that apply below every Istio resource, without restrictions: for the
    /// administrator of the operator, and for what the operator cannot detect (platform, CNI directories)
    #[arg(long, value_name = "FILE", help_heading = "Istio")]
    pub values_file: Option<PathBuf>,
}

impl OverrideArguments {
    /// The values of `--values-file`; none without the flag.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold a map.
    pub fn administrator_values(&self) -> Result<AdministratorValues, ValuesFileError> {
        let Some(path) = &self.values_file else { return Ok(AdministratorValues::default()) };
        let text = fs::read_to_string(path)
            .map_err(|source| ValuesFileError::Read { path: path.clone(), source })?;
        AdministratorValues::parse(&text)
            .map_err(|source| ValuesFileError::Content { path: path.clone(), source })
    }
}
