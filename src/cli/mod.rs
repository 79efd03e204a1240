//! The command line: what can be asked for, in which words, and how an error is told. It reads arguments and starts
//! the parts that do the work; it does none of it.

mod arguments;
mod bind;
mod check;
mod diff;
mod flags;
mod identity;
mod images;
mod overrides;
mod render;
mod report;
mod restarts;
mod run;
mod shared;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::telemetry;

pub use self::bind::BindAddress;
pub use self::check::{CheckArguments, CheckError};
pub use self::diff::{DiffArguments, DiffError};
pub use self::flags::RunArguments;
pub use self::images::ImagesArguments;
pub use self::render::{RenderArguments, RenderError};
pub use self::restarts::{RestartsArguments, RestartsError};
pub use self::run::RunError;

const EXAMPLES: &str = "\
Examples:
  Run in a cluster, one replica at work at a time:
    istio-manager run --leader-elect
  Run on your machine against the current context of your kubeconfig:
    istio-manager run --kubeconfig ~/.kube/config
  See what would be applied for a resource, without a cluster:
    istio-manager render -f istio.yaml
  See what would change in the cluster, before applying it:
    istio-manager diff -f istio.yaml
  Look at the cluster before an installation or upgrade:
    istio-manager check
  List the images that a resource needs, for a private registry:
    istio-manager images -f istio.yaml
  See which workloads run outdated sidecars, and restart them at your own pace:
    istio-manager restarts
    istio-manager restarts --apply

`istio-manager <COMMAND> --help` explains a command and its defaults. Without a command, `run` is meant, and long
flags may be written with one dash, so that a Deployment made for the Go operator starts this one unchanged.";

/// Installs Istio from one `Istio` resource, keeps it as configured, upgrades it and removes it safely.
#[derive(Parser, Debug)]
#[command(name = "istio-manager", version, after_help = EXAMPLES)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the operator until it is told to stop
    Run(Box<RunArguments>),
    /// Print every object that would be applied for an Istio resource, in order, without a cluster
    #[command(after_help = render::EXAMPLES)]
    Render(RenderArguments),
    /// Show what applying an Istio resource would change in the cluster; exits with 1 if anything
    #[command(after_help = diff::EXAMPLES)]
    Diff(DiffArguments),
    /// Look at the cluster before an installation or upgrade, and say what to do; exits with 1 if something speaks
    /// against it
    #[command(after_help = check::EXAMPLES)]
    Check(CheckArguments),
    /// Print every container image that an Istio resource needs, one a line, for mirroring into a registry
    #[command(after_help = images::EXAMPLES)]
    Images(ImagesArguments),
    /// Show which workloads have outdated sidecars, why, and what would be done about it
    #[command(visible_alias = "proxy-status")]
    Restarts(RestartsArguments),
    /// Print the CustomResourceDefinition of the Istio resource, as `kubectl apply -f -` reads it
    Crd,
    /// Print the version of the operator
    Version,
}

/// Runs the program with `arguments`, the program's name first, and tells its exit code: 0 when done, 1 after an
/// error, 2 for a command line that cannot be understood. `diff`, `check` and `restarts` have codes of their own.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(arguments) {
        Ok(CommandLine { command: Command::Version }) => version(),
        Ok(CommandLine { command: Command::Crd }) => print(crate::api::CRD_YAML),
        Ok(CommandLine { command: Command::Render(arguments) }) => render_objects(&arguments),
        Ok(CommandLine { command: Command::Diff(arguments) }) => diff::main(&arguments),
        Ok(CommandLine { command: Command::Check(arguments) }) => check::main(&arguments),
        Ok(CommandLine { command: Command::Images(arguments) }) => images(&arguments),
        Ok(CommandLine { command: Command::Restarts(arguments) }) => restarts::main(&arguments),
        Ok(CommandLine { command: Command::Run(arguments) }) => run_operator(&arguments),
        Err(error) => {
            // Help and the version are "errors" to clap as well; they go to standard output and exit with 0.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

/// Reads a command line, the program's name first, in clap's or in Go's style.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let mut command = CommandLine::command();
    command.build();
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| command.get_name().into());
    let subcommands: Vec<&str> =
        command.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases).collect();
    let flags: Vec<&str> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .collect();
    let normalized = arguments::normalize(arguments, &subcommands, &flags);
    let mut matches = command.clone().try_get_matches_from(std::iter::once(program).chain(normalized))?;
    CommandLine::from_arg_matches_mut(&mut matches)
}

fn run_operator(arguments: &RunArguments) -> ExitCode {
    let refinement = std::env::var("RUST_LOG").ok();
    telemetry::init(arguments.logging(), refinement.as_deref());
    run::execute(run::run(arguments))
}

fn render_objects(arguments: &RenderArguments) -> ExitCode {
    match render::render(arguments, &mut std::io::BufWriter::new(std::io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::report_failure(&error),
    }
}

fn images(arguments: &ImagesArguments) -> ExitCode {
    match images::list_images(arguments) {
        Ok(text) => print(&text),
        Err(error) => report::report_failure(&error),
    }
}

fn version() -> ExitCode {
    print(&format!("istio-manager {}", env!("CARGO_PKG_VERSION")))
}

/// Prints to standard output. That its reader has gone, as `head` does, is no error.
fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => report::report_failure(&error),
        _ => ExitCode::SUCCESS,
    }
}
