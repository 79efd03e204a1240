//! Checks a cluster before an installation or upgrade: problems that would block it, with their remedies.
//!
//! Reads only. `collect` reads, `rules` evaluates without a client. A failed read is a finding, too: a check that sees nothing
//! must not report that there is no problem.

mod collect;
mod permissions;
mod rules;

use std::fmt;

use futures::future::BoxFuture;
use istio_charts::Bundle;
use kube::Client;
use serde::Serialize;

use crate::istio_release::IstioRelease;
use crate::telemetry::{format_error_chain, status_code};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingSeverity {
    /// For information.
    Note,
    /// A possible problem.
    Warning,
    /// A problem that blocks the installation, or breaks something.
    Error,
}

impl fmt::Display for FindingSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The subject of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckSubject {
    /// Version of the API server.
    Kubernetes,
    /// The upgrade from the installed version of Istio.
    Version,
    /// CustomResourceDefinitions of Istio.
    Crds,
    /// Other installations of Istio.
    OtherIstio,
    /// Admission webhooks.
    Webhooks,
    /// The namespace of the control plane, and what its pods need there.
    Namespace,
    /// The network plug-in.
    Network,
    /// Permissions of the current user.
    Permissions,
}

impl CheckSubject {
    /// All subjects, in the order of the output.
    pub const ALL: [Self; 8] = [
        Self::Kubernetes,
        Self::Version,
        Self::Crds,
        Self::OtherIstio,
        Self::Webhooks,
        Self::Namespace,
        Self::Network,
        Self::Permissions,
    ];
}

impl fmt::Display for CheckSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubernetes => "Kubernetes version",
            Self::Version => "Istio version",
            Self::Crds => "CustomResourceDefinitions",
            Self::OtherIstio => "other Istio installations",
            Self::Webhooks => "admission webhooks",
            Self::Namespace => "namespace istio-system",
            Self::Network => "network plug-in",
            Self::Permissions => "permissions",
        })
    }
}

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its severity.
    pub severity: FindingSeverity,
    /// Its subject.
    pub subject: CheckSubject,
    /// The problem, with the name of the object.
    pub message: String,
    /// The remedy.
    pub advice: String,
}

/// The input of a check.
#[derive(Clone, Copy)]
pub struct PreflightInput<'a> {
    /// Client of the user whose permissions are checked.
    pub client: &'a Client,
    /// Charts of the version to install.
    pub bundle: &'a Bundle,
    /// Namespace of the operator.
    pub operator_namespace: &'a str,
}

/// Runs all checks; findings are in the order of [`CheckSubject::ALL`].
pub async fn run_preflight(input: PreflightInput<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for subject in CheckSubject::ALL {
        match check_subject(subject, input).await {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(unreadable(subject, &error)),
        }
    }
    findings
}

fn check_subject(
    subject: CheckSubject,
    input: PreflightInput<'_>,
) -> BoxFuture<'_, Result<Vec<Finding>, collect::Error>> {
    let PreflightInput { client, bundle, operator_namespace } = input;
    Box::pin(async move {
        Ok(match subject {
            CheckSubject::Kubernetes => {
                let oldest = IstioRelease::of(bundle).oldest_kubernetes();
                rules::kubernetes(&collect::kubernetes_version(client).await?, oldest)
            }
            CheckSubject::Version => rules::version(&collect::installation(client).await?, bundle.version()),
            CheckSubject::Crds => collect::crds(client, bundle).await?,
            CheckSubject::OtherIstio => rules::other_istio(
                &collect::istiods(client).await?,
                &collect::competing_operators(client).await?,
            ),
            CheckSubject::Webhooks => rules::webhooks(&collect::webhooks(client).await?),
            CheckSubject::Namespace => rules::namespace(&collect::namespace(client).await?),
            CheckSubject::Network => rules::network(&collect::network(client).await?),
            CheckSubject::Permissions => permissions::find_missing(client, operator_namespace).await?,
        })
    })
}

fn unreadable(subject: CheckSubject, error: &collect::Error) -> Finding {
    let advice = match status_code(error) {
        Some(403) => "run the check as a user with permission to read it",
        _ => "run the check again once it can be read",
    };
    let message = format!("check failed: {}", format_error_chain(error));
    Finding { severity: FindingSeverity::Warning, subject, message, advice: advice.to_owned() }
}
