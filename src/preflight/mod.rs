//! Looks at a cluster before an installation or upgrade and says what would go wrong, and what to do about it.
//!
//! Reads only. What is found is decided in `rules` without a client; what could not be read is a finding too, for a
//! check that sees nothing must not say that all is well.

mod collect;
mod permissions;
mod rules;

use std::fmt;

use futures::future::BoxFuture;
use istio_charts::Bundle;
use kube::Client;
use serde::Serialize;

use crate::telemetry::{format_error_chain, status_code};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingSeverity {
    /// Worth knowing.
    Note,
    /// May hurt.
    Warning,
    /// The installation will fail, or break something.
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

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckSubject {
    /// Version of the API server.
    Kubernetes,
    /// The step from the installed version of Istio to the one to install.
    Version,
    /// CustomResourceDefinitions of Istio.
    Definitions,
    /// Other installations of Istio.
    OtherIstio,
    /// Admission webhooks.
    Webhooks,
    /// The namespace of the control plane and what its pods may do.
    Namespace,
    /// The network plug-in.
    Network,
    /// What the current user may do.
    Permissions,
}

impl CheckSubject {
    /// Everything, in the order in which it is shown.
    pub const ALL: [Self; 8] = [
        Self::Kubernetes,
        Self::Version,
        Self::Definitions,
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
            Self::Version => "version step",
            Self::Definitions => "custom resource definitions",
            Self::OtherIstio => "other installations of Istio",
            Self::Webhooks => "admission webhooks",
            Self::Namespace => "namespace istio-system",
            Self::Network => "network plug-in",
            Self::Permissions => "permissions",
        })
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: FindingSeverity,
    /// What it is about.
    pub subject: CheckSubject,
    /// What was found, with the name of the object.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// What a check depends on.
#[derive(Clone, Copy)]
pub struct PreflightInput<'a> {
    /// Client of the user whose permissions count.
    pub client: &'a Client,
    /// Charts of the version to install.
    pub bundle: &'a Bundle,
    /// Namespace of the operator.
    pub operator_namespace: &'a str,
}

/// Looks at everything; findings in the order of [`CheckSubject::ALL`].
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
            CheckSubject::Kubernetes => rules::kubernetes(&collect::kubernetes_version(client).await?),
            CheckSubject::Version => rules::version(&collect::installation(client).await?, bundle.version()),
            CheckSubject::Definitions => collect::crds(client, bundle).await?,
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
        Some(403) => "check again as a user who may read it",
        _ => "check again when it can be read",
    };
    let message = format!("could not be looked at: {}", format_error_chain(error));
    Finding { severity: FindingSeverity::Warning, subject, message, advice: advice.to_owned() }
}
