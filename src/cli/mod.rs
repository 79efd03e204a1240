//! The command line: commands, flags, help and errors. It parses arguments and calls the modules that do the work.

mod arguments;
mod bind;
mod check;
mod diff;
mod error;
mod flags;
mod identity;
mod images;
mod input;
mod output;
mod overrides;
mod render;
mod restarts;
mod run;
mod shared;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::check::CheckArguments;
use self::diff::DiffArguments;
use self::error::CliError;
use self::flags::RunArguments;
use self::images::ImagesArguments;
use self::render::RenderArguments;
use self::restarts::RestartsArguments;
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  # Run in a cluster with several replicas, of which one is active
    istio-manager run --leader-elect

  # Run on your machine against the current context of your kubeconfig
    istio-manager run --kubeconfig ~/.kube/config

  # Print the objects that would be applied for a resource, without a cluster
    istio-manager render -f istio.yaml

  # Show what applying a resource would change in the cluster
    istio-manager diff -f istio.yaml

  # Check the cluster before an installation or upgrade
    istio-manager check

  # List the images that a resource needs, for a private registry
    istio-manager images -f istio.yaml

  # Show workloads with outdated sidecars, and restart them
    istio-manager restarts
    istio-manager restarts --apply

Use `istio-manager <COMMAND> --help` for more information about a command. Without a command, `run` is used, and long
flags may have one dash, so that a Deployment of the Go operator starts this operator unchanged.";

/// Installs Istio from one `Istio` resource, keeps it as configured, upgrades it, and removes it safely.
#[derive(Parser, Debug)]
#[command(name = "istio-manager", version, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the operator
    Run(Box<RunArguments>),
    /// Print the objects that would be applied for an Istio resource, without a cluster
    #[command(after_help = render::EXAMPLES)]
    Render(RenderArguments),
    /// Show what applying an Istio resource would change in the cluster
    #[command(after_help = diff::EXAMPLES)]
    Diff(DiffArguments),
    /// Check the cluster before an installation or upgrade
    #[command(after_help = check::EXAMPLES)]
    Check(CheckArguments),
    /// List the container images that an Istio resource needs, one per line
    #[command(after_help = images::EXAMPLES)]
    Images(ImagesArguments),
    /// Show workloads with outdated sidecars, and restart them
    #[command(visible_alias = "proxy-status")]
    Restarts(RestartsArguments),
    /// Print the CustomResourceDefinition of the Istio resource, for `kubectl apply -f -`
    Crd,
    /// Print the version of the operator
    Version,
}

/// Runs the program with `arguments`, the program's name first, and returns its exit code: 0 on success, 1 after an error,
/// 2 for an invalid command line. `diff`, `check` and `restarts` have exit codes of their own.
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
            // Help and the version are errors to clap, too. They are printed to standard output and exit with 0.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

/// Parses a command line, the program's name first, in the style of clap or Go.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
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
    exit_code(render::render(arguments, &mut std::io::BufWriter::new(std::io::stdout())))
}

fn images(arguments: &ImagesArguments) -> ExitCode {
    exit_code(images::list_images(arguments).and_then(|text| output::print_line(&text)))
}

fn version() -> ExitCode {
    print(&format!("istio-manager {}", env!("CARGO_PKG_VERSION")))
}

fn print(text: &str) -> ExitCode {
    exit_code(output::print_line(text))
}

fn exit_code(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_every_command() {
        let mut command = CommandLine::command().term_width(120);
        command.build();
        let mut text = command.render_long_help().to_string();
        for subcommand in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let name = subcommand.get_name().to_owned();
            text += &format!("\n==== {name}\n\n{}", subcommand.render_long_help());
        }
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
