//! What every measuring program does around its measurement.

use std::process::ExitCode;

/// Measures, and tells an error.
pub fn run(measure: impl FnOnce() -> super::Result) -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
