//! `check`: looks at a cluster before an installation or upgrade.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::report;
use super::shared::{self, ClusterArguments, VersionArguments};
use crate::kubernetes::ConnectError;
use crate::preflight::{self, CheckSubject, Finding, FindingSeverity, PreflightInput};

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no cluster to look at.
    #[error("there is no connection to a Kubernetes cluster; name one with --kubeconfig")]
    Connect(#[from] ConnectError),
    /// The charts are not there.
    #[error("cannot load Istio's charts")]
    Charts(#[from] istio_charts::BundleError),
    /// Nothing can run.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// The findings cannot be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

/// Form of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FindingsFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  Before an upgrade, with the program of the new version:
    istio-manager check
  Before the installation of another version of Istio:
    istio-manager check --charts-dir ./charts --istio-version 1.30.3
  What the operator's own ServiceAccount may not do:
    istio-manager check --as system:serviceaccount:kyma-system:istio-controller-manager
  In a pipeline:
    istio-manager check -o json | jq -r '.findings[] | select(.severity == \"error\") | .message'

Nothing is written to the cluster. Exit codes: 0 if nothing speaks against an installation (notes and warnings do not), 1 if
an error was found, 2 if nothing could be checked.";

/// What `check` is told on the command line.
#[derive(Args, Debug)]
pub struct CheckArguments {
    #[command(flatten)]
    cluster: ClusterArguments,

    #[command(flatten)]
    version: VersionArguments,

    /// Form of the findings
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    output: FindingsFormat,
}

/// Prints the findings. Exits with 0 if nothing speaks against an installation, 1 if something does, 2 if nothing could
/// be checked.
pub fn main(arguments: &CheckArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(CheckError::Runtime).and_then(|runtime| runtime.block_on(check(arguments)));
    match result {
        Ok(findings) if findings.iter().any(|finding| finding.severity == FindingSeverity::Error) => {
            ExitCode::from(1)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => report::report_trouble(&error),
    }
}

async fn check(arguments: &CheckArguments) -> Result<Vec<Finding>, CheckError> {
    let client = arguments.cluster.connect().await?;
    let bundle = arguments.version.bundle()?;
    let namespace = arguments.cluster.namespace();
    let input = PreflightInput { client: &client, bundle: &bundle, operator_namespace: &namespace };
    let findings = preflight::run_preflight(input).await;
    let text = match arguments.output {
        FindingsFormat::Text => format_findings(&findings, shared::is_coloured()),
        FindingsFormat::Json => {
            format!("{:#}\n", json!({"istioVersion": bundle.version(), "findings": findings}))
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CheckError::Print(error)),
        _ => Ok(findings),
    }
}

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

fn format_findings(findings: &[Finding], coloured: bool) -> String {
    let mark = |word: &str, colour: &str| {
        let word = format!("{word:<8}");
        if coloured { format!("{colour}{word}{RESET}") } else { word }
    };
    let mut text = String::new();
    for subject in CheckSubject::ALL {
        let found: Vec<_> = findings.iter().filter(|finding| finding.subject == subject).collect();
        if found.is_empty() {
            text.push_str(&format!("{} {subject}\n", mark("ok", GREEN)));
        }
        for Finding { severity, message, advice, .. } in found {
            let mark = mark(&severity.to_string(), colour(*severity));
            text.push_str(&format!("{mark} {subject}: {message}\n           -> {advice}\n"));
        }
    }
    text
}

fn colour(severity: FindingSeverity) -> &'static str {
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
        let coloured = format_findings(std::slice::from_ref(&finding), true);
        let text = format_findings(&[finding], false);
        let bare = [RED, GREEN, RESET].iter().fold(coloured.clone(), |text, code| text.replace(code, ""));
        assert_eq!(bare, text, "colours are added around the same text");
        assert!(coloured.contains("\x1b[31merror   \x1b[0m namespace"), "{coloured:?}");
        assert!(
            text.contains("error    namespace istio-system: is being deleted\n           -> wait\n"),
            "{text}"
        );
        assert!(text.contains("ok       Kubernetes version\n"), "{text}");
        assert!(!text.contains("ok       namespace"), "{text}");
    }
}
