//! Entry point: chooses the cryptography and hands the arguments to the command line module.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any other part can choose one. The only error is that there is one already, and there is none.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    istio_manager::cli::main(std::env::args_os())
}
