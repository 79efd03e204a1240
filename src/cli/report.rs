//! Errors as a person at a terminal reads them: what failed, then each cause on a line of its own.

use std::error::Error;
use std::process::ExitCode;

use crate::telemetry::causes;

/// Prints `error` with its causes to standard error. Returns the exit code of a failure, 1.
pub fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    explain(error);
    ExitCode::FAILURE
}

/// Prints `error` with its causes to standard error. Returns the exit code of a failure, 2, for commands that say with
/// 1 what they found.
pub fn trouble(error: &(dyn Error + 'static)) -> ExitCode {
    explain(error);
    ExitCode::from(2)
}

fn explain(error: &(dyn Error + 'static)) {
    eprintln!("error: {}", causes(error).join("\n  because: "));
}
