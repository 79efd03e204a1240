//! `check`: runs preflight checks of a cluster before an installation or upgrade.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::error::CliError;
use super::output;
use super::shared::{ClusterArguments, VersionArguments};
use crate::preflight::{self, CheckSubject, Finding, FindingSeverity, PreflightInput};

/// Output format of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FindingsFormat {
    /// One finding with its remedy after the other
    Text,
    /// One JSON object
    Json,
}

/// Examples of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  # Check the cluster before an upgrade, with the binary of the new version
    istio-manager check

  # Check the cluster before the installation of another version of Istio
    istio-manager check --charts-dir ./charts --istio-version 1.30.3

  # Check the permissions of the operator's ServiceAccount
    istio-manager check --as system:serviceaccount:kyma-system:istio-controller-manager

  # Print the errors only
    istio-manager check -o json | jq -r '.findings[] | select(.severity == \"error\") | .message'

Nothing is written to the cluster.

Exit codes:
  0  no errors found; notes and warnings do not block an installation
  1  at least one error found
  2  the checks could not be run";

/// Arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    cluster: ClusterArguments,

    #[command(flatten)]
    version: VersionArguments,

    /// Output format
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: FindingsFormat,
}

/// Prints the findings. Exits with 0 without an error among them, with 1 otherwise, and with 2 if the checks could not be run.
pub(super) fn main(arguments: &CheckArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(CliError::Runtime).and_then(|runtime| runtime.block_on(check(arguments)));
    match result {
        Ok(findings) if findings.iter().any(|finding| finding.severity == FindingSeverity::Error) => {
            ExitCode::from(1)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => error.report(2),
    }
}

async fn check(arguments: &CheckArguments) -> Result<Vec<Finding>, CliError> {
    let client = arguments.cluster.connect().await?;
    let bundle = arguments.version.bundle()?;
    let namespace = arguments.cluster.namespace();
    let input = PreflightInput { client: &client, bundle: &bundle, operator_namespace: &namespace };
    let findings = preflight::run_preflight(input).await;
    let text = match arguments.output {
        FindingsFormat::Text => format_findings(&findings, output::is_colored()),
        FindingsFormat::Json => {
            format!("{:#}\n", json!({"istioVersion": bundle.version(), "findings": findings}))
        }
    };
    output::print(&text)?;
    Ok(findings)
}

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

fn format_findings(findings: &[Finding], colored: bool) -> String {
    let mark = |word: &str, color: &str| {
        let word = format!("{word:<8}");
        if colored { format!("{color}{word}{RESET}") } else { word }
    };
    let mut text = String::new();
    for subject in CheckSubject::ALL {
        let found: Vec<_> = findings.iter().filter(|finding| finding.subject == subject).collect();
        if found.is_empty() {
            text.push_str(&format!("{} {subject}\n", mark("ok", GREEN)));
        }
        for Finding { severity, message, advice, .. } in found {
            let mark = mark(&severity.to_string(), color(*severity));
            text.push_str(&format!("{mark} {subject}: {message}\n           -> {advice}\n"));
        }
    }
    text
}

fn color(severity: FindingSeverity) -> &'static str {
    match severity {
        FindingSeverity::Note => CYAN,
        FindingSeverity::Warning => YELLOW,
        FindingSeverity::Error => RED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_shown_with_advice_and_other_subjects_as_ok() {
        let finding = Finding {
            severity: FindingSeverity::Error,
            subject: CheckSubject::Namespace,
            message: "is being deleted".to_owned(),
            advice: "wait".to_owned(),
        };
        let colored = format_findings(std::slice::from_ref(&finding), true);
        let text = format_findings(&[finding], false);
        let bare = [RED, GREEN, RESET].iter().fold(colored.clone(), |text, code| text.replace(code, ""));
        assert_eq!(bare, text, "colors are added around the same text");
        assert!(colored.contains("\x1b[31merror   \x1b[0m namespace"), "{colored:?}");
        assert!(
            text.contains("error    namespace istio-system: is being deleted\n           -> wait\n"),
            "{text}"
        );
        assert!(text.contains("ok       Kubernetes version\n"), "{text}");
        assert!(!text.contains("ok       namespace"), "{text}");
    }
}
