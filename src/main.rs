//! Entry point: chooses the cryptography and hands the arguments to the command line module.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any other part can choose a module.
    istio_manager::fips::install();
    istio_manager::cli::main(std::env::args_os())
}
