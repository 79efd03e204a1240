//! Entry point: hands the arguments to the command line module and exits with what it returns.

use std::process::ExitCode;

fn main() -> ExitCode {
    istio_manager::cli::main(std::env::args_os())
}
