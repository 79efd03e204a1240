//! `check`: looks at a cluster before an installation or upgrade.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use istio_charts::Bundle;
use serde_json::json;

use super::{identity, report};
use crate::check::{self, Basis, Finding, Severity, Subject};
use crate::kubernetes::{self, ConnectError};

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
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What `check` is told on the command line.
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// Kubeconfig file; without it: the files named by KUBECONFIG, else the Pod's service account, else
    /// ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// User as whom to look, such as system:serviceaccount:kyma-system:istio-controller-manager
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,

    /// Namespace of the operator; without it: that of the Pod, else kyma-system
    #[arg(long = "operator-namespace", env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    operator_namespace: Option<String>,

    /// Further Istio versions, <DIRECTORY>/<version>/{charts,profiles}, beside the embedded one
    #[arg(long, value_name = "DIRECTORY")]
    charts_dir: Option<PathBuf>,

    /// Istio version to install; without it the embedded one
    #[arg(long, env = "ISTIO_VERSION", value_name = "VERSION")]
    istio_version: Option<String>,

    /// Form of the findings
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

/// Prints the findings. Exits with 0 if nothing speaks against an installation, 1 if something does, 2 if nothing could
/// be checked.
pub fn main(arguments: &CheckArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(CheckError::Runtime).and_then(|runtime| runtime.block_on(check(arguments)));
    match result {
        Ok(findings) if findings.iter().any(|finding| finding.severity == Severity::Error) => {
            ExitCode::from(1)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => report::trouble(&error),
    }
}

async fn check(arguments: &CheckArguments) -> Result<Vec<Finding>, CheckError> {
    let client = kubernetes::connect_as(arguments.kubeconfig.as_deref(), arguments.user.as_deref()).await?;
    let bundle = Bundle::select(arguments.charts_dir.as_deref(), arguments.istio_version.as_deref())?;
    let namespace = identity::namespace(arguments.operator_namespace.as_deref());
    let basis = Basis { client: &client, bundle: &bundle, operator_namespace: &namespace };
    let findings = check::check(basis).await;
    let text = match arguments.output {
        Output::Text => text(&findings),
        Output::Json => format!("{:#}\n", json!({"istioVersion": bundle.version(), "findings": findings})),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CheckError::Print(error)),
        _ => Ok(findings),
    }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for subject in Subject::ALL {
        let found: Vec<_> = findings.iter().filter(|finding| finding.subject == subject).collect();
        if found.is_empty() {
            text.push_str(&format!("ok       {subject}\n"));
        }
        for Finding { severity, message, advice, .. } in found {
            text.push_str(&format!("{severity:<8} {subject}: {message}\n           -> {advice}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_shown_with_what_to_do_and_the_rest_as_fine() {
        let finding = Finding {
            severity: Severity::Error,
            subject: Subject::Namespace,
            message: "is being deleted".to_owned(),
            advice: "wait".to_owned(),
        };
        let text = text(&[finding]);
        assert!(
            text.contains("error    namespace istio-system: is being deleted\n           -> wait\n"),
            "{text}"
        );
        assert!(text.contains("ok       Kubernetes version\n"), "{text}");
        assert!(!text.contains("ok       namespace"), "{text}");
    }
}
