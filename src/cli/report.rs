//! Errors as a person at a terminal reads them: what failed, then each cause on a line of its own.

use std::error::Error;
use std::process::ExitCode;

use crate::telemetry::error_chain;

/// Prints `error` with its causes to standard error. Returns the exit code of a failure, 1.
pub fn report_failure(error: &(dyn Error + 'static)) -> ExitCode {
    print_error(error);
    ExitCode::FAILURE
}

/// Prints `error` with its causes to standard error. Returns the exit code of a failure, 2, for commands that say with
/// 1 what they found.
pub fn report_trouble(error: &(dyn Error + 'static)) -> ExitCode {
    print_error(error);
    ExitCode::from(2)
}

fn print_error(error: &(dyn Error + 'static)) {
    eprintln!("error: {}", error_chain(error).join("\n  because: "));
}
