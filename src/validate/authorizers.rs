//! The checks of external authorizers: names that can be referred to, services that Istio can resolve.
//! Checks what Istio's own validation of extension providers would refuse after the installation.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::Problem;
use super::spec::{is_dns_label, is_dns_name};
use crate::api::v1alpha2::{Authorizer, AuthorizerHeaders};
use crate::duration;

/// Names of extension providers that exist without the resource: those of the base configuration, then those of Istio's
/// default mesh configuration. An authorizer of the same name would silently replace one of them.
pub const BUILT_IN_PROVIDERS: [&str; 6] =
    ["kyma-traces", "kyma-logs", "stdout-json", "envoy", "prometheus", "stackdriver"];

/// An external authorizer that Istio will accept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidatedAuthorizer {
    /// Name, unique among all extension providers.
    pub name: String,
    /// Host name or address, optionally as `namespace/host`.
    pub service: String,
    /// Port of the service.
    pub port: u16,
    /// Put in front of the path of the request to be checked.
    pub path_prefix: Option<String>,
    /// How long to wait for an answer; more than zero.
    pub timeout: Option<Duration>,
    /// Headers passed between client, authorizer and workload.
    pub headers: AuthorizerHeaders,
}

/// Checks all authorizers of a spec and adds what is wrong to `problems`.
pub(super) fn check(authorizers: Vec<Authorizer>, problems: &mut Vec<Problem>) -> Vec<ValidatedAuthorizer> {
    let mut names = BTreeSet::new();
    authorizers
        .into_iter()
        .enumerate()
        .map(|(index, authorizer)| {
            let field = |name: &str| format!("spec.config.authorizers[{index}].{name}");
            let mut refuse =
                |name: &str, message: String| problems.push(Problem::warning(field(name), message));
            if let Err(message) = check_name(&authorizer.name, &mut names) {
                refuse("name", message);
            }
            check_one(authorizer, &mut refuse)
        })
        .collect()
}

fn check_one(authorizer: Authorizer, refuse: &mut dyn FnMut(&str, String)) -> ValidatedAuthorizer {
    let service = authorizer.service.unwrap_or_default();
    if let Err(message) = check_service(&service) {
        refuse("service", message);
    }
    let path_prefix = authorizer.path_prefix.filter(|prefix| !prefix.is_empty());
    if let Some(prefix) = path_prefix.as_deref().filter(|prefix| !prefix.starts_with('/')) {
        refuse("pathPrefix", format!("{prefix:?} must begin with a slash"));
    }
    let port = read_port(authorizer.port).unwrap_or_else(|message| {
        refuse("port", message);
        0
    });
    let timeout = authorizer.timeout.as_deref().map(read_timeout).transpose().unwrap_or_else(|message| {
        refuse("timeout", message);
        None
    });
    ValidatedAuthorizer {
        name: authorizer.name,
        service,
        port,
        path_prefix,
        timeout,
        headers: authorizer.headers.unwrap_or_default(),
    }
}

fn check_name(name: &str, names: &mut BTreeSet<String>) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("the name is empty; write the name that AuthorizationPolicies shall use".to_owned());
    }
    if BUILT_IN_PROVIDERS.contains(&name) {
        return Err(format!("{name:?} is the name of a built-in extension provider; choose another name"));
    }
    if !names.insert(name.to_owned()) {
        return Err(format!(
            "{name:?} is the name of another authorizer too; give each authorizer its own name"
        ));
    }
    Ok(())
}

/// Accepts what Istio's `validateExtensionProviderService` accepts: a DNS name, an address, or `namespace/host`.
fn check_service(service: &str) -> Result<(), String> {
    let valid = match service.split_once('/') {
        Some((namespace, host)) => is_dns_label(namespace) && is_dns_name(host),
        None => {
            is_dns_name(service.strip_suffix('.').unwrap_or(service)) || service.parse::<IpAddr>().is_ok()
        }
    };
    if valid {
        return Ok(());
    }
    Err(format!(
        "{service:?} names no service; write its full host name, for example \"authorizer.my-namespace.svc.cluster.local\""
    ))
}

fn read_port(port: i64) -> Result<u16, String> {
    u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{port} is not a port; write a number from 1 to 65535"))
}

fn read_timeout(timeout: &str) -> Result<Duration, String> {
    let duration =
        duration::parse(timeout).map_err(|error| format!("{timeout:?} is not a duration: {error}"))?;
    if duration.is_zero() {
        return Err(format!(
            "{timeout:?} leaves no time for an answer; write a duration above zero, such as 500ms or 2s"
        ));
    }
    Ok(duration)
}
