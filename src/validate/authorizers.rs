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
    if let Some(Err(message)) = path_prefix.as_deref().map(check_path_prefix) {
        refuse("pathPrefix", message);
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

fn check_service(service: &str) -> Result<(), String> {
    let valid = match service.split_once('/') {
        Some((namespace, host)) => is_namespace(namespace) && is_host_pattern(host),
        None => is_host(service) || service.parse::<IpAddr>().is_ok(),
    };
    if valid {
        return Ok(());
    }
    Err(format!(
        "{service:?} names no service; write its full host name, for example \"authorizer.my-namespace.svc.cluster.local\""
    ))
}

/// A host name as Istio's `ValidateFQDN` takes it: it may end in a dot, and what is all digits at its end is meant to be an
/// address.
fn is_host(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    !is_number && is_dns_name(name.strip_suffix('.').unwrap_or(name))
}

/// A namespace before a host, as Istio's `ValidateNamespaceSlashWildcardHostname` takes it.
fn is_namespace(namespace: &str) -> bool {
    let named = namespace.strip_prefix('~').unwrap_or(namespace);
    !namespace.is_empty() && (matches!(named, "" | "*" | ".") || is_dns_label(named))
}

/// A host after a namespace: no short name, and a wildcard at most for its first label.
fn is_host_pattern(host: &str) -> bool {
    host == "*"
        || host.split_once('.').is_some_and(|(first, rest)| {
            host.len() <= 255 && (first == "*" || is_dns_label(first)) && (rest.is_empty() || is_host(rest))
        })
}

/// A path that Istio's parser of URLs takes.
fn check_path_prefix(prefix: &str) -> Result<(), String> {
    if !prefix.starts_with('/') {
        return Err(format!("{prefix:?} must begin with a slash"));
    }
    let path = prefix.split('?').next().unwrap_or_default();
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if prefix.bytes().any(|byte| byte.is_ascii_control()) || !path.split('%').skip(1).all(is_escape) {
        return Err(format!("{prefix:?} is no path of a URL; write special characters as %20"));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Istio's `validateExtensionProviderService` gives the same answers.
    #[test]
    fn a_service_is_what_istio_takes_for_one() {
        for service in [
            "authz.shop.svc.cluster.local",
            "Authz.Example.com.",
            "localhost",
            "10.0.0.1",
            "fd00::1",
            "shop/authz.shop.svc.cluster.local",
            "*/authz.example.com",
            "./authz.example.com",
            "~shop/*.example.com",
            "shop/*",
            "a.1.",
        ] {
            assert_eq!(check_service(service), Ok(()), "{service}");
        }
        for service in [
            "",
            ".",
            "a..b",
            "a.1",
            "10.0.0.256",
            "a_b.c",
            "-a.b",
            "*.example.com",
            "shop/authz",
            "/a.b",
            "a/b/c.d",
            "shop/a*.b",
            "shop/a.*.b",
            "shop/a.1",
        ] {
            assert!(check_service(service).is_err(), "{service}");
        }
    }

    #[test]
    fn a_path_prefix_is_what_istio_takes_for_one() {
        for prefix in ["/", "/check?x=%", "/a%20b", "/a b", "/ü"] {
            assert_eq!(check_path_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in ["check", "/a%2", "/a%zz", "/a\tb", "/a%"] {
            assert!(check_path_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
