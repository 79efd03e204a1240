//! Errors as a person at a terminal reads them: what failed, then each cause on a line of its own.

use std::error::Error;
use std::process::ExitCode;

use crate::telemetry::causes;

/// Prints `error` with its causes to standard error. Returns the exit code of a failure, 1.
pub fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("error: {}", causes(error).join("\n  because: "));
    ExitCode::FAILURE
}
